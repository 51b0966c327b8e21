"""The table of frameworks: which module opens the detectors of each, and which knows its models in a user's script.

Other packages add a framework by an entry point, without a change here::

    [project.entry-points."featscope.adapters"]
    mine = "my_package.framework:FRAMEWORK"

A framework is not imported before it is used.
"""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Callable, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple, cast

from featscope.adapters.detector import Detector, Opening
from featscope.errors import BadOptionError, FeatscopeWarning, first_line

if TYPE_CHECKING:
    from featscope.adapters.companions import CompanionModule

Open = Callable[[Opening], Detector]


class Framework(NamedTuple):
    """A row of the table.

    >>> FRAMEWORK = Framework("my_package.detector", "a model's name", "my_package", "my_package.companion")
    """

    opener: str
    """The module whose function `open_detector(opening)` returns a `Detector`."""

    opens: str = ""
    """What to type after the colon, for the help."""

    package: str = ""
    """The package that a script has imported if it runs models of this framework."""

    companion: str = ""
    """The module that knows such models, a `featscope.adapters.companions.CompanionModule`; '' if there is none."""


FRAMEWORKS: Dict[str, Framework] = {
    "demo": Framework("featscope.adapters.demo", "the built-in detector"),
    "mmdet": Framework(
        "featscope.adapters.mm.detector",
        "MMDetection, MMRotate: a config (.py)",
        "mmengine",
        "featscope.adapters.mm.companion",
    ),
    "torchvision": Framework(
        "featscope.adapters.torchvision.detector",
        "a detector, classifier or segmenter of torchvision",
        "torchvision",
        "featscope.adapters.torchvision.companion",
    ),
    "ultralytics": Framework(
        "featscope.adapters.ultralytics.detector",
        "a model (.yaml) or weights (.pt) of Ultralytics",
        "ultralytics",
        "featscope.adapters.ultralytics.companion",
    ),
    "transformers": Framework(
        "featscope.adapters.transformers.detector",
        "a folder written by save_pretrained, of any vision model",
        "transformers",
        "featscope.adapters.transformers.companion",
    ),
    "timm": Framework("featscope.adapters.timm", "a backbone of timm"),
    "onnx": Framework("featscope.adapters.onnx.detector", "a file (.onnx), run by ONNX Runtime"),
    "pytorch": Framework("featscope.adapters.pytorch", "module.path:factory of any PyTorch model"),
}
"""Name, as in `name:target` -> framework."""

GROUP = "featscope.adapters"
"""Group of entry points of other packages. Each is a `Framework` or a function `open_detector(opening)`."""


def framework_names() -> List[str]:
    """Return the names of all known frameworks."""
    return [*FRAMEWORKS, *(name for name in _offered() if name not in FRAMEWORKS)]


def opener_of(name: str) -> Open:
    """Return the function that opens a framework's detectors. Raises `ImportError` if it is not installed."""
    row = FRAMEWORKS[name] if name in FRAMEWORKS else _offered()[name].load()
    if isinstance(row, Framework):
        return cast(Open, import_module(row.opener).open_detector)
    if not callable(row):
        raise BadOptionError(
            f"the entry point {name!r} of {GROUP} names a {type(row).__name__}; "
            "it must name a featscope.adapters.frameworks.Framework, or a function open_detector(opening)"
        )
    return cast(Open, row)


def companions_at_hand() -> Iterator[CompanionModule]:
    """Yield the companions of all frameworks that are already imported in a supported version.

    Those of other packages come first, because such a package may build on a framework that is known here.
    """
    for row in (*_rows_of_others(tuple(sys.path)), *FRAMEWORKS.values()):
        if row.companion and row.package in sys.modules:
            with suppress(ImportError):
                yield cast("CompanionModule", import_module(row.companion))


def _offered() -> Mapping[str, EntryPoint]:
    if sys.version_info >= (3, 10):
        found: Sequence[EntryPoint] = entry_points(group=GROUP)
    else:
        found = entry_points().get(GROUP, ())
    return {point.name: point for point in found}


@lru_cache(maxsize=1)
def _rows_of_others(path: Tuple[str, ...]) -> Sequence[Framework]:
    """Return the rows of other packages. path: `sys.path`, the key of the cache, as this runs in every capture."""
    found = []
    for name, point in _offered().items():
        try:
            row = point.load()
        except Exception as error:  # noqa: BLE001 (a broken package that is not used must not stop the capture)
            warnings.warn(
                f"the entry point {name!r} of {GROUP} cannot be loaded: {first_line(error)}",
                FeatscopeWarning,
                stacklevel=2,
            )
            continue
        if isinstance(row, Framework):
            found.append(row)
    return found

"""The frameworks: one table says what opens the detectors of each, and what knows its models in a user's own script.

A package of somebody else adds a row by an entry point, and nothing here changes::

    [project.entry-points."featscope.adapters"]
    mine = "my_package.framework:FRAMEWORK"

Nothing is imported of a framework until it is used.
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
from featscope.errors import BadOptionError, first_line

if TYPE_CHECKING:
    from featscope.adapters.companions import CompanionModule

Open = Callable[[Opening], Detector]


class Framework(NamedTuple):
    """A row of the table.

    >>> FRAMEWORK = Framework("my_package.detector", "a model's name", "my_package", "my_package.companion")

    opener: the module whose `open_detector(opening)` gives a `Detector`. opens: what stands behind the colon, for the
    help. package: what a script has imported that runs such a model. companion: the module that knows the model then,
    a `featscope.adapters.companions.CompanionModule`; '' where there is none.
    """

    opener: str
    opens: str = ""
    package: str = ""
    companion: str = ""


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
        "a folder that save_pretrained wrote, of any model that sees",
        "transformers",
        "featscope.adapters.transformers.companion",
    ),
    "timm": Framework("featscope.adapters.timm", "a backbone of timm"),
    "onnx": Framework("featscope.adapters.onnx.detector", "a file (.onnx), run by ONNX Runtime"),
    "pytorch": Framework("featscope.adapters.pytorch", "module.path:factory of any PyTorch model"),
}
"""Name -> the framework that a user means by it, `name:target`."""

GROUP = "featscope.adapters"
"""The entry points of other packages: a name, and a `Framework`, or a function `open_detector(opening)` alone."""


def framework_names() -> List[str]:
    """Those of the frameworks that are known here."""
    return [*FRAMEWORKS, *(name for name in _offered() if name not in FRAMEWORKS)]


def opener_of(name: str) -> Open:
    """What opens a detector by its target. Raises `ImportError` where the framework is not installed."""
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
    """The companions of the frameworks that are imported already, and are of a version that they know.

    Those of other packages come first, as they may be made of one that is known here.
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
    """The rows of other packages; path: where Python looks for packages, as they are asked for with each capture."""
    found = []
    for name, point in _offered().items():
        try:
            row = point.load()
        except Exception as error:  # noqa: BLE001 (a package that has no part in the capture may be broken)
            warnings.warn(
                f"the entry point {name!r} of {GROUP} cannot be loaded: {first_line(error)}",
                RuntimeWarning,
                stacklevel=2,
            )
            continue
        if isinstance(row, Framework):
            found.append(row)
    return found

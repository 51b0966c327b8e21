"""From what a user types to a detector: `torchvision:retinanet_resnet50_fpn`, a config, `module.path:factory`."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, Callable, Dict, Tuple

import msgspec

from featscope.adapters.detector import Detector, Opening
from featscope.errors import BadOptionError, MissingPackageError, unknown_name
from featscope.records import Opened

ADAPTERS: Dict[str, Tuple[str, str]] = {
    "demo": ("featscope.adapters.demo", "the built-in detector"),
    "mmdet": ("featscope.adapters.mmdet", "MMDetection, MMRotate: a config (.py)"),
    "torchvision": ("featscope.adapters.torchvision", "a detector, classifier or segmenter of torchvision"),
    "ultralytics": ("featscope.adapters.ultralytics", "a model (.yaml) or weights (.pt) of Ultralytics"),
    "transformers": ("featscope.adapters.transformers", "a folder that save_pretrained wrote, of any model that sees"),
    "timm": ("featscope.adapters.timm", "a backbone of timm"),
    "onnx": ("featscope.adapters.onnx", "a file (.onnx), run by ONNX Runtime"),
    "pytorch": ("featscope.adapters.pytorch", "module.path:factory of any PyTorch model"),
}
"""Name -> the module whose `open_detector(opening)` opens it, and what stands behind the colon."""

GROUP = "featscope.adapters"
"""The entry points under which other packages offer adapters: a name, and a function like `open_detector`."""

Open = Callable[[Opening], Detector]


def open_detector(name: str, checkpoint: str = "", **options: Any) -> Detector:
    """Open a detector by name: 'ADAPTER:TARGET', a config (.py), a model (.onnx), 'module.path:factory', 'demo'.

    >>> open_detector("torchvision:retinanet_resnet50_fpn", "random").info.model    # doctest: +SKIP
    'RetinaNet'

    options: the other fields of `featscope.adapters.detector.Opening`. Raises `UnknownNameError` for an
    adapter or model that does not exist, `MissingPackageError` where its framework is not installed.
    """
    adapter, target = split_name(name)
    opening = Opening(target, checkpoint, **options)
    try:
        detector = _find(adapter)(opening)
        detector.info = msgspec.structs.replace(detector.info, opened=_recorded(opening))
        return detector
    except ImportError as error:
        missing = str(getattr(error, "name", None) or "").split(".")[0]
        if isinstance(error, MissingPackageError) or missing in ("", "featscope"):
            raise
        raise MissingPackageError(
            f"{name} needs the package {missing!r}, which is not installed here ({error}); "
            f"featscope runs in the detector's own environment: pip install {missing}"
        ) from None


def _recorded(opening: Opening) -> Opened:
    """What a run says of how its detector was opened."""
    options = msgspec.json.decode(msgspec.json.encode(opening.config_options, enc_hook=str))
    return Opened(
        opening.input_size, opening.preprocess, opening.score_threshold, options, dict(opening.inputs), opening.seed
    )


def split_name(name: str) -> Tuple[str, str]:
    """The adapter and the target that a user's text means.

    >>> split_name("s2anet.py"), split_name("timm:resnet50"), split_name("demo")
    (('mmdet', 's2anet.py'), ('timm', 'resnet50'), ('demo', ''))
    """
    adapter, colon, target = name.partition(":")
    if name == "demo" or (colon and (adapter in ADAPTERS or adapter in _others())):
        return adapter, target
    if name.endswith(".py"):
        return "mmdet", name
    if name.endswith(".onnx"):
        return "onnx", name
    if not colon and name.endswith(".pt"):
        raise BadOptionError(
            f"{name} does not say which framework it is of; for a model of Ultralytics type ultralytics:{name}"
        )
    if not colon:
        known = ", ".join(f"{key}:..." for key in ADAPTERS if key != "demo")
        raise BadOptionError(
            f"{name!r} is no model; type a config (.py), 'demo', module.path:factory, or one of {known}"
        )
    sys.path.insert(0, "")  # as `python -m` does: the user's own module lies where the user is
    try:
        there = find_spec(adapter) is not None
    except (ImportError, ValueError):
        there = False
    if there:
        return "pytorch", name
    raise unknown_name("adapter or module", adapter, [*ADAPTERS, *_others()], "featscope layers --help")


def import_named(text: str, form: str) -> Any:
    """What a user names as `module.path:name` in a module of their own.

    >>> import_named("math:tau", "module.path:name")
    6.283185307179586

    form: what to type, for the error. Raises `BadOptionError` for what cannot be imported.
    """
    module, _, name = text.partition(":")
    if not (module and name):
        raise BadOptionError(f"{text!r} names no function; type {form}")
    sys.path.insert(0, "")  # as `python -m` does: the user's own module lies where the user is
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BadOptionError(f"{text!r} cannot be loaded: {error}; type {form}") from None


def _others() -> Dict[str, Any]:
    points: Any = entry_points()
    found = points.select(group=GROUP) if hasattr(points, "select") else points.get(GROUP, ())
    return {point.name: point for point in found}


def _find(adapter: str) -> Open:
    if adapter in ADAPTERS:
        return import_module(ADAPTERS[adapter][0]).open_detector
    return _others()[adapter].load()

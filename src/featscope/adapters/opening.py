"""Open a detector by what a user types: `torchvision:retinanet_resnet50_fpn`, a config, `module.path:factory`."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Tuple

import msgspec

from featscope.adapters.detector import Detector, Opening
from featscope.adapters.frameworks import FRAMEWORKS, framework_names, opener_of
from featscope.errors import BadOptionError, MissingPackageError, unknown_name
from featscope.records import Opened


def open_detector(name: str, checkpoint: str = "", **options: Any) -> Detector:
    """Open a detector by name: 'ADAPTER:TARGET', a config (.py), a model (.onnx), 'module.path:factory', 'demo'.

    >>> open_detector("torchvision:retinanet_resnet50_fpn", "random").info.model    # doctest: +SKIP
    'RetinaNet'

    options: the other fields of `featscope.adapters.detector.Opening`. Raises `UnknownNameError` for an unknown adapter
    or model, and `MissingPackageError` if its framework is not installed.
    """
    adapter, target = split_name(name)
    opening = Opening(target, checkpoint, **options)
    try:
        detector = opener_of(adapter)(opening)
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
    """Return what a run records about how its detector was opened."""
    marked = {key: with_marked_tuples(value) for key, value in opening.config_options.items()}
    options = msgspec.json.decode(msgspec.json.encode(marked, enc_hook=str))
    return Opened(
        input_size=opening.input_size,
        preprocess=opening.preprocess,
        score_threshold=opening.score_threshold,
        config_options=options,
        inputs=dict(opening.inputs),
        seed=opening.seed,
    )


_TUPLE = "__tuple__"


def with_marked_tuples(value: object) -> object:
    """Mark the tuples in a value of a config, because JSON has lists only, and a framework may refuse one.

    >>> with_marked_tuples({"scale": (128, 128)}), with_tuples({"scale": {"__tuple__": [128, 128]}})
    ({'scale': {'__tuple__': [128, 128]}}, {'scale': (128, 128)})
    """
    if isinstance(value, tuple):
        return {_TUPLE: [with_marked_tuples(one) for one in value]}
    if isinstance(value, list):
        return [with_marked_tuples(one) for one in value]
    if isinstance(value, dict):
        return {str(key): with_marked_tuples(one) for key, one in value.items()}
    return value


def with_tuples(value: object) -> object:
    """Turn marked tuples back into tuples: the inverse of `with_marked_tuples`."""
    if isinstance(value, list):
        return [with_tuples(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_TUPLE}:
        return tuple(with_tuples(one) for one in value[_TUPLE])
    return {key: with_tuples(one) for key, one in value.items()}


def split_name(name: str) -> Tuple[str, str]:
    """Split a user's text into the name of an adapter and a target.

    >>> split_name("s2anet.py"), split_name("timm:resnet50"), split_name("demo")
    (('mmdet', 's2anet.py'), ('timm', 'resnet50'), ('demo', ''))
    """
    adapter, colon, target = name.partition(":")
    if name == "demo" or (colon and adapter in framework_names()):
        return adapter, target
    if name.endswith(".py"):
        return "mmdet", name
    if name.endswith(".onnx"):
        return "onnx", name
    if not colon and name.endswith(".pt"):
        raise BadOptionError(f"the framework of {name} is unknown; for a model of Ultralytics type ultralytics:{name}")
    if not colon:
        known = ", ".join(f"{key}:..." for key in FRAMEWORKS if key != "demo")
        raise BadOptionError(
            f"{name!r} is not a model; type a config (.py), 'demo', module.path:factory, or one of {known}"
        )
    sys.path.insert(0, "")  # as `python -m` does, to find a module in the current folder
    try:
        there = find_spec(adapter) is not None
    except (ImportError, ValueError):
        there = False
    if there:
        return "pytorch", name
    raise unknown_name("adapter or module", adapter, framework_names(), "featscope layers --help")


def import_named(text: str, form: str) -> Any:
    """Import what a user names as `module.path:name`.

    >>> import_named("math:tau", "module.path:name")
    6.283185307179586

    form: what to type, for the error. Raises `BadOptionError` if it cannot be imported.
    """
    module, _, name = text.partition(":")
    if not (module and name):
        raise BadOptionError(f"{text!r} is not the name of a function; type {form}")
    sys.path.insert(0, "")  # as `python -m` does, to find a module in the current folder
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BadOptionError(f"{text!r} cannot be loaded: {error}; type {form}") from None

"""featscope: see what an object detector sees.

>>> import featscope
>>> with featscope.capture(model, ["backbone", "neck"], to="runs/mine"):     # doctest: +SKIP
...     model(image)
>>> run = featscope.open_run("runs/mine")                                    # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from featscope.adapters.capture import capture
    from featscope.adapters.explain import explain
    from featscope.arrays.reduce import reduce
    from featscope.capturing.listener import tap
    from featscope.capturing.memory import MemorySink
    from featscope.capturing.session import Capture
    from featscope.errors import FeatscopeError
    from featscope.render.heat import HeatStyle, draw_heat
    from featscope.render.mosaic import draw_mosaic
    from featscope.store.check import check_run
    from featscope.store.reader import open_run

__version__ = "0.1.0"

# Where each public name lives: loaded when it is first used, so that the import is light.
_HOMES = {
    "Capture": "capturing.session",
    "FeatscopeError": "errors",
    "HeatStyle": "render.heat",
    "MemorySink": "capturing.memory",
    "capture": "adapters.capture",
    "check_run": "store.check",
    "draw_heat": "render.heat",
    "draw_mosaic": "render.mosaic",
    "explain": "adapters.explain",
    "open_run": "store.reader",
    "reduce": "arrays.reduce",
    "tap": "capturing.listener",
}

__all__ = [
    "Capture",
    "FeatscopeError",
    "HeatStyle",
    "MemorySink",
    "capture",
    "check_run",
    "draw_heat",
    "draw_mosaic",
    "explain",
    "open_run",
    "reduce",
    "tap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'featscope' has no attribute {name!r}")
    value = getattr(import_module(f"featscope.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return [*__all__, "__version__"]

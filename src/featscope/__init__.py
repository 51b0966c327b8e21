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
    from featscope.adapters.by_name import capture_images, estimate, list_layers
    from featscope.adapters.capture import capture
    from featscope.adapters.explain import explain
    from featscope.adapters.opening import open_detector
    from featscope.analysis.comparing import Comparison, compare
    from featscope.analysis.misses import Misses, misses
    from featscope.analysis.object_tables import objects, write_objects
    from featscope.analysis.statistics import Statistics, statistics
    from featscope.arrays.reduce import reduce
    from featscope.capturing.listener import tap
    from featscope.capturing.memory import MemorySink
    from featscope.capturing.session import Capture
    from featscope.errors import FeatscopeError, FeatscopeWarning
    from featscope.explaining.explanation import Explanation
    from featscope.records import Boxes, Geometry, Place, Sample
    from featscope.render.drawing import draw_mosaics, draw_run
    from featscope.render.heat import HeatPicture, HeatStyle, draw_heat
    from featscope.render.mosaic import Mosaic, draw_mosaic
    from featscope.render.pictures import Pictures
    from featscope.render.plots import Plot
    from featscope.store.check import Report, check_run
    from featscope.store.detections import Detection, list_detections
    from featscope.store.maps import MapFile
    from featscope.store.matching import Match, match_runs
    from featscope.store.reader import Run, open_run
    from featscope.store.tables import Rows

__version__ = "0.1.0"

# Where each public name lives: loaded when it is first used, so that the import is light.
_HOMES = {
    "Boxes": "records",
    "Capture": "capturing.session",
    "Comparison": "analysis.comparing",
    "Detection": "store.detections",
    "Explanation": "explaining.explanation",
    "FeatscopeError": "errors",
    "FeatscopeWarning": "errors",
    "Geometry": "records",
    "HeatPicture": "render.heat",
    "HeatStyle": "render.heat",
    "MapFile": "store.maps",
    "Match": "store.matching",
    "MemorySink": "capturing.memory",
    "Misses": "analysis.misses",
    "Mosaic": "render.mosaic",
    "Pictures": "render.pictures",
    "Place": "records",
    "Plot": "render.plots",
    "Report": "store.check",
    "Rows": "store.tables",
    "Run": "store.reader",
    "Sample": "records",
    "Statistics": "analysis.statistics",
    "capture": "adapters.capture",
    "capture_images": "adapters.by_name",
    "check_run": "store.check",
    "compare": "analysis.comparing",
    "draw_heat": "render.heat",
    "draw_mosaic": "render.mosaic",
    "draw_mosaics": "render.drawing",
    "draw_run": "render.drawing",
    "estimate": "adapters.by_name",
    "explain": "adapters.explain",
    "list_detections": "store.detections",
    "list_layers": "adapters.by_name",
    "match_runs": "store.matching",
    "misses": "analysis.misses",
    "objects": "analysis.object_tables",
    "open_detector": "adapters.opening",
    "open_run": "store.reader",
    "reduce": "arrays.reduce",
    "statistics": "analysis.statistics",
    "tap": "capturing.listener",
    "write_objects": "analysis.object_tables",
}

__all__ = [
    "Boxes",
    "Capture",
    "Comparison",
    "Detection",
    "Explanation",
    "FeatscopeError",
    "FeatscopeWarning",
    "Geometry",
    "HeatPicture",
    "HeatStyle",
    "MapFile",
    "Match",
    "MemorySink",
    "Misses",
    "Mosaic",
    "Pictures",
    "Place",
    "Plot",
    "Report",
    "Rows",
    "Run",
    "Sample",
    "Statistics",
    "capture",
    "capture_images",
    "check_run",
    "compare",
    "draw_heat",
    "draw_mosaic",
    "draw_mosaics",
    "draw_run",
    "estimate",
    "explain",
    "list_detections",
    "list_layers",
    "match_runs",
    "misses",
    "objects",
    "open_detector",
    "open_run",
    "reduce",
    "statistics",
    "tap",
    "write_objects",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'featscope' has no attribute {name!r}")
    value = getattr(import_module(f"featscope.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return [*__all__, "__version__"]

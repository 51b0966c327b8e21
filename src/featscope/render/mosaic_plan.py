"""Plan the mosaics of a run: which channels of each map are drawn, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Optional, Sequence

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.channels import choose_channels
from featscope.arrays.normalise import bounds, parse_range
from featscope.arrays.reduce import as_floats
from featscope.render.colour import palette
from featscope.render.files import check_format
from featscope.render.jobs import AS_IT_IS, Form, Origin, Outcome, provenance, save, up_to_date
from featscope.render.mosaic import draw_channel, draw_mosaic
from featscope.render.ranges import Bounds, range_key, shared_bounds
from featscope.scale.executor import Executor, serial
from featscope.store.feature_maps import FeatureMap
from featscope.store.maps import MapFile
from featscope.store.reader import Run


@dataclass(frozen=True)
class MosaicOptions:
    """The options of `featscope render`, which its help explains."""

    channels: str = "all"
    colormap: str = "viridis"
    range: str = "channel"
    columns: Optional[int] = None
    scale: Optional[int] = None
    gap: Optional[int] = None
    titles: bool = True
    numbers: bool = False
    single: bool = False
    form: Form = AS_IT_IS


MOSAIC_STYLES: Dict[str, Dict[str, object]] = {
    "featscope": {},
    "mmengine_topk": {"channels": "sum:20", "columns": 5, "colormap": "jet", "gap": 0},
}
"""Named styles: the options that each changes. `mmengine_topk` is mmengine's `draw_featmap` with its 20 channels."""


@dataclass(frozen=True)
class MosaicPlan:
    """Draws the channels of each map. Made by `plan_mosaics`."""

    origin: Origin
    options: MosaicOptions

    shared: Dict[str, Bounds] = field(default_factory=dict)
    """Shared value ranges, by `range_key`."""

    def draw(self, feature_map: FeatureMap, folder: Path, outcome: Outcome) -> None:
        """Draw the map of one image, and save the pictures in a folder."""
        options = self.options
        limits = self.shared.get(range_key(feature_map.file, options.range))
        mark = feature_map.fingerprint(("mosaic", options, limits))
        text = provenance(feature_map, self.origin, mark)
        if options.single:
            for channel in choose_channels(feature_map.array, options.channels):
                path = folder / f"{feature_map.stem}_channel_{channel}{options.form.suffix}"
                if up_to_date([path], mark, outcome):
                    continue
                values = as_floats(feature_map.array[channel])
                own = limits or bounds(values, "map" if options.range == "channel" else options.range)
                title = f"{self._title(feature_map)}  ·  channel {channel}" if options.titles else ""
                note = dict(text, channel=str(channel))
                picture = draw_channel(
                    values, options.colormap, value_range=own, scale=options.scale, text=note, title=title
                )
                save(path, picture.png, outcome, options.form)
                outcome.nan += picture.nan
                outcome.inf += picture.inf
            return
        path = folder / f"{feature_map.stem}{options.form.suffix}"
        if up_to_date([path], mark, outcome):
            return
        mosaic = draw_mosaic(
            feature_map.array,
            options.channels,
            colormap=options.colormap,
            value_range=options.range,
            shared=limits,
            columns=options.columns,
            scale=options.scale,
            gap=options.gap,
            title=self._title(feature_map) if options.titles else "",
            numbers=options.numbers,
            text=text,
        )
        outcome.nan += mosaic.nan
        outcome.inf += mosaic.inf
        save(path, mosaic.png, outcome, options.form)

    def _title(self, feature_map: FeatureMap) -> str:
        channels, height, width = feature_map.array.shape
        return f"{feature_map.title(feature_map.file.place())}  ·  {channels} x {height} x {width}"


def plan_mosaics(run: Run, maps: Sequence[MapFile], options: MosaicOptions, executor: Executor = serial) -> MosaicPlan:
    """Make the plan that draws mosaics of these maps.

    Options are checked here, so that a wrong option raises one error in place of one error per map.
    """
    palette(options.colormap)
    check_format(options.form.format)
    if options.range != "channel":
        parse_range(options.range)
    return MosaicPlan(Origin.of(run), options, shared_bounds(maps, options.range, _all_values, executor))


def _all_values(feature_map: FeatureMap) -> NDArray[np.floating]:
    return as_floats(feature_map.array)

"""What is drawn of each map: heat maps alone and over the image, or mosaics of channels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.channels import choose_channels
from featscope.arrays.normalise import bounds, parse_range
from featscope.arrays.reduce import as_floats, reduce
from featscope.errors import BadOptionError, BadRunError, unknown_name
from featscope.records import Boxes, Geometry, Sample
from featscope.render.colour import palette
from featscope.render.heat import STYLES, HeatStyle, draw_heat
from featscope.render.images import input_image, lies_in_input, sample_image
from featscope.render.jobs import (
    Bounds,
    Executor,
    FeatureMap,
    Origin,
    Outcome,
    range_key,
    save,
    serial,
    shared_bounds,
    up_to_date,
)
from featscope.render.mosaic import draw_channel, draw_mosaic
from featscope.store.images import read_image
from featscope.store.maps import MapFile
from featscope.store.places import PLACES_KNOWN
from featscope.store.reader import Run

_NAMED = 5  # samples, in an error


@dataclass(frozen=True)
class HeatOptions:
    """What `featscope heat` draws: see its help."""

    style: HeatStyle = STYLES["featscope"]
    overlay: bool = True
    alone: bool = True
    predictions: bool = False
    truth: bool = False
    min_score: float = 0.3
    image: Optional[Path] = None
    place: str = "measured"
    reading: str = ""


@dataclass(frozen=True)
class MosaicOptions:
    """What `featscope render` draws: see its help."""

    channels: str = "all"
    colormap: str = "viridis"
    range: str = "channel"
    columns: Optional[int] = None
    scale: int = 1
    gap: int = 1
    titles: bool = False
    numbers: bool = False
    single: bool = False


# Mosaics


@dataclass(frozen=True)
class MosaicPlan:
    """Draws each map as a picture of its channels; `plan_mosaics` makes it."""

    origin: Origin
    options: MosaicOptions
    shared: Dict[str, Bounds] = field(default_factory=dict)

    def draw(self, feature_map: FeatureMap, folder: Path, outcome: Outcome) -> None:
        """Draw one image's map into a folder."""
        options = self.options
        limits = self.shared.get(range_key(feature_map.file, options.range))
        mark = feature_map.fingerprint("mosaic", options, limits)
        text = feature_map.describe(self.origin, mark)
        if options.single:
            for channel in choose_channels(feature_map.array, options.channels):
                path = folder / f"{feature_map.stem}_channel_{channel}.png"
                if up_to_date([path], mark, outcome):
                    continue
                values = as_floats(feature_map.array[channel])
                own = limits or bounds(values, "map" if options.range == "channel" else options.range)
                picture = draw_channel(values, options.colormap, own, options.scale, dict(text, channel=str(channel)))
                save(path, picture.png, outcome)
                outcome.nan += picture.nan
                outcome.inf += picture.inf
            return
        path = folder / f"{feature_map.stem}.png"
        if up_to_date([path], mark, outcome):
            return
        mosaic = draw_mosaic(
            feature_map.array,
            options.channels,
            options.colormap,
            options.range,
            limits,
            options.columns,
            options.scale,
            options.gap,
            _title(feature_map) if options.titles else "",
            options.numbers,
            text,
        )
        outcome.nan += mosaic.nan
        outcome.inf += mosaic.inf
        save(path, mosaic.png, outcome)


def plan_mosaics(run: Run, maps: Sequence[MapFile], options: MosaicOptions, executor: Executor = serial) -> MosaicPlan:
    """What draws mosaics of these maps; a wrong option is one error, not one a map."""
    palette(options.colormap)
    if options.range != "channel":
        parse_range(options.range)
    return MosaicPlan(Origin.of(run), options, shared_bounds(maps, options.range, _all_values, executor))


def _all_values(feature_map: FeatureMap) -> NDArray[np.floating]:
    return as_floats(feature_map.array)


def _title(feature_map: FeatureMap) -> str:
    channels, height, width = feature_map.array.shape
    map_file = feature_map.file
    parts = [
        f"{map_file.folder or map_file.path.parent.name}/{feature_map.stem}",
        f"{channels} x {height} x {width}",
    ]
    if feature_map.sample is not None:
        parts.append(feature_map.sample.id)
    return "   ".join(parts)


# Heat maps


@dataclass(frozen=True)
class HeatPlan:
    """Draws each map as a heat map, alone and over its image; `plan_heat` makes it."""

    origin: Origin
    options: HeatOptions
    shared: Dict[str, Bounds] = field(default_factory=dict)

    def draw(self, feature_map: FeatureMap, folder: Path, outcome: Outcome) -> None:
        """Draw one image's map into a folder."""
        options, sample = self.options, feature_map.sample
        limits = self.shared.get(range_key(feature_map.file, options.style.range))
        placed = options.image is not None or (
            sample is not None and (sample.geometry is not None or lies_in_input(sample))
        )
        source = options.image or (Path(sample.path) if sample is not None else None)
        place = feature_map.file.place("assumed" if options.style.stretched else options.place)
        state = _state(source) if placed else ""
        mark = feature_map.fingerprint("heat", options, limits, state, self.origin.classes, place)
        alone, over = folder / f"{feature_map.stem}.png", folder / f"{feature_map.stem}_overlay.png"
        wanted = [path for path, asked in ((alone, options.alone), (over, options.overlay and placed)) if asked]
        if up_to_date(wanted or [alone], mark, outcome):
            return
        image, geometry = self._image(feature_map, outcome)
        boxes: List[Tuple[Boxes, Optional[str]]] = []
        if sample is not None and geometry is not None:
            frame = "input" if sample.geometry is None else "original"
            if options.truth and sample.truth is not None and sample.truth.frame == frame:
                boxes.append((sample.truth, "white"))
            if options.predictions and sample.predictions is not None and sample.predictions.frame == frame:
                boxes.append((sample.predictions, None))
        record = feature_map.file.record
        if record is not None and record.reduced and options.style.reduce not in ("mean", record.reduced):
            outcome.remarks.append(
                f"maps reduced by {record.reduced} on capture have nothing left for -r {options.style.reduce}"
            )
        draw = partial(
            draw_heat,
            feature_map.array,
            _fitting(options.style, feature_map),
            (image.shape[0], image.shape[1]) if image is not None else None,
            geometry=geometry,
            stride=place.stride if place else None,
            first=place.first if place else None,
            value_range=limits,
            boxes=boxes,
            classes=self.origin.classes,
            min_score=options.min_score,
            text=dict(feature_map.describe(self.origin, mark), place=place.known if place else "assumed"),
        )
        has_image = image is not None and options.overlay
        if options.alone or not has_image:
            picture = draw()
            save(alone, picture.png, outcome)
            outcome.nan += picture.values.nan
            outcome.inf += picture.values.inf
            outcome.constant += picture.values.constant
        if has_image:
            save(over, draw(image=image).png, outcome)

    def _image(
        self, feature_map: FeatureMap, outcome: Outcome
    ) -> Tuple[Optional[NDArray[np.uint8]], Optional[Geometry]]:
        """The image under a map, and how the map lies on it."""
        options, sample = self.options, feature_map.sample
        geometry = sample.geometry if sample else None
        if options.image is not None:
            image = read_image(options.image, options.reading or (sample.reading if sample is not None else ""))
            # Another image than was captured: the map is stretched over it.
            fits = geometry is not None and image.shape[:2] == tuple(geometry.original)
            return image, geometry if fits else None
        if sample is not None and geometry is not None and (options.overlay or options.predictions):
            return sample_image(self.origin.folder, sample, outcome.errors, outcome.remarks), geometry
        if sample is not None and lies_in_input(sample):
            outcome.remarks.append(
                "how some images lie in the input is not known, so their maps are drawn over what the network saw"
            )
            return input_image(self.origin.folder, sample, outcome.errors)
        return None, geometry


def plan_heat(run: Run, maps: Sequence[MapFile], options: HeatOptions, executor: Executor = serial) -> HeatPlan:
    """What draws heat maps of these maps; a wrong option is one error, not one a map."""
    style = options.style
    palette(style.colormap)
    parse_range(style.range)
    if options.place not in PLACES_KNOWN:
        raise unknown_name("place", options.place, PLACES_KNOWN, "featscope heat --help")
    reduce(np.zeros((3, 1, 1), np.float32), "mean" if style.reduce.startswith("channel:") else style.reduce)
    if options.image is not None:
        sample = _only_sample(run, maps, options.image)
        read_image(options.image, options.reading or (sample.reading if sample is not None else ""))
    if (options.predictions or options.truth) and not run.samples:
        raise BadRunError(
            f"{run.folder} has no record of boxes: it is a folder of arrays only; leave out --boxes and --truth"
        )
    values = partial(_reduced_values, style=style)
    return HeatPlan(Origin.of(run), options, shared_bounds(maps, style.range, values, executor))


def _only_sample(run: Run, maps: Sequence[MapFile], image: Path) -> Optional[Sample]:
    """The sample of all these maps, None where they are of none.

    Raises `BadOptionError` where they are of several, as one image cannot be that of all.
    """
    found: Dict[str, Sample] = {}
    for map_file in maps:
        found.update((sample.id, sample) for sample in map_file.samples if map_file.wants(sample))
        if len(found) > _NAMED:
            break
    if len(found) > 1:
        names, more = list(found)[:_NAMED], ", ..." if len(found) > _NAMED else ""
        raise BadOptionError(
            f"{image} is one image, and these maps are of several: {', '.join(names)}{more}; name the one that it is, "
            f"--sample {names[0]}, or leave --under out; all of them: featscope list {run.folder}"
        )
    return next(iter(found.values()), None)


def _fitting(style: HeatStyle, feature_map: FeatureMap) -> HeatStyle:
    """The style for a map; one that was reduced on capture has nothing left to reduce."""
    record = feature_map.file.record
    return replace(style, reduce="channel:0") if record is not None and record.reduced else style


def _reduced_values(feature_map: FeatureMap, style: HeatStyle) -> NDArray[np.floating]:
    return reduce(feature_map.array, _fitting(style, feature_map).reduce)


def _state(path: Optional[Path]) -> object:
    """What changes when a file does."""
    try:
        state = path.stat() if path is not None else None
    except (OSError, ValueError):
        state = None
    return state and (str(path), state.st_size, state.st_mtime_ns)

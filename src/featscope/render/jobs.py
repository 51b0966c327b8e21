"""Drawing a whole run: a plan of small jobs, each one map file to its pictures."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.normalise import bounds, merge_bounds, parse_range
from featscope.arrays.reduce import as_floats, reduce
from featscope.errors import BadRunError, FeatscopeError, unknown_name
from featscope.records import Boxes, Sample
from featscope.render.colour import palette
from featscope.render.heat import STYLES, HeatStyle, draw_heat
from featscope.render.images import read_image, sample_image
from featscope.render.mosaic import choose_channels, draw_channel, draw_mosaic
from featscope.store.files import inside, make_folder, natural_key, safe_name, write_atomic
from featscope.store.maps import MapFile
from featscope.store.reader import Run

Bounds = Tuple[float, float]


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


@dataclass
class Outcome:
    """What came of a plan: counts, and an error for each part that failed."""

    pictures: int = 0
    bytes: int = 0
    nan: int = 0
    inf: int = 0
    constant: int = 0
    errors: List[str] = field(default_factory=list)
    remarks: List[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Count another outcome in."""
        self.pictures += other.pictures
        self.bytes += other.bytes
        self.nan += other.nan
        self.inf += other.inf
        self.constant += other.constant
        self.errors += other.errors
        self.remarks += other.remarks


class FeatureMap(NamedTuple):
    """One image's map (C, H, W), and the sample it belongs to."""

    array: NDArray[np.generic]
    sample: Optional[Sample]
    stem: str


Draw = Callable[[MapFile, FeatureMap, Path, Outcome], None]


def choose_maps(run: Run, only: Sequence[str] = ()) -> List[MapFile]:
    """The maps of a run whose folder, or folder/name, matches one of the globs; all without globs."""
    if not only:
        return list(run.maps)
    chosen = [
        m
        for m in run.maps
        if any(fnmatchcase(m.folder, g) or fnmatchcase(f"{m.folder}/{m.path.name}", g) for g in only)
    ]
    if not chosen:
        folders = sorted({m.folder for m in run.maps}, key=natural_key)
        raise unknown_name("map", " ".join(only), folders, f"ls {run.folder}")
    return chosen


def output_folder(run: Run, kind: str, given: Optional[Path]) -> Path:
    """The folder for pictures, made and writable: the given one, else RUN/render or RUN/heat."""
    folder = run.folder / kind if given is None else given
    make_folder(folder)
    return folder


def feature_maps(map_file: MapFile) -> Iterator[FeatureMap]:
    """The maps of one file, image by image, with the stem of each picture's name."""
    batch = map_file.load()
    # Regions of interest come by the hundred for one image: they are no maps of the whole of it.
    samples = map_file.samples if len(map_file.samples) == len(batch) else ()
    for index, array in enumerate(batch):
        sample = samples[index] if samples else None
        stem = map_file.path.stem
        if len(batch) > 1:
            stem += "_" + safe_name(sample.id if sample else str(index))
        yield FeatureMap(array, sample, stem)


def run_jobs(maps: Sequence[MapFile], draw: Draw, output: Path, done: Callable[[], None] = lambda: None) -> Outcome:
    """Draw each map file on all cores; an error is kept and the rest goes on."""
    total = Outcome()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for outcome in pool.map(partial(_one_file, draw=draw, output=output), maps):
            total.add(outcome)
            done()
    return total


def _one_file(map_file: MapFile, draw: Draw, output: Path) -> Outcome:
    outcome = Outcome()
    try:
        folder = output / map_file.folder
        if map_file.folder:
            inside(output, map_file.folder)
        make_folder(folder)
        for feature_map in feature_maps(map_file):
            try:
                draw(map_file, feature_map, folder, outcome)
            except FeatscopeError as error:
                outcome.errors.append(f"{map_file.path}: {error}")
    except FeatscopeError as error:
        outcome.errors.append(str(error))
    return outcome


# Mosaics


def plan_mosaics(run: Run, maps: Sequence[MapFile], options: MosaicOptions) -> Draw:
    """What draws one file's mosaics."""
    palette(options.colormap)  # an unknown name is one error, not one a map
    if options.range != "channel":
        parse_range(options.range)
    shared = shared_bounds(maps, options.range, as_floats)
    return partial(_draw_mosaic, run=run, options=options, shared=shared)


def _draw_mosaic(
    map_file: MapFile,
    feature_map: FeatureMap,
    folder: Path,
    outcome: Outcome,
    *,
    run: Run,
    options: MosaicOptions,
    shared: Dict[str, Bounds],
) -> None:
    text = provenance(run, map_file, feature_map)
    limits = shared.get(_range_key(map_file, options.range))
    if options.single:
        for channel in choose_channels(feature_map.array, options.channels):
            values = as_floats(feature_map.array[channel])
            own = limits or bounds(values, "map" if options.range == "channel" else options.range)
            picture = draw_channel(values, options.colormap, own, options.scale, dict(text, channel=str(channel)))
            _save(folder / f"{feature_map.stem}_channel_{channel}.png", picture.png, outcome)
            outcome.nan += picture.nan
            outcome.inf += picture.inf
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
        _title(map_file, feature_map) if options.titles else "",
        options.numbers,
        text,
    )
    outcome.nan += mosaic.nan
    outcome.inf += mosaic.inf
    _save(folder / f"{feature_map.stem}.png", mosaic.png, outcome)


# Heat maps


def plan_heat(run: Run, maps: Sequence[MapFile], options: HeatOptions) -> Draw:
    """What draws one file's heat maps."""
    style = options.style
    palette(style.colormap)
    parse_range(style.range)
    reduce(np.zeros((3, 1, 1), np.float32), "mean" if style.reduce.startswith("channel:") else style.reduce)
    if options.image is not None:
        read_image(options.image)
    if (options.predictions or options.truth) and not run.samples:
        raise BadRunError(
            f"{run.folder} has no record of boxes: it is a folder of arrays only; leave out --boxes and --truth"
        )
    shared = shared_bounds(maps, style.range, lambda x: reduce(x, style.reduce))
    return partial(_draw_heat, run=run, options=options, shared=shared)


def _draw_heat(
    map_file: MapFile,
    feature_map: FeatureMap,
    folder: Path,
    outcome: Outcome,
    *,
    run: Run,
    options: HeatOptions,
    shared: Dict[str, Bounds],
) -> None:
    sample = feature_map.sample
    geometry = sample.geometry if sample else None
    stride = map_file.record.stride if map_file.record else None
    image = None
    if options.image is not None:
        image = read_image(options.image)
        if geometry is not None and image.shape[:2] != tuple(geometry.original):
            geometry = None  # another image: the map is stretched over it
    elif sample is not None and geometry is not None and (options.overlay or options.predictions):
        image = sample_image(run, sample, outcome.errors, outcome.remarks)
    boxes: List[Tuple[Boxes, Optional[str]]] = []
    if sample is not None and geometry is not None and options.truth and sample.truth is not None:
        boxes.append((sample.truth, "white"))
    if sample is not None and geometry is not None and options.predictions and sample.predictions is not None:
        boxes.append((sample.predictions, None))
    size = (image.shape[0], image.shape[1]) if image is not None else None
    classes = run.info.classes if run.info else ()
    draw = partial(
        draw_heat,
        feature_map.array,
        options.style,
        size,
        geometry=geometry,
        stride=stride,
        value_range=shared.get(_range_key(map_file, options.style.range)),
        boxes=boxes,
        classes=classes,
        min_score=options.min_score,
        text=provenance(run, map_file, feature_map),
    )
    has_image = image is not None and options.overlay
    if options.alone or not has_image:
        picture = draw()
        _save(folder / f"{feature_map.stem}.png", picture.png, outcome)
        outcome.nan += picture.values.nan
        outcome.inf += picture.values.inf
        outcome.constant += picture.values.constant
    if has_image:
        _save(folder / f"{feature_map.stem}_overlay.png", draw(image=image).png, outcome)


# Ranges that maps share


def _range_key(map_file: MapFile, value_range: str) -> str:
    return {"layer": map_file.folder, "run": "run"}.get(value_range, "none")


def shared_bounds(
    maps: Sequence[MapFile], value_range: str, values: Callable[[NDArray[np.generic]], NDArray[np.floating]]
) -> Dict[str, Bounds]:
    """The range of each layer's maps, or of all, if it is to be shared; unreadable maps have no say."""
    if value_range not in ("layer", "run"):
        return {}

    def ends(map_file: MapFile) -> List[Bounds]:
        try:
            return [bounds(values(f.array), "map") for f in feature_maps(map_file)]
        except FeatscopeError:
            return []  # reported when it is drawn

    groups: Dict[str, List[Bounds]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for map_file, found in zip(maps, pool.map(ends, maps)):
            groups.setdefault(_range_key(map_file, value_range), []).extend(found)
    return {key: merge_bounds(found) for key, found in groups.items() if found}


# Names


def provenance(run: Run, map_file: MapFile, feature_map: FeatureMap) -> Dict[str, str]:
    """Where a picture comes from, for its text chunks."""
    text = {"run": run.folder.name, "map": f"{map_file.folder}/{map_file.path.name}"}
    record = map_file.record
    if record is not None:
        text.update(layer=record.layer, field=record.field, level=str(record.level))
    if feature_map.sample is not None:
        text["sample"] = feature_map.sample.id
    return {key: value for key, value in text.items() if value}


def _title(map_file: MapFile, feature_map: FeatureMap) -> str:
    channels, height, width = feature_map.array.shape
    parts = [
        f"{map_file.folder or map_file.path.parent.name}/{feature_map.stem}",
        f"{channels} x {height} x {width}",
    ]
    if feature_map.sample is not None:
        parts.append(feature_map.sample.id)
    return "   ".join(parts)


def _save(path: Path, png: bytes, outcome: Outcome) -> None:
    write_atomic(path, png)
    outcome.pictures += 1
    outcome.bytes += len(png)

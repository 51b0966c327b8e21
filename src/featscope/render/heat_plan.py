"""Plan the heat maps of a run: how each map is drawn, alone and over its image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featscope.arrays.basis import Basis, Key
from featscope.arrays.frames import scaled, scaled_boxes
from featscope.arrays.normalise import parse_range
from featscope.arrays.reduce import reduce, words_of
from featscope.errors import BadOptionError, BadRunError, unknown_name
from featscope.records import Boxes, Geometry, Place, Sample, Size
from featscope.render.bases import bases_of, basis_key, check_basis, inside_of
from featscope.render.boxes import LABELS
from featscope.render.caption import Caption
from featscope.render.colour import palette
from featscope.render.files import check_format
from featscope.render.heat import AUTO, SEQUENTIAL, STYLES, HeatPicture, HeatStyle, draw_heat
from featscope.render.jobs import AS_IT_IS, Form, Origin, Outcome, provenance, save, up_to_date
from featscope.render.looks import Look, looks_of
from featscope.render.ranges import Bounds, range_key, shared_bounds
from featscope.scale.executor import Executor, serial
from featscope.store.feature_maps import FeatureMap
from featscope.store.images import read_image
from featscope.store.maps import MapFile
from featscope.store.places import PLACES_KNOWN
from featscope.store.reader import Run
from featscope.store.sample_images import input_image, lies_in_input, sample_image

_NAMED = 5  # the most samples that an error lists
_SMALLEST = 512  # pixels of the longer side of a map without an image, so that it is large enough to look at


@dataclass(frozen=True)
class HeatOptions:
    """The options of `featscope heat`, which its help explains."""

    style: HeatStyle = STYLES["featscope"]
    overlay: bool = True
    alone: bool = True
    predictions: bool = False
    truth: bool = False
    min_score: float = 0.3
    image: Optional[Path] = None
    place: str = "measured"
    reading: str = ""
    basis: str = "layer"
    labels: str = "score"
    form: Form = AS_IT_IS


class _Scene(NamedTuple):
    """The image under a map, the place of the map, and the boxes, all in pixels of the picture."""

    image: Optional[NDArray[np.uint8]]
    geometry: Optional[Geometry]
    boxes: List[Tuple[Boxes, Optional[str]]]


class Reduced(NamedTuple):
    """A map as it is drawn, before it is coloured."""

    values: NDArray[np.floating]
    """(H, W); (H, W, 3) for three principal components."""

    style: HeatStyle
    """How it is drawn, with nothing left to choose."""

    words: str
    """What the values are."""


@dataclass(frozen=True)
class HeatPlan:
    """Draws each map as a heat map, alone and over its image. Made by `plan_heat`."""

    origin: Origin
    options: HeatOptions

    looks: Dict[str, Look] = field(default_factory=dict)
    """How the maps are drawn, by folder. Empty if the style leaves nothing to choose."""

    bases: Dict[Key, Basis] = field(default_factory=dict)
    """Shared bases of principal components."""

    shared: Dict[str, Bounds] = field(default_factory=dict)
    """Shared value ranges, by `range_key`."""

    def draw(self, feature_map: FeatureMap, folder: Path, outcome: Outcome) -> None:
        """Draw the map of one image, and save the pictures in a folder."""
        options, sample = self.options, feature_map.sample
        placed = options.image is not None or (
            sample is not None and (sample.geometry is not None or lies_in_input(sample))
        )
        mark, suffix = self.fingerprint(feature_map), options.form.suffix
        alone, over = folder / f"{feature_map.stem}{suffix}", folder / f"{feature_map.stem}_overlay{suffix}"
        wanted = [path for path, asked in ((alone, options.alone), (over, options.overlay and placed)) if asked]
        if up_to_date(wanted or [alone], mark, outcome):
            return
        scene = self._scene(feature_map, outcome)
        record = feature_map.file.record
        if record is not None and record.reduced and options.style.reduce not in (AUTO, "mean", record.reduced):
            outcome.remarks.append(
                f"maps were already reduced by {record.reduced} during the capture, so "
                f"-r {options.style.reduce} has no effect"
            )
        has_image = scene.image is not None and options.overlay
        if options.alone or not has_image:
            picture = self._drawn(feature_map, scene, None, mark)
            save(alone, picture.png, outcome, options.form)
            _count(picture, outcome)
        if has_image:
            save(over, self._drawn(feature_map, scene, scene.image, mark).png, outcome, options.form)

    def picture(self, feature_map: FeatureMap, outcome: Outcome) -> bytes:
        """Draw the map of one image over that image, or alone if there is none, and return the PNG."""
        scene = self._scene(feature_map, outcome)
        drawn = self._drawn(feature_map, scene, scene.image if self.options.overlay else None, "")
        _count(drawn, outcome)
        return drawn.png

    def reduced(self, feature_map: FeatureMap) -> Reduced:
        """Return the values of a map that are drawn, and how."""
        look, array = self.look(feature_map), feature_map.array
        if look.scores is not None:
            values = look.scores.map_of(feature_map.file, feature_map.index, array)
            style = _first(look.style).for_array(values[None])
        else:
            style, inside = look.style.for_array(array), inside_of(feature_map, self.options.place)
            values = reduce(array, style.reduce, inside, self._basis(feature_map))
        return Reduced(values, style, _words(feature_map, look, style))

    def fingerprint(self, feature_map: FeatureMap) -> str:
        """Return a fingerprint, which changes if the map or anything that is drawn with it changes."""
        options, sample, look = self.options, feature_map.sample, self.look(feature_map)
        source = options.image or (Path(sample.path) if sample is not None and sample.path else None)
        basis = self._basis(feature_map)
        shared = self._limits(feature_map, look)
        directions = b"".join(part.round(9).tobytes() for part in basis) if basis is not None else b""
        place, state = self._place(feature_map), _state(source)
        return feature_map.fingerprint(("heat", options, look, shared, state, self.origin.classes, place, directions))

    def look(self, feature_map: FeatureMap) -> Look:
        """Return how a map is drawn. A map that was reduced during the capture is not reduced again."""
        record = feature_map.file.record
        look = self.looks.get(feature_map.file.folder) or Look(self.options.style)
        if record is not None and record.reduced:
            return replace(look, style=replace(look.style, reduce="channel:0"))
        return look

    def _basis(self, feature_map: FeatureMap) -> Optional[Basis]:
        return self.bases.get(basis_key(feature_map.file, self.options.basis)) if self.bases else None

    def _limits(self, feature_map: FeatureMap, look: Look) -> Optional[Bounds]:
        return self.shared.get(range_key(feature_map.file, look.style.range))

    def _drawn(
        self, feature_map: FeatureMap, scene: _Scene, image: Optional[NDArray[np.uint8]], mark: str
    ) -> HeatPicture:
        look, place, basis = self.look(feature_map), self._place(feature_map), self._basis(feature_map)
        text = dict(provenance(feature_map, self.origin, mark), place=place.known if place else "assumed")
        array, style = feature_map.array, look.style
        if look.scores is not None:
            array, style = look.scores.map_of(feature_map.file, feature_map.index, array)[None], _first(style)
            text["scores"] = look.scores.words
        if basis is not None:
            text["basis"] = self.options.basis
        style = style.for_array(array)
        return draw_heat(
            array,
            style,
            self._size(feature_map, scene, style),
            image,
            geometry=scene.geometry,
            stride=place.stride if place else None,
            first=place.first if place else None,
            value_range=self._limits(feature_map, look),
            boxes=scene.boxes,
            classes=self.origin.classes,
            min_score=self.options.min_score,
            text=text,
            caption=Caption(feature_map.title(place), _words(feature_map, look, style)) if style.legend else None,
            basis=basis,
            labels=self.options.labels,
        )

    def _size(self, feature_map: FeatureMap, scene: _Scene, style: HeatStyle) -> Optional[Size]:
        """Return the size of the picture; None for the default of `draw_heat`.

        A map without an image gets a whole number of pixels per cell, and is made large enough to look at.
        """
        if scene.image is not None:
            return scene.image.shape[0], scene.image.shape[1]
        if scene.geometry is not None or not style.legend:
            return None
        rows, columns = feature_map.array.shape[1:]
        cell = max(1, round(min(_SMALLEST, self.options.form.max_size or _SMALLEST) / max(rows, columns)))
        return rows * cell, columns * cell

    def _place(self, feature_map: FeatureMap) -> Optional[Place]:
        return feature_map.file.place("assumed" if self.options.style.stretched else self.options.place)

    def _scene(self, feature_map: FeatureMap, outcome: Outcome) -> _Scene:
        """Return the image under a map and its boxes, at the size of the picture."""
        options, sample = self.options, feature_map.sample
        image, geometry = self._image(feature_map, outcome)
        boxes: List[Tuple[Boxes, Optional[str]]] = []
        if sample is not None and geometry is not None:
            frame = "input" if sample.geometry is None else "original"
            if options.truth and sample.truth is not None and sample.truth.frame == frame:
                boxes.append((sample.truth, "white"))
            if options.predictions and sample.predictions is not None and sample.predictions.frame == frame:
                boxes.append((sample.predictions, None))
        most = options.form.max_size
        size = geometry.original if geometry is not None else image.shape[:2] if image is not None else (0, 0)
        if not most or max(size) <= most:
            return _Scene(image, geometry, boxes)
        smaller = (max(1, round(size[0] * most / max(size))), max(1, round(size[1] * most / max(size))))
        if image is not None:
            image = np.asarray(Image.fromarray(image).resize(smaller[::-1], Image.Resampling.BOX))
        boxes = [(scaled_boxes(some, smaller[0] / size[0], smaller[1] / size[1]), colour) for some, colour in boxes]
        return _Scene(image, scaled(geometry, smaller) if geometry is not None else None, boxes)

    def _image(
        self, feature_map: FeatureMap, outcome: Outcome
    ) -> Tuple[Optional[NDArray[np.uint8]], Optional[Geometry]]:
        """Return the image under a map, and how the map lies on it."""
        options, sample = self.options, feature_map.sample
        geometry = sample.geometry if sample else None
        if options.image is not None:
            image = read_image(options.image, options.reading or (sample.reading if sample is not None else ""))
            # If this is not the captured image, the map is stretched over it.
            fits = geometry is not None and image.shape[:2] == tuple(geometry.original)
            return image, geometry if fits else None
        if sample is not None and geometry is not None and options.overlay:
            return sample_image(self.origin.folder, sample, outcome.errors, outcome.remarks), geometry
        if sample is not None and lies_in_input(sample):
            outcome.remarks.append(
                "the position of some images in the input is unknown, so their maps are drawn over the input itself"
            )
            return input_image(self.origin.folder, sample, outcome.errors)
        return None, geometry


def plan_heat(run: Run, maps: Sequence[MapFile], options: HeatOptions, executor: Executor = serial) -> HeatPlan:
    """Make the plan that draws these maps as heat maps.

    Options are checked here, so that a wrong option raises one error in place of one error per map.
    """
    style = options.style
    check_heat(options)
    if options.image is not None:
        sample = _only_sample(run, maps, options.image)
        read_image(options.image, options.reading or (sample.reading if sample is not None else ""))
    if (options.predictions or options.truth) and not run.samples:
        raise BadRunError(
            f"{run.folder} has no record of boxes: it is a folder of arrays only; leave out --boxes and --truth"
        )
    origin = Origin.of(run)
    looks = looks_of(run, style)
    bases = bases_of(maps, style.reduce, options.basis, executor)
    plan = HeatPlan(origin, options, looks, bases)
    return replace(plan, shared=shared_bounds(maps, style.range, partial(_reduced_values, plan=plan), executor))


def check_heat(options: HeatOptions) -> None:
    """Raise an error if an option is invalid. Reads no map."""
    style = options.style
    palette(SEQUENTIAL if style.colormap == AUTO else style.colormap)
    if style.range != AUTO:
        parse_range(style.range)
    if options.place not in PLACES_KNOWN:
        raise unknown_name("place", options.place, PLACES_KNOWN, "featscope heat --help")
    if options.labels not in LABELS:
        raise unknown_name("kind of label", options.labels, LABELS, "featscope heat --help")
    for name, share in (("alpha", style.alpha), ("min_score", options.min_score)):
        if not 0 <= share <= 1:
            raise BadOptionError(f"{name}={share!r} is out of range; give a number from 0 to 1")
    check_basis(options.basis)
    check_format(options.form.format)
    if style.reduce != AUTO:
        reduce(np.zeros((3, 1, 1), np.float32), "mean" if style.reduce.startswith("channel:") else style.reduce)


def _only_sample(run: Run, maps: Sequence[MapFile], image: Path) -> Optional[Sample]:
    """Return the sample to which all these maps belong; None if they belong to none.

    Raises `BadOptionError` if they belong to several samples, because one image cannot be that of all.
    """
    found: Dict[str, Sample] = {}
    for map_file in maps:
        found.update((sample.id, sample) for sample in map_file.samples if map_file.wants(sample))
        if len(found) > _NAMED:
            break
    if len(found) > 1:
        names, more = list(found)[:_NAMED], ", ..." if len(found) > _NAMED else ""
        raise BadOptionError(
            f"{image} is one image, but these maps belong to several: {', '.join(names)}{more}; say which one it is "
            f"(--sample {names[0]}), or leave out --under; to see all: featscope list {run.folder}"
        )
    return next(iter(found.values()), None)


def _reduced_values(feature_map: FeatureMap, plan: HeatPlan) -> NDArray[np.floating]:
    """Return the values of a map that determine a shared range."""
    return plan.reduced(feature_map).values


def _count(picture: HeatPicture, outcome: Outcome) -> None:
    """Count what the user should know of a picture's values."""
    outcome.nan += picture.values.nan
    outcome.inf += picture.values.inf
    outcome.constant += picture.values.constant


def _first(style: HeatStyle) -> HeatStyle:
    """Return the style for an array with a single channel, which is drawn as it is."""
    return replace(style, reduce="channel:0")


def _words(feature_map: FeatureMap, look: Look, style: HeatStyle) -> str:
    """Say what the colours of a map mean."""
    record = feature_map.file.record
    if look.scores is not None:
        return look.scores.words
    if record is not None and record.reduced:
        return words_of(record.reduced)
    if feature_map.array.shape[0] == 1 and style.reduce in ("mean", "channel:0"):
        return "its only channel"
    return words_of(style.reduce)


def _state(path: Optional[Path]) -> object:
    """Return a value that changes if the file changes: its path, size and time of modification."""
    try:
        state = path.stat() if path is not None else None
    except (OSError, ValueError):
        state = None
    return state and (str(path), state.st_size, state.st_mtime_ns)

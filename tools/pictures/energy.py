"""How much of a picture's heat lies on objects."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, List, NamedTuple, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from featscope.arrays.boxes import corners_of
from featscope.arrays.frames import scaled
from featscope.arrays.geometry import place
from featscope.arrays.normalise import INF_INDEX
from featscope.records import Boxes, Geometry, Size
from featscope.render.heat import HeatPicture, HeatStyle, draw_heat, opacity
from featscope.render.heat_plan import HeatOptions, HeatPlan, plan_heat
from featscope.store.feature_maps import FeatureMap, feature_maps
from featscope.store.reader import Run
from pictures.others import PEERS

OURS, FADED = "featscope", "featscope, faded"
"""Ours by its colours, as the others; and times how opaque each colour is, as the eye sees it."""

_LONGEST = 1024  # pixels of the side of an image on which is measured

Heat = NDArray[np.floating]


class Row(NamedTuple):
    """The maps of one layer, field and level. reduction: ours. energies: by look, times their share of the area."""

    layer: str
    level: int
    reduction: str
    images: int
    energies: Dict[str, float]


def measure(run: Run) -> List[Row]:
    """A row for each folder and level of a run."""
    plan = plan_heat(run, run.maps, HeatOptions())
    shares: Dict[Tuple[str, int], List[Tuple[float, Dict[str, float]]]] = {}
    reductions: Dict[Tuple[str, int], str] = {}
    masks: Dict[str, NDArray[np.bool_]] = {}
    for map_file in run.maps:
        for feature_map in feature_maps(map_file) if map_file.is_map else ():
            sample, record = feature_map.sample, map_file.record
            if record is None or sample is None or sample.truth is None or sample.geometry is None:
                continue
            geometry = _smaller(sample.geometry)
            if sample.id not in masks:
                masks[sample.id] = inside_boxes(sample.truth, sample.geometry.original, geometry.original)
            key = (".".join(filter(None, (record.layer, record.field))), record.level)
            heats, reductions[key] = heats_of(feature_map, plan)
            mask = masks[sample.id]
            laid = {name: on_image(heat, feature_map, geometry) for name, heat in heats.items()}
            found = {name: float(heat[mask].sum() / max(heat.sum(), 1e-12)) for name, heat in laid.items()}
            shares.setdefault(key, []).append((float(mask.mean()), found))
    return [Row(*key, reductions[key], len(found), _energies(found)) for key, found in shares.items()]


def _energies(found: List[Tuple[float, Dict[str, float]]]) -> Dict[str, float]:
    """Mean share of the heat in boxes over the mean share of their area: images count alike."""
    area = np.mean([share for share, _ in found])
    return {name: float(np.mean([shares[name] for _, shares in found]) / area) for name in found[0][1]}


def heats_of(feature_map: FeatureMap, plan: HeatPlan) -> Tuple[Dict[str, Heat], str]:
    """How strong each cell is coloured, (H, W) in [0, 1], by look; and what ours draws."""
    array, look = feature_map.array, plan.look(feature_map)
    values, style = array, look.style
    if look.scores is not None:
        values = look.scores.map_of(feature_map.file, feature_map.index, array)[None]
        style = replace(style, reduce="channel:0")
    style = style.for_array(values)
    picture = _drawn(values, style, feature_map)
    index = np.minimum(picture.values.indices, INF_INDEX - 1) / 255
    ours = np.abs(2 * index - 1) if style.zero else index
    faded = ours * opacity(style, 256)[picture.values.indices]  # in units of its own, as only shares are compared
    heats = {OURS: ours, FADED: faded}
    heats.update((name, peer.heat(np.asarray(array, np.float32))) for name, peer in PEERS.items())
    return heats, look.scores.words if look.scores is not None else style.reduce


def _drawn(values: Heat, style: HeatStyle, feature_map: FeatureMap) -> HeatPicture:
    sample, found = feature_map.sample, feature_map.file.place()
    where = {"stride": found.stride, "first": found.first} if found is not None else {}
    return draw_heat(values, style, geometry=sample.geometry if sample else None, **where)  # type: ignore[arg-type]


def on_image(heat: Heat, feature_map: FeatureMap, geometry: Geometry) -> Heat:
    """A heat at its place on the image, all looks alike: what is compared is the look, not the place."""
    found = feature_map.file.place()
    where = {"stride": found.stride, "first": found.first} if found is not None else {}
    return np.asarray(place(heat.astype(np.float32), geometry.original, geometry, **where))


def inside_boxes(boxes: Boxes, original: Size, size: Size) -> NDArray[np.bool_]:
    """Where the boxes of an image lie in a picture of it of another size, (H, W)."""
    mask = Image.new("1", size[::-1])
    draw = ImageDraw.Draw(mask)
    for corners in corners_of(boxes.form, boxes.boxes):
        draw.polygon([(x * size[1] / original[1], y * size[0] / original[0]) for x, y in corners], fill=1)
    return np.asarray(mask)


def _smaller(geometry: Geometry) -> Geometry:
    factor = min(1.0, _LONGEST / max(geometry.original))
    return scaled(geometry, (round(geometry.original[0] * factor), round(geometry.original[1] * factor)))

"""Side by side: the same map as featscope draws it, and as the others do."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Dict, List, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from featscope.arrays.boxes import corners_of
from featscope.render.fonts import font_of
from featscope.render.heat_plan import HeatOptions, plan_heat
from featscope.render.jobs import Outcome
from featscope.store.feature_maps import FeatureMap, feature_maps
from featscope.store.reader import Run
from featscope.store.sample_images import sample_image
from pictures.others import PEERS
from pictures.subjects import Subject

_WIDTH = 400  # pixels of each picture
_IMAGES = 2  # of a subject
_LEVELS = (0, 1)
_QUALITY = 78

Picture = NDArray[np.uint8]


def write_sheets(subject: Subject, run: Run, folder: Path) -> Dict[str, List[str]]:
    """Write a picture for each layer of some images: layer and level -> files.

    Each has the image with its labels, ours, and the others' in two rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = plan_heat(run, run.maps, HeatOptions())
    chosen = list(run.samples)[: _IMAGES + 2 : 2][:_IMAGES]
    written: Dict[str, List[str]] = {}
    for map_file in run.maps:
        record = map_file.record
        if record is None or record.level not in _LEVELS or not map_file.is_map or record.field == "bbox_preds":
            continue
        for feature_map in feature_maps(map_file):
            sample = feature_map.sample
            if sample is None or sample.id not in chosen:
                continue
            photo = sample_image(run.folder, sample, [], [])
            if photo is None or sample.truth is None:
                continue
            ours = np.asarray(Image.open(io.BytesIO(plan.picture(feature_map, Outcome()))).convert("RGB"))
            array = np.asarray(feature_map.array, np.float32)
            others = {name: peer.overlay(array, photo) for name, peer in PEERS.items()}
            boxes = corners_of(sample.truth.form, sample.truth.boxes)
            title = f"{subject.name}  {'.'.join(filter(None, (record.layer, record.field)))}  level {record.level}"
            path = folder / f"{_stem(subject, feature_map)}.webp"
            pictures = {"the image and its labels": _labelled(photo, boxes), "featscope": ours, **others}
            sheet(title, pictures).save(path, "WEBP", quality=_QUALITY, method=6)
            written.setdefault(f"{record.layer} {record.field} level {record.level}", []).append(path.name)
    return written


def sheet(title: str, pictures: Dict[str, Picture]) -> Image.Image:
    """Pictures with their names, four in a row, on white."""
    tiles = [_tile(name, picture) for name, picture in pictures.items()]
    rows = [tiles[start : start + 4] for start in range(0, len(tiles), 4)]
    heights = [max(tile.height for tile in row) for row in rows]
    canvas = Image.new("RGB", (4 * (_WIDTH + 8), 28 + sum(heights)), "white")
    ImageDraw.Draw(canvas).text((4, 4), title, "black", font_of(17, title))
    top = 28
    for row, height in zip(rows, heights):
        for number, tile in enumerate(row):
            canvas.paste(tile, (number * (_WIDTH + 8), top))
        top += height
    return canvas


def _tile(name: str, picture: Picture) -> Image.Image:
    image = Image.fromarray(picture)
    image = image.resize((_WIDTH, round(image.height * _WIDTH / image.width)), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (_WIDTH, image.height + 26), "white")
    tile.paste(image, (0, 22))
    ImageDraw.Draw(tile).text((4, 3), name, "black", font_of(14, name))
    return tile


def _labelled(photo: Picture, boxes: Sequence[NDArray[np.float64]]) -> Picture:
    image = Image.fromarray(photo)
    draw = ImageDraw.Draw(image)
    for corners in boxes:
        outline = [(float(x), float(y)) for x, y in corners]
        draw.line([*outline, outline[0]], fill="white", width=max(2, image.width // 300))
    return np.asarray(image)


def _stem(subject: Subject, feature_map: FeatureMap) -> str:
    name = subject.name.replace(" ", "-").replace("'", "")
    return f"{name}_{feature_map.file.folder}_{feature_map.stem}"

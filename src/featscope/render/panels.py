"""Draw panels: the levels of one layer side by side in one picture."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featscope.arrays.geometry import refuse_huge
from featscope.errors import FeatscopeError, first_line
from featscope.render.heat_plan import HeatPlan
from featscope.render.jobs import FINGERPRINT, Outcome, named, provenance, save, up_to_date
from featscope.render.mosaic import columns_of
from featscope.render.png import encode_rgb
from featscope.scale.executor import Executor, serial
from featscope.store.feature_maps import FeatureMap, feature_maps
from featscope.store.files import inside, make_folder
from featscope.store.maps import MapFile

_GAP = 8  # pixels
_SIDE_BY_SIDE = 4  # the most pictures that stay in one row


def beside(pictures: Iterable[NDArray[np.uint8]], gap: int = _GAP) -> NDArray[np.uint8]:
    """Put pictures (H, W, 3) side by side on white. All are enlarged to the height of the highest one.

    >>> beside([np.zeros((10, 20, 3), np.uint8), np.zeros((5, 10, 3), np.uint8)]).shape
    (10, 48, 3)
    """
    images = [Image.fromarray(picture) for picture in pictures]
    height = max(image.height for image in images)
    images = [
        image if image.height == height else image.resize((round(image.width * height / image.height), height))
        for image in images
    ]
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    refuse_huge((height, width))
    canvas, left = np.full((height, width, 3), 255, np.uint8), 0
    for image in images:
        canvas[:, left : left + image.width] = np.asarray(image)
        left += image.width + gap
    return canvas


def in_rows(pictures: Sequence[NDArray[np.uint8]], gap: int = _GAP) -> NDArray[np.uint8]:
    """Arrange pictures of the same size (H, W, 3) on white.

    Up to four are in one row. More are in several rows, and the last row is not a single picture.


    >>> in_rows([np.zeros((10, 20, 3), np.uint8)] * 6, 0).shape
    (30, 40, 3)
    """
    height, width = pictures[0].shape[:2]
    columns = len(pictures) if len(pictures) <= _SIDE_BY_SIDE else columns_of(len(pictures), height / width)
    rows = -(-len(pictures) // columns)
    refuse_huge((rows * (height + gap), columns * (width + gap)))
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        canvas[top : top + height, left : left + width] = picture
    return canvas


def run_panels(
    maps: Sequence[MapFile],
    plan: HeatPlan,
    output: Path,
    done: Callable[[], None] = lambda: None,
    executor: Executor = serial,
) -> Outcome:
    """Draw one picture for each image and layer, with the levels side by side: OUTPUT/<folder>/<sample>_levels.png.

    done: called after each map file.
    """
    groups: Dict[Tuple[str, int], List[MapFile]] = {}
    total = Outcome()
    for map_file in maps:
        if map_file.is_map:
            batch = map_file.record.batch if map_file.record is not None else -1
            groups.setdefault((map_file.folder, batch), []).append(map_file)
        else:
            total.no_maps.append(map_file.folder)
    for files, outcome in executor(partial(_draw_panels, plan=plan, output=output), list(groups.values())):
        if isinstance(outcome, Exception):
            total.errors.append(f"{files[0].path} was not drawn: {outcome}")
        else:
            total.add(outcome)
        for _ in files:
            done()
    return total


def _draw_panels(files: Sequence[MapFile], plan: HeatPlan, output: Path) -> Outcome:
    """Draw the panels of the images whose levels are in these files, all of one folder and batch."""
    outcome = Outcome()
    try:
        folder = inside(output, files[0].folder) if files[0].folder else output
        make_folder(folder)
        of_images: Dict[str, List[FeatureMap]] = {}
        for map_file in files:
            try:
                levels = list(feature_maps(map_file))
            except FeatscopeError as error:
                outcome.errors.append(str(error))
                continue
            for feature_map in levels:
                name = feature_map.stem.rpartition("_level")[0] if feature_map.sample is not None else ""
                of_images.setdefault(name, []).append(feature_map)
        for name, levels in of_images.items():
            _draw_panel(levels, plan, folder / f"{name}{'_' if name else ''}levels{plan.options.form.suffix}", outcome)
    except FeatscopeError as error:
        outcome.errors.append(str(error))
    except Exception as error:  # noqa: BLE001 (draw the other layers)
        outcome.errors.append(f"{files[0].path} cannot be drawn: {first_line(error)}")
    return outcome


def _draw_panel(levels: List[FeatureMap], plan: HeatPlan, path: Path, outcome: Outcome) -> None:
    mark = levels[0].fingerprint(("panel", *map(plan.fingerprint, levels)))
    if up_to_date([path], mark, outcome):
        return
    pictures: List[NDArray[np.uint8]] = []
    for level in levels:
        try:
            picture = plan.picture(level, outcome)
        except FeatscopeError as error:
            outcome.errors.append(named(level.file, error))
            continue
        pictures.append(np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")))
    if pictures:
        text = dict(provenance(levels[0], plan.origin, mark), level="all")
        text[FINGERPRINT] = mark
        save(path, encode_rgb(beside(pictures), text), outcome, plan.options.form)

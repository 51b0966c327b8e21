"""Where a map's cells lie on the original image: padding, flip, resize, letterbox and crop undone."""

from __future__ import annotations

import math
import sys
from typing import Any, Optional, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featscope.arrays.frames import in_whole_pixels
from featscope.arrays.normalise import INF_INDEX
from featscope.arrays.reduce import EVERYWHERE, Cells
from featscope.errors import BadImageError, BadOptionError
from featscope.records import Geometry, Size, assumed_place

Box = Tuple[float, float, float, float]


def refuse_huge(size: Size) -> None:
    """Raise `BadImageError` for a picture larger than Pillow would read."""
    most = 2 * (Image.MAX_IMAGE_PIXELS or sys.maxsize)
    if size[0] * size[1] > most:
        raise BadImageError(f"a picture of {size[0]} x {size[1]} is larger than {most} pixels; is the record damaged?")


def cells_of_image(
    shape: Size,
    geometry: Geometry,
    stride: Optional[Tuple[float, float]] = None,
    first: Optional[Tuple[float, float]] = None,
) -> Box:
    """The part of a map that covers the image: (left, top, right, bottom) in cells.

    >>> cells_of_image((128, 124), Geometry((1182, 1111), (1024, 962), (1024, 992)))
    (0.0, 0.0, 120.25, 128.0)

    shape: the map's (rows, columns). stride, first: as in `featscope.records.Place`; where they are not given the
    cells share the pixels of the padded size.
    """
    if stride is None:
        stride = assumed_place(geometry.padded, shape).stride
    if not all(0 < step < np.inf for step in stride):
        raise BadOptionError(f"no cells lie {stride[0]} x {stride[1]} pixels apart; give a stride above 0, as (8, 8)")
    if first is None:
        first = (stride[0] / 2, stride[1] / 2)
    (top, left), (height, width) = geometry.offset, geometry.resized
    y, x = ((0.5 - centre / step) for centre, step in zip(first, stride))  # the cells at the input's corner
    return left / stride[1] + x, top / stride[0] + y, (left + width) / stride[1] + x, (top + height) / stride[0] + y


def cells_inside(
    shape: Size,
    geometry: Optional[Geometry],
    stride: Optional[Tuple[float, float]] = None,
    first: Optional[Tuple[float, float]] = None,
) -> Cells:
    """The rows and columns of a map whose centres lie on the image, not on its padding.

    >>> cells_inside((128, 124), Geometry((1182, 1111), (1024, 962), (1024, 992)))
    (slice(0, 128, None), slice(0, 120, None))

    All, where there is no geometry or no cell lies on the image.
    """
    if geometry is None:
        return EVERYWHERE
    left, top, right, bottom = cells_of_image(shape, geometry, stride, first)
    found = []
    for start, end, count in ((top, bottom, shape[0]), (left, right, shape[1])):
        low, high = max(0, math.ceil(start - 0.5 - 1e-6)), min(count, math.floor(end - 0.5 + 1e-6) + 1)
        if high <= low:
            return EVERYWHERE
        found.append(slice(low, high))
    return found[0], found[1]


def place(
    heat: NDArray[Any],
    size: Size,
    geometry: Optional[Geometry] = None,
    stride: Optional[Tuple[float, float]] = None,
    *,
    smooth: bool = True,
    first: Optional[Tuple[float, float]] = None,
) -> NDArray[Any]:
    """Draw a map at the place of the original image that its cells saw.

    heat: (rows, columns), 8-bit indices or float32. size: (height, width) of the result; with a
    geometry it is the original's. Without a geometry the map is stretched over the whole size.
    smooth: bilinear between the centres of the cells; otherwise each cell is a flat rectangle.
    """
    rows, columns = heat.shape
    box: Box = (0.0, 0.0, float(columns), float(rows))
    target, crop = size, None
    if geometry is not None:
        geometry = in_whole_pixels(geometry)
        box = cells_of_image((rows, columns), geometry, stride, first)
        crop = (*map(round, geometry.crop),) if geometry.crop else None
        target = (crop[2], crop[3]) if crop else geometry.original
        # Where a layer has no cell for the first or last pixels, its border cells go on.
        before = [max(0, int(np.ceil(-start - 1e-6))) for start in (box[1], box[0])]
        behind = [max(0, int(np.ceil(end - 1e-6)) - have) for end, have in ((box[3], rows), (box[2], columns))]
        if any(before) or any(behind):
            refuse_huge((before[0] + rows + behind[0], before[1] + columns + behind[1]))
            heat = np.pad(heat, tuple(zip(before, behind)), mode="edge")
        (top, left), (height, width) = before, heat.shape
        ends = (min(box[2] + left, width), min(box[3] + top, height))
        box = (max(0.0, box[0] + left), max(0.0, box[1] + top), *ends)
    result = _resize(heat, target, box, smooth)
    if geometry is not None:
        if geometry.flip in ("horizontal", "diagonal"):
            result = result[:, ::-1]
        if geometry.flip in ("vertical", "diagonal"):
            result = result[::-1]
        if crop:
            canvas = np.zeros(geometry.original, result.dtype)
            canvas[crop[0] : crop[0] + crop[2], crop[1] : crop[1] + crop[3]] = result
            result = canvas
    return result


def _resize(heat: NDArray[Any], size: Size, box: Box, smooth: bool) -> NDArray[Any]:
    height, width = size
    if (height, width) == (heat.shape[0], heat.shape[1]) and box == (0.0, 0.0, float(width), float(height)):
        return heat
    resample = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(np.ascontiguousarray(heat)).resize((width, height), resample, box))


def place_indices(
    indices: NDArray[np.uint8],
    marked: bool,
    size: Size,
    geometry: Optional[Geometry] = None,
    stride: Optional[Tuple[float, float]] = None,
    *,
    smooth: bool = True,
    first: Optional[Tuple[float, float]] = None,
) -> NDArray[np.uint8]:
    """`place` for indices of which the last two may be marks (NaN, infinity): those are never blended."""
    if not marked:
        return place(indices, size, geometry=geometry, stride=stride, smooth=smooth, first=first)
    marks = indices >= INF_INDEX
    values = np.where(marks, 0, indices).astype(np.uint8)
    placed = place(values, size, geometry=geometry, stride=stride, smooth=smooth, first=first)
    placed_marks = place(
        np.where(marks, indices, 0).astype(np.uint8), size, geometry=geometry, stride=stride, smooth=False, first=first
    )
    return np.where(placed_marks > 0, placed_marks, placed).astype(np.uint8)

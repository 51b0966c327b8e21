"""Transform coordinates between the original image and the network's input.

Resizing, cropping, padding and flipping, in any order, result in `input = scale * original + start` along each axis,
for the part of the original that is left. A `Geometry` describes the same transformation in other terms.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Sequence, Tuple, TypeVar

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from featscope.arrays.boxes import cos_sin
from featscope.records import Boxes, Geometry, Pixels, Size

Values = TypeVar("Values", bound=Any)
"""A NumPy array or a tensor of boxes, (..., numbers of a box). The result has the same type."""

_DIGITS = 1e-9
_WHOLE = 1e-3  # pixels; a crop that differs by less is the whole image
_ONE_SCALE = 5e-3  # scales that differ by less are equal, because sides are rounded to whole pixels


class Axis(NamedTuple):
    """The transformation of one axis: pixel x of the original lies at `scale * x + start` in the input."""

    scale: float
    """Input pixels per original pixel; negative if the image was flipped."""

    start: float
    """Input position of the original's pixel 0."""

    low: float
    """First position of the original that is in the input."""

    high: float
    """Last position of the original that is in the input."""

    def to_input(self, place: float) -> float:
        """Convert a position in the original to one in the input."""
        return self.scale * place + self.start

    def to_original(self, place: float) -> float:
        """Convert a position in the input to one in the original."""
        return (place - self.start) / self.scale


def axes_of(geometry: Geometry) -> Tuple[Axis, Axis]:
    """Return the transformations of a geometry's rows and columns.

    >>> axes_of(Geometry((8, 10), (4, 5), (4, 8), offset=(0, 3), flip="horizontal"))[1]
    Axis(scale=-0.5, start=8.0, low=0.0, high=10.0)
    """
    mirrored = {"vertical": (True, False), "horizontal": (False, True), "diagonal": (True, True)}
    crop = geometry.crop or (0.0, 0.0, *geometry.original)
    axes = []
    for number, flip in enumerate(mirrored.get(geometry.flip, (False, False))):
        low, length = float(crop[number]), float(crop[number + 2])
        scale, first = geometry.resized[number] / length, float(geometry.offset[number])
        if flip:
            axes.append(Axis(-scale, first + scale * (low + length), low, low + length))
        else:
            axes.append(Axis(scale, first - scale * low, low, low + length))
    return axes[0], axes[1]


def geometry_from(original: Size, padded: Size, rows: Axis, columns: Axis) -> Optional[Geometry]:
    """Return the geometry of two axes, cropped to the input; None if the input does not contain the image.

    >>> geometry_from((8, 10), (4, 4), Axis(0.5, 0.0, 0.0, 8.0), Axis(0.5, -1.0, 0.0, 10.0))
    Geometry(original=(8, 10), resized=(4, 4), padded=(4, 4), offset=(0, 0), flip='', crop=(0, 2, 8, 8))
    """
    parts, resized, offset = [], [], []
    for axis, length, side in zip((rows, columns), original, padded):
        ends = sorted((axis.to_original(0.0), axis.to_original(float(side))))
        low, high = max(axis.low, 0.0, ends[0]), min(axis.high, float(length), ends[1])
        low, high = (0.0 if low < _WHOLE else low), (float(length) if high > length - _WHOLE else high)
        seen = sorted((axis.to_input(low), axis.to_input(high)))
        if high - low < 1 or seen[1] - seen[0] < 1:
            return None
        parts.append((whole(low), whole(high - low)))
        resized.append(whole(seen[1] - seen[0]))
        offset.append(whole(max(0.0, seen[0])))
    flip = {(False, False): "", (True, False): "vertical", (False, True): "horizontal", (True, True): "diagonal"}
    (top, height), (left, width) = parts
    uncut = (top, left, height, width) == (0, 0, *original)
    return Geometry(
        original,
        (resized[0], resized[1]),
        padded=padded,
        offset=(offset[0], offset[1]),
        flip=flip[rows.scale < 0, columns.scale < 0],
        crop=None if uncut else (top, left, height, width),
    )


def whole(pixels: float) -> Pixels:
    """Return a number of pixels as an `int` if it is whole up to rounding errors.

    >>> whole(319.9999999999), whole(0.75)
    (320, 0.75)
    """
    return round(pixels) if abs(pixels - round(pixels)) < _DIGITS else float(pixels)


def fits(geometry: Geometry) -> bool:
    """Whether the image lies inside the input, and the crop inside the original."""
    ends = [start + side for start, side in zip(geometry.offset, geometry.resized)]
    crop = geometry.crop or (0.0, 0.0, *geometry.original)
    inside = all(crop[axis] + crop[axis + 2] <= geometry.original[axis] + _WHOLE for axis in (0, 1))
    return inside and all(end <= side + _WHOLE for end, side in zip(ends, geometry.padded))


def in_whole_pixels(geometry: Geometry) -> Geometry:
    """Return the geometry with a crop in whole pixels, to cut pictures. Its edges move by up to half a pixel.

    >>> in_whole_pixels(Geometry((8, 8), (8, 8), (8, 8), crop=(0.0, 1.75, 8.0, 4.5))).crop
    (0, 2, 8, 4)
    """
    if geometry.crop is None or all(float(side).is_integer() for side in geometry.crop):
        return geometry
    starts, lengths, resized, offset = [], [], [], []
    for axis, number, length in zip(axes_of(geometry), (0, 1), geometry.original):
        low = min(round(axis.low), length - 1)
        high = max(low + 1, min(round(axis.high), length))
        seen = sorted((axis.to_input(low), axis.to_input(high)))
        starts.append(low)
        lengths.append(high - low)
        first = max(0.0, seen[0])
        offset.append(first)
        resized.append(min(seen[1], float(geometry.padded[number])) - first)
    crop = (starts[0], starts[1], lengths[0], lengths[1])
    return replace(geometry, crop=crop, offset=(offset[0], offset[1]), resized=(resized[0], resized[1]))


# Boxes


def to_original(boxes: Values, geometry: Geometry) -> Values:
    """Convert boxes (..., 4, 5 or 8) from input pixels to original pixels. Tensors keep their gradient.

    >>> to_original(np.array([[0.0, 2.0, 4.0, 6.0]]), Geometry((8, 8), (4, 4), (8, 4), offset=(2, 0))).tolist()
    [[0.0, 0.0, 8.0, 8.0]]

    4 numbers are two corners, 5 a rotated box, 8 four corners. Flipping along one axis reverses a box's angle.
    """
    rows, columns = axes_of(geometry)
    return _moved(boxes, 1 / columns.scale, -columns.start / columns.scale, 1 / rows.scale, -rows.start / rows.scale)


def to_input(boxes: Values, geometry: Geometry) -> Values:
    """Convert boxes (..., 4, 5 or 8) from original pixels to input pixels.

    >>> to_input(np.array([[0.0, 0.0, 8.0, 8.0]]), Geometry((8, 8), (4, 4), (8, 4), offset=(2, 0))).tolist()
    [[0.0, 2.0, 4.0, 6.0]]
    """
    rows, columns = axes_of(geometry)
    return _moved(boxes, columns.scale, columns.start, rows.scale, rows.start)


def reframed(boxes: Values, before: Optional[Geometry], after: Optional[Geometry]) -> Values:
    """Convert boxes that were computed with one geometry as if another had been used. None stands for input pixels.

    >>> mirrored = Geometry((8, 8), (8, 8), (8, 8), flip="horizontal")
    >>> reframed(np.array([[0.0, 0.0, 2.0, 4.0]]), Geometry((8, 8), (8, 8), (8, 8)), mirrored).tolist()
    [[6.0, 0.0, 8.0, 4.0]]
    """
    if before == after:
        return boxes
    boxes = boxes if before is None else to_input(boxes, before)
    return boxes if after is None else to_original(boxes, after)


def reframed_record(boxes: Boxes, before: Optional[Geometry], after: Optional[Geometry]) -> Boxes:
    """Apply `reframed` to a record of boxes. Without a geometry afterwards they are in input pixels."""
    if before == after:
        return boxes
    frame = "input" if after is None else "original"
    if not boxes.boxes:
        return replace(boxes, frame=frame)
    return replace(boxes, boxes=reframed(np.asarray(boxes.boxes, np.float64), before, after).tolist(), frame=frame)


def unmirrored(boxes: Boxes, geometry: Optional[Geometry]) -> Optional[Boxes]:
    """Convert boxes that were flipped with the input but never resized to original pixels; None without a geometry.

    Such boxes come from a pipeline that loads boxes after its resize and flips both: they are flipped as the input is.
    """
    if geometry is None:
        return None
    rows, columns = (Axis(1.0 if axis.scale > 0 else -1.0, 0.0 if axis.scale > 0 else axis.start, 0.0, 0.0)
                     for axis in axes_of(geometry))  # fmt: skip
    if not boxes.boxes:
        return replace(boxes, frame="original")
    values = np.asarray(boxes.boxes, np.float64)
    back = _moved(values, columns.scale, columns.start, rows.scale, rows.start)
    return replace(boxes, boxes=back.tolist(), frame="original")


def _moved(boxes: Values, x_scale: float, x_start: float, y_scale: float, y_start: float) -> Values:
    """Move every point (x, y) of boxes to (x_scale * x + x_start, y_scale * y + y_start)."""
    count = int(boxes.shape[-1])
    x, y = (x_scale, x_start), (y_scale, y_start)
    if count == 5:  # cx, cy, w, h, angle
        width, height = abs(x_scale), abs(y_scale)
        order = [0, 1, 2, 3, 4]
        changes = [x, y, (width, 0.0), (height, 0.0), (-1.0 if x_scale * y_scale < 0 else 1.0, 0.0)]
        if abs(width / height - 1) > _ONE_SCALE:
            boxes = _turned(boxes, width, height)
    elif count == 4:
        order = [2 if x_scale < 0 else 0, 3 if y_scale < 0 else 1, 0 if x_scale < 0 else 2, 1 if y_scale < 0 else 3]
        changes = [x, y, x, y]
    else:
        order, changes = list(range(count)), [x, y] * (count // 2)
    factors, starts = [factor for factor, _ in changes], [start for _, start in changes]
    return boxes[..., order] * _like(boxes, factors) + _like(boxes, starts)


def _turned(boxes: Values, across: float, down: float) -> Values:
    """Prepare rotated boxes for stretching by two different factors, which also rotates slanted boxes.

    The box's width keeps its direction in the image, and the box keeps its area.
    """
    angle = boxes[..., 4]
    if isinstance(angle, np.ndarray):
        cos, sin = cos_sin(angle)
        turned = np.arctan2(down * sin, across * cos)
    else:
        cos, sin = angle.cos(), angle.sin()
        turned = (down * sin).atan2(across * cos)
    stretch = ((across * cos) ** 2 + (down * sin) ** 2) ** 0.5
    changed = boxes * _like(boxes, [1.0] * 5)
    changed[..., 2] = boxes[..., 2] * stretch / across
    changed[..., 3] = boxes[..., 3] * across / stretch
    changed[..., 4] = turned
    return changed


def _like(boxes: Values, numbers: Sequence[float]) -> NDArray[np.float64]:
    make = getattr(boxes, "new_tensor", np.asarray)
    return make(numbers)


def scaled(geometry: Geometry, original: Size) -> Geometry:
    """Return the geometry for the same image at another size, such as a smaller copy.

    >>> scaled(Geometry((1000, 800), (500, 400), (512, 512)), (250, 200)).original
    (250, 200)
    """
    vertical, horizontal = original[0] / geometry.original[0], original[1] / geometry.original[1]
    crop = None
    if geometry.crop is not None:
        top, left, height, width = geometry.crop
        crop = (top * vertical, left * horizontal, height * vertical, width * horizontal)
    return replace(geometry, original=original, crop=crop)


def scaled_boxes(boxes: Boxes, vertical: float, horizontal: float) -> Boxes:
    """Scale boxes to another image size. Sides of rotated boxes are scaled by the mean of the two similar factors.

    >>> scaled_boxes(Boxes("xyxy", [[2.0, 4.0, 6.0, 8.0]], [0]), 0.5, 0.5).boxes
    [[1.0, 2.0, 3.0, 4.0]]
    """
    mean = (vertical + horizontal) / 2
    factors = {
        "xyxy": [horizontal, vertical] * 2,
        "quad": [horizontal, vertical] * 4,
        "cxcywha": [horizontal, vertical, mean, mean, 1.0],
    }[boxes.form]
    return replace(boxes, boxes=[[value * factor for value, factor in zip(box, factors)] for box in boxes.boxes])

"""From an original image to the network's input and back: along each axis a straight line.

Resizing, cropping, padding and mirroring, in any order, make `input = scale * original + start` of each axis, for
the part of the original that is left. A `Geometry` holds just that, in words.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Sequence, Tuple, TypeVar

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from featscope.records import Boxes, Geometry, Pixels, Size

Values = TypeVar("Values", bound=Any)
"""An array of NumPy or a tensor, (..., numbers of a box); the result is of the same kind."""

_DIGITS = 1e-9
_WHOLE = 1e-3  # pixels: rounding, where a crop is all of an image
_ONE_SCALE = 5e-3  # sides that were rounded to whole pixels scale a little differently


class Axis(NamedTuple):
    """One axis: pixel x of the original lies at `scale * x + start` of the input, where low <= x <= high.

    scale: negative where the image was mirrored.
    """

    scale: float
    start: float
    low: float
    high: float

    def to_input(self, place: float) -> float:
        """A place of the original -> of the input."""
        return self.scale * place + self.start

    def to_original(self, place: float) -> float:
        """A place of the input -> of the original."""
        return (place - self.start) / self.scale


def axes_of(geometry: Geometry) -> Tuple[Axis, Axis]:
    """The rows' and the columns' axis of a geometry.

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
    """The geometry of two axes, cut where the input ends; None where nothing of the image is left in it.

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
    """A number of pixels as a whole one, if it is that but for the last digits.

    >>> whole(319.9999999999), whole(0.75)
    (320, 0.75)
    """
    return round(pixels) if abs(pixels - round(pixels)) < _DIGITS else float(pixels)


def fits(geometry: Geometry) -> bool:
    """Whether the image lies inside of the input, and the crop inside of the original."""
    ends = [start + side for start, side in zip(geometry.offset, geometry.resized)]
    crop = geometry.crop or (0.0, 0.0, *geometry.original)
    inside = all(crop[axis] + crop[axis + 2] <= geometry.original[axis] + _WHOLE for axis in (0, 1))
    return inside and all(end <= side + _WHOLE for end, side in zip(ends, geometry.padded))


def in_whole_pixels(geometry: Geometry) -> Geometry:
    """The same geometry with a crop along the original's pixels, as pictures are cut; its edges move by half of one.

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
    """Boxes (..., 4, 5 or 8) in pixels of the input -> in pixels of the original; also a tensor, with its gradient.

    >>> to_original(np.array([[0.0, 2.0, 4.0, 6.0]]), Geometry((8, 8), (4, 4), (8, 4), offset=(2, 0))).tolist()
    [[0.0, 0.0, 8.0, 8.0]]

    4 numbers are two corners, 5 a rotated box, 8 four corners. The angle of a box that was mirrored once turns round.
    """
    rows, columns = axes_of(geometry)
    return _moved(boxes, 1 / columns.scale, -columns.start / columns.scale, 1 / rows.scale, -rows.start / rows.scale)


def to_input(boxes: Values, geometry: Geometry) -> Values:
    """Boxes (..., 4, 5 or 8) in pixels of the original -> in pixels of the input.

    >>> to_input(np.array([[0.0, 0.0, 8.0, 8.0]]), Geometry((8, 8), (4, 4), (8, 4), offset=(2, 0))).tolist()
    [[0.0, 2.0, 4.0, 6.0]]
    """
    rows, columns = axes_of(geometry)
    return _moved(boxes, columns.scale, columns.start, rows.scale, rows.start)


def reframed(boxes: Values, before: Optional[Geometry], after: Optional[Geometry]) -> Values:
    """Boxes in pixels of the original as one geometry has it -> as another has it; None is the input itself.

    >>> mirrored = Geometry((8, 8), (8, 8), (8, 8), flip="horizontal")
    >>> reframed(np.array([[0.0, 0.0, 2.0, 4.0]]), Geometry((8, 8), (8, 8), (8, 8)), mirrored).tolist()
    [[6.0, 0.0, 8.0, 4.0]]
    """
    if before == after:
        return boxes
    boxes = boxes if before is None else to_input(boxes, before)
    return boxes if after is None else to_original(boxes, after)


def reframed_record(boxes: Boxes, before: Optional[Geometry], after: Optional[Geometry]) -> Boxes:
    """A record of boxes, as `reframed`: without a geometry afterwards they lie in the input."""
    if before == after:
        return boxes
    frame = "input" if after is None else "original"
    if not boxes.boxes:
        return replace(boxes, frame=frame)
    return replace(boxes, boxes=reframed(np.asarray(boxes.boxes, np.float64), before, after).tolist(), frame=frame)


def unmirrored(boxes: Boxes, geometry: Optional[Geometry]) -> Optional[Boxes]:
    """Boxes that were mirrored with an input, but never resized -> of the original; None where nothing is known.

    A pipeline that loads boxes behind its resize and mirrors both leaves them so: the mirror is the input's.
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
    """Boxes whose every point (x, y) goes to (x_scale * x + x_start, y_scale * y + y_start)."""
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
    """Rotated boxes that will be stretched by two factors, with what else that changes: a box on the slant turns.

    The box's width keeps its direction on the image, and the box its area.
    """
    values = np.array([]) if isinstance(boxes, np.ndarray) else boxes
    angle = boxes[..., 4]
    cos, sin = (np.cos(angle), np.sin(angle)) if isinstance(values, np.ndarray) else (angle.cos(), angle.sin())
    stretch = ((across * cos) ** 2 + (down * sin) ** 2) ** 0.5
    turned = (
        np.arctan2(down * sin, across * cos) if isinstance(values, np.ndarray) else (down * sin).atan2(across * cos)
    )
    changed = boxes * _like(boxes, [1.0] * 5)
    changed[..., 2] = boxes[..., 2] * stretch / across
    changed[..., 3] = boxes[..., 3] * across / stretch
    changed[..., 4] = turned
    return changed


def _like(boxes: Values, numbers: Sequence[float]) -> NDArray[np.float64]:
    make = getattr(boxes, "new_tensor", np.asarray)
    return make(numbers)


def scaled(geometry: Geometry, original: Size) -> Geometry:
    """The geometry of the same image in another size, as a smaller picture of it.

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
    """Boxes of an image in another size; of a rotated one both sides by the mean of the two factors, which are alike.

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

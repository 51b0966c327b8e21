"""Corners and overlap of boxes: upright (x1, y1, x2, y2), rotated (cx, cy, w, h, angle), or of four corners.

The angle is in radians. It rotates the box's width from the x axis towards the y axis of the image, which is clockwise
on the screen because y points down. This is the convention of MMRotate and OpenCV.

Overlaps are exact. A concave box of four corners counts as it is. One whose edges cross (a bow-tie) is taken for the
convex hull of its corners, as they were then listed in the wrong order. A box without area, with a negative side, or
with NaN or infinity overlaps nothing.
"""

from __future__ import annotations

from typing import Iterator, NamedTuple, Optional, Sequence, Tuple, TypeVar, Union

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.overlaps import (
    NEGLIGIBLE,
    PAIRS_AT_ONCE,
    areas_within,
    emptied,
    enclosing,
    near_pairs,
    quad_overlaps,
    signed_areas,
    untangled,
)
from featscope.errors import UnknownNameError

_Float = TypeVar("_Float", bound=np.floating)

BoxList = Union[NDArray[np.floating], Sequence[Sequence[float]]]
"""Boxes of one form, one a row."""

_FORMS = {"xyxy": 4, "cxcywha": 5, "quad": 8}
"""Numbers of a box of each form."""


def cos_sin(angles: NDArray[_Float]) -> Tuple[NDArray[_Float], NDArray[_Float]]:
    """Return the cosines and sines of angles in radians, of their shape, the same for the same angles.

    >>> cos_sin(np.array([0.0]))
    (array([1.]), array([0.]))

    For one column of a larger array NumPy 1.24 has two algorithms, and takes the one that the addresses of the arrays
    allow. The last bits then differ from call to call, so the angles are copied.
    """
    copied = angles.copy()
    return np.cos(copied), np.sin(copied)


def rotated_corners(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the corners of rotated boxes, in order around the box.

    >>> rotated_corners(np.array([[10.0, 10.0, 4.0, 2.0, 0.0]])).tolist()
    [[[8.0, 9.0], [12.0, 9.0], [12.0, 11.0], [8.0, 11.0]]]

    boxes: (n, 5), pixels and radians. Returns (n, 4, 2) as x, y.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 5)
    x, y, w, h, angle = boxes.T
    cos, sin = cos_sin(angle)
    wide_x, wide_y, high_x, high_y = cos * (w / 2), sin * (w / 2), -sin * (h / 2), cos * (h / 2)
    corners = np.array(
        [
            [x - wide_x - high_x, x + wide_x - high_x, x + wide_x + high_x, x - wide_x + high_x],
            [y - wide_y - high_y, y + wide_y - high_y, y + wide_y + high_y, y - wide_y + high_y],
        ]
    )
    return corners.transpose(2, 1, 0)


def corners_of(form: str, boxes: BoxList) -> NDArray[np.float64]:
    """Return the corners (n, 4, 2) as x, y of boxes of any form (`featscope.records.Boxes`), in order around each.

    >>> corners_of("xyxy", [[0, 0, 4, 2]]).tolist()
    [[[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]]]
    """
    values = _numbers(form, boxes)
    if form == "cxcywha":
        return rotated_corners(values)
    if form == "quad":
        return values.reshape(-1, 4, 2)
    return values[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)


def _numbers(form: str, boxes: BoxList) -> NDArray[np.float64]:
    if form not in _FORMS:
        raise UnknownNameError(f"boxes have the unknown form {form!r}; write one of {', '.join(_FORMS)}")
    return np.asarray(boxes, np.float64).reshape(-1, _FORMS[form])


def areas_of(form: str, boxes: BoxList) -> NDArray[np.float64]:
    """Return the areas (n,) of boxes of any form (`featscope.records.Boxes`).

    >>> areas_of("xyxy", [[0, 0, 4, 2]]).tolist()
    [8.0]
    """
    corners = corners_of(form, boxes)
    if form == "quad":
        corners = untangled(corners)
    return np.abs(signed_areas(*corners.transpose(2, 1, 0)))


def iou_of(
    form_a: str, a: BoxList, form_b: str, b: BoxList, crowd: Optional[NDArray[np.bool_]] = None
) -> NDArray[np.float64]:
    """Compute the exact intersection over union of every pair of boxes of any form (`featscope.records.Boxes`).

    >>> iou_of("xyxy", [[0, 0, 4, 2]], "cxcywha", [[2, 1, 4, 2, 0.0], [3, 1, 2, 2, 0.0]]).round(6).tolist()
    [[1.0, 0.5]]

    crowd: (m,), True for boxes of b that stand for many objects: for these the intersection is divided by the area of
    the box of a alone (the rule of COCO's evaluation). Returns (n, m) in [0, 1].
    """
    ours, theirs = _shapes_of(form_a, a), _shapes_of(form_b, b)
    result = np.zeros((len(ours.area), len(theirs.area)))
    for rows, columns in near_pairs(ours.around.T, theirs.around.T):
        for row, column in _parts(rows, columns):
            common, area_a, area_b = _common(ours, row, theirs, column)
            union = area_a + area_b - common
            if crowd is not None:
                union = np.where(np.asarray(crowd, bool)[column], area_a, union)
            result[row, column] = np.minimum(common / union, 1.0)
    return result


def rotated_iou(a: BoxList, b: BoxList) -> NDArray[np.float64]:
    """Compute the exact intersection over union of every pair of rotated boxes.

    >>> box = np.array([[0.0, 0.0, 4.0, 2.0, 0.3]])
    >>> float(rotated_iou(box, box).round(6)[0, 0])
    1.0

    a: (n, 5), b: (m, 5), pixels and radians. Returns (n, m) in [0, 1].
    """
    return iou_of("cxcywha", a, "cxcywha", b)


def paired_iou(form: str, a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the intersection over union of a[i] and b[i]: (n, ...) each, in the same form -> (n,) in [0, 1].

    >>> paired_iou("xyxy", np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2]])).round(3).tolist()
    [0.333]
    """
    ours, theirs = _shapes_of(form, a), _shapes_of(form, b)
    result = np.zeros(len(ours.area))
    gaps = np.maximum(ours.around[:2], theirs.around[:2]) - np.minimum(ours.around[2:], theirs.around[2:])
    near = np.flatnonzero((gaps < 0).all(0))
    for some, _ in _parts(near, near):
        common, area_a, area_b = _common(ours, some, theirs, some)
        result[some] = np.minimum(common / (area_a + area_b - common), 1.0)
    return result


def _parts(
    rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> Iterator[Tuple[NDArray[np.int64], NDArray[np.int64]]]:
    for start in range(0, len(rows), PAIRS_AT_ONCE):
        yield rows[start : start + PAIRS_AT_ONCE], columns[start : start + PAIRS_AT_ONCE]


class _Shapes(NamedTuple):
    """Boxes of one form, as what overlaps are computed from. The boxes are the last axis."""

    form: str

    area: NDArray[np.float64]
    """(n,); 0 for a box that overlaps nothing."""

    around: NDArray[np.float64]
    """(4, n): left, top, right and bottom of the box; for one that overlaps nothing they exclude every other box."""

    centre: NDArray[np.float64]
    """(2, n)."""

    corners: NDArray[np.float64]
    """(8, n): four x, four y, relative to the centre: far from the origin of the image, products lose precision."""

    frame: NDArray[np.float64]
    """(4, n): half of the width and of the height, cosine and sine of the angle; (0, n) for boxes of four corners."""


def _shapes_of(form: str, boxes: BoxList) -> _Shapes:
    values = emptied(_numbers(form, boxes))
    if form == "quad":
        corners = untangled(values.reshape(-1, 4, 2))
        centre, frame = corners.mean(1), np.zeros((0, len(values)))
        x, y = np.ascontiguousarray((corners - centre[:, None]).transpose(2, 1, 0))
        area = np.abs(signed_areas(x, y))
    else:
        if form == "xyxy":
            centre, size = (values[:, :2] + values[:, 2:]) / 2, values[:, 2:] - values[:, :2]
            angle = np.zeros(len(values))
        else:
            centre, size, angle = values[:, :2], values[:, 2:4], values[:, 4]
        x, y = rotated_corners(np.column_stack([np.zeros_like(centre), size, angle])).transpose(2, 1, 0)
        frame = np.stack([size[:, 0] / 2, size[:, 1] / 2, *cos_sin(angle)])
        area = np.where((size > 0).all(1), size.prod(1), 0.0)
    around = values.T.copy() if form == "xyxy" else enclosing(x + centre[:, 0], y + centre[:, 1]).T
    around[:, area == 0] = [[np.inf], [np.inf], [-np.inf], [-np.inf]]
    return _Shapes(form, area, around, centre=centre.T, corners=np.concatenate([x, y]), frame=frame)


def _common(
    a: _Shapes, row: NDArray[np.int64], b: _Shapes, column: NDArray[np.int64]
) -> Tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the area of the intersection of a[row] and b[column], the areas of a[row], and those of b[column]."""
    area_a, area_b = a.area.take(row), b.area.take(column)
    if a.form == b.form == "xyxy":
        ours, theirs = a.around.take(row, 1), b.around.take(column, 1)
        common = (np.minimum(ours[2:], theirs[2:]) - np.maximum(ours[:2], theirs[:2])).clip(0).prod(0)
    elif a.form == "quad" and b.form != "quad":
        common = _common(b, column, a, row)[0]
    else:
        apart_x, apart_y = b.centre.take(column, 1) - a.centre.take(row, 1)
        corners = b.corners.take(column, 1)
        x, y = corners[:4] + apart_x, corners[4:] + apart_y
        if a.form == "quad":
            common = quad_overlaps(a.corners.take(row, 1).reshape(2, 4, -1), np.stack([x, y]))
        else:  # the other box, as it is seen from a, is cut to a's upright rectangle
            wide, high, cos, sin = a.frame.take(row, 1)
            common = areas_within(x * cos + y * sin, y * cos - x * sin, np.stack([-wide, -high, wide, high]))
    common[common < NEGLIGIBLE * np.minimum(area_a, area_b)] = 0
    return common, area_a, area_b

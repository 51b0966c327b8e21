"""Corners and overlap of boxes, mainly rotated boxes (cx, cy, w, h, angle).

The angle is in radians. It rotates the box's width from the x axis towards the y axis of the image, which is clockwise
on the screen because y points down. This is the convention of MMRotate and OpenCV.
"""

from __future__ import annotations

from typing import Sequence

import numpy as np
from numpy.typing import NDArray

_PAIRS_AT_ONCE = 65_536
"""Number of pairs whose overlap is computed at once. It limits the memory to about 100 MB."""


def rotated_corners(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the corners of rotated boxes, in order around the box.

    >>> rotated_corners(np.array([[10.0, 10.0, 4.0, 2.0, 0.0]])).tolist()
    [[[8.0, 9.0], [12.0, 9.0], [12.0, 11.0], [8.0, 11.0]]]

    boxes: (n, 5), pixels and radians. Returns (n, 4, 2) as x, y.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 5)
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    half_w = np.stack([cos, sin], -1) * (boxes[:, 2:3] / 2)
    half_h = np.stack([-sin, cos], -1) * (boxes[:, 3:4] / 2)
    centre = boxes[:, :2]
    return np.stack(
        [
            centre - half_w - half_h,
            centre + half_w - half_h,
            centre + half_w + half_h,
            centre - half_w + half_h,
        ],
        1,
    )


def corners_of(form: str, boxes: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return the corners (n, 4, 2) as x, y of boxes of any form (`featscope.records.Boxes`), in order around each.

    >>> corners_of("xyxy", [[0, 0, 4, 2]]).tolist()
    [[[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]]]
    """
    values = np.asarray(boxes, np.float64)
    if form == "cxcywha":
        return rotated_corners(values)
    if form == "quad":
        return values.reshape(-1, 4, 2)
    return values.reshape(-1, 4)[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)


def areas_of(form: str, boxes: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return the areas (n,) of boxes of any form (`featscope.records.Boxes`).

    >>> areas_of("xyxy", [[0, 0, 4, 2]]).tolist()
    [8.0]
    """
    x, y = corners_of(form, boxes).transpose(2, 0, 1)
    area: NDArray[np.float64] = np.abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1)) / 2
    return area


def rotated_iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the exact intersection over union of every pair of rotated boxes.

    >>> box = np.array([[0.0, 0.0, 4.0, 2.0, 0.3]])
    >>> float(rotated_iou(box, box).round(6)[0, 0])
    1.0

    a: (n, 5), b: (m, 5), pixels and radians. Returns (n, m) in [0, 1].
    """
    a = np.asarray(a, dtype=np.float64).reshape(-1, 5)
    b = np.asarray(b, dtype=np.float64).reshape(-1, 5)
    area_a, area_b = a[:, 2] * a[:, 3], b[:, 2] * b[:, 3]
    overlap = np.zeros((len(a), len(b)))
    # Boxes do not overlap if their circumscribed circles are apart, so only the others are computed.
    radius_a, radius_b = np.hypot(a[:, 2], a[:, 3]) / 2, np.hypot(b[:, 2], b[:, 3]) / 2
    apart = np.hypot(*(a[:, None, :2] - b[None, :, :2]).transpose(2, 0, 1))
    rows, columns = np.nonzero(apart < radius_a[:, None] + radius_b[None, :])
    corners_a, corners_b = rotated_corners(a), rotated_corners(b)
    for start in range(0, len(rows), _PAIRS_AT_ONCE):
        row, column = (index[start : start + _PAIRS_AT_ONCE] for index in (rows, columns))
        overlap[row, column] = convex_overlap(corners_a[row], corners_b[column])
    union = area_a[:, None] + area_b[None, :] - overlap
    return np.clip(overlap / np.maximum(union, 1e-12), 0.0, 1.0)


def paired_iou(form: str, a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the intersection over union of a[i] and b[i]: (n, ...) each, in the same form -> (n,) in [0, 1].

    >>> paired_iou("xyxy", np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2]])).round(3).tolist()
    [0.333]
    """
    if form == "xyxy":
        overlap = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).clip(0).prod(1)
        area = (a[:, 2:] - a[:, :2]).clip(0).prod(1) + (b[:, 2:] - b[:, :2]).clip(0).prod(1)
    elif form == "quad":
        p, q = corners_of(form, a.tolist()), corners_of(form, b.tolist())
        overlap = convex_overlap(p, q)
        area = convex_overlap(p, p) + convex_overlap(q, q)
    else:
        # Boxes do not overlap if their circumscribed circles are apart, so only the others are computed.
        near = np.hypot(*(a[:, :2] - b[:, :2]).T) < (np.hypot(a[:, 2], a[:, 3]) + np.hypot(b[:, 2], b[:, 3])) / 2
        overlap = np.zeros(len(a))
        overlap[near] = convex_overlap(rotated_corners(a[near]), rotated_corners(b[near]))
        area = a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3]
    return np.asarray(np.clip(overlap / np.maximum(area - overlap, 1e-12), 0.0, 1.0))


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return result


def convex_overlap(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the intersection area of convex quadrilaterals p[i] and q[i], (k, 4, 2) each, of the same orientation."""
    # Move the first box's centre to the origin, because the cross products lose precision far away from it.
    origin = p.mean(1, keepdims=True)
    p, q = p - origin, q - origin
    edge_p, edge_q = np.roll(p, -1, 1) - p, np.roll(q, -1, 1) - q
    # Corners of one inside the other.
    p_in_q = (_cross(edge_q[:, None], p[:, :, None] - q[:, None]) >= -1e-9).all(2)
    q_in_p = (_cross(edge_p[:, None], q[:, :, None] - p[:, None]) >= -1e-9).all(2)
    # Crossings of their edges.
    between = q[:, None] - p[:, :, None]
    denominator = _cross(edge_p[:, :, None], edge_q[:, None])
    parallel = np.abs(denominator) < 1e-12
    safe = np.where(parallel, 1.0, denominator)
    t = _cross(between, edge_q[:, None]) / safe
    u = _cross(between, edge_p[:, :, None]) / safe
    crossing = ~parallel & (t >= 0) & (t <= 1) & (u >= 0) & (u <= 1)
    crossings = p[:, :, None] + t[..., None] * edge_p[:, :, None]
    # The intersection is convex: sort its corners by angle, then apply the shoelace formula.
    points = np.concatenate([p, q, crossings.reshape(len(p), 16, 2)], 1)
    valid = np.concatenate([p_in_q, q_in_p, crossing.reshape(len(p), 16)], 1)
    count = valid.sum(1)
    centre = (points * valid[..., None]).sum(1) / np.maximum(count, 1)[:, None]
    relative = points - centre[:, None]
    angle = np.where(valid, np.arctan2(relative[..., 1], relative[..., 0]), np.inf)
    order = np.argsort(angle, 1)
    ring = np.take_along_axis(relative, order[..., None], 1)
    # Unused slots repeat the first corner, which adds no area.
    empty = np.arange(ring.shape[1])[None] >= count[:, None]
    ring = np.where(empty[..., None], ring[:, :1], ring)
    area = np.abs(_cross(ring, np.roll(ring, -1, 1)).sum(1)) / 2
    return np.where(count >= 3, area, 0.0)

"""Areas that polygons have in common, and which pairs have any: what `boxes` and `coverage` are made of.

Areas are integrals along the edges (Green's theorem), and no step asks whether a point is inside. So there are no
special cases: a result changes smoothly with the corners, and shared edges, equal polygons, either orientation and
concave polygons need no rule. Only polygons whose edges cross do (`untangled`).
"""

from __future__ import annotations

import math
from typing import Iterator, Tuple

import numpy as np
from numpy.typing import NDArray

PAIRS_AT_ONCE = 4096
"""Number of pairs whose overlap is computed at once: the arrays of one step stay in the processor's cache."""

NEGLIGIBLE = 1e-12
"""A common area below this part of the smaller polygon is rounding."""

_COMPARED_AT_ONCE = 1 << 18
_TINY = 1e-100


def emptied(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Set boxes with NaN, infinity, or a number whose square is too large to zeros, so that they have no area.

    >>> emptied(np.array([[0.0, 0.0, 4.0, 2.0], [0.0, 0.0, np.inf, 2.0]])).tolist()
    [[0.0, 0.0, 4.0, 2.0], [0.0, 0.0, 0.0, 0.0]]

    boxes: (n, ...), any numbers of each.
    """
    real = (np.abs(boxes) < 1 / _TINY).reshape(len(boxes), -1).all(1) if len(boxes) else np.zeros(0, bool)
    return boxes if real.all() else np.where(real.reshape(-1, *[1] * (boxes.ndim - 1)), boxes, 0.0)


def untangled(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put the corners of quadrilaterals whose edges cross (bow-ties) in order around their convex hull.

    >>> untangled(np.array([[[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]]))[0].tolist()
    [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]

    Where two edges cross they are the diagonals of the hull, so swapping two corners is enough. corners: (n, 4, 2).
    """
    order = np.tile(np.arange(4), (len(corners), 1))
    order[_crossing(corners, (0, 1, 2, 3))] = [0, 2, 1, 3]
    order[_crossing(corners, (1, 2, 3, 0))] = [0, 1, 3, 2]
    result: NDArray[np.float64] = np.take_along_axis(corners, order[..., None], 1)
    return result


def _crossing(corners: NDArray[np.float64], four: Tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Return where the edge of the first two of four corners crosses the edge of the last two."""
    a, b, c, d = (corners[:, corner] for corner in four)
    return (_turn(a, b, c) * _turn(a, b, d) < 0) & (_turn(c, d, a) * _turn(c, d, b) < 0)


def _turn(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sign of the turn at b on the way from a to c."""
    edge, way = b - a, c - a
    result: NDArray[np.float64] = np.sign(edge[..., 0] * way[..., 1] - edge[..., 1] * way[..., 0])
    return result


def signed_areas(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas of polygons, negative where their corners turn from y to x. x, y: (corners, n)."""
    x, y = x - x[:1], y - y[:1]  # far from the origin the products lose precision
    area: NDArray[np.float64] = (x[:-1] * y[1:] - x[1:] * y[:-1]).sum(0) / 2
    return area


def enclosing(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upright boxes (n, 4) around polygons: left, top, right, bottom. x, y: (corners, n)."""
    return np.stack([x.min(0), y.min(0), x.max(0), y.max(0)], 1)


def convex_parts(
    quads: NDArray[np.float64],
) -> Tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Cut concave quadrilaterals into two triangles: (n, 4, 2) -> the quadrilateral of each part, and the parts.

    >>> arrow = np.array([[[0.0, 0.0], [4.0, 0.0], [1.0, 1.0], [0.0, 4.0]]])
    >>> owner, parts, centres = convex_parts(arrow)
    >>> owner.tolist(), centres.tolist()
    ([0, 0], [[0.5, 0.5]])

    A triangle's last corner is repeated. Quadrilaterals without area have no part. The third result is a point of each
    quadrilateral from which all of it can be seen, (n, 2): the mean of its corners, or the middle of the line that cuts
    it in two.
    """
    area = signed_areas(*quads.transpose(2, 1, 0))
    reflex = _turn(np.roll(quads, 1, 1), quads, np.roll(quads, -1, 1)) * area[:, None] < 0
    corner, concave = reflex.argmax(1)[:, None], reflex.sum(1) > 0
    turned = np.take_along_axis(quads, ((corner + np.arange(4)) % 4)[..., None], 1)  # the concave corner first
    centre = np.where(concave[:, None], (turned[:, 0] + turned[:, 2]) / 2, quads.mean(1))
    real = area != 0
    one, two = np.flatnonzero(real & ~concave), np.flatnonzero(real & concave)
    parts = np.concatenate([quads[one], turned[two][:, [0, 1, 2, 2]], turned[two][:, [0, 2, 3, 3]]])
    return np.concatenate([one, two, two]), parts, centre


def near_pairs(a: NDArray[np.float64], b: NDArray[np.float64]) -> Iterator[Tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Find the pairs of upright boxes that overlap, in blocks of (index in a, index in b).

    >>> first, second = next(near_pairs(np.array([[0, 0, 2, 2]]), np.array([[5, 0, 7, 2], [1, 1, 3, 3]])))
    >>> first.tolist(), second.tolist()
    ([0], [1])

    Both lists are swept from left to right, so a box is compared with its neighbours only. Boxes that touch do not
    overlap. a: (n, 4), b: (m, 4), left, top, right, bottom. At most 16 rows of the table (n, m) are looked at together,
    or more if the table is small.
    """
    if len(a) > len(b):
        yield from ((second, first) for first, second in near_pairs(b, a))
        return
    order_a, order_b = np.argsort(a[:, 0], kind="stable"), np.argsort(b[:, 0], kind="stable")
    a = a[order_a]
    left, top, right, bottom = np.ascontiguousarray(b[order_b].T)
    reach = np.maximum.accumulate(right)  # rises, so all boxes before a place end before its reach
    rows = max(16, _COMPARED_AT_ONCE // max(len(b), 1))
    for start in range(0, len(a), rows):
        some = a[start : start + rows]
        part = slice(np.searchsorted(reach, some[0, 0], "right"), np.searchsorted(left, some[:, 2].max(), "left"))
        overlap = (top[part] < some[:, 3:]) & (bottom[part] > some[:, 1:2])
        overlap &= (left[part] < some[:, 2:3]) & (right[part] > some[:, :1])
        row, column = np.divmod(np.flatnonzero(overlap), max(overlap.shape[1], 1))
        if len(row):
            yield order_a[start + row], order_b[part.start + column]


def areas_within(x: NDArray[np.float64], y: NDArray[np.float64], bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the area of each polygon inside an upright rectangle of its own.

    >>> triangle = np.array([[0.0], [4.0], [0.0]]), np.array([[0.0], [0.0], [4.0]])
    >>> areas_within(*triangle, np.array([[1.0], [1.0], [9.0], [9.0]])).tolist()
    [2.0]

    Below each edge, between left and right, lies the integral of its height, which is clamped to top and bottom.
    x, y: (corners, k). bounds: (4, k), left, top, right, bottom.
    """
    left, top, right, bottom = bounds
    x, y = _closed(x), _closed(y)
    cut = np.minimum(np.maximum(x, left), right)
    slope = _ratio(y[1:] - y[:-1], x[1:] - x[:-1])
    start, end = y[:-1] + (cut[:-1] - x[:-1]) * slope, y[1:] + (cut[1:] - x[1:]) * slope
    mean = _mean_clamped(
        start, end, np.minimum(np.maximum(start, top), bottom), np.minimum(np.maximum(end, top), bottom)
    )
    area: NDArray[np.float64] = np.abs(((cut[1:] - cut[:-1]) * mean).sum(0))
    return area


def _closed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([values, values[:1]])


def _ratio(rise: NDArray[np.float64], run: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rise / run, and 0 where there is no run."""
    result: NDArray[np.float64] = rise / np.where(np.abs(run) < _TINY, np.inf, run)
    return result


def _mean_clamped(
    start: NDArray[np.float64], end: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean of a clamped line that runs from start to end. low, high: start and end, clamped.

    The line is at `low` for (low - start) / (end - start) of its way, at `high` for (end - high) / (end - start), and
    at their mean for the rest. The sum is written so that nothing is lost where start and end are nearly equal.
    """
    change = end - start
    change[change == 0] = 1
    return low + (high - low) * ((end - (low + high) / 2) / change)


def convex_overlap(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the intersection areas of quadrilaterals p[i] and q[i]: (k, 4, 2) each -> (k,).

    >>> square = np.array([[[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]]])
    >>> convex_overlap(square, square + 1).tolist()
    [1.0]

    They may have either orientation and may be concave; edges of one must not cross (`untangled`).
    """
    area = np.zeros(len(p))
    for start in range(0, len(p), PAIRS_AT_ONCE):
        some = slice(start, start + PAIRS_AT_ONCE)
        origin = p[some].mean(1, keepdims=True)
        one, other = (np.ascontiguousarray((quads[some] - origin).transpose(2, 1, 0)) for quads in (p, q))
        area[some] = quad_overlaps(one, other)
    return area


def quad_overlaps(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute what `convex_overlap` does, for corners (2, 4, k) whose origin is near the polygons.

    A polygon is the sum of the areas below its edges, signed by their direction. So the intersection is a sum over
    pairs of edges: the signed integral of the lower one of both, where both run.
    """
    p_left, p_right, p_height, p_slope, p_sign = _lines(*p)
    q_left, q_right, q_height, q_slope, q_sign = _lines(*q)
    total = np.zeros_like(q_left)
    for edge in range(len(p_left)):
        left, right = np.maximum(p_left[edge], q_left), np.minimum(p_right[edge], q_right)
        width = np.maximum(right - left, 0)
        start = p_height[edge] + (left - p_left[edge]) * p_slope[edge]
        end = p_height[edge] + (right - p_left[edge]) * p_slope[edge]
        start_above = start - (q_height + (left - q_left) * q_slope)
        end_above = end - (q_height + (right - q_left) * q_slope)
        above = _mean_clamped(start_above, end_above, np.maximum(start_above, 0), np.maximum(end_above, 0))
        total += p_sign[edge] * width * ((start + end) / 2 - above)
    area: NDArray[np.float64] = np.abs((q_sign * total).sum(0))
    return area


def _lines(x: NDArray[np.float64], y: NDArray[np.float64]) -> Tuple[NDArray[np.float64], ...]:
    """Return of each edge: its left and right end, the height of the left end, the slope, and the direction."""
    x, y = _closed(x), _closed(y)
    run = x[1:] - x[:-1]
    left, right = np.minimum(x[1:], x[:-1]), np.maximum(x[1:], x[:-1])
    return left, right, np.where(run < 0, y[1:], y[:-1]), _ratio(y[1:] - y[:-1], run), np.sign(run)


def clipped(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut polygons p[i] to convex polygons q[i]: (k, v, 2) and (k, w, 2) -> (k, v + w, 2), the intersections.

    >>> square = np.array([[[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]]])
    >>> x, y = clipped(square, square + 1).transpose(2, 1, 0)
    >>> abs(signed_areas(x, y)).tolist()
    [1.0]

    A result with fewer corners repeats its last one; without any it is a point.
    Source: Sutherland and Hodgman, Reentrant Polygon Clipping, CACM 1974.
    """
    side = np.sign(signed_areas(*q.transpose(2, 1, 0)))[:, None]
    for edge in range(q.shape[1]):
        begin, way = q[:, edge, None], (q[:, (edge + 1) % q.shape[1]] - q[:, edge])[:, None]
        offset = p - begin
        inside = side * (way[..., 0] * offset[..., 1] - way[..., 1] * offset[..., 0])
        after = np.roll(inside, -1, 1)
        share = _ratio(inside, inside - after)[..., None]
        crossing = p + share * (np.roll(p, -1, 1) - p)
        # An edge gives its first corner where that is inside, then its crossing.
        points = np.stack([p, crossing], 2).reshape(len(p), 2 * p.shape[1], 2)
        valid = np.stack([inside >= 0, (inside < 0) != (after < 0)], 2).reshape(points.shape[:2])
        p = _packed(points, valid, p.shape[1] + 1)
    return p


def _packed(points: NDArray[np.float64], valid: NDArray[np.bool_], count: int) -> NDArray[np.float64]:
    """Move the valid points to the front, and repeat the last of them up to `count`."""
    place = np.cumsum(valid, 1)
    last = np.maximum(place[:, -1:] - 1, 0)
    row, column = np.nonzero(valid & (place <= count))
    source = np.zeros((len(points), count), np.int64)
    source[row, place[row, column] - 1] = column
    source = np.take_along_axis(source, np.minimum(np.arange(count), last), 1)
    result: NDArray[np.float64] = np.take_along_axis(points, source[..., None], 1)
    return result


def meets_lattice(
    x: NDArray[np.float64], y: NDArray[np.float64], counts: Tuple[int, int], size: Tuple[int, int]
) -> bool:
    """Whether a point of a lattice lies in a convex polygon with the corners x, y.

    >>> square = np.array([1.0, 3.0, 3.0, 1.0]), np.array([1.0, 1.0, 3.0, 3.0])
    >>> meets_lattice(*square, (5, 5), (10, 10)), meets_lattice(*square, (2, 2), (10, 10))
    (True, False)

    counts: steps of the lattice across and down. size: (width, height) that it spans, from 0.
    """
    lines = []
    for ends, count, side in zip((x, y), counts, size):
        step = side / count
        first, last = max(0, math.ceil(ends.min() / step)), min(count, math.floor(ends.max() / step))
        lines.append(np.arange(first, last + 1) * step)
    across, down = lines
    if not len(across) or not len(down):
        return False
    px, py = np.meshgrid(across, down)
    sides = [
        (x1 - x0) * (py - y0) - (y1 - y0) * (px - x0) for x0, y0, x1, y1 in zip(x, y, np.roll(x, -1), np.roll(y, -1))
    ]
    return bool((np.min(sides, 0) >= 0).any() or (np.max(sides, 0) <= 0).any())

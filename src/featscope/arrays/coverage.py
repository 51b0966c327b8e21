"""Shares of a map's cells that boxes cover, exactly, and what the map holds there.

Coordinates are in cells: cell (i, j) of row i and column j covers [j, j + 1] x [i, i + 1]. An object that is smaller
than a cell counts with its share of it.
"""

from __future__ import annotations

from typing import Callable, NamedTuple, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.overlaps import (
    NEGLIGIBLE,
    PAIRS_AT_ONCE,
    areas_within,
    clipped,
    convex_overlap,
    convex_parts,
    emptied,
    enclosing,
    near_pairs,
    signed_areas,
    untangled,
)

Shape = Tuple[int, int]
"""Rows and columns of a map."""

_CELLS_AT_ONCE = 1 << 18
"""Number of cells in the windows around the boxes that are looked at together; it limits the memory to about 50 MB."""

_ELEMENTS_AT_ONCE = 1 << 15
"""Number of elements of a map that are gathered at once: they stay in the processor's cache."""

_TINY = 1e-100


class Coverage(NamedTuple):
    """What boxes cover of a map: one entry for each box and cell that have an area in common, sorted by both."""

    objects: NDArray[np.int64]
    """Number of the box, (k,)."""

    cells: NDArray[np.int64]
    """Number of the cell, row * columns + column, (k,)."""

    shares: NDArray[np.float64]
    """Share of the cell that the box covers, in (0, 1], (k,)."""


def cover(corners: NDArray[np.floating], shape: Shape) -> Coverage:
    """Compute the exact share of each cell that each box covers.

    >>> cover(np.array([[[0.5, 0.0], [2.0, 0.0], [2.0, 1.0], [0.5, 1.0]]]), (4, 4)).shares.tolist()
    [0.5, 1.0]

    A cell that no edge passes is covered wholly or not at all. The others are cut from the box one by one. Parts
    outside of the map are left out. Boxes without area, or with NaN or infinity, cover nothing.

    corners: (n, v, 2), x and y in cells, in either orientation; four corners whose edges cross are put in order
    (`untangled`). shape: rows and columns of the map.
    """
    boxes = emptied(np.asarray(corners, np.float64))
    if boxes.shape[1] == 4:
        boxes = untangled(boxes)
    x, y = np.ascontiguousarray(boxes.transpose(2, 1, 0))
    area = signed_areas(x, y)
    good = np.flatnonzero(area)
    edges = np.clip(enclosing(x[:, good], y[:, good]), 0, np.tile(shape[::-1], 2))
    block = np.cumsum((edges[:, 2:] - edges[:, :2] + 1).prod(1)) // _CELLS_AT_ONCE
    parts = [
        _cover_some(some, (x[:, some], y[:, some]), area[some], shape)
        for some in np.split(good, np.flatnonzero(np.diff(block)) + 1)
    ]
    return Coverage(*(np.concatenate(part) for part in zip(*parts)))


def _cover_some(
    number: NDArray[np.int64],
    corners: Tuple[NDArray[np.float64], NDArray[np.float64]],
    area: NDArray[np.float64],
    shape: Shape,
) -> Coverage:
    """Compute the coverage of some boxes. number: (n,), what they are called. corners: x and y, (v, n) each."""
    x, y = corners
    rows, columns = shape
    owner, row = _ranges(np.stack([np.floor(y.min(0)), np.ceil(y.max(0))]), rows)
    inner, outer = _columns_of(x[:, owner], y[:, owner], area[owner], row)
    strip, column = _ranges(outer, columns)
    cut = np.flatnonzero((column < inner[0, strip]) | (column >= inner[1, strip]))
    owner, row = owner[strip], row[strip]
    shares = np.ones(len(strip))
    # The origin is the box's centre, so that a small box far from the map's corner loses no precision.
    centre_x, centre_y = x.mean(0), y.mean(0)
    x, y = x - centre_x, y - centre_y
    for start in range(0, len(cut), PAIRS_AT_ONCE):
        some = cut[start : start + PAIRS_AT_ONCE]
        box = owner[some]
        left, top = column[some] - centre_x[box], row[some] - centre_y[box]
        shares[some] = areas_within(x.take(box, 1), y.take(box, 1), np.stack([left, top, left + 1, top + 1]))
    kept = shares > NEGLIGIBLE * np.minimum(np.abs(area), 1)[owner]
    return Coverage(number[owner[kept]], (row * columns + column)[kept], np.minimum(shares[kept], 1))


def _ranges(limits: NDArray[np.float64], count: int) -> Tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the whole numbers from limits[0, i] to below limits[1, i], within 0 to count - 1: (i, number), (k,) each."""
    first, last = np.clip(limits, 0, count).astype(np.int64)
    lengths = np.maximum(last - first, 0)
    index = np.repeat(np.arange(len(lengths)), lengths)
    start = first - np.cumsum(lengths) + lengths
    return index, np.arange(len(index)) + start[index]


def _columns_of(
    x: NDArray[np.float64], y: NDArray[np.float64], area: NDArray[np.float64], row: NDArray[np.int64]
) -> Tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return which columns of a row of cells a box covers wholly, and which it may touch: (2, k), first and behind.

    x, y: (v, k), corners. area: (k,), signed: it tells the edges on the left of the box from those on its right.
    """
    next_x, next_y = np.roll(x, -1, 0), np.roll(y, -1, 0)
    rise = next_y - y
    slope = (next_x - x) / np.where(np.abs(rise) < _TINY, np.inf, rise)
    # Both ends of the part of each edge that lies in the row.
    begin = x + (np.clip(y, row, row + 1) - y) * slope
    end = next_x + (np.clip(next_y, row, row + 1) - next_y) * slope
    low, high = np.minimum(begin, end), np.maximum(begin, end)
    meets = (np.minimum(y, next_y) < row + 1) & (np.maximum(y, next_y) > row)
    outer = np.floor(np.where(meets, low, np.inf).min(0)), np.ceil(np.where(meets, high, -np.inf).max(0))
    on_left, on_right = meets & (rise * area < 0), meets & (rise * area > 0)
    inner = np.ceil(np.where(on_left, high, -np.inf).max(0)), np.floor(np.where(on_right, low, np.inf).min(0))
    whole = (y.min(0) <= row) & (y.max(0) >= row + 1)
    return np.where(whole, np.stack(inner), 0), np.stack(outer)


def pool(coverage: Coverage, count: int, values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Compute the mean of a map over each box, in which each cell counts by the share that the box covers.

    >>> coverage = cover(np.array([[[0.5, 0.0], [2.0, 0.0], [2.0, 1.0], [0.5, 1.0]]]), (1, 2))
    >>> pool(coverage, 1, np.array([[[3.0, 6.0]]])).tolist()
    [[5.0]]

    count: number of boxes. values: (C, H, W). Returns (count, C), NaN where a box covers nothing of the map. Sums are
    in double precision.
    """
    flat = values.reshape(len(values), -1)
    result = np.full((count, len(flat)), np.nan, np.float32)
    if not len(coverage.objects):
        return result
    start = np.flatnonzero(np.diff(coverage.objects, prepend=-1))
    weights = coverage.shares / np.add.reduceat(coverage.shares, start).repeat(
        np.diff(start, append=len(coverage.shares))
    )
    found = coverage.objects[start]
    channels = max(4, _ELEMENTS_AT_ONCE // len(weights))
    for first in range(0, len(flat), channels):
        part = flat[first : first + channels].take(coverage.cells, 1) * weights
        result[found, first : first + channels] = np.add.reduceat(part, start, 1).T
    return result


class Rings(NamedTuple):
    """Rings around n boxes, as polygons in any unit: each is its scaled box, less its box, less its pieces."""

    scaled: NDArray[np.float64]
    """The boxes with twice the area, (n, 4, 2)."""

    boxes: NDArray[np.float64]
    """(n, 4, 2)."""

    pieces: NDArray[np.float64]
    """What other objects cover of a scaled box (sign 1) or of a box (sign -1), (p, 8, 2)."""

    owners: NDArray[np.int64]
    """The box of each piece, (p,)."""

    signs: NDArray[np.float64]
    """(p,)."""

    def moved(self, move: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Rings:
        """Return the rings in other coordinates. move: takes corners (k, 4, 2) to those; it must be affine."""
        pieces = move(self.pieces.reshape(-1, 4, 2)).reshape(self.pieces.shape)
        return self._replace(scaled=move(self.scaled), boxes=move(self.boxes), pieces=pieces)

    def cover(self, shape: Shape, inside: Optional[Coverage] = None) -> Coverage:
        """Compute the exact share of each cell that lies in each ring. The corners must be in cells.

        inside: what `cover` gave for the boxes, if it is at hand.
        """
        whole, piece = cover(self.scaled, shape), cover(self.pieces, shape)
        pieces = Coverage(self.owners[piece.objects], piece.cells, self.signs[piece.objects] * piece.shares)
        keys = whole.objects * (shape[0] * shape[1]) + whole.cells
        shares = whole.shares.copy()
        for part in (cover(self.boxes, shape) if inside is None else inside, pieces):
            key = part.objects * (shape[0] * shape[1]) + part.cells
            place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
            there = keys[place] == key
            shares -= np.bincount(place[there], part.shares[there], len(keys))
        kept = shares > 1e-9 * whole.shares  # the rest is rounding
        return Coverage(whole.objects[kept], whole.cells[kept], shares[kept])


def rings_around(corners: NDArray[np.floating], objects: Optional[NDArray[np.floating]] = None) -> Rings:
    """Make the rings of `ring_of` as polygons. They serve all maps of an image, each in its own cells (`Rings.moved`).

    >>> ship = np.array([[[8.0, 8.0], [24.0, 8.0], [24.0, 16.0], [8.0, 16.0]]])
    >>> rings = rings_around(ship, ship)
    >>> [float(rings.moved(lambda pixels: pixels / s).cover((64, 64)).shares.sum().round(9)) for s in (4, 8)]
    [8.0, 2.0]

    corners: (n, 4, 2), objects: (m, 4, 2), in one unit of length.
    """
    boxes = untangled(emptied(np.asarray(corners, np.float64)))
    owner, parts, centre = convex_parts(boxes)
    pieces, owners, signs = [np.zeros((0, 8, 2))], [owner[:0]], [np.zeros(0)]
    if objects is not None and len(objects):
        _, others, _ = convex_parts(untangled(emptied(np.asarray(objects, np.float64))))
        grown = _scaled(parts, centre[owner])
        for index, other in near_pairs(enclosing(*grown.transpose(2, 1, 0)), enclosing(*others.transpose(2, 1, 0))):
            with_box, inside = (convex_overlap(some[index], others[other]) for some in (grown, parts))
            in_ring = with_box - inside > NEGLIGIBLE * with_box
            for polygons, areas, sign in ((grown, with_box, 1.0), (parts, inside, -1.0)):
                chosen = np.flatnonzero(in_ring & (areas > 0))
                pieces.append(clipped(polygons[index[chosen]], others[other[chosen]]))
                owners.append(owner[index[chosen]])
                signs.append(np.full(len(chosen), sign))
    return Rings(
        _scaled(boxes, centre),
        boxes,
        pieces=np.concatenate(pieces),
        owners=np.concatenate(owners),
        signs=np.concatenate(signs),
    )


def ring_of(corners: NDArray[np.floating], shape: Shape, objects: Optional[NDArray[np.floating]] = None) -> Coverage:
    """Compute the exact share of each cell that lies in a ring around each box, outside of all objects.

    >>> ship = np.array([[[1.0, 1.0], [3.0, 1.0], [3.0, 2.0], [1.0, 2.0]]])
    >>> float(ring_of(ship, (4, 4)).shares.sum().round(9))
    2.0

    The ring is as large as the box: it is the box scaled by sqrt(2) about its centre, without the box itself. Of cell c
    it has |c & scaled| - |c & box|, less |c & scaled & object| - |c & box & object| of each object, in areas. This is
    exact. Only where objects overlap one another in the ring, their common part is subtracted more than once, down to
    0: too much is left out there, never too little.

    corners: (n, 4, 2), x and y in cells. objects: corners of all objects, (m, 4, 2). The boxes themselves may be among
    them, since a box has no part in its own ring.
    """
    return rings_around(corners, objects).cover(shape)


def _scaled(corners: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale polygons (n, 4, 2) about their centres (n, 2) to twice their area."""
    return centre[:, None] + np.sqrt(2) * (corners - centre[:, None])


def separation(inside: Coverage, ring: Coverage, count: int, energy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute how well the energy tells each box from its ring: the area under the ROC curve, weighted by the shares.

    >>> box = np.array([[[1.0, 1.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]]])
    >>> energy = np.zeros((3, 3))
    >>> energy[1, 1] = 1.0
    >>> separation(cover(box, (3, 3)), ring_of(box, (3, 3)), 1, energy).tolist()
    [1.0]

    This is the chance that a point of the box lies in a cell of higher energy than a point of the ring; equal energies
    count half (Mann and Whitney, Annals of Mathematical Statistics 1947).

    count: number of boxes. energy: (H, W). Returns (count,) in [0, 1], NaN where the box or its ring has no cell, or
    where the energy of one of these is NaN.
    """
    values = energy.reshape(-1)
    number = np.concatenate([inside.objects, ring.objects])
    cell = np.concatenate([inside.cells, ring.cells])
    total, around = (np.bincount(part.objects, part.shares, count) for part in (inside, ring))
    unknown = np.bincount(number, np.isnan(values)[cell], count) > 0
    bad = (total == 0) | (around == 0) | unknown
    if not len(number):
        return np.full(count, np.nan)
    # Entries of one box with equal energy form a group; the groups of a box are in rising order.
    key = number * len(values) + np.unique(values, return_inverse=True)[1].reshape(-1)[cell]
    order = np.argsort(key)
    start = np.flatnonzero(np.diff(key[order], prepend=-1))
    ours = np.concatenate([inside.shares, np.zeros(len(ring.shares))])[order]
    theirs = np.concatenate([np.zeros(len(inside.shares)), ring.shares])[order]
    ours, theirs, number = np.add.reduceat(ours, start), np.add.reduceat(theirs, start), number[order[start]]
    below = np.cumsum(theirs) - theirs - (np.cumsum(around) - around)[number]
    won = np.bincount(number, ours * (below + theirs / 2), count)
    return np.where(bad, np.nan, np.clip(won / np.where(bad, 1, total * around), 0, 1))

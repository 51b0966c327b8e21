"""What a feature map holds inside of boxes and around them, with exact shares of its cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.coverage import Coverage, Rings, cover, pool, separation
from featscope.arrays.frames import to_input
from featscope.records import Geometry, Place, Size

Doubles = NDArray[np.float64]


class Pooled(NamedTuple):
    """One number, or one vector, for each of n boxes on one map."""

    cells: Doubles
    """Area of the part of the box that lies on the map, in cells, (n,). Below 1 the map does not resolve the box."""

    inside: Doubles
    """Mean energy of the cells inside of the box, (n,). NaN where the box lies outside of the map."""

    ring: Doubles
    """Mean energy of the ring around the box, (n,). NaN where nothing of the ring is left."""

    auroc: Doubles
    """Chance that a cell inside has more energy than one of the ring, (n,), in [0, 1]; ties count half."""

    features: NDArray[np.float32]
    """Mean of each channel over the box, (n, C)."""

    @property
    def ratio(self) -> Doubles:
        """Energy inside divided by that of the ring, (n,); NaN where one of them is missing or the ring has none."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.ring > 0, self.inside / self.ring, np.nan)

    @property
    def norm(self) -> Doubles:
        """Length of the pooled features, (n,)."""
        norm: Doubles = np.sqrt(np.square(self.features, dtype=np.float64).sum(1))
        return norm

    def table(self) -> NDArray[np.float32]:
        """All of it as one array, (n, 4 + C), as it is stored in a run; `from_table` reads it."""
        return np.column_stack([self.cells, self.inside, self.ring, self.auroc, self.features]).astype(np.float32)

    @classmethod
    def from_table(cls, table: NDArray[np.floating]) -> Pooled:
        """Read what `table` made."""
        cells, inside, ring, auroc = table[:, :4].astype(np.float64).T
        return cls(cells, inside, ring=ring, auroc=auroc, features=table[:, 4:].astype(np.float32))


class Covered(NamedTuple):
    """The cells of a grid under n boxes and under their rings. It serves all maps on this grid."""

    boxes: int
    """Number of boxes."""

    inside: Coverage
    ring: Coverage

    @classmethod
    def of(cls, rings: Rings, shape: Size) -> Covered:
        """Find the cells. rings: the boxes and their rings in cells. shape: the grid's (rows, columns)."""
        inside = cover(rings.boxes, shape)
        return cls(len(rings.boxes), inside, rings.cover(shape, inside))


def pool_boxes(feature_map: NDArray[np.floating], covered: Covered) -> Pooled:
    """Pool a map (C, H, W) over boxes.

    >>> from featscope.arrays.coverage import rings_around
    >>> ship = np.array([[[1.0, 1.0], [3.0, 1.0], [3.0, 2.0], [1.0, 2.0]]])
    >>> sea = np.zeros((2, 4, 4), np.float32)
    >>> sea[0, 1, 1:3] = 3.0
    >>> found = pool_boxes(sea, Covered.of(rings_around(ship, ship), (4, 4)))
    >>> found.cells.tolist(), found.features.tolist(), found.inside.tolist(), found.auroc.tolist()
    ([2.0], [[3.0, 0.0]], [3.0], [1.0])

    The energy of a cell is the length of its vector of channels. A cell counts by the share of it that the box covers,
    exactly, so that an object smaller than a cell counts too. The ring is as large as the box, without the parts that
    other objects cover.
    """
    count, inside, ring = covered
    energy = energy_of(feature_map)
    areas: Doubles = np.bincount(inside.objects, inside.shares, count).astype(np.float64)
    return Pooled(
        cells=areas,
        inside=pool(inside, count, energy[None])[:, 0].astype(np.float64),
        ring=pool(ring, count, energy[None])[:, 0].astype(np.float64),
        auroc=separation(inside, ring, count, energy),
        features=pool(inside, count, feature_map),
    )


def energy_of(feature_map: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the length of each cell's vector of channels: (C, H, W) -> (H, W).

    >>> energy_of(np.array([[[3.0]], [[4.0]]], np.float32)).tolist()
    [[5.0]]
    """
    values = feature_map.astype(np.float32, copy=False)
    total = np.zeros(values.shape[1:], np.float32)
    for start in range(0, len(values), 16):  # a few channels at a time stay in the processor's cache
        part = values[start : start + 16]
        total += np.einsum("chw,chw->hw", part, part)
    return np.sqrt(total)


def in_cells(corners: Doubles, geometry: Geometry, place: Place) -> Doubles:
    """Convert corners (n, 4, 2), x and y in pixels of the original image, to cells of a map.

    >>> geometry = Geometry((8, 8), (16, 16), (16, 16))
    >>> in_cells(np.full((1, 4, 2), 4.0), geometry, Place((8.0, 8.0), (4.0, 4.0)))[0, 0].tolist()
    [1.0, 1.0]

    Cell (i, j) covers [j, j + 1] x [i, i + 1]; its centre lies where `place` says.
    """
    return input_in_cells(to_input(corners.reshape(-1, 8), geometry).reshape(-1, 4, 2), place)


def input_in_cells(corners: Doubles, place: Place) -> Doubles:
    """Convert corners (n, 4, 2), x and y in pixels of the network's input, to cells of a map."""
    first, stride = np.array(place.first[::-1]), np.array(place.stride[::-1])
    return np.asarray((corners - first) / stride + 0.5)

"""Principal components: the channels' directions of largest variance, of one map or of all maps of a layer.

A basis of its own in each map gives the same object another colour in every image; one for all maps of a layer does
not. It is worked out map by map, so that its memory is that of the channels squared.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.errors import BadArrayError

Doubles = NDArray[np.float64]

COMPONENTS = 3
MOST_CHANNELS = 4096
"""Of a basis for several maps: the covariance of as many takes 128 MiB."""


_ONE_THREAD = 200_000  # multiplications: OpenBLAS starts a second thread above 262,144

_NOTHING = 1e-12
"""Of the largest variance: what is smaller is rounding."""


class Basis(NamedTuple):
    """mean: (C,), of all cells. vectors: (3, C), of length one, by falling variance; zero where there are fewer.

    spread: (3,), the standard deviation of the cells along each.
    """

    mean: Doubles
    vectors: Doubles
    spread: Doubles

    def scale(self, component: int) -> Tuple[float, float]:
        """The values that span the colours of a component in all maps: 2.5 standard deviations to either side."""
        reach = 2.5 * float(self.spread[component]) or 1.0
        return -reach, reach

    def project(self, feature_map: NDArray[np.floating], count: int = COMPONENTS) -> NDArray[np.float32]:
        """A map (C, H, W) along its first components: (count, H, W).

        Raises `BadArrayError` for a map of another number of channels, or with NaN or infinity.
        """
        flat = feature_map.reshape(feature_map.shape[0], -1)
        if len(flat) != len(self.mean):
            raise BadArrayError(f"the map has {len(flat)} channels, and the basis is for {len(self.mean)}")
        parts = np.empty((count, flat.shape[1]), np.float32)
        # Some cells at a time: products so small stay on one thread of BLAS, which waits for no busy core.
        step = max(1, _ONE_THREAD // (count * len(flat)))
        for start in range(0, flat.shape[1], step):
            cells = slice(start, start + step)
            parts[:, cells] = self.vectors[:count] @ (_finite(flat[:, cells]) - self.mean[:, None])
        return parts.reshape(count, *feature_map.shape[1:])


class Moments(NamedTuple):
    """What is kept of all cells that were seen: enough for a basis, and as much for a thousand maps as for one.

    cells: how many. mean: (C,), of the channels. products: (C, C), sums of products of what differs from the mean.
    strength: the mean over cells of a cell's mean absolute value. towards: (C,), sums of products of what differs from
    the mean with what a cell's strength differs from its own: the direction in which activation grows.
    """

    cells: int
    mean: Doubles
    products: Doubles
    strength: float
    towards: Doubles

    @classmethod
    def of(cls, feature_map: NDArray[np.floating]) -> Moments:
        """Of one map (C, H, W). Raises `BadArrayError` where it has NaN or infinity."""
        flat = _finite(feature_map)
        mean = flat.mean(1)
        centred = flat - mean[:, None]
        strengths = np.abs(flat).mean(0)
        strength = float(strengths.mean())
        return cls(flat.shape[1], mean, centred @ centred.T, strength, centred @ (strengths - strength))

    def and_of(self, other: Moments) -> Moments:
        """Of the cells of both (the pairwise update of Chan, Golub and LeVeque, 1979)."""
        cells = self.cells + other.cells
        step, further = other.mean - self.mean, other.strength - self.strength
        weight = self.cells * other.cells / cells
        return Moments(
            cells,
            self.mean + step * (other.cells / cells),
            self.products + other.products + np.outer(step, step * weight),
            self.strength + further * (other.cells / cells),
            self.towards + other.towards + step * (further * weight),
        )

    def basis(self) -> Optional[Basis]:
        """The components; None where the products are larger than a double holds."""
        if not np.isfinite(self.products).all():
            return None
        values, vectors = np.linalg.eigh(self.products)
        turned = _bright(vectors[:, ::-1][:, :COMPONENTS].T, self.towards)
        return _basis(self.mean, turned, values[::-1] / self.cells)


def basis_of(feature_map: NDArray[np.floating]) -> Optional[Basis]:
    """The basis of one map (C, H, W); None where its values are too large or too small for their squares."""
    flat = _finite(feature_map)
    if len(flat) <= flat.shape[1]:
        return Moments.of(feature_map).basis()
    # More channels than cells: the components of the cells' own products are found in less time, and lead to these.
    mean = flat.mean(1)
    centred = flat - mean[:, None]
    products = centred.T @ centred
    if not np.isfinite(products).all():
        return None
    values, cells = np.linalg.eigh(products)
    values, cells = values[::-1][:COMPONENTS], cells[:, ::-1][:, :COMPONENTS]
    lengths = np.sqrt(np.where(values > values[:1] * _NOTHING, values, np.inf))
    strengths = np.abs(flat).mean(0)
    vectors = (centred @ (cells / lengths)).T
    return _basis(mean, _bright(vectors, centred @ (strengths - strengths.mean())), values / flat.shape[1])


def _finite(feature_map: NDArray[np.floating]) -> Doubles:
    flat = feature_map.reshape(feature_map.shape[0], -1).astype(np.float64)
    if not np.isfinite(flat).all():
        raise BadArrayError("principal components need finite numbers; this map has NaN or infinity")
    return flat


def _bright(vectors: Doubles, towards: Doubles) -> Doubles:
    """The vectors, each turned so that strong activation is bright: the sign of a component is free."""
    signs = np.sign(vectors @ towards)
    turned: Doubles = vectors * np.where(signs == 0, 1, signs)[:, None]
    return turned


def _basis(mean: Doubles, vectors: Doubles, variances: Doubles) -> Basis:
    """With three components; one along which nothing varies has no direction, and is zero."""
    three, spread = np.zeros((COMPONENTS, len(mean))), np.zeros(COMPONENTS)
    for number, (vector, variance) in enumerate(zip(vectors, variances)):
        if variance > variances[0] * _NOTHING:
            three[number], spread[number] = vector, np.sqrt(variance)
    return Basis(mean, three, spread)


Key = Tuple[str, int]
"""Whose basis it is: a layer and field, or '' for a whole run, and the number of channels."""

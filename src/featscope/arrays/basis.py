"""Principal components over channels, of one map or of all maps of a layer.

If each map had its own basis, the same object would have a different colour in every image. One basis for all maps of a
layer avoids that. It is accumulated map by map, so its memory depends only on the number of channels, squared.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from featscope.errors import BadArrayError

Doubles = NDArray[np.float64]

COMPONENTS = 3
MOST_CHANNELS = 4096
"""The most channels of a basis for several maps; the covariance then takes 128 MiB."""


_ONE_THREAD = 200_000  # multiplications: OpenBLAS starts a second thread above 262,144

_SINGLE = (1e-15, 1e15)  # deviations whose squares are normal numbers in single precision

_NOTHING = 1e-12
"""Variances below this share of the largest one are rounding errors."""


def pairwise(
    count: Union[int, NDArray[np.int64]], other: Union[int, NDArray[np.int64]]
) -> Tuple[NDArray[np.int64], Doubles, Doubles]:
    """Return how the sums of two sets are merged: (together, share, weight).

    With `step` the mean of the other set less that of this one, the mean of both is `mean + step * share`, and the sum
    of squared deviations from it is `squares + other_squares + step**2 * weight`. This is the pairwise update of Chan,
    Golub and LeVeque (Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979).

    >>> together, share, weight = pairwise(1, 3)
    >>> int(together), float(share), float(weight)
    (4, 0.75, 0.75)
    """
    together = np.add(count, other)
    share = other / np.maximum(together, 1)
    return together, share, count * share


class Basis(NamedTuple):
    """The first three principal components."""

    mean: Doubles
    """Mean over all cells, (C,)."""

    vectors: Doubles
    """Unit vectors in the order of falling variance, (3, C). They are zero if there are fewer components."""

    spread: Doubles
    """Standard deviation of the cells along each vector, (3,)."""

    def scale(self, component: int) -> Tuple[float, float]:
        """Return the value range of a component's colours in all maps: 2.5 standard deviations to each side."""
        reach = 2.5 * float(self.spread[component]) or 1.0
        return -reach, reach

    def project(self, feature_map: NDArray[np.floating], count: int = COMPONENTS) -> NDArray[np.float32]:
        """Project a map (C, H, W) on its first components: (count, H, W).

        Raises `BadArrayError` if the map has a different number of channels, or contains NaN or infinity.
        """
        flat = feature_map.reshape(feature_map.shape[0], -1)
        if len(flat) != len(self.mean):
            raise BadArrayError(f"the map has {len(flat)} channels, but the basis is for {len(self.mean)}")
        parts = np.empty((count, flat.shape[1]), np.float32)
        # Products of a few cells stay on one thread of BLAS, so they never wait for a busy core. A single vector would
        # be multiplied by another function, which older versions run on two threads even for few cells.
        step = max(1, _ONE_THREAD // (len(self.vectors) * len(flat)))
        for start in range(0, flat.shape[1], step):
            cells = slice(start, start + step)
            parts[:, cells] = (self.vectors @ (_finite(flat[:, cells]) - self.mean[:, None]))[:count]
        return parts.reshape(count, *feature_map.shape[1:])


class Moments(NamedTuple):
    """Sums over all cells seen so far, from which a basis can be computed. Their size does not grow with the cells."""

    cells: int
    """Number of cells."""

    mean: Doubles
    """Mean of the channels, (C,)."""

    products: Doubles
    """Sums of products of the channels' deviations from their means, (C, C)."""

    strength: float
    """Mean over all cells of a cell's mean absolute value."""

    towards: Doubles
    """Sums of products of the channels' deviations with the deviation of the cell's strength, (C,): the direction in
    which the activation grows."""

    @classmethod
    def of(cls, feature_map: NDArray[np.floating]) -> Moments:
        """Return the moments of one map (C, H, W). Raises `BadArrayError` if it contains NaN or infinity."""
        flat = _finite(feature_map)
        mean = flat.mean(1)
        centred = flat - mean[:, None]
        strengths = np.abs(flat).mean(0)
        strength = float(strengths.mean())
        return cls(flat.shape[1], mean, centred @ centred.T, strength, centred @ (strengths - strength))

    @classmethod
    def quickly_of(cls, cells: NDArray[np.floating]) -> Moments:
        """Return the moments of a few thousand cells (C, n), multiplied in single precision if they are single.

        Three times as fast as `of`. A covariance is off by at most 1e-5 of the product of its two standard deviations,
        whatever the means are, because these are taken away first. Very large and very small values are multiplied in
        double precision. Raises `BadArrayError` if there is NaN or infinity.
        """
        mean = cells.mean(1)
        centred = cells - mean[:, None]
        reach = float(np.abs(centred).max(initial=0.0))
        if cells.dtype != np.float32 or not _SINGLE[0] < reach < _SINGLE[1]:
            return cls.of(cells)
        count = cells.shape[1]
        strengths = np.abs(cells).mean(0)
        strength = float(strengths.mean(dtype=np.float64))
        rest = centred.sum(1, dtype=np.float64)  # by so much the means in single precision were off
        products = (centred @ centred.T).astype(np.float64)
        products -= np.outer(rest, rest / count)
        towards = (centred @ (strengths - np.float32(strength))).astype(np.float64)
        return cls(count, mean + rest / count, products, strength, towards)

    def and_of(self, other: Moments) -> Moments:
        """Merge the moments of two sets of cells (see `pairwise`)."""
        cells, share, weight = pairwise(self.cells, other.cells)
        step, further = other.mean - self.mean, other.strength - self.strength
        products = np.outer(step, step * weight)  # in place, because a matrix may take 128 MiB
        products += self.products
        products += other.products
        return Moments(
            int(cells),
            self.mean + step * share,
            products,
            self.strength + further * float(share),
            self.towards + other.towards + step * (further * weight),
        )

    def standing_for(self, cells: int) -> Moments:
        """Return moments that weigh as much as those of `cells` cells, of which these are a fair sample."""
        factor = cells / self.cells
        return self._replace(cells=cells, products=self.products * factor, towards=self.towards * factor)

    def basis(self) -> Optional[Basis]:
        """Compute the components; None if the products overflow a double."""
        if not np.isfinite(self.products).all():
            return None
        values, vectors = np.linalg.eigh(self.products)
        turned = _bright(vectors[:, ::-1][:, :COMPONENTS].T, self.towards)
        return _basis(self.mean, turned, values[::-1] / self.cells)


def basis_of(feature_map: NDArray[np.floating]) -> Optional[Basis]:
    """Return the basis of one map (C, H, W); None if the squares of its values overflow."""
    flat = _finite(feature_map)
    if len(flat) <= flat.shape[1]:
        return Moments.of(feature_map).basis()
    # With more channels than cells, the eigenvectors of the (cells x cells) products are faster to compute.
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
    """Choose the sign of each vector, which is arbitrary, so that strong activation is bright."""
    signs = np.sign(vectors @ towards)
    turned: Doubles = vectors * np.where(signs == 0, 1, signs)[:, None]
    return turned


def _basis(mean: Doubles, vectors: Doubles, variances: Doubles) -> Basis:
    """Build a basis of three components. A component without variance has no direction and is zero."""
    three, spread = np.zeros((COMPONENTS, len(mean))), np.zeros(COMPONENTS)
    for number, (vector, variance) in enumerate(zip(vectors, variances)):
        if variance > variances[0] * _NOTHING:
            three[number], spread[number] = vector, np.sqrt(variance)
    return Basis(mean, three, spread)


Key = Tuple[str, int]
"""Key of a basis: its layer and field, or '' for a whole run, and its number of channels."""

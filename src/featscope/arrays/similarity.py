"""How alike two layers are, from sums over samples that can be merged: unbiased linear CKA, and Procrustes.

Samples are rows: x is (n, p) and y is (n, q), of the same n samples in the same order. p and q may differ.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featscope.errors import BadArrayError

Doubles = NDArray[np.float64]

FEWEST = 4
"""The fewest samples: HSIC_1 is a mean over sets of four different samples."""

_EXACT = 1e-13
"""Deviations below this share of the mean, and HSIC below this share of the squares, are rounding errors."""


class Sums(NamedTuple):
    """Sums over samples of two layers, from which HSIC_1 can be computed. Their size does not grow with the samples.

    All deviations are from the means of the samples that were summed, so that features far from zero lose no digits.
    """

    samples: int

    mean_x: Doubles
    """(p,)"""

    mean_y: Doubles
    """(q,)"""

    cross: Doubles
    """Sum of x_i y_i', (p, q)."""

    square_x: float
    """Sum of |x_i|^2."""

    square_y: float
    """Sum of |y_i|^2."""

    both: float
    """Sum of |x_i|^2 |y_i|^2."""

    towards_x: Doubles
    """Sum of |y_i|^2 x_i, (p,)."""

    towards_y: Doubles
    """Sum of |x_i|^2 y_i, (q,)."""

    @classmethod
    def of(cls, x: NDArray[np.floating], y: NDArray[np.floating]) -> Sums:
        """Return the sums of a block of samples, x (n, p) and y (n, q). Raises `BadArrayError` if none fit together."""
        for array in (x, y):
            if array.ndim != 2 or len(array) != len(x) or not len(x):
                raise BadArrayError(
                    f"likeness needs two tables with one row for each sample, not {x.shape} and {y.shape}"
                )
        mean_x, mean_y = x.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)
        x, y = x - mean_x, y - mean_y
        square_x, square_y = np.einsum("ic,ic->i", x, x), np.einsum("ic,ic->i", y, y)
        return cls(
            len(x),
            mean_x,
            mean_y,
            cross=x.T @ y,
            square_x=float(square_x.sum()),
            square_y=float(square_y.sum()),
            both=float(square_x @ square_y),
            towards_x=square_y @ x,
            towards_y=square_x @ y,
        )

    def and_of(self, other: Sums) -> Sums:
        """Merge the sums of two sets of samples."""
        if (len(self.mean_x), len(self.mean_y)) != (len(other.mean_x), len(other.mean_y)):
            raise BadArrayError(
                f"a layer has {len(self.mean_x)} and {len(self.mean_y)} channels in some samples, but "
                f"{len(other.mean_x)} and {len(other.mean_y)} in others; compare samples with the same channels"
            )
        share = other.samples / (self.samples + other.samples)
        mean_x = self.mean_x + (other.mean_x - self.mean_x) * share
        mean_y = self.mean_y + (other.mean_y - self.mean_y) * share
        one, two = self._from(mean_x, mean_y), other._from(mean_x, mean_y)
        return Sums(
            one.samples + two.samples,
            mean_x,
            mean_y,
            cross=one.cross + two.cross,
            square_x=one.square_x + two.square_x,
            square_y=one.square_y + two.square_y,
            both=one.both + two.both,
            towards_x=one.towards_x + two.towards_x,
            towards_y=one.towards_y + two.towards_y,
        )

    def _from(self, mean_x: Doubles, mean_y: Doubles) -> Sums:
        """Return the same sums of deviations from other means.

        With x' = x + d and y' = y + e, where the sums of x and of y are zero, each product is multiplied out:
        |x'|^2 = |x|^2 + 2 d'x + |d|^2, and so on.
        """
        d, e, n = self.mean_x - mean_x, self.mean_y - mean_y, self.samples
        dd, ee = float(d @ d), float(e @ e)
        to_x, to_y = self.cross @ e, d @ self.cross  # sums of (e'y) x and of (d'x) y
        both = self.both + 2 * float(e @ self.towards_y) + 2 * float(d @ self.towards_x)
        both += 4 * float(d @ to_x) + ee * self.square_x + dd * self.square_y + n * dd * ee
        return Sums(
            n,
            mean_x,
            mean_y,
            cross=self.cross + np.outer(d, e * n),
            square_x=self.square_x + n * dd,
            square_y=self.square_y + n * ee,
            both=both,
            towards_x=self.towards_x + 2 * to_x + d * (self.square_y + n * ee),
            towards_y=self.towards_y + 2 * to_y + e * (self.square_x + n * dd),
        )

    def hsic(self) -> float:
        """Return HSIC_1, the unbiased estimate of the dependence of x and y (Song et al., JMLR 13, 2012, eq. 5).

        With K = X X' and L = Y Y' without their diagonals, and 1 a vector of ones,

            HSIC_1 = (tr KL + 1'K1 1'L1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'KL1) / (n (n - 3)).

        HSIC_1 does not change when a number a_i + a_j is added to each K_ij, so X may be moved, and deviations from
        the mean be used. Then each row of X X' adds up to zero, and without the diagonal to -|x_i|^2. So

            tr KL = |X'Y|^2 - A,   1'K1 = -sum |x_i|^2,   1'L1 = -sum |y_i|^2,   1'KL1 = A = sum |x_i|^2 |y_i|^2.

        NaN if there are fewer than four samples.
        """
        n = self.samples
        if n < FEWEST:
            return float("nan")
        whole = float(np.einsum("ij,ij->", self.cross, self.cross)) - self.both * (n / (n - 2))
        return (whole + self.square_x * self.square_y / ((n - 1) * (n - 2))) / (n * (n - 3))

    def procrustes(self) -> float:
        """Return the Procrustes similarity: how much of y a rotation of x can be, from 0 to 1.

        The nuclear norm of X'Y, divided by |X| |Y|, for X and Y without their means: 1 - d / 2, where d is the squared
        distance of X and Y, each of length 1, after the best rotation (Schoenemann, 1966; Williams et al., 2021). It is
        not unbiased: with fewer samples than channels, independent noise is near 1.
        """
        return nuclear_norm(self.cross) / float(np.sqrt(self.square_x * self.square_y))


def cka(both: Sums, x: Sums, y: Sums) -> float:
    """Return unbiased linear CKA: HSIC_1(x, y) / sqrt(HSIC_1(x, x) HSIC_1(y, y)); NaN if a layer does not vary.

    >>> x = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 5.0], [4.0, 2.0], [3.0, 0.0]])
    >>> turned = x @ [[0.6, -0.8], [0.8, 0.6]]
    >>> round(cka(Sums.of(x, turned), Sums.of(x, x), Sums.of(turned, turned)), 9)
    1.0

    both: sums of x and y. x, y: sums of each layer with itself. The value does not change when a layer is moved, turned
    or scaled. It is 1 for layers that are alike, 0 on average for independent ones, and often below 0 for these; it is
    not clamped. Kornblith et al., ICML 2019; unbiased as in Nguyen, Raghu and Kornblith, ICLR 2021.
    """
    if why_no_value(x) or why_no_value(y):
        return float("nan")
    return both.hsic() / float(np.sqrt(x.hsic()) * np.sqrt(y.hsic()))


def why_no_value(own: Sums) -> str:
    """Return why a layer can be compared with no other, in words; '' if it can be. own: sums of the layer with itself.

    >>> why_no_value(Sums.of(np.ones((5, 2)), np.ones((5, 2))))
    'all samples have the same features'
    """
    if own.samples < FEWEST:
        return f"{own.samples} samples are too few, at least {FEWEST} are needed"
    if not np.isfinite(own.both):
        return "the features are too large: their fourth powers overflow"
    if own.square_x <= own.samples * _EXACT**2 * float(own.mean_x @ own.mean_x):
        return "all samples have the same features"
    if own.hsic() * own.samples * (own.samples - 3) <= _EXACT * own.square_x**2:
        return "only one sample differs from the others"
    return ""


def nuclear_norm(matrix: Doubles) -> float:
    """Return the sum of the singular values."""
    return float(np.linalg.svd(matrix, compute_uv=False).sum())


class Spread(NamedTuple):
    """Mean and squared deviations of each channel: what z-scores need. They can be merged."""

    samples: int

    mean: Doubles
    """(C,)"""

    squares: Doubles
    """Sum of squared deviations from the mean, (C,)."""

    @classmethod
    def of(cls, x: NDArray[np.floating]) -> Spread:
        """Return the spread of a block of samples (n, C)."""
        mean = x.mean(0, dtype=np.float64)
        return cls(len(x), mean, np.square(x - mean).sum(0))

    def and_of(self, other: Spread) -> Spread:
        """Merge the spreads of two sets of samples (Chan, Golub and LeVeque, 1979)."""
        samples, step = self.samples + other.samples, other.mean - self.mean
        squares = self.squares + other.squares + step**2 * (self.samples * other.samples / samples)
        return Spread(samples, self.mean + step * (other.samples / samples), squares)

    def z_scores(self, x: NDArray[np.floating]) -> Doubles:
        """Return samples with each channel at mean 0 and standard deviation 1. A channel that is constant is 0."""
        deviation = np.sqrt(self.squares / self.samples)
        varies = deviation > _EXACT * np.abs(self.mean)
        return np.where(varies, (x - self.mean) / np.where(varies, deviation, 1.0), 0.0)

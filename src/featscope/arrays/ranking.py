"""How well a number tells two groups apart: the area under the ROC curve, among equals, with its interval."""

from __future__ import annotations

from typing import Callable, NamedTuple, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 200
FEWEST = 5
"""The fewest members of each group, and the fewest images, for an area with an interval."""


class Separation(NamedTuple):
    """An area under the ROC curve."""

    auc: float
    """Chance that a member of the first group has a higher value than one of the second; ties count half. NaN if one
    group has no member."""

    low: float
    """Lower end of the 95 % interval, by a bootstrap over images; NaN if there are too few."""

    high: float
    """Upper end."""

    first: int
    """Members of the first group."""

    second: int
    """Members of the second group."""

    def __str__(self) -> str:
        if not np.isfinite(self.auc):
            return "unknown"
        ends = f" [{self.low:.2f}, {self.high:.2f}]" if np.isfinite(self.low) else ""
        return f"{self.auc:.2f}{ends}, n = {self.first} and {self.second}"


def auc(values: NDArray[np.float64], first: NDArray[np.bool_], weights: Optional[NDArray[np.float64]] = None) -> float:
    """Return the area under the ROC curve.

    >>> auc(np.array([3.0, 1.0, 2.0, 2.0]), np.array([True, False, True, False]))
    0.875

    values: (n,) without NaN. first: whether each belongs to the first group. weights: how much each counts.
    """
    won, whole = _Ranked.of(values, first).pairs(np.ones(len(values)) if weights is None else weights)
    return won / whole if whole > 0 else float("nan")


class _Ranked(NamedTuple):
    """The members of both groups by the rank of their values, so that they can be weighted again and again."""

    ranks: NDArray[np.int64]
    first: NDArray[np.bool_]
    different: int

    @classmethod
    def of(cls, values: NDArray[np.float64], first: NDArray[np.bool_]) -> _Ranked:
        known, ranks = np.unique(values, return_inverse=True)
        return cls(ranks, first, len(known))

    def pairs(self, weights: NDArray[np.float64]) -> Tuple[float, float]:
        """Return the weight of the pairs that the first group wins, ties half, and of all pairs."""
        ones = np.bincount(self.ranks[self.first], weights[self.first], self.different)
        twos = np.bincount(self.ranks[~self.first], weights[~self.first], self.different)
        return float((ones * (np.cumsum(twos) - twos / 2)).sum()), float(ones.sum() * twos.sum())


def separation(
    values: NDArray[np.float64],
    first: NDArray[np.bool_],
    images: NDArray[np.int64],
    strata: Optional[NDArray[np.int64]] = None,
    seed: int = 0,
) -> Separation:
    """Return how well values tell the first group from the second, with an interval.

    >>> values = np.arange(40.0)
    >>> print(separation(values, values >= 20, np.arange(40) // 2))
    1.00 [1.00, 1.00], n = 20 and 20

    strata: only members of one stratum are compared, such as objects of one size; each stratum counts by its pairs.
    NaN are left out. images: of each member; whole images are drawn again.
    """
    known = np.isfinite(values)
    values, first, images = values[known], first[known], images[known]
    groups = np.zeros(len(values), np.int64) if strata is None else strata[known]
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    ranked = [(mine, _Ranked.of(values[mine], first[mine])) for mine in members]

    def area(weights: NDArray[np.float64]) -> float:
        counted = [one.pairs(weights[mine]) for mine, one in ranked]
        pairs = sum(all_pairs for _, all_pairs in counted)
        return sum(won for won, _ in counted) / pairs if pairs > 0 else float("nan")

    counts = int(first.sum()), int((~first).sum())
    whole = area(np.ones(len(values)))
    names, place = np.unique(images, return_inverse=True)
    if min(counts) < FEWEST or len(names) < FEWEST:
        return Separation(whole, np.nan, np.nan, *counts)
    low, high = interval_over_images(area, place, _RESAMPLES, seed)
    return Separation(whole, low, high, *counts)


def interval_over_images(
    value: Callable[[NDArray[np.float64]], float], images: NDArray[np.int64], resamples: int = 2000, seed: int = 0
) -> Tuple[float, float]:
    """Return the 95 % interval of a value by a bootstrap over images. value: of how often each member is drawn."""
    count = int(images.max(initial=-1)) + 1
    if count < 2:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        weights = np.bincount(random.integers(0, count, count), minlength=count).astype(np.float64)
        drawn.append(value(weights[images]))
    known = np.array(drawn)[np.isfinite(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)

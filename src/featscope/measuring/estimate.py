"""Estimate where many cells look, with a confidence interval. The estimate is refused if the interval is too wide."""

from __future__ import annotations

from typing import NamedTuple, Tuple

import numpy as np
from numpy.typing import NDArray

LIMIT = 0.15
"""The largest half width of the interval, in cells, of a place that is kept."""

_RESAMPLES = 500  # of the bootstrap
_FEWEST = 8  # cells


class Estimate(NamedTuple):
    """An estimate of where cells look."""

    offset: Tuple[float, float]
    """Offset of cell 0, (y, x) in cells."""

    interval: Tuple[float, float]
    """Half the width of its 95 % confidence interval, (y, x) in cells."""

    number: int
    """Number of cells that were measured."""

    refused: str = ""
    """Why the estimate must not be used; '' if it can be used."""


def estimate(offsets: NDArray[np.float64], images: NDArray[np.int64]) -> Estimate:
    """Estimate the centre of offsets (n, 2), in cells, by the mean of their middle half.

    >>> seen = np.random.default_rng(0).normal(0.25, 0.1, (60, 2))
    >>> found = estimate(seen, np.arange(60) // 10)
    >>> found.refused, abs(found.offset[0] - 0.25) < 0.05, found.interval[0] < 0.05
    ('', True, True)

    images: the image number of each offset. The interval comes from a bootstrap over images and over the cells in them,
    because the content of an image moves all its cells. The median is not used: training assigns boxes evenly around
    their cells, and for evenly distributed values the interval of the median is twice as wide.
    """
    count = len(offsets)
    if count == 0:
        return Estimate((0.0, 0.0), (0.0, 0.0), 0, "nothing was measured")
    middle = _midmean(offsets)
    random = np.random.default_rng(0)
    _, group_of = np.unique(images, return_inverse=True)
    by_group, sizes = np.argsort(group_of, kind="stable"), np.bincount(group_of)
    starts = np.cumsum(sizes) - sizes
    middles = np.empty((_RESAMPLES, 2))
    for row in middles:
        chosen = random.integers(0, len(sizes), len(sizes))
        again = np.repeat(chosen, sizes[chosen])
        drawn = starts[again] + (random.random(len(again)) * sizes[again]).astype(np.int64)
        row[:] = _midmean(offsets[by_group[drawn]])
    low, high = np.percentile(middles, [2.5, 97.5], axis=0)
    half = np.maximum(high - middle, middle - low)
    found = Estimate(_pair(middle), _pair(half), count)
    if count < _FEWEST:
        return found._replace(refused=f"only {count} were measured; {_FEWEST} are needed")
    if half.max() > LIMIT:
        return found._replace(refused=f"its interval is wider than {LIMIT} cell")
    return found


def _midmean(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    cut = len(offsets) // 4
    return np.asarray(np.sort(offsets, 0)[cut : len(offsets) - cut].mean(0))


def _pair(values: NDArray[np.float64]) -> Tuple[float, float]:
    return float(values[0]), float(values[1])

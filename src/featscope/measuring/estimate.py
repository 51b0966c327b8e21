"""The middle of what many cells look at, with its interval: kept where that is narrow, else refused."""

from __future__ import annotations

from typing import NamedTuple, Tuple

import numpy as np
from numpy.typing import NDArray

LIMIT = 0.15
"""Half of the widest interval, in cells, of a place that is kept."""

_RESAMPLES = 500
_FEWEST = 8


class Estimate(NamedTuple):
    """Where cells look: the offset of cell 0, and half of its 95 % interval, (y, x) in cells.

    number: how many were seen. refused: why it is not kept; '' where it is.
    """

    offset: Tuple[float, float]
    interval: Tuple[float, float]
    number: int
    refused: str = ""


def estimate(offsets: NDArray[np.float64], images: NDArray[np.int64]) -> Estimate:
    """The middle of offsets (n, 2), in cells, of cells in some images: the mean of the middle half of them.

    >>> seen = np.random.default_rng(0).normal(0.25, 0.1, (60, 2))
    >>> found = estimate(seen, np.arange(60) // 10)
    >>> found.refused, abs(found.offset[0] - 0.25) < 0.05, found.interval[0] < 0.05
    ('', True, True)

    images: the number of each one's image. The interval is that of a bootstrap over images and the cells in them, as
    what lies in an image moves all of its cells. A median would do, but boxes lie around their cells as evenly as
    their assignment in training spread them, and of such values a median is known half as well.
    """
    count = len(offsets)
    if count == 0:
        return Estimate((0.0, 0.0), (0.0, 0.0), 0, "nothing was seen of it")
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
        return found._replace(refused=f"only {count} were seen; {_FEWEST} are needed")
    if half.max() > LIMIT:
        return found._replace(refused=f"its interval is wider than {LIMIT} cell")
    return found


def _midmean(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    cut = len(offsets) // 4
    return np.asarray(np.sort(offsets, 0)[cut : len(offsets) - cut].mean(0))


def _pair(values: NDArray[np.float64]) -> Tuple[float, float]:
    return float(values[0]), float(values[1])

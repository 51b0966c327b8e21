"""A histogram of any values, whose bins are fixed. So it needs no second pass, and histograms are added to be merged.

The bin of a value is the upper half of its 32 bits as float32: sign, exponent and seven bits of the mantissa (which is
its bfloat16, cut off). There are 128 bins between a power of two and the next, for both signs, from 1e-38 to 3e38.
"""

from __future__ import annotations

import sys
from typing import List, NamedTuple, Optional, Union

import numpy as np
from numpy.typing import NDArray

BINS = 1 << 16

_UPPER = 1 if sys.byteorder == "little" else 0  # which of the two halves of a float32 holds the exponent
_NEGATIVE = 1 << 15
_INFINITY = 0x7F80  # the first bin of one sign that holds infinity or NaN
_LEAST = -126  # the smallest exponent of float32; below it the bins are evenly wide
_TOGETHER = 64  # bins of half a power of two


class Bin(NamedTuple):
    """A bin of a coarse histogram: the values from `low` to `high`, and how many there are."""

    low: float
    high: float
    many: int


class Even(NamedTuple):
    """A histogram whose bins are equally wide. Zeros are not in it."""

    low: float
    """Where the first bin starts."""

    step: float
    """The width of a bin."""

    counts: NDArray[np.int64]
    """How many values each bin has."""

    @property
    def high(self) -> float:
        """Where the last bin ends."""
        return self.low + self.step * len(self.counts)


def count_values(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return how many values each bin has, (BINS,); NaN and infinity are left out.

    >>> counts = count_values(np.array([0.0, 1.0, 1.0, -2.5, np.nan], np.float32))
    >>> int(counts.sum()), quantiles(counts, [0.0, 1.0])
    (4, [-2.5078125, 1.00390625])
    """
    most = np.finfo(np.float32).max
    if values.dtype != np.float32:
        values = np.where(np.isfinite(values), np.clip(values, -most, most), values)
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    counts = np.bincount(flat.view(np.uint16)[_UPPER::2], minlength=BINS)
    counts[_INFINITY:_NEGATIVE] = 0
    counts[_NEGATIVE + _INFINITY :] = 0
    return counts


def quantiles(counts: NDArray[np.int64], shares: List[float]) -> List[float]:
    """Return quantiles: for each share, the middle of the bin in which that share of the values is reached.

    A quantile is off by at most 0.4 % of itself (half a bin). Returns NaN if there are no values.
    """
    total = int(counts.sum())
    if not total:
        return [float("nan")] * len(shares)
    # From the lowest bin to the highest: negative ones run backwards.
    order = np.concatenate([np.arange(BINS - 1, _NEGATIVE - 1, -1), np.arange(_NEGATIVE)])
    reached = np.cumsum(counts[order])
    places = [int(np.searchsorted(reached, max(1, share * total))) for share in shares]
    return [_middle(int(order[place])) for place in places]


def coarse(counts: NDArray[np.int64]) -> List[Bin]:
    """Return the bins that hold values, from the lowest to the highest, joined to two for each power of two.

    >>> coarse(count_values(np.array([1.0, 1.0, -2.5], np.float32)))
    [Bin(low=-3.0, high=-2.0, many=1), Bin(low=1.0, high=1.5, many=2)]
    """
    joined = counts.copy()
    joined[0] += joined[_NEGATIVE]  # the negative zero is a zero
    joined[_NEGATIVE] = 0
    sums = joined.reshape(2, -1, _TOGETHER).sum(2)
    made = []
    for place in np.flatnonzero(sums[1])[::-1]:
        made.append(Bin(-_edge(place + 1), -_edge(place), int(sums[1, place])))
    for place in np.flatnonzero(sums[0]):
        made.append(Bin(_edge(place), _edge(place + 1), int(sums[0, place])))
    return made


def even(counts: NDArray[np.int64], most: int = 48, outside: float = 0.001) -> Optional[Even]:
    """Return the histogram of the values that are not zero, in bins of one width; None if all values are zero.

    >>> values = np.array([0.0, 0.5, 0.75, 1.5, 1.5], np.float32)
    >>> found = even(count_values(values), most=4)
    >>> found.low, found.step, found.counts.tolist()
    (0.0, 0.5, [0, 2, 0, 2])

    It has at most one bin more than `most`. It leaves out a share `outside` of the values at each end. Zero is within,
    unless all values lie far from it. The edges of its bins are edges of the fixed ones, so no value is in a wrong bin.
    """
    joined = counts.copy()
    joined[[0, _NEGATIVE]] = 0
    if not joined.any():
        return None
    low, high = quantiles(joined, [outside, 1 - outside])
    # Up to the next power of two, each edge of a fixed bin is a multiple of this, and each multiple is an edge.
    exponent = int(np.floor(np.log2(max(abs(low), abs(high)))))
    unit = 2.0 ** (max(exponent, _LEAST) - 7)
    first, last = int(np.floor(low / unit)), int(np.ceil(high / unit))
    first = 0 if 0 < first < last - first else first
    last = 0 if first - last < last < 0 else last
    together = 1
    while last - first > most * together:  # powers of two keep the edges within the power of two
        together *= 2
    first, last, step = first // together, -(-last // together), unit * together
    sizes = np.arange(_INFINITY, dtype=np.uint32) << 16
    edges = np.append(sizes.view(np.float32).astype(np.float64), 2.0**128)
    lows = np.concatenate([edges[:-1], -edges[1:]])
    places = np.clip(np.floor(lows / step) - first, -1, last - first).astype(np.int64)
    many = np.concatenate([joined[:_INFINITY], joined[_NEGATIVE : _NEGATIVE + _INFINITY]])
    inside = (places >= 0) & (places < last - first)
    even_counts = np.zeros(last - first, np.int64)
    np.add.at(even_counts, places[inside], many[inside])
    return Even(first * step, step, even_counts)


def _edge(place: Union[int, np.signedinteger]) -> float:
    return _lowest(int(place) * _TOGETHER)


def _lowest(number: int) -> float:
    """Return the smallest magnitude in a bin."""
    value = float(np.array(number << 16, np.uint32).view(np.float32))
    return value if np.isfinite(value) else 2.0**128


def _middle(number: int) -> float:
    if number in (0, _NEGATIVE):  # everything below 1e-40, which is zero in practice
        return 0.0
    sign, size = (-1, number - _NEGATIVE) if number >= _NEGATIVE else (1, number)
    return sign * (_lowest(size) + _lowest(size + 1)) / 2

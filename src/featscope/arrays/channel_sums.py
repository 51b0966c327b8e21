"""Sums over the cells of maps, channel by channel: mean, variance, extremes, zeros, and the images that excite it most.

They are merged, in any order, and their size does not grow with the number of images.
"""

from __future__ import annotations

from typing import Iterator, Optional, Union

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.basis import Doubles, pairwise

Counts = NDArray[np.int64]
Floats = NDArray[np.floating]

NO_IMAGE = -1

_VALUES = 1 << 17  # values that are summed together, so that they stay in the processor's cache
_CELLS = 2048  # the most cells of a channel that are summed in single precision
_LANE = 256  # squares that are summed in single precision
_MARKS = 128  # marks that are counted together
_SINGLE = (1e-15, 1e15)  # spans of values whose squares are normal numbers in single precision


class ChannelSums:
    """Sums of all cells seen so far, for each of C channels. NaN and infinity are counted and have no part in the rest.

    top: number of images to remember for each channel. Images are known by a number, which the caller chooses.
    """

    def __init__(self, channels: int, top: int) -> None:
        self.images = 0
        self.cells: Counts = np.zeros(channels, np.int64)
        """Number of finite values."""
        self.mean: Doubles = np.zeros(channels)
        self.squares: Doubles = np.zeros(channels)
        """Sums of squared deviations from the mean."""
        self.low: Doubles = np.full(channels, np.inf)
        self.low_image: Counts = np.full(channels, NO_IMAGE, np.int64)
        """The image with the smallest value, the first one if there are several."""
        self.high: Doubles = np.full(channels, -np.inf)
        self.at_high: Counts = np.zeros(channels, np.int64)
        """Number of cells that have exactly the largest value."""
        self.zeros: Counts = np.zeros(channels, np.int64)
        self.nan: Counts = np.zeros(channels, np.int64)
        self.infinite: Counts = np.zeros(channels, np.int64)
        self.fires: Counts = np.zeros(channels, np.int64)
        """Number of images with a value above zero."""
        self.top_values: Doubles = np.full((channels, top), -np.inf)
        """The largest values that an image has, in falling order."""
        self.top_images: Counts = np.full((channels, top), NO_IMAGE, np.int64)

    def add(self, feature_map: Floats, image: int) -> None:
        """Add the cells of one image, (C, rows, columns)."""
        part = ChannelSums(len(feature_map), 1)
        part.images = 1
        for channels in _blocks(feature_map):
            _add_block(part, feature_map[channels], channels, self.high[channels])
        part.low_image[part.cells > 0] = image
        part.fires = (part.high > 0).astype(np.int64)
        part.top_values[:, 0] = part.high
        part.top_images[part.cells > 0, 0] = image
        self.merge(part)

    def merge(self, other: ChannelSums) -> None:
        """Add the sums of other images."""
        self.images += other.images
        cells, share, weight = pairwise(self.cells, other.cells)
        step = other.mean - self.mean
        self.squares += other.squares + step * step * weight
        self.mean += step * share
        self.cells = cells
        for name in ("zeros", "nan", "infinite", "fires"):
            getattr(self, name)[:] += getattr(other, name)
        self.at_high = np.where(self.high >= other.high, self.at_high, 0) + np.where(
            other.high >= self.high, other.at_high, 0
        )
        lower = (other.low < self.low) | ((other.low == self.low) & (other.low_image < self.low_image))
        self.low_image = np.where(lower, other.low_image, self.low_image)
        self.low = np.minimum(self.low, other.low)
        self.high = np.maximum(self.high, other.high)
        self._merge_top(other)

    def _merge_top(self, other: ChannelSums) -> None:
        # Few images change a list, so only those channels are sorted.
        rows = np.flatnonzero(other.top_values[:, 0] >= self.top_values[:, -1])
        if not len(rows):
            return
        values = np.concatenate([self.top_values[rows], other.top_values[rows]], axis=1)
        images = np.concatenate([self.top_images[rows], other.top_images[rows]], axis=1)
        order = np.lexsort((images, -values), axis=1)[:, : self.top_values.shape[1]]
        self.top_values[rows] = np.take_along_axis(values, order, 1)
        self.top_images[rows] = np.take_along_axis(images, order, 1)


def _blocks(feature_map: Floats) -> Iterator[slice]:
    """Yield ranges of channels whose values, of `_CELLS` cells, stay in the cache together."""
    channels, rows, columns = feature_map.shape
    step = max(1, _VALUES // max(1, min(rows * columns, max(_CELLS, columns))))
    for start in range(0, channels, step):
        yield slice(start, start + step)


def _add_block(sums: ChannelSums, block: Floats, channels: slice, known: Doubles) -> None:
    """Add all cells of some channels of one image. known: the largest values of earlier images.

    Cells with the largest value are only counted if it is at least as large as the known one.
    """
    count, rows, columns = block.shape
    step = max(1, _CELLS // max(1, columns))
    shift: Floats = np.zeros((count, 1), block.dtype)
    total, squares = np.zeros(count), np.zeros(count)
    # Views: what is written to them is written to the sums.
    high, low, at_high = sums.high[channels], sums.low[channels], sums.at_high[channels]
    for start in range(0, rows, step):
        part = block[:, start : start + step].reshape(count, -1)
        least, most = part.min(1), part.max(1)
        finite = np.isfinite(least).all() and np.isfinite(most).all()
        seen = None if finite else np.isfinite(part)
        if seen is not None:
            sums.nan[channels] += np.isnan(part).sum(1)
            sums.infinite[channels] += np.isinf(part).sum(1)
            least, most = np.where(seen, part, np.inf).min(1), np.where(seen, part, -np.inf).max(1)
        sums.cells[channels] += part.shape[1] if seen is None else seen.sum(1)
        sums.zeros[channels] += _count_equal(part, 0)
        _count_highest(part, most, high, at_high, known)
        np.minimum(low, least, out=low)
        if not start:
            shift = _shift(part, seen)
        away = part - shift
        if seen is not None:
            away[~seen] = 0
        total += away.sum(1)
        squares += _squares(away, least, most)
    cells = np.maximum(sums.cells[channels], 1)
    sums.mean[channels] = np.where(sums.cells[channels] > 0, shift[:, 0] + total / cells, 0)
    sums.squares[channels] = np.maximum(squares - total * total / cells, 0)


def _shift(part: Floats, seen: Optional[NDArray[np.bool_]]) -> Floats:
    """Return a value near the mean of each channel, (c, 1). Without it, squares of large values would hide a spread."""
    if seen is None:
        return part.mean(1, keepdims=True)
    shift = np.where(seen, part, 0).sum(1, keepdims=True) / np.maximum(seen.sum(1, keepdims=True), 1)
    return shift.astype(part.dtype)


def _squares(away: Floats, least: Floats, most: Floats) -> Doubles:
    """Return the sum of squares of each row. Rows whose squares leave single precision are summed in double."""
    whole = away.shape[1] // _LANE * _LANE
    lanes = away[:, :whole].reshape(len(away), -1, _LANE)
    found: Doubles = np.einsum("ijk,ijk->ij", lanes, lanes).sum(1, dtype=np.float64)
    rest = away[:, whole:]
    found += np.einsum("ij,ij->i", rest, rest)
    spans = most.astype(np.float64) - least
    odd = (spans > 0) & ((spans < _SINGLE[0]) | (spans > _SINGLE[1]))
    if odd.any() and away.dtype == np.float32:
        wide = away[odd].astype(np.float64)
        found[odd] = np.einsum("ij,ij->i", wide, wide)
    return found


def _count_highest(part: Floats, most: Floats, high: Doubles, at_high: Counts, known: Doubles) -> None:
    """Update the largest values of this image, and the number of cells that have them."""
    rises = most > high
    at_high[rises] = 0
    np.maximum(high, most, out=high)
    rows = np.flatnonzero((most == high) & (high >= known) & np.isfinite(most))
    if len(rows):
        chosen = part if len(rows) == len(part) else part[rows]
        at_high[rows] += _count_equal(chosen, most[rows, None])


def _count_equal(part: Floats, value: Union[int, Floats]) -> Counts:
    """Return how many values of each row are equal to `value`; it is three times as fast as `np.count_nonzero`.

    Each mark is a byte, and eight of them are added as one number. A byte holds the sum of 16 marks easily.
    """
    count, length = part.shape
    marks = np.zeros((count, -(-length // _MARKS) * _MARKS), np.bool_)
    np.equal(part, value, out=marks[:, :length])
    words = marks.view(np.uint64).reshape(count, -1, _MARKS // 8).sum(2)
    return np.ascontiguousarray(words).view(np.uint8).reshape(count, -1).sum(1, dtype=np.int64)

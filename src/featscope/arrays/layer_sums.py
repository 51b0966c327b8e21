"""All sums of the maps of one layer and level, from which its statistics are computed. They are merged in any order."""

from __future__ import annotations

import math
from typing import List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.basis import MOST_CHANNELS, Moments
from featscope.arrays.channel_sums import ChannelSums
from featscope.arrays.histogram import BINS, count_values
from featscope.arrays.reduce import EVERYWHERE, Cells

Floats = NDArray[np.floating]

_GATHERED = 4096
"""Number of cells that are counted and multiplied together."""


class LayerSums:
    """Sums of the maps of one layer and level, with `channels` channels.

    top: number of images to remember for each channel. most: at most so many cells of an image, spread evenly, enter
    the histogram and the covariance, which take much longer than the rest; 0 for all cells. covariance: whether to keep
    it; with 4096 channels it takes 128 MiB, and with more or with only one there is none.

    >>> sums = LayerSums(channels=2, top=1)
    >>> sums.add(np.array([[[1.0, 3.0]], [[0.0, 0.0]]], np.float32), image=7)
    >>> sums.channels.mean.tolist(), sums.channels.zeros.tolist(), sums.channels.top_images.tolist()
    ([2.0, 0.0], [0, 2], [[7], [7]])
    """

    def __init__(self, channels: int, top: int, most: int = 0, covariance: bool = True) -> None:
        self.channels = ChannelSums(channels, top)
        self.padding = 0
        """Number of cells that were left out because they lie beside the image."""
        self.sampled = 0
        """Number of cells in the histogram."""
        self._histogram: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self._moments: Optional[Moments] = None
        self._gathered: List[Floats] = []
        self._most = most
        self._covariance = covariance and 1 < channels <= MOST_CHANNELS

    def add(self, feature_map: Floats, image: int, inside: Cells = EVERYWHERE, seed: int = 0) -> None:
        """Add the map of one image, (C, H, W).

        image: its number. inside: the rows and columns that lie on the image. seed: which cells of it are chosen, where
        only some are; give every image another one.
        """
        seen = feature_map[(slice(None), *inside)]
        self.channels.add(seen, image)
        cells = seen.shape[1] * seen.shape[2]
        self.padding += feature_map.shape[1] * feature_map.shape[2] - cells
        chosen = self._chosen(feature_map, inside, (seen.shape[1], seen.shape[2]), seed)
        self.sampled += chosen.shape[1]
        self._gathered.append(chosen)
        if sum(part.shape[1] for part in self._gathered) >= _GATHERED:
            self._use_gathered()

    def merge(self, other: LayerSums) -> None:
        """Add the sums of other images."""
        self.channels.merge(other.channels)
        self.padding += other.padding
        self.sampled += other.sampled
        self._use_gathered()
        self._histogram += other.histogram
        if other.moments is not None:
            self._take(other.moments)

    @property
    def histogram(self) -> NDArray[np.int64]:
        """The values of all channels, as counted by `featscope.arrays.histogram.count_values`."""
        self._use_gathered()
        return self._histogram

    @property
    def moments(self) -> Optional[Moments]:
        """The mean and the covariance of the channels, over cells without NaN and infinity; None if not kept."""
        self._use_gathered()
        return self._moments

    def _chosen(self, feature_map: Floats, inside: Cells, shape: Tuple[int, int], seed: int) -> Floats:
        """Return the cells that enter the histogram and the covariance, (C, n)."""
        rows, columns = shape
        count = rows * columns
        if not self._most or count <= self._most:
            return feature_map[(slice(None), *inside)].reshape(len(feature_map), -1)
        places = spread_cells(count, self._most, seed)
        whole = (places // columns + (inside[0].start or 0)) * feature_map.shape[2]
        whole += places % columns + (inside[1].start or 0)
        return np.take(feature_map.reshape(len(feature_map), -1), whole, axis=1)

    def _use_gathered(self) -> None:
        """Count and multiply the cells that were gathered. For many cells together this takes much less time."""
        if not self._gathered:
            return
        cells = self._gathered[0] if len(self._gathered) == 1 else np.concatenate(self._gathered, axis=1)
        self._gathered = []
        self._histogram += count_values(cells)
        if self._covariance:
            finite = np.isfinite(cells).all(0)
            if finite.any():
                self._take(Moments.quickly_of(cells if finite.all() else cells[:, finite]))

    def _take(self, moments: Moments) -> None:
        self._moments = moments if self._moments is None else self._moments.and_of(moments)


def spread_cells(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """Return `most` of `count` cells in rising order, spread evenly. Other seeds give other cells.

    They are steps of about the golden section through all cells, so no grid of a network falls in with them.

    >>> spread_cells(100, 5, seed=0).tolist(), spread_cells(100, 5, seed=1).tolist()
    ([0, 26, 52, 63, 89], [1, 27, 53, 64, 90])
    """
    step = round(count * 0.6180339887)
    while math.gcd(step, count) != 1:
        step += 1
    return np.sort((np.arange(most, dtype=np.int64) * step + seed) % count)

"""Whether channel i of two layers is the same feature, by what the layers hold of the same objects."""

from __future__ import annotations

from math import exp, lgamma, log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FEWEST = 10
"""The fewest objects by which channels are matched. Of fewer, any two channels may be alike."""

_MOST_CHANNELS = 4096  # the matrix of all pairs takes 128 MB
_SURE = 1e-3  # so unlikely must it be that channels match by chance


class ChannelOrder(NamedTuple):
    """How many channels of one layer are most alike to the channel of the same number in the other."""

    same: int
    channels: int
    """Those that vary over the objects, in both layers."""

    chance: float
    """How likely so many are if the channels are in any order."""

    @property
    def proved(self) -> bool:
        """Whether the two layers have the same channels in the same order."""
        return 2 * self.same >= self.channels and self.chance < _SURE

    def __str__(self) -> str:
        """Return the counts in words: `61 of 64`."""
        return f"{self.same} of {self.channels}"


def channel_order(a: NDArray[np.floating], b: NDArray[np.floating]) -> ChannelOrder:
    """Compare the channels of two layers by their correlations over the same objects.

    >>> objects = np.random.default_rng(0).normal(size=(60, 8))
    >>> trained_on = objects * 2 + np.random.default_rng(1).normal(size=(60, 8)) / 2
    >>> channel_order(objects, trained_on).proved, channel_order(objects, trained_on[:, ::-1]).proved
    (True, False)

    Training keeps the order of the channels, so a layer and the same layer some epochs later match. Two trainings from
    other random weights do not (Li et al., Convergent Learning, ICLR 2016). The order is proved where at least half of
    the channels match and chance would make so many match less than once in a thousand times.

    a, b: features of the same n objects, (n, C) each. Objects with NaN or infinity in one of them are left out.
    """
    if a.shape != b.shape or a.shape[1] > _MOST_CHANNELS:
        return ChannelOrder(0, 0, 1.0)
    usable = np.isfinite(a).all(1) & np.isfinite(b).all(1)
    one, two = (side[usable].astype(np.float64) for side in (a, b))
    if len(one) < FEWEST:
        return ChannelOrder(0, 0, 1.0)
    one, two = one - one.mean(0), two - two.mean(0)
    lengths = [np.sqrt(np.square(side).sum(0)) for side in (one, two)]
    # Rounding leaves a constant channel with a length of about 1e-16 of its values.
    varies = [length > 1e-6 * np.abs(side[usable]).max(0) for side, length in zip((a, b), lengths)]
    kept = varies[0] & varies[1]
    alike = np.abs((one[:, kept] / lengths[0][kept]).T @ (two[:, kept] / lengths[1][kept]))
    same, channels = int((alike.argmax(1) == np.arange(len(alike))).sum()) if alike.size else 0, int(kept.sum())
    return ChannelOrder(same, channels, _chance(same, channels))


def _chance(same: int, channels: int) -> float:
    """Return the chance that at least `same` of `channels` match, if each matches any channel alike.

    >>> round(_chance(1, 2), 3), _chance(0, 5), _chance(64, 64) < 1e-100
    (0.75, 1.0, True)
    """
    if not same:
        return 1.0
    if channels == 1:
        return 1.0
    hit, miss = log(1 / channels), log(1 - 1 / channels)
    terms = (
        lgamma(channels + 1) - lgamma(k + 1) - lgamma(channels - k + 1) + k * hit + (channels - k) * miss
        for k in range(same, channels + 1)
    )
    return min(1.0, sum(exp(term) for term in terms))

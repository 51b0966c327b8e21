"""How many directions the channels of a layer use, and which channels say the same."""

from __future__ import annotations

from typing import List

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.basis import Moments

_NOTHING = 1e-10
"""A channel whose variance is below this share of the largest one is constant but for rounding errors."""


def effective_rank(moments: Moments) -> float:
    """Return the effective rank of the channels' covariance: exp(-sum p log p), with p the eigenvalues over their sum.

    It lies between 1 (all channels are multiples of one) and the number of channels (all are independent and equally
    strong). Source: Roy and Vetterli, The effective rank: A measure of effective dimensionality (EUSIPCO 2007), applied
    to the covariance matrix: its singular values are its eigenvalues, that is, variances and not standard deviations.

    >>> rng = np.random.default_rng(0)
    >>> one = rng.normal(size=(1, 4000))
    >>> round(effective_rank(Moments.of(np.concatenate([one, 2 * one, -one]))), 3)
    1.0
    >>> round(effective_rank(Moments.of(rng.normal(size=(3, 4000)))), 2)
    3.0

    NaN if all channels are constant, or if their squares overflow.
    """
    if not np.isfinite(moments.products).all():
        return float("nan")
    values = np.maximum(np.linalg.eigvalsh(moments.products), 0)
    total = float(values.sum())
    if not total:
        return float("nan")
    shares = values[values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def correlations(moments: Moments) -> NDArray[np.float64]:
    """Return Pearson's correlation of each pair of channels, (C, C); 0 for constant channels.

    A channel is constant if its variance is below 1e-10 of the largest one.
    """
    variances = np.diagonal(moments.products)
    if not np.isfinite(moments.products).all():
        return np.zeros_like(moments.products)
    varies = variances > max(float(variances.max(initial=0)) * _NOTHING, 0)
    scale = np.where(varies, 1 / np.sqrt(np.where(varies, variances, 1)), 0)
    found: NDArray[np.float64] = moments.products * scale
    found *= scale[:, None]
    return found


def redundant_groups(moments: Moments, least: float) -> List[List[int]]:
    """Return groups of channels that say nearly the same, largest first.

    Every channel of a group has a correlation of at least `least`, or at most -`least`, with the group's first channel.
    The first is the channel that stands for most others; then the same is done with the channels that are left.

    >>> one, other = np.random.default_rng(0).normal(size=(2, 1000))
    >>> redundant_groups(Moments.of(np.stack([one, other, -2 * one, one + 3, other * 0])), 0.95)
    [[0, 2, 3]]
    """
    alike = np.abs(correlations(moments)) >= least
    np.fill_diagonal(alike, False)
    groups = []
    counts = alike.sum(1)
    while counts.max(initial=0):
        first = int(np.argmax(counts))
        members = np.flatnonzero(alike[first])
        groups.append([first, *map(int, members)])
        gone = np.append(members, first)
        counts = counts - alike[:, gone].sum(1)
        alike[:, gone] = False
        counts[gone] = 0
    return groups

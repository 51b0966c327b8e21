"""Compute class scores from a head's raw outputs in the same way as the detector does."""

from __future__ import annotations

from typing import Optional

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.reduce import Floats, as_floats


def sigmoid(x: Floats) -> Floats:
    """Compute the logistic function without overflow.

    >>> sigmoid(np.array([-1000.0, 0.0])).tolist()
    [0.0, 0.5]
    """
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def class_scores(raw: NDArray[np.generic], activation: str, classes: int) -> Floats:
    """Return the scores of each anchor and class, (anchors, classes, H, W).

    >>> class_scores(np.zeros((4, 1, 1)), "sigmoid", 2).ravel().tolist()
    [0.5, 0.5, 0.5, 0.5]

    raw: (anchors x classes, H, W), anchors first. With `softmax` each anchor has one more channel, for the background,
    which is left out of the result.
    """
    x = as_floats(raw)
    groups = x.reshape(-1, classes + (activation == "softmax"), *x.shape[1:])
    if activation == "sigmoid":
        return sigmoid(groups)
    if activation == "softmax":
        powers = np.exp(groups - groups.max(1, keepdims=True))
        return (powers / powers.sum(1, keepdims=True))[:, :classes]
    return groups


def highest_score(
    raw: NDArray[np.generic],
    activation: str,
    classes: int,
    factor: Optional[NDArray[np.generic]] = None,
    root: bool = False,
) -> Floats:
    """Return the highest score of each cell, (H, W).

    >>> highest_score(np.array([[[0.0]], [[-9.0]]]), "sigmoid", 2).tolist()
    [[0.5]]

    factor: raw output that the head multiplies its scores with, such as an objectness, with one channel per anchor.
    root: the head takes the square root of the product.
    """
    if factor is None and activation == "sigmoid":  # the sigmoid is monotonic, so apply it only to the maximum
        return sigmoid(as_floats(raw).max(0))
    scores = class_scores(raw, activation, classes).max(1)
    if factor is not None:
        scores = scores * sigmoid(as_floats(factor))
    best = scores.max(0)
    return np.sqrt(best) if root else best

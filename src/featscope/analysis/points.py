"""The operating point at which objects count as found, and what counts at it."""

from __future__ import annotations

from typing import List, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.evaluated import Evaluation
from featscope.analysis.evaluation import NOTHING

ABOUT = 0.1
"""IoU from which on a box is about an object at all, as in TIDE (Bolya et al., ECCV 2020)."""


class Point(NamedTuple):
    """The operating point at which an object counts as found."""

    score: float
    """Detections with at least this score count."""

    iou: float
    """A detection hits an object from this intersection over union on."""

    rule: str
    """How detections are matched to objects, one of `featscope.analysis.evaluation.RULES`."""

    chosen: str
    """How the score was chosen: 'best F1' or 'given'."""

    def __str__(self) -> str:
        return f"score at least {self.score:.3g} ({self.chosen}), IoU at least {self.iou:g}, matched by {self.rule}"


class Hits(NamedTuple):
    """What counts at an operating point."""

    found: NDArray[np.bool_]
    """Objects that are found, (m,)."""
    missed: NDArray[np.bool_]
    """Objects that count and are not found, (m,)."""
    alarm: NDArray[np.bool_]
    """Detections that hit nothing, (n,)."""


def hits_at(whole: Evaluation, score: float) -> Hits:
    counts = whole.score >= score
    found = (whole.found_by >= 0) & np.append(counts, False)[whole.found_by]
    return Hits(found & ~whole.true_ignored, ~found & ~whole.true_ignored, counts & (whole.match == NOTHING))


def split_by_image(places: NDArray[np.int64], images: NDArray[np.int64], count: int) -> List[NDArray[np.int64]]:
    """Split places in rising order by the image of each.

    >>> [part.tolist() for part in split_by_image(np.array([0, 2, 3]), np.array([0, 0, 2, 2]), 3)]
    [[0], [], [2, 3]]

    images: of all places, in rising order. count: number of images.
    """
    return np.split(places, np.searchsorted(images[places], np.arange(1, count)))

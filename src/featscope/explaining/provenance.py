"""Which raw output gave a detection: found by its score, confirmed by its box, after suppression."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.boxes import rotated_corners
from featscope.explaining.candidates import Candidates, as_array
from featscope.records import Boxes, Source

_SAME_SCORE = 4e-6
"""Scores of one candidate, worked out twice: a sigmoid or a product in another order loses the last digits."""
_SAME_BOX = 2e-4
"""Farthest that corners of one box may lie apart, in its size; never less than a hundredth of a pixel."""


def find_sources(candidates: Candidates, predictions: Boxes) -> List[List[Source]]:
    """The source of each detection: one, several that cannot be told apart, or none.

    >>> find_sources(candidates, sample.predictions)[0]                     # doctest: +SKIP
    [Source(kind='cell', index=1043, level=0, row=8, column=19, anchor=0)]

    A candidate is the source if its score for the detection's class is the detection's and its box too.
    Where several are (a network that repeats itself, two equal proposals) all are named.
    """
    wanted = np.array(predictions.scores, np.float64)
    labels = np.array(predictions.labels, int)
    found: List[List[Tuple[float, Source]]] = [[] for _ in predictions.boxes]
    for number, level in enumerate(candidates.levels):
        scores, boxes = as_array(level.scores), as_array(level.boxes)
        for label in np.unique(labels[labels < scores.shape[1]]):
            column = scores[:, label]
            order = np.argsort(column, kind="stable")
            detections = np.flatnonzero(labels == label)
            first = np.searchsorted(column[order], wanted[detections] - _SAME_SCORE, "left")
            last = np.searchsorted(column[order], wanted[detections] + _SAME_SCORE, "right")
            for place in np.flatnonzero(last > first):
                near = np.sort(order[first[place] : last[place]])
                own = boxes[near] if boxes.ndim == 2 else boxes[near, label]
                detection = int(detections[place])
                same = near[_same_box(own, np.asarray(predictions.boxes[detection]), candidates.form)]
                apart = np.abs(column[same] - wanted[detection])
                found[detection] += [(float(d), level.source(int(i), number)) for d, i in zip(apart, same)]
    # Where one has the score to the last digit, others that merely come close are not it.
    exact = [[source for distance, source in close if distance == 0] for close in found]
    return [one or [source for _, source in close] for one, close in zip(exact, found)]


def _same_box(boxes: NDArray[np.float64], box: NDArray[np.float64], form: str) -> NDArray[np.bool_]:
    """Which of some boxes (n, 4 or 5) are the box."""
    if boxes.shape[-1] != len(box):
        return np.zeros(len(boxes), bool)
    size = float(box[2:4].max() if form == "cxcywha" else np.ptp(box.reshape(-1, 2), 0).max())
    limit = max(0.01, _SAME_BOX * size)
    if form != "cxcywha":
        return np.asarray(np.abs(boxes - box).max(1) <= limit)
    # A rectangle has four names: its corners, from each of which one may start, are the same.
    mine, theirs = rotated_corners(boxes), rotated_corners(box)[0]
    apart = [np.abs(mine - np.roll(theirs, turn, 0)).max((1, 2)) for turn in range(4)]
    same = np.asarray(np.min(apart, 0) <= limit)
    if same.any():
        return same
    # H2RBox turns the boxes of round and square classes upright after decoding: place and size are left.
    sizes = np.abs(np.sort(boxes[:, 2:4], 1) - np.sort(box[2:4])).max(1)
    return np.asarray((np.abs(boxes[:, :2] - box[:2]).max(1) <= limit) & (sizes <= limit))

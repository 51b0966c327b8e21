"""Find the raw output that gave a detection, by its score and its box."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.boxes import rotated_corners
from featscope.explaining.candidates import Candidates, as_array
from featscope.records import Boxes, Source

_SAME_SCORE = 4e-6
"""Scores of one candidate may differ by this much if a sigmoid or a product is computed in another order."""
_SAME_BOX = 2e-4
"""Corners of one box may differ by this share of its size, but always by 0.01 pixels."""


def find_sources(candidates: Candidates, predictions: Boxes) -> List[List[Source]]:
    """Return the sources of each detection: one, several that cannot be told apart, or none.

    >>> find_sources(candidates, sample.predictions)[0]                     # doctest: +SKIP
    [Source(kind='cell', index=1043, level=0, row=8, column=19, anchor=0)]

    A candidate is the source if its score for the detection's class and its box are those of the detection. Several
    candidates may match if a network repeats itself or has two equal proposals; then all are returned.
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
    # If a candidate has exactly the same score, others with a similar score are not the source.
    exact = [[source for distance, source in close if distance == 0] for close in found]
    return [one or [source for _, source in close] for one, close in zip(exact, found)]


def _same_box(boxes: NDArray[np.float64], box: NDArray[np.float64], form: str) -> NDArray[np.bool_]:
    """Return which of the boxes (n, 4 or 5) are the same as `box`."""
    if boxes.shape[-1] != len(box):
        return np.zeros(len(boxes), bool)
    size = float(box[2:4].max() if form == "cxcywha" else np.ptp(box.reshape(-1, 2), 0).max())
    limit = max(0.01, _SAME_BOX * size)
    if form != "cxcywha":
        return np.asarray(np.abs(boxes - box).max(1) <= limit)
    # A rectangle can be written in four ways, starting from each of its corners.
    mine, theirs = rotated_corners(boxes), rotated_corners(box)[0]
    apart = [np.abs(mine - np.roll(theirs, turn, 0)).max((1, 2)) for turn in range(4)]
    same = np.asarray(np.min(apart, 0) <= limit)
    if same.any():
        return same
    # H2RBox makes boxes of round and square classes upright after decoding, so compare only position and size.
    sizes = np.abs(np.sort(boxes[:, 2:4], 1) - np.sort(box[2:4])).max(1)
    return np.asarray((np.abs(boxes[:, :2] - box[:2]).max(1) <= limit) & (sizes <= limit))

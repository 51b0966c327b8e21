"""Find the raw output that gave a detection, by its score and its box."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np

from featscope.arrays.found_again import SAME_SCORE, same_boxes
from featscope.explaining.candidates import Candidates, as_array
from featscope.records import Boxes, Source


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
            first = np.searchsorted(column[order], wanted[detections] - SAME_SCORE, "left")
            last = np.searchsorted(column[order], wanted[detections] + SAME_SCORE, "right")
            for place in np.flatnonzero(last > first):
                near = np.sort(order[first[place] : last[place]])
                own = boxes[near] if boxes.ndim == 2 else boxes[near, label]
                detection = int(detections[place])
                same = near[same_boxes(own, np.asarray(predictions.boxes[detection]), candidates.form)]
                apart = np.abs(column[same] - wanted[detection])
                found[detection] += [(float(d), level.source(int(i), number)) for d, i in zip(apart, same)]
    # If a candidate has exactly the same score, others with a similar score are not the source.
    exact = [[source for distance, source in close if distance == 0] for close in found]
    return [one or [source for _, source in close] for one, close in zip(exact, found)]

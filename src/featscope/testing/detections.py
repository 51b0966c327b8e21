"""Compare what a selection keeps with a detector's own detections, for the tests of adapters."""

from __future__ import annotations

import numpy as np

from featscope.arrays.boxes import corners_of
from featscope.arrays.selecting import KEPT, Outcome
from featscope.records import Boxes


def check_same(outcome: Outcome, predictions: Boxes) -> None:
    """Raise `AssertionError` unless the kept pairs are these detections, to 4e-6 of a score and 0.01 pixels.

    >>> check_same(select(candidates), sample.predictions)                      # doctest: +SKIP
    """
    kept = outcome.stage == KEPT
    labels, scores = np.array(predictions.labels, int), np.array(predictions.scores)
    assert kept.sum() == len(labels)
    mine, theirs = np.lexsort((-outcome.score[kept], outcome.label[kept])), np.lexsort((-scores, labels))
    assert outcome.label[kept][mine].tolist() == labels[theirs].tolist()
    np.testing.assert_allclose(outcome.score[kept][mine], scores[theirs], rtol=0, atol=4e-6)
    boxes = np.array(predictions.boxes).reshape(len(labels), -1)
    for label, score, box in zip(labels, scores, boxes):
        same = kept & (outcome.label == label) & (np.abs(outcome.score - score) <= 4e-6)
        corners = corners_of(predictions.form, outcome.box[same].tolist())
        own = corners_of(predictions.form, box[None].tolist())
        assert np.abs(corners - own).max((1, 2)).min() <= 0.01

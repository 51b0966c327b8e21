"""When two detections are the same: a detector's own one, and one that was computed again from its raw outputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.boxes import rotated_corners
from featscope.arrays.candidates import ImageCandidates
from featscope.arrays.selecting import KEPT, Outcome, select
from featscope.records import Boxes
from featscope.words import counted

SAME_SCORE = 4e-6
"""Scores of one candidate may differ by this much if a sigmoid or a product is computed in another order."""
_SAME_BOX = 2e-4
"""Corners of one box may differ by this share of its size, but always by 0.01 pixels."""


def same_boxes(boxes: NDArray[np.float64], box: NDArray[np.float64], form: str) -> NDArray[np.bool_]:
    """Return which of the boxes (n, 4, 5 or 8) are the same as `box`, (n,).

    >>> same_boxes(np.array([[0.0, 0, 4, 4], [0, 0, 4, 5]]), np.array([0.0, 0, 4, 4.005]), "xyxy").tolist()
    [True, False]

    form: as in `featscope.records.Boxes`.
    """
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


def differences(outcome: Outcome, predictions: Boxes) -> str:
    """Say how a selection differs from a detector's own detections; '' if they are the same.

    >>> differences(select(candidates), sample.predictions)                      # doctest: +SKIP
    ''

    Every detection must be a pair that is kept, of the same class, score and box, and no other pair may be kept. Pairs
    with the same score may be exchanged, because detectors sort them in any order.
    """
    kept = outcome.stage == KEPT
    labels, scores, boxes = outcome.label[kept], outcome.score[kept], outcome.box[kept]
    unused = np.ones(len(labels), bool)
    wanted = list(zip(predictions.labels, predictions.scores, np.asarray(predictions.boxes, np.float64)))
    # First the same scores, so that a similar pair is not taken from a detection with exactly its score.
    for limit in (0.0, SAME_SCORE):
        missed = []
        for label, score, box in wanted:
            near = np.flatnonzero(unused & (labels == label) & (np.abs(scores - score) <= limit))
            near = near[same_boxes(boxes[near], box, predictions.form)]
            if len(near):
                unused[near[np.abs(boxes[near] - box).max(1).argmin()]] = False
            else:
                missed.append((label, score, box))
        wanted = missed
    missing = len(wanted)
    tied = sorted(scores[unused].tolist()) == sorted(float(score) for _, score, _ in wanted)
    if missing and tied and all(_is_there(outcome, predictions.form, *one) for one in wanted):
        return ""
    if not missing and not unused.any():
        return ""
    return (
        f"{missing} of {counted(len(predictions.labels), 'detection')} not found again, and {int(unused.sum())} "
        "found that the detector did not keep"
    )


def proved(candidates: ImageCandidates, predictions: Optional[Boxes]) -> ImageCandidates:
    """Return candidates whose selection is known only if it gives the detector's own detections.

    >>> proved(candidates, sample.predictions).selection                         # doctest: +SKIP
    Selection(threshold=0.05, ...)

    A framework of another version, or a plug-in, may select in another way than is known.
    """
    if candidates.selection is None:
        return candidates
    if predictions is None:
        return replace(candidates, selection=None, unknown="there are no detections to compare with")
    why = differences(select(candidates), predictions)
    if not why:
        return candidates
    return replace(candidates, selection=None, unknown=f"it is not the one that featscope knows: {why}")


def _is_there(outcome: Outcome, form: str, label: int, score: float, box: NDArray[np.float64]) -> bool:
    """Whether a detection is among all pairs of a selection, kept or not."""
    near = np.flatnonzero((outcome.label == label) & (outcome.score == score))
    return bool(same_boxes(outcome.box[near], box, form).any())

"""Match detections to the objects of the ground truth, and compute precision, recall and average precision.

Two rules are known, each equal to the code of its evaluation:

- 'voc': a detection takes the object that it overlaps most (the first, if several are equal). It hits if the IoU is
  at least the threshold and no better detection took that object; otherwise it is a false alarm. This is the rule of
  PASCAL VOC and DOTA as MMDetection and MMRotate compute it (`tpfp_default`). The original devkits ask for more than
  the threshold.
- 'coco': a detection takes the object that it overlaps most (the last, if several are equal) of those that are still
  free, and an ignored one only if no other is left. Crowds can be taken by many. This is the rule of pycocotools.

In both, detections come in the order of their scores; equal scores keep their order. A detection that takes an ignored
object is neither a hit nor a false alarm, and an object that is ignored is not counted.

Sources: Everingham et al., The PASCAL VOC Challenge, IJCV 2010; Lin et al., Microsoft COCO, ECCV 2014; Xia et al.,
DOTA, CVPR 2018.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray

from featscope.errors import BadOptionError, check_name

NOTHING = -1
"""The detection is matched to no object."""

IGNORED = -2
"""The detection counts neither as a hit nor as a false alarm."""

RULES = ("voc", "coco")
"""How detections are matched to objects."""

MODES = ("area", "11points", "coco")
"""How average precision is computed: the area under the curve (VOC since 2010, mmdet), the mean of 11 points (VOC 2007,
DOTA), or the mean of 101 points (COCO)."""

POINTS = {"11points": np.arange(0, 1 + 1e-3, 0.1), "coco": np.linspace(0, 1, 101)}
"""The recalls at which the precision is read, made as mmdet and pycocotools make them: some are a rounding error above
their round number, such as 0.30000000000000004 of 11, and a recall of exactly 0.3 does not reach that."""


def match_detections(
    iou: NDArray[np.floating],
    scores: NDArray[np.floating],
    min_iou: float,
    rule: str = "voc",
    *,
    ignored: Optional[NDArray[np.bool_]] = None,
    crowd: Optional[NDArray[np.bool_]] = None,
) -> NDArray[np.int64]:
    """Match the detections of one class in one image to its objects.

    >>> iou = np.array([[0.9, 0.0], [0.8, 0.6], [0.2, 0.1]])
    >>> match_detections(iou, np.array([0.9, 0.8, 0.7]), 0.5, "voc").tolist()
    [0, -1, -1]
    >>> match_detections(iou, np.array([0.9, 0.8, 0.7]), 0.5, "coco").tolist()
    [0, 1, -1]

    iou: (n detections, m objects); the columns of crowds hold the intersection divided by the detection's area.
    scores: (n,). ignored, crowd: (m,) objects that are not counted; a crowd is always ignored. Returns (n,): the
    index of the object, `NOTHING` or `IGNORED`. Raises `UnknownNameError` for an unknown rule and `BadOptionError` for
    an IoU outside of (0, 1].
    """
    check_name("matching rule", rule, RULES, "'voc' or 'coco'")
    if not 0 < min_iou <= 1:
        raise BadOptionError(f"the IoU threshold must be above 0 and at most 1, not {min_iou}; 0.5 is usual")
    detections, objects = iou.shape
    crowd = np.zeros(objects, bool) if crowd is None else crowd
    ignored = crowd if ignored is None else ignored | crowd
    if not detections or not objects:
        return np.full(detections, NOTHING, np.int64)
    order = np.argsort(-np.asarray(scores), kind="stable")
    taken = np.full(detections, NOTHING, np.int64)
    if rule == "voc":
        taken[order] = _take_by_voc(iou[order], min_iou, ignored)
    else:
        taken[order] = _take_by_coco(iou[order], min_iou, ignored, crowd)
    return np.where((taken >= 0) & ignored[taken], IGNORED, taken)


def _take_by_voc(iou: NDArray[np.floating], min_iou: float, ignored: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the object that each detection takes, or `NOTHING`. The detections come in order, the best first."""
    counted_first = np.argsort(ignored, kind="stable")  # the frameworks put ignored objects behind the others
    best = counted_first[iou[:, counted_first].argmax(1)]
    reaching = np.flatnonzero(iou[np.arange(len(iou)), best] >= min_iou)
    _, first = np.unique(best[reaching], return_index=True)
    taken = np.full(len(iou), NOTHING, np.int64)
    takers = np.union1d(reaching[first], reaching[ignored[best[reaching]]])
    taken[takers] = best[takers]
    return taken


def _take_by_coco(
    iou: NDArray[np.floating], min_iou: float, ignored: NDArray[np.bool_], crowd: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the object that each detection takes, or `NOTHING`. The detections come in order, the best first."""
    rows, columns = np.nonzero(iou >= min(min_iou, 1 - 1e-10))
    # The objects of each detection in the order in which it prefers them.
    preferred = np.lexsort((-columns, -iou[rows, columns], ignored[columns], rows))
    free, shared = [True] * iou.shape[1], crowd.tolist()
    taken = [NOTHING] * len(iou)
    for row, column in zip(rows[preferred].tolist(), columns[preferred].tolist()):
        if taken[row] == NOTHING and (free[column] or shared[column]):
            taken[row], free[column] = column, False
    return np.array(taken, np.int64)


class Curve(NamedTuple):
    """Precision and recall at each detection, from the highest score to the lowest; three arrays (n,)."""

    score: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def precision_recall(scores: NDArray[np.floating], hits: NDArray[np.bool_], truths: int) -> Curve:
    """Compute precision and recall of all detections down to each score.

    >>> precision_recall(np.array([0.9, 0.8]), np.array([True, False]), truths=2).recall.tolist()
    [0.5, 0.5]

    scores, hits: (n,) of the detections that count, in any order; equal scores keep their order. truths: number of
    objects that count. The recall is NaN if there is none.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    right = np.cumsum(np.asarray(hits, bool)[order])
    recall = right / truths if truths else np.full(len(right), np.nan)
    return Curve(np.asarray(scores, np.float64)[order], right / np.arange(1, len(right) + 1), recall)


def average_precision(curve: Curve, mode: str = "area") -> float:
    """Compute the average precision of one class, in [0, 1]; NaN if it has no object.

    >>> curve = precision_recall(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), truths=2)
    >>> [round(average_precision(curve, mode), 4) for mode in MODES]
    [0.8333, 0.8485, 0.835]

    mode: one of `MODES`. A curve without detections gives 0. Raises `UnknownNameError` for another mode.
    """
    check_name("kind of average precision", mode, MODES, "'area', '11points' or 'coco'")
    if not len(curve.recall):
        return 0.0
    if np.isnan(curve.recall[0]):
        return float("nan")
    best_behind = np.maximum.accumulate(curve.precision[::-1])[::-1]
    if mode == "area":
        return float((np.diff(curve.recall, prepend=0.0) * best_behind).sum())
    places = np.searchsorted(curve.recall, POINTS[mode], side="left")
    return float(np.append(best_behind, 0.0)[places].mean())


def best_score(scores: NDArray[np.floating], hits: NDArray[np.bool_], truths: int) -> float:
    """Return the score at which all detections with at least this score have the best F1.

    >>> best_score(np.array([0.9, 0.8, 0.3]), np.array([True, True, False]), truths=2)
    0.8

    scores, hits: (n,) of the detections of all classes that count. truths: number of their objects. F1 is
    2 hits / (detections + objects). Of equal ones the highest score is taken. Detections below a score change nothing
    for those above it, so one matching serves all thresholds. NaN if nothing hits, as no score is then better than
    another.
    """
    if not np.any(hits):
        return float("nan")
    curve = precision_recall(scores, hits, truths)
    # A threshold takes all detections of equal score, so only the last of them can be one.
    last = np.flatnonzero(np.append(curve.score[1:] != curve.score[:-1], True))
    right = np.round(curve.precision[last] * (last + 1))
    return float(curve.score[last][np.argmax(2 * right / (last + 1 + truths))])

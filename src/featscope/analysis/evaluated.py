"""Evaluate a whole data set: its detections matched to its objects, class by class and image by image."""

from __future__ import annotations

from typing import Any, Callable, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from featscope.analysis.evaluation import (
    IGNORED,
    NOTHING,
    Curve,
    average_precision,
    best_score,
    match_detections,
    precision_recall,
)
from featscope.arrays.boxes import areas_of, iou_of
from featscope.errors import BadRunError
from featscope.records import Boxes

COCO_IOUS = np.linspace(0.5, 0.95, 10)
"""The IoU thresholds of COCO's AP."""

COCO_MAXIMUM = 100
"""COCO's evaluation takes at most this many detections of a class in an image."""

Pair = Tuple[Boxes, Boxes]
"""The detections and the ground truth of an image."""


class Evaluation(NamedTuple):
    """The detections of a data set, matched to its objects.

    It has an entry for each detection (n) and one for each object (m), in the order of the images and of their boxes.
    """

    image: NDArray[np.int64]
    """(n,) place of the image among those that were evaluated."""

    box: NDArray[np.int64]
    """(n,) place of the detection among those of its image."""

    label: NDArray[np.int64]
    """(n,) class."""

    score: NDArray[np.float64]
    """(n,) score."""

    match: NDArray[np.int64]
    """(n,) place of the object among those of its image, `NOTHING` (a false alarm), or `IGNORED`: the object is
    ignored, the detection is outside of the area range, or the class has more detections in the image than count."""

    true_image: NDArray[np.int64]
    """(m,) place of the image of an object."""

    true_box: NDArray[np.int64]
    """(m,) place of the object among those of its image."""

    true_label: NDArray[np.int64]
    """(m,) class."""

    true_ignored: NDArray[np.bool_]
    """(m,) whether the object is not counted: it is difficult, a crowd, or outside of the area range."""

    found_by: NDArray[np.int64]
    """(m,) index, in this evaluation, of the detection that hits the object; `NOTHING` if none does."""

    min_iou: float
    """The IoU from which on a detection hits."""

    def curve(self, label: Optional[int] = None) -> Curve:
        """Return precision and recall of one class, or of all detections together."""
        counts = self.match != IGNORED
        true = ~self.true_ignored
        if label is not None:
            counts, true = counts & (self.label == label), true & (self.true_label == label)
        return precision_recall(self.score[counts], self.match[counts] >= 0, int(true.sum()))

    def average_precisions(self, classes: int, mode: str = "area") -> NDArray[np.float64]:
        """Return the average precision of each class (classes,), NaN for a class without objects."""
        objects = np.bincount(self.true_label[~self.true_ignored], minlength=classes)
        return np.array(
            [average_precision(self.curve(label), mode) if objects[label] else np.nan for label in range(classes)]
        )

    def best_score(self) -> float:
        """Return the score with the best F1 over all classes (`best_score`)."""
        counts = self.match != IGNORED
        return best_score(self.score[counts], self.match[counts] >= 0, int((~self.true_ignored).sum()))


def evaluate(
    images: Iterable[Pair],
    min_iou: float = 0.5,
    rule: str = "voc",
    *,
    maximum: int = 0,
    areas: Tuple[float, float] = (0.0, float("inf")),
) -> Evaluation:
    """Match the detections of a data set to its ground truth, each class and image by itself.

    >>> found = Boxes("xyxy", [[0, 0, 8, 8]], [0], [0.9])
    >>> truth = Boxes("xyxy", [[0, 0, 8, 9], [20, 20, 30, 30]], [0, 0])
    >>> evaluation = evaluate([(found, truth)])
    >>> evaluation.found_by.tolist(), evaluation.average_precisions(2)
    ([0, -1], array([0.5, nan]))

    images: the detections and the true boxes of each image, in pixels of the same frame; forms may differ. Equal scores
    of several images keep the order of the images. rule: one of `RULES`. maximum: so many detections of a class in an
    image count (COCO: 100); 0 for all. areas: objects of other areas, in pixels, are ignored, and so are unmatched
    detections of other areas. The upper limit counts as inside with 'coco' and as outside with 'voc', as in
    pycocotools and MMDetection. The area is that of the box; COCO's own small, medium and large go by the
    segmentation. Memory: one IoU matrix at a time.

    MMRotate drops the ignored objects of an image that has no other object; here they stay.
    """
    return evaluate_at(images, [min_iou], rule, maximum=maximum, areas=areas)[0]


def evaluate_at(
    images: Iterable[Pair],
    min_ious: Sequence[float],
    rule: str = "voc",
    *,
    maximum: int = 0,
    areas: Tuple[float, float] = (0.0, float("inf")),
) -> List[Evaluation]:
    """Evaluate at several IoU thresholds, as `evaluate` does at one; the overlaps are computed once.

    >>> found = Boxes("xyxy", [[0, 0, 8, 8]], [0], [0.9])
    >>> at = evaluate_at([(found, Boxes("xyxy", [[0, 0, 8, 10]], [0]))], COCO_IOUS, "coco", maximum=COCO_MAXIMUM)
    >>> float(np.mean([one.average_precisions(1, "coco") for one in at]).round(3))
    0.7
    """
    rules = Rules(list(min_ious), rule, maximum, areas)
    matched = [match_image(found, truth, rules) for found, truth in images]
    return [join_images(matched, place, min_iou) for place, min_iou in enumerate(rules.min_ious)]


class Rules(NamedTuple):
    """How detections are matched to objects; see `evaluate`."""

    min_ious: List[float]
    rule: str
    maximum: int = 0
    areas: Tuple[float, float] = (0.0, float("inf"))

    def outside(self, boxes: Boxes) -> NDArray[np.bool_]:
        """Whether each box has an area that is not evaluated."""
        low, high = self.areas
        if low <= 0 and high == float("inf"):
            return np.zeros(len(boxes.boxes), bool)
        area = areas_of(boxes.form, boxes.boxes)
        return (area < low) | (area > high if self.rule == "coco" else area >= high)


class MatchedImage(NamedTuple):
    """One image, matched at each of t IoU thresholds. The fields are those of `Evaluation`."""

    label: NDArray[np.int64]  # (n,)
    score: NDArray[np.float64]  # (n,)
    match: NDArray[np.int64]  # (t, n)
    true_label: NDArray[np.int64]  # (m,)
    true_ignored: NDArray[np.bool_]  # (m,)


Overlap = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]
"""Returns the IoU of some of the detections with some of the objects, by their places in the image."""


def overlap_of(found: Boxes, truth: Boxes, rule: str) -> Overlap:
    """Return the function that computes the IoU that a rule goes by.

    >>> none = Boxes("xyxy", [], [])
    >>> overlap_of(none, none, "voc")(np.zeros(0, int), np.zeros(0, int)).shape
    (0, 0)
    """
    boxes, true_boxes = np.array(found.boxes, np.float64), np.array(truth.boxes, np.float64)
    crowd = _is_crowd(truth)

    def overlap(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        if not len(rows) or not len(columns):
            return np.zeros((len(rows), len(columns)))
        shared = crowd[columns] if rule == "coco" else None
        return iou_of(found.form, boxes[rows], truth.form, true_boxes[columns], shared)

    return overlap


def _is_crowd(truth: Boxes) -> NDArray[np.bool_]:
    return np.array([why == "crowd" for why in truth.ignored] or [False] * len(truth.boxes), bool)


def match_image(found: Boxes, truth: Boxes, rules: Rules, overlap: Optional[Overlap] = None) -> MatchedImage:
    """Match the detections of an image to its objects, class by class. overlap: their IoU, if it is known."""
    _check(found, truth)
    overlap = overlap or overlap_of(found, truth, rules.rule)
    label, score = np.array(found.labels, np.int64), np.array(found.scores, np.float64)
    true_label, crowd = np.array(truth.labels, np.int64), _is_crowd(truth)
    ignored = np.array([why != "" for why in truth.ignored] or [False] * len(true_label), bool) | rules.outside(truth)
    outside = rules.outside(found)
    match = np.full((len(rules.min_ious), len(label)), IGNORED, np.int64)
    for one in np.unique(label):
        mine, its = np.flatnonzero(label == one), np.flatnonzero(true_label == one)
        if rules.maximum:
            mine = mine[np.argsort(-score[mine], kind="stable")[: rules.maximum]]
        iou = overlap(mine, its)
        for place, min_iou in enumerate(rules.min_ious):
            taken = match_detections(iou, score[mine], min_iou, rules.rule, ignored=ignored[its], crowd=crowd[its])
            # By VOC's rule a second detection of an object is a false alarm, whatever its area.
            second = rules.rule == "voc" and (iou >= min_iou).any(1)
            taken[(taken == NOTHING) & outside[mine] & ~np.array(second)] = IGNORED
            taken[taken >= 0] = its[taken[taken >= 0]]
            match[place, mine] = taken
    return MatchedImage(label, score, match, true_label, ignored)


def _check(found: Boxes, truth: Boxes) -> None:
    if found.frame != truth.frame:
        raise BadRunError(
            f"the detections are in pixels of the {found.frame} and the ground truth in those of the {truth.frame}: "
            "their overlap is unknown. Capture the run again with images whose geometry is known"
        )
    if found.boxes and (not found.scores or not np.isfinite(found.scores).all()):
        raise BadRunError("detections cannot be evaluated: their scores are missing, NaN or infinite")


def join_images(matched: Sequence[MatchedImage], threshold: int, min_iou: float) -> Evaluation:
    """Join the images of a data set at one of their thresholds, by its place."""
    sizes, true_sizes = [len(one.label) for one in matched], [len(one.true_label) for one in matched]
    starts = np.cumsum([0, *sizes])
    found_by = [np.full(size, NOTHING, np.int64) for size in true_sizes]
    for one, by, start in zip(matched, found_by, starts):
        hits = np.flatnonzero(one.match[threshold] >= 0)
        by[one.match[threshold][hits]] = start + hits
    return Evaluation(
        image=np.repeat(np.arange(len(matched)), sizes),
        box=join(np.arange(size) for size in sizes),
        label=join(one.label for one in matched),
        score=join((one.score for one in matched), np.float64),
        match=join(one.match[threshold] for one in matched),
        true_image=np.repeat(np.arange(len(matched)), true_sizes),
        true_box=join(np.arange(size) for size in true_sizes),
        true_label=join(one.true_label for one in matched),
        true_ignored=join((one.true_ignored for one in matched), np.bool_),
        found_by=join(found_by),
        min_iou=float(min_iou),
    )


def join(parts: Iterable[NDArray[Any]], dtype: DTypeLike = np.int64) -> NDArray[Any]:
    """Return the arrays of all images as one; it is empty if there is no image."""
    return np.concatenate([np.zeros(0, dtype), *parts])

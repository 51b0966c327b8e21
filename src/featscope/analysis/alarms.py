"""The false alarms of a detector, and what is wrong with each."""

from __future__ import annotations

from typing import Iterator, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.evaluated import Evaluation
from featscope.analysis.points import ABOUT, split_by_image
from featscope.arrays.boxes import areas_of, corners_of, iou_of
from featscope.records import Sample, class_name

DUPLICATE = "duplicate"
WRONG_PLACE = "wrong place"
WRONG_CLASS = "wrong class"
WRONG_BOTH = "wrong class and place"
BACKGROUND = "background"
ALARMS = (DUPLICATE, WRONG_PLACE, WRONG_CLASS, WRONG_BOTH, BACKGROUND)
"""The kinds of false alarms."""


class Alarm(NamedTuple):
    """A detection that hits no object."""

    sample: str
    number: int
    """Its place among the detections of its image."""
    label: str
    score: float
    x: float
    y: float
    size: float
    kind: str
    """One of `ALARMS`."""
    iou: float
    """Its highest overlap with an object, of its own class if the kind is about that."""
    truth: Optional[int]
    """That object, by its place in the ground truth."""
    truth_label: str


def alarm_rows(
    samples: Sequence[Sample], alarms: NDArray[np.bool_], whole: Evaluation, classes: Sequence[str]
) -> Iterator[Alarm]:
    """Yield a row for each false alarm. alarms: whether each detection of the evaluation is one, (n,)."""
    for sample, places in zip(samples, split_by_image(np.flatnonzero(alarms), whole.image, len(samples))):
        yield from _of_image(sample, places, whole, classes)


def _of_image(sample: Sample, places: NDArray[np.int64], whole: Evaluation, classes: Sequence[str]) -> Iterator[Alarm]:
    found, truth = sample.predictions, sample.truth
    if found is None or truth is None or not len(places):
        return
    numbers = [int(whole.box[place]) for place in places]
    boxes = [found.boxes[number] for number in numbers]
    corners, sizes = corners_of(found.form, boxes), np.sqrt(areas_of(found.form, boxes))
    overlaps = iou_of(found.form, boxes, truth.form, truth.boxes)
    same = np.array([found.labels[n] for n in numbers])[:, None] == np.array(truth.labels, int)
    for number, centre, size, iou, own in zip(numbers, corners.mean(1), sizes, overlaps, same):
        kind, near = _kind_of_alarm(iou, own, whole.min_iou)
        yield Alarm(
            sample=sample.id,
            number=number,
            label=class_name(classes, found.labels[number]),
            score=found.scores[number],
            x=float(centre[0]),
            y=float(centre[1]),
            size=float(size),
            kind=kind,
            iou=float(iou[near]) if near is not None else 0.0,
            truth=near,
            truth_label=class_name(classes, truth.labels[near]) if near is not None else "",
        )


def _kind_of_alarm(iou: NDArray[np.float64], own: NDArray[np.bool_], min_iou: float) -> Tuple[str, Optional[int]]:
    """Return what is wrong with a false alarm, and the object that it is about. iou, own: (m,), own class or not."""
    if not len(iou):
        return BACKGROUND, None
    mine, others = np.where(own, iou, -1.0), np.where(own, -1.0, iou)
    my_best, other_best = int(mine.argmax()), int(others.argmax())
    if mine[my_best] >= min_iou:
        return DUPLICATE, my_best
    if others[other_best] >= min_iou:
        return WRONG_CLASS, other_best
    if mine[my_best] >= ABOUT:
        return WRONG_PLACE, my_best
    if others[other_best] >= ABOUT:
        return WRONG_BOTH, other_best
    return BACKGROUND, int(iou.argmax()) if iou.max() > 0 else None

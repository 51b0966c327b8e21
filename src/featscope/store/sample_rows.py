"""What a list of samples shows of each: counts, the best score, the smallest object, and the classes."""

from __future__ import annotations

import math
from typing import List, NamedTuple, Optional, Sequence

from featscope.arrays.boxes import areas_of
from featscope.records import Boxes, Sample


class SampleRow(NamedTuple):
    """A sample in a list of all samples of a run.

    >>> boxes = Boxes("xyxy", [[0, 0, 8, 2], [0, 0, 50, 50]], [3, 1], [0.4, 0.9])
    >>> row_of(Sample("harbour", predictions=boxes))
    SampleRow(name='harbour', detections=2, truths=None, score=0.9, smallest=4.0, classes=[1, 3], image=False)

    """

    name: str
    """Id of the sample."""

    detections: Optional[int]
    """Number of detections; None if the detector did not report any list of them."""

    truths: Optional[int]
    """Number of boxes of the ground truth; None if there is no ground truth."""

    score: Optional[float]
    """The highest score of its detections."""

    smallest: Optional[float]
    """Size of the smallest object, the square root of its area in pixels: of the ground truth if it has boxes,
    otherwise of the detections."""

    classes: List[int]
    """Class indices of its detections and its ground truth, without repetition."""

    image: bool
    """Whether the run names its image file, or keeps the input."""


def row_of(sample: Sample) -> SampleRow:
    """Summarise a sample."""
    found, truth = sample.predictions, sample.truth
    labels = {*(found.labels if found else ()), *(truth.labels if truth else ())}
    return SampleRow(
        sample.id,
        None if found is None else len(found.boxes),
        None if truth is None else len(truth.boxes),
        score=max(found.scores) if found is not None and found.scores else None,
        smallest=_smallest(truth) if truth is not None and truth.boxes else _smallest(found),
        classes=sorted(labels),
        image=bool(sample.path or sample.input),
    )


def _smallest(boxes: Optional[Boxes]) -> Optional[float]:
    if boxes is None or not boxes.boxes:
        return None
    area = _smallest_area(boxes.form, boxes.boxes)
    return round(math.sqrt(area), 2)


def _smallest_area(form: str, boxes: Sequence[Sequence[float]]) -> float:
    # A few boxes at a time: to make an array of them would take longer than to index the whole record.
    areas: List[float] = []
    if form == "xyxy":
        areas = [abs((right - left) * (bottom - top)) for left, top, right, bottom in boxes]
    elif form == "cxcywha":
        areas = [abs(width * height) for _, _, width, height, _ in boxes]
    if areas and math.isfinite(sum(areas)):
        return min(areas)
    return float(areas_of(form, boxes).min())

"""A row for each object that was missed."""

from __future__ import annotations

from math import nan
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence

import numpy as np

from featscope.analysis.sizes import soda_bins
from featscope.analysis.stages import OTHER_CLASS, LevelSeen, Loss
from featscope.arrays.image_boxes import boxes_of
from featscope.records import Sample, class_name


class Miss(NamedTuple):
    """An object that was missed, and where its head lost it."""

    sample: str
    number: int
    """Its place in the ground truth of its image."""

    label: str
    x: float
    """Centre of its box, in pixels of the original image."""
    y: float
    size: float
    """Square root of its area, in pixels of the original image."""
    size_input: float
    """The same in pixels of the network's input."""
    size_bin: str
    """SODA-A's bin of its area in the original image."""

    stage: str
    """One of `featscope.analysis.stages.STAGES`; '' if the candidates of its image are unknown."""
    score: Optional[float]
    """The highest score for its class among the candidates that reach it, or that are about it where none reaches
    it."""
    iou: Optional[float]
    """Overlap of the candidate that decided."""
    level: Optional[int]
    """Level of that candidate."""
    candidate: Optional[int]
    """Its index in the level."""
    by: str
    """What suppressed it."""
    by_score: Optional[float]
    by_iou: Optional[float]
    """Overlap of the suppressor with the object."""
    by_overlap: Optional[float]
    """Overlap of the suppressor with the candidate."""
    other: str
    """For the stage 'other class': the class that is above the score."""
    reaching: int
    """Number of candidates that reach the object."""
    passing: int
    """Number of those with its class above the score of the operating point."""
    steps: str
    """How many of those came to which stage."""
    verdict: str
    """What the features hold of it (`featscope.analysis.evidence`); '' if the run stores no features. Where they do not
    show it, an object with a passing candidate was seen by the head."""
    levels: str
    """The best overlap and the best score of each level."""


def _known(value: float) -> Optional[float]:
    return None if np.isnan(value) else value


def miss_rows(
    sample: Sample, numbers: Sequence[int], losses: Optional[Sequence[Loss]], classes: Sequence[str]
) -> Iterator[Miss]:
    """Yield a row for each missed object of a sample, by its place in the ground truth; the verdict is still open."""
    if sample.truth is None or not numbers:
        return
    boxes = boxes_of(sample, background=False)
    areas, in_input, centres = boxes.areas, boxes.input_areas(), boxes.corners.mean(1)
    bins = soda_bins(areas)
    for place, number in enumerate(numbers):
        loss = losses[place] if losses is not None else Loss("", nan, nan)
        yield Miss(
            sample=sample.id,
            number=number,
            label=class_name(classes, sample.truth.labels[number]),
            x=float(centres[number, 0]),
            y=float(centres[number, 1]),
            size=float(np.sqrt(areas[number])),
            size_input=float(np.sqrt(in_input[number])),
            size_bin=bins[number],
            **_of_loss(loss, classes),
        )


def _of_loss(loss: Loss, classes: Sequence[str]) -> Dict[str, Any]:
    """Return the columns of a miss that its head tells."""
    by, deciding = loss.suppressor, loss.deciding
    return {
        "stage": loss.stage,
        "score": _known(loss.score),
        "iou": _known(loss.iou),
        "level": deciding.level if deciding is not None else None,
        "candidate": deciding.place if deciding is not None else None,
        "by": by.what if by is not None else "",
        "by_score": by.score if by is not None else None,
        "by_iou": by.iou if by is not None else None,
        "by_overlap": by.overlap if by is not None else None,
        "other": class_name(classes, deciding.label) if deciding is not None and loss.stage == OTHER_CLASS else "",
        "reaching": loss.reaching,
        "passing": loss.passing,
        "steps": ", ".join(f"{count} {stage}" for stage, count in loss.stages),
        "verdict": "",
        "levels": "; ".join(f"{one.level}: {_seen(one)}" for one in loss.levels),
    }


def _seen(level: LevelSeen) -> str:
    score = "" if np.isnan(level.score) else f", score {level.score:.3f}"
    return f"IoU {level.iou:.2f}{score}"

"""What a detector would find if it selected its detections in another way."""

from __future__ import annotations

from typing import Callable, List, Mapping, NamedTuple, Optional, Tuple

from msgspec.structs import replace

from featscope.analysis.evaluated import evaluate
from featscope.analysis.points import Point, hits_at
from featscope.arrays.candidates import ImageCandidates
from featscope.arrays.selecting import KEPT, select
from featscope.errors import BadOptionError
from featscope.records import Boxes, Sample, Selection

CandidatesOf = Callable[[Sample], Optional[ImageCandidates]]
"""Gives the candidates of a sample; None if there are none."""


NAMES = {"nms": "overlap", "nms_pre": "per_level", "max": "maximum", "score": "threshold"}
"""What can be changed, as frameworks call it -> the field of `featscope.records.Selection`."""

_SHARES = ("overlap", "threshold")


class Changed(NamedTuple):
    """What another selection would change."""

    change: str
    """Such as `nms=0.5, max=4000`."""
    gained: int
    """Objects that would be found in addition."""
    lost: int
    """Objects that would be missed in addition."""
    false_alarms: int
    """False alarms more, or fewer if below 0."""


class Trial:
    """Selects the detections of all images in another way, and counts what is found.

    change: `NAMES` and their values. Raises `BadOptionError` for an unknown name or a value out of range.
    """

    def __init__(self, change: Mapping[str, float]) -> None:
        self._words = ", ".join(f"{name}={value:g}" for name, value in change.items())
        self._change = dict(_checked(name, value) for name, value in change.items())
        self._before: List[Tuple[Boxes, Boxes]] = []
        self._after: List[Tuple[Boxes, Boxes]] = []

    def add(self, sample: Sample, candidates: ImageCandidates, selection: Selection) -> None:
        """Select the detections of an image as its detector did, and in the other way."""
        kinds = {name: type(getattr(selection, name)) for name in self._change}
        other = replace(selection, **{name: kinds[name](value) for name, value in self._change.items()})
        truth = sample.truth or Boxes("xyxy", [], [])
        for pairs, how in ((self._before, selection), (self._after, other)):
            pairs.append((replace(_kept(candidates, how), frame=truth.frame), truth))

    def result(self, point: Point) -> Changed:
        """Count at an operating point."""
        first, second = (evaluate(pairs, point.iou, point.rule) for pairs in (self._before, self._after))
        was, now = hits_at(first, point.score), hits_at(second, point.score)
        return Changed(
            self._words,
            gained=int((now.found & ~was.found).sum()),
            lost=int((was.found & ~now.found).sum()),
            false_alarms=int(now.alarm.sum()) - int(was.alarm.sum()),
        )


def _checked(name: str, value: float) -> Tuple[str, float]:
    """Return the field of a selection and its new value."""
    if name not in NAMES:
        raise BadOptionError(f"{name!r} cannot be changed; type one of {', '.join(NAMES)}")
    field = NAMES[name]
    if field in _SHARES:
        if not 0 <= value <= 1:
            raise BadOptionError(f"{name}={value:g} is out of range; give a number from 0 to 1")
    elif not (value >= 0 and value == int(value)):
        raise BadOptionError(f"{name}={value:g} is out of range; give a whole number, or 0 for no limit")
    return field, value


def _kept(candidates: ImageCandidates, selection: Selection) -> Boxes:
    """Return the detections that a selection keeps."""
    outcome = select(candidates, selection)
    kept = outcome.stage == KEPT
    return Boxes(
        candidates.form,
        outcome.box[kept].tolist(),
        labels=outcome.label[kept].tolist(),
        scores=outcome.score[kept].tolist(),
    )

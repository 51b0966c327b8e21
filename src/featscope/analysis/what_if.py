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


class Changed(NamedTuple):
    """What another selection would change."""

    change: str
    gained: int
    """Objects that would be found in addition."""
    lost: int
    """Objects that would be missed in addition."""
    false_alarms: int
    """False alarms more, or fewer if below 0."""


class Trial:
    """Selects the detections of all images in another way, and counts what is found.

    change: fields of `featscope.records.Selection` and their values. Raises `BadOptionError` for an unknown field.
    """

    def __init__(self, change: Mapping[str, float]) -> None:
        known = set(Selection.__struct_fields__)
        for name in change:
            if name not in known:
                raise BadOptionError(f"a selection has no {name!r}; it has {', '.join(sorted(known))}")
        self._change = change
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
            ", ".join(f"{name} {value:g}" for name, value in self._change.items()),
            gained=int((now.found & ~was.found).sum()),
            lost=int((was.found & ~now.found).sum()),
            false_alarms=int(now.alarm.sum()) - int(was.alarm.sum()),
        )


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

"""What a detector would find if it selected its detections in another way."""

from __future__ import annotations

from typing import Callable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from msgspec.structs import replace

from featscope.analysis.evaluated import evaluate
from featscope.analysis.points import Point, hits_at
from featscope.arrays.candidates import ImageCandidates
from featscope.arrays.selecting import KEPT, select
from featscope.errors import BadOptionError
from featscope.records import Boxes, Sample, Selection

CandidatesOf = Callable[[Sample], Optional[ImageCandidates]]
"""Gives the candidates of a sample; None if there are none."""

NO_BOXES = Boxes("xyxy", [], [])


class Changed(NamedTuple):
    """What another selection would change."""

    change: str
    gained: int
    """Objects that would be found in addition."""
    lost: int
    """Objects that would be missed in addition."""
    false_alarms: int
    """False alarms more, or fewer if below 0."""


def what_changes(change: Mapping[str, float], samples: Sequence[Sample], point: Point, give: CandidatesOf) -> Changed:
    """Select the detections of all images anew, and count what is found at the same operating point."""
    known = set(Selection.__struct_fields__)
    for name in change:
        if name not in known:
            raise BadOptionError(f"a selection has no {name!r}; it has {', '.join(sorted(known))}")
    before: List[Tuple[Boxes, Boxes]] = []
    after: List[Tuple[Boxes, Boxes]] = []
    for sample in samples:
        candidates = give(sample)
        if candidates is None or candidates.selection is None:
            continue
        kinds = {name: type(getattr(candidates.selection, name)) for name in change}
        other = replace(candidates.selection, **{name: kinds[name](value) for name, value in change.items()})
        truth = sample.truth or NO_BOXES
        before.append((_kept(candidates, candidates.selection), truth))
        after.append((_kept(candidates, other), truth))
    first, second = (evaluate(pairs, point.iou, point.rule) for pairs in (before, after))
    was, now = hits_at(first, point.score), hits_at(second, point.score)
    return Changed(
        ", ".join(f"{name} {value:g}" for name, value in change.items()),
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

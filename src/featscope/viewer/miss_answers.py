"""Answers about the objects that a run missed, and about its false alarms.

`featscope.analysis` is imported when it is first asked for, so that the viewer starts as fast without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from featscope import __version__
from featscope.arrays.boxes import corners_of
from featscope.errors import FeatscopeError
from featscope.records import Sample
from featscope.viewer import miss_replies, questions
from featscope.viewer.shown_run import ShownRun
from featscope.viewer.shown_runs import JSON, Made, ShownRuns, digest, json_of

if TYPE_CHECKING:
    from featscope.analysis.misses import Miss
    from featscope.analysis.stages import Loss
    from featscope.arrays.candidates import ImageCandidates
    from featscope.arrays.selecting import Outcome

LIVE = "this run is still being captured; its misses are listed once it is finished"


def misses(runs: ShownRuns, asked: questions.OfMisses) -> Made:
    """Return the objects that a run missed, and its false alarms.

    A run of which nothing is known gives the reason in words, as the page has a place for it.
    """
    shown = runs.shown(asked)
    against = runs.shown(questions.OfRun(asked.against)) if asked.against is not None else None
    states = [one.state for one in (shown, against) if one is not None]

    def make() -> bytes:
        return msgspec.json.encode(_listed(shown, against))

    return Made(JSON, digest("misses", __version__, asked, states, len(shown.catalogue.samples)), make)


def _listed(shown: ShownRun, against: Optional[ShownRun]) -> miss_replies.MissesOut:
    if shown.live:
        return miss_replies.MissesOut(LIVE)
    try:
        found = shown.misses()
    except FeatscopeError as error:
        return miss_replies.MissesOut(str(error))
    numbers = {row.name: number for number, row in enumerate(shown.catalogue.samples)}
    rows = [row for row in found.rows if row.sample in numbers]
    alarms = [alarm for alarm in found.alarms if alarm.sample in numbers]
    return miss_replies.MissesOut(
        point=miss_replies.PointOut(found.point.score, found.point.iou, found.point.rule, found.point.chosen),
        objects=found.objects,
        missed=len(found.rows),
        ignored=found.ignored,
        images=found.images,
        notes=list(found.notes),
        misses=miss_replies.MissColumns(
            sample=[numbers[row.sample] for row in rows],
            number=[row.number for row in rows],
            label=[row.label for row in rows],
            x=[round(row.x, 2) for row in rows],
            y=[round(row.y, 2) for row in rows],
            size=[round(row.size, 2) for row in rows],
            stage=[row.stage for row in rows],
            verdict=[row.verdict for row in rows],
            score=[row.score for row in rows],
            other=_elsewhere(rows, shown, against) if against is not None else [""] * len(rows),
        ),
        alarms=miss_replies.AlarmColumns(
            sample=[numbers[alarm.sample] for alarm in alarms],
            number=[alarm.number for alarm in alarms],
            label=[alarm.label for alarm in alarms],
            x=[round(alarm.x, 2) for alarm in alarms],
            y=[round(alarm.y, 2) for alarm in alarms],
            size=[round(alarm.size, 2) for alarm in alarms],
            kind=[alarm.kind for alarm in alarms],
            score=[alarm.score for alarm in alarms],
            iou=[alarm.iou for alarm in alarms],
            about=[alarm.truth_label for alarm in alarms],
        ),
    )


def _elsewhere(rows: Sequence[Miss], shown: ShownRun, against: ShownRun) -> List[str]:
    """Say of each missed object whether another run finds it: 'found', 'missed', or '' if it does not count there."""
    if against.live or against.classes != shown.classes:
        return [""] * len(rows)
    try:
        theirs = against.misses()
    except FeatscopeError:
        return [""] * len(rows)
    states = {**dict.fromkeys(theirs.found, "found"), **{(row.sample, row.number): "missed" for row in theirs.rows}}
    # Objects are the same by their place in the ground truth only where that is the same.
    one, two = shown.catalogue, against.catalogue
    same = {name: one.truth_of(name) == two.truth_of(name) for name in {row.sample for row in rows}}
    return [states.get((row.sample, row.number), "") if same[row.sample] else "" for row in rows]


def lost(runs: ShownRuns, asked: questions.OfSample) -> Made:
    """Return the missed objects of a sample: the boxes that tell where each was lost, and what each level holds."""
    shown, scene = runs.shown(asked), runs.scene(asked)
    found = shown.misses()
    rows = [row for row in found.rows if row.sample == scene.sample.id]
    told = _told(shown, scene.sample, rows, (found.point.score, found.point.iou))
    evidence: Dict[int, List[miss_replies.EvidenceOut]] = {}
    for one in found.findings.rows if found.findings is not None else ():
        if one.sample == scene.sample.id:
            evidence.setdefault(one.number, []).append(miss_replies.EvidenceOut(*one[2:]))
    objects = []
    for row in rows:
        out = miss_replies.LostOut(
            row.number,
            row.stage,
            row.verdict,
            score=row.score,
            iou=row.iou,
            level=row.level,
            by=row.by,
            by_score=row.by_score,
            by_iou=row.by_iou,
            by_overlap=row.by_overlap,
            other=row.other,
            reaching=row.reaching,
            passing=row.passing,
            evidence=evidence.get(row.number, []),
        )
        if row.number in told:
            _tell(out, told[row.number], drawn=scene.space == "original")
        objects.append(out)
    return json_of(miss_replies.LostsOut(objects))


@dataclass(frozen=True)
class _Told:
    """What the candidates say of one object."""

    loss: Loss
    candidate: Optional[List[float]] = None
    score: Optional[float] = None
    suppressor: Optional[List[float]] = None


def _tell(out: miss_replies.LostOut, told: _Told, drawn: bool) -> None:
    out.steps = list(told.loss.stages)
    out.levels = [
        miss_replies.LevelSeenOut(one.level, one.iou, None if np.isnan(one.score) else one.score)
        for one in told.loss.levels
    ]
    if drawn:  # candidates are in pixels of the original image
        out.candidate, out.candidate_score, out.suppressor = told.candidate, told.score, told.suppressor


def _told(shown: ShownRun, sample: Sample, rows: Sequence[Miss], point: Tuple[float, float]) -> Dict[int, _Told]:
    """Return what the candidates say of each missed object, by its place in the ground truth. point: score and IoU."""
    from featscope.analysis.stages import Head
    from featscope.arrays.selecting import select
    from featscope.store.candidates import read_candidates

    known = read_candidates(shown.catalogue.run, sample) if rows else None
    if known is None or known.selection is None or sample.truth is None:
        return {}
    outcome, numbers = select(known), [row.number for row in rows]
    losses = Head(known, outcome, sample.truth, sample.geometry).losses(numbers, *point)
    return {
        number: _with_boxes(loss, known, outcome, sample.truth.labels[number]) for number, loss in zip(numbers, losses)
    }


def _with_boxes(loss: Loss, known: ImageCandidates, outcome: Outcome, label: int) -> _Told:
    """Add the boxes of the candidate that decided and of what suppressed it."""
    if loss.source is None:
        return _Told(loss)
    (level, index), chosen = loss.source, label if loss.other is None else loss.other
    box = known.levels[level].boxes[index]
    candidate = _polygon(known.form, box if box.ndim == 1 else box[chosen])
    score = float(known.levels[level].scores[index, chosen])
    if loss.suppressor is None:
        return _Told(loss, candidate, score)
    pair = (outcome.level == level) & (outcome.index == index) & (outcome.label == label)
    by = int(outcome.by[pair.argmax()])
    return _Told(loss, candidate, score, _polygon(known.form, outcome.box[by]))


def _polygon(form: str, box: NDArray[np.floating]) -> List[float]:
    return [round(float(value), 2) for value in corners_of(form, box[None]).ravel()]

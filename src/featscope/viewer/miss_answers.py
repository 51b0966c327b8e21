"""Answers about the objects that a run missed, and about its false alarms.

`featscope.analysis` is imported when it is first asked for, so that the viewer starts as fast without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence, Type, TypeVar, Union

import msgspec
import numpy as np

from featscope import __version__
from featscope.arrays.boxes import corners_of
from featscope.errors import FeatscopeError
from featscope.records import Sample
from featscope.viewer import miss_replies, questions
from featscope.viewer.shown_run import ShownRun
from featscope.viewer.shown_runs import JSON, Made, ShownRuns, digest, json_of

if TYPE_CHECKING:
    from featscope.analysis.alarms import Alarm
    from featscope.analysis.evidence import Evidence
    from featscope.analysis.miss_rows import Miss
    from featscope.analysis.points import Point
    from featscope.analysis.stages import Loss

Columns = TypeVar("Columns", miss_replies.MissColumns, miss_replies.AlarmColumns)

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
        misses=_columns(
            miss_replies.MissColumns,
            rows,
            sample=[numbers[row.sample] for row in rows],
            other=_elsewhere(rows, shown, against) if against is not None else [""] * len(rows),
        ),
        alarms=_columns(
            miss_replies.AlarmColumns,
            alarms,
            sample=[numbers[alarm.sample] for alarm in alarms],
            about=[alarm.truth_label for alarm in alarms],
        ),
    )


def _columns(kind: Type[Columns], rows: Sequence[Union[Miss, Alarm]], **own: object) -> Columns:
    """Return rows by column. own: columns that are not fields of the rows. Pixels have two digits on the page."""
    columns: Dict[str, object] = dict(own)
    for name in kind.__struct_fields__:
        if name not in own:
            values = [getattr(row, name) for row in rows]
            columns[name] = [round(value, 2) for value in values] if name in ("x", "y", "size") else values
    return msgspec.convert(columns, kind)


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
    form, losses = _losses(shown, scene.sample, [row.number for row in rows], found.point)
    evidence: Dict[int, List[miss_replies.EvidenceOut]] = {}
    for one in found.findings.rows if found.findings is not None else ():
        if one.sample == scene.sample.id:
            evidence.setdefault(one.number, []).append(_evidence(one))
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
        if row.number in losses:
            _tell(out, losses[row.number], form, drawn=scene.space == "original")
        objects.append(out)
    return json_of(miss_replies.LostsOut(objects))


def _evidence(row: Evidence) -> miss_replies.EvidenceOut:
    return miss_replies.EvidenceOut(**{name: getattr(row, name) for name in miss_replies.EvidenceOut.__struct_fields__})


def _tell(out: miss_replies.LostOut, loss: Loss, form: str, drawn: bool) -> None:
    """Add what the candidates say of an object. form: of their boxes. drawn: whether the page can show these."""
    out.steps = list(loss.stages)
    out.levels = [
        miss_replies.LevelSeenOut(one.level, one.iou, None if np.isnan(one.score) else one.score) for one in loss.levels
    ]
    if not drawn:  # candidates are in pixels of the original image
        return
    if loss.deciding is not None:
        out.candidate, out.candidate_score = _polygon(form, loss.deciding.box), loss.deciding.score
    if loss.suppressor is not None:
        out.suppressor = _polygon(form, loss.suppressor.box)


class _Losses(NamedTuple):
    form: str
    by_number: Dict[int, Loss]


def _losses(shown: ShownRun, sample: Sample, numbers: Sequence[int], point: Point) -> _Losses:
    """Return where the head lost these objects of a sample; nothing if its candidates are unknown."""
    from featscope.analysis.stages import Head
    from featscope.arrays.selecting import select
    from featscope.store.candidates import read_candidates

    known = read_candidates(shown.catalogue.run, sample) if numbers else None
    if known is None or known.selection is None or sample.truth is None:
        return _Losses("", {})
    losses = Head(known, select(known), sample.truth, sample.geometry).losses(numbers, point.score, point.iou)
    return _Losses(known.form, dict(zip(numbers, losses)))


def _polygon(form: str, box: Sequence[float]) -> List[float]:
    return [round(float(value), 2) for value in corners_of(form, [box]).ravel()]

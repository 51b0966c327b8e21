"""Which objects a detector missed, which alarms are false, and where each went wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.alarms import Alarm, alarm_rows
from featscope.analysis.evaluated import Evaluation, evaluate
from featscope.analysis.evidence import LOST_BY_HEAD, SEEN_BY_HEAD, Findings, find_evidence
from featscope.analysis.labelled import labelled_samples
from featscope.analysis.miss_rows import Miss, miss_rows
from featscope.analysis.objects import chosen_layers, walk_objects
from featscope.analysis.points import Hits, Point, hits_at, split_by_image
from featscope.analysis.sizes import SODA
from featscope.analysis.stages import STAGES, Head, Loss
from featscope.analysis.what_if import CandidatesOf, Changed, Trial
from featscope.arrays.assigned import AssignedSizes
from featscope.arrays.candidates import ImageCandidates
from featscope.arrays.selecting import select
from featscope.errors import BadRunError
from featscope.records import Boxes, Sample
from featscope.scale.executor import Executor, serial
from featscope.store.candidates import read_candidates
from featscope.store.reader import Run, open_run
from featscope.store.tables import Rows
from featscope.words import counted

_NO_CANDIDATES = AssignedSizes(unknown="no candidates are known; capture the run with --candidates")
_OLD = AssignedSizes(unknown="the run was captured before featscope recorded it; capture it again")
_SEVERAL = AssignedSizes(unknown="it differs from image to image")


@dataclass(frozen=True, repr=False)
class Misses:
    """The result of `featscope.misses`: rows, and tables of them."""

    point: Point
    rows: Rows[Miss]
    """A row for each object that was missed."""

    alarms: Rows[Alarm]
    """A row for each false alarm."""

    objects: int
    """Objects that count."""

    ignored: int
    """Objects that are difficult or crowds, and do not count."""

    images: int

    found: Tuple[Tuple[str, int], ...] = ()
    """(sample, place in the ground truth) of each object that was found."""

    findings: Optional[Findings] = None
    """What the features hold of the missed objects; None if the run stores none."""

    assigned: AssignedSizes = _NO_CANDIDATES
    """Which sizes of objects the training assigns to each level of the head, in pixels of the input."""

    changed: Rows[Changed] = field(default_factory=lambda: Rows(Changed._fields, []))
    notes: Tuple[str, ...] = ()
    """What could not be answered, and why."""

    def by_stage(self) -> Rows[Tuple[object, ...]]:
        """Count the misses by class, size and stage: a row for each class and size, a column for each stage."""
        return self._counted("stage", [*STAGES, ""], "no candidates")

    def by_verdict(self) -> Rows[Tuple[object, ...]]:
        """Count the misses by class, size and verdict."""
        return self._counted("verdict", sorted({row.verdict for row in self.rows}), "no features")

    def stages(self) -> List[Tuple[str, int]]:
        """Count the stages in which objects were lost, the most frequent first."""
        return Counter(row.stage for row in self.rows if row.stage).most_common()

    def suppressors(self) -> List[Tuple[str, int]]:
        """Count what suppressed the missed objects whose stage is 'suppressed', the most frequent first."""
        return Counter(row.by for row in self.rows if row.by).most_common()

    def kinds_of_alarms(self) -> List[Tuple[str, int]]:
        """Count the kinds of false alarms, the most frequent first."""
        return Counter(row.kind for row in self.alarms).most_common()

    def _counted(self, name: str, order: Sequence[str], empty: str) -> Rows[Tuple[object, ...]]:
        values = [(row.label, row.size_bin, str(getattr(row, name))) for row in self.rows]
        columns = [one for one in order if any(value == one for _, _, value in values)]
        counts = Counter(values)
        groups = sorted({value[:2] for value in values}, key=lambda group: (group[0], SODA.index(group[1])))
        table: List[Tuple[object, ...]] = []
        for label, size in groups:
            numbers = [counts[label, size, one] for one in columns]
            table.append((label, size, sum(numbers), *numbers))
        return Rows(("class", "size", "missed", *(one or empty for one in columns)), table)

    def __repr__(self) -> str:
        missed, alarms = len(self.rows), len(self.alarms)
        return (
            f"<Misses: {missed} of {counted(self.objects, 'object')} missed, {counted(alarms, 'false alarm')}, "
            f"in {counted(self.images, 'image')}, at {self.point}>"
        )

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(repr(self)[1:-1])}</p>{self.by_stage()._repr_html_()}"


def misses(
    run: Union[Run, str, Path],
    score: Optional[float] = None,
    iou: float = 0.5,
    sample: Optional[str] = None,
    *,
    rule: str = "voc",
    truth: Optional[Mapping[str, Boxes]] = None,
    candidates: Optional[CandidatesOf] = None,
    layers: Sequence[str] = (),
    features: bool = True,
    executor: Union[str, Executor] = serial,
    what_if: Sequence[Mapping[str, float]] = (),
) -> Misses:
    """Say of each object that a run missed, and of each false alarm, where it went wrong.

    >>> found = featscope.misses("runs/fpn")
    >>> found
    <Misses: 1 of 2 objects missed, 0 false alarms, in 1 image, at score at least 0.93 (best F1), IoU at least 0.5,
    matched by voc>
    >>> found.rows[0].label, found.rows[0].verdict
    ('plane', 'below resolution')

    An object is missed at an operating point: no detection with a score of at least `score` overlaps it by `iou`, as
    the `rule` matches them ('voc' or 'coco', see `featscope.analysis.evaluation`). By default the score is the one
    with the best F1 over all classes of the run. Difficult objects and crowds do not count. Where a miss was lost is
    decided by all candidates of its image, by the rules in `featscope.analysis.stages`. False alarms are sorted as in
    TIDE (Bolya et al., ECCV 2020).

    sample: an id or a glob. truth: ground truth by sample, in place of the run's own. candidates: gives the candidates
    of a sample; by default those that the run stores (`featscope capture --candidates`). layers: whose features are
    asked (`featscope.analysis.evidence`); by default all but class scores and regressions. features: whether
    they are asked at all. what_if: changes of the selection (`featscope.analysis.what_if.NAMES`), as
    `[{"nms": 0.5}]`; `Misses.changed` has what each would change.

    Raises `BadRunError` for a run without ground truth or without detections.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    if opened.info is None:
        raise BadRunError(f"{opened.folder} has no manifest, so it has neither ground truth nor detections")
    names = chosen_layers(opened, layers) if features else []
    samples, pairs, notes = labelled_samples(opened, sample, truth)
    whole = evaluate(pairs, iou, rule)
    point = _point(whole, score, iou, rule)
    hits = hits_at(whole, point.score)
    trials = [Trial(change) for change in what_if]
    give = candidates or partial(stored_candidates, opened)
    heads = _ask_heads(samples, whole, hits, point, give=give, trials=trials, classes=opened.info.classes)
    found = _keys(whole, hits.found, samples)
    rows, findings = heads.rows, None
    if rows and features:
        if names:
            states = {**dict.fromkeys(found, True), **{(row.sample, row.number): False for row in rows}}
            images = walk_objects(
                opened, names, None, sample, min_iou=iou, truth=truth, background=True, executor=executor
            )
            findings = find_evidence(images, states)
            rows = [row._replace(verdict=_verdict(row, point, findings)) for row in rows]
        else:
            notes.append(
                "the run stores no maps of features, so what they hold is unknown; capture its backbone and neck"
            )
    return Misses(
        point,
        Rows(Miss._fields, rows, hidden=("candidate", "x", "y", "by_overlap", "levels")),
        Rows(Alarm._fields, alarm_rows(samples, hits.alarm, whole, opened.info.classes)),
        objects=int((~whole.true_ignored).sum()),
        ignored=int(whole.true_ignored.sum()),
        images=len(samples),
        found=tuple(found),
        findings=findings,
        assigned=heads.assigned,
        changed=Rows(Changed._fields, [trial.result(point) for trial in trials]),
        notes=(*heads.notes, *notes),
    )


class _Heads(NamedTuple):
    """What the candidates of all images say."""

    rows: List[Miss]
    notes: List[str]
    assigned: AssignedSizes


def _ask_heads(
    samples: Sequence[Sample],
    whole: Evaluation,
    hits: Hits,
    point: Point,
    *,
    give: CandidatesOf,
    trials: Sequence[Trial],
    classes: Sequence[str],
) -> _Heads:
    """Make a row for each missed object; the candidates of one image are in memory at a time."""
    rows: List[Miss] = []
    without: List[str] = []
    unknown: Set[str] = set()
    assigned: List[AssignedSizes] = []
    for one, places in zip(samples, split_by_image(np.flatnonzero(hits.missed), whole.true_image, len(samples))):
        numbers = [int(number) for number in whole.true_box[places]]
        losses: Optional[List[Loss]] = None
        known = give(one) if numbers or trials else None
        if known is not None and (known.assigned or _OLD) not in assigned:
            assigned.append(known.assigned or _OLD)
        if known is not None and known.selection is not None and one.truth is not None:
            for trial in trials:
                trial.add(one, known, known.selection)
            losses = Head(known, select(known), one.truth, one.geometry).losses(numbers, point.score, point.iou)
        elif numbers:
            without.append(one.id)
            unknown.add(known.unknown if known is not None else "")
        rows += miss_rows(one, numbers, losses, classes)
    notes = _about_images_without_candidates(without, unknown)
    return _Heads(rows, notes, [*assigned, _NO_CANDIDATES][0] if len(assigned) < 2 else _SEVERAL)


def _about_images_without_candidates(names: Sequence[str], unknown: Set[str]) -> List[str]:
    """Say where it is not known in which stage objects were lost, and why."""
    if not names:
        return []
    some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    whose = f"where the head lost the objects of {counted(len(names), 'image')} ({some}) is unknown"
    reasons = sorted(why for why in unknown if why)
    if reasons:
        return [f"{whose}: how the detector selects its detections is not known ({'; '.join(reasons)})"]
    return [f"{whose}: their candidates were not stored; capture the run with --candidates"]


def _verdict(row: Miss, point: Point, findings: Findings) -> str:
    """Return what the features hold of an object. Where they do not show it, the head may have seen it all the same."""
    verdict = findings.verdicts[row.sample, row.number]
    if verdict == LOST_BY_HEAD:
        return verdict
    # At score 0 every candidate passes, which says nothing.
    return SEEN_BY_HEAD if row.passing and point.score > 0 else verdict


def stored_candidates(run: Run, sample: Sample) -> Optional[ImageCandidates]:
    """Return the candidates that a run stores of a sample; None if it stores none."""
    return read_candidates(run, sample)


def _keys(whole: Evaluation, chosen: NDArray[np.bool_], samples: Sequence[Sample]) -> List[Tuple[str, int]]:
    """Return (sample, place in the ground truth) of the chosen objects."""
    return [(samples[image].id, int(box)) for image, box in zip(whole.true_image[chosen], whole.true_box[chosen])]


def _point(whole: Evaluation, score: Optional[float], iou: float, rule: str) -> Point:
    if score is not None:
        return Point(score, iou, rule, "given")
    best = whole.best_score()
    if np.isnan(best):
        return Point(0.0, iou, rule, "no detection hits an object at any score")
    return Point(best, iou, rule, "best F1")

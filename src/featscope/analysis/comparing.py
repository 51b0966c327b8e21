"""Two runs of the same images compared by their objects: which ones a change gained, which it lost, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from featscope.analysis.feature_changes import (
    EnergyChange,
    channel_orders,
    energy_changes,
    likeness_of_layers,
    pooled_features,
)
from featscope.analysis.likeness import LikenessRow
from featscope.analysis.misses import Misses, misses
from featscope.analysis.object_changes import (
    GAINED,
    LOST,
    GroupChange,
    ObjectChange,
    counted_objects,
    group_changes,
    object_changes,
)
from featscope.analysis.objects import MapName
from featscope.analysis.what_if import CandidatesOf
from featscope.arrays.boxes import iou_of
from featscope.arrays.channel_order import ChannelOrder
from featscope.errors import BadRunError
from featscope.records import Boxes
from featscope.scale.executor import Executor, serial
from featscope.store.detections import samples_named
from featscope.store.reader import Run, open_run
from featscope.store.tables import Rows
from featscope.words import counted

_SAME = 0.999  # IoU of one object in two records
_NAMED = 3


@dataclass(frozen=True, repr=False)
class Comparison:
    """The result of `featscope.compare`: rows, and tables of them."""

    a: Misses
    b: Misses
    rows: Rows[ObjectChange]
    """A row for each object that at least one run missed."""
    groups: Rows[GroupChange]
    """By class and size; the last row is over all."""
    energy: Rows[EnergyChange]
    likeness: Rows[LikenessRow]
    orders: Mapping[MapName, ChannelOrder] = field(default_factory=dict)
    """Of each map that both have with as many channels: how many of these are the same ones, by the objects."""
    notes: Tuple[str, ...] = ()

    @property
    def one_scale(self) -> FrozenSet[MapName]:
        """Maps that have the same channels in the same order in both runs, so that their values can be subtracted."""
        return frozenset(name for name, order in self.orders.items() if order.proved)

    def __repr__(self) -> str:
        whole = self.groups[-1]
        return (
            f"<Comparison of {counted(whole.objects, 'object')}: {whole.found_a} and {whole.found_b} found, "
            f"{whole.gained} gained, {whole.lost} lost, p = {whole.p:.2g}>"
        )

    def _repr_html_(self) -> str:
        return self.groups._repr_html_()

    def by_stage(self) -> Rows[Tuple[object, ...]]:
        """Count the objects that the second run gained, by where the first lost them, and the other way round."""
        counts: Dict[Tuple[str, str, str], int] = {}
        for row in self.rows:
            for side, change, stage, verdict in (
                ("gained", GAINED, row.stage_a, row.verdict_a),
                ("lost", LOST, row.stage_b, row.verdict_b),
            ):
                if row.change == change:
                    key = (side, stage or "unknown", verdict or "unknown")
                    counts[key] = counts.get(key, 0) + 1
        ordered = sorted(counts.items(), key=lambda item: (item[0][0], -item[1]))
        return Rows(("change", "stage", "features", "objects"), ((*key, count) for key, count in ordered))


def compare(
    run_a: Union[Run, str, Path],
    run_b: Union[Run, str, Path],
    score: Optional[float] = None,
    iou: float = 0.5,
    sample: Optional[str] = None,
    *,
    rule: str = "voc",
    truth: Optional[Mapping[str, Boxes]] = None,
    candidates: Tuple[Optional[CandidatesOf], Optional[CandidatesOf]] = (None, None),
    layers: Sequence[str] = (),
    executor: Union[str, Executor] = serial,
) -> Comparison:
    """Compare two runs of the same images: the objects that the second gained and lost, and the likeness of layers.

    >>> featscope.compare("runs/fpn", "runs/newneck")
    <Comparison of 2 objects: 1 and 1 found, 0 gained, 0 lost, p = 1>

    Each run counts at its own operating point with the best F1, or both at `score`. An object is gained if only the
    second run finds it. Intervals are bootstraps over images. The likeness of layers is the unbiased linear CKA over
    objects (`featscope.analysis.likeness`): features pooled over the true boxes.

    sample, rule, truth, layers, executor: as for `featscope.misses`. candidates: those of each run. Samples that only
    one run has are left out, which `Comparison.notes` says. Raises `BadRunError` if no sample is common, or if the
    runs have other classes or other ground truth.
    """
    one, two = (run if isinstance(run, Run) else open_run(run) for run in (run_a, run_b))
    names, notes = _common(one, two, sample)
    if truth is None:
        notes += _truth_notes(one, two)
    true = truth if truth is not None else _same_truth(one, two, names)
    true = {name: boxes for name, boxes in true.items() if name in set(names)}
    found = [
        misses(run, score, iou, None, rule=rule, truth=true, candidates=give, layers=layers, executor=executor)
        for run, give in zip((one, two), candidates)
    ]
    a, b = found
    objects = counted_objects(a, true, one.info.classes if one.info is not None else [])
    hits = [np.array([object.key in known for object in objects], bool) for known in (set(a.found), set(b.found))]
    sides = [pooled_features(run, true, layers, executor) for run in (one, two)]
    alike, remarks = likeness_of_layers(sides)
    return Comparison(
        a,
        b,
        rows=Rows(ObjectChange._fields, object_changes(objects, hits, found), hidden=("x", "y")),
        groups=Rows(GroupChange._fields, group_changes(objects, hits[0], hits[1])),
        energy=Rows(EnergyChange._fields, energy_changes(sides, objects)),
        likeness=alike,
        orders=channel_orders(sides),
        notes=(*notes, *remarks, *(f"{name}: {note}" for name, side in zip("AB", found) for note in side.notes)),
    )


def _common(one: Run, two: Run, sample: Optional[str]) -> Tuple[List[str], List[str]]:
    """Return the ids of the samples that both runs have, and what only one of them has."""
    first, second = ([s.id for s in samples_named(run, sample)] for run in (one, two))
    names = [name for name in first if name in set(second)]
    if not names:
        raise BadRunError(
            f"{one.folder} and {two.folder} have no sample in common: the first has {first[0]!r}, the second "
            f"{second[0]!r}; capture both with the same images"
        )
    classes = [run.info.classes if run.info is not None else [] for run in (one, two)]
    if classes[0] != classes[1]:
        raise BadRunError(
            f"the runs have different classes: {one.folder} {', '.join(classes[0][:_NAMED])}, ..., {two.folder} "
            f"{', '.join(classes[1][:_NAMED])}, ...; only detectors of the same classes can be compared"
        )
    notes = []
    for side, own, other in (("A", first, second), ("B", second, first)):
        alone = [name for name in own if name not in set(other)]
        if alone:
            more = f" and {len(alone) - _NAMED} more" if len(alone) > _NAMED else ""
            are = "are" if len(alone) > 1 else "is"
            notes.append(
                f"{counted(len(alone), 'sample')} of {side} {are} left out, as the other run lacks "
                f"{'them' if len(alone) > 1 else 'it'}: {', '.join(alone[:_NAMED])}{more}"
            )
    return names, notes


def _truth_notes(one: Run, two: Run) -> List[str]:
    """Return what the runs say of labels that are not in their ground truth, each once."""
    return list(dict.fromkeys(note for run in (one, two) if run.info is not None for note in run.info.truth_notes))


def _same_truth(one: Run, two: Run, names: Sequence[str]) -> Dict[str, Boxes]:
    """Return the ground truth of the common samples. Raises `BadRunError` where the runs have another one."""
    found: Dict[str, Boxes] = {}
    for name in names:
        first, second = one.samples[name].truth, two.samples[name].truth
        known = first if first is not None else second
        if known is None:
            continue
        if first is not None and second is not None and not _equal(first, second):
            raise BadRunError(
                f"the runs have different ground truth for {name!r}; give one for both: --annotations PATH"
            )
        found[name] = known
    if not found:
        raise BadRunError(
            f"neither {one.folder} nor {two.folder} has ground truth; give it: --annotations annotations.json, or a "
            "folder of labels"
        )
    return found


def _equal(first: Boxes, second: Boxes) -> bool:
    if first.labels != second.labels or first.frame != second.frame:
        return False
    overlap = np.diagonal(iou_of(first.form, first.boxes, second.form, second.boxes))
    return bool((overlap > _SAME).all()) or first.boxes == second.boxes  # boxes of no size overlap nothing

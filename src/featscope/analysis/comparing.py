"""Two runs of the same images compared by their objects: which ones a change gained, which it lost, and where."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.likeness import LikenessRow, likeness
from featscope.analysis.misses import Misses, misses
from featscope.analysis.objects import MapName, feature_layers, walk_objects
from featscope.analysis.sizes import SODA, soda_bins
from featscope.analysis.what_if import CandidatesOf
from featscope.arrays.boxes import areas_of, corners_of, iou_of
from featscope.arrays.image_boxes import TRUTH
from featscope.arrays.pooling import Pooled
from featscope.errors import BadRunError
from featscope.records import Boxes, class_name
from featscope.scale.executor import Executor, serial
from featscope.store.detections import samples_named
from featscope.store.reader import Run, open_run
from featscope.store.tables import Rows
from featscope.words import counted

GAINED, LOST, MISSED = "gained", "lost", "missed by both"

_RESAMPLES = 2000
_SAME = 0.999  # IoU of one object in two records
_NAMED = 3

Key = Tuple[str, int]


class ObjectChange(NamedTuple):
    """An object that at least one of the two runs missed."""

    sample: str
    number: int
    """Its place in the ground truth of its image."""
    label: str
    x: float
    """Centre of its box, in pixels of the original image."""
    y: float
    size: float
    size_bin: str
    change: str
    """'gained' (only the second run finds it), 'lost' (only the first does) or 'missed by both'."""
    stage_a: str
    """Where the first run's head lost it (`featscope.analysis.stages`); '' if it was found or that is unknown."""
    verdict_a: str
    """What the first run's features hold of it (`featscope.analysis.evidence`)."""
    stage_b: str
    verdict_b: str


class GroupChange(NamedTuple):
    """How many objects of one class and size each run finds."""

    label: str
    size_bin: str
    objects: int
    found_a: int
    found_b: int
    gained: int
    lost: int
    low: float
    """Lower end of the 95 % interval of gained - lost, by a bootstrap over images; NaN for one image."""
    high: float
    """Upper end."""
    p: float
    """McNemar's exact test, two-sided: how likely so uneven a split of gained and lost is if neither is likelier."""


class EnergyChange(NamedTuple):
    """The energy on objects of one size, in a map that both runs have."""

    map: str
    size_bin: str
    objects: int
    ratio_a: float
    """Median of the energy in the box divided by that of the ring."""
    ratio_b: float
    low: float
    """Lower end of the 95 % interval of the median of b / a, by a bootstrap over images; NaN for one image."""
    high: float
    """Upper end."""


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
    notes: Tuple[str, ...] = ()

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
    true = truth if truth is not None else _same_truth(one, two, names)
    true = {name: boxes for name, boxes in true.items() if name in set(names)}
    found = [
        misses(run, score, iou, None, rule=rule, truth=true, candidates=give, layers=layers, executor=executor)
        for run, give in zip((one, two), candidates)
    ]
    a, b = found
    objects = _objects(a, true, one.info.classes if one.info is not None else [])
    hits = [np.array([object.key in known for object in objects], bool) for known in (set(a.found), set(b.found))]
    sides = [_features(run, true, layers, executor) for run in (one, two)]
    alike, remarks = _likeness(sides)
    return Comparison(
        a,
        b,
        rows=Rows(ObjectChange._fields, _changes(objects, hits, found), hidden=("x", "y")),
        groups=Rows(GroupChange._fields, _groups(objects, hits[0], hits[1])),
        energy=Rows(EnergyChange._fields, _energy(sides, objects)),
        likeness=alike,
        notes=(*notes, *remarks, *(f"{name}: {note}" for name, side in zip("AB", found) for note in side.notes)),
    )


class _Object(NamedTuple):
    """A true box that counts."""

    key: Key
    label: str
    x: float
    y: float
    size: float
    size_bin: str


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
            f"the runs have other classes: {one.folder} {', '.join(classes[0][:_NAMED])}, ..., {two.folder} "
            f"{', '.join(classes[1][:_NAMED])}, ...; only detectors of the same classes can be compared"
        )
    notes = []
    for side, own, other in (("A", first, second), ("B", second, first)):
        alone = [name for name in own if name not in set(other)]
        if alone:
            notes.append(f"only {side} has {counted(len(alone), 'sample')}: {', '.join(alone[:_NAMED])}, left out")
    return names, notes


def _same_truth(one: Run, two: Run, names: Sequence[str]) -> Dict[str, Boxes]:
    """Return the ground truth of the common samples. Raises `BadRunError` where the runs have another one."""
    found: Dict[str, Boxes] = {}
    for name in names:
        first, second = one.samples[name].truth, two.samples[name].truth
        known = first if first is not None else second
        if known is None:
            continue
        if first is not None and second is not None and not _equal(first, second):
            raise BadRunError(f"the runs have another ground truth for {name!r}; give one for both: --annotations PATH")
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


def _objects(found: Misses, truth: Mapping[str, Boxes], classes: Sequence[str]) -> List[_Object]:
    """Return the objects that count, in order. found: of either run."""
    counting = {*found.found, *((row.sample, row.number) for row in found.rows)}
    objects = []
    for name, boxes in truth.items():
        if not boxes.boxes:
            continue
        centres, areas = corners_of(boxes.form, boxes.boxes).mean(1), areas_of(boxes.form, boxes.boxes)
        for number, (label, centre, area, size_bin) in enumerate(zip(boxes.labels, centres, areas, soda_bins(areas))):
            if (name, number) in counting:
                label_name = class_name(classes, label)
                x, y = (float(one) for one in centre)
                objects.append(_Object((name, number), label_name, x, y, float(np.sqrt(area)), size_bin))
    return objects


def _changes(
    objects: Sequence[_Object], hits: Sequence[NDArray[np.bool_]], found: Sequence[Misses]
) -> Iterator[ObjectChange]:
    lost = [{(row.sample, row.number): (row.stage, row.verdict) for row in side.rows} for side in found]
    for one, in_a, in_b in zip(objects, *hits):
        if in_a and in_b:
            continue
        a, b = (side.get(one.key, ("", "")) for side in lost)
        change = GAINED if in_b else LOST if in_a else MISSED
        yield ObjectChange(*one.key, *one[1:], change, *a, *b)  # type: ignore[call-arg]


def _groups(objects: Sequence[_Object], in_a: NDArray[np.bool_], in_b: NDArray[np.bool_]) -> Iterator[GroupChange]:
    images = np.unique([one.key[0] for one in objects], return_inverse=True)[1]
    names = sorted({(one.label, one.size_bin) for one in objects}, key=lambda name: (name[0], SODA.index(name[1])))
    members = [(*name, np.array([one[1] == name[0] and one.size_bin == name[1] for one in objects])) for name in names]
    members.append(("all", "all", np.ones(len(objects), bool)))
    for label, size_bin, mine in members:
        gained, lost = mine & in_b & ~in_a, mine & in_a & ~in_b
        net = gained.astype(float) - lost
        low, high = _interval(lambda weights, net=net: float((weights * net).sum()), images)  # type: ignore[misc]
        counts = int(gained.sum()), int(lost.sum())
        yield GroupChange(
            label,
            size_bin,
            objects=int(mine.sum()),
            found_a=int((mine & in_a).sum()),
            found_b=int((mine & in_b).sum()),
            gained=counts[0],
            lost=counts[1],
            low=low,
            high=high,
            p=mcnemar(*counts),
        )


def mcnemar(gained: int, lost: int) -> float:
    """Return the p-value of McNemar's exact test, two-sided: of so uneven a split of `gained + lost` fair coins.

    >>> mcnemar(10, 0), mcnemar(3, 3), mcnemar(0, 0)
    (0.001953125, 1.0, 1.0)

    Source: McNemar, Psychometrika 1947; the exact form is the binomial test.
    """
    total, fewer = gained + lost, min(gained, lost)
    if total > 1000:  # the normal approximation with its correction; exact numbers of this size overflow a float
        from math import erfc, sqrt

        return erfc(max(0.0, abs(gained - lost) - 1) / sqrt(2 * total))
    return min(1.0, 2 * sum(comb(total, k) for k in range(fewer + 1)) / 2**total)


def _interval(
    value: Callable[[NDArray[np.float64]], float], images: NDArray[np.int64], resamples: int = _RESAMPLES
) -> Tuple[float, float]:
    """Return the 95 % interval of a value by a bootstrap over images. value: of how often each member is drawn."""
    count = int(images.max(initial=-1)) + 1
    if count < 2:
        return float("nan"), float("nan")
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(resamples):
        weights = np.bincount(random.integers(0, count, count), minlength=count).astype(np.float64)
        drawn.append(value(weights[images]))
    known = np.array(drawn)[np.isfinite(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


class _Side(NamedTuple):
    """What the maps of one run hold of the true boxes, in the order of `keys`; NaN where a map is missing."""

    keys: List[Key]
    features: Dict[MapName, NDArray[np.float32]]
    ratios: Dict[MapName, NDArray[np.float64]]


def _features(run: Run, truth: Mapping[str, Boxes], layers: Sequence[str], executor: Union[str, Executor]) -> _Side:
    """Pool the features of a run over the true boxes."""
    keys: List[Key] = []
    images: List[Tuple[int, Mapping[MapName, Pooled], slice]] = []
    names = list(layers) or feature_layers(run)
    for image in walk_objects(run, names, truth=truth, executor=executor) if names else ():
        count = image.boxes.counts[0]
        keys += [(image.sample.id, number) for number in range(count)]
        images.append((count, image.maps, image.boxes.rows(TRUTH)))
    features: Dict[MapName, NDArray[np.float32]] = {}
    ratios: Dict[MapName, NDArray[np.float64]] = {}
    for name in dict.fromkeys(name for _, maps, _ in images for name in maps):
        channels = next(maps[name].features.shape[1] for _, maps, _ in images if name in maps)
        features[name] = np.concatenate(
            [
                maps[name].features[rows] if name in maps else np.full((count, channels), np.nan, np.float32)
                for count, maps, rows in images
            ]
        )
        ratios[name] = np.concatenate(
            [maps[name].ratio[rows] if name in maps else np.full(count, np.nan) for count, maps, rows in images]
        )
    return _Side(keys, features, ratios)


def _energy(sides: Sequence[_Side], objects: Sequence[_Object]) -> Iterator[EnergyChange]:
    """Compare the energy on objects in the maps that both runs have, by size."""
    a, b = sides
    sizes = {one.key: one.size_bin for one in objects}
    bins = np.array([sizes.get(key, "") for key in a.keys])
    images = np.unique([key[0] for key in a.keys], return_inverse=True)[1] if a.keys else np.zeros(0, np.int64)
    for name in (name for name in a.ratios if name in b.ratios):
        one, two = a.ratios[name], b.ratios[name]
        for size_bin in SODA:
            mine = (bins == size_bin) & np.isfinite(one) & np.isfinite(two) & (one > 0)
            if not mine.any():
                continue
            change, of_image = two[mine] / one[mine], np.unique(images[mine], return_inverse=True)[1]

            def median(weights: NDArray[np.float64], change: NDArray[np.float64] = change) -> float:
                return float(np.median(np.repeat(change, weights.astype(np.int64)))) if weights.any() else float("nan")

            low, high = _interval(median, of_image, _RESAMPLES // 10)
            yield EnergyChange(
                str(name),
                size_bin,
                objects=int(mine.sum()),
                ratio_a=float(np.median(one[mine])),
                ratio_b=float(np.median(two[mine])),
                low=low,
                high=high,
            )


def _likeness(sides: Sequence[_Side]) -> Tuple[Rows[LikenessRow], List[str]]:
    """Compare each layer of the first run with each of the second; a note where that is not possible."""
    a, b = sides
    nothing: Rows[LikenessRow] = Rows(LikenessRow._fields, [])
    if not a.features or not b.features:
        return nothing, ["a run stores no maps of features, so its layers are not compared; capture backbone and neck"]
    try:
        return likeness(a.features, b.features, np.array([key[0] for key in a.keys])), []
    except BadRunError as error:
        return nothing, [f"the layers are not compared: {error}"]

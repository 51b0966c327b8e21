"""The types of a detector's errors, and how much average precision each type costs (TIDE).

With the IoU thresholds f (for a hit, 0.5) and b (for background, 0.1), a false alarm is, by the first that holds:

- localisation: its best IoU with an object of its class is from b to f.
- classification: its IoU with an object of another class is f or more.
- duplicate: its IoU with an object of its class that was found is f or more.
- background: its IoU with every object is b or less.
- both: none of these; it has the wrong class and the wrong place.

An object that nothing hits is missed, unless it is the object of a localisation or classification error.

What a type costs is the average precision after its errors are mended, minus that before. A localisation or
classification error becomes a hit if it is the best of all errors of both types that have its object and if nothing
else hits that object; otherwise it goes. The other false alarms go, and a missed object is no longer counted. Errors
interact, so the costs do not add up to what is lacking.

Boxes may have any form, so rotated ones work as upright ones do. Ignored objects are left out, and so are detections
that take one. Classes without objects are left out of the mean. Both differ from the package `tidecv`, which also gives
a type to detections in ignored regions, and counts a class without objects as 0; otherwise the numbers are the same.

Source: Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020.
"""

from __future__ import annotations

from typing import Iterable, List, NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.evaluated import (
    Evaluation,
    MatchedImage,
    Pair,
    Rules,
    join,
    join_images,
    match_image,
    overlap_of,
)
from featscope.analysis.evaluation import IGNORED, NOTHING, average_precision, precision_recall
from featscope.analysis.points import ABOUT
from featscope.analysis.sizes import COCO, SODA, coco_bins, soda_bins
from featscope.arrays.boxes import areas_of
from featscope.errors import BadOptionError, check_name
from featscope.records import Boxes
from featscope.store.tables import Rows

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
"""The types of errors, in the order of the paper."""

SIZES = {"coco": (COCO, coco_bins), "soda": (SODA, soda_bins), "": ((), lambda areas: [""] * len(areas))}
"""The bins of sizes by which errors are counted: their names, and the function from areas to names."""

_CLASSIFICATION, _LOCALISATION, _BOTH, _DUPLICATE, _BACKGROUND, _MISSED = range(6)


class Errors(NamedTuple):
    """The errors in a data set: one entry for each of its n detections and m objects, as in its `Evaluation`."""

    evaluation: Evaluation
    """How the detections match the objects."""

    kind: NDArray[np.int64]
    """(n,) place in `KINDS` of what is wrong with a detection; `NOTHING` for a hit and for what does not count."""

    target: NDArray[np.int64]
    """(n,) the object that a localisation or classification error has, as an index of the evaluation's objects;
    `NOTHING` for the others."""

    mends: NDArray[np.bool_]
    """(n,) whether the error becomes a hit of its target when it is mended; otherwise the detection goes."""

    missed: NDArray[np.bool_]
    """(m,) whether the object is missed."""

    area: NDArray[np.float64]
    """(n,) area of each detection in pixels."""

    true_area: NDArray[np.float64]
    """(m,) area of each object in pixels."""

    def number_of(self, kind: str) -> int:
        """Return the number of errors of a type."""
        number = KINDS.index(kind)
        return int(self.missed.sum() if number == _MISSED else (self.kind == number).sum())


class ErrorRow(NamedTuple):
    """What the errors of one type cost.

    error: one of `KINDS`. size: name of a bin of sizes, or 'all'; the size is that of the object of a classification,
    localisation or missed error, and of the detection for the others. number: how many there are. loss: mean average
    precision that is gained if they are mended, in [0, 1]; NaN if no class is left with which to compute it.
    """

    error: str
    size: str
    number: int
    loss: float


def find_errors(images: Iterable[Pair], min_iou: float = 0.5, background: float = ABOUT, rule: str = "coco") -> Errors:
    """Find the type of each error in a data set.

    >>> found = Boxes("xyxy", [[0, 0, 8, 8], [0, 0, 8, 8], [40, 0, 48, 8]], [0, 1, 0], [0.9, 0.8, 0.7])
    >>> truth = Boxes("xyxy", [[0, 0, 8, 9], [90, 0, 98, 8]], [0, 0])
    >>> errors = find_errors([(found, truth)])
    >>> [(kind, errors.number_of(kind)) for kind in KINDS if errors.number_of(kind)]
    [('classification', 1), ('background', 1), ('missed', 1)]

    images: the detections and the true boxes of each image, in pixels of the same frame. min_iou: IoU of a hit.
    background: IoU up to which a detection is on the background. rule: how detections are matched, one of
    `featscope.analysis.evaluation.RULES`. Raises `BadOptionError` if the background is not below the hit.
    """
    if not 0 < background < min_iou:
        raise BadOptionError(
            f"the IoU of background must be above 0 and below that of a hit, {min_iou}; it is {background}"
        )
    rules = Rules([min_iou], rule)
    found = [_errors_of_image(detections, truth, rules, background) for detections, truth in images]
    evaluation = join_images([one.matched for one in found], 0, min_iou)
    starts = np.cumsum([0, *(len(one.true_area) for one in found)])
    targets = [np.where(one.target >= 0, one.target + start, NOTHING) for one, start in zip(found, starts)]
    kind, target = join((one.kind for one in found), np.int64), join(targets, np.int64)
    mends = _best_of_each(target, evaluation.score) & (np.append(evaluation.found_by, NOTHING)[target] == NOTHING)
    missed = (evaluation.found_by == NOTHING) & ~evaluation.true_ignored
    missed[target[target >= 0]] = False
    area, true_area = join((one.area for one in found), np.float64), join((one.true_area for one in found), np.float64)
    return Errors(evaluation, kind, target, mends=mends, missed=missed, area=area, true_area=true_area)


class _ImageErrors(NamedTuple):
    matched: MatchedImage
    kind: NDArray[np.int64]  # (n,)
    target: NDArray[np.int64]  # (n,) among the objects of the image
    area: NDArray[np.float64]
    true_area: NDArray[np.float64]


def _errors_of_image(found: Boxes, truth: Boxes, rules: Rules, background: float) -> _ImageErrors:
    iou = overlap_of(found, truth, rules.rule)(np.arange(len(found.boxes)), np.arange(len(truth.boxes)))
    matched = match_image(found, truth, rules, lambda rows, columns: iou[np.ix_(rows, columns)])
    match, min_iou = matched.match[0], rules.min_ious[0]
    areas = areas_of(found.form, found.boxes), areas_of(truth.form, truth.boxes)
    counted = np.flatnonzero(~matched.true_ignored)
    target = np.full(len(match), NOTHING, np.int64)
    if not len(counted):
        return _ImageErrors(matched, np.where(match == NOTHING, _BACKGROUND, NOTHING), target, *areas)
    iou = iou[:, counted]
    same = matched.label[:, None] == matched.true_label[counted]
    own, other = iou * same, iou * ~same
    badly_placed = (own.max(1) >= background) & (own.max(1) <= min_iou)
    conditions = [
        (match != NOTHING, NOTHING),
        (badly_placed, _LOCALISATION),
        (other.max(1) >= min_iou, _CLASSIFICATION),
        (own.max(1) >= min_iou, _DUPLICATE),  # another one hits that object, or this one would
        (iou.max(1) <= background, _BACKGROUND),
    ]
    kind = np.select([condition for condition, _ in conditions], [number for _, number in conditions], _BOTH)
    for number, overlap in ((_LOCALISATION, own), (_CLASSIFICATION, other)):
        target[kind == number] = counted[overlap.argmax(1)][kind == number]
    return _ImageErrors(matched, kind, target, *areas)


def _best_of_each(target: NDArray[np.int64], score: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each detection has the best score of those with its target; the first, if several are equal."""
    order = np.argsort(-score, kind="stable")
    order = order[target[order] >= 0]
    _, first = np.unique(target[order], return_index=True)
    best = np.zeros(len(target), bool)
    best[order[first]] = True
    return best


def error_rows(errors: Errors, mode: str = "coco", sizes: str = "coco") -> Rows[ErrorRow]:
    """Return what each type of errors costs, for all sizes and for each bin of sizes.

    >>> found, truth = Boxes("xyxy", [[0, 0, 8, 8]], [1], [0.9]), Boxes("xyxy", [[0, 0, 8, 9]], [0])
    >>> error_rows(find_errors([(found, truth)]))[0]
    ErrorRow(error='classification', size='all', number=1, loss=1.0)

    mode: how average precision is computed, one of `featscope.analysis.evaluation.MODES`. sizes: 'coco' or 'soda', the
    bins of `featscope.analysis.sizes`, or '' for none. A loss below zero counts as zero: mending can lower the
    precision between two of the points at which it is read.
    """
    check_name("set of size bins", sizes, SIZES, "'coco', 'soda' or ''")
    names, bins = SIZES[sizes]
    size, true_size = np.array(bins(errors.area)), np.array([*bins(errors.true_area), ""])  # the last has no object
    of_error = np.where(errors.target >= 0, true_size[errors.target], size)
    before = mean_average_precision(errors, mode)
    rows: List[ErrorRow] = []
    for name in ("all", *names):
        for number, kind in enumerate(KINDS):
            mended, dropped = errors.kind == number, errors.missed & (number == _MISSED)
            if name != "all":
                mended, dropped = mended & (of_error == name), dropped & (true_size[:-1] == name)
            after = mean_average_precision(errors, mode, mended, dropped)
            rows.append(ErrorRow(kind, name, int(mended.sum() + dropped.sum()), max(after - before, 0.0)))
    return Rows(ErrorRow._fields, rows)


def mean_average_precision(
    errors: Errors,
    mode: str = "coco",
    mended: Optional[NDArray[np.bool_]] = None,
    dropped: Optional[NDArray[np.bool_]] = None,
) -> float:
    """Return the mean average precision after some errors are mended; NaN if there is no object.

    mended: (n,) detections whose errors are mended. dropped: (m,) objects that are no longer counted. A class whose
    objects are all dropped counts as 0 if it still has detections, and is left out of the mean if not.
    """
    made = errors.evaluation
    mended = np.zeros(len(made.label), bool) if mended is None else mended
    label = np.where(mended & errors.mends, np.append(made.true_label, NOTHING)[errors.target], made.label)
    hit = (made.match >= 0) | (mended & errors.mends)
    stays = (made.match != IGNORED) & (~mended | errors.mends)
    counted = ~made.true_ignored
    left = counted if dropped is None else counted & ~dropped
    found: List[float] = []
    for one in np.unique(made.true_label[counted]):
        objects, its = int((made.true_label[left] == one).sum()), stays & (label == one)
        if objects:
            found.append(average_precision(precision_recall(made.score[its], hit[its], objects), mode))
        elif its.any():
            found.append(0.0)
    return float(np.mean(found)) if found else float("nan")

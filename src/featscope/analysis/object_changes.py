"""Objects that one of two runs gained or lost, and how sure a difference between the runs is."""

from __future__ import annotations

from math import comb, erfc, sqrt
from typing import Iterator, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.misses import Misses
from featscope.analysis.sizes import SODA, soda_bins
from featscope.arrays.boxes import areas_of, corners_of
from featscope.arrays.ranking import interval_over_images
from featscope.records import Boxes, class_name

GAINED, LOST, MISSED = "gained", "lost", "missed by both"

Key = Tuple[str, int]
"""A sample, and a place in its ground truth."""


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


class TrueObject(NamedTuple):
    """A true box that counts."""

    key: Key
    label: str
    x: float
    y: float
    size: float
    size_bin: str


def counted_objects(found: Misses, truth: Mapping[str, Boxes], classes: Sequence[str]) -> List[TrueObject]:
    """Return the objects that count, in order. found: of either run."""
    counting = {*found.found, *((row.sample, row.number) for row in found.rows)}
    objects = []
    for name, boxes in truth.items():
        if not boxes.boxes:
            continue
        centres, areas = corners_of(boxes.form, boxes.boxes).mean(1), areas_of(boxes.form, boxes.boxes)
        for number, (label, centre, area, size_bin) in enumerate(zip(boxes.labels, centres, areas, soda_bins(areas))):
            if (name, number) in counting:
                x, y = (float(one) for one in centre)
                own = class_name(classes, label)
                objects.append(TrueObject((name, number), own, x=x, y=y, size=float(np.sqrt(area)), size_bin=size_bin))
    return objects


def object_changes(
    objects: Sequence[TrueObject], hits: Sequence[NDArray[np.bool_]], found: Sequence[Misses]
) -> Iterator[ObjectChange]:
    lost = [{(row.sample, row.number): (row.stage, row.verdict) for row in side.rows} for side in found]
    for one, in_a, in_b in zip(objects, *hits):
        if in_a and in_b:
            continue
        a, b = (side.get(one.key, ("", "")) for side in lost)
        change = GAINED if in_b else LOST if in_a else MISSED
        yield ObjectChange(*one.key, *one[1:], change, *a, *b)  # type: ignore[call-arg]


def group_changes(
    objects: Sequence[TrueObject], in_a: NDArray[np.bool_], in_b: NDArray[np.bool_]
) -> Iterator[GroupChange]:
    images = np.unique([one.key[0] for one in objects], return_inverse=True)[1]
    names = sorted({(one.label, one.size_bin) for one in objects}, key=lambda name: (name[0], SODA.index(name[1])))
    members = [(*name, np.array([one[1] == name[0] and one.size_bin == name[1] for one in objects])) for name in names]
    members.append(("all", "all", np.ones(len(objects), bool)))
    for label, size_bin, mine in members:
        gained, lost = mine & in_b & ~in_a, mine & in_a & ~in_b
        net = gained.astype(float) - lost
        low, high = interval_over_images(lambda weights, net=net: float((weights * net).sum()), images)  # type: ignore[misc]
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
        return erfc(max(0.0, abs(gained - lost) - 1) / sqrt(2 * total))
    return min(1.0, 2 * sum(comb(total, k) for k in range(fewer + 1)) / 2**total)

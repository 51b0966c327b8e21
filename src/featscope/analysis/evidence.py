"""What the features hold of objects that were missed, layer by layer and level by level.

The energy of a map does not tell found objects from missed ones. Two numbers do so in part, and each comes with the
area under its ROC curve (AUC), the numbers of members, an interval by a bootstrap over images, and sizes held equal:

- Likeness: the cosine between an object's pooled features and the mean of the found objects of its class and of like
  size, both less the mean of the background. Its own image is left out of both means. Like size: at most twice as long
  or as short.
- Probe: a linear discriminant (ridge, closed form) between the found objects of all classes and the background, fitted
  without the fold of the object's image.

The background are boxes of the sizes, shapes and angles of the objects at places without objects, so size is held equal
by construction. A level is reliable if the probe, or the likeness where there are too few objects for a probe, has a
lower end of its interval of at least 0.7. An object stands out in a level if its number exceeds that of 95 % of the
background of like size. A layer of k levels in which an object can be seen gives chance k tries, so the layer has the
object if in one of them it exceeds 1 - 0.05 / k. That it does not have the object is said only of a layer that has at
least 80 % of the found objects by the same test; otherwise nothing is said of it. Levels in which an object covers less
than one cell are below resolution and get no number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.object_scores import FEWEST, LIKE, BoxesOnMap, Floats, likeness_to_class, probe_values
from featscope.analysis.objects import ImageObjects, MapName
from featscope.analysis.sizes import SODA, soda_bins
from featscope.arrays.image_boxes import BACKGROUND, TRUTH
from featscope.arrays.ranking import Separation, separation
from featscope.store.tables import Rows

ABSENT = "absent at every level"
LOST_BY_HEAD = "present, the head lost it"
SEEN_BY_HEAD = "seen by the head"
"""The features do not tell, but a candidate that fits scores enough (`featscope.analysis.misses`)."""
BELOW_RESOLUTION = "below resolution"
UNDECIDED = "undecided"
LOST_IN = "lost in "
"""Followed by the name of the first layer that no longer has it."""

_PRESENT = 0.95  # the share of the background that an object must exceed
_RELIABLE = 0.7
_SENSITIVE = 0.8  # the share of the found objects that a layer must have before it may be said to lack one
_STEP = 0.5  # octaves of a bin of sizes

Found = Mapping[Tuple[str, int], bool]
"""(sample, place in the ground truth) -> whether the object was found. Objects that do not count are not in it."""


class Quality(NamedTuple):
    """How well the numbers of one level tell things apart."""

    layer: str
    field: str
    level: int
    objects: int
    """Objects that cover at least one cell."""
    likeness: Separation
    """Found objects against background."""
    probe: Separation
    """Found objects against background, each by a probe that has not seen its image."""
    found: Separation
    """Found objects against missed ones of like size, by likeness."""
    energy: Separation
    """Found objects against missed ones of like size, by energy against the ring."""
    reliable: bool


class Evidence(NamedTuple):
    """What one level holds of one missed object."""

    sample: str
    number: int
    layer: str
    field: str
    level: int
    cells: float
    """Area of the object in cells. Below 1 there are no other numbers."""
    likeness: Optional[float]
    probe: Optional[float]
    """Share of the background that has a lower value of the probe."""
    ratio: Optional[float]
    """Energy inside divided by that of the ring."""
    present: Optional[bool]
    """Whether it stands out from 95 % of the background; None where the level is not reliable."""
    rank: Optional[float]
    """Share of the background of like size that it exceeds, by the number that the level is judged by; None where the
    level is not reliable."""


class Seen(NamedTuple):
    """How many objects of one size stand out from the background in one level."""

    layer: str
    field: str
    level: int
    size_bin: str
    state: str
    """'found' or 'missed'."""
    objects: int
    resolved: int
    """Objects that cover at least one cell."""
    known: int
    """Objects of which it can be said; none if the level is not reliable."""
    present: int
    """Objects that exceed 95 % of the background of like size."""


@dataclass(frozen=True)
class Findings:
    """The evidence of a run: rows for each missed object and level, and how far each level can be believed."""

    verdicts: Mapping[Tuple[str, int], str]
    """(sample, place in the ground truth) -> verdict, of each object that was missed."""

    rows: Rows[Evidence]
    levels: Rows[Quality]
    seen: Rows[Seen]

    sensitivity: Mapping[str, float]
    """Share of the found objects that each layer has by the same test. A layer that lacks many of them is never said
    to lack a missed one. Layers that are not reliable are left out."""

    def worth(self) -> List[str]:
        """Say in a line for each layer how far the test of its features can be believed."""
        said = []
        for layer in dict.fromkeys(row.layer for row in self.levels):
            share = self.sensitivity.get(layer)
            worth = "no level tells found objects from background reliably, so nothing is said of it"
            if share is not None:
                few = ", too few to say that a missed one is absent" if share < _SENSITIVE else ""
                worth = f"this test sees {100 * share:.0f} % of the found objects{few}"
            said.append(f"features of {layer or 'the output'}: {worth}")
        return said


def find_evidence(images: Iterable[ImageObjects], found: Found) -> Findings:
    """Say of each missed object in which layers its features are.

    >>> from featscope.analysis.objects import walk_objects
    >>> find_evidence(walk_objects("runs/fpn", background=True), {("harbour", 0): True, ("harbour", 1): False}).verdicts
    {('harbour', 1): 'below resolution'}

    images: as `walk_objects` gives them with `background=True`, with the maps of feature layers in the order of the
    network. Memory: the pooled features of all objects.
    """
    levels = _collect(images, found)
    judged = [_judge(name, level) for name, level in levels.items()]
    rows = [row for one in judged for row in one.rows]
    qualities = [one.quality for one in judged]
    missed = [key for key, hit in found.items() if not hit]
    sensitivity = _sensitivity(levels, judged)
    seen = [row for one in judged for row in one.seen]
    return Findings(
        _verdicts(missed, rows, sensitivity),
        Rows(Evidence._fields, rows),
        levels=Rows(Quality._fields, qualities),
        seen=Rows(Seen._fields, seen),
        sensitivity=sensitivity,
    )


def _sensitivity(levels: Mapping[MapName, BoxesOnMap], judged: Sequence[_Judged]) -> Dict[str, float]:
    """Return the share of the found objects that each reliable layer has, in the order of the network."""
    ranks: Dict[str, Dict[Tuple[str, int], List[float]]] = {}
    for (name, level), one in zip(levels.items(), judged):
        for place in np.flatnonzero((level.found == 1) & np.isfinite(one.ranks)):
            ranks.setdefault(name.layer, {}).setdefault(level.keys[place], []).append(float(one.ranks[place]))
    return {layer: sum(map(_stands_out, some.values())) / len(some) for layer, some in ranks.items()}


def _stands_out(ranks: Sequence[float]) -> bool:
    """Whether a layer has an object. ranks: share of the background that it exceeds in each level.

    >>> _stands_out([0.96]), _stands_out([0.96, 0.2, 0.3]), _stands_out([0.99, 0.2, 0.3])
    (True, False, True)
    """
    return max(ranks) >= 1 - (1 - _PRESENT) / len(ranks)


def _collect(images: Iterable[ImageObjects], found: Found) -> Dict[MapName, BoxesOnMap]:
    parts: Dict[MapName, List[BoxesOnMap]] = {}
    for number, image in enumerate(images):
        boxes = image.boxes
        truth, beside = boxes.rows(TRUTH), boxes.rows(BACKGROUND)
        places = np.r_[truth.start : truth.stop, beside.start : beside.stop]
        if not len(places):
            continue
        keys = [(image.sample.id, place) for place in range(boxes.counts[0])]
        states = [-1 if key not in found else int(found[key]) for key in keys]
        state = np.array(states + [-1] * boxes.counts[2], np.int8)
        sizes = np.floor(np.log2(np.maximum(boxes.input_areas()[places], 1e-9)) / 2 / _STEP).astype(np.int64)
        for name, pooled in image.maps.items():
            parts.setdefault(name, []).append(
                BoxesOnMap(
                    np.full(len(places), number),
                    boxes.labels[places],
                    found=state,
                    sizes=sizes,
                    areas=boxes.areas[places],
                    cells=pooled.cells[places],
                    ratio=pooled.ratio[places],
                    features=pooled.features[places],
                    keys=[*keys, *[("", -1)] * boxes.counts[2]],
                )
            )
    return {name: _joined(some) for name, some in parts.items()}


def _joined(parts: Sequence[BoxesOnMap]) -> BoxesOnMap:
    return BoxesOnMap(
        np.concatenate([one.images for one in parts]),
        np.concatenate([one.labels for one in parts]),
        found=np.concatenate([one.found for one in parts]),
        sizes=np.concatenate([one.sizes for one in parts]),
        areas=np.concatenate([one.areas for one in parts]),
        cells=np.concatenate([one.cells for one in parts]),
        ratio=np.concatenate([one.ratio for one in parts]),
        features=np.concatenate([one.features for one in parts]),
        keys=[key for one in parts for key in one.keys],
    )


def _judge(name: MapName, level: BoxesOnMap) -> _Judged:
    """Compute the numbers of one level, and what they are worth."""
    resolved = (level.cells >= 1) & np.isfinite(level.features).all(1)
    likeness = np.where(resolved, likeness_to_class(level, resolved), np.nan)
    probe = np.where(resolved, probe_values(level, resolved), np.nan)
    background = level.labels < 0
    against = (level.found == 1) | background
    like = _separated(likeness, against, level.found == 1, level)
    probed = _separated(probe, against, level.found == 1, level)
    known = level.found >= 0
    by_size = _separated(likeness, known, level.found == 1, level, equal_size=True)
    energy = _separated(np.where(resolved, level.ratio, np.nan), known, level.found == 1, level, equal_size=True)
    best, values = (probed, probe) if np.isfinite(probed.low) else (like, likeness)
    reliable = bool(best.low >= _RELIABLE)
    quality = Quality(
        *name,
        objects=int((resolved & ~background).sum()),
        likeness=like,
        probe=probed,
        found=by_size,
        energy=energy,
        reliable=reliable,
    )
    ranks, probe_ranks = (_ranks(some, background & resolved, level.sizes) for some in (values, probe))
    if not reliable:
        ranks = np.full(len(ranks), np.nan)
    rows = []
    for place in np.flatnonzero(level.found == 0):
        small = not resolved[place]
        rows.append(
            Evidence(
                *level.keys[place],
                layer=name.layer,
                field=name.field,
                level=name.level,
                cells=float(level.cells[place]),
                likeness=None if small else _number(likeness[place]),
                probe=None if small else _number(probe_ranks[place]),
                ratio=None if small else _number(level.ratio[place]),
                present=bool(ranks[place] >= _PRESENT) if np.isfinite(ranks[place]) else None,
                rank=_number(ranks[place]),
            )
        )
    return _Judged(quality, rows, list(_seen(name, level, ranks)), ranks)


class _Judged(NamedTuple):
    quality: Quality
    rows: List[Evidence]
    seen: List[Seen]
    ranks: Floats  # share of the background that each box exceeds; NaN where that is not reliable


def _seen(name: MapName, level: BoxesOnMap, ranks: Floats) -> Iterator[Seen]:
    """Count the objects of each size that stand out, those that were found and those that were missed."""
    bins = np.array(soda_bins(level.areas))
    for size_bin in SODA:
        for state, word in ((1, "found"), (0, "missed")):
            mine = (bins == size_bin) & (level.found == state)
            if mine.any():
                yield Seen(
                    *name,
                    size_bin=size_bin,
                    state=word,
                    objects=int(mine.sum()),
                    resolved=int((level.cells[mine] >= 1).sum()),
                    known=int(np.isfinite(ranks[mine]).sum()),
                    present=int((ranks[mine] >= _PRESENT).sum()),
                )


def _number(value: float) -> Optional[float]:
    return float(value) if np.isfinite(value) else None


def _separated(
    values: Floats, members: NDArray[np.bool_], first: NDArray[np.bool_], level: BoxesOnMap, equal_size: bool = False
) -> Separation:
    strata = level.sizes[members] // LIKE if equal_size else None
    return separation(values[members], first[members], level.images[members], strata)


def _ranks(values: Floats, background: NDArray[np.bool_], sizes: NDArray[np.int64]) -> Floats:
    """Return for each value the share of the background of like size below it; NaN if there is too little of it."""
    ranks = np.full(len(values), np.nan)
    for size in np.unique(sizes):
        like = np.sort(values[background & (np.abs(sizes - size) <= LIKE) & np.isfinite(values)])
        mine = (sizes == size) & np.isfinite(values)
        if len(like) >= FEWEST:
            ranks[mine] = np.searchsorted(like, values[mine]) / len(like)
    return ranks


def _verdicts(
    missed: Sequence[Tuple[str, int]], rows: Sequence[Evidence], sensitivity: Mapping[str, float]
) -> Dict[Tuple[str, int], str]:
    of_object: Dict[Tuple[str, int], Dict[str, List[Evidence]]] = {}
    for row in rows:
        of_object.setdefault((row.sample, row.number), {}).setdefault(row.layer, []).append(row)
    return {key: _verdict(of_object.get(key, {}), sensitivity) for key in missed}


def _verdict(levels: Mapping[str, Sequence[Evidence]], sensitivity: Mapping[str, float]) -> str:
    """Decide from the layers, in the order of the network, where the features of an object end."""
    cells = [one.cells for some in levels.values() for one in some]
    if cells and 0 < max(cells) < 1:  # an object outside of all maps has no cell at all
        return BELOW_RESOLUTION
    has: Dict[str, Optional[bool]] = {}
    for layer, share in sensitivity.items():
        ranks = [one.rank for one in levels.get(layer, ()) if one.rank is not None]
        if ranks:
            has[layer] = True if _stands_out(ranks) else False if share >= _SENSITIVE else None
    states = list(has.items())
    if not states or states[-1][1] is None:
        return UNDECIDED
    if states[-1][1]:
        return LOST_BY_HEAD
    last = max((place for place, (_, state) in enumerate(states) if state), default=-1)
    if last < 0:
        return ABSENT if all(state is False for _, state in states) else UNDECIDED
    return f"{LOST_IN}{next(layer for layer, state in states[last + 1 :] if state is False)}"

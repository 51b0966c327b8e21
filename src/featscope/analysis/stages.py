"""At which stage of its head a detector loses an object, by all its candidates.

A candidate is what the head would emit at threshold 0. It reaches an object if its box overlaps the object's by the
IoU of the operating point, and it passes if its score for the object's class is at least that of the operating point.
The first rule that holds decides:

0. `NO_CLASS`: the object's class is none of the detector's.
1. No candidate of any class reaches the object. Then `NOTHING_COULD` if no prior point of any level lies in the
   object's box; `BADLY_BOXED` if a candidate that passes overlaps it by 0.1 or more; otherwise `NO_BOX`.
2. Candidates that reach it pass. The furthest stage that any of them came to decides: `TAKEN` (it is a detection, but
   counts for another object), `OVER` (over the maximum per image), `SUPPRESSED`, `CUT` (by `nms_pre` or a like limit),
   `BELOW` (under the detector's own threshold). The candidate with the highest IoU would be the wrong one to ask: that
   of an object that is found is itself suppressed in a third to three quarters of the cases.
3. A candidate that reaches it has another class above the score of the operating point: `OTHER_CLASS`.
4. `LOW_SCORE` if the best score for its class is among the highest 1 % of this class in the background of the image,
   otherwise `BACKGROUND`. This rule does not depend on the threshold. The background are the candidates whose centres
   lie in no enclosing rectangle of an object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.points import ABOUT
from featscope.arrays import selecting
from featscope.arrays.backgrounds import away_from
from featscope.arrays.boxes import corners_of, iou_of
from featscope.arrays.candidates import ImageCandidates
from featscope.arrays.frames import axes_of
from featscope.arrays.overlaps import meets_lattice
from featscope.arrays.selecting import Outcome
from featscope.records import Boxes, Geometry

NO_CLASS = "a class that the detector lacks"
NOTHING_COULD = "nothing could"
NO_BOX = "no box at all"
BADLY_BOXED = "seen, badly boxed"
BACKGROUND = "background"
LOW_SCORE = "low score"
OTHER_CLASS = "other class"
BELOW = "below the detector's threshold"
CUT = "cut before suppression"
SUPPRESSED = "suppressed"
OVER = "over the maximum"
TAKEN = "counted for another object"

STAGES = (
    NO_CLASS,
    NOTHING_COULD,
    NO_BOX,
    BADLY_BOXED,
    BACKGROUND,
    LOW_SCORE,
    OTHER_CLASS,
    BELOW,
    CUT,
    SUPPRESSED,
    OVER,
    TAKEN,
)
"""All stages, from the earliest to the last."""

WORSE_BOX = "a worse box on the same object"
NEIGHBOUR = "a neighbour's box"
FALSE_ALARM = "a false alarm"

_RARE = 0.99  # the share of the background that has lower scores
_OBJECTS_AT_ONCE = 128

Floats = NDArray[np.floating]


class Suppressor(NamedTuple):
    """The detection that suppressed the candidate of an object."""

    what: str
    """`WORSE_BOX`, `NEIGHBOUR` or `FALSE_ALARM`."""

    label: int
    """Its class."""

    box: Tuple[float, ...]
    """In the form of the candidates."""

    score: float
    """Its score."""

    iou: float
    """Its overlap with the object."""

    overlap: float
    """Its overlap with the candidate that it suppressed."""


class Deciding(NamedTuple):
    """The candidate that decided where an object was lost."""

    level: int
    place: int
    """Its index in the level."""

    label: int
    """The class that it was looked at with: the object's, or for `OTHER_CLASS` the one that is above the score."""

    score: float
    """Its score for that class."""

    box: Tuple[float, ...]
    """In the form of the candidates."""


class LevelSeen(NamedTuple):
    """What the candidates of one level give for an object."""

    level: int
    iou: float
    """The highest overlap of a candidate's box with the object."""

    score: float
    """The highest score for its class among the candidates that reach it; NaN if none does."""


@dataclass(frozen=True)
class Loss:
    """Where the head lost one object."""

    stage: str
    """One of `STAGES`."""

    score: float
    """The highest score for the object's class among the candidates that reach it, or that are about it at all where
    none reaches it; NaN if there is none."""

    iou: float
    """Overlap of the candidate that decided with the object; the highest of any candidate if none reaches it."""

    deciding: Optional[Deciding] = None
    """None if no candidate is about the object."""

    suppressor: Optional[Suppressor] = None

    reaching: int = 0
    """Number of candidates that reach the object."""

    passing: int = 0
    """Number of those that pass."""

    stages: Tuple[Tuple[str, int], ...] = ()
    """How many of those that pass came to which stage."""

    levels: Tuple[LevelSeen, ...] = ()


class Head:
    """The candidates of one image, joined over its levels, and how far each came."""

    def __init__(
        self, candidates: ImageCandidates, outcome: Outcome, truth: Boxes, geometry: Optional[Geometry]
    ) -> None:
        self._truth, self._form, self._geometry, self._outcome = truth, candidates.form, geometry, outcome
        levels = candidates.levels
        self._grids = [level.grid for level in levels]
        self._starts = np.cumsum([0, *(len(level.scores) for level in levels)])
        self._scores: Floats = np.concatenate([level.scores for level in levels])
        boxes = np.concatenate([level.boxes for level in levels])
        self._boxes: Floats = boxes if boxes.ndim == 3 else boxes[:, None]  # (n, 1 or classes, numbers)
        chosen = candidates.selection
        self._emitted = self._scores.argmax(1) if chosen is not None and chosen.labels == "best" else None
        keys = self._key(self._starts[outcome.level] + outcome.index, outcome.label)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._rare: Dict[int, float] = {}

    def losses(self, missed: Sequence[int], score: float, min_iou: float) -> List[Loss]:
        """Say of each missed object, by its place in the ground truth, where the head lost it.

        score, min_iou: the operating point.
        """
        found: List[Loss] = []
        step = max(1, _OBJECTS_AT_ONCE // self._boxes.shape[1])
        for start in range(0, len(missed), step):
            some = list(missed[start : start + step])
            truth = [self._truth.boxes[number] for number in some]
            flat = self._boxes.reshape(-1, self._boxes.shape[-1])
            overlaps = iou_of(self._form, flat, self._truth.form, truth).reshape(*self._boxes.shape[:2], -1)
            found += [self._loss(number, overlaps[..., place], score, min_iou) for place, number in enumerate(some)]
        return found

    def _loss(self, number: int, iou: Floats, score: float, min_iou: float) -> Loss:
        """Apply the rules to one object. iou: of every candidate with it, (n, 1 or classes)."""
        label = self._truth.labels[number]
        if label >= self._scores.shape[1]:
            return Loss(NO_CLASS, np.nan, float(iou.max(initial=0.0)))
        own = iou[:, min(label, iou.shape[1] - 1)]
        scores = self._scores[:, label]
        reaching = np.flatnonzero(own >= min_iou)
        levels = self._levels_seen(own, scores, min_iou)
        if not (iou >= min_iou).any():
            return self._without_box(number, own, score, levels)
        passing = reaching[(scores[reaching] >= score) & self._emits(reaching, label)]
        if len(passing):
            return self._furthest(number, own, passing, len(reaching), levels)
        best = int(reaching[scores[reaching].argmax()]) if len(reaching) else None
        seen = float(scores[best]) if best is not None else np.nan
        others = np.where(iou >= min_iou, self._scores, -np.inf)
        others[:, label] = -np.inf
        place, other = (int(one) for one in np.unravel_index(int(others.argmax()), others.shape))
        if others[place, other] >= score:
            near = float(iou[place, min(other, iou.shape[1] - 1)])
            deciding = self._candidate(place, other)
            return Loss(OTHER_CLASS, seen, near, deciding, reaching=len(reaching), levels=levels)
        stage = LOW_SCORE if seen > self._rare_score(label) else BACKGROUND
        near = float(own[best]) if best is not None else float(iou.max())
        return Loss(stage, seen, near, self._candidate(best, label), reaching=len(reaching), levels=levels)

    def _without_box(self, number: int, own: Floats, score: float, levels: Tuple[LevelSeen, ...]) -> Loss:
        """Say why no candidate reaches an object."""
        label = self._truth.labels[number]
        about = np.flatnonzero(own >= ABOUT)
        scores = self._scores[about, label]
        best = int(about[scores.argmax()]) if len(about) else None
        if not self._a_prior_lies_in(number):
            stage = NOTHING_COULD
        else:
            seen = bool((scores[self._emits(about, label)] >= score).any())
            stage = BADLY_BOXED if seen else NO_BOX
        highest = float(scores.max()) if len(about) else np.nan
        return Loss(stage, highest, float(own.max(initial=0.0)), self._candidate(best, label), levels=levels)

    def _furthest(
        self, number: int, own: Floats, passing: NDArray[np.int64], reaching: int, levels: Tuple[LevelSeen, ...]
    ) -> Loss:
        """Find the candidate that came furthest, of equal ones that with the highest score."""
        label = self._truth.labels[number]
        places = self._places(passing, label)
        far = np.append(self._outcome.stage, -1)[places]  # -1 where the pair is not in the outcome
        scores = self._scores[passing, label]
        deciding = int(np.lexsort((scores, far))[-1])
        names = [BELOW if one < 0 else _NAMES[int(one)] for one in far]
        suppressor = None
        if names[deciding] == SUPPRESSED:
            suppressor = self._suppressor(int(places[deciding]), number)
        return Loss(
            names[deciding],
            score=float(scores.max()),
            iou=float(own[passing[deciding]]),
            deciding=self._candidate(int(passing[deciding]), label),
            suppressor=suppressor,
            reaching=reaching,
            passing=len(passing),
            stages=tuple((name, names.count(name)) for name in STAGES if name in names),
            levels=levels,
        )

    def _suppressor(self, place: int, number: int) -> Suppressor:
        """Describe the box that suppressed a candidate of an object."""
        by = int(self._outcome.by[place])
        box = self._outcome.box[by][None]
        with_truth = iou_of(self._form, box, self._truth.form, self._truth.boxes)[0]
        nearest = int(with_truth.argmax())
        overlap = float(iou_of(self._form, box, self._form, self._outcome.box[place][None])[0, 0])
        what = FALSE_ALARM if with_truth[nearest] < ABOUT else WORSE_BOX if nearest == number else NEIGHBOUR
        return Suppressor(
            what,
            label=int(self._outcome.label[by]),
            box=tuple(self._outcome.box[by].tolist()),
            score=float(self._outcome.score[by]),
            iou=float(with_truth[number]),
            overlap=overlap,
        )

    def _levels_seen(self, own: Floats, scores: Floats, min_iou: float) -> Tuple[LevelSeen, ...]:
        found = []
        for level, (start, end) in enumerate(zip(self._starts, self._starts[1:])):
            if end > start:
                reaching = scores[start:end][own[start:end] >= min_iou]
                found.append(LevelSeen(level, float(own[start:end].max()), float(reaching.max(initial=-np.inf))))
        return tuple(one if np.isfinite(one.score) else one._replace(score=np.nan) for one in found)

    def _a_prior_lies_in(self, number: int) -> bool:
        """Whether a prior point may lie in an object's box; true where the points are unknown.

        Heads put the point of a cell at its corner or in its middle. Only where neither lies in the box, none does.
        """
        if self._geometry is None or any(grid is None for grid in self._grids):
            return True
        rows, columns = axes_of(self._geometry)
        corners = corners_of(self._truth.form, [self._truth.boxes[number]])[0]
        x, y = columns.scale * corners[:, 0] + columns.start, rows.scale * corners[:, 1] + rows.start
        sizes = self._geometry.padded
        return any(
            grid is not None and meets_lattice(x, y, (2 * grid[1], 2 * grid[0]), (sizes[1], sizes[0]))
            for grid in self._grids
        )

    def _rare_score(self, label: int) -> float:
        """Return the score that 1 % of the candidates in the background exceed; infinity without background."""
        if label not in self._rare:
            boxes = self._boxes[:, min(label, self._boxes.shape[1] - 1)]
            objects, centres = corners_of(self._truth.form, self._truth.boxes), corners_of(self._form, boxes).mean(1)
            scores = self._scores[away_from(objects, centres), label]
            self._rare[label] = float(np.quantile(scores, _RARE)) if len(scores) else np.inf
        return self._rare[label]

    def _emits(self, candidates: NDArray[np.int64], label: int) -> NDArray[np.bool_]:
        """Whether the head emits each candidate with this class: with all, or with its best class only."""
        if self._emitted is None:
            return np.ones(len(candidates), bool)
        return np.asarray(self._emitted[candidates] == label)

    def _places(self, candidates: NDArray[np.int64], label: int) -> NDArray[np.int64]:
        """Return the places of candidates with a class in the outcome; -1 where they are not in it."""
        keys = self._key(candidates, np.full(len(candidates), label))
        at = np.searchsorted(self._keys, keys)
        known = np.append(self._keys, -1)[at] == keys
        return np.where(known, np.append(self._order, -1)[at], -1)

    def _key(self, candidates: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
        return candidates * self._scores.shape[1] + labels

    def _candidate(self, candidate: Optional[int], label: int) -> Optional[Deciding]:
        if candidate is None:
            return None
        level = int(np.searchsorted(self._starts, candidate, "right")) - 1
        return Deciding(
            level,
            candidate - int(self._starts[level]),
            label=label,
            score=float(self._scores[candidate, label]),
            box=tuple(self._boxes[candidate, min(label, self._boxes.shape[1] - 1)].tolist()),
        )


_NAMES = {selecting.CUT: CUT, selecting.SUPPRESSED: SUPPRESSED, selecting.OVER: OVER, selecting.KEPT: TAKEN}

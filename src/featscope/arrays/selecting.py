"""Select detections from all candidates of an image, as the detector does, and tell how far every other one came.

The steps are the fields of `featscope.records.Selection`, in their order. How frameworks differ in them was read in
their code (MMDetection 3.5 with MMCV 2.3, torchvision 0.28, Ultralytics 8.4, transformers 5):

- Threshold: all use `>`; only MMDetection's YOLOX uses `>=`. Numbers are compared as float32, as torch does.
- Best of a level: MMDetection and torchvision's RetinaNet and FCOS count pairs; an end-to-end head of Ultralytics
  counts candidates, over all levels.
- Classes: MMDetection's YOLOX and Ultralytics' predictor keep only the best class of a candidate.
- Overlap: all use `>`; only MMCV's kernel for rotated boxes uses `>=`, on a CPU.
- Equal scores: here the first candidate is better. torch's `sort` and `topk` promise no order, so detectors with many
  equal scores, such as untrained ones, may choose others.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.candidates import ImageCandidates, LevelCandidates
from featscope.arrays.suppressing import Sorted, suppressors
from featscope.errors import BadRunError
from featscope.records import Selection

CUT, SUPPRESSED, OVER, KEPT = 0, 1, 2, 3
"""How far a pair came: cut before suppression (not among the best, or too small), suppressed by a better box, over the
maximum number of detections, or kept as a detection."""

_NUMBERS = {"xyxy": 4, "cxcywha": 5, "quad": 8}


class Outcome(NamedTuple):
    """What became of each pair of a candidate and a class whose score passes the threshold, best first."""

    level: NDArray[np.int64]
    """Level of the candidate, (n,)."""

    index: NDArray[np.int64]  # type: ignore[assignment]
    """Index of the candidate in its level, (n,)."""

    label: NDArray[np.int64]
    """Class, (n,)."""

    score: NDArray[np.float64]
    """(n,), falling."""

    box: NDArray[np.float64]
    """(n, 4, 5 or 8), in pixels of the original image."""

    stage: NDArray[np.int8]
    """How far the pair came, (n,): `CUT`, `SUPPRESSED`, `OVER` or `KEPT`, in rising order."""

    by: NDArray[np.int64]
    """Place in this outcome of the pair that suppressed it, (n,); -1 for pairs that were not suppressed."""


def select(candidates: ImageCandidates, selection: Optional[Selection] = None) -> Outcome:
    """Select the detections of an image from all its candidates.

    >>> level = LevelCandidates(np.array([[0.9], [0.8], [0.1]], np.float32), np.array([[0, 0, 4, 4]] * 3), "cell")
    >>> how = Selection(threshold=0.3, suppression="upright", overlap=0.5)
    >>> found = select(ImageCandidates((level,), "xyxy", how))
    >>> found.index.tolist(), found.stage.tolist(), found.by.tolist()
    ([0, 1], [3, 1], [-1, 0])

    selection: how to select; by default as the detector did. Raises `BadRunError` if that is not known.
    """
    how = candidates.selection if selection is None else selection
    if how is None:
        raise BadRunError(
            "how the detector selects its detections from its candidates is not known"
            f"{f': {candidates.unknown}' if candidates.unknown else ''}; give a featscope.records.Selection"
        )
    pairs = _pairs(candidates, how)
    alive = np.ones(len(pairs.rank), bool)
    _keep_best_of_levels(pairs, how, alive)
    if how.per_class:
        for label in np.unique(pairs.label):
            _keep_best(pairs.rank, alive & (pairs.label == label), how.per_class, alive)
    if how.smallest > 0:
        alive &= _shortest_sides(candidates.form, pairs.compared) >= how.smallest
    if how.total and how.ranked_by == "pair":
        _keep_best(pairs.score, alive.copy(), how.total, alive)
    elif how.total:
        _keep_candidates(pairs, how.total, alive)
    return _suppressed(candidates.form, pairs, how, alive)


class _Pairs(NamedTuple):
    """Pairs of a candidate and a class, by level, then candidate, then class."""

    level: NDArray[np.int64]
    candidate: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float32]
    rank: NDArray[np.float32]
    box: NDArray[np.float64]
    compared: NDArray[np.floating]


def _pairs(candidates: ImageCandidates, how: Selection) -> _Pairs:
    """Return the pairs that pass the threshold."""
    found = [_pairs_of(number, level, how) for number, level in enumerate(candidates.levels)]
    if not found:
        none, boxes = np.zeros(0, np.int64), np.zeros((0, _NUMBERS[candidates.form]))
        score = np.zeros(0, np.float32)
        return _Pairs(none, none, none, score=score, rank=score, box=boxes, compared=boxes)
    return _Pairs(*(np.concatenate(parts) for parts in zip(*found)))


def _pairs_of(number: int, level: LevelCandidates, how: Selection) -> _Pairs:
    ranks = level.scores if level.ranks is None else level.ranks
    # Detectors compare in float32, in which 0.3 is another number.
    passes = ranks >= np.float32(how.threshold) if how.inclusive else ranks > np.float32(how.threshold)
    if how.labels == "best" and ranks.shape[1]:
        best = np.zeros_like(passes)
        best[np.arange(len(ranks)), ranks.argmax(1)] = True
        passes &= best
    index, label = np.nonzero(passes)
    boxes = [
        some[index] if some.ndim == 2 else some[index, label]
        for some in (level.boxes, level.boxes if level.compared is None else level.compared)
    ]
    return _Pairs(
        np.full(len(index), number),
        index,
        label,
        score=level.scores[index, label],
        rank=ranks[index, label],
        box=boxes[0].astype(np.float64),
        compared=boxes[1],
    )


def _keep_best(ranks: NDArray[np.floating], among: NDArray[np.bool_], count: int, alive: NDArray[np.bool_]) -> None:
    """Drop pairs that are not the best `count` of some, in place."""
    places = np.flatnonzero(among)
    alive[places[np.argsort(-ranks[places], kind="stable")[count:]]] = False


def _keep_best_of_levels(pairs: _Pairs, how: Selection, alive: NDArray[np.bool_]) -> None:
    if not how.per_level:
        return
    for number in np.unique(pairs.level):
        among = pairs.level == number
        if how.ranked_by == "pair":
            _keep_best(pairs.rank, among, how.per_level, alive)
        else:
            own = among.copy()
            _keep_candidates(pairs, how.per_level, own)
            alive &= ~among | own


def _keep_candidates(pairs: _Pairs, count: int, alive: NDArray[np.bool_]) -> None:
    """Drop the pairs of all but the best `count` candidates, by their best class, in place."""
    seen = np.flatnonzero(alive)
    # Pairs are sorted by candidate, so a new candidate begins wherever the level or the index changes.
    new = np.ones(len(seen), bool)
    new[1:] = (np.diff(pairs.level[seen]) != 0) | (np.diff(pairs.candidate[seen]) != 0)
    owner = np.cumsum(new) - 1
    best = np.full(int(new.sum()), -np.inf)
    np.maximum.at(best, owner, pairs.rank[seen])
    chosen = np.zeros(len(best), bool)
    chosen[np.argsort(-best, kind="stable")[:count]] = True
    alive[seen[~chosen[owner]]] = False


def _shortest_sides(form: str, boxes: NDArray[np.floating]) -> NDArray[np.floating]:
    if form == "xyxy":
        return np.asarray((boxes[:, 2:] - boxes[:, :2]).min(1)) if len(boxes) else np.zeros(0)
    if form == "cxcywha":
        return np.asarray(boxes[:, 2:4].min(1)) if len(boxes) else np.zeros(0)
    raise BadRunError("a selection cannot drop small boxes of four corners; use smallest=0")


def _suppressed(form: str, pairs: _Pairs, how: Selection, alive: NDArray[np.bool_]) -> Outcome:
    """Sort the pairs, suppress those that overlap a better one, and keep the best of the rest."""
    order = np.argsort(-pairs.score, kind="stable")
    places = np.flatnonzero(alive[order])
    chosen = order[places]
    stage = np.full(len(order), CUT, np.int8)
    by = np.full(len(order), -1, np.int64)
    own = suppressors(Sorted(form, pairs.compared[chosen], pairs.label[chosen]), how)
    by[places] = np.where(own >= 0, places[own], -1) if len(places) else own
    stage[places] = np.where(own >= 0, SUPPRESSED, KEPT)
    if how.maximum:
        stage[places[own < 0][how.maximum :]] = OVER
    return Outcome(
        pairs.level[order],
        pairs.candidate[order],
        pairs.label[order],
        score=pairs.score[order].astype(np.float64),
        box=pairs.box[order],
        stage=stage,
        by=by,
    )

"""The sizes of the objects that each level of the head found, beside those that its training assigns to it."""

from __future__ import annotations

import math
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from featscope.analysis.evaluated import evaluate
from featscope.analysis.misses import Misses
from featscope.analysis.points import hits_at
from featscope.arrays.assigned import BY_SCORES, QUERIES, AssignedSizes, Span
from featscope.arrays.boxes import areas_of
from featscope.records import Boxes, Sample

LOW, HIGH = 0.1, 0.9
"""Quantiles of the sizes that are given for a level."""

_NOT_BY_SIZE = {BY_SCORES: "by the scores, not by size", QUERIES: "no level"}
_SAME = 0.005  # scales that differ by less are one


class LevelSizes(NamedTuple):
    """The sizes of one level: square roots of areas, in pixels of the original image."""

    name: str
    """'level 0 of the head', 'level 0 of the regions', 'found objects' (of no known level), or 'missed objects'."""

    objects: int
    """Number of objects."""

    low: float = math.nan
    """10 % of the objects are smaller; NaN without objects."""

    middle: float = math.nan
    """Median; NaN without objects."""

    high: float = math.nan
    """90 % of the objects are smaller; NaN without objects."""

    assigned: Optional[Span] = None
    """The sizes that the training assigns to the level; None if that is not known, or if the row is not one level."""

    words: str = ""
    """`assigned` as text, or in a few words why it is not known; '' if the row is not one level."""


class SizesOfLevels(NamedTuple):
    """The sizes of all levels."""

    rows: List[LevelSizes]

    words: str
    """What the training assigns to a level and how that is known, or why it is not known."""


def sizes_of_levels(misses: Misses, samples: Mapping[str, Sample]) -> SizesOfLevels:
    """Return the sizes of the objects that each level found, of the missed ones, and what the training assigns.

    >>> run = featscope.open_run("runs/fpn")
    >>> sizes_of_levels(featscope.misses(run), run.samples).words
    'Which sizes training assigns to a level is not known: no candidates are known; capture the run with --candidates.'

    misses: what `featscope.misses` returned. samples: those of the run, with the ground truth that the misses were
    found with. The level is that of the cell that found an object, if the run knows the sources of its detections. What
    the training assigns is in pixels of the input. It is converted to those of the original images with the median of
    their scales, and holds for square objects; an object without a geometry has its size in pixels of the input.
    """
    factors = [_factor(one) for one in samples.values()]
    factor = float(np.median(factors)) if factors else 1.0
    assigned = misses.assigned.scaled(factor)
    found = _found_sizes(misses, samples)
    return SizesOfLevels(list(_rows(misses, found, assigned)), _words(assigned, 1 / factor))


def _rows(
    misses: Misses, found: Mapping[Optional[int], Sequence[float]], assigned: AssignedSizes
) -> Iterator[LevelSizes]:
    """Yield a row for each level, for the found objects whose level is not known, and for the missed ones."""
    of_cells = {level for level in found if level is not None}
    if assigned.kind == "roi":  # all regions are one level of the candidates
        of_cells = set()
    if not of_cells and not assigned.levels:
        return
    for level in sorted(of_cells | set(range(len(assigned.levels)))):
        row = _row(f"level {level} of the {'regions' if assigned.kind == 'roi' else 'head'}", found.get(level, ()))
        span = assigned.levels[level] if level < len(assigned.levels) else None
        words = assigned.in_words(level) if span is not None else _NOT_BY_SIZE.get(assigned.unknown, "unknown")
        yield row._replace(assigned=span, words=words)
    rest = [size for level, sizes in found.items() if level not in of_cells for size in sizes]
    if rest and not of_cells:
        yield _row("found objects", rest)
    if len(misses.rows):
        yield _row("missed objects", [row.size for row in misses.rows])


def _row(name: str, sizes: Sequence[float]) -> LevelSizes:
    if not len(sizes):
        return LevelSizes(name, 0)
    low, middle, high = (float(value) for value in np.quantile(sizes, [LOW, 0.5, HIGH]))
    return LevelSizes(name, len(sizes), low, middle, high)


def _found_sizes(misses: Misses, samples: Mapping[str, Sample]) -> Dict[Optional[int], List[float]]:
    """Return the sizes of the found objects by the level of the cell that found each; None if that is not known."""
    names = {name for name, _ in misses.found}
    known = [one for one in samples.values() if one.id in names]
    nothing = Boxes("xyxy", [], [])
    pairs = [(one.predictions or nothing, one.truth or nothing) for one in known]
    whole = evaluate(pairs, misses.point.iou, misses.point.rule)
    areas = [areas_of(truth.form, truth.boxes) for _, truth in pairs]
    of_level: Dict[Optional[int], List[float]] = {}
    for place in np.flatnonzero(hits_at(whole, misses.point.score).found):
        image, number = int(whole.true_image[place]), int(whole.true_box[place])
        detection = int(whole.box[whole.found_by[place]])
        sources = known[image].sources[detection] if known[image].sources else []
        level = sources[0].level if len(sources) == 1 and sources[0].kind == "cell" else None
        of_level.setdefault(level, []).append(float(np.sqrt(areas[image][number])))
    return of_level


def _factor(sample: Sample) -> float:
    """Return how many pixels of the original image a pixel of the input is; 1 if the geometry is not known."""
    geometry = sample.geometry
    if geometry is None:
        return 1.0
    seen = geometry.original if geometry.crop is None else geometry.crop[2:]
    return math.sqrt((seen[0] * seen[1]) / (geometry.resized[0] * geometry.resized[1]))


def _words(assigned: AssignedSizes, scale: float) -> str:
    """Say what the training assigns and how it is known. scale: input pixels in a pixel of the original."""
    if not assigned.levels:
        if assigned.unknown in _NOT_BY_SIZE:
            return f"{assigned.unknown[0].upper()}{assigned.unknown[1:]}."
        return f"Which sizes training assigns to a level is not known: {assigned.unknown}."
    what = f"Sizes that training assigns to the level, by {assigned.rule}"
    if assigned.by == "anchors":
        what = f"Sizes of {assigned.rule}; which objects training gives to them is not known"
    elif assigned.kind == "roi":
        what = f"Sizes of the regions that are read from the level, by {assigned.rule}"
    if abs(scale - 1) < _SAME:
        return f"{what}."
    return (
        f"{what}. The network sees the images at a median scale of {scale:.3g}; sizes in its input are divided by it."
    )

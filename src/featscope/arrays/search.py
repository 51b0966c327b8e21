"""Search for the position of an image in a network's input by comparing pixels, if the reported geometry is wrong.

First the common pipelines are tried: an image at one of a few scales, flipped or not, at an edge or in the middle. Then
all positions at these scales are tried, as a random crop may need. A result counts only if it is clearly better than
all others.
"""

from __future__ import annotations

from itertools import product
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from featscope.arrays.agreement import (
    AGREES,
    Comparison,
    Thumbnail,
    alone,
    best_place,
    compare,
    compare_axes,
    shifted,
    spread,
    thumbnail,
)
from featscope.arrays.frames import Axis, axes_of, geometry_from
from featscope.records import Extent, Geometry, Picture, Size

_FLIPS = ("", "horizontal", "vertical", "diagonal")
_BETTER = 0.05
"""The least difference between the correlation of the best result and that of any other."""
_SAME = 2.0  # pixels of the input; results that differ by less are the same
_FINE = 4  # how much larger the thumbnail is for finding a position to the pixel
_NEAR_WHOLE = 0.4  # pixels; a start that is closer to a whole number is rounded
_ROUNDED = 4.0  # pixels of the input; the largest distance from an edge or the middle
_SPREAD = 50  # pixels of a thumbnail; structure in fewer pixels does not determine a position


class Rule(NamedTuple):
    """Where to look for an image."""

    scale: str
    """Name of the scale in `_scales`."""

    flip: str
    """Flip, as in `Geometry`."""

    ends: Optional[Tuple[float, float]] = None
    """Position along each axis: 0 for the first edge, 1 for the last, 0.5 for the middle. None for any position."""


class Found(NamedTuple):
    """A geometry that was found."""

    geometry: Geometry

    comparison: Comparison
    """How well it agrees with the pixels."""

    rule: Rule
    """The rule that found it, which is tried first for the next image."""


class Search:
    """Searches for the geometry of one image.

    original: the image's thumbnail. picture: the network's input from its top left corner on. padded: size of the whole
    input. claimed: the geometry that the framework reports, whose scale and flip are likely to be right; None if it
    reports none.
    """

    def __init__(self, original: Thumbnail, picture: Picture, padded: Size, claimed: Optional[Geometry]) -> None:
        self._original, self._picture, self._padded, self._claimed = original, picture, padded, claimed
        self._seen = thumbnail(picture)
        self._scales = dict(_scales(original.size, picture, claimed))

    def by(self, rule: Rule) -> Optional[Found]:
        """Try one rule; None if its result does not agree with the pixels."""
        if rule.scale not in self._scales:
            return None
        found = self._anywhere(rule) if rule.ends is None else self._at(rule, self._axes(rule, rule.ends))
        return found if found is not None and self._is_right(found) else None

    def at_edges(self) -> Optional[Found]:
        """Return the only good result among positions at edges or in the middle."""
        edges = (0.0, 0.5, 1.0)
        rules = [Rule(*rule) for rule in product(self._scales, self._flips(), product(edges, edges))]
        places = {self._axes(rule, rule.ends or ()): rule for rule in reversed(rules)}
        tried = [self._at(rule, axes) for axes, rule in reversed(list(places.items()))]
        best = _only([found for found in tried if found is not None and found.comparison.agrees])
        return best if best is not None and self._is_right(best) else None

    def anywhere(self) -> Optional[Found]:
        """Return the only good result among all positions; None if the picture shows just one spot."""
        if spread(self._seen) < _SPREAD:
            return None
        rules = [Rule(name, flip) for name in self._scales for flip in self._flips()]
        best = _only([found for found in map(self._anywhere, rules) if found is not None])
        return best if best is not None and self._is_right(best) else None

    def _is_right(self, found: Found) -> bool:
        return found.comparison.agrees and alone(self._seen, found.geometry)

    def _flips(self) -> Sequence[str]:
        first = self._claimed.flip if self._claimed is not None else ""
        return [first, *(flip for flip in _FLIPS if flip != first)]

    def _axes(self, rule: Rule, ends: Sequence[float] = (0.0, 0.0)) -> Tuple[Axis, Axis]:
        mirrored = (rule.flip in ("vertical", "diagonal"), rule.flip in ("horizontal", "diagonal"))
        axes = []
        for number, (scale, flip, end) in enumerate(zip(self._scales[rule.scale], mirrored, ends)):
            length = self._original.size[number]
            room = self._picture.shape[number] - scale * length
            # A crop or a padding in the middle begins at a whole pixel.
            start = float(np.floor(room * end) if room >= 0 else -np.floor(-room * end + 0.5))
            axes.append(Axis(-scale, start + scale * length, 0.0, float(length)) if flip else
                        Axis(scale, start, 0.0, float(length)))  # fmt: skip
        return axes[0], axes[1]

    def _at(self, rule: Rule, axes: Tuple[Axis, Axis]) -> Optional[Found]:
        """Try a position, and correct it by a few pixels if needed, because programs round in different ways."""
        geometry = geometry_from(self._original.size, self._padded, *axes)
        if geometry is None:
            return None
        comparison = compare(self._original, self._seen, geometry)
        if comparison.correlation < AGREES or comparison.agrees:
            return Found(geometry, comparison, rule)
        moved = nudged(self._original, self._seen, self._padded, geometry, comparison)
        if moved is None or apart(moved, geometry) > _ROUNDED:
            return Found(geometry, comparison, rule)
        return Found(moved, compare(self._original, self._seen, moved), rule)

    def _anywhere(self, rule: Rule) -> Optional[Found]:
        place = best_place(self._original, self._seen, *self._axes(rule))
        if place is None or place[2] < AGREES - 0.25:
            return None
        rows, columns = self._refined(place[0], place[1])
        geometry = geometry_from(self._original.size, self._padded, rows, columns)
        if geometry is None:
            return None
        return Found(geometry, compare(self._original, self._seen, geometry), rule)

    def _refined(self, rows: Axis, columns: Axis) -> Tuple[Axis, Axis]:
        """Correct the starts of two axes, which are nearly right, to the pixel."""
        fine = thumbnail(self._picture, _FINE * max(self._seen.grey.shape))
        for _ in range(4):
            found = compare_axes(self._original, fine, rows, columns)
            moved = [
                shift.start + shift.slope * side / 2 for shift, side in zip((found.rows, found.columns), fine.size)
            ]
            rows, columns = (axis._replace(start=axis.start + by) for axis, by in zip((rows, columns), moved))
            if max(map(abs, moved)) < 0.05:
                break
        return _whole(rows), _whole(columns)


def _whole(axis: Axis) -> Axis:
    """Round a start that is nearly a whole number, because images are cropped and padded at whole pixels."""
    whole = float(round(axis.start))
    return axis._replace(start=whole) if abs(whole - axis.start) < _NEAR_WHOLE else axis


def nudged(
    original: Thumbnail, seen: Thumbnail, padded: Size, claimed: Geometry, found: Comparison
) -> Optional[Geometry]:
    """Correct a geometry that is wrong by a few pixels; None if the result does not agree."""
    rows, columns = axes_of(claimed)
    for _ in range(3):
        rows, columns = shifted(rows, found.rows), shifted(columns, found.columns)
        found = compare_axes(original, seen, rows, columns)
    return geometry_from(claimed.original, padded, rows, columns) if found.agrees else None


def _scales(original: Size, picture: Picture, claimed: Optional[Geometry]) -> Iterator[Tuple[str, Extent]]:
    """Yield the scales (rows, columns) that an image may have in an input, by name, without duplicates."""
    window = (picture.shape[0], picture.shape[1])
    ratios = [side / length for side, length in zip(window, original)]
    content = _content(picture)
    inner = [side / length for side, length in zip(content, original)]
    found: List[Tuple[str, Extent]] = []
    if claimed is not None:
        rows, columns = axes_of(claimed)
        found.append(("as said", (abs(rows.scale), abs(columns.scale))))
    found.append(("filling the input", (ratios[0], ratios[1])))
    for name, scale in (("inside of the input", min(ratios)), ("around the input", max(ratios)), ("as it is", 1.0)):
        # Pipelines round sides to whole pixels.
        sides = [max(1, round(length * scale)) for length in original]
        found.append((name, (sides[0] / original[0], sides[1] / original[1])))
    found.append(("inside of the border", (inner[0], inner[1])))
    kept: List[Extent] = []
    for name, pair in found:
        reach = [abs(a - b) * length for other in kept for a, b, length in zip(pair, other, original)]
        if all(max(reach[i : i + 2]) > 0.6 for i in range(0, len(reach), 2)):
            kept.append(pair)
            yield name, pair


def _content(picture: Picture) -> Size:
    """Return the size of the content without a border of one colour."""
    differs = (picture != picture[-1:, -1:]).any(2)
    if not differs.any():
        return picture.shape[0], picture.shape[1]
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    return int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1


def _only(found: Sequence[Found]) -> Optional[Found]:
    """Return the best result, or None if another one is nearly as good."""
    if not found:
        return None
    ranked = sorted(found, key=lambda one: -one.comparison.correlation)
    best = ranked[0]
    others = [one for one in ranked[1:] if apart(one.geometry, best.geometry) > _SAME]
    if others and best.comparison.correlation - others[0].comparison.correlation < _BETTER:
        return None
    return best


def apart(one: Geometry, other: Geometry) -> float:
    """Return the largest difference of two geometries over the image, in input pixels."""
    farthest = 0.0
    for first, second in zip(axes_of(one), axes_of(other)):
        for place in (max(first.low, second.low), min(first.high, second.high)):
            farthest = max(farthest, abs(first.to_input(place) - second.to_input(place)))
    return farthest

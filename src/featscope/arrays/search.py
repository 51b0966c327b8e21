"""How an image lies in an input, found by its pixels where what is said of it is not so.

First what pipelines do: an image at one of a few scales, mirrored or not, at an edge or in the middle. Then any place
at these scales, as a random crop has it. Both only where one answer is better than all others.
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
"""By how much the correlation of the best answer must lie above that of any other."""
_SAME = 2.0  # pixels of the input: two answers that differ by less are one
_FINE = 4  # times as large as for a comparison, to find a place to the pixel
_NEAR_WHOLE = 0.4  # pixels
_ROUNDED = 4.0  # pixels of the input that a place may lie beside an edge or the middle
_SPREAD = 50  # pixels of a thumbnail over which the structure is spread


class Rule(NamedTuple):
    """Where an image is looked for: its scale and its mirror, and at which edge of each axis (0 first, 1 last, 0.5).

    scale: its name in `_scales`. ends: None for any place.
    """

    scale: str
    flip: str
    ends: Optional[Tuple[float, float]] = None


class Found(NamedTuple):
    """What was found, how well it agrees, and by which rule; which is tried first for the next image."""

    geometry: Geometry
    comparison: Comparison
    rule: Rule


class Search:
    """Looks for the geometry of one image.

    original: as thumbnail. picture: what the network saw, from its top left corner on. padded: the whole input.
    claimed: what is said of it, whose scale and mirror are likely to be right; None for nothing.
    """

    def __init__(self, original: Thumbnail, picture: Picture, padded: Size, claimed: Optional[Geometry]) -> None:
        self._original, self._picture, self._padded, self._claimed = original, picture, padded, claimed
        self._seen = thumbnail(picture)
        self._scales = dict(_scales(original.size, picture, claimed))

    def by(self, rule: Rule) -> Optional[Found]:
        """What one rule finds; None where that does not agree."""
        if rule.scale not in self._scales:
            return None
        found = self._anywhere(rule) if rule.ends is None else self._at(rule, self._axes(rule, rule.ends))
        return found if found is not None and self._is_right(found) else None

    def at_edges(self) -> Optional[Found]:
        """The one answer among those where the image lies at edges or in the middle."""
        edges = (0.0, 0.5, 1.0)
        rules = [Rule(*rule) for rule in product(self._scales, self._flips(), product(edges, edges))]
        places = {self._axes(rule, rule.ends or ()): rule for rule in reversed(rules)}
        tried = [self._at(rule, axes) for axes, rule in reversed(list(places.items()))]
        best = _only([found for found in tried if found is not None and found.comparison.agrees])
        return best if best is not None and self._is_right(best) else None

    def anywhere(self) -> Optional[Found]:
        """The one answer among all places; None for a picture that shows one spot, which could be any."""
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
            # A crop in the middle begins at a whole pixel, as a padding does.
            start = float(np.floor(room * end) if room >= 0 else -np.floor(-room * end + 0.5))
            axes.append(Axis(-scale, start + scale * length, 0.0, float(length)) if flip else
                        Axis(scale, start, 0.0, float(length)))  # fmt: skip
        return axes[0], axes[1]

    def _at(self, rule: Rule, axes: Tuple[Axis, Axis]) -> Optional[Found]:
        """The image at a place, or a few pixels beside it, as programs round in their own ways."""
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
        """Two axes whose start is nearly right, to the pixel."""
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
    """Images are cut and padded between pixels: a start that is nearly a whole number is one."""
    whole = float(round(axis.start))
    return axis._replace(start=whole) if abs(whole - axis.start) < _NEAR_WHOLE else axis


def nudged(
    original: Thumbnail, seen: Thumbnail, padded: Size, claimed: Geometry, found: Comparison
) -> Optional[Geometry]:
    """A geometry that is right but for some pixels, moved to where the pixels are."""
    rows, columns = axes_of(claimed)
    for _ in range(3):
        rows, columns = shifted(rows, found.rows), shifted(columns, found.columns)
        found = compare_axes(original, seen, rows, columns)
    return geometry_from(claimed.original, padded, rows, columns) if found.agrees else None


def _scales(original: Size, picture: Picture, claimed: Optional[Geometry]) -> Iterator[Tuple[str, Extent]]:
    """Scales (of the rows, of the columns) that an image may have in an input, by name, each once."""
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
        # Sides are rounded to whole pixels.
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
    """The size of what is not a border of one colour."""
    differs = (picture != picture[-1:, -1:]).any(2)
    if not differs.any():
        return picture.shape[0], picture.shape[1]
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    return int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1


def _only(found: Sequence[Found]) -> Optional[Found]:
    """The best of some answers, where no other one is nearly as good."""
    if not found:
        return None
    ranked = sorted(found, key=lambda one: -one.comparison.correlation)
    best = ranked[0]
    others = [one for one in ranked[1:] if apart(one.geometry, best.geometry) > _SAME]
    if others and best.comparison.correlation - others[0].comparison.correlation < _BETTER:
        return None
    return best


def apart(one: Geometry, other: Geometry) -> float:
    """By how many pixels of the input two geometries differ at most, over the image."""
    farthest = 0.0
    for first, second in zip(axes_of(one), axes_of(other)):
        for place in (max(first.low, second.low), min(first.high, second.high)):
            farthest = max(farthest, abs(first.to_input(place) - second.to_input(place)))
    return farthest

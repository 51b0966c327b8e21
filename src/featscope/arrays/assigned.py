"""Which sizes of objects the training of a detector assigns to each level of its head.

A head with several levels is trained with a rule that says which level answers for an object. Where the rule goes by
size, the adapters record it here with the rule in words. Where it does not, or where it is not proved, they record why.
All sizes are square roots of areas, in pixels of the network's input, of square objects whose centre is that of a cell.
"""

from __future__ import annotations

import math
from typing import List, Optional, Sequence, Tuple

import msgspec

Span = Tuple[float, Optional[float]]
"""From the smallest to the largest size in pixels; None if there is no largest one."""

BY_SCORES = "training assigns levels by the scores, not by size"
"""Why a head with a dynamic assignment (SimOTA, task alignment) has no sizes."""

QUERIES = "a query belongs to no level; training assigns it by the scores and boxes, not by size"
"""Why a decoder that is trained with a Hungarian matching has no sizes."""

_SQUARE = ", for a square object around a cell"
_MOST_LEVELS = 64
_ENDLESS = float(1 << 20)  # pixels; frameworks write 1e5, 1e8 or infinity for "no largest size"


class AssignedSizes(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which sizes of objects the training assigns to each level.

    >>> AssignedSizes([(0.0, 128.0), (128.0, None)], rule="regress_ranges of FCOSHead").in_words(0)
    'up to 128 px'
    >>> AssignedSizes(unknown=BY_SCORES).levels
    []
    """

    levels: List[Span] = []
    """The sizes of each level, in the order of the levels of the candidates; empty if they are not known."""

    by: str = "range"
    """'range' if the sizes are those of the objects that the level is trained on, or 'anchors' if they are only the
    sizes of the level's anchors."""

    kind: str = "cell"
    """What the levels are those of, as in `featscope.records.Source`: 'cell', or 'roi' if each is a level of features
    from which regions of these sizes are read."""

    rule: str = ""
    """What the sizes are read from, in words that follow on "by" or "sizes of"."""

    unknown: str = ""
    """Why the sizes are not known."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for impossible sizes or unknown words; the JSON decoder reports it as a decoding error."""
        if self.by not in ("range", "anchors") or self.kind not in ("cell", "roi"):
            raise ValueError(f"sizes cannot be those of {self.by!r} of a {self.kind!r}")
        if bool(self.levels) == bool(self.unknown):
            raise ValueError("either the sizes of the levels are known, or why they are not")
        if len(self.levels) > _MOST_LEVELS:
            raise ValueError(f"a head does not have {len(self.levels)} levels")
        for low, high in self.levels:
            if not 0 <= low < _ENDLESS or (high is not None and not low <= high < _ENDLESS):
                raise ValueError(f"an object cannot be from {low} to {high} pixels large")

    def in_words(self, level: int) -> str:
        """Return the sizes of a level as text, in pixels; why they are not known if they are not.

        >>> sizes = AssignedSizes([(0.0, 64.0), (64.0, 128.0), (128.0, None)])
        >>> [sizes.in_words(level) for level in range(3)]
        ['up to 64 px', '64 to 128 px', 'above 128 px']
        >>> AssignedSizes([(32.0, 32.0)], by="anchors").in_words(0)
        'anchors of 32 px'
        """
        if not self.levels:
            return self.unknown
        low, high = self.levels[level]
        if self.by == "anchors":
            same = high is None or _number(low) == _number(high)
            return f"anchors of {_number(low)}{'' if same or high is None else f' to {_number(high)}'} px"
        if high is None:
            return f"above {_number(low)} px" if low else "all sizes"
        return f"{_number(low)} to {_number(high)} px" if low else f"up to {_number(high)} px"

    def scaled(self, factor: float) -> AssignedSizes:
        """Return the sizes in other pixels.

        >>> AssignedSizes([(32.0, 64.0), (64.0, None)]).scaled(2.0).levels
        [(64.0, 128.0), (128.0, None)]
        """
        levels: List[Span] = []
        for low, high in self.levels:
            end = None if high is None or factor * high >= _ENDLESS else factor * high
            levels.append((min(factor * low, _ENDLESS / 2), end))
        return msgspec.structs.replace(self, levels=levels)

    def for_levels(self, count: int) -> AssignedSizes:
        """Return the sizes for a head of so many levels, or why they cannot be those of its levels.

        >>> AssignedSizes([(0.0, 64.0), (64.0, None)]).for_levels(3).unknown
        'the rule is that of 2 levels, but the head has 3'
        """
        if self.kind == "roi" or len(self.levels) in (0, count):
            return self
        return AssignedSizes(unknown=f"the rule is that of {len(self.levels)} levels, but the head has {count}")


def by_distance(ranges: Sequence[Tuple[float, float]], rule: str) -> AssignedSizes:
    """Return the sizes for a rule about the largest of the distances from a point to the four sides of a box.

    >>> by_distance([(-1, 64), (64, 128), (128, 1e8)], "regress_ranges of FCOSHead").levels
    [(0.0, 128.0), (128.0, 256.0), (256.0, None)]

    ranges: the smallest and the largest such distance of each level, in pixels of the input. In the centre of a square
    object, the largest distance is half of its side.
    """
    levels = [(max(0.0, 2.0 * low), 2.0 * high if high < _ENDLESS / 2 else None) for low, high in ranges]
    return AssignedSizes(levels, rule=f"{rule}{_SQUARE}")


def by_area(first: float, count: int, rule: str) -> AssignedSizes:
    """Return the sizes of the regions that are read from each of several levels of features.

    >>> by_area(112, 4, "finest_scale of SingleRoIExtractor").levels
    [(0.0, 112.0), (112.0, 224.0), (224.0, 448.0), (448.0, None)]

    first: the size at which the second level begins, in pixels of the input; each further level begins at twice the
    size. count: number of levels.
    """
    edges = [0.0, *(float(first) * 2.0**number for number in range(count - 1))]
    highs: List[Optional[float]] = [*edges[1:], None]
    return AssignedSizes(list(zip(edges, highs)), kind="roi", rule=rule)


def by_anchors(
    sides: Sequence[Sequence[Tuple[float, float]]], rule: str, overlap: Optional[float] = None
) -> AssignedSizes:
    """Return the sizes for a rule about the overlap (IoU) of an object with the anchors of its level.

    >>> by_anchors([[(32, 32)], [(64, 64)]], "the anchors of RetinaHead").in_words(1)
    'anchors of 64 px'
    >>> by_anchors([[(32, 32)], [(64, 64)]], "the anchors of RetinaHead", overlap=0.5).in_words(1)
    '45 to 91 px'

    sides: (width, height) of each anchor of each level, in pixels of the input. overlap: the least IoU at which an
    anchor is trained on an object. Without it, or if the squares that reach it on a level do not form one range, the
    sizes are only those of the anchors.
    """
    if overlap is not None:
        spans = [_joined([squares_of(*one, overlap) for one in level]) for level in sides]
        known = [span for span in spans if span is not None]
        if len(known) == len(sides):
            return AssignedSizes(
                [(low, high) for low, high in known], rule=f"{rule} and an IoU of at least {overlap:g}{_SQUARE}"
            )
    sizes = [[math.sqrt(width * height) for width, height in level] for level in sides]
    return AssignedSizes([(min(some), max(some)) for some in sizes], by="anchors", rule=rule)


def squares_of(width: float, height: float, overlap: float) -> Optional[Tuple[float, float]]:
    """Return the sides of the smallest and the largest square that overlap a box with the same centre enough.

    >>> [round(side, 2) for side in squares_of(32, 32, 0.5)]
    [22.63, 45.25]
    >>> squares_of(10, 40, 0.5) is None                      # no square has an IoU of 0.5 with a box 4 times as long
    True

    A square of side s that lies inside of the box has the IoU s * s / area, and one around it area / (s * s). Between
    the two, s * w / (s * s + area - s * w) with the shorter side w, which is highest at s = sqrt(area).
    """
    short, long = sorted((float(width), float(height)))
    area = short * long
    root = math.sqrt(area)
    if short * root < overlap * (2 * area - short * root):
        return None
    # Both solutions of: overlap * s * s - (1 + overlap) * short * s + overlap * area = 0
    half = (1 + overlap) * short / (2 * overlap)
    off = math.sqrt(max(0.0, half * half - area))
    low, high = root * math.sqrt(overlap), root / math.sqrt(overlap)
    return (low if low <= short else half - off, high if high >= long else half + off)


def _joined(spans: Sequence[Optional[Tuple[float, float]]]) -> Optional[Tuple[float, float]]:
    """Return the one range that some ranges form; None if there is a gap between them, or nothing."""
    known = sorted(span for span in spans if span is not None)
    if not known:
        return None
    low, high = known[0]
    for start, end in known[1:]:
        if start > high:
            return None
        high = max(high, end)
    return low, high


def _number(size: float) -> str:
    return f"{size:.0f}" if size >= 10 else f"{size:.2g}"

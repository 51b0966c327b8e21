"""Draw which level saw which objects: sizes by levels, those that were found and those that were missed apart."""

from __future__ import annotations

import math
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from featscope.errors import BadArrayError
from featscope.render.canvas import INK, LINE, PALE, Canvas, indented, stack
from featscope.render.colour import Colour
from featscope.render.fonts import font_of
from featscope.render.keys import KeyEntry, key_of
from featscope.render.matrix import NOTHING, Label, Matrix, matrix_canvas
from featscope.render.plots import Plot
from featscope.render.texts import length, printable, widest

_BAR: Colour = (118, 164, 196)
_BAND: Colour = (252, 227, 196)
_BRACKET: Colour = (205, 127, 40)
_MARGIN = 12  # pixels
_SMALLEST = 1.0  # pixels; the axis begins no further below
_NUMBERS = (
    "Colour and upper number: the share of the objects that stand out from the background, in %. Lower number: of how "
    "many objects."
)
_UNKNOWN = (
    "unknown: the level does not reliably tell objects from background, or there are too few objects or too little "
    "background to say"
)
_HEADING = (
    "Sizes in pixels of the objects that were found, by the level of the cell that found each: 10 % to 90 %, with the "
    "median, counted on this run."
)
_LETTERS = 15  # pixels
_ROW = 26  # pixels from one bar to the next
_HALF = 9  # pixels; half the height of a bracket
_SWATCH = 18  # pixels
_NARROWEST = 640  # pixels; on a shorter axis, sizes cannot be told apart


class SeenCell(NamedTuple):
    """The objects of one row on one level."""

    resolved: int
    """Number of objects that cover at least one cell."""

    known: int
    """Number of objects of which it can be said whether they stand out from the background."""

    present: int
    """Number of objects that do."""


class SizeRange(NamedTuple):
    """The sizes of some objects: square roots of areas in pixels of the original image."""

    name: str
    low: float
    middle: float
    high: float
    objects: int
    """Number of objects; without any, `low`, `middle` and `high` are not drawn."""

    assigned: Optional[Tuple[float, Optional[float]]] = None
    """From the smallest to the largest size that the training assigns to the level (None if there is no largest)."""


class LevelsSeen(NamedTuple):
    """What is drawn."""

    rows: Sequence[Label]
    """A size and, within it, 'found' or 'missed'."""

    columns: Sequence[Label]
    """A layer and, within it, a level."""

    cells: Sequence[Sequence[Optional[SeenCell]]]
    """One for each row and column; None where the level has nothing of these objects."""

    ranges: Sequence[SizeRange] = ()
    """Sizes of the objects that were found at each level."""

    edges: Sequence[float] = ()
    """Sizes at which one row ends and the next begins, in pixels."""

    title: str = "Which level saw the objects?"
    words: str = ""

    assigned: str = ""
    """What the training assigns to a level, or why that is not known, in words."""


def draw_levels_seen(seen: LevelsSeen) -> Plot:
    """Draw which level saw which objects.

    >>> cells = [[SeenCell(resolved=20, known=20, present=18), SeenCell(resolved=0, known=0, present=0)]]
    >>> seen = LevelsSeen([("small", "missed (20)")], [("neck", "0"), ("neck", "1")], cells)
    >>> draw_levels_seen(seen).save("plots/levels_seen.svg").name
    'levels_seen.svg'

    A cell has the colour of the share of objects that stand out from the background; under the share stands the number
    of objects that it is of. A cell is grey if no object covers a whole cell of the level, and hatched if it cannot be
    said which objects stand out. Below lie the `ranges`, on a logarithmic axis.

    Raises `BadArrayError` if there is nothing to draw, or if the labels do not match the cells.
    """
    shape = (len(seen.rows), len(seen.columns))
    if len(seen.cells) != shape[0] or any(len(row) != shape[1] for row in seen.cells):
        raise BadArrayError(
            f"{shape[0]} rows and {shape[1]} columns do not match {len(seen.cells)} rows of "
            f"{sorted({len(row) for row in seen.cells})} cells; give one for each row and column"
        )
    matrix = Matrix(
        np.array([[_share(cell) for cell in row] for row in seen.cells], float).reshape(shape),
        np.full(shape, np.nan),
        seen.rows,
        seen.columns,
        sides=("size of the objects", "layer and level"),
        title=seen.title,
        words=seen.words,
        scale=(0.0, 100.0),
        texts=[[_text(cell) for cell in row] for row in seen.cells],
        hatched=np.array([[_unknown(cell) for cell in row] for row in seen.cells]).reshape(shape),
    )
    parts = [matrix_canvas(matrix)]
    width = max(parts[0].width, _NARROWEST)
    parts.append(_legend(seen, width))
    if seen.ranges:
        parts.append(_draw_ranges(seen, width))
    return Plot(stack(parts), {"title": seen.title, "words": seen.words})


def _share(cell: Optional[SeenCell]) -> float:
    """Return the share of objects that stand out, in percent; NaN if it is unknown."""
    return 100 * cell.present / cell.known if cell is not None and cell.known else np.nan


def _unknown(cell: Optional[SeenCell]) -> bool:
    """Whether objects are large enough for a level, but it cannot be said whether they stand out."""
    return cell is not None and not cell.known and cell.resolved > 0


def _text(cell: Optional[SeenCell]) -> str:
    """Write the share, and the number of objects below it.

    >>> _text(SeenCell(resolved=20, known=16, present=4)), _text(SeenCell(resolved=20, known=0, present=0))
    ('25 %\\n16', '')
    """
    return f"{_share(cell):.0f} %\n{_short(cell.known)}" if cell is not None and cell.known else ""


def _short(count: int) -> str:
    """Write a number with at most four characters.

    >>> _short(999), _short(1234), _short(56789)
    ('999', '1.2k', '57k')
    """
    if count < 1000:
        return str(count)
    return f"{count / 1000:.1f}k" if count < 9950 else f"{count / 1000:.0f}k"


def _legend(seen: LevelsSeen, width: int) -> Canvas:
    """Explain the numbers, and the cells without a share."""
    cells = [cell for row in seen.cells for cell in row]
    entries = [KeyEntry(_NUMBERS)]
    if any(cell is None or not cell.resolved for cell in cells):
        entries.append(KeyEntry("below resolution: no object covers a whole cell", _swatch(hatched=False)))
    if any(map(_unknown, cells)):
        entries.append(KeyEntry(_UNKNOWN, _swatch(hatched=True)))
    return indented(key_of(entries, width - 2 * _MARGIN, _LETTERS), _MARGIN, width)


def _swatch(hatched: bool) -> Canvas:
    swatch = Canvas(_SWATCH, _SWATCH)
    swatch.rectangle((0, 0, _SWATCH, _SWATCH), NOTHING, hatched)
    return swatch


def _draw_ranges(seen: LevelsSeen, width: int) -> Canvas:
    """Draw a bar for each range of sizes over what is assigned, on a logarithmic axis with lines at the edges."""
    ranges, edges = seen.ranges, seen.edges
    heading = indented(key_of(_heading(seen), width - 2 * _MARGIN, _LETTERS), _MARGIN, width)
    names = [printable(one.name) for one in ranges]
    counts = [f"n {one.objects}" for one in ranges]
    font, small = font_of(_LETTERS, "".join(names)), font_of(_LETTERS - 2)
    left = _MARGIN + widest(names, font) + _MARGIN
    right = width - _MARGIN - widest(counts, font) - _MARGIN
    top, bottom = 6, 6 + _ROW * len(ranges)
    ticks = _ticks(ranges, edges)
    low, high = np.log(ticks[0]), np.log(ticks[-1])

    def place(size: float) -> float:
        return float(left + (np.log(max(size, 1e-9)) - low) / (high - low) * (right - left))

    canvas = Canvas(width, bottom + 2 * _LETTERS + _MARGIN)
    taken = -np.inf
    for tick in ticks:
        x, text = place(tick), f"{tick:g}"
        canvas.line((x, top), (x, bottom + 4), PALE if tick in edges else LINE)
        if x - length(text, small) / 2 > taken:
            canvas.text((x, bottom + 6), text, small, PALE, anchor="ma")
            taken = x + length(text, small) / 2 + 6
    for number, (one, name, count) in enumerate(zip(ranges, names, counts)):
        y = top + _ROW * number + _ROW / 2
        canvas.text((left - _MARGIN, y), name, font, anchor="rm")
        canvas.text((right + _MARGIN, y), count, font, PALE, anchor="lm")
        if one.assigned is not None:
            least, most = one.assigned
            _draw_bracket(canvas, place(least) if least else None, place(most) if most else None, y, (left, right))
        if one.objects:
            _draw_bar(canvas, (place(one.low), place(one.middle), place(one.high)), y)
    return stack([heading, canvas])


def _draw_bar(canvas: Canvas, places: Tuple[float, float, float], y: float) -> None:
    """Draw the bar of a range of sizes with its median. places: of its low end, its middle and its high end."""
    low, middle, high = places
    canvas.rectangle((low - 1, y - 6, high + 2, y + 7), _BAR)
    middle = math.floor(middle)
    canvas.rectangle((middle - 1, y - 9, middle + 2, y + 10), INK)


def _draw_bracket(
    canvas: Canvas, start: Optional[float], end: Optional[float], y: float, axis: Tuple[float, float]
) -> None:
    """Draw a pale band with a bracket at each end; an end without a limit reaches the end of the axis and has none."""
    first, last = axis[0] if start is None else start, axis[1] if end is None else end
    canvas.rectangle((first, y - _HALF, last + 1, y + _HALF + 1), _BAND)
    for x, inwards in ((start, 1), (end, -1)):
        if x is None:
            continue
        canvas.rectangle((x - 1, y - _HALF, x + 1, y + _HALF + 1), _BRACKET)
        tip = x + inwards * min(4, (last - first) / 2)
        for edge in (y - _HALF, y + _HALF):
            canvas.rectangle((min(x, tip), edge, max(x, tip) + 1, edge + 1), _BRACKET)


def _heading(seen: LevelsSeen) -> List[KeyEntry]:
    """Explain the bars, and what the training assigns to a level."""
    spans = [one.assigned for one in seen.ranges if one.assigned is not None]
    if not spans:
        return [KeyEntry(f"{_HEADING} {seen.assigned}".rstrip())]
    bar, band = Canvas(_SWATCH, _SWATCH), Canvas(_SWATCH, _SWATCH)
    _draw_bar(bar, (1, _SWATCH / 2, _SWATCH - 2), _SWATCH / 2 - 1)
    ends = (9.0, 9.0) if all(low == high for low, high in spans) else (1.0, _SWATCH - 1.0)
    _draw_bracket(band, *ends, _SWATCH / 2, (0, _SWATCH))
    return [KeyEntry(_HEADING, bar), KeyEntry(seen.assigned, band)]


def _ticks(ranges: Sequence[SizeRange], edges: Sequence[float]) -> List[float]:
    """Return the edges, and doubles and halves of the outer ones, so that all ranges lie between the first and last.

    >>> _ticks([SizeRange("level 0", 9.0, 20.0, 70.0, 12)], [12.0, 20.0, 32.0])
    [6.0, 12.0, 20.0, 32.0, 64.0, 128.0]
    """
    limits = [end for one in ranges if one.assigned is not None for end in _limits(*one.assigned)]
    low = min([*limits, *(one.low for one in ranges if one.objects)], default=1.0)
    high = max([*limits, *(one.high for one in ranges if one.objects)], default=1.0)
    ticks = sorted(edges) or [float(2 ** np.floor(np.log2(max(low, 1.0))))]
    while ticks[0] > max(low, _SMALLEST):
        ticks.insert(0, ticks[0] / 2)
    while ticks[-1] < high or len(ticks) < 2:
        ticks.append(ticks[-1] * 2)
    return ticks


def _limits(low: float, high: Optional[float]) -> List[float]:
    """Return the sizes that the axis shows of what is assigned to a level: a part of it if it has no end.

    >>> _limits(0.0, 64.0), _limits(64.0, 128.0), _limits(512.0, None)
    ([32.0, 64.0], [64.0, 128.0], [512.0, 1024.0])
    """
    if high is None:
        return [low, 2 * low] if low else []
    return [low or high / 2, high]

"""Draw a matrix of layers by layers: a coloured cell for each pair, with its value, and hatched if it may be chance."""

from __future__ import annotations

from itertools import groupby
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.errors import BadArrayError
from featscope.render.canvas import INK, PALE, WHITE, Canvas, is_dark
from featscope.render.caption import Caption, captioned, with_shares
from featscope.render.colour import Colour, palette
from featscope.render.fonts import Font, font_of
from featscope.render.plots import Plot
from featscope.render.texts import fitted, length, widest

NOTHING: Colour = (228, 228, 228)
"""The colour of a cell without a value."""

_GAP = 6  # pixels between two layers
_HATCH = 7  # pixels from one line of the hatching to the next
_LONGEST = 220  # pixels of a layer's name
_BETWEEN = 4  # pixels from one line in a cell to the next
_WITH_VALUES = 34  # pixels; a smaller cell has no room for a number
_MOST_SIDE = 1200  # pixels of all cells, as long as they are larger than the smallest
_ROUNDED = 1e-6  # of the scale; a value that is no further beyond it lies at its end
_CELL = (16, 52)  # the smallest and the largest cell, in pixels

Label = Tuple[str, str]
"""A layer and, within it, a level."""


class Matrix(NamedTuple):
    """What is drawn: values (a, b) with the labels of their rows and columns."""

    values: NDArray[np.float64]
    """NaN where there is no value."""

    floor: NDArray[np.float64]
    """Values that are not above this one may be chance, (a, b); NaN where it is unknown."""

    rows: Sequence[Label]
    columns: Sequence[Label]

    sides: Tuple[str, str] = ("A", "B")
    """What the rows are, and what the columns are."""

    title: str = ""
    words: str = ""
    scale: Tuple[float, float] = (0.0, 1.0)
    """Values of the first and the last colour. Values beyond have the colour of the end, and their own number."""

    colours: str = "viridis"

    texts: Sequence[Sequence[str]] = ()
    """Text of each cell, of one or two lines, in place of its value."""

    hatched: Optional[NDArray[np.bool_]] = None
    """Which cells are hatched, (a, b), in place of those that are not above the floor."""


class _Axis(NamedTuple):
    """Where the cells of one axis lie, in pixels from the first cell."""

    starts: List[int]

    groups: List[Tuple[str, int, int]]
    """Name, start and end of each layer."""

    length: int

    cell: int


def draw_matrix(matrix: Matrix) -> Plot:
    """Draw a matrix.

    >>> values = np.array([[0.93, 0.02], [0.1, np.nan]])
    >>> labels = [("neck", "0"), ("neck", "1")]
    >>> draw_matrix(Matrix(values, np.full((2, 2), 0.05), labels, labels, title="Likeness of layers")).png()[1:4]
    b'PNG'

    Raises `BadArrayError` if there is nothing to draw, or if the labels do not match the values.
    """
    about = {"title": matrix.title, "words": _words(matrix), "rows": matrix.sides[0], "columns": matrix.sides[1]}
    return Plot(matrix_canvas(matrix), about)


def matrix_canvas(matrix: Matrix) -> Canvas:
    """Draw a matrix with its labels, its title and its scale on a canvas; see `draw_matrix`."""
    shape = (len(matrix.rows), len(matrix.columns))
    if 0 in shape or matrix.values.shape != shape or matrix.floor.shape != shape:
        raise BadArrayError(
            f"a matrix of {matrix.values.shape} values and {matrix.floor.shape} floors cannot be drawn with "
            f"{shape[0]} and {shape[1]} labels; give a label for each row and column"
        )
    small, large = _CELL
    cell = min(max((_MOST_SIDE - _GAP * max(shape)) // max(shape), small), large)
    table = palette(matrix.colours)
    cells, down, across = _draw_cells(matrix, cell, table)
    body = _with_labels(cells, matrix, down, across, size=min(15, max(11, cell * 2 // 5)))
    low, high = matrix.scale
    known = matrix.values[np.isfinite(matrix.values)]
    least, most = low - _ROUNDED * (high - low), high + _ROUNDED * (high - low)
    beyond = (float((known < least).mean()), float((known > most).mean())) if known.size else (0.0, 0.0)
    return captioned(body, Caption(matrix.title, with_shares(_words(matrix), beyond)), matrix.scale, table, letters=17)


def _words(matrix: Matrix) -> str:
    """Return the words of a matrix. They say what the hatching means, unless the matrix has its own hatching."""
    if matrix.hatched is not None:
        return matrix.words
    floors = matrix.floor[np.isfinite(matrix.floor)]
    hatching = "no noise floor"
    if floors.size:
        low, high = (f"{number:.2f}" for number in (floors.min(), floors.max()))
        span = low if low == high else f"{low} to {high}"
        above = "hatched: not" if _hatched(matrix).any() else "all values are"
        hatching = f"{above} above the noise floor, {span}"
    return "; ".join(filter(None, (matrix.words, hatching)))


def _hatched(matrix: Matrix) -> NDArray[np.bool_]:
    """Return which cells are hatched."""
    if matrix.hatched is not None:
        return matrix.hatched
    return np.isfinite(matrix.values) & np.isfinite(matrix.floor) & ~(matrix.values > matrix.floor)


def _axis(labels: Sequence[Label], cell: int) -> _Axis:
    starts: List[int] = []
    groups: List[Tuple[str, int, int]] = []
    place = 0
    for name, members in groupby(labels, key=lambda label: label[0]):
        first = place = place + (_GAP if groups else 0)
        for _ in members:
            starts.append(place)
            place += cell
        groups.append((name, first, place))
    return _Axis(starts, groups, place, cell)


def _draw_cells(matrix: Matrix, cell: int, table: NDArray[np.uint8]) -> Tuple[Canvas, _Axis, _Axis]:
    """Draw the cells, without labels."""
    down, across = _axis(matrix.rows, cell), _axis(matrix.columns, cell)
    canvas, font = Canvas(across.length, down.length), font_of(cell * 2 // 7)
    low, high = matrix.scale
    hatched = _hatched(matrix)
    for i, j in np.ndindex(*matrix.values.shape):
        value, top, left = float(matrix.values[i, j]), down.starts[i], across.starts[j]
        colour = NOTHING
        if np.isfinite(value):
            red, green, blue = table[round(255 * float(np.clip((value - low) / (high - low), 0, 1)))]
            colour = (int(red), int(green), int(blue))
        canvas.rectangle((left, top, left + cell - 1, top + cell - 1), colour, bool(hatched[i, j]))
        text = matrix.texts[i][j] if matrix.texts else _number(value)
        if cell >= _WITH_VALUES and text:
            _write_in(canvas, (left + (cell - 1) / 2, top + (cell - 1) / 2), text, font, (colour, bool(hatched[i, j])))
    return canvas, down, across


def _write_in(canvas: Canvas, middle: Tuple[float, float], text: str, font: Font, ground: Tuple[Colour, bool]) -> None:
    """Write lines in the middle of a cell, without hatching behind them."""
    across, down = middle
    step = font.getbbox("A")[3] + _BETWEEN
    lines = text.split("\n")
    places = [(across, down + step * (number - (len(lines) - 1) / 2)) for number in range(len(lines))]
    colour, hatched = ground
    if hatched:
        boxes = np.array([font.getbbox(line, anchor="mm") for line in lines]) + np.array([at * 2 for at in places])
        (left, top), (right, bottom) = np.floor(boxes[:, :2].min(0)), np.ceil(boxes[:, 2:].max(0)) + 1
        canvas.rectangle((float(left), float(top), float(right), float(bottom)), colour)
    for line, at in zip(lines, places):
        canvas.text(at, line, font, WHITE if is_dark(colour) else INK, anchor="mm")


def _number(value: float) -> str:
    """Write a value in a cell.

    >>> _number(0.934), _number(-0.021), _number(-0.001), _number(float("nan"))
    ('0.93', '-0.02', '0.00', 'none')
    """
    return f"{round(float(value), 2) + 0.0:.2f}" if np.isfinite(value) else "none"


def _with_labels(cells: Canvas, matrix: Matrix, down: _Axis, across: _Axis, size: int) -> Canvas:
    """Put the names of layers and levels, and what the rows and columns are, around the cells."""
    font = font_of(size, "".join(name for name, _ in (*matrix.rows, *matrix.columns)) + "".join(matrix.sides))
    rows = [fitted(text, font, _LONGEST) for _, text in matrix.rows]
    columns = [fitted(text, font, _LONGEST) for _, text in matrix.columns]
    row_groups = [fitted(name, font, _LONGEST) for name, _, _ in down.groups]
    column_groups = [fitted(name, font, _LONGEST) for name, _, _ in across.groups]
    room = [end - start for _, start, end in across.groups]
    stand, groups_stand = _too_wide(columns, [across.cell] * len(columns), font), _too_wide(column_groups, room, font)
    pad = size // 2
    line_x = pad + 2 * size + widest(row_groups, font) + pad  # the lines beside the groups
    left = line_x + pad + widest(rows, font) + pad
    line_y = pad + 2 * size + (widest(column_groups, font) if groups_stand else size + pad) + pad
    top = line_y + pad + (widest(columns, font) if stand else size + pad) + pad
    canvas = Canvas(left + cells.width + size, top + cells.height + pad)
    canvas.paste(cells, left, top)
    for text, start in zip(rows, down.starts):
        canvas.text((left - pad, top + start + down.cell / 2), text, font, PALE, anchor="rm")
    for text, start in zip(columns, across.starts):
        foot = (left + start + across.cell // 2, top - pad)
        canvas.text(foot, text, font, PALE, anchor="lm" if stand else "ms", upright=stand)
    for name, (_, start, end) in zip(row_groups, down.groups):
        canvas.line((line_x, top + start), (line_x, top + end - 2), PALE)
        canvas.text((line_x - pad, top + (start + end) / 2), name, font, anchor="rm")
    for name, (_, start, end) in zip(column_groups, across.groups):
        canvas.line((left + start, line_y), (left + end - 2, line_y), PALE)
        foot = (left + (start + end) // 2, line_y - pad)
        canvas.text(foot, name, font, anchor="lm" if groups_stand else "ms", upright=groups_stand)
    # Beside a matrix of one row, the name of its rows is longer than the cells.
    first, second = (
        fitted(matrix.sides[0], font, canvas.height - pad),
        fitted(matrix.sides[1], font, canvas.width - pad),
    )
    middle = min(left + cells.width / 2, canvas.width - pad / 2 - length(second, font) / 2)
    canvas.text((middle, pad), second, font, anchor="ma")
    middle = min(top + cells.height / 2, canvas.height - pad / 2 - length(first, font) / 2)
    canvas.text((pad + size // 2, middle), first, font, anchor="mm", upright=True)
    return canvas


def _too_wide(texts: Sequence[str], room: Sequence[int], font: Font) -> bool:
    """Whether texts must be written upright because one does not fit."""
    return any(length(text, font) > pixels for text, pixels in zip(texts, room))

"""Draw a matrix of layers by layers: a coloured cell for each pair, with its value, and hatched if it may be chance."""

from __future__ import annotations

from itertools import groupby
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from featscope.arrays.normalise import Quantised
from featscope.errors import BadArrayError
from featscope.render.caption import Caption, frame, framed
from featscope.render.colour import Colour, palette
from featscope.render.fonts import Font, font_of, readable
from featscope.render.png import encode_rgb

_WHITE: Colour = (255, 255, 255)
_INK: Colour = (24, 24, 24)
_PALE: Colour = (96, 96, 96)
NOTHING: Colour = (228, 228, 228)
"""The colour of a cell without a value."""

_GAP = 6  # pixels between two layers
_HATCH = 7  # pixels from one line of the hatching to the next
_LONGEST = 220  # pixels of a layer's name
_WITH_VALUES = 34  # pixels; a smaller cell has no room for a number
_MOST_SIDE = 1200  # pixels of all cells, as long as they are larger than the smallest
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


def draw_matrix(matrix: Matrix) -> bytes:
    """Draw a matrix as a PNG.

    >>> values = np.array([[0.93, 0.02], [0.1, np.nan]])
    >>> labels = [("neck", "0"), ("neck", "1")]
    >>> draw_matrix(Matrix(values, np.full((2, 2), 0.05), labels, labels, title="Likeness of layers"))[1:4]
    b'PNG'

    Raises `BadArrayError` if there is nothing to draw, or if the labels do not match the values.
    """
    text = {"title": matrix.title, "words": _words(matrix), "rows": matrix.sides[0], "columns": matrix.sides[1]}
    return encode_rgb(paint_matrix(matrix), text)


def paint_matrix(matrix: Matrix) -> NDArray[np.uint8]:
    """Paint a matrix with its labels, its title and its scale, (H, W, 3); see `draw_matrix`."""
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
    picture = _with_labels(cells, matrix, down, across, size=min(15, max(11, cell * 2 // 5)))
    low, high = matrix.scale
    known = matrix.values[np.isfinite(matrix.values)]
    beyond = (float((known < low).mean()), float((known > high).mean())) if known.size else (0.0, 0.0)
    scale = Quantised(np.zeros((1, 1), np.uint8), low, high, nan=0, inf=0, constant=False)
    around = frame(picture.shape[1], Caption(matrix.title, _words(matrix)), scale, beyond, letters=17)
    return framed(picture, around, table)


def _words(matrix: Matrix) -> str:
    """Return the words of a matrix. They say what the hatching means, unless the matrix has its own hatching."""
    if matrix.hatched is not None:
        return matrix.words
    floors = matrix.floor[np.isfinite(matrix.floor)]
    hatching = "no noise floor"
    if floors.size:
        low, high = (f"{number:.2f}" for number in (floors.min(), floors.max()))
        hatching = f"hatched: not above the noise floor, {low if low == high else f'{low} to {high}'}"
    return "; ".join(filter(None, (matrix.words, hatching)))


def hatching(size: int, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a hatched square of this colour, (size, size, 3)."""
    square = np.empty((size, size, 3), np.uint8)
    square[:] = rgb
    lines = np.add.outer(np.arange(size), np.arange(size)) % _HATCH < 2
    square[lines] = (0.7 * rgb + 0.3 * (255 if _is_dark(rgb) else 0)).astype(np.uint8)
    return square


def _is_dark(rgb: NDArray[np.uint8]) -> bool:
    return bool(rgb @ np.array([0.299, 0.587, 0.114]) < 140)


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


def _draw_cells(matrix: Matrix, cell: int, table: NDArray[np.uint8]) -> Tuple[Image.Image, _Axis, _Axis]:
    """Draw the cells, without labels."""
    down, across = _axis(matrix.rows, cell), _axis(matrix.columns, cell)
    pixels = np.full((down.length, across.length, 3), 255, np.uint8)
    low, high = matrix.scale
    hatched = _hatched(matrix)
    inks: Dict[Tuple[int, ...], Tuple[Colour, Colour]] = {}
    for place in np.ndindex(*matrix.values.shape):
        value, top, left = matrix.values[place], down.starts[place[0]], across.starts[place[1]]
        rgb = np.array(NOTHING, np.uint8)
        if np.isfinite(value):
            rgb = table[round(255 * float(np.clip((value - low) / (high - low), 0, 1)))]
        here = pixels[top : top + cell - 1, left : left + cell - 1]
        here[:] = hatching(cell - 1, rgb) if hatched[place] else rgb
        inks[place] = (int(rgb[0]), int(rgb[1]), int(rgb[2])), _WHITE if _is_dark(rgb) else _INK
    picture = Image.fromarray(pixels)
    if cell >= _WITH_VALUES:
        draw, font = ImageDraw.Draw(picture), font_of(cell * 2 // 7)
        for (i, j), (colour, ink) in inks.items():
            middle = (across.starts[j] + (cell - 1) / 2, down.starts[i] + (cell - 1) / 2)
            text = matrix.texts[i][j] if matrix.texts else _number(float(matrix.values[i, j]))
            if not text:
                continue
            draw.rectangle(
                draw.textbbox(middle, text, font=font, anchor="mm", align="center"), fill=colour
            )  # no hatching behind it
            draw.text(middle, text, fill=ink, font=font, anchor="mm", align="center")
    return picture, down, across


def _number(value: float) -> str:
    """Write a value in a cell.

    >>> _number(0.934), _number(-0.021), _number(-0.001), _number(float("nan"))
    ('0.93', '-0.02', '0.00', 'none')
    """
    return f"{round(float(value), 2) + 0.0:.2f}" if np.isfinite(value) else "none"


def _with_labels(cells: Image.Image, matrix: Matrix, down: _Axis, across: _Axis, size: int) -> NDArray[np.uint8]:
    """Put the names of layers and levels, and what the rows and columns are, around the cells."""
    font = font_of(size, "".join(name for name, _ in (*matrix.rows, *matrix.columns)) + "".join(matrix.sides))
    rows = [fitted(text, font, _LONGEST) for _, text in matrix.rows]
    columns = [fitted(text, font, _LONGEST) for _, text in matrix.columns]
    row_groups = [fitted(name, font, _LONGEST) for name, _, _ in down.groups]
    column_groups = [fitted(name, font, _LONGEST) for name, _, _ in across.groups]
    room = [end - start for _, start, end in across.groups]
    stand, groups_stand = _too_wide(columns, [across.cell] * len(columns), font), _too_wide(column_groups, room, font)
    pad = size // 2
    line_x = pad + 2 * size + _widest(row_groups, font) + pad  # the lines beside the groups
    left = line_x + pad + _widest(rows, font) + pad
    line_y = pad + 2 * size + (_widest(column_groups, font) if groups_stand else size + pad) + pad
    top = line_y + pad + (_widest(columns, font) if stand else size + pad) + pad
    picture = Image.new("RGB", (left + cells.width + size, top + cells.height + pad), _WHITE)
    picture.paste(cells, (left, top))
    draw = ImageDraw.Draw(picture)
    for text, start in zip(rows, down.starts):
        draw.text((left - pad, top + start + down.cell / 2), text, fill=_PALE, font=font, anchor="rm")
    for text, start in zip(columns, across.starts):
        _write(picture, text, font, (left + start + across.cell // 2, top - pad), upright=stand, ink=_PALE)
    for name, (_, start, end) in zip(row_groups, down.groups):
        draw.line([line_x, top + start, line_x, top + end - 2], fill=_PALE)
        draw.text((line_x - pad, top + (start + end) / 2), name, fill=_INK, font=font, anchor="rm")
    for name, (_, start, end) in zip(column_groups, across.groups):
        draw.line([left + start, line_y, left + end - 2, line_y], fill=_PALE)
        _write(picture, name, font, (left + (start + end) // 2, line_y - pad), upright=groups_stand)
    first, second = (fitted(side, font, max(cells.size)) for side in matrix.sides)
    draw.text((left + cells.width / 2, pad), second, fill=_INK, font=font, anchor="ma")
    length = _widest([first], font)
    _write(picture, first, font, (pad + size // 2, top + (cells.height + length) // 2), upright=True)
    return np.asarray(picture)


def _widest(texts: Sequence[str], font: Font) -> int:
    probe = ImageDraw.Draw(Image.new("L", (1, 1)))
    return round(max(probe.textlength(text, font=font) for text in texts))


def _too_wide(texts: Sequence[str], room: Sequence[int], font: Font) -> bool:
    """Whether texts must be written upright because one does not fit."""
    return any(_widest([text], font) > pixels for text, pixels in zip(texts, room))


def _write(
    picture: Image.Image, text: str, font: Font, foot: Tuple[int, int], *, upright: bool, ink: Colour = _INK
) -> None:
    """Write a text above a point, or upright from it, from bottom to top."""
    draw = ImageDraw.Draw(picture)
    if not upright:
        draw.text(foot, text, fill=ink, font=font, anchor="ms")
        return
    _, _, right, bottom = draw.textbbox((0, 0), text, font=font)
    lying = Image.new("RGB", (round(right) + 1, round(bottom) + 1), _WHITE)
    ImageDraw.Draw(lying).text((0, 0), text, fill=ink, font=font)
    standing = lying.transpose(Image.Transpose.ROTATE_90)
    picture.paste(standing, (foot[0] - standing.width // 2, max(0, foot[1] - standing.height)))


def fitted(text: str, font: Font, room: float) -> str:
    """Return a text that can be drawn, without its middle if it does not fit."""
    text = readable(text)
    probe = ImageDraw.Draw(Image.new("L", (1, 1)))
    kept = len(text)
    while kept > 6 and probe.textlength(_without_middle(text, kept), font=font) > room:
        kept -= 1
    return _without_middle(text, kept)


def _without_middle(text: str, kept: int) -> str:
    """Return a text with so many of its characters.

    >>> _without_middle("bbox_head_refine", 10)
    'bbox_...efine'
    """
    return text if kept >= len(text) else text[: kept - kept // 2] + "..." + text[len(text) - kept // 2 :]

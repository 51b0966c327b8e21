"""A surface for plots: marks in order, each above the ones before it. `painter` makes pixels of it, `svg` a drawing.

Lengths are pixels, (left, top) is the corner, and down is positive.
"""

from __future__ import annotations

import math
from typing import List, NamedTuple, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from featscope.render.colour import Colour
from featscope.render.fonts import Font
from featscope.render.texts import printable

INK: Colour = (24, 24, 24)
PALE: Colour = (96, 96, 96)
LINE: Colour = (212, 212, 212)
WHITE: Colour = (255, 255, 255)

HATCH = (7, 2)
"""Pixels from one line of a hatching to the next, and of a line, both along a row."""

Box = Tuple[float, float, float, float]
"""(left, top, right, bottom); right and bottom do not belong to it."""


class Rectangle(NamedTuple):
    """A filled rectangle."""

    box: Box
    colour: Colour

    hatched: bool = False
    """Whether diagonal lines lie on it, from the upper right to the lower left."""


class Polygon(NamedTuple):
    """A filled polygon, for signs and markers."""

    points: Sequence[Tuple[float, float]]
    colour: Colour


class Picture(NamedTuple):
    """Pixels that fill a box, such as the colours of a scale."""

    box: Box
    pixels: NDArray[np.uint8]
    """(H, W, 3)."""


class Text(NamedTuple):
    """One line of text."""

    at: Tuple[float, float]
    """(across, down)."""

    text: str
    font: Font
    colour: Colour

    anchor: str
    """Which part of the text lies at the point, as in Pillow: `l`, `m` or `r` for its left end, middle or right end;
    then `a`, `m` or `s` for the top of the letters, their middle or the baseline."""

    upright: bool = False
    """Whether the text runs from bottom to top. The anchor is that of the text before it is turned."""


Mark = Union[Rectangle, Polygon, Picture, Text]


class Canvas:
    """What a plot is made of.

    >>> from featscope.render.fonts import font_of
    >>> canvas = Canvas(120, 40)
    >>> canvas.rectangle((10, 10, 30, 30), (200, 0, 0))
    >>> canvas.text((40, 20), "a < b", font_of(14), anchor="lm")
    >>> [type(mark).__name__ for mark in canvas.marks]
    ['Rectangle', 'Text']
    """

    def __init__(self, width: float, height: float) -> None:
        self.width = round(width)
        self.height = round(height)
        self.marks: List[Mark] = []

    def rectangle(self, box: Box, colour: Colour, hatched: bool = False) -> None:
        """Fill a rectangle."""
        self.marks.append(Rectangle(box, colour, hatched))

    def line(self, start: Tuple[float, float], end: Tuple[float, float], colour: Colour = LINE, width: int = 1) -> None:
        """Draw a line along a row or a column. Both ends belong to it."""
        (left, top), (right, bottom) = ((math.floor(x), math.floor(y)) for x, y in (start, end))
        self.rectangle((left, top, right + width, bottom + width), colour)

    def polygon(self, points: Sequence[Tuple[float, float]], colour: Colour) -> None:
        """Fill a polygon."""
        self.marks.append(Polygon(tuple(points), colour))

    def picture(self, box: Box, pixels: NDArray[np.uint8]) -> None:
        """Stretch pixels (H, W, 3) over a box."""
        self.marks.append(Picture(box, pixels))

    def text(
        self,
        at: Tuple[float, float],
        text: str,
        font: Font,
        colour: Colour = INK,
        *,
        anchor: str = "la",
        upright: bool = False,
    ) -> None:
        """Write a line of text; see `Text`. A character that steers is written as its code."""
        self.marks.append(Text(at, printable(text), font, colour, anchor=anchor, upright=upright))

    def paste(self, other: Canvas, left: float = 0, top: float = 0) -> None:
        """Put the marks of another canvas on this one."""
        self.marks += [_moved(mark, left, top) for mark in other.marks]


def stack(parts: Sequence[Canvas]) -> Canvas:
    """Put canvases below one another, their left edges in one line.

    >>> whole = stack([Canvas(9, 4), Canvas(6, 4)])
    >>> whole.width, whole.height
    (9, 8)
    """
    whole = Canvas(max(part.width for part in parts), sum(part.height for part in parts))
    top = 0
    for part in parts:
        whole.paste(part, 0, top)
        top += part.height
    return whole


def indented(part: Canvas, left: int, width: int) -> Canvas:
    """Put a canvas on one of another width."""
    wide = Canvas(width, part.height)
    wide.paste(part, left)
    return wide


def hatch_colour(colour: Colour) -> Colour:
    """Return the colour of the lines on a hatched rectangle."""
    other = 255 if is_dark(colour) else 0
    red, green, blue = (int(0.7 * part + 0.3 * other) for part in colour)
    return red, green, blue


def is_dark(colour: Colour) -> bool:
    """Whether white letters stand out from a colour better than black ones.

    >>> is_dark((0, 0, 255)), is_dark((255, 255, 0))
    (True, False)
    """
    return bool(np.dot(colour, (0.299, 0.587, 0.114)) < 140)


def _moved(mark: Mark, left: float, top: float) -> Mark:
    """Return a mark at another place."""
    if isinstance(mark, Text):
        return mark._replace(at=(mark.at[0] + left, mark.at[1] + top))
    if isinstance(mark, Polygon):
        return mark._replace(points=[(x + left, y + top) for x, y in mark.points])
    start, above, end, below = mark.box
    return mark._replace(box=(start + left, above + top, end + left, below + top))

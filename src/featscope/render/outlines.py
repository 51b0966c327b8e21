"""Draw the outlines of boxes that play different parts: solid, dashed, dotted or thin, each in its own colour."""

from __future__ import annotations

from typing import List, NamedTuple, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from featscope.render.canvas import Canvas
from featscope.render.colour import Colour

_FINE = 3  # drawn so many times larger, so that slanted lines become smooth
_CASING = (0, 0, 0, 150)
_FAR = 1e4  # pixels; coordinates are clipped to this


class Pen(NamedTuple):
    """How an outline is drawn."""

    colour: Colour
    width: float
    """Pixels."""

    dash: Tuple[float, float] = (1.0, 0.0)
    """Pixels of a dash and of the gap after it; no gap for a solid line."""

    opacity: float = 1.0

    casing: bool = True
    """Whether a dark line lies under it, so that it is visible on any ground."""


TRUE = Pen((255, 255, 255), 2.4)
CANDIDATE = Pen((0, 224, 255), 2.0, (9.0, 5.0))
SUPPRESSOR = Pen((255, 92, 205), 2.4, (3.0, 3.5))
FOUND = Pen((150, 240, 70), 2.4)
OTHER = Pen((255, 255, 255), 1.0, opacity=0.5, casing=False)

Outline = Tuple[NDArray[np.floating], Pen]
"""Corners in pixels of the picture, (4, 2) x and y, and the pen."""


def draw_outlines(picture: NDArray[np.uint8], outlines: Sequence[Outline]) -> NDArray[np.uint8]:
    """Return an RGB picture with outlines, the first ones on top.

    >>> square = np.array([[2.0, 2.0], [8.0, 2.0], [8.0, 8.0], [2.0, 8.0]])
    >>> draw_outlines(np.zeros((10, 10, 3), np.uint8), [(square, OTHER)])[2, 5].tolist()
    [128, 128, 128]
    """
    height, width = picture.shape[:2]
    layer = Image.new("RGBA", (width * _FINE, height * _FINE), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    for corners, pen in reversed(outlines):
        # The middle of a pixel, not its corner, so that a thin line fills whole pixels.
        points = (np.nan_to_num(np.asarray(corners, np.float64)).clip(-_FAR, _FAR) + 0.5) * _FINE
        pieces = list(_pieces(points, pen))
        for piece in pieces if pen.casing else ():
            _line(draw, piece, (pen.width + 2) * _FINE, _CASING)
        for piece in pieces:
            _line(draw, piece, pen.width * _FINE, (*pen.colour, round(255 * pen.opacity)))
    ground = Image.fromarray(picture).convert("RGBA")
    ground.alpha_composite(_reduced(layer))
    return np.asarray(ground.convert("RGB"))


def _reduced(layer: Image.Image) -> Image.Image:
    """Reduce a transparent picture. Colours are weighted by their opacity, as otherwise the edges become dark."""
    return (
        layer.convert("RGBa")
        .resize((layer.width // _FINE, layer.height // _FINE), Image.Resampling.BOX)
        .convert("RGBA")
    )


def pen_sample(pen: Pen, width: int = 34, height: int = 14) -> Canvas:
    """Return a piece of a line on grey, for a key."""
    ground = np.full((height, width, 3), 120, np.uint8)
    left, right, middle, below = -9.0, width + 9.0, height / 2 - 0.5, 9.0 * height
    line = np.array([[left, middle], [right, middle], [right, below], [left, below]])
    sample = Canvas(width, height)
    sample.picture((0, 0, width, height), draw_outlines(ground, [(line, pen)]))
    return sample


def _pieces(points: NDArray[np.float64], pen: Pen) -> List[NDArray[np.float64]]:
    """Cut an outline into its dashes, each (k, 2)."""
    closed = np.vstack([points, points[:1]])
    dash, gap = pen.dash
    if not gap:
        return [closed]
    lengths = np.hypot(*np.diff(closed, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    step = (dash + gap) * _FINE
    pieces = []
    for start in np.arange(0.0, along[-1], step):
        end = min(start + dash * _FINE, along[-1])
        at = np.concatenate([[start], along[(along > start) & (along < end)], [end]])
        pieces.append(np.stack([np.interp(at, along, closed[:, axis]) for axis in (0, 1)], 1))
    return pieces


def _line(draw: ImageDraw.ImageDraw, points: NDArray[np.float64], width: float, colour: Tuple[int, ...]) -> None:
    draw.line([(float(x), float(y)) for x, y in points], fill=colour, width=round(width), joint="curve")

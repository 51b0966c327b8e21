"""Paint a canvas with Pillow, in colours or in greys."""

from __future__ import annotations

import math
from functools import singledispatch
from typing import Tuple, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from featscope.render.canvas import HATCH, Box, Canvas, Mark, Picture, Polygon, Rectangle, Text, hatch_colour
from featscope.render.colour import Colour
from featscope.render.fonts import baseline, readable
from featscope.render.texts import length


def paint(canvas: Canvas) -> NDArray[np.uint8]:
    """Paint a canvas on white, (H, W, 3).

    >>> canvas = Canvas(6, 4)
    >>> canvas.rectangle((1, 1, 3, 3), (200, 0, 0))
    >>> int((paint(canvas) == [200, 0, 0]).all(-1).sum())
    4
    """
    return np.asarray(_painted(canvas, "RGB"))


def paint_grey(canvas: Canvas) -> NDArray[np.uint8]:
    """Paint a canvas that has no colours but greys, (H, W)."""
    return np.asarray(_painted(canvas, "L"))


def _painted(canvas: Canvas, mode: str) -> Image.Image:
    image = Image.new(mode, (max(1, canvas.width), max(1, canvas.height)), "white")
    draw = ImageDraw.Draw(image)
    for mark in canvas.marks:
        _put(mark, image, draw)
    return image


def _ink(image: Image.Image, colour: Colour) -> Union[int, Colour]:
    return colour if image.mode == "RGB" else colour[0]


@singledispatch
def _put(mark: Mark, image: Image.Image, draw: ImageDraw.ImageDraw) -> None:
    raise TypeError(f"{type(mark).__name__} is no mark of a canvas")


@_put.register
def _(mark: Rectangle, image: Image.Image, draw: ImageDraw.ImageDraw) -> None:
    left, top, right, bottom = _pixels(mark.box)
    if right <= left or bottom <= top:
        return
    if mark.hatched:
        image.paste(Image.fromarray(_hatching(bottom - top, right - left, mark.colour)), (left, top))
    else:
        draw.rectangle([left, top, right - 1, bottom - 1], fill=_ink(image, mark.colour))


@_put.register
def _(mark: Polygon, image: Image.Image, draw: ImageDraw.ImageDraw) -> None:
    draw.polygon(list(mark.points), fill=_ink(image, mark.colour))


@_put.register
def _(mark: Picture, image: Image.Image, draw: ImageDraw.ImageDraw) -> None:
    left, top, right, bottom = _pixels(mark.box)
    rows, columns = (
        np.linspace(0, old - 1, max(1, new)).round().astype(int)
        for old, new in zip(mark.pixels.shape, (bottom - top, right - left))
    )
    image.paste(Image.fromarray(np.ascontiguousarray(mark.pixels[rows[:, None], columns])), (left, top))


@_put.register
def _(mark: Text, image: Image.Image, draw: ImageDraw.ImageDraw) -> None:
    text, ink = readable(mark.text), _ink(image, mark.colour)
    if not mark.upright:
        draw.text(mark.at, text, fill=ink, font=mark.font, anchor=mark.anchor)
        return
    room = math.ceil(baseline(mark.font, "a"))
    lying = Image.new("L", (math.ceil(length(text, mark.font)) + 2, 2 * room))
    ImageDraw.Draw(lying).text((0, room), text, fill=255, font=mark.font, anchor="ls")
    standing = lying.transpose(Image.Transpose.ROTATE_90)
    before = {"l": 0.0, "m": 0.5, "r": 1.0}[mark.anchor[0]] * length(text, mark.font)
    left = round(mark.at[0] + baseline(mark.font, mark.anchor[1])) - room
    image.paste(ink, (left, round(mark.at[1] + before) - standing.height), standing)


def _pixels(box: Box) -> Tuple[int, int, int, int]:
    """Return the pixels whose middles lie in a box."""
    left, top, right, bottom = (math.floor(edge + 0.5) for edge in box)
    return left, top, right, bottom


def _hatching(height: int, width: int, colour: Colour) -> NDArray[np.uint8]:
    """Return a hatched rectangle, (height, width, 3)."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = colour
    step, wide = HATCH
    lines = np.add.outer(np.arange(height), np.arange(width)) % step < wide
    pixels[lines] = hatch_colour(colour)
    return pixels

"""Frame a picture: a title above it, and below it the colour scale as it looks in the picture."""

from __future__ import annotations

import math
from typing import List, NamedTuple, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.normalise import INF_INDEX, NAN_INDEX, Quantised
from featscope.render.canvas import INK, PALE, WHITE, Canvas, indented, stack
from featscope.render.colour import INF_COLOUR, NAN_COLOUR, Colour
from featscope.render.fonts import font_of
from featscope.render.painter import paint_grey
from featscope.render.texts import length, wrapped

GREYS = 16
"""The number of palette indices that a frame needs for its letters, white to black."""

NARROWEST = 320
"""Pixels of the narrowest frame that has room for a scale."""

_WHITE = 255
_OUTLINE: Colour = (150, 150, 150)
_TICKS = 5  # about this many on a scale
_MARKS = {NAN_INDEX: NAN_COLOUR, INF_INDEX: INF_COLOUR}


Bounds = Tuple[float, float]

Box = Tuple[int, int, int, int]
"""(top, bottom, left, right) in pixels."""


class Caption(NamedTuple):
    """The text of a frame."""

    title: str
    """Which map this is."""

    words: str
    """How the map was reduced."""

    ends: Optional[Tuple[str, str]] = None
    """Text at the ends of the scale in place of numbers, for a picture whose parts have different ranges."""


class Frame(NamedTuple):
    """The parts of a frame, still without colours."""

    above: NDArray[np.uint8]
    """Grey strip above the picture, (rows, width)."""

    below: NDArray[np.uint8]
    """Grey strip below the picture, (rows, width)."""

    bar: Box
    """Where the colour bar lies in `below`."""

    swatches: List[Tuple[Box, int]]
    """Where small squares in the colours of NaN and infinity lie in `below`, and their indices."""

    @property
    def width(self) -> int:
        """Width of the framed picture. A narrower picture is centred in it."""
        return self.above.shape[1]


def frame(
    width: int, caption: Caption, values: Quantised, beyond: Bounds = (0.0, 0.0), letters: Optional[int] = None
) -> Frame:
    """Make the frame for a picture of this width.

    beyond: shares of the cells below and above the scale. letters: height of the letters in pixels; by default it
    depends on the width.
    """
    width = max(width, NARROWEST)
    below, bar, swatches = scale_of(width, values, caption.ends, letters)
    above = title_of(width, caption.title, with_shares(caption.words, beyond), letters)
    return Frame(paint_grey(above), paint_grey(below), bar, swatches)


def with_shares(words: str, beyond: Bounds) -> str:
    """Return words, and behind them how many cells lie below and above the scale.

    >>> with_shares("mean", (0.0, 0.02))
    'mean; 2.0% above the scale'
    """
    shares = [f"{_percent(share)} {where}" for share, where in zip(beyond, ("below", "above")) if share > 0]
    return words + (f"; {' and '.join(shares)} the scale" if shares else "")


def captioned(
    body: Canvas, caption: Caption, bounds: Bounds, ramp: NDArray[np.uint8], letters: Optional[int] = None
) -> Canvas:
    """Put a canvas between its title and a scale. ramp: colours, (n, 3). bounds: values of the first and the last."""
    width = max(body.width, NARROWEST)
    values = Quantised(np.zeros((1, 1), np.uint8), *bounds, nan=0, inf=0, constant=False)
    below, (top, bottom, left, right), _ = scale_of(width, values, caption.ends, letters)
    below.picture((left, top, right, bottom), ramp[None])
    middle = indented(body, (width - body.width) // 2, width)
    return stack([title_of(width, caption.title, caption.words, letters), middle, below])


def under_title(picture: NDArray[np.uint8], caption: Caption, letters: Optional[int] = None) -> NDArray[np.uint8]:
    """Put an RGB picture under a title, without a scale, for example if each colour is made of three values."""
    width = max(picture.shape[1], NARROWEST)
    above = paint_grey(title_of(width, caption.title, caption.words, letters))
    return np.vstack([_as_rgb(above), _in_the_middle(picture, width)])


def _letters(width: int, wanted: Optional[int] = None) -> Tuple[int, int]:
    """Return the heights of large and small letters, in pixels."""
    large = wanted or min(max(12, round(width / 62)), 40)
    return large, max(11, round(large * 0.82))


def title_of(width: int, title: str, words: str, letters: Optional[int] = None) -> Canvas:
    """Write the title in large letters and the words below it in small ones. letters: height of the large ones."""
    large, small = _letters(width, letters)
    pad = large // 2
    fonts = font_of(large, title), font_of(small, words)
    lines, under = (wrapped(text, font, width - 2 * pad) for text, font in zip((title, words), fonts))
    strip = Canvas(width, pad + round((large * len(lines) + small * len(under)) * 1.35) + pad // 2)
    y = float(pad // 2)
    for texts, font, size, ink in zip((lines, under), fonts, (large, small), (INK, PALE)):
        for text in texts:
            strip.text((pad, y), text, font, ink)
            y += size * 1.35
    return strip


def scale_of(
    width: int, values: Quantised, ends: Optional[Tuple[str, str]] = None, letters: Optional[int] = None
) -> Tuple[Canvas, Box, List[Tuple[Box, int]]]:
    """Draw the outline and the ticks of a colour bar, without its colours: `below`, `bar` and `swatches` of a frame."""
    large, unit = _letters(width, letters)
    pad = large // 2
    below, font = Canvas(width, pad + 2 * unit + round(unit * 0.9) + pad // 2), font_of(unit)
    top, bottom, left, right = pad, pad + unit, pad, width - pad
    swatches = []
    for name, index, count in (("NaN", NAN_INDEX, values.nan), ("infinite", INF_INDEX, values.inf)):
        if count:
            text = f"{name} {count}"
            right -= round(length(text, font)) + 2 * unit
            swatches.append(((top, bottom, right + unit // 2, right + unit // 2 + unit), index))
            below.text((right + 2 * unit - unit // 4, top + unit / 2), text, font, anchor="lm")
    bar = (top, bottom, left, max(left + 8, right - (unit if swatches else 0)))
    below.rectangle((bar[2] - 1, top - 1, bar[3] + 1, bottom + 1), _OUTLINE)
    below.rectangle((bar[2], top, bar[3], bottom), WHITE)
    for name, anchor, end in zip(ends or (), ("la", "ra"), bar[2:]):
        below.text((end, bottom + unit // 4 + 2), name, font, anchor=anchor)
    for value in ticks(values.low, values.high) if ends is None else ():
        share = 0.5 if values.constant else (value - values.low) / (values.high - values.low)
        x = bar[2] + share * (bar[3] - 1 - bar[2])
        text = tick_text(value, values.low, values.high)
        half = length(text, font) / 2
        below.line((x, bottom + 1), (x, bottom + 1 + unit // 4), PALE)
        below.text((min(max(x, half + 2), width - half - 2), bottom + unit // 4 + 2), text, font, anchor="ma")
    return below, bar, swatches


def ticks(low: float, high: float) -> List[float]:
    """Return about five round values from low to high.

    >>> ticks(0.0, 2.3), ticks(-3.2, 3.2)
    ([0.0, 0.5, 1.0, 1.5, 2.0], [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
    """
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return [low] if not span > 0 else [low, high]
    step = 10.0 ** math.floor(math.log10(span / _TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= _TICKS * 1.5)
    if not step > abs(high) * 1e-9 or step == 0:  # the range is too narrow for round values
        return [low, high]
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def tick_text(value: float, low: float, high: float) -> str:
    """Format a tick's value with enough digits to distinguish it from its neighbours.

    >>> tick_text(0.2 + 0.1, 0.0, 0.93), tick_text(12000.0, 0.0, 60000.0)
    ('0.3', '12000')
    """
    largest = max(abs(low), abs(high))
    if largest == 0 or value == 0:
        return "0"
    step = (high - low) / _TICKS or largest
    digits = max(1, min(9, math.floor(math.log10(largest)) - math.floor(math.log10(step)) + 1)) if step > 0 else 4
    text = f"{value:.{digits}g}"
    if "e" in text and 1e-4 <= abs(value) < 1e6:
        text = f"{value:.0f}"
    return text.replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.095 else f"{share:.1%}" if share >= 0.001 else "less than 0.1%"


def framed_indices(
    picture: NDArray[np.uint8], around: Frame, levels: int, colours: NDArray[np.uint8]
) -> Tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Put an indexed picture into its frame.

    Returns the framed picture and its palette, in which the frame uses `GREYS` indices from `levels` on.
    """
    above, below = grey_indices(around.above, levels), grey_indices(around.below, levels)
    top, bottom, left, right = around.bar
    below[top:bottom, left:right] = np.linspace(0, levels - 1, right - left).round().astype(np.uint8)
    for (top, bottom, left, right), index in around.swatches:
        below[top:bottom, left:right] = index
    return np.vstack([above, _in_the_middle(picture, around.width, levels), below]), with_greys(colours, levels)


def grey_indices(strip: NDArray[np.uint8], levels: int) -> NDArray[np.uint8]:
    """Convert a grey strip to indices of a palette whose greys begin with white at index `levels`."""
    return (levels + ((255 - strip.astype(np.uint16)) * (GREYS - 1) + 127) // 255).astype(np.uint8)


def with_greys(colours: NDArray[np.uint8], levels: int) -> NDArray[np.uint8]:
    """Return a palette with `GREYS` greys from index `levels`, white to black; only the first ones if not all fit."""
    table = colours.copy()
    table[levels:INF_INDEX] = np.linspace(255, 0, GREYS).round().astype(np.uint8)[: INF_INDEX - levels, None]
    return table


def framed(picture: NDArray[np.uint8], around: Frame, ramp: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put an RGB picture into its frame. ramp: the colours of the scale as they look in the picture, (n, 3)."""
    above, below = _as_rgb(around.above), _as_rgb(around.below)
    top, bottom, left, right = around.bar
    below[top:bottom, left:right] = ramp[np.linspace(0, len(ramp) - 1, right - left).round().astype(int)]
    for (top, bottom, left, right), index in around.swatches:
        below[top:bottom, left:right] = _MARKS[index]
    return np.vstack([above, _in_the_middle(picture, around.width), below])


def _as_rgb(strip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(strip[..., None], 3, 2)


def _in_the_middle(picture: NDArray[np.uint8], width: int, ground: int = _WHITE) -> NDArray[np.uint8]:
    """Centre a picture in a wider one."""
    wide = np.full((picture.shape[0], width, *picture.shape[2:]), ground, np.uint8)
    start = (width - picture.shape[1]) // 2
    wide[:, start : start + picture.shape[1]] = picture
    return wide

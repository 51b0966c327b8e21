"""Draw the key of a picture: what its signs mean, each with a sample of it."""

from __future__ import annotations

from typing import NamedTuple, Optional, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from featscope.render.caption import wrapped
from featscope.render.fonts import font_of, readable

_PALE = (96, 96, 96)
_GAP = 8  # pixels between a sample and its text


class KeyEntry(NamedTuple):
    """One sign and its meaning."""

    words: str

    sample: Optional[NDArray[np.uint8]] = None
    """The sign, (H, W, 3); None for a remark without one."""


def draw_key(entries: Sequence[KeyEntry], width: int, letters: int = 15) -> NDArray[np.uint8]:
    """Draw the entries below one another on white, (H, W, 3). Long texts are wrapped.

    >>> square = np.zeros((18, 18, 3), np.uint8)
    >>> draw_key([KeyEntry("below resolution", square), KeyEntry("two words", square)], 300).shape
    (52, 300, 3)

    letters: height in pixels.
    """
    font = font_of(letters, "".join(entry.words for entry in entries))
    tallest = max(
        [round(letters * 1.4), *(len(one.sample) + 5 for one in entries if one.sample is not None)], default=0
    )
    lines = []
    for entry in entries:
        left = 0 if entry.sample is None else entry.sample.shape[1] + _GAP
        for number, line in enumerate(wrapped(readable(entry.words), font, width - left)):
            lines.append((entry.sample if number == 0 else None, left, line))
    step = tallest
    strip = Image.new("RGB", (width, max(1, step * len(lines) + 6)), (255, 255, 255))
    draw = ImageDraw.Draw(strip)
    for number, (sample, left, line) in enumerate(lines):
        middle = number * step + step / 2
        if sample is not None:
            strip.paste(Image.fromarray(np.ascontiguousarray(sample)), (0, round(middle - len(sample) / 2)))
        draw.text((left, middle), line, fill=_PALE, font=font, anchor="lm")
    return np.asarray(strip)

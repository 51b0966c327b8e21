"""The key of a picture: what its signs mean, each with a sample of it."""

from __future__ import annotations

from typing import NamedTuple, Optional, Sequence

from featscope.render.canvas import PALE, Canvas
from featscope.render.fonts import font_of
from featscope.render.texts import wrapped

_GAP = 8  # pixels between a sample and its text


class KeyEntry(NamedTuple):
    """One sign and its meaning."""

    words: str

    sample: Optional[Canvas] = None
    """The sign; None for a remark without one."""


def key_of(entries: Sequence[KeyEntry], width: int, letters: int = 15) -> Canvas:
    """Return a canvas with the entries below one another. Long texts are wrapped.

    >>> square = Canvas(18, 18)
    >>> key = key_of([KeyEntry("below resolution", square), KeyEntry("two words", square)], 300)
    >>> key.width, key.height
    (300, 52)

    letters: height in pixels.
    """
    font = font_of(letters, "".join(entry.words for entry in entries))
    step = max([round(letters * 1.4), *(one.sample.height + 5 for one in entries if one.sample is not None)])
    lines = []
    for entry in entries:
        left = 0 if entry.sample is None else entry.sample.width + _GAP
        for number, line in enumerate(wrapped(entry.words, font, width - left)):
            lines.append((entry.sample if number == 0 else None, left, line))
    key = Canvas(width, step * len(lines) + 6)
    for number, (sample, left, line) in enumerate(lines):
        middle = number * step + step / 2
        if sample is not None:
            key.paste(sample, 0, round(middle - sample.height / 2))
        key.text((left, middle), line, font, PALE, anchor="lm")
    return key

"""Texts as they are drawn: how wide they are, and how they fit."""

from __future__ import annotations

from typing import List, Sequence
from unicodedata import category

from featscope.render.fonts import Font, readable


def printable(text: str) -> str:
    """Return a text in which each character that steers, such as a line break or an escape, is its code.

    >>> printable("a\\tb"), printable("\u8239")
    ('a[U+0009]b', '\u8239')
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or category(c) == "Zs" else f"[U+{ord(c):04X}]" for c in text)


def length(text: str, font: Font) -> float:
    """Return how wide a line of text is, in pixels, as it is drawn."""
    return float(font.getlength(readable(text)))


def widest(texts: Sequence[str], font: Font) -> int:
    """Return the width of the widest text, in pixels; 0 if there is none."""
    return round(max((length(text, font) for text in texts), default=0))


def wrapped(text: str, font: Font, room: float) -> List[str]:
    """Wrap a text into lines that fit. A word that is too long for a line loses its middle."""
    words = printable(" ".join(text.split())).split()
    lines: List[str] = []
    whole = " ".join(words)
    # Nearly every text fits into one line. Measuring it word by word would take longer than drawing it.
    if length(whole, font) <= room:
        return [whole] if words else []
    for word in words:
        while length(word, font) > room and len(word) > 8:
            word = word[: len(word) // 2 - 2] + "..." + word[len(word) // 2 + 2 :]
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and length(joined, font) > room:
            lines.append(word)
        else:
            lines[-1:] = [joined]
    return lines


def fitted(text: str, font: Font, room: float) -> str:
    """Return a text that can be printed, without its middle if it does not fit.

    >>> from featscope.render.fonts import font_of
    >>> fitted("bbox_head_refine.0.or_conv", font_of(12), 100)
    'bbox_he...or_conv'
    """
    text = printable(text)
    kept = len(text)
    while kept > 6 and length(_without_middle(text, kept), font) > room:
        kept -= 1
    return _without_middle(text, kept)


def _without_middle(text: str, kept: int) -> str:
    """Return a text with so many of its characters.

    >>> _without_middle("bbox_head_refine", 10)
    'bbox_...efine'
    """
    return text if kept >= len(text) else text[: kept - kept // 2] + "..." + text[len(text) - kept // 2 :]

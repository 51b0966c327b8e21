"""Small helpers for text."""

from __future__ import annotations


def counted(count: int, noun: str, several: str = "") -> str:
    """Return a number with its noun in the singular or plural.

    >>> counted(1, "map"), counted(2, "map"), counted(0, "box", "boxes")
    ('1 map', '2 maps', '0 boxes')
    """
    return f"{count} {noun if count == 1 else several or noun + 's'}"

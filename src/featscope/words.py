"""Small helpers for text."""

from __future__ import annotations


def counted(count: int, noun: str, several: str = "") -> str:
    """Return a number with its noun in the singular or plural.

    >>> counted(1, "map"), counted(2, "map"), counted(0, "box", "boxes")
    ('1 map', '2 maps', '0 boxes')
    """
    return f"{count} {noun if count == 1 else several or noun + 's'}"


def percent(share: float) -> str:
    """Return a share as text; one that is not quite nothing or everything never looks like it.

    >>> percent(0), percent(0.00001), percent(0.253), percent(0.9999), percent(1)
    ('0 %', '< 0.1 %', '25.3 %', '> 99.9 %', '100 %')
    """
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    text = f"{100 * share:.1f} %"
    return {"0.0 %": "< 0.1 %", "100.0 %": "> 99.9 %"}.get(text, text)

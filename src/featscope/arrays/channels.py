"""Choosing channels by what a user types: `all`, `top:20`, `0-15`, `3,7,12`."""

from __future__ import annotations

import re
from typing import List, Tuple

from featscope.errors import BadOptionError


def parse_channels(text: str) -> Tuple[str, List[int]]:
    """Read a choice of channels: ('all', []), ('top', [k]), ('sum', [k]) or ('list', channels).

    >>> parse_channels("0-2,5"), parse_channels("top:20")
    (('list', [0, 1, 2, 5]), ('top', [20]))

    Raises `BadOptionError` for anything else.
    """
    if text == "all":
        return "all", []
    match = re.fullmatch(r"(top|sum):([1-9]\d{0,5})", text)
    if match is not None:
        return match[1], [int(match[2])]
    chosen: List[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})(?:-(\d{1,6}))?\s*", part)
        if match is None:
            raise BadOptionError(
                f"{text!r} chooses no channels; type all, top:20, a range as 0-15, or a list as 3,7,12"
            )
        chosen += range(int(match[1]), int(match[2] or match[1]) + 1)
    return "list", chosen

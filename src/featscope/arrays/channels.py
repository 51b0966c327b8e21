"""Choose channels from what a user types: `all`, `top:20`, `0-15`, `3,7,12`."""

from __future__ import annotations

import re
from typing import List, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.reduce import as_floats, top_channels
from featscope.errors import BadOptionError


def parse_channels(text: str) -> Tuple[str, List[int]]:
    """Parse a choice of channels: ('all', []), ('top', [k]), ('sum', [k]) or ('list', channels).

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
                f"{text!r} is not a choice of channels; type all, top:20, a range like 0-15, or a list like 3,7,12"
            )
        chosen += range(int(match[1]), int(match[2] or match[1]) + 1)
    return "list", chosen


def choose_channels(feature_map: NDArray[np.generic], choice: str) -> List[int]:
    """Return the channels that a choice selects: `all`, `top:20`, `sum:20`, `0-15`, `3,7,12`, or `0-2,5`.

    >>> choose_channels(np.zeros((8, 1, 1)), "0-2,5")
    [0, 1, 2, 5]

    `top:k` takes the k channels with the largest mean absolute value, `sum:k` those with the largest sum (as mmengine
    does). Raises `BadOptionError` if the map does not have a channel.
    """
    kind, numbers = parse_channels(choice)
    count = len(feature_map)
    if kind == "all":
        return list(range(count))
    if kind == "top":
        return top_channels(feature_map, numbers[0])
    if kind == "sum":
        sums = as_floats(feature_map).sum((1, 2))
        return [int(i) for i in np.argsort(-sums, kind="stable")[: numbers[0]]]
    if not numbers or max(numbers) >= count:
        raise BadOptionError(
            f"there is no channel {max(numbers, default=choice)}: the map has {count}, 0 to {count - 1}"
        )
    return numbers

"""Put pictures of different sizes together on white, without enlarging any."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from numpy.typing import NDArray


def stacked(pictures: Sequence[NDArray[np.uint8]], gap: int = 0) -> NDArray[np.uint8]:
    """Put pictures (H, W, 3) below one another, their left edges in one line.

    >>> stacked([np.zeros((4, 9, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)], 2).shape
    (10, 9, 3)
    """
    width = max(one.shape[1] for one in pictures)
    return np.vstack([_padded(one, gap if place else 0, width - one.shape[1]) for place, one in enumerate(pictures)])


def in_line(pictures: Sequence[NDArray[np.uint8]], gap: int = 0) -> NDArray[np.uint8]:
    """Put pictures (H, W, 3) side by side, their upper edges in one line.

    >>> in_line([np.zeros((4, 9, 3), np.uint8), np.zeros((2, 6, 3), np.uint8)], 2).shape
    (4, 17, 3)
    """
    height = max(len(one) for one in pictures)
    turned = [_padded(one.swapaxes(0, 1), gap if place else 0, height - len(one)) for place, one in enumerate(pictures)]
    return np.vstack(turned).swapaxes(0, 1)


def with_margin(picture: NDArray[np.uint8], down: int, across: int) -> NDArray[np.uint8]:
    """Put white pixels above and below a picture, and at both sides."""
    return np.pad(picture, ((down, down), (across, across), (0, 0)), constant_values=255)


def _padded(picture: NDArray[np.uint8], above: int, behind: int) -> NDArray[np.uint8]:
    return np.pad(picture, ((above, 0), (0, behind), (0, 0)), constant_values=255)

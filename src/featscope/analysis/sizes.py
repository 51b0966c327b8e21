"""Sizes of objects, in the bins of COCO and of SODA-A."""

from __future__ import annotations

from typing import List

import numpy as np
from numpy.typing import NDArray

COCO = ("small", "medium", "large")
"""Areas below 32 x 32, below 96 x 96, and above, in pixels (Lin et al., ECCV 2014)."""

SODA = ("extremely small", "relatively small", "generally small", "normal")
"""Areas up to 144, 400 and 1024 pixels, and above (Cheng et al., Towards Large-Scale Small Object Detection, TPAMI
2023)."""

SODA_SIDES = (12.0, 20.0, 32.0)
"""Sides of squares with the areas between which SODA-A's bins lie, in pixels."""

SODA_WORDS = (
    "extremely small up to 12 pixels of the original image, relatively small up to 20, generally small up to 32, "
    "normal above (square root of the area; SODA-A's bins)"
)
"""What the bins of SODA-A are."""

_COCO_EDGES = np.array([32.0**2, 96.0**2])
_SODA_EDGES = np.array(SODA_SIDES) ** 2


def coco_bins(areas: NDArray[np.float64]) -> List[str]:
    """Return the name of COCO's bin for each area in pixels.

    >>> coco_bins(np.array([100.0, 1024.0, 9216.0]))
    ['small', 'medium', 'large']
    """
    return [COCO[number] for number in np.searchsorted(_COCO_EDGES, areas, "right")]


def soda_bins(areas: NDArray[np.float64]) -> List[str]:
    """Return the name of SODA-A's bin for each area in pixels.

    >>> soda_bins(np.array([144.0, 145.0, 5000.0]))
    ['extremely small', 'relatively small', 'normal']
    """
    return [SODA[number] for number in np.searchsorted(_SODA_EDGES, areas, "left")]

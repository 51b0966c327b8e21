"""An explanation of one detection: a heat map, and all that it is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.explain.candidates import Target
from featscope.records import Geometry, Sample, infer_stride


@dataclass(frozen=True)
class Explanation:
    """What made one detection.

    heat: (h, w) float32, at the layer's own size, nothing below zero. level: which of the layer's maps
    it is of. side: '' for the score. sample: the image, with its geometry.
    """

    sample: Sample
    target: Target
    method: str
    layer: str
    level: int
    side: str
    heat: NDArray[np.float32]

    @property
    def stride(self) -> Optional[Tuple[float, float]]:
        """Pixels of the input per cell, (y, x)."""
        geometry = self.sample.geometry
        if geometry is None:
            return None
        rows, columns = self.heat.shape
        return infer_stride(geometry.padded[0], rows), infer_stride(geometry.padded[1], columns)

    @property
    def geometry(self) -> Geometry:
        """How the image lies in the input; where that is not known it fills it."""
        height, width = self.heat.shape
        return self.sample.geometry or Geometry((height, width), (height, width), (height, width))

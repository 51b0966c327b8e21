"""An explanation of one detection: a heat map, and all that it is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.explain.candidates import Target
from featscope.records import Geometry, Place, Sample, assumed_place


@dataclass(frozen=True)
class Explanation:
    """What made one detection.

    heat: (h, w) float32, at the layer's own size, nothing below zero. level: which of the layer's maps
    it is of. side: '' for the score. sample: the image, with its geometry. place: where the cells lie on the input;
    None where that is not known: then they share its pixels.
    """

    sample: Sample
    target: Target
    method: str
    layer: str
    level: int
    side: str
    heat: NDArray[np.float32]
    place: Optional[Place] = None

    @property
    def stride(self) -> Optional[Tuple[float, float]]:
        """Pixels of the input per cell, (y, x)."""
        place = self._place
        return place.stride if place is not None else None

    @property
    def first(self) -> Optional[Tuple[float, float]]:
        """The centre of the first cell on the input, (y, x)."""
        place = self._place
        return place.first if place is not None else None

    @property
    def _place(self) -> Optional[Place]:
        geometry = self.sample.geometry
        if self.place is not None or geometry is None:
            return self.place
        return assumed_place(geometry.padded, (self.heat.shape[0], self.heat.shape[1]))

    @property
    def geometry(self) -> Geometry:
        """How the image lies in the input; where that is not known it fills it."""
        height, width = self.heat.shape
        return self.sample.geometry or Geometry((height, width), (height, width), (height, width))

"""The explanation of one detection: a heat map with its description."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional, Tuple, Union

import msgspec
import numpy as np
from numpy.typing import NDArray

from featscope.arrays.frames import reframed
from featscope.capturing.verifying import Verifier
from featscope.explaining.candidates import Target
from featscope.records import Boxes, Geometry, Picture, Place, Sample, assumed_place


@dataclass(frozen=True)
class Explanation:
    """A heat map that explains one detection.

    >>> explanation = featscope.explain("demo", "harbour.png", target=0)[0]     # doctest: +SKIP
    >>> explanation.heat.shape, explanation.label                               # doctest: +SKIP
    ((64, 64), 'ship')
    >>> explanation.draw()                                                      # (H, W, 3)  # doctest: +SKIP
    >>> explanation.save("why")                                                 # doctest: +SKIP
    PosixPath('why/harbour/box_0_ship_layercam_neck_level_0.png')
    """

    sample: Sample
    """The image, with its geometry."""

    target: Target

    method: str

    layer: str

    level: int
    """Which of the layer's maps it belongs to."""

    side: str
    """The number of the box that is explained; '' for the score."""

    heat: NDArray[np.float32]
    """The map, (h, w), at the size of the layer, without negative values."""

    place: Optional[Place] = None
    """Where the cells lie on the input; None if unknown, in which case they share its pixels."""

    label: str = ""
    """Name of the class."""

    image: Optional[Picture] = None
    """The picture to draw over; None if there is none."""

    def draw(self) -> Picture:
        """Draw the map over its image with its box, as (H, W, 3) RGB."""
        from featscope.explaining.drawing import picture_of

        return picture_of(self)

    def save(self, folder: Union[str, Path]) -> Path:
        """Write the picture, and the values as .npy, (h, w) float32. Returns the path of the picture."""
        from featscope.explaining.drawing import write_explanation

        return write_explanation(self, Path(folder))

    @property
    def stride(self) -> Optional[Tuple[float, float]]:
        """Input pixels per cell, (y, x)."""
        place = self._place
        return place.stride if place is not None else None

    @property
    def first(self) -> Optional[Tuple[float, float]]:
        """Centre of the first cell on the input, (y, x)."""
        place = self._place
        return place.first if place is not None else None

    @property
    def _place(self) -> Optional[Place]:
        geometry = self.sample.geometry
        if self.place is not None or geometry is None:
            return self.place
        return assumed_place(geometry.padded, (self.heat.shape[0], self.heat.shape[1]))

    @property
    def box(self) -> Boxes:
        """The box, as a record."""
        target = self.target
        return Boxes(target.form, [target.box], [target.label], [target.score])

    @property
    def geometry(self) -> Geometry:
        """How the image lies in the input. An image with unknown geometry is assumed to fill it."""
        height, width = self.heat.shape
        return self.sample.geometry or Geometry((height, width), (height, width), (height, width))


def verified(
    explanation: Explanation, picture: Optional[Picture], verifier: Verifier
) -> Tuple[Explanation, Optional[Picture]]:
    """Correct an explanation and its box by the geometry that the pixels confirm. Also returns a picture to draw over.

    picture: the network's input. It is returned if it does not match the image file in any known way; otherwise the
    file is drawn over and None is returned.
    """
    claimed = explanation.sample.geometry
    sample = verifier.verify(explanation.sample, picture).sample
    geometry, ground = sample.geometry, None
    if geometry is None and picture is not None and sample.agreement is not None:
        size = (picture.shape[0], picture.shape[1])
        geometry, ground = Geometry(size, size, size), picture
    target = explanation.target
    if claimed is not None and geometry is not None and geometry != claimed:
        target = target._replace(box=reframed(np.array([target.box]), claimed, geometry)[0].tolist())
    sample = msgspec.structs.replace(sample, geometry=geometry)
    return replace(explanation, sample=sample, target=target), ground

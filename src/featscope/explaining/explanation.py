"""The explanation of one detection: a heat map with its description."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from pathlib import Path
from typing import List, Optional, Tuple, Union

import msgspec
import numpy as np
from numpy.typing import NDArray

from featscope.arrays.frames import reframed
from featscope.capturing.verifying import Verifier
from featscope.explaining.candidates import Target
from featscope.records import Boxes, Geometry, Picture, Place, Sample, assumed_place
from featscope.render.results import contact_sheet

_SHOWN = 12  # pictures, on a page


@dataclass(frozen=True, repr=False)
class Explanation:
    """A heat map that explains one detection; a notebook shows its picture.

    >>> explanation = featscope.explain("demo", "harbour.png", target=0)[0]
    >>> explanation
    <Explanation of box 0 ship 0.86 of harbour: layercam at neck, level 1, 24 x 32>
    >>> explanation.heat.shape, explanation.label, explanation.draw().shape
    ((24, 32), 'ship', (464, 640, 3))
    >>> str(explanation.save("why"))
    'why/harbour/box_0_ship_layercam_neck_level_1.png'
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

    def _repr_png_(self) -> bytes:
        from featscope.explaining.drawing import png_of

        return png_of(self)

    def __repr__(self) -> str:
        target, rows, columns = self.target, *self.heat.shape
        box = f"box {target.number}" if target.number >= 0 else "the best raw score"
        what = "a number of the output" if target.source.kind == "image" else f"{box} {self.label} {target.score:.2f}"
        side = f", its {self.side}," if self.side else ""
        at = f" at {self.layer}, level {self.level}" if self.layer else ""
        return f"<Explanation of {what}{side} of {self.sample.id}: {self.method}{at}, {rows} x {columns}>"

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


class Explanations(List[Explanation]):
    """Explanations of one image: a list that a notebook shows as pictures."""

    def _repr_html_(self) -> str:
        shown = self[:_SHOWN]
        sources = (f"data:image/png;base64,{base64.b64encode(one._repr_png_()).decode()}" for one in shown)
        page = contact_sheet(zip(sources, (repr(one)[1:-1] for one in shown)), 320)
        return page + (f"<p>and {len(self) - _SHOWN} more</p>" if len(self) > _SHOWN else "")


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

"""Cut a small square out of an image, and know where it lies on the maps."""

from __future__ import annotations

from typing import NamedTuple, Optional, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featscope.arrays.frames import Axis, axes_of, geometry_from
from featscope.records import Geometry, Size

_OUTSIDE = 236  # the grey of what lies outside of the image
_ROOM = 2.0  # sides of the object
_MOST_ROOM = 5.0  # sides of the object; a box that lies farther away is cut
_LEAST = 64  # pixels; around a smaller object nothing could be recognised


class Window(NamedTuple):
    """A square of the original image. It reaches beyond the image only where the image is shorter than the square."""

    top: int
    left: int
    side: int
    """Pixels of the original image."""

    shown: int
    """Pixels of its side in the picture."""

    @property
    def zoom(self) -> float:
        """Pixels of the picture for each pixel of the image."""
        return self.shown / self.side

    def moved(self, corners: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return points of the image, (..., 2) x and y, as points of the picture."""
        return np.asarray((np.asarray(corners, np.float64) - (self.left, self.top)) * self.zoom)

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return this part of an image (H, W, 3), enlarged or reduced. What lies outside of the image is light grey."""
        part = np.full((self.side, self.side, 3), _OUTSIDE, np.uint8)
        rows = slice(max(0, self.top), min(len(image), self.top + self.side))
        columns = slice(max(0, self.left), min(image.shape[1], self.left + self.side))
        part[rows.start - self.top : rows.stop - self.top, columns.start - self.left : columns.stop - self.left] = (
            image[rows, columns]
        )
        how = Image.Resampling.BICUBIC if self.zoom >= 1 else Image.Resampling.BOX
        return np.asarray(Image.fromarray(part).resize((self.shown, self.shown), how))

    def geometry(self, whole: Geometry) -> Optional[Geometry]:
        """Return how the picture of this window lies in the network's input; None if the network did not see it.

        >>> Window(top=2, left=0, side=4, shown=8).geometry(Geometry((8, 8), (16, 16), (16, 16)))
        Geometry(original=(8, 8), resized=(8, 8), padded=(16, 16), offset=(4, 0), flip='', crop=None)

        whole: how the image does.
        """
        rows, columns = (
            Axis(
                axis.scale / self.zoom,
                axis.start + axis.scale * first,
                *((end - first) * self.zoom for end in axis[2:]),
            )
            for axis, first in zip(axes_of(whole), (self.top, self.left))
        )
        return geometry_from((self.shown, self.shown), whole.padded, rows, columns)


def window_around(
    corners: NDArray[np.floating], others: Sequence[NDArray[np.floating]], image: Size, shown: int
) -> Window:
    """Return the window to look at a box, (4, 2) x and y: twice its longer side, at least 64 pixels.

    >>> window_around(np.array([[0, 0], [10, 0], [10, 4], [0, 4]]), [], (480, 640), 256)
    Window(top=0, left=0, side=64, shown=256)

    It is larger if it takes that to show the `others`, up to five times the box's side. At the image's edge it is
    moved inwards.
    """
    low, high = corners.min(0), corners.max(0)
    centre = (low + high) / 2
    reach = max([0.0, *(float(np.abs(other - centre).max()) for other in others if np.isfinite(other).all())])
    longest = float((high - low).max())
    side = max(_LEAST, _ROOM * longest, min(2.2 * reach, max(_LEAST, _MOST_ROOM * longest)))
    side = int(np.ceil(min(side, max(image))))
    top, left = (
        round(min(max(0.0, middle - side / 2), length - side)) if side <= length else (length - side) // 2
        for middle, length in zip(centre[::-1], image)
    )
    return Window(top, left, side, shown)

"""All boxes of one image: its ground truth, its detections, and boxes of background beside them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Dict, List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.backgrounds import background_boxes
from featscope.arrays.boxes import areas_of, corners_of
from featscope.arrays.coverage import Rings, rings_around
from featscope.arrays.pooling import Covered, Pooled, in_cells, input_in_cells, pool_boxes
from featscope.errors import BadArrayError
from featscope.records import Boxes, Extent, Geometry, Place, Sample, Size, assumed_place

TRUTH, DETECTION, BACKGROUND = "truth", "detection", "background"
KINDS = (TRUTH, DETECTION, BACKGROUND)

_PIXELS = Place((1.0, 1.0), (0.5, 0.5))  # the cells of the input itself


@dataclass(frozen=True)
class ImageBoxes:
    """The boxes of one image, as arrays: first the ground truth, then the detections, then the background."""

    corners: NDArray[np.float64]
    """(n, 4, 2), x and y in pixels of the original image; of the input where nobody knows how the image lies in it."""

    counts: Tuple[int, int, int]
    """Numbers of boxes of ground truth, of detections and of background."""

    labels: NDArray[np.int64]
    """Index of the class, (n,); -1 for background."""

    scores: NDArray[np.float64]
    """(n,); NaN where there is none."""

    ignored: Tuple[str, ...]
    """'difficult', 'crowd' or '' for each box."""

    geometry: Optional[Geometry]
    """How the image lies in the input; None if the corners are in pixels of the input."""

    truth: Optional[Boxes]
    """The ground truth; None if the image has none, or none in these pixels."""

    detections: Optional[Boxes]
    """The detections; None if the image has none, or none in these pixels."""

    def rows(self, kind: str) -> slice:
        """Return the places of the boxes of one kind."""
        number = KINDS.index(kind)
        start = sum(self.counts[:number])
        return slice(start, start + self.counts[number])

    @property
    def objects(self) -> NDArray[np.float64]:
        """Corners of the ground truth, or of the detections where there is no ground truth, (m, 4, 2)."""
        return self.corners[self.rows(TRUTH if self.counts[0] else DETECTION)]

    @property
    def areas(self) -> NDArray[np.float64]:
        """Area of each box in its pixels, (n,)."""
        return areas_of("quad", self.corners)

    def input_areas(self) -> NDArray[np.float64]:
        """Area of each box in pixels of the network's input, (n,)."""
        if self.geometry is None:
            return self.areas
        return areas_of("quad", in_cells(self.corners, self.geometry, _PIXELS))

    def place_of(self, shape: Size, place: Optional[Place]) -> Place:
        """Return where the cells of a map lie, as far as it is known; else that they share the pixels equally.

        shape: the map's (rows, columns). Raises `BadArrayError` if nobody knows the size of the input either.
        """
        if place is not None:
            return place
        if self.geometry is None:
            raise BadArrayError("boxes cannot be found on this map: neither its stride nor its input's size is known")
        return assumed_place(self.geometry.padded, shape)

    def pool(self, feature_map: NDArray[np.floating], place: Optional[Place]) -> Pooled:
        """Pool a map (C, H, W) over all boxes. place: where its cells lie; None if only its size is known."""
        shape = (feature_map.shape[1], feature_map.shape[2])
        known = self.place_of(shape, place)
        grid = shape, known.stride, known.first
        if grid not in self._covered:
            rings = self.rings.moved(lambda corners: self._in_cells(corners, known))
            self._covered[grid] = Covered.of(rings, shape)
        return pool_boxes(feature_map, self._covered[grid])

    def _in_cells(self, corners: NDArray[np.float64], place: Place) -> NDArray[np.float64]:
        if self.geometry is None:
            return input_in_cells(corners, place)
        return in_cells(corners, self.geometry, place)

    @cached_property
    def _covered(self) -> Dict[Tuple[Size, Extent, Extent], Covered]:
        """The cells under the boxes, of each grid: most maps of an image share one with others."""
        return {}

    @cached_property
    def rings(self) -> Rings:
        """The ring around each box, without the parts that objects cover. They serve all maps of the image."""
        return rings_around(self.corners, self.objects)


def boxes_of(sample: Sample, background: bool = True) -> ImageBoxes:
    """Collect the boxes of a sample.

    >>> whole = Geometry((100, 100), (100, 100), (100, 100))
    >>> found = boxes_of(Sample("harbour", geometry=whole, truth=Boxes("xyxy", [[0.0, 0.0, 4.0, 2.0]], [1])))
    >>> found.counts, found.labels.tolist(), found.areas.round(6).tolist()
    ((1, 0, 1), [1, -1], [8.0, 8.0])

    background: whether to add boxes of background, as many as there are true boxes where there is room for them.
    """
    geometry = sample.geometry
    # A record's boxes are in pixels of the original where the geometry is known, and else in those of the input.
    frame = "input" if geometry is None else "original"
    truth, detections = (
        one if one is not None and one.frame == frame else None for one in (sample.truth, sample.predictions)
    )
    labels: List[int] = []
    scores: List[float] = []
    ignored: List[str] = []
    parts: List[NDArray[np.float64]] = []
    for one in (truth, detections):
        some = one if one is not None else Boxes("xyxy", [], [])
        parts.append(corners_of(some.form, some.boxes))
        labels += some.labels
        scores += some.scores or [np.nan] * len(some.boxes)
        ignored += some.ignored or [""] * len(some.boxes)
    beside = np.zeros((0, 4, 2))
    if background and geometry is not None and len(parts[0]):
        beside = background_boxes(parts[0], geometry.original, sample.id)
    corners = np.concatenate([*parts, beside])
    return ImageBoxes(
        corners,
        (len(parts[0]), len(parts[1]), len(beside)),
        labels=np.array([*labels, *[-1] * len(beside)], np.int64),
        scores=np.array([*scores, *[np.nan] * len(beside)], np.float64),
        ignored=(*ignored, *[""] * len(beside)),
        geometry=geometry,
        truth=truth,
        detections=detections,
    )

"""The candidates of one image as plain arrays: all raw outputs of a detector, before thresholds and suppression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.assigned import AssignedSizes
from featscope.records import Selection


@dataclass(frozen=True)
class LevelCandidates:
    """The candidates of one level of a dense head, the queries of a decoder, or the regions of interest."""

    scores: NDArray[np.float32]
    """Scores as the detector computes them, (n, classes)."""

    boxes: NDArray[np.floating]
    """Boxes in pixels of the original image, (n, 4, 5 or 8), or (n, classes, 4, 5 or 8) with one box for each class."""

    kind: str
    """'cell', 'query' or 'roi'."""

    grid: Optional[Tuple[int, int, int]] = None
    """(rows, columns, anchors) of a level's cells. Candidates are ordered by row, then column, then anchor."""

    ranks: Optional[NDArray[np.float32]] = None
    """Scores by which pairs pass the threshold and are chosen within their level, (n, classes), if the detector
    multiplies them by another number only later, such as MMDetection's centerness; None for `scores`."""

    compared: Optional[NDArray[np.floating]] = None
    """Boxes as the detector compares them to suppress some, of the same shape as `boxes`: in pixels of its own input,
    or before they are clipped to the image; None for `boxes`."""


@dataclass(frozen=True)
class ImageCandidates:
    """All candidates of one image, and how the detector selects its detections from them."""

    levels: Tuple[LevelCandidates, ...]

    form: str
    """Form of the boxes, as in `featscope.records.Boxes`."""

    selection: Optional[Selection]
    """How detections are selected; None if this is not known."""

    unknown: str = ""
    """Why the selection is not known."""

    assigned: Optional[AssignedSizes] = None
    """Which sizes of objects the training assigns to each level; None if nothing was recorded of it."""


MakeCandidates = Callable[[], Optional[ImageCandidates]]
"""Returns the candidates of an image when they are needed, as copying them takes time and memory; None if unknown."""

"""Which cells of a sample's map lie on its objects."""

from __future__ import annotations

from typing import Optional, Sequence

import numpy as np

from featscope.arrays.boxes import corners_of
from featscope.arrays.reduce import Cells
from featscope.arrays.tiles import Objects, cells_on_boxes, centres
from featscope.records import Place, Size
from featscope.viewer.scene import Scene

_SCORE = 0.3  # detections below it are not objects


def objects_on(
    scene: Scene, shape: Size, place: Optional[Place], inside: Cells, labels: Sequence[int] = ()
) -> Optional[Objects]:
    """Return the cells on the ground truth, or else on the detections; None if the sample has no boxes.

    inside: the rows and columns that lie on the image; only these are returned. labels: classes of objects; all without
    any.
    """
    boxes, sample = None, scene.sample
    for some in (sample.truth, sample.predictions):
        if some is not None and some.boxes and some.frame == scene.space:
            scores = some.scores or [1.0] * len(some.boxes)
            kept = [score >= _SCORE and (not labels or label in labels) for score, label in zip(scores, some.labels)]
            boxes = corners_of(some.form, some.boxes)[np.array(kept)]
            break
    if boxes is None or not len(boxes):
        return None
    placement = scene.placement_of(shape, place)
    left, top, right, bottom = placement.cells
    y0, x0, height, width = placement.crop or (0.0, 0.0, *placement.frame)
    x = centres(shape[1], left, right, start=x0, length=width, mirrored=placement.flip in ("horizontal", "diagonal"))
    y = centres(shape[0], top, bottom, start=y0, length=height, mirrored=placement.flip in ("vertical", "diagonal"))
    return cells_on_boxes(boxes, x[inside[1]], y[inside[0]])

"""Average precision of rotated boxes."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.boxes import rotated_iou
from featscope.demo.detector import Detections
from featscope.demo.scenes import Scene


def average_precision(found: Sequence[Detections], scenes: Sequence[Scene], label: int, min_iou: float = 0.5) -> float:
    """Compute the area under the precision-recall curve of one class; NaN if the scenes do not contain it.

    Each true box counts once, for the detection with the highest score that overlaps it by `min_iou`
    (Everingham et al., The PASCAL VOC Challenge, IJCV 2010; with the area under the curve as since 2010).
    """
    hits: List[Tuple[float, bool]] = []
    true_boxes = 0
    for detections, scene in zip(found, scenes):
        mine = detections.labels == label
        truth = scene.boxes[scene.labels == label]
        true_boxes += len(truth)
        overlap = rotated_iou(detections.boxes[mine], truth)
        taken = np.zeros(len(truth), bool)
        for row, score in zip(overlap, detections.scores[mine]):  # the best come first
            best = int(row.argmax()) if len(truth) else -1
            hit = best >= 0 and row[best] >= min_iou and not taken[best]
            if hit:
                taken[best] = True
            hits.append((float(score), hit))
    if true_boxes == 0:
        return float("nan")
    hits.sort(key=lambda pair: -pair[0])
    return _area(np.array([hit for _, hit in hits], bool), true_boxes)


def _area(hit: NDArray[np.bool_], true_boxes: int) -> float:
    if not len(hit):
        return 0.0
    right = np.cumsum(hit)
    recall = right / true_boxes
    precision = right / np.arange(1, len(hit) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())

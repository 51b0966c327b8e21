"""Non-maximum suppression in NumPy, which gives the same result as the frameworks' own.

- Upright boxes are compared in float32, with the operations of torchvision's and MMCV's kernels in their order.
- Rotated boxes and quadrilaterals are compared as exact polygons. MMCV computes the same in float32, so a pair whose
  overlap is within about 1e-5 of the threshold may be decided differently.
- Ultralytics compares rotated boxes as Gaussians (ProbIoU, Llerena et al., 2021), and lets suppressed boxes suppress
  others (Fast NMS, Bolya et al., YOLACT, 2019).
"""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.boxes import corners_of, cos_sin, paired_iou
from featscope.records import Selection

_FIRST_BLOCK = 16
_PAIRS_AT_ONCE = 1_000_000
"""Number of pairs that are compared at once. It limits the memory to about 100 MB."""

_TINY = np.float32(1e-7)
"""What Ultralytics adds to denominators and below roots."""

Hits = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
"""Tells which boxes with the first indices (k,) overlap those with the second (m,) by too much: (k, m)."""


class Sorted(NamedTuple):
    """Boxes that are compared with one another, best first."""

    form: str
    """As in `featscope.records.Boxes`."""

    boxes: NDArray[np.floating]
    """(n, 4, 5 or 8), as the detector compares them."""

    labels: NDArray[np.int64]
    """(n,)."""


def suppressors(found: Sorted, how: Selection) -> NDArray[np.int64]:
    """Return for each box the place of the best box that suppresses it, or -1 if it is kept, (n,).

    >>> boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 3], [9, 9, 12, 12]], np.float32)
    >>> suppressors(Sorted("xyxy", boxes, np.zeros(3, int)), Selection(suppression="upright", overlap=0.5)).tolist()
    [-1, 0, -1]
    """
    by = np.full(len(found.boxes), -1, np.int64)
    if not how.suppression or not len(by):
        return by
    boxes = _offset(found, how)
    groups = [found.labels == label for label in np.unique(found.labels)] if how.by_class else [np.ones(len(by), bool)]
    for group in groups:
        places = np.flatnonzero(group)
        own = _greedy(len(places), _hits(found.form, boxes[places], how), how.by_kept)
        by[places] = np.where(own >= 0, places[own], -1)
    return by


def _greedy(count: int, hits: Hits, by_kept: bool) -> NDArray[np.int64]:
    """Decide about boxes in blocks, best first. Only boxes that are still undecided are compared with a block."""
    by = np.full(count, -1, np.int64)
    waiting = np.arange(count)
    size = _FIRST_BLOCK
    while len(waiting):
        block, waiting = waiting[:size], waiting[size:]
        # The first blocks are small, because a few good boxes suppress most others.
        size = min(2 * size, max(_FIRST_BLOCK, _PAIRS_AT_ONCE // max(1, len(waiting))), 256)
        among = np.triu(hits(block, block), 1)
        undecided = by[block] < 0
        for row in np.flatnonzero(among.any(1)):
            if undecided[row] or not by_kept:
                hit = among[row] & undecided
                by[block[hit]] = block[row]
                undecided &= ~hit
        strong = block[undecided] if by_kept else block
        if len(strong) and len(waiting):
            over = hits(strong, waiting)
            hit = over.any(0) & (by[waiting] < 0)
            by[waiting[hit]] = strong[over[:, hit].argmax(0)]
            waiting = waiting[~hit] if by_kept else waiting
    return by


def _offset(found: Sorted, how: Selection) -> NDArray[np.floating]:
    """Return the boxes as the detector moves them to keep classes apart, rounded to float32 as there."""
    boxes = found.boxes
    if not how.by_class or not how.class_offset or (how.offset_up_to and len(boxes) > how.offset_up_to):
        return boxes
    boxes = boxes.astype(np.float32)
    moved = 2 if found.form == "cxcywha" else boxes.shape[1]  # of a rotated box only the centre
    offset = np.float32(how.class_offset)
    if offset < 0:
        largest = boxes[:, :2].max() + boxes[:, 2:4].max() if found.form == "cxcywha" else boxes.max()
        offset = largest + np.float32(1)
    boxes[:, :moved] += (found.labels.astype(np.float32) * offset)[:, None]
    return boxes


def _hits(form: str, boxes: NDArray[np.floating], how: Selection) -> Hits:
    if how.suppression == "upright":
        return _upright_hits(boxes.astype(np.float32), how)
    if how.suppression == "probiou":
        return _probiou_hits(boxes.astype(np.float32), how)
    return _polygon_hits(form, boxes, how)


def _exceeds(overlap: NDArray[np.floating], how: Selection) -> NDArray[np.bool_]:
    return overlap >= how.overlap if how.overlap_inclusive else overlap > how.overlap


def _upright_hits(boxes: NDArray[np.float32], how: Selection) -> Hits:
    x1, y1, x2, y2 = boxes.T
    area = (x2 - x1) * (y2 - y1)
    none = np.float32(0)

    def hits(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
        first = a[:, None]
        width = np.maximum(none, np.minimum(x2[first], x2[b]) - np.maximum(x1[first], x1[b]))
        height = np.maximum(none, np.minimum(y2[first], y2[b]) - np.maximum(y1[first], y1[b]))
        shared = width * height
        with np.errstate(invalid="ignore", divide="ignore"):  # two boxes without area
            return _exceeds(shared / (area[first] + area[b] - shared), how)

    return hits


def _polygon_hits(form: str, boxes: NDArray[np.floating], how: Selection) -> Hits:
    corners = corners_of(form, boxes.tolist())
    low, high = corners.min(1).T, corners.max(1).T

    def hits(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
        first = a[:, None]
        near = np.ones((len(a), len(b)), bool)
        for axis in (0, 1):
            near &= (low[axis][first] < high[axis][b]) & (low[axis][b] < high[axis][first])
        rows, columns = np.nonzero(near)
        near[rows, columns] = _exceeds(paired_iou(form, boxes[a[rows]], boxes[b[columns]]), how)
        return near

    return hits


def _probiou_hits(boxes: NDArray[np.float32], how: Selection) -> Hits:
    """Compare boxes as Ultralytics' `batch_probiou` does, in float32 and in the order of its operations."""
    x, y = boxes[:, 0], boxes[:, 1]
    wide, high = boxes[:, 2] ** 2 / np.float32(12), boxes[:, 3] ** 2 / np.float32(12)
    cos, sin = cos_sin(boxes[:, 4])
    xx, yy = wide * cos**2 + high * sin**2, wide * sin**2 + high * cos**2
    xy = (wide - high) * cos * sin
    own = np.maximum(xx * yy - xy**2, 0)

    def hits(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
        first = a[:, None]
        sum_xx, sum_yy, sum_xy = xx[first] + xx[b], yy[first] + yy[b], xy[first] + xy[b]
        together = sum_xx * sum_yy - sum_xy**2
        apart_x, apart_y = x[first] - x[b], y[first] - y[b]
        distance = (sum_xx * apart_y**2 + sum_yy * apart_x**2) / (together + _TINY) * np.float32(0.25)
        distance += (sum_xy * -apart_x * apart_y) / (together + _TINY) * np.float32(0.5)
        distance += np.log(together / (4 * np.sqrt(own[first] * own[b]) + _TINY) + _TINY) * np.float32(0.5)
        distance = distance.clip(_TINY, np.float32(100))
        return _exceeds(1 - np.sqrt(1 - np.exp(-distance) + _TINY), how)

    return hits

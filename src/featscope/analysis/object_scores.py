"""Numbers that tell objects from the background, by their pooled features: likeness to a class, and a linear probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

FEWEST = 10
"""The fewest objects for a mean of their class, or for a probe; the fewest boxes of background to rank among."""

LIKE = 2
"""Bins of size to each side that count as like size: a factor of two."""

_FOLDS = 5

Floats = NDArray[np.float64]


@dataclass
class BoxesOnMap:
    """The boxes of all images on one map: (n,) each, and the features (n, C)."""

    images: NDArray[np.int64]
    labels: NDArray[np.int64]  # -1 for background
    found: NDArray[np.int8]  # 1 found, 0 missed, -1 neither
    sizes: NDArray[np.int64]  # bins of log2 of the size in pixels of the input
    areas: Floats  # in pixels of the original image
    cells: Floats
    ratio: Floats
    features: NDArray[np.float32]
    keys: List[Tuple[str, int]]  # of the true boxes


def likeness_to_class(level: BoxesOnMap, resolved: NDArray[np.bool_]) -> Floats:
    """Return the likeness of each box to its class; of background to the class that it is most like."""
    features = level.features.astype(np.float64)
    result = np.full(len(features), np.nan)
    starts = np.flatnonzero(np.diff(level.images, prepend=-1))  # the boxes of an image follow one another
    images = [slice(start, end) for start, end in zip(starts, [*starts[1:], len(features)])]
    ground = _Sums(features, level.images, np.zeros(len(features), np.int64), (level.labels < 0) & resolved)
    bases = [ground.mean_without(int(level.images[rows.start]), 0, 0) for rows in images]
    for label in np.unique(level.labels[level.labels >= 0]):
        members = (level.labels == label) & (level.found == 1) & resolved
        if members.sum() < FEWEST:
            continue
        sums = _Sums(features, level.images, level.sizes, members)
        asked = resolved & ((level.labels == label) | (level.labels < 0))
        for rows, base in zip(images, bases):
            here = rows.start + np.flatnonzero(asked[rows])
            for size in np.unique(level.sizes[here]):
                mean = sums.mean_without(int(level.images[rows.start]), int(size), LIKE)
                if base is not None and mean is not None:
                    mine = here[level.sizes[here] == size]
                    result[mine] = np.fmax(result[mine], _cosine(features[mine] - base, mean - base))
    return result


class _Sums:
    """Sums of features by image and bin of size, so that a mean without an image is a difference."""

    def __init__(
        self, features: Floats, images: NDArray[np.int64], sizes: NDArray[np.int64], members: NDArray[np.bool_]
    ) -> None:
        self._by_size: Dict[int, Tuple[int, Floats]] = {}
        self._by_both: Dict[Tuple[int, int], Tuple[int, Floats]] = {}
        for size in np.unique(sizes[members]):
            rows = np.flatnonzero(members & (sizes == size))
            self._by_size[int(size)] = len(rows), features[rows].sum(0)
            starts = np.flatnonzero(np.diff(images[rows], prepend=-1))
            for start, end in zip(starts, [*starts[1:], len(rows)]):
                mine = rows[start:end]
                self._by_both[int(images[mine[0]]), int(size)] = len(mine), features[mine].sum(0)

    def mean_without(self, image: int, size: int, reach: int) -> Optional[Floats]:
        """Return the mean of all members of like size in other images; None if there are too few."""
        count, total = 0, None
        for near in range(int(size) - reach, int(size) + reach + 1):
            if near not in self._by_size:
                continue
            number, some = self._by_size[near]
            own, part = self._by_both.get((int(image), near), (0, np.zeros_like(some)))
            count += number - own
            total = some - part if total is None else total + some - part
        return total / count if total is not None and count >= FEWEST // 2 else None


def _cosine(vectors: Floats, towards: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(towards)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine: Floats = np.where(lengths > 0, vectors @ towards / lengths, np.nan)
    return cosine


def probe_values(level: BoxesOnMap, resolved: NDArray[np.bool_]) -> Floats:
    """Return the value of a linear probe for each box, fitted on the folds of other images."""
    result = np.full(len(level.images), np.nan)
    folds = level.images % _FOLDS
    used = resolved & ((level.found == 1) | (level.labels < 0))
    for fold in range(_FOLDS):
        train = used & (folds != fold)
        objects = (level.found[train] == 1).astype(np.float64)
        mine = resolved & (folds == fold)
        if min(objects.sum(), (1 - objects).sum()) < FEWEST or not mine.any():
            continue
        features = level.features[train].astype(np.float64)
        mean, spread = features.mean(0), features.std(0)
        spread = np.where(spread > 1e-9 * max(1.0, float(spread.max())), spread, np.inf)
        standard = (features - mean) / spread
        ones, twos = standard[objects == 1], standard[objects == 0]
        shape = (standard.shape[1], standard.shape[1])
        within = np.cov(ones, rowvar=False, bias=True).reshape(shape) + np.cov(twos, rowvar=False, bias=True).reshape(
            shape
        )
        # A tenth of the mean variance keeps few objects in many channels from being learnt by heart.
        ridge = 0.1 * max(float(np.trace(within)) / len(within), 1e-9)
        weights = np.linalg.solve(within + ridge * np.eye(len(within)), ones.mean(0) - twos.mean(0))
        result[mine] = ((level.features[mine] - mean) / spread) @ weights
    return result

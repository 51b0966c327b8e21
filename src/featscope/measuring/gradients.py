"""Measure where cells look: the centroid of the gradient of a cell's squared values at the input."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Callable, DefaultDict, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray

from featscope.errors import CaptureError, FeatscopeError
from featscope.explaining.items import Item
from featscope.explaining.targets import Explainable
from featscope.measuring.estimate import LIMIT, Estimate, estimate
from featscope.measuring.live import Live, LiveMap, live
from featscope.records import MeasuredPlace, Size

_FEWEST_IMAGES = 3  # before a map may be settled

Key = Tuple[str, str, int]
"""Layer, field, level."""


class Sight(NamedTuple):
    """The position that a cell looks at."""

    image: int
    """Number of its image."""

    cell: Tuple[int, int]
    """(row, column)."""

    looks: Tuple[float, float]
    """(y, x) in pixels of the input."""

    size: Size
    """Size of the input."""


class Seen:
    """Collects where the cells of a run's layers look, image by image.

    >>> seen = Seen(detector, ["backbone", "neck"])                         # doctest: +SKIP
    >>> for item in items:
    ...     seen.add(item)                                                  # doctest: +SKIP
    >>> seen.places()[0].offset                                             # doctest: +SKIP
    (0.05, 0.02)

    layers, names, axes: as in `featscope.capture`. cells: number of cells to measure in each map of each image. wanted:
    whether to measure a map.
    """

    def __init__(
        self,
        detector: Explainable,
        layers: Sequence[str],
        names: Optional[Mapping[str, str]] = None,
        axes: Optional[Mapping[str, str]] = None,
        cells: int = 6,
        wanted: Callable[[Key], bool] = lambda key: True,
    ) -> None:
        self._detector, self._layers, self._names, self._axes = detector, layers, names, axes
        self._cells, self._wanted = cells, wanted
        self._random = random.Random(0)
        self._sights: DefaultDict[Key, List[Sight]] = defaultdict(list)
        self._strides: Dict[Key, Tuple[float, float]] = {}
        self._assumed: Dict[Key, bool] = {}
        self._images = 0

    def add(self, item: Item) -> None:
        """Measure cells in one more image. Raises `CaptureError` if there is no gradient at the model's input."""
        try:
            with live(self._detector.model, self._layers, self._names, self._axes) as forward:
                self._detector.detect([item])
            self._look(forward)
        except RuntimeError as error:
            if isinstance(error, FeatscopeError):
                raise
            fact = str(error).splitlines()[0][:200]
            raise CaptureError(
                f"the model cannot run with a gradient at its input ({fact}), so the places of its maps cannot be "
                "measured; only heads can be measured, by their detections"
            ) from error
        self._images += 1

    def _look(self, forward: Live) -> None:
        images, size = forward.fed.images, forward.fed.size
        if images is None or size is None:
            raise CaptureError("the model did not receive a floating-point batch of images, so nothing can be measured")
        for one in forward.maps:
            key = (one.layer, one.field, one.level)
            if not self._wanted(key) or not one.tensor.requires_grad or self._is_settled(key):
                continue
            stride = self._strides.setdefault(key, one.place.stride)
            if any(abs(a - b) > 0.01 * b for a, b in zip(one.place.stride, stride)):
                continue  # the stride is different for an image of another size
            self._assumed[key] = one.place.known == "assumed"
            for cell in self._inner(one):
                looks = _centroid(one.tensor, cell, images, forward.fed.axes)
                if looks is not None:
                    self._sights[key].append(Sight(self._images, cell, looks, size))

    def _is_settled(self, key: Key) -> bool:
        """Whether more images would hardly change the estimate for a map."""
        if self._images < _FEWEST_IMAGES:
            return False
        seen = offset_of(self._sights[key], self._strides[key], self._assumed[key])
        return not seen.refused and max(seen.interval) < LIMIT / 3

    def _inner(self, one: LiveMap) -> List[Tuple[int, int]]:
        """Choose cells in the middle half of a map, where the border cuts off least of what they look at."""
        rows, columns = (_middle(side) for side in one.tensor.shape[-2:])
        cells = [(row, column) for row in rows for column in columns]
        return self._random.sample(cells, min(self._cells, len(cells)))

    def places(self) -> List[MeasuredPlace]:
        """Return the measured place of each map."""
        found = []
        for key, sights in self._sights.items():
            seen = offset_of(sights, self._strides[key], self._assumed[key])
            found.append(
                MeasuredPlace(
                    *key,
                    stride=self._strides[key],
                    offset=seen.offset,
                    interval=seen.interval,
                    count=seen.number,
                    by="gradient",
                    refused=seen.refused,
                )
            )
        return found


def _middle(side: int) -> range:
    return range(side // 4, max(side // 4 + 1, side - side // 4))


def _centroid(
    tensor: torch.Tensor, cell: Tuple[int, int], images: torch.Tensor, axes: Tuple[int, int]
) -> Optional[Tuple[float, float]]:
    """Return the centroid of |d sum(map[:, row, column]^2) / d input|; None if the gradient is zero."""
    value = tensor[0, :, cell[0], cell[1]].float().pow(2).sum()
    found: Sequence[Optional[torch.Tensor]] = torch.autograd.grad(value, images, retain_graph=True, allow_unused=True)
    gradient = found[0]
    if gradient is None:
        return None
    strength = gradient[0].abs().double().movedim((axes[0] - 1, axes[1] - 1), (0, 1)).flatten(2).sum(2)
    whole = float(strength.sum())
    if not (whole > 0 and np.isfinite(whole)):
        return None
    ends = [torch.arange(side, device=strength.device, dtype=strength.dtype) + 0.5 for side in strength.shape]
    return float((strength.sum(1) * ends[0]).sum()) / whole, float((strength.sum(0) * ends[1]).sum()) / whole


_WIDEST = 0.2
"""The largest spread (one standard deviation, in cells) of where single cells look, for one place to be valid."""


def offset_of(sights: Sequence[Sight], stride: Tuple[float, float], stride_assumed: bool) -> Estimate:
    """Estimate where cell 0 looks, in cells, from where inner cells look.

    >>> sights = [Sight(i, (i, i), (16.0 * i + 4, 16.0 * i + 4), (320, 320)) for i in range(4, 16)]
    >>> offset_of(sights, (16.0, 16.0), False).offset
    (0.25, 0.25)

    The position that a cell looks at is drawn towards the middle of the image, because borders cut it off and gates
    look at the whole image. Therefore a line is fitted through the cells, and its value in the middle of the image is
    used. If the stride is only assumed, the line might hide a wrong stride, so a steep line is refused.
    """
    cells = np.array([sight.cell for sight in sights], np.float64)
    looks = np.array([sight.looks for sight in sights]) / stride
    middle = np.array([sight.size for sight in sights]) / 2 / stride
    images = np.array([sight.image for sight in sights])
    offsets = looks - cells
    slopes = np.array([_slope(looks[:, axis] - middle[:, axis], offsets[:, axis]) for axis in (0, 1)])
    level = offsets - slopes * (looks - middle)
    found = estimate(level, images)
    if found.refused:
        return found
    low, high = np.percentile(level, [16, 84], axis=0)
    spread = float(((high - low) / 2).max())
    if spread > _WIDEST:
        return found._replace(
            refused=f"its cells look at offsets spread by {spread:.2f} cells: it mixes maps of different strides"
        )
    drift = float(np.abs(slopes * middle.max(0)).max())
    if stride_assumed and drift > 2 * _WIDEST:
        return found._replace(
            refused=f"its assumed stride is wrong by {drift:.2f} cells between the middle and the edge"
        )
    return found


def _slope(at: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Return how fast values change along an axis: the median over pairs of distant cells."""
    first, second = np.triu_indices(len(at), 1)
    apart = at[second] - at[first]
    far = np.abs(apart) > max(1.0, 0.25 * float(np.ptp(at))) if len(at) > 1 else np.zeros(0, bool)
    return float(np.median((values[second] - values[first])[far] / apart[far])) if far.sum() >= 10 else 0.0

"""From values to 8-bit indices: the value range, and the quantisation.

The order is fixed: reduce, normalise at native size, quantise, and only then resize.
"""

from __future__ import annotations

import math
from typing import List, NamedTuple, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.errors import BadOptionError

NAN_INDEX, INF_INDEX = 255, 254
"""Indices that stand for what is no number; a map that has such cells uses the 254 below them."""

RANGES = ("map", "layer", "run", "symmetric", "symmetric:99", "percentile:1:99", "0:1")
"""What a range may be: the map's own, shared by a layer or a run, symmetric about zero (to a percentile of the
absolute values), from one percentile to another, or fixed."""


class Quantised(NamedTuple):
    """indices: (H, W) uint8. low, high: the values of the first and the last index."""

    indices: NDArray[np.uint8]
    low: float
    high: float
    nan: int
    inf: int
    constant: bool


def parse_range(text: str) -> Tuple[str, Tuple[float, float]]:
    """Read a range: ('map', (0, 0)), ('percentile', (1, 99)), ('fixed', (0, 1)), ...

    >>> parse_range("percentile:2:98")
    ('percentile', (2.0, 98.0))
    """
    if text in ("map", "layer", "run"):
        return text, (0.0, 0.0)
    if text == "symmetric":
        return text, (0.0, 100.0)
    kind, numbers = "fixed", text.split(":")
    if numbers[0] == "percentile":
        kind, numbers = "percentile", numbers[1:]
    elif numbers[0] == "symmetric":
        kind, numbers = "symmetric", ["0", *numbers[1:]]
    try:
        low, high = (float(n) for n in numbers)
    except ValueError:
        raise BadOptionError(f"{text!r} is not a value range; type one of: {', '.join(RANGES)}") from None
    if not low < high or (kind != "fixed" and not 0 <= low < high <= 100):
        raise BadOptionError(f"range {text!r} is empty; the lower end comes first, as in 0:1")
    return kind, (low, high)


def finite_bounds(heat: NDArray[np.floating]) -> Tuple[float, float]:
    """Smallest and largest finite value, (0, 0) if there is none."""
    low, high = float(heat.min()), float(heat.max())
    if np.isfinite(low) and np.isfinite(high):
        return low, high
    finite = heat[np.isfinite(heat)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def scale_of(low: float, high: float) -> int:
    """The power of two that brings values of this range to about one, where their size is out of the ordinary; else 0.

    >>> scale_of(-3.0, 5.0), scale_of(0.0, 2.0**100), scale_of(0.0, 2.0**-100)
    (0, 101, -99)
    """
    largest = max(abs(low), abs(high))
    return 0 if largest == 0 or 1e-12 < largest < 1e12 else math.frexp(largest)[1]


def bounds(heat: NDArray[np.floating], value_range: str) -> Tuple[float, float]:
    """The values that become the first and the last colour of this map.

    >>> bounds(np.array([[-3.0, 1.0]]), "symmetric")
    (-3.0, 3.0)
    """
    kind, (low, high) = parse_range(value_range)
    if kind == "fixed":
        return low, high
    ends = (0.0, 0.0)
    if kind == "percentile":
        ends = _percentiles(heat, low, high)
    elif kind == "symmetric" and high < 100:
        ends = symmetric(*_percentiles(np.abs(heat), low, high))
    if not ends[0] < ends[1]:  # nearly all cells have one value: the few others are what there is to see
        ends = finite_bounds(heat)
    return symmetric(*ends) if kind == "symmetric" else ends


def symmetric(low: float, high: float) -> Tuple[float, float]:
    """The range with zero in its middle that holds the given one."""
    largest = max(abs(low), abs(high))
    return -largest, largest


def _percentiles(heat: NDArray[np.floating], low: float, high: float) -> Tuple[float, float]:
    finite = heat[np.isfinite(heat)]
    if not finite.size:
        return 0.0, 0.0
    exponent = scale_of(float(finite.min()), float(finite.max()))
    ends = np.ldexp(np.percentile(np.ldexp(finite, -exponent) if exponent else finite, [low, high]), exponent)
    return float(ends[0]), float(ends[1])


def shares_beyond(heat: NDArray[np.floating], low: float, high: float) -> Tuple[float, float]:
    """The shares of a map's finite cells that are below low, and above high.

    >>> shares_beyond(np.array([[0.0, 1.0, 2.0, 4.0, np.nan]]), 1.0, 3.0)
    (0.25, 0.25)
    """
    finite = np.isfinite(heat)
    count = int(finite.sum())
    if not count:
        return 0.0, 0.0
    with np.errstate(invalid="ignore"):
        below, above = int(((heat < low) & finite).sum()), int(((heat > high) & finite).sum())
    return below / count, above / count


def merge_bounds(ends: List[Tuple[float, float]]) -> Tuple[float, float]:
    """The range that holds all the given ones."""
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else (0.0, 0.0)


def quantise(heat: NDArray[np.floating], low: float, high: float, levels: int = 256) -> Quantised:
    """Turn values into indices 0 to levels - 1, NaN and infinity into indices of their own.

    >>> quantise(np.array([[0.0, 0.5, 1.0]]), 0.0, 1.0).indices.tolist()
    [[0, 128, 255]]

    heat: (H, W) or (H, W, 3). A constant map becomes the middle index everywhere.
    """
    # A sum is finite if all is, but for an overflow, which the exact test then sorts out.
    with np.errstate(all="ignore"):
        clean = bool(np.isfinite(heat.sum())) or bool(np.isfinite(heat).all())
    top = (levels if clean else min(levels, INF_INDEX)) - 1
    constant = not high > low
    if constant:
        indices = np.full(heat.shape, top // 2 + 1, np.uint8)
    else:
        # By a power of two, which is exact: the range of large values may be more than their dtype holds, and the
        # inverse of that of small ones too.
        exponent = scale_of(low, high)
        first, last = math.ldexp(low, -exponent), math.ldexp(high, -exponent)
        with np.errstate(all="ignore"):
            near = np.ldexp(heat, -exponent) if exponent else heat
            scaled = near - near.dtype.type(first)
            scaled *= near.dtype.type(top / (last - first))
            scaled += near.dtype.type(0.5)
            if not clean:
                scaled = np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)
            # In place, and in one pass each: this is half of a small map's time.
            np.minimum(scaled, top + 0.5, out=scaled)
            np.maximum(scaled, 0.0, out=scaled)
        indices = scaled.astype(np.uint8)
    nan = inf = 0
    if not clean:
        is_nan, is_inf = np.isnan(heat), np.isinf(heat)
        nan, inf = int(is_nan.sum()), int(is_inf.sum())
        indices[is_inf], indices[is_nan] = INF_INDEX, NAN_INDEX
    return Quantised(indices, low, high, nan, inf, constant)

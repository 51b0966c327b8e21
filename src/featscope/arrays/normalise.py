"""Convert heat map values to 8-bit colour indices: value ranges and quantisation.

The order is fixed: reduce, normalise at native size, quantise, and only then resize.
"""

from __future__ import annotations

import math
from typing import List, NamedTuple, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.errors import BadOptionError

NAN_INDEX, INF_INDEX = 255, 254
"""Indices for NaN and infinity. A map that contains such cells uses only the 254 lower indices for values."""

RANGES = ("map", "layer", "run", "symmetric", "symmetric:99", "percentile:1:99", "0:1")
"""Examples of value ranges: the map's own, shared by a layer or by the whole run, symmetric about zero (if wanted, up
to a percentile of the absolute values), between two percentiles, or fixed."""


class Quantised(NamedTuple):
    """Colour indices of a heat map."""

    indices: NDArray[np.uint8]
    """(H, W), or (H, W, 3) if the values were."""

    low: float
    """Value of the first index."""

    high: float
    """Value of the last index."""

    nan: int
    """Number of cells that are NaN."""

    inf: int
    """Number of cells that are infinite."""

    constant: bool
    """Whether the range is empty, so that all cells have the same index."""


def parse_range(text: str) -> Tuple[str, Tuple[float, float]]:
    """Parse a value range: ('map', (0, 0)), ('percentile', (1, 99)), ('fixed', (0, 1)), ...

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
        raise BadOptionError(f"range {text!r} is empty; type the lower end first, as in 0:1")
    return kind, (low, high)


def finite_bounds(heat: NDArray[np.floating]) -> Tuple[float, float]:
    """Return the smallest and the largest finite value; (0, 0) if there are none."""
    low, high = float(heat.min()), float(heat.max())
    if np.isfinite(low) and np.isfinite(high):
        return low, high
    finite = heat[np.isfinite(heat)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def scale_of(low: float, high: float) -> int:
    """Return the power of two that scales values of this range to about 1 if they are extremely large or small; else 0.

    >>> scale_of(-3.0, 5.0), scale_of(0.0, 2.0**100), scale_of(0.0, 2.0**-100)
    (0, 101, -99)
    """
    largest = max(abs(low), abs(high))
    return 0 if largest == 0 or 1e-12 < largest < 1e12 else math.frexp(largest)[1]


def bounds(heat: NDArray[np.floating], value_range: str) -> Tuple[float, float]:
    """Return the values that the first and the last colour stand for in this map.

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
    if not ends[0] < ends[1]:  # nearly all cells have the same value; show the few others
        ends = finite_bounds(heat)
    return symmetric(*ends) if kind == "symmetric" else ends


def symmetric(low: float, high: float) -> Tuple[float, float]:
    """Return the smallest range that is symmetric about zero and contains the given one."""
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
    """Return the shares of a map's finite cells that are below `low` and above `high`.

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
    """Return the smallest range that contains all the given ones."""
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else (0.0, 0.0)


def quantise(heat: NDArray[np.floating], low: float, high: float, levels: int = 256) -> Quantised:
    """Convert values to indices from 0 to levels - 1. NaN and infinity get their own indices.

    >>> quantise(np.array([[0.0, 0.5, 1.0]]), 0.0, 1.0).indices.tolist()
    [[0, 128, 255]]

    heat: (H, W) or (H, W, 3). All cells of a constant map get the middle index.
    """
    # Summing is the fastest check for NaN and infinity. Since the sum may overflow, the exact test follows.
    with np.errstate(all="ignore"):
        clean = bool(np.isfinite(heat.sum())) or bool(np.isfinite(heat).all())
    top = (levels if clean else min(levels, INF_INDEX)) - 1
    constant = not high > low
    if constant:
        indices = np.full(heat.shape, top // 2 + 1, np.uint8)
    else:
        # Scale by a power of two, which is exact: the range of very large values may overflow their dtype, and so may
        # the inverse of the range of very small values.
        exponent = scale_of(low, high)
        first, last = math.ldexp(low, -exponent), math.ldexp(high, -exponent)
        with np.errstate(all="ignore"):
            near = np.ldexp(heat, -exponent) if exponent else heat
            scaled = near - near.dtype.type(first)
            scaled *= near.dtype.type(top / (last - first))
            scaled += near.dtype.type(0.5)
            if not clean:
                scaled = np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)
            # Work in place, because these two lines take half of the time for a small map.
            np.minimum(scaled, top + 0.5, out=scaled)
            np.maximum(scaled, 0.0, out=scaled)
        indices = scaled.astype(np.uint8)
    nan = inf = 0
    if not clean:
        is_nan, is_inf = np.isnan(heat), np.isinf(heat)
        nan, inf = int(is_nan.sum()), int(is_inf.sum())
        indices[is_inf], indices[is_nan] = INF_INDEX, NAN_INDEX
    return Quantised(indices, low, high=high, nan=nan, inf=inf, constant=constant)

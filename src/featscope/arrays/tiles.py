"""Channels of a map as small tiles, and orders in which to look at them."""

from __future__ import annotations

from typing import Callable, Dict, NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.reduce import EVERYWHERE, Cells, as_floats
from featscope.errors import BadOptionError, unknown_name

Floats = NDArray[np.floating]

NAN_CODE, INF_CODE, TOP_CODE = 255, 254, 253
"""Codes of cells that are NaN or infinite, and the code of a channel's highest value."""

PEAK, MEAN = "peak", "mean"

ORDERS = ("number", "energy", "sparsity", "contrast", "similarity:0")
"""Examples of orders of channels."""

_SPARSE = 0.01  # share of a channel's largest absolute value; smaller values count as nothing


class Tiles(NamedTuple):
    """Channels as bytes."""

    codes: NDArray[np.uint8]
    """(C, h, w), from 0 at a channel's lowest value to `TOP_CODE` at its highest."""

    lows: NDArray[np.float64]
    """Lowest value of each channel, (C,)."""

    highs: NDArray[np.float64]
    """Highest value of each channel, (C,)."""


def shrink(channels: Floats, size: int, by: str = PEAK) -> Floats:
    """Make maps smaller, so that their longer side has at most `size` cells: (C, H, W) -> (C, h, w).

    >>> shrink(np.array([[[0.0, -9.0], [1.0, 2.0]]]), 1).tolist(), shrink(np.ones((1, 2, 2)), 1, "mean").tolist()
    ([[[-9.0]]], [[[1.0]]])

    by: 'peak' keeps the value of each block that is farthest from zero, so that a single strong cell stays visible;
    'mean' keeps the mean. Blocks are square; those at the right and bottom edge may be smaller.
    """
    if by not in (PEAK, MEAN):
        raise unknown_name("way to shrink", by, (PEAK, MEAN), "featscope view --help")
    if size < 1:
        raise BadOptionError(f"tiles of {size} cells show nothing; give 1 or more")
    rows, columns = channels.shape[1:]
    step = -(-max(rows, columns) // size)
    if step <= 1:
        return channels
    # Every step-th row at a time: the same as a reduction over blocks, at the speed of memory.
    parts = {MEAN: (np.add,), PEAK: (np.maximum, np.minimum)}[by]
    with np.errstate(invalid="ignore", over="ignore"):
        found = [_pooled(_pooled(channels, step, 1, part), step, 2, part) for part in parts]
        if by == MEAN:
            heights, widths = (np.diff([*range(0, length, step), length]) for length in (rows, columns))
            return found[0] / (heights[:, None] * widths).astype(channels.dtype)
        high, low = found
        return np.where(-low > high, low, high)


def _pooled(x: Floats, step: int, axis: int, part: np.ufunc) -> Floats:
    """Combine each `step` rows (axis 1) or columns (axis 2) to one."""
    every = [x[:, start::step] if axis == 1 else x[:, :, start::step] for start in range(step)]
    pooled = every[0].copy()
    for others in every[1:]:  # the last block may be smaller
        kept = pooled[:, : others.shape[1], : others.shape[2]]
        part(kept, others, out=kept)
    return pooled


def encode_tiles(channels: Floats) -> Tiles:
    """Convert channels (C, h, w) to bytes, each between its own lowest and highest finite value."""
    finite = np.isfinite(channels)
    whole = bool(finite.all())
    flat = channels.reshape(len(channels), -1)
    if whole:
        lows, highs = flat.min(1), flat.max(1)
    else:
        kept = finite.reshape(flat.shape)
        lows = np.where(kept, flat, np.inf).min(1)
        highs = np.where(kept, flat, -np.inf).max(1)
        none = ~kept.any(1)
        lows[none] = highs[none] = 0
    lows, highs = lows.astype(np.float64), highs.astype(np.float64)
    span = highs - lows
    with np.errstate(all="ignore"):
        scale = np.where(span > 0, TOP_CODE / span, 0.0)
        values = channels - lows[:, None, None].astype(channels.dtype)
        values *= scale[:, None, None].astype(channels.dtype)
        values += channels.dtype.type(0.5)
        if not whole:
            values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        codes = np.clip(values, 0, TOP_CODE, out=values).astype(np.uint8)
    if not whole:
        codes[np.isinf(channels)], codes[np.isnan(channels)] = INF_CODE, NAN_CODE
    return Tiles(codes, lows, highs)


class Objects(NamedTuple):
    """Which cells lie on objects; both are (H, W) of the cells that lie on the image."""

    on: NDArray[np.bool_]
    """Cells on an object."""

    around: NDArray[np.bool_]
    """Cells in a ring around an object, and on none."""


class Ranked(NamedTuple):
    """Channels in an order."""

    channels: NDArray[np.int64]
    """Numbers of the channels."""

    values: Optional[NDArray[np.float64]]
    """The value of each of them by which they are ordered; None for the order of their numbers."""


def rank_channels(
    array: NDArray[np.generic], order: str, inside: Cells = EVERYWHERE, objects: Optional[Objects] = None
) -> Ranked:
    """Order the channels of a map (C, H, W).

    >>> maps = np.array([[[0.0, 1.0]], [[4.0, 4.0]], [[0.0, 2.0]]])
    >>> rank_channels(maps, "energy").channels.tolist(), rank_channels(maps, "similarity:0").channels.tolist()
    ([1, 2, 0], [0, 2, 1])

    order: `number`; `energy`, the mean absolute value; `sparsity`, the share of cells that are nearly zero;
    `similarity:N`, the cosine between a channel and channel N; or `contrast`, how much stronger a channel is inside
    objects than in a ring around them, in standard deviations of the channel. inside: cells that lie on the image.
    objects: cells of objects and of their rings, which `contrast` needs.
    """
    x = as_floats(array)
    name, _, number = order.partition(":")
    if name not in _RANKS or (number and name != "similarity"):
        raise unknown_name("order of channels", order, ORDERS, "featscope view --help")
    if name == "number":
        return Ranked(np.arange(len(x)), None)
    if name == "similarity" and not (number.isdecimal() and int(number) < len(x)):
        raise BadOptionError(f"{order!r} names no channel; type similarity:0 to similarity:{len(x) - 1}")
    seen = np.nan_to_num(x[(slice(None), *inside)], nan=0.0, posinf=0.0, neginf=0.0)
    values = _RANKS[name](seen, int(number or 0), objects)
    return Ranked(np.argsort(-values, kind="stable"), values)


def _energy(x: Floats, number: int, objects: Optional[Objects]) -> NDArray[np.float64]:
    return np.abs(x).mean((1, 2), dtype=np.float64)


def _sparsity(x: Floats, number: int, objects: Optional[Objects]) -> NDArray[np.float64]:
    size = np.abs(x)
    found: NDArray[np.float64] = (size <= _SPARSE * size.max((1, 2), keepdims=True)).mean((1, 2))
    return found


def _similarity(x: Floats, number: int, objects: Optional[Objects]) -> NDArray[np.float64]:
    flat = x.reshape(len(x), -1).astype(np.float64)
    length = np.sqrt(np.einsum("cp,cp->c", flat, flat))
    with np.errstate(all="ignore"):
        found: NDArray[np.float64] = np.nan_to_num(np.einsum("cp,p->c", flat, flat[number]) / (length * length[number]))
    return found


def _contrast(x: Floats, number: int, objects: Optional[Objects]) -> NDArray[np.float64]:
    if objects is None:
        raise BadOptionError("this sample has no boxes whose cells could be compared with a ring around them")
    size = np.abs(x)
    spread = size.std((1, 2), dtype=np.float64)
    with np.errstate(all="ignore"):
        difference = size[:, objects.on].mean(1, dtype=np.float64) - size[:, objects.around].mean(1, dtype=np.float64)
        found: NDArray[np.float64] = np.nan_to_num(difference / spread)
    return found


_RANKS: Dict[str, Callable[[Floats, int, Optional[Objects]], NDArray[np.float64]]] = {
    "number": _energy,
    "energy": _energy,
    "sparsity": _sparsity,
    "similarity": _similarity,
    "contrast": _contrast,
}


def cells_on_boxes(
    corners: NDArray[np.floating], x: NDArray[np.floating], y: NDArray[np.floating]
) -> Optional[Objects]:
    """Find the cells on boxes and in a ring around them.

    corners: (n, 4, 2) of the boxes. x, y: where the centres of columns and of rows lie, in the same pixels. The ring of
    a box has the same area as the box, and leaves out all boxes. A box that covers no centre counts for the cell that
    is nearest to its own centre. Returns None if there are no boxes or no ring.
    """
    on = np.zeros((len(y), len(x)), bool)
    wide = np.zeros_like(on)
    for box in np.asarray(corners, np.float64):
        middle = box.mean(0)
        inside = _in_polygon(box, x, y)
        if not inside.any():
            inside[np.abs(y - middle[1]).argmin(), np.abs(x - middle[0]).argmin()] = True
        on |= inside
        ring = _in_polygon(middle + (box - middle) * np.sqrt(2), x, y)
        rows, columns = np.nonzero(inside)
        # Small objects have no centre in their ring, so the cells next to theirs count.
        ring[max(0, rows.min() - 1) : rows.max() + 2, max(0, columns.min() - 1) : columns.max() + 2] = True
        wide |= ring
    around = wide & ~on
    return Objects(on, around) if on.any() and around.any() else None


def _in_polygon(polygon: NDArray[np.float64], x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which points of a grid lie in a convex polygon, (len(y), len(x))."""
    sides = []
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0)):
        sides.append((x1 - x0) * (y[:, None] - y0) - (y1 - y0) * (x[None] - x0))
    stacked = np.stack(sides)
    found: NDArray[np.bool_] = np.asarray((stacked >= 0).all(0) | (stacked <= 0).all(0))
    return found


def centres(count: int, low: float, high: float, *, start: float, length: float, mirrored: bool) -> NDArray[np.float64]:
    """Return where the centres of a map's rows, or columns, lie in the frame.

    >>> centres(4, 0.0, 4.0, start=10.0, length=8.0, mirrored=False).tolist()
    [11.0, 13.0, 15.0, 17.0]

    low, high: the part of the map, in cells, that covers `length` pixels of the frame from `start` on.
    """
    share = (np.arange(count) + 0.5 - low) / (high - low)
    if mirrored:
        share = 1 - share
    return np.asarray(start + length * share, np.float64)


def strongest(array: NDArray[np.generic], inside: Cells = EVERYWHERE) -> NDArray[np.float64]:
    """Return the finite value of each channel that is farthest from zero, (C,); zero if it has none."""
    x = as_floats(array)[(slice(None), *inside)]
    with np.errstate(invalid="ignore"):
        low, high = x.min((1, 2)), x.max((1, 2))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        finite = np.where(np.isfinite(x), x, 0)
        low, high = finite.min((1, 2)), finite.max((1, 2))
    return np.where(-low > high, low, high).astype(np.float64)

"""Decide how a tensor is read: what each of its axes means, and which maps of the image it contains. NumPy only."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.traces import Plane, Spot, Trace
from featscope.records import Place

Array = NDArray[np.generic]

_EVEN = 0.3
"""How far a cell may lie from its position on an even grid, in distances between cells."""


class MapPart(NamedTuple):
    """One map, or one group of extra tokens, that a tensor contains."""

    name: str
    """'' for a map; 'prefix_tokens' or 'suffix_tokens', which is appended to the field's name."""

    axes: Tuple[str, ...]
    """Meaning of each axis of the stored array."""

    form: Tuple[int, ...]
    """Shape of the stored array, with the channels second."""

    order: Optional[NDArray[np.int64]] = None
    """Indices of the elements to take, in this order, from the tensor's flattened positions; None for all,
    unchanged."""

    place: Optional[Place] = None
    """Where the cells lie."""


class Reading(NamedTuple):
    """How a tensor is read."""

    shape: Tuple[int, ...]
    """Shape of the tensor."""

    axes: Tuple[str, ...]
    """Meaning of each axis: sample, channel, row, column, time, token (rows and columns in one axis), window (windows
    and samples in one axis), head or unknown."""

    why: str
    """The reason, in words."""

    parts: Tuple[MapPart, ...] = ()
    """The maps in the tensor. If there are none, the tensor is stored unchanged."""

    front: Tuple[int, ...] = ()
    """The order in which the tensor's axes are arranged before the parts are taken from it."""

    heads: Optional[int] = None
    """The axis of attention heads, over which the mean is taken first."""

    @property
    def is_map(self) -> bool:
        """Whether the tensor contains maps of the image."""
        return bool(self.parts)

    @property
    def whole(self) -> MapPart:
        """The part that stands for the unchanged tensor."""
        return MapPart("", self.axes, ())

    def apply(self, array: Array) -> List[Tuple[MapPart, Array]]:
        """Return the maps in an array, or the array itself if it has none.

        `featscope.capturing.laying` does the same for tensors.

        >>> from featscope.arrays.traces import trace_of_images
        >>> reading = read(trace_of_images((1, 4, 6, 3), rows=1, columns=2))
        >>> [map_.shape for _, map_ in reading.apply(np.zeros((1, 4, 6, 3)))]
        [(1, 3, 4, 6)]
        """
        if not self.parts:
            return [(self.whole, array)]
        if self.heads is not None:
            array = array.mean(self.heads, dtype=array.dtype if array.dtype.kind == "f" else np.float32)
        laid = array.transpose(self.front)
        found: List[Tuple[MapPart, Array]] = []
        for part in self.parts:
            if part.order is None:
                found.append((part, laid.reshape(part.form)))
                continue
            # (places, channels) -> places in grid order -> channels before rows and columns
            flat = laid.reshape(-1, part.form[1])
            rows = flat[part.order].reshape(part.form[0], *part.form[2:], part.form[1])
            found.append((part, rows if part.name else np.moveaxis(rows, -1, 1)))
        return found


def read(trace: Trace) -> Reading:
    """Decide how to read a tensor with this trace.

    >>> from featscope.arrays.traces import trace_of_images
    >>> read(trace_of_images((1, 3, 8, 8), 2, 3)).axes
    ('sample', 'channel', 'row', 'column')
    """
    spot = next((spot for spot in reversed(trace.spots) if "row" in spot.planes and "column" in spot.planes), None)
    if spot is None or 0 in trace.shape:
        return Reading(trace.shape, _axes(trace, Spot({}), known=False), _why_no_map(trace))
    heads, whole = None, trace.shape
    if trace.attention:
        spot = trace.spots[-1] if {"row", "column"} <= trace.spots[-1].planes.keys() else spot
        heads = _heads(trace, spot)
        if heads is not None:
            trace, spot = _without_axis(trace, spot, heads)
    reading = _separate(trace, spot) or _scattered(trace, spot)
    if reading is None:
        axes = _axes(trace, spot, known=False)
        return Reading(trace.shape, axes, "the places of its elements do not form a grid")
    if heads is not None:
        axes = (*reading.axes[:heads], "head", *reading.axes[heads:])
        return reading._replace(shape=whole, heads=heads, axes=axes)
    return reading


def unknown(shape: Tuple[int, ...], why: str) -> Reading:
    """Return the reading of a tensor about which nothing is known."""
    return Reading(shape, ("unknown",) * len(shape), why)


def _why_no_map(trace: Trace) -> str:
    if trace.lost:
        return f"it went through {trace.lost}, which featscope cannot follow"
    if trace.spots:
        return "its elements belong to whole rows or columns, or to places far apart"
    if trace.known:
        return "its elements do not belong to places of the image"
    return "featscope could not follow it back to the images"


def _varying(plane: Optional[Plane]) -> List[int]:
    return [axis for axis in range(plane.ndim) if plane.shape[axis] > 1] if plane is not None else []


def _axes(trace: Trace, spot: Spot, known: bool = True) -> Tuple[str, ...]:
    """Name each axis by what varies along it."""
    samples = _varying(trace.sample)
    names = []
    for axis in range(len(trace.shape)):
        changing = [name for name in ("time", "row", "column") if axis in _varying(spot.planes.get(name))]
        names.append(_name_of(changing, axis in samples))
    # Nothing varies along an axis of length 1. If the batch has one sample, the first such axis is the batch.
    if trace.sample is not None and not samples and trace.shape and trace.shape[0] == 1 and not names[0]:
        names[0] = "sample"
    rest = "channel" if known else "unknown"
    return tuple(name or rest for name in names)


def _name_of(changing: Sequence[str], sample: bool) -> str:
    """Name an axis. changing: which of time, rows and columns vary along it. sample: whether samples do."""
    if sample:
        return "window" if changing else "sample"
    return "token" if len(changing) > 1 else "".join(changing)


def _heads(trace: Trace, spot: Spot) -> Optional[int]:
    """Find the axis of heads in an attention of the form (samples, heads, queries, keys)."""
    taken = {*_varying(trace.sample), *spot.axes()}
    free = [axis for axis in range(1, len(trace.shape)) if axis not in taken]
    queries = {axis for other in trace.spots[:-1] for axis in other.axes()}
    heads = [axis for axis in free if axis not in queries]
    if len(trace.shape) == 4 and heads and heads[0] == 1 and len(free) == 2:
        return 1
    return None


def _without_axis(trace: Trace, spot: Spot, axis: int) -> Tuple[Trace, Spot]:
    def drop(plane: Plane) -> Plane:
        return plane.squeeze(axis)

    shape = (*trace.shape[:axis], *trace.shape[axis + 1 :])
    sample = drop(trace.sample) if trace.sample is not None else None
    planes = {name: drop(plane) for name, plane in spot.planes.items()}
    return Trace(shape, sample), Spot(planes, spot.coarsest)


def _separate(trace: Trace, spot: Spot) -> Optional[Reading]:
    """Read a tensor in which samples, rows and columns each have a separate axis: only the axes are reordered."""
    shape, order = trace.shape, _own_axes(trace, spot)
    if order is None or order["row"] is None or order["column"] is None:
        return None
    places = {name: _even(spot.planes[name].ravel(), spot.coarsest) for name in ("row", "column")}
    if any(place is None or place.step < 0 for place in places.values()):
        return None
    used = [axis for axis in order.values() if axis is not None]
    free = [axis for axis in range(len(shape)) if axis not in used]
    front = [order["sample"], *free, order["time"], order["row"], order["column"]]
    channels = int(np.prod([shape[axis] for axis in free], dtype=np.int64))
    sides = [shape[order[name]] if order[name] is not None else 1 for name in ("sample", "time", "row", "column")]  # type: ignore[index]
    film = "time" in spot.planes and order["time"] is not None
    axes = ("sample", "channel", *(["time"] if film else []), "row", "column")
    form = (sides[0], channels, *([sides[1]] if film else []), *sides[2:])
    names = _axes(trace, spot)
    named = {order["row"]: "row", order["column"]: "column"}
    names = tuple(named.get(axis, name) for axis, name in enumerate(names))
    part = MapPart("", axes, form, None, _place(places["row"], places["column"]))
    return Reading(
        trace.shape,
        names,
        "its rows and columns were followed from the input",
        (part,),
        tuple(a for a in front if a is not None),
    )


def _own_axes(trace: Trace, spot: Spot) -> Optional[Dict[str, Optional[int]]]:
    """Return the axis of samples, time, rows and columns (None if one has no axis), or None if two share an axis."""
    ways = {name: _varying(spot.planes.get(name)) for name in ("time", "row", "column")}
    ways["sample"] = _varying(trace.sample)
    taken = [axis for axes in ways.values() for axis in axes]
    shared = len(set(taken)) < len(taken) or _varying(spot.planes.get("part"))
    if shared or any(len(axes) > 1 for axes in ways.values()):
        return None
    order = {name: axes[0] if axes else None for name, axes in ways.items()}
    # A side of one cell gets any remaining axis of length 1. A single element has none.
    spare = [axis for axis in range(len(trace.shape)) if axis not in taken and trace.shape[axis] == 1]
    for name, last in (("sample", False), ("column", True), ("row", True)):
        if order[name] is None and spare:
            order[name] = spare.pop(-1 if last else 0)
    return order


class _Even(NamedTuple):
    """Evenly spaced cells along an axis."""

    first: float
    """Centre of the first cell."""

    step: float
    """Distance between cells; negative if they are in reverse order."""

    exact: bool = True
    """Whether all cells are close to their positions on the grid."""


def _even(values: NDArray[np.float64], coarsest: float) -> Optional[_Even]:
    """Fit a grid to the centres of cells; None if they are not monotonic or some have no place."""
    if not np.isfinite(values).all():
        return None
    if len(values) == 1:
        return _Even(float(values[0]), coarsest)
    steps = np.diff(values)
    if (steps < 0).any():
        return _Even(float(values[0]), -1.0) if (steps <= 0).all() else None
    # Use the median distance, because cells at the edge may be narrower.
    step = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    mean = float(values[-1] - values[0]) / (len(values) - 1)
    step = mean if abs(mean - step) < 0.02 * step or step == 0 else step if (steps > 0).all() else mean
    if step <= 0:
        return None
    first = float(np.median(values - step * np.arange(len(values))))
    return _Even(first, step, bool(np.abs(values - first - step * np.arange(len(values))).max() <= _EVEN * step))


def _place(row: Optional[_Even], column: Optional[_Even]) -> Optional[Place]:
    if row is None or column is None or not (row.exact and column.exact):
        return None
    return Place((row.step, column.step), (row.first, column.first), "operators")


def _scattered(trace: Trace, spot: Spot) -> Optional[Reading]:
    """Read tokens, or windows that are in the batch axis, by moving every element to its cell in a grid."""
    shape = trace.shape
    samples = _varying(trace.sample)
    front = sorted({*samples, *spot.axes()})
    if not front:
        return None
    free = [axis for axis in range(len(shape)) if axis not in front]
    channels = int(np.prod([shape[axis] for axis in free], dtype=np.int64))

    def column_of(plane: Plane) -> NDArray[np.float64]:
        narrow = plane[tuple(slice(None) if axis in front else 0 for axis in range(len(shape)))]
        return np.broadcast_to(narrow, [shape[axis] for axis in front]).ravel()

    if "time" in spot.planes:
        return None  # tokens of a video cannot be arranged in a grid
    row, column = column_of(spot.planes["row"]), column_of(spot.planes["column"])
    sample = np.zeros_like(row) if trace.sample is None else column_of(trace.sample)
    part = column_of(spot.planes["part"]) if "part" in spot.planes else None
    there = np.isfinite(row) & np.isfinite(column)
    whole = _grid(np.flatnonzero(there), sample, row, column, spot.coarsest)
    grids = [whole] if whole is not None else []
    if whole is None and part is not None:
        for number in np.unique(part[there]):
            one = _grid(np.flatnonzero(there & (part == number)), sample, row, column, spot.coarsest)
            if one is None:
                return None
            grids.append(one)
    if not grids:
        return None
    axes = ("sample", "channel", "row", "column")
    parts = [MapPart("", axes, (form[0], channels, *form[1:]), order, place) for order, form, place in grids]
    parts += _beside(there, sample, channels)
    names = _axes(trace, spot)
    text = " and ".join(f"{form[1]} x {form[2]}" for _, form, _ in grids)
    why = f"each element was followed to its place on a grid of {text}"
    return Reading(trace.shape, names, why, tuple(parts), (*front, *free))


def _grid(
    which: NDArray[np.int64],
    sample: NDArray[np.float64],
    row: NDArray[np.float64],
    column: NDArray[np.float64],
    coarsest: float,
) -> Optional[Tuple[NDArray[np.int64], Tuple[int, int, int], Optional[Place]]]:
    """Return the order in which elements fill a grid; None unless each sample fills each cell exactly once."""
    if not len(which):
        return None
    keys = [np.round(values[which], 3) for values in (sample, row, column)]
    sides, places = zip(*(np.unique(key, return_inverse=True) for key in keys))
    form = (len(sides[0]), len(sides[1]), len(sides[2]))
    if int(np.prod(form)) != len(which):
        return None
    cell = (places[0].ravel() * form[1] + places[1].ravel()) * form[2] + places[2].ravel()
    order = np.full(len(which), -1, np.int64)
    order[cell] = which
    if (order < 0).any():
        return None
    rows, columns = _even(sides[1], coarsest), _even(sides[2], coarsest)
    if rows is None or columns is None or not (rows.exact and columns.exact):
        return None  # these are the cells of several interleaved grids
    return order, form, _place(rows, columns)


def _beside(there: NDArray[np.bool_], sample: NDArray[np.float64], channels: int) -> List[MapPart]:
    """Return the parts for class and register tokens, before or after the tokens that have places."""
    before: List[NDArray[np.int64]] = []
    behind: List[NDArray[np.int64]] = []
    for number in np.unique(sample):
        own = np.flatnonzero(sample == number)
        places = np.flatnonzero(there[own])
        if not len(places):
            return []
        before.append(own[: places[0]])
        behind.append(own[places[-1] + 1 :])
    found = []
    for name, orders in (("prefix_tokens", before), ("suffix_tokens", behind)):
        count = len(orders[0])
        if count and all(len(order) == count for order in orders):
            form = (len(orders), channels, count)
            found.append(MapPart(name, ("sample", "token", "channel"), form, np.concatenate(orders)))
    return found

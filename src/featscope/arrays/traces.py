"""Follow which position of the input each element of a tensor belongs to, from operator to operator.

A trace has the same shape as its tensor but contains positions instead of values. An operator that moves, cuts or joins
tensors does the same with their traces; operators that compute new cells are in `featscope.arrays.cells`. So the axes
of a tensor and the positions of its cells are not guessed from its shape: they follow from what the network did. This
module uses NumPy only. `featscope.capturing.following` follows PyTorch's operators with it.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]
"""One coordinate of each element of a tensor, with the tensor's number of axes. An axis along which nothing varies has
length 1. NaN marks elements without a position, such as a class token."""

Shape = Tuple[int, ...]
Planes = Dict[str, Plane]

_EVEN = 0.01  # the largest difference between the distances of a row's cells, relative to them


class Spot(NamedTuple):
    """The positions of a tensor's elements on the input."""

    planes: Planes
    """Coordinates by name: 'row' and 'column' in pixels of the input, 'time' in frames, and 'part', the number of the
    sequence that an element comes from if sequences were joined."""

    coarsest: float = 1.0
    """The largest distance between cells, in pixels, of all tensors on the way here. If two branches are merged, the
    finer one determines the positions."""

    def axes(self) -> Tuple[int, ...]:
        """Return the axes along which a coordinate varies."""
        return tuple(sorted({a for plane in self.planes.values() for a in range(plane.ndim) if plane.shape[a] > 1}))


class Trace(NamedTuple):
    """What is known about a tensor's elements."""

    shape: Shape

    sample: Optional[Plane] = None
    """Index of the image in the batch that each element belongs to."""

    spots: Tuple[Spot, ...] = ()
    """The positions; empty if they are unknown. An attention has one for its queries and one for its keys."""

    lost: str = ""
    """Name of the first operator that could not be followed."""

    attention: bool = False
    """Whether the tensor is the result of a softmax over positions."""

    @property
    def known(self) -> bool:
        """Whether anything is known about the elements."""
        return self.sample is not None or bool(self.spots)

    def all_planes(self) -> List[Plane]:
        """Return all coordinates, including the sample."""
        planes = [plane for spot in self.spots for plane in spot.planes.values()]
        return planes if self.sample is None else [self.sample, *planes]


def trace_of_images(
    shape: Sequence[int], rows: int, columns: int, sample: Optional[int] = 0, time: Optional[int] = None
) -> Trace:
    """Return the trace of a batch of images, whose positions are the centres of the pixels.

    >>> trace = trace_of_images((2, 3, 4, 6), rows=2, columns=3)
    >>> trace.spots[0].planes["row"].ravel().tolist()
    [0.5, 1.5, 2.5, 3.5]

    rows, columns, sample, time: the index of the respective axis.
    """
    planes = {"row": _along(shape, rows) + 0.5, "column": _along(shape, columns) + 0.5}
    if time is not None:
        planes["time"] = _along(shape, time)
    return Trace(tuple(shape), None if sample is None else _along(shape, sample), (Spot(planes),))


def _along(shape: Sequence[int], axis: int) -> Plane:
    return np.arange(shape[axis], dtype=np.float64).reshape([-1 if a == axis else 1 for a in range(len(shape))])


def move(trace: Trace, shape: Shape, change: Callable[[Plane], Optional[Plane]]) -> Trace:
    """Return the trace after elements were moved; `change` does to a plane what was done to the tensor."""
    sample = change(trace.sample) if trace.sample is not None else None
    spots = [Spot(_changed(spot.planes, change), spot.coarsest) for spot in trace.spots]
    return Trace(shape, sample, alive(spots), trace.lost, trace.attention)


def _changed(planes: Planes, change: Callable[[Plane], Optional[Plane]]) -> Planes:
    found = {name: change(plane) for name, plane in planes.items()}
    return {name: plane for name, plane in found.items() if plane is not None}


def alive(spots: Sequence[Spot]) -> Tuple[Spot, ...]:
    """Remove spots that have neither rows nor columns left."""
    return tuple(spot for spot in spots if "row" in spot.planes or "column" in spot.planes)


def reshape(trace: Trace, shape: Shape) -> Trace:
    """Trace a reshape: the elements stay in the same order."""
    if 0 in trace.shape or 0 in shape:
        return Trace(shape)
    groups = _groups(trace.shape, shape)

    def change(plane: Plane) -> Plane:
        touched = [any(plane.shape[a] > 1 for a in before) for before, _ in groups]
        wide = [trace.shape[a] if touch else 1 for (before, _), touch in zip(groups, touched) for a in before]
        form = [shape[a] if touch else 1 for (_, after), touch in zip(groups, touched) for a in after]
        plane = np.broadcast_to(plane, wide).reshape(form)
        mixed = [a for (before, after), touch in zip(groups, touched) if touch and (before, after) for a in after]
        return narrowed(plane, mixed)

    return move(trace, shape, change)


def _groups(before: Shape, after: Shape) -> List[Tuple[List[int], List[int]]]:
    """Return the smallest groups of axes that contain the same elements in both shapes."""
    groups: List[Tuple[List[int], List[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        left: List[int] = []
        right: List[int] = []
        size = [1, 1]
        while True:
            if i < len(before) and (not left or size[0] < size[1]):
                left, size[0], i = [*left, i], size[0] * before[i], i + 1
            elif j < len(after) and (not right or size[1] < size[0]):
                right, size[1], j = [*right, j], size[1] * after[j], j + 1
            else:
                break
        groups.append((left, right))
    return groups


def narrowed(plane: Plane, axes: Sequence[int]) -> Plane:
    """Shorten a plane to length 1 along each of the axes along which it does not vary."""
    for axis in axes:
        if plane.shape[axis] > 1:
            first = plane.take([0], axis)
            if same(np.broadcast_to(first, plane.shape), plane):
                plane = first
    return plane


def same(one: Plane, other: Plane) -> bool:
    """Whether two planes are equal; NaN is equal to NaN."""
    return bool(((one == other) | (np.isnan(one) & np.isnan(other))).all())


def joined(traces: Sequence[Trace], shape: Shape, axis: int) -> Trace:
    """Trace tensors that are joined along an axis (`cat`).

    If maps of several sizes are joined along channels, the result has the positions of the finest one. Sequences of
    tokens, and elements without a position, keep their separate parts.
    """
    spots = [_joined_spots(column, traces, axis) for column in zip_longest(*(trace.spots for trace in traces))]
    return Trace(shape, _joined_samples(traces, axis), alive(spots), lost_of(traces))


def _joined_samples(traces: Sequence[Trace], axis: int) -> Optional[Plane]:
    samples = [trace.sample for trace in traces]
    known = [one for one in samples if one is not None]
    if len(known) < len(samples) and all(one.shape[axis] == 1 for one in known):
        # Elements that are joined to those of a sample, such as a class token, belong to the same sample.
        return known[0] if known else None
    return _joined(samples, traces, axis)


def _joined_spots(column: Sequence[Optional[Spot]], traces: Sequence[Trace], axis: int) -> Spot:
    """Join the spots at one place of the tensors' lists; None stands for a tensor without a spot there."""
    there = [spot for spot in column if spot is not None]
    if not any(axis in spot.axes() for spot in there):
        finest = min(spot.coarsest for spot in there)
        there = [spot for spot in there if spot.coarsest == finest]
        if all(_same_planes(there[0].planes, spot.planes) for spot in there):
            return there[0]
        if len(there) < len(traces):  # the others have no positions, so they take those of the finest map
            column = [spot if spot is not None and spot.coarsest == finest else there[0] for spot in column]
    elif len(there) > 1 and not _one_row(column, traces, axis):
        column = [
            spot and Spot({**spot.planes, "part": _part(spot, number, len(column))}, spot.coarsest)
            for number, spot in enumerate(column)
        ]
    planes: Planes = {}
    for name in dict.fromkeys(name for spot in column if spot is not None for name in spot.planes):
        plane = _joined([spot.planes.get(name) if spot else None for spot in column], traces, axis)
        if plane is not None:
            planes[name] = plane
    return Spot(planes, min(spot.coarsest for spot in there))


def _one_row(column: Sequence[Optional[Spot]], traces: Sequence[Trace], axis: int) -> bool:
    """Whether pieces of a map form one row of evenly spaced cells, as after cutting and rolling a map."""
    for name in ("row", "column"):
        planes = [spot.planes.get(name) if spot is not None else None for spot in column]
        there = [plane for plane in planes if plane is not None]
        if not any(plane.shape[axis] > 1 for plane in there):
            continue
        sides = [trace.shape[axis] for trace in traces]
        if len(there) < len(planes) or any(p.size != side or p.shape[axis] != side for p, side in zip(there, sides)):
            return False  # tokens, or a piece without positions
        values = np.sort(np.concatenate([plane.ravel() for plane in there]))
        steps = np.diff(values)
        return bool((steps > 0).all() and np.ptp(steps) < _EVEN * steps.min())
    return False


def _part(spot: Spot, number: int, count: int) -> Plane:
    before = spot.planes.get("part")
    first = next(iter(spot.planes.values()))
    return np.full([1] * first.ndim, float(number)) if before is None else before * count + number


def _same_planes(one: Planes, other: Planes) -> bool:
    return one.keys() == other.keys() and all(
        one[name].shape == other[name].shape and same(one[name], other[name]) for name in one
    )


def _joined(planes: Sequence[Optional[Plane]], traces: Sequence[Trace], axis: int) -> Optional[Plane]:
    there = [plane for plane in planes if plane is not None]
    if not there:
        return None
    whole = len(there) == len(planes)
    if whole and all(p.shape == there[0].shape and p.shape[axis] == 1 and same(p, there[0]) for p in there):
        return there[0]
    form = list(np.broadcast_shapes(*(_without(plane.shape, axis) for plane in there)))
    pieces = []
    for plane, trace in zip(planes, traces):
        size = [*form[:axis], trace.shape[axis], *form[axis + 1 :]]
        pieces.append(np.full(size, np.nan) if plane is None else np.broadcast_to(plane, size))
    return np.concatenate(pieces, axis)


def _without(shape: Shape, axis: int) -> List[int]:
    return [*shape[:axis], 1, *shape[axis + 1 :]]


def padded(trace: Trace, shape: Shape, pads: Sequence[Tuple[int, int]]) -> Trace:
    """Trace a padding: (before, after) for each axis, negative to cut.

    The grid of positions continues into the padding. Elements that are added to a sequence of tokens have no position.
    """

    def lengthened(plane: Plane, sequences: Sequence[int] = ()) -> Plane:
        for axis, (before, after) in enumerate(pads):
            if (before or after) and plane.shape[axis] > 1:
                where = np.arange(-before, plane.shape[axis] + after, dtype=np.float64)
                outside = (where < 0) | (where > plane.shape[axis] - 1)
                plane = at_fractions(plane, axis, where)
                if axis in sequences:
                    plane[(slice(None),) * axis + (outside,)] = np.nan
        return plane

    sample = lengthened(trace.sample) if trace.sample is not None else None
    spots = []
    for spot in trace.spots:
        sequences = sequences_of(spot)
        planes = {name: lengthened(plane, sequences) for name, plane in spot.planes.items()}
        spots.append(Spot(planes, spot.coarsest))
    return Trace(shape, sample, tuple(spots), trace.lost, trace.attention)


def at_fractions(plane: Plane, axis: int, where: NDArray[np.floating]) -> Plane:
    """Interpolate a plane at fractional cells along an axis; beyond the ends it is extrapolated linearly."""
    last = plane.shape[axis] - 1
    low = np.clip(np.floor(where), 0, max(last - 1, 0)).astype(np.int64)
    high = np.minimum(low + 1, last)
    weight = (where - low).reshape([-1 if a == axis else 1 for a in range(plane.ndim)])
    start = plane.take(low, axis)
    moved = start + weight * (plane.take(high, axis) - start)
    exact = weight == 0  # a NaN in the neighbour must not affect an exact position
    return np.where(np.broadcast_to(exact, moved.shape), start, moved)


def lost_of(traces: Sequence[Trace]) -> str:
    """Return the name of the first operator that could not be followed."""
    return next((trace.lost for trace in traces if trace.lost), "")


def sequences_of(spot: Spot) -> List[int]:
    """Return the axes along which both rows and columns vary, which are sequences of tokens."""
    ways = [spot.planes[name] for name in ("row", "column") if name in spot.planes]
    return [axis for axis in spot.axes() if sum(plane.shape[axis] > 1 for plane in ways) > 1]

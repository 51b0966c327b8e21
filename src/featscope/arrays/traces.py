"""Which place of the input each element of a tensor stands for, followed from operator to operator.

A trace has the form of its tensor, but holds places in place of values: moving, cutting and joining a tensor moves,
cuts and joins its trace, and a convolution gives the middle of what its kernel covers. So the axes of a tensor and
the places of its cells are not guessed from its shape: they are what the network made of them. NumPy only; who
follows PyTorch is `featscope.capturing.following`.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]
"""One coordinate of each element of a tensor: as many axes as it, of length 1 where nothing changes along an axis.

NaN where an element stands for no place (a class token)."""

Shape = Tuple[int, ...]
Planes = Dict[str, Plane]

_EVEN = 0.01  # how much the distances of a row's cells may differ, in distances
_STRETCHED = 0.02
"""Of the distance between cells: less than this is no other distance."""

_MOST_SPOTS = 3  # an attention has two, those of its queries and of its keys


class Spot(NamedTuple):
    """The places of a tensor's elements, as 'row' and 'column' in pixels of the input, 'time' in frames.

    planes: also 'part', which of the joined sequences an element comes from. coarsest: the widest distance between
    cells, in pixels, that any tensor on the way here had: where two ways meet, the finer one says where a cell lies.
    """

    planes: Planes
    coarsest: float = 1.0

    def axes(self) -> Tuple[int, ...]:
        """The axes along which a place changes."""
        return tuple(sorted({a for plane in self.planes.values() for a in range(plane.ndim) if plane.shape[a] > 1}))


class Trace(NamedTuple):
    """What is known of a tensor's elements.

    sample: which image of the batch each belongs to. spots: none where nothing is known; an attention has one for its
    queries and one for its keys. lost: the operator behind which nothing is known any more. attention: it is what a
    softmax over places gave.
    """

    shape: Shape
    sample: Optional[Plane] = None
    spots: Tuple[Spot, ...] = ()
    lost: str = ""
    attention: bool = False

    @property
    def known(self) -> bool:
        """Whether anything is known of it."""
        return self.sample is not None or bool(self.spots)

    def all_planes(self) -> List[Plane]:
        """The coordinates of all kinds."""
        planes = [plane for spot in self.spots for plane in spot.planes.values()]
        return planes if self.sample is None else [self.sample, *planes]


def trace_of_images(
    shape: Sequence[int], rows: int, columns: int, sample: Optional[int] = 0, time: Optional[int] = None
) -> Trace:
    """The trace of a batch of images: the places are the pixels' centres.

    >>> trace = trace_of_images((2, 3, 4, 6), rows=2, columns=3)
    >>> trace.spots[0].planes["row"].ravel().tolist()
    [0.5, 1.5, 2.5, 3.5]

    rows, columns, sample, time: which axes those are.
    """
    planes = {"row": _along(shape, rows) + 0.5, "column": _along(shape, columns) + 0.5}
    if time is not None:
        planes["time"] = _along(shape, time)
    return Trace(tuple(shape), None if sample is None else _along(shape, sample), (Spot(planes),))


def _along(shape: Sequence[int], axis: int) -> Plane:
    return np.arange(shape[axis], dtype=np.float64).reshape([-1 if a == axis else 1 for a in range(len(shape))])


# Moving elements


def move(trace: Trace, shape: Shape, change: Callable[[Plane], Optional[Plane]]) -> Trace:
    """A trace whose elements went elsewhere: `change` does to a plane what was done to the tensor."""
    sample = change(trace.sample) if trace.sample is not None else None
    spots = [Spot(_changed(spot.planes, change), spot.coarsest) for spot in trace.spots]
    return Trace(shape, sample, _alive(spots), trace.lost, trace.attention)


def _changed(planes: Planes, change: Callable[[Plane], Optional[Plane]]) -> Planes:
    found = {name: change(plane) for name, plane in planes.items()}
    return {name: plane for name, plane in found.items() if plane is not None}


def _alive(spots: Sequence[Spot]) -> Tuple[Spot, ...]:
    return tuple(spot for spot in spots if "row" in spot.planes or "column" in spot.planes)


def reshape(trace: Trace, shape: Shape) -> Trace:
    """The elements in the same order in another form."""
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
    """The smallest groups of axes that hold the same elements in both forms."""
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
    """A plane with length 1 along those of the axes along which nothing changes."""
    for axis in axes:
        if plane.shape[axis] > 1:
            first = plane.take([0], axis)
            if _same(np.broadcast_to(first, plane.shape), plane):
                plane = first
    return plane


def _same(one: Plane, other: Plane) -> bool:
    return bool(((one == other) | (np.isnan(one) & np.isnan(other))).all())


def joined(traces: Sequence[Trace], shape: Shape, axis: int) -> Trace:
    """Tensors one behind the other along an axis (`cat`).

    Channels of one place that come from maps of several sizes lie where the finest of them lies. Sequences of
    tokens, and what stands for no place, stay beside one another.
    """
    samples = [trace.sample for trace in traces]
    if any(one is None for one in samples) and not any(one is not None and one.shape[axis] > 1 for one in samples):
        # What is put beside a sample's elements, as a class token, is the sample's too.
        sample = next((one for one in samples if one is not None), None)
    else:
        sample = _joined(samples, traces, axis)
    spots = []
    for column in map(list, zip_longest(*(trace.spots for trace in traces))):
        there = [spot for spot in column if spot is not None]
        if not any(axis in spot.axes() for spot in there):
            finest = min(spot.coarsest for spot in there)
            column = [spot if spot is not None and spot.coarsest == finest else None for spot in column]
            there = [spot for spot in column if spot is not None]
            if len(there) < len(traces):  # the others are told apart from it by nothing but their values
                column = [spot or there[0] for spot in column]
            if all(_same_planes(there[0].planes, spot.planes) for spot in there):
                spots.append(there[0])
                continue
        elif len(there) > 1 and not _one_row(column, traces, axis):
            column = [
                spot and Spot({**spot.planes, "part": _part(spot, number, len(column))}, spot.coarsest)
                for number, spot in enumerate(column)
            ]
        names = dict.fromkeys(name for spot in there for name in spot.planes)
        planes: Planes = {}
        for name in [*names, *(["part"] if any(s and "part" in s.planes for s in column) else [])]:
            plane = _joined([spot.planes.get(name) if spot else None for spot in column], traces, axis)
            if plane is not None:
                planes[name] = plane
        spots.append(Spot(planes, min(spot.coarsest for spot in there)))
    return Trace(shape, sample, _alive(spots), _lost(traces))


def _one_row(column: Sequence[Optional[Spot]], traces: Sequence[Trace], axis: int) -> bool:
    """Whether pieces of maps are together one row of evenly spaced cells: a map that was cut and rolled."""
    for name in ("row", "column"):
        planes = [spot.planes.get(name) if spot is not None else None for spot in column]
        there = [plane for plane in planes if plane is not None]
        if not any(plane.shape[axis] > 1 for plane in there):
            continue
        sides = [trace.shape[axis] for trace in traces]
        if len(there) < len(planes) or any(p.size != side or p.shape[axis] != side for p, side in zip(there, sides)):
            return False  # tokens, or a piece that lies nowhere
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
        one[name].shape == other[name].shape and _same(one[name], other[name]) for name in one
    )


def _joined(planes: Sequence[Optional[Plane]], traces: Sequence[Trace], axis: int) -> Optional[Plane]:
    there = [plane for plane in planes if plane is not None]
    if not there:
        return None
    whole = len(there) == len(planes)
    if whole and all(p.shape == there[0].shape and p.shape[axis] == 1 and _same(p, there[0]) for p in there):
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
    """A border around a tensor: (before, after) for each axis, negative to cut. Its places go on as they are inside;
    what is put beside a sequence of tokens lies nowhere.
    """

    def lengthened(plane: Plane, sequences: Sequence[int] = ()) -> Plane:
        for axis, (before, after) in enumerate(pads):
            if (before or after) and plane.shape[axis] > 1:
                where = np.arange(-before, plane.shape[axis] + after, dtype=np.float64)
                outside = (where < 0) | (where > plane.shape[axis] - 1)
                plane = _at(plane, axis, where)
                if axis in sequences:
                    plane[(slice(None),) * axis + (outside,)] = np.nan
        return plane

    sample = lengthened(trace.sample) if trace.sample is not None else None
    spots = []
    for spot in trace.spots:
        sequences = _sequences(spot)
        planes = {name: lengthened(plane, sequences) for name, plane in spot.planes.items()}
        spots.append(Spot(planes, spot.coarsest))
    return Trace(shape, sample, tuple(spots), trace.lost, trace.attention)


def _at(plane: Plane, axis: int, where: NDArray[np.floating]) -> Plane:
    """A plane at fractions of cells along an axis: between two in proportion, and beyond the ends straight on."""
    last = plane.shape[axis] - 1
    low = np.clip(np.floor(where), 0, max(last - 1, 0)).astype(np.int64)
    high = np.minimum(low + 1, last)
    weight = (where - low).reshape([-1 if a == axis else 1 for a in range(plane.ndim)])
    start = plane.take(low, axis)
    moved = start + weight * (plane.take(high, axis) - start)
    exact = weight == 0  # a NaN beside a cell is not in it
    return np.where(np.broadcast_to(exact, moved.shape), start, moved)


# Operators that make cells of cells


def contracted(trace: Trace, axes: Sequence[int]) -> Trace:
    """A sum, mean or product over axes, which stay with length 1.

    What is left of a place is the middle of what was summed. A place that changes along no other axis is gone: the
    mean of a whole image lies nowhere.
    """
    shape = tuple(1 if axis in axes else side for axis, side in enumerate(trace.shape))

    def change(plane: Plane) -> Optional[Plane]:
        over = tuple(axis for axis in axes if plane.shape[axis] > 1)
        if not over:
            return plane
        plane = narrowed(_mean(plane, over), range(plane.ndim))
        return plane if plane.size > 1 else None

    return coarser(move(trace, shape, change))._replace(attention=False)


def _mean(plane: Plane, axes: Tuple[int, ...]) -> Plane:
    real = ~np.isnan(plane)
    count = real.sum(axes, keepdims=True)
    total = np.where(real, plane, 0).sum(axes, keepdims=True)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def merged(traces: Sequence[Trace], shape: Shape) -> Trace:
    """What is worked out of several tensors, element by element; shapes are matched from the last axis on.

    Where they stand for different places, the finer one counts; of equally fine ones the middle does, as long as they
    are neighbours.
    """
    traces = [_broadcast(trace, len(shape)) for trace in traces if trace.known]
    sample: Optional[Plane] = None
    spots: List[Spot] = []
    for trace in traces:
        if trace.sample is not None and (sample is None or trace.sample.size > sample.size):
            sample = trace.sample
        for spot in trace.spots:
            _add(spots, spot)
    return Trace(shape, sample, _alive(spots[:_MOST_SPOTS]), _lost(traces), any(trace.attention for trace in traces))


def _lost(traces: Sequence[Trace]) -> str:
    return next((trace.lost for trace in traces if trace.lost), "")


def _broadcast(trace: Trace, rank: int) -> Trace:
    more = rank - len(trace.shape)
    if more <= 0:
        return trace
    return move(trace, (1,) * more + trace.shape, lambda plane: plane.reshape((1,) * more + plane.shape))


def _add(spots: List[Spot], spot: Spot) -> None:
    axes = set(spot.axes())
    for index, other in enumerate(spots):
        others = set(other.axes())
        if axes <= others or others <= axes:
            if axes == others:
                spots[index] = _finer(other, spot)
            else:  # one of them is the same all along an axis of the other: a gate, a row's mean
                wide, narrow = (other, spot) if axes < others else (spot, other)
                spots[index] = Spot({**narrow.planes, **wide.planes}, wide.coarsest)
            return
    spots.append(spot)


def _finer(one: Spot, other: Spot) -> Spot:
    """Of two ways to the same cells the finer one. Of equally fine ones that which was not stretched in between: its
    cells are still as far apart as the widest on its way; else the middle of both.
    """
    if one.coarsest != other.coarsest:
        return min(one, other, key=lambda spot: spot.coarsest)
    stretched = [max(abs(step - spot.coarsest) for step in _distances(spot)) for spot in (one, other)]
    if abs(stretched[0] - stretched[1]) > _STRETCHED * one.coarsest:
        return one if stretched[0] < stretched[1] else other
    return _middle(one, other)


def _middle(one: Spot, other: Spot) -> Spot:
    planes = {**other.planes, **one.planes}
    for name in one.planes.keys() & other.planes.keys():
        ours, theirs = one.planes[name], other.planes[name]
        if name == "part" or (ours.shape == theirs.shape and _same(ours, theirs)):
            continue
        apart = np.abs(ours - theirs)
        if np.isfinite(apart).any() and float(np.nanmax(apart)) > 1.5 * one.coarsest:
            del planes[name]  # two places at once
        else:
            both = (ours + theirs) / 2
            planes[name] = np.where(np.isnan(both), np.where(np.isnan(ours), theirs, ours), both)
    return Spot(planes, one.coarsest)


def windowed(
    trace: Trace,
    shape: Shape,
    axes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Trace:
    """A convolution or a pool: each cell is the middle of what its kernel covers. axes: those that the kernel slides
    along, one number of each list for each.
    """

    def change(plane: Plane) -> Optional[Plane]:
        for axis, width, step, pad, gap in zip(axes, kernel, stride, padding, dilation):
            if plane.shape[axis] > 1:
                middle = np.arange(shape[axis]) * step - pad + gap * (width - 1) / 2
                plane = _at(plane, axis, middle)
        return plane

    wide = [axis for axis, width in zip(axes, kernel) if width > 1]
    return coarser(move(_without_sequences(trace, wide), shape, change))._replace(attention=False)


def _without_sequences(trace: Trace, axes: Sequence[int]) -> Trace:
    """Without the places that are tokens in a row along one of the axes: its neighbours lie anywhere."""
    spots = [spot for spot in trace.spots if not set(_sequences(spot)) & set(axes)]
    return trace._replace(spots=tuple(spots))


def _sequences(spot: Spot) -> List[int]:
    """The axes along which both rows and columns change: tokens stand in a row there."""
    ways = [spot.planes[name] for name in ("row", "column") if name in spot.planes]
    return [axis for axis in spot.axes() if sum(plane.shape[axis] > 1 for plane in ways) > 1]


def spread(
    trace: Trace,
    shape: Shape,
    axes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Trace:
    """A transposed convolution: each cell lies between those that reach it."""

    def change(plane: Plane) -> Optional[Plane]:
        for axis, width, step, pad, gap in zip(axes, kernel, stride, padding, dilation):
            if plane.shape[axis] > 1:
                plane = _at(plane, axis, (np.arange(shape[axis]) + pad - gap * (width - 1) / 2) / step)
        return plane

    return move(_without_sequences(trace, axes), shape, change)._replace(attention=False)


def pooled_to(trace: Trace, shape: Shape, axes: Sequence[int]) -> Trace:
    """A pool to a given size; one to a single cell lies nowhere."""

    def change(plane: Plane) -> Optional[Plane]:
        for axis in axes:
            have, want = plane.shape[axis], shape[axis]
            if have > 1 and want == 1:
                return None
            if have > 1:
                index = np.arange(want)
                first, last = index * have // want, -(-(index + 1) * have // want) - 1
                plane = _at(plane, axis, ((first + last) / 2).astype(np.float64))
        return plane

    fewer = max((trace.shape[axis] / shape[axis] for axis in axes), default=1.0)
    given = _without_sequences(trace, axes)
    # Where windows overlap, their middles are nearer to one another than the cells that share the map between them.
    wider = [spot._replace(coarsest=max(spot.coarsest, fewer * _distance(spot))) for spot in given.spots]
    return coarser(move(given._replace(spots=tuple(wider)), shape, change))._replace(attention=False)


def resampled(trace: Trace, shape: Shape, axes: Sequence[int], corners: bool = False) -> Trace:
    """An interpolation to another size. corners: the outermost cells keep their places (`align_corners`).

    Copies of the nearest cell are spread over the room that the cell had.
    """

    where = {}
    for axis in axes:
        have, want = trace.shape[axis], shape[axis]
        if have != want:
            index = np.arange(want, dtype=np.float64)
            where[axis] = index * (have - 1) / max(want - 1, 1) if corners else (index + 0.5) * have / want - 0.5
    return sampled(trace, shape, where)


def sampled(trace: Trace, shape: Shape, where: Mapping[int, NDArray[np.floating]]) -> Trace:
    """Cells that lie at fractions of cells of what was given. where: axis -> one place for each cell of the output."""

    def change(plane: Plane) -> Optional[Plane]:
        for axis, places in where.items():
            if plane.shape[axis] > 1:
                plane = _at(plane, axis, places)
        return plane

    return coarser(move(_without_sequences(trace, list(where)), shape, change))._replace(attention=False)


def multiplied(one: Trace, other: Trace, shape: Shape) -> Trace:
    """A matrix product (..., i, k) x (..., k, j): what is summed over k has no place any more."""
    left = contracted(one, [len(one.shape) - 1])
    right = contracted(other, [len(other.shape) - 2])
    return merged([left, right], shape)._replace(attention=False)


def coarser(trace: Trace) -> Trace:
    """The trace, with the distance between its cells counted in."""
    spots = [spot._replace(coarsest=max(spot.coarsest, _distance(spot))) for spot in trace.spots]
    return trace._replace(spots=tuple(spots))


def _distance(spot: Spot) -> float:
    """The wider distance between its cells, along rows or columns."""
    return max(_distances(spot))


def _distances(spot: Spot) -> Tuple[float, float]:
    return distance(spot.planes.get("row")), distance(spot.planes.get("column"))


def distance(plane: Optional[Plane]) -> float:
    """Pixels between neighbouring cells, 0 where there are none."""
    if plane is None or plane.size < 2:
        return 0.0
    axis = next(a for a in range(plane.ndim) if plane.shape[a] > 1)
    steps = np.abs(
        np.diff(plane[tuple(slice(None) if a == axis else slice(0, 1) for a in range(plane.ndim))], axis=axis)
    )
    steps = steps[steps > 0]
    return float(np.median(steps)) if steps.size else 0.0

"""Trace operators that compute new cells from several others: sums, products, convolutions, pools and resampling."""

from __future__ import annotations

from typing import List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.traces import (
    Plane,
    Shape,
    Spot,
    Trace,
    alive,
    at_fractions,
    lost_of,
    move,
    narrowed,
    same,
    sequences_of,
)

_NEIGHBOURS = 1.5  # the largest distance of neighbours, in distances between cells
_STRETCHED = 0.02  # relative difference from which two distances between cells count as different
_MOST_SPOTS = 3  # attention has two: one of its queries and one of its keys


def contracted(trace: Trace, axes: Sequence[int]) -> Trace:
    """Trace a sum, mean or product over axes, which stay with length 1.

    The result lies in the middle of the elements that were combined, if they lie side by side. If it does not vary
    along any other axis, it has no place: the mean over a whole image does not lie anywhere.
    """
    shape = tuple(1 if axis in axes else side for axis, side in enumerate(trace.shape))

    def change(plane: Plane, widest: float = np.inf) -> Optional[Plane]:
        over = tuple(axis for axis in axes if plane.shape[axis] > 1)
        if not over:
            return plane
        plane = narrowed(_mean(plane, over, widest), range(plane.ndim))
        return plane if plane.size > 1 else None

    sample = change(trace.sample) if trace.sample is not None else None
    spots = []
    for spot in trace.spots:
        planes = {name: change(plane, spot.coarsest) for name, plane in spot.planes.items()}
        spots.append(Spot({name: plane for name, plane in planes.items() if plane is not None}, spot.coarsest))
    return coarser(Trace(shape, sample, alive(spots), trace.lost))


def _mean(plane: Plane, axes: Tuple[int, ...], widest: float) -> Plane:
    """Return the mean along axes, without NaN; NaN if some values are farther apart than neighbours."""
    real = ~np.isnan(plane)
    count = real.sum(axes, keepdims=True)
    total = np.where(real, plane, 0).sum(axes, keepdims=True)
    together = np.ones(count.shape, bool)
    if np.isfinite(widest):
        last = tuple(range(-len(axes), 0))
        ordered = np.sort(np.moveaxis(plane, axes, last).reshape(*np.delete(plane.shape, axes), -1), -1)
        gaps = np.diff(ordered, axis=-1)
        together = ~(gaps > _NEIGHBOURS * widest).any(-1).reshape(count.shape)
    return np.where((count > 0) & together, total / np.maximum(count, 1), np.nan)


def merged(traces: Sequence[Trace], shape: Shape) -> Trace:
    """Trace the result of an element-wise operation on several tensors. Shapes are matched from the last axis on.

    If the tensors have different places, the finer one is used. If they are equally fine and their places are
    neighbours, the middle is used.
    """
    traces = [_broadcast(trace, len(shape)) for trace in traces if trace.known]
    sample: Optional[Plane] = None
    spots: List[Spot] = []
    for trace in traces:
        if trace.sample is not None and (sample is None or trace.sample.size > sample.size):
            sample = trace.sample
        for spot in trace.spots:
            _add(spots, spot)
    return Trace(shape, sample, alive(spots[:_MOST_SPOTS]), lost_of(traces), any(trace.attention for trace in traces))


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
            else:  # one of them is constant along an axis of the other, as a gate or the mean of a row
                wide, narrow = (other, spot) if axes < others else (spot, other)
                spots[index] = Spot({**narrow.planes, **wide.planes}, wide.coarsest)
            return
    spots.append(spot)


def _finer(one: Spot, other: Spot) -> Spot:
    """Return the finer one of two spots for the same cells.

    If both are equally fine, return the one that was not resampled in between: its cells are still as far apart as its
    coarsest ones were. Otherwise return the middle of both.
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
        if name == "part" or (ours.shape == theirs.shape and same(ours, theirs)):
            continue
        apart = np.abs(ours - theirs)
        if np.isfinite(apart).any() and float(np.nanmax(apart)) > _NEIGHBOURS * one.coarsest:
            del planes[name]  # the places contradict each other
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
    """Trace a convolution or a pool: each cell lies in the middle of the area that its kernel covers.

    axes: the axes that the kernel slides along; the other lists have one number for each of them.
    """

    def change(plane: Plane) -> Optional[Plane]:
        for axis, width, step, pad, gap in zip(axes, kernel, stride, padding, dilation):
            if plane.shape[axis] > 1:
                middle = np.arange(shape[axis]) * step - pad + gap * (width - 1) / 2
                plane = at_fractions(plane, axis, middle)
        return plane

    wide = [axis for axis, width in zip(axes, kernel) if width > 1]
    return coarser(move(_without_sequences(trace, wide), shape, change))._replace(attention=False)


def _without_sequences(trace: Trace, axes: Sequence[int]) -> Trace:
    """Remove places that are sequences of tokens along one of the axes, since neighbours there can lie far apart."""
    spots = [spot for spot in trace.spots if not set(sequences_of(spot)) & set(axes)]
    return trace._replace(spots=tuple(spots))


def spread(
    trace: Trace,
    shape: Shape,
    axes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Trace:
    """Trace a transposed convolution: each cell lies between the input cells that contribute to it."""

    def change(plane: Plane) -> Optional[Plane]:
        for axis, width, step, pad, gap in zip(axes, kernel, stride, padding, dilation):
            if plane.shape[axis] > 1:
                plane = at_fractions(plane, axis, (np.arange(shape[axis]) + pad - gap * (width - 1) / 2) / step)
        return plane

    return move(_without_sequences(trace, axes), shape, change)._replace(attention=False)


def pooled_to(trace: Trace, shape: Shape, axes: Sequence[int]) -> Trace:
    """Trace a pool to a given size. A pool to a single cell has no place."""

    def change(plane: Plane) -> Optional[Plane]:
        for axis in axes:
            have, want = plane.shape[axis], shape[axis]
            if have > 1 and want == 1:
                return None
            if have > 1:
                index = np.arange(want)
                first, last = index * have // want, -(-(index + 1) * have // want) - 1
                plane = at_fractions(plane, axis, ((first + last) / 2).astype(np.float64))
        return plane

    fewer = max((trace.shape[axis] / shape[axis] for axis in axes), default=1.0)
    given = _without_sequences(trace, axes)
    # If windows overlap, their centres are closer together than the map's width divided by the number of cells.
    wider = [spot._replace(coarsest=max(spot.coarsest, fewer * _distance(spot))) for spot in given.spots]
    return coarser(move(given._replace(spots=tuple(wider)), shape, change))._replace(attention=False)


def resampled(trace: Trace, shape: Shape, axes: Sequence[int], corners: bool = False) -> Trace:
    """Trace an interpolation to another size.

    corners: the outermost cells keep their places (`align_corners`). Copies of the nearest cell are spread over the
    area of that cell.
    """

    where = {}
    for axis in axes:
        have, want = trace.shape[axis], shape[axis]
        if have != want:
            index = np.arange(want, dtype=np.float64)
            where[axis] = index * (have - 1) / max(want - 1, 1) if corners else (index + 0.5) * have / want - 0.5
    return sampled(trace, shape, where)


def sampled(trace: Trace, shape: Shape, where: Mapping[int, NDArray[np.floating]]) -> Trace:
    """Trace cells at fractional positions of the input's cells. where: axis -> the position of each output cell."""

    def change(plane: Plane) -> Optional[Plane]:
        for axis, places in where.items():
            if plane.shape[axis] > 1:
                plane = at_fractions(plane, axis, places)
        return plane

    return coarser(move(_without_sequences(trace, list(where)), shape, change))._replace(attention=False)


def multiplied(one: Trace, other: Trace, shape: Shape) -> Trace:
    """Trace a matrix product (..., i, k) x (..., k, j): places along k are lost in the sum."""
    left = contracted(one, [len(one.shape) - 1])
    right = contracted(other, [len(other.shape) - 2])
    return merged([left, right], shape)._replace(attention=False)


def coarser(trace: Trace) -> Trace:
    """Raise `coarsest` of each spot to the distance between its cells."""
    spots = [spot._replace(coarsest=max(spot.coarsest, _distance(spot))) for spot in trace.spots]
    return trace._replace(spots=tuple(spots))


def _distance(spot: Spot) -> float:
    """Return the larger of the distances between cells along rows and along columns."""
    return max(_distances(spot))


def _distances(spot: Spot) -> Tuple[float, float]:
    return distance(spot.planes.get("row")), distance(spot.planes.get("column"))


def distance(plane: Optional[Plane]) -> float:
    """Return the distance between neighbouring cells in pixels; 0 if there are none."""
    if plane is None or plane.size < 2:
        return 0.0
    axis = next(a for a in range(plane.ndim) if plane.shape[a] > 1)
    steps = np.abs(
        np.diff(plane[tuple(slice(None) if a == axis else slice(0, 1) for a in range(plane.ndim))], axis=axis)
    )
    steps = steps[steps > 0]
    return float(np.median(steps)) if steps.size else 0.0

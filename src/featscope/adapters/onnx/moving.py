"""Rules for ONNX operators that move, cut, copy or join elements. Their traces are treated in the same way."""

from __future__ import annotations

from typing import List, Optional

import numpy as np
from numpy.typing import NDArray

from featscope.adapters.onnx.operations import Operation, Traces, UnfollowedError, normal, rule_for
from featscope.arrays import cells, traces
from featscope.arrays.traces import Plane, Trace


@rule_for("Reshape Flatten Squeeze Unsqueeze")
def _reshape(op: Operation) -> Traces:
    return traces.reshape(op.first, op.shape)


@rule_for("Transpose")
def _transpose(op: Operation) -> Traces:
    order = op.integers("perm") or list(range(len(op.shape)))[::-1]
    return traces.move(op.first, op.shape, lambda plane: plane.transpose(order))


@rule_for("Expand")
def _expand(op: Operation) -> Traces:
    more = len(op.shape) - len(op.first.shape)
    return traces.move(op.first, op.shape, lambda plane: plane.reshape((1,) * more + plane.shape))


@rule_for("Tile")
def _tile(op: Operation) -> Traces:
    times = op.numbers("", 1) or []
    return traces.move(
        op.first,
        op.shape,
        lambda plane: np.tile(plane, [count if side > 1 else 1 for count, side in zip(times, plane.shape)]),
    )


def taken(plane: Plane, axis: int, index: NDArray[np.integer]) -> Plane:
    """Take elements along an axis. The axis is replaced by the axes of the index."""
    if plane.shape[axis] > 1:
        return plane.take(index, axis)
    return plane.reshape((*plane.shape[:axis], *(1,) * index.ndim, *plane.shape[axis + 1 :]))


@rule_for("Slice")
def _slice(op: Operation) -> Traces:
    starts, ends = op.numbers("starts", 1), op.numbers("ends", 2)
    if starts is None or ends is None:
        return None
    shape = op.first.shape
    axes = normal(op.numbers("axes", 3) or range(len(starts)), len(shape))
    steps = op.numbers("", 4) or [1] * len(starts)
    places = [
        (axis, np.arange(*slice(start, end, step).indices(shape[axis])))
        for axis, start, end, step in zip(axes, starts, ends, steps)
    ]

    def change(plane: Plane) -> Plane:
        for axis, index in places:
            plane = taken(plane, axis, index)
        return plane

    return cells.coarser(traces.move(op.first, op.shape, change))


@rule_for("Split")
def _split(op: Operation) -> Traces:
    axis = op.axis(0)
    found: List[Optional[Trace]] = []
    start = 0
    for shape in op.shapes:
        index = np.arange(start, start + shape[axis])
        found.append(traces.move(op.first, shape, lambda plane, index=index: taken(plane, axis, index)))  # type: ignore[misc]
        start += shape[axis]
    return found


@rule_for("Concat")
def _concat(op: Operation) -> Traces:
    return traces.joined(op.tensors, op.shape, op.integer("axis", 1) % len(op.shape))


@rule_for("Pad")
def _pad(op: Operation) -> Traces:
    sides = op.numbers("paddings" if op.has("paddings") else "pads", 1) or []
    rank = len(op.shape)
    axes = normal(op.numbers("", 3) or range(rank), rank)
    pads = [(0, 0)] * rank
    for number, axis in enumerate(axes):
        pads[axis] = (sides[number], sides[number + len(axes)])
    return traces.padded(op.first, op.shape, pads)


@rule_for("Gather")
def _gather(op: Operation) -> Traces:
    axis = op.axis(0)
    if not _varies(op.first, [axis]):
        more = len(op.shape) - len(op.first.shape) + 1
        return traces.move(op.first, op.shape, lambda plane: taken(plane, axis, np.zeros((1,) * more, np.int64)))
    index = op.array(1).astype(np.int64)
    return traces.move(op.first, op.shape, lambda plane: taken(plane, axis, index))


def _varies(trace: Trace, axes: List[int]) -> bool:
    """Whether anything in a trace varies along these axes."""
    return any(plane.shape[axis] > 1 for plane in trace.all_planes() for axis in axes)


@rule_for("GatherElements")
def _gather_elements(op: Operation) -> Traces:
    axis = op.axis(0)
    index = op.array(1).astype(np.int64) if _varies(op.first, [axis]) else None

    def change(plane: Plane) -> Plane:
        plane = plane[tuple(slice(None) if a == axis else slice(0, side) for a, side in enumerate(op.shape))]
        if plane.shape[axis] == 1 or index is None:
            return plane
        wide = [plane.shape[a] if a == axis else side for a, side in enumerate(index.shape)]
        return traces.narrowed(np.take_along_axis(np.broadcast_to(plane, wide), index, axis), range(plane.ndim))

    return traces.move(op.first, op.shape, change)


@rule_for("GatherND")
def _gather_nd(op: Operation) -> Traces:
    if op.integer("batch_dims", 0):
        raise UnfollowedError("")
    index = op.array(1).astype(np.int64)
    count = index.shape[-1]
    given = op.first.shape

    def change(plane: Plane) -> Plane:
        wide = np.broadcast_to(plane, [*given[:count], *plane.shape[count:]])
        found = wide[tuple(np.moveaxis(index, -1, 0))]
        return traces.narrowed(found, range(found.ndim))

    return traces.move(op.first, op.shape, change)


@rule_for("ScatterND ScatterElements Scatter")
def _scatter(op: Operation) -> Traces:
    """Values that are written into a map do not change its positions, unless they have positions themselves."""
    if op.given(2).known:
        raise UnfollowedError("")
    return op.first


@rule_for("TopK")
def _top(op: Operation) -> Traces:
    axis = op.axis(-1)
    if _varies(op.first, [axis]):
        raise UnfollowedError("the elements that it takes depend on the image")
    return [op.first._replace(shape=shape) for shape in op.shapes]


@rule_for("DepthToSpace")
def _depth_to_space(op: Operation) -> Traces:
    return cells.resampled(cells.contracted(op.first, [1]), op.shape, [2, 3])


@rule_for("SpaceToDepth")
def _space_to_depth(op: Operation) -> Traces:
    by = op.integer("blocksize", 1)
    return cells.windowed(
        op.first, op.shape, [2, 3], kernel=[by] * 2, stride=[by] * 2, padding=[0] * 2, dilation=[1] * 2
    )

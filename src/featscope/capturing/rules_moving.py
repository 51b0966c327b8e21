"""Rules for operators that move, cut, copy or join elements. Their traces are treated in the same way."""

from __future__ import annotations

from typing import List, Optional

import numpy as np
import torch
from numpy.typing import NDArray

from featscope.arrays import cells, traces
from featscope.arrays.traces import Plane, Trace
from featscope.capturing.operations import Operation, Traces, rule_for


def array_of(tensor: torch.Tensor) -> NDArray[np.int64]:
    """Return a tensor of indices or booleans as an array."""
    return tensor.detach().cpu().numpy()


# Operators that move elements


@rule_for(
    "alias clone contiguous detach lift_fresh _to_copy to dropout native_dropout requires_grad_ "
    "_reshape_alias view_as_real lift resolve_conj resolve_neg positive _conj pin_memory type_as"
)
def _the_same(op: Operation) -> Traces:
    return op.first


@rule_for("view reshape _unsafe_view flatten unflatten view_copy _reshape_copy squeeze unsqueeze")
def _reshape(op: Operation) -> Traces:
    return traces.reshape(op.first, op.shape)


@rule_for("permute")
def _permute(op: Operation) -> Traces:
    order = [axis % len(op.shape) for axis in op.numbers("dims")]
    return traces.move(op.first, op.shape, lambda plane: plane.transpose(order))


@rule_for("transpose swapaxes t")
def _transpose(op: Operation) -> Traces:
    if len(op.shape) < 2:
        return op.first
    one, other = (0, 1) if op.name.startswith("t") and not op.has("dim0") else (op.number("dim0"), op.number("dim1"))
    return traces.move(op.first, op.shape, lambda plane: plane.swapaxes(one, other))


@rule_for("expand broadcast_to expand_as")
def _expand(op: Operation) -> Traces:
    more = len(op.shape) - len(op.first.shape)
    return traces.move(op.first, op.shape, lambda plane: plane.reshape((1,) * more + plane.shape))


@rule_for("slice narrow")
def _slice(op: Operation) -> Traces:
    axis = op.number("dim")
    start, end, step = op["start"], op["end"] if op.has("end") else None, 1
    if op.has("length"):
        end = int(start) + op.number("length")  # type: ignore[call-overload]
    if op.has("step"):
        step = op.number("step")
    return cells.coarser(traces.move(op.first, op.shape, lambda plane: _cut(plane, axis, slice(start, end, step))))


def _cut(plane: Plane, axis: int, part: slice) -> Plane:
    if plane.shape[axis] == 1:
        return plane
    whole: List[slice] = [slice(None)] * plane.ndim
    whole[axis] = part
    return plane[tuple(whole)]


def _one(plane: Plane, axis: int, index: int) -> Plane:
    return np.asarray(plane.take(index if plane.shape[axis] > 1 else 0, axis))


@rule_for("select")
def _select(op: Operation) -> Traces:
    axis, index = op.number("dim"), op.number("index")
    return traces.move(op.first, op.shape, lambda plane: _one(plane, axis, index))


@rule_for("split split_with_sizes chunk tensor_split unsafe_split unsafe_chunk unsafe_split_with_sizes")
def _split(op: Operation) -> Traces:
    axis = op.number("dim")
    found: List[Optional[Trace]] = []
    start = 0
    for shape in op.shapes:
        part = slice(start, start + shape[axis])
        found.append(traces.move(op.first, shape, lambda plane, part=part: _cut(plane, axis, part)))  # type: ignore[misc]
        start += shape[axis]
    return found


@rule_for("unbind")
def _unbind(op: Operation) -> Traces:
    axis = op.number("dim")
    return [
        traces.move(op.first, shape, lambda plane, i=i: _one(plane, axis, i))  # type: ignore[misc]
        for i, shape in enumerate(op.shapes)
    ]


@rule_for("flip")
def _flip(op: Operation) -> Traces:
    return traces.move(op.first, op.shape, lambda plane: np.flip(plane, tuple(op.numbers("dims"))))


@rule_for("rot90")
def _turn(op: Operation) -> Traces:
    one, other = op.numbers("dims")
    return traces.move(op.first, op.shape, lambda plane: np.rot90(plane, op.number("k"), (one, other)))


@rule_for("roll")
def _roll(op: Operation) -> Traces:
    shifts, axes = op.numbers("shifts"), op.numbers("dims")
    if not axes:
        return None
    return traces.move(op.first, op.shape, lambda plane: np.roll(plane, shifts, axes))


@rule_for("repeat")
def _repeat(op: Operation) -> Traces:
    times = op.numbers("repeats")
    more = len(times) - len(op.first.shape)

    def change(plane: Plane) -> Plane:
        plane = plane.reshape((1,) * more + plane.shape)
        return np.tile(plane, [n if side > 1 else 1 for n, side in zip(times, plane.shape)])

    return traces.move(op.first, op.shape, change)


@rule_for("cat concat concatenate")
def _cat(op: Operation) -> Traces:
    axis = op.number("dim") % len(op.shape)
    parts = [one for one in op.tensors_of("tensors") if one is not None and one.dim() == len(op.shape)]
    return traces.joined([op.trace(one) for one in parts], op.shape, axis)


@rule_for("stack")
def _stack(op: Operation) -> Traces:
    axis = op.number("dim") % len(op.shape)
    form = (*op.shape[:axis], 1, *op.shape[axis + 1 :])
    parts = [traces.reshape(op.trace(one), form) for one in op.tensors_of("tensors")]
    return traces.joined(parts, op.shape, axis)


@rule_for(
    "constant_pad_nd pad reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d "
    "replication_pad2d replication_pad3d"
)
def _pad(op: Operation) -> Traces:
    sides = op.numbers("pad" if op.has("pad") else "padding")
    pads = [(0, 0)] * len(op.shape)
    for number in range(len(sides) // 2):
        pads[-1 - number] = (sides[2 * number], sides[2 * number + 1])
    return traces.padded(op.first, op.shape, pads)


@rule_for("index_select")
def _index_select(op: Operation) -> Traces:
    axis, index = op.number("dim"), array_of(op.tensor("index"))
    return traces.move(op.first, op.shape, lambda plane: plane.take(index, axis) if plane.shape[axis] > 1 else plane)


@rule_for("index")
def _index(op: Operation) -> Traces:
    before = op.first.shape
    arrays = [None if one is None else array_of(one) for one in op.tensors_of("indices")]
    arrays += [None] * (len(before) - len(arrays))
    if any(array is not None and array.dtype == bool and array.ndim > 1 for array in arrays):
        return None
    places = tuple(slice(None) if array is None else array for array in arrays)

    def change(plane: Plane) -> Plane:
        wide = [side if array is not None else mine for side, mine, array in zip(before, plane.shape, arrays)]
        found = np.broadcast_to(plane, wide)[places]
        return traces.narrowed(found, range(found.ndim))

    return traces.move(op.first, op.shape, change)


@rule_for("gather")
def _gather(op: Operation) -> Traces:
    index, axis = op.tensor("index"), op.number("dim")
    for other, step in enumerate(index.stride()):
        if step == 0 and index.shape[other] > 1:
            index = index.narrow(other, 0, 1)
    places = array_of(index)

    def change(plane: Plane) -> Plane:
        plane = plane[tuple(slice(None) if a == axis else slice(0, op.shape[a]) for a in range(plane.ndim))]
        if plane.shape[axis] == 1:
            return plane
        form = np.broadcast_shapes(
            *(tuple(1 if a == axis else s for a, s in enumerate(x.shape)) for x in (plane, places))
        )
        at = np.broadcast_to(places, [places.shape[a] if a == axis else s for a, s in enumerate(form)])
        return np.take_along_axis(
            np.broadcast_to(plane, [plane.shape[a] if a == axis else s for a, s in enumerate(form)]), at, axis
        )

    return traces.move(op.first, op.shape, change)


@rule_for("repeat_interleave")
def _repeat_interleave(op: Operation) -> Traces:
    if not op.has("self") or op["dim"] is None:
        return None
    axis = op.number("dim")
    times = op["repeats"]
    count = array_of(times) if isinstance(times, torch.Tensor) else op.number("repeats")
    return traces.move(
        op.first,
        op.shape,
        lambda plane: np.repeat(plane, count, axis) if plane.shape[axis] > 1 else plane,
    )


@rule_for("unfold")
def _unfold(op: Operation) -> Traces:
    axis, size, step = op.number("dimension") % len(op.first.shape), op.number("size"), op.number("step")

    def change(plane: Plane) -> Plane:
        if plane.shape[axis] == 1:
            return plane[..., None]
        starts = np.arange(op.shape[axis]) * step
        windows = plane.take(starts[:, None] + np.arange(size), axis)  # (..., n, size, ...)
        return np.moveaxis(windows, axis + 1, -1)

    return traces.move(op.first, op.shape, change)


@rule_for("pixel_shuffle")
def _pixel_shuffle(op: Operation) -> Traces:
    rank = len(op.shape)
    return cells.resampled(cells.contracted(op.first, [rank - 3]), op.shape, [rank - 2, rank - 1])


@rule_for("pixel_unshuffle")
def _pixel_unshuffle(op: Operation) -> Traces:
    rank, by = len(op.shape), op.number("downscale_factor")
    return cells.windowed(
        op.first,
        op.shape,
        axes=[rank - 2, rank - 1],
        kernel=[by] * 2,
        stride=[by] * 2,
        padding=[0] * 2,
        dilation=[1] * 2,
    )


@rule_for("channel_shuffle native_channel_shuffle")
def _channel_shuffle(op: Operation) -> Traces:
    return cells.contracted(op.first, [1])._replace(shape=op.shape)


@rule_for("copy")
def _copy(op: Operation) -> Traces:
    return cells.merged([op.trace(op["src"])], op.shape)


@rule_for("fill zero masked_fill")
def _filled(op: Operation) -> Traces:
    return op.first


@rule_for("index_put _index_put_impl")
def _index_put(op: Operation) -> Traces:
    whole, part = op.first, op.trace(op["values"])
    if not part.known:
        return whole
    if whole.known:
        return None
    places = tuple(slice(None) if one is None else array_of(one) for one in op.tensors_of("indices"))

    def change(plane: Plane) -> Plane:
        full = np.full(whole.shape, np.nan)
        full[places] = plane
        return traces.narrowed(full, range(full.ndim))

    return traces.move(part, op.shape, change)


@rule_for("slice_scatter select_scatter scatter")
def _scatter(op: Operation) -> Traces:
    return op.first if op.first.known else None

"""Rules for ONNX operators that compute new values: element-wise operators, sums, and sliding windows."""

from __future__ import annotations

from typing import Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.adapters.onnx.operations import Operation, Traces, UnfollowedError, normal, rule_for
from featscope.arrays import cells, traces
from featscope.arrays.traces import Trace

# Element-wise operators


@rule_for(
    "Abs Acos Acosh Asin Asinh Atan Atanh Bernoulli BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh CumSum "
    "DequantizeLinear Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not "
    "Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu "
    "Trilu QuantizeLinear"
)
def _each(op: Operation) -> Traces:
    return op.first


@rule_for(
    "BatchNormalization Dropout DynamicQuantizeLinear GroupNormalization InstanceNormalization LRN LayerNormalization "
    "LpNormalization MeanVarianceNormalization RMSNormalization"
)
def _normed(op: Operation) -> Traces:
    return [op.first]


@rule_for(
    "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min "
    "Mod Mul Or PRelu Pow Sub Sum Where Xor"
)
def _element_by_element(op: Operation) -> Traces:
    return cells.merged(op.tensors, op.shape)


@rule_for("Softmax LogSoftmax Hardmax")
def _softmax(op: Operation) -> Traces:
    rank = len(op.shape)
    # Before opset 13, it covered all axes from this one on.
    axes = [op.axis(-1)] if op.opset >= 13 else list(range(op.axis(1), rank))
    return op.first._replace(attention=any(axis in spot.axes() for spot in op.first.spots for axis in axes))


@rule_for(
    "Constant ConstantOfShape EyeLike MaxRoiPool Multinomial NonMaxSuppression OneHot RandomNormal RandomNormalLike "
    "RandomUniform RandomUniformLike Range RoiAlign Shape Size NonZero"
)
def _from_nowhere(op: Operation) -> Traces:
    """The output does not contain elements of an input."""
    return [Trace(shape) for shape in op.shapes]


# Operators that sum


@rule_for("Reduce ArgMax ArgMin")
def _reduced(op: Operation) -> Traces:
    rank = len(op.first.shape)
    if op.kind.startswith("Arg"):
        axes = [op.axis(0)]
    else:
        given = op.numbers("axes", 1)
        if not given and op.integer("noop_with_empty_axes", 0):
            return op.first
        axes = normal(given, rank) if given else list(range(rank))
    return traces.reshape(cells.contracted(op.first, axes), op.shape)


_FACTORS = {"QLinearMatMul": (0, 3)}


@rule_for("MatMul MatMulInteger QLinearMatMul")
def _product(op: Operation) -> Traces:
    left, right = (op.given(place) for place in _FACTORS.get(op.kind, (0, 1)))
    if len(left.shape) < 2 or len(right.shape) < 2:
        raise UnfollowedError("")
    return cells.multiplied(left, right, op.shape)


@rule_for("Gemm")
def _gemm(op: Operation) -> Traces:
    left, right = op.given(0), op.given(1)
    if op.integer("transA", 0):
        left = _turned(left)
    if op.integer("transB", 0):
        right = _turned(right)
    return cells.merged([cells.multiplied(left, right, op.shape), op.given(2)], op.shape)


def _turned(trace: Trace) -> Trace:
    return traces.move(trace, trace.shape[::-1], np.transpose)


@rule_for("Einsum")
def _einsum(op: Operation) -> Traces:
    given, _, to = op.text("equation", "").replace(" ", "").partition("->")
    terms = given.split(",")
    if "." in given or not to or any(len(set(term)) < len(term) for term in (*terms, to)):
        raise UnfollowedError("")
    made = [_as_in(to, term, trace) for term, trace in zip(terms, op.tensors)]
    return cells.merged(made, op.shape)._replace(attention=False)


def _as_in(to: str, term: str, trace: Trace) -> Trace:
    """Return one factor of a sum with the axes of the result. Letters name the axes."""
    kept, gone = [letter for letter in to if letter in term], [letter for letter in term if letter not in to]
    summed = cells.contracted(trace, [term.index(letter) for letter in gone])
    order = [term.index(letter) for letter in (*kept, *gone)]
    turned = traces.move(summed, tuple(summed.shape[axis] for axis in order), lambda plane: plane.transpose(order))
    return traces.reshape(turned, tuple(trace.shape[term.index(letter)] if letter in term else 1 for letter in to))


# Operators that compute cells from several cells

_WEIGHTS = {"QLinearConv": 3}


@rule_for("Conv ConvInteger QLinearConv DeformConv ConvTranspose")
def _convolution(op: Operation) -> Traces:
    weight = op.given(_WEIGHTS.get(op.kind, 1)).shape
    kernel = op.integers("kernel_shape") or list(weight[2:])
    summed = cells.contracted(op.first, [1])
    if op.kind == "ConvTranspose":
        return cells.spread(summed, op.shape, *_spread(op, kernel))
    return cells.windowed(summed, op.shape, *_window(op, kernel))


@rule_for("AveragePool LpPool MaxPool")
def _pool(op: Operation) -> Traces:
    found = cells.windowed(op.first, op.shape, *_window(op, op.integers("kernel_shape")))
    return [found, found]


_Window = Tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[int], Sequence[int]]


def _window(op: Operation, kernel: List[int]) -> _Window:
    """Return axes, kernel, stride, padding before the first cell, and dilation of a sliding window."""
    axes, stride, dilation, automatic = _slide(op, len(kernel))
    if automatic in ("", "NOTSET"):
        return axes, kernel, stride, op.integers("pads")[: len(kernel)] or [0] * len(kernel), dilation
    padding = []
    for axis, width, step, gap in zip(axes, kernel, stride, dilation):
        given, made = op.first.shape[axis], op.shape[axis]
        both = 0 if automatic == "VALID" else max((made - 1) * step + gap * (width - 1) + 1 - given, 0)
        padding.append(both // 2 if automatic == "SAME_UPPER" else both - both // 2)
    return axes, kernel, stride, padding, dilation


def _slide(op: Operation, count: int) -> Tuple[List[int], List[int], List[int], str]:
    axes = list(range(2, 2 + count))
    stride, dilation = op.integers("strides") or [1] * count, op.integers("dilations") or [1] * count
    return axes, stride, dilation, op.text("auto_pad", "")


def _spread(op: Operation, kernel: List[int]) -> _Window:
    """Return the same values for a transposed convolution."""
    axes, stride, dilation, automatic = _slide(op, len(kernel))
    if automatic in ("", "NOTSET", "VALID") and not op.has("output_shape"):
        return axes, kernel, stride, op.integers("pads")[: len(kernel)] or [0] * len(kernel), dilation
    more = op.integers("output_padding") or [0] * len(kernel)
    padding = []
    for axis, width, step, gap, extra in zip(axes, kernel, stride, dilation, more):
        both = step * (op.first.shape[axis] - 1) + extra + gap * (width - 1) + 1 - op.shape[axis]
        padding.append(both // 2 if automatic == "SAME_UPPER" else both - both // 2)
    return axes, kernel, stride, padding, dilation


@rule_for("GlobalAveragePool GlobalLpPool GlobalMaxPool")
def _global_pool(op: Operation) -> Traces:
    return cells.pooled_to(op.first, op.shape, range(2, len(op.shape)))


@rule_for("GridSample")
def _grid_sample(op: Operation) -> Traces:
    """Each sample has the position of its grid element: (N, rows, columns, 2) -> (N, C, rows, columns)."""
    if len(op.shape) != 4:
        raise UnfollowedError("")
    grid = cells.contracted(op.given(1), [3])
    return traces.move(grid, op.shape, lambda plane: plane.transpose(0, 3, 1, 2))


# Interpolation

_Places = NDArray[np.float64]


@rule_for("Resize Upsample")
def _resize(op: Operation) -> Traces:
    where: Dict[int, _Places] = {}
    for axis, (have, want) in enumerate(zip(op.first.shape, op.shape)):
        scale = _scale(op, axis, have, want)
        if have == want and scale == 1:
            continue
        places = _places(op, have, want, scale)
        where[axis] = _nearest(op, places, have, want) if op.text("mode", "nearest") == "nearest" else places
    return cells.sampled(op.first, op.shape, where)


def _scale(op: Operation, axis: int, have: int, want: int) -> float:
    place = 1 if op.kind == "Upsample" or op.opset < 11 else 2
    axes = normal(op.integers("axes"), len(op.shape)) or list(range(len(op.shape)))
    if op.is_given(place) and axis in axes:
        scales = op.array(place).reshape(-1)
        if scales.size:
            return float(scales[axes.index(axis)])
    return want / have


def _places(op: Operation, have: int, want: int, scale: float) -> _Places:
    """Return the position of each output cell, in cells of the input."""
    index = np.arange(want, dtype=np.float64)
    old = op.kind == "Upsample" or op.opset < 11
    mode = "asymmetric" if old else op.text("coordinate_transformation_mode", "half_pixel")
    if mode == "asymmetric":
        return index / scale
    if mode == "align_corners":
        return index * (have - 1) / max(want - 1, 1)
    if mode == "pytorch_half_pixel" and want == 1:
        return np.zeros(1)
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (index + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        return have / 2 * (1 - want / (scale * have)) + (index + 0.5) / scale - 0.5
    if mode == "tf_half_pixel_for_nn":
        return (index + 0.5) / scale
    raise UnfollowedError(f"coordinate_transformation_mode {mode}")


def _nearest(op: Operation, places: _Places, have: int, want: int) -> _Places:
    """Return the positions of the nearest cells. Copies of a cell are spread over the area of the cell."""
    rounding = op.text("nearest_mode", "floor" if op.kind == "Upsample" or op.opset < 11 else "round_prefer_floor")
    near = {
        "floor": np.floor(places),
        "ceil": np.ceil(places),
        "round_prefer_floor": np.ceil(places - 0.5),
        "round_prefer_ceil": np.floor(places + 0.5),
    }[rounding]
    if want <= have:
        return np.clip(near, 0, have - 1)
    even = (np.arange(want) + 0.5) * have / want - 0.5
    shift = float(np.mean(near - even))
    return even if abs(shift) < 0.499 else even + shift  # a smaller shift is the rounding of a fractional scale

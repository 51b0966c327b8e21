"""Rules for operators that compute new values: element-wise operators, sums, and sliding windows."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from featscope.arrays import cells, traces
from featscope.arrays.traces import Trace
from featscope.capturing.operations import Operation, Traces, rule_for
from featscope.capturing.rules_moving import array_of

# Element-wise operators


def _element_by_element(op: Operation) -> Traces:
    tensors = op.tensors
    if len(tensors) == 1 and tensors[0].shape == op.shape:
        return tensors[0]
    return cells.merged(tensors, op.shape)


rule_for(
    "pointwise where maximum minimum lerp addcmul addcdiv add sub mul div pow rsub glu_jvp complex polar "
    "view_as_complex real imag cumsum cumprod logcumsumexp prelu _prelu_kernel bernoulli rand_like "
    "ones_like zeros_like fake_quantize_per_tensor_affine gelu relu6 hardtanh hardswish silu mish "
    "leaky_relu celu selu elu softplus rrelu threshold clamp"
)(_element_by_element)


@rule_for(
    "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm "
    "miopen_batch_norm native_layer_norm native_group_norm _fused_rms_norm batch_norm layer_norm "
    "group_norm instance_norm rms_norm _log_softmax log_softmax _weight_norm renorm "
    "_batch_norm_with_update _batch_norm_no_update local_response_norm"
)
def _normed(op: Operation) -> Traces:
    return [op.first]


@rule_for("_softmax softmax _safe_softmax")
def _softmax(op: Operation) -> Traces:
    axis = op.number("dim") % len(op.shape)
    return op.first._replace(attention=any(axis in spot.axes() for spot in op.first.spots))


@rule_for("sort topk kthvalue")
def _sorted(op: Operation) -> Traces:
    axis = op.number("dim") % len(op.shapes[0])
    index = array_of(op.outputs[1])
    if any(axis in spot.axes() for spot in op.first.spots):
        moved = traces.move(
            op.first,
            op.shape,
            lambda plane: (
                np.take_along_axis(np.broadcast_to(plane, op.first.shape), index, axis)
                if plane.shape[axis] > 1
                else plane
            ),
        )
    else:
        moved = op.first._replace(shape=op.shape)
    return [moved, moved]


@rule_for("glu")
def _glu(op: Operation) -> Traces:
    axis = op.number("dim") % len(op.shape)
    return cells.contracted(op.first, [axis])._replace(shape=op.shape)


# Operators that sum


@rule_for(
    "mean sum amax amin max min prod norm linalg_vector_norm var std var_mean std_mean logsumexp median "
    "nanmean nansum argmax argmin any all mode nanmedian aminmax"
)
def _reduced(op: Operation) -> Traces:
    if op.has("other"):
        return _element_by_element(op)
    rank = len(op.first.shape)
    axes: Sequence[int] = range(rank)
    if op.has("dim") and op["dim"] is not None and op["dim"] != []:
        axes = [axis % rank for axis in op.numbers("dim")]
    found = traces.reshape(cells.contracted(op.first, axes), op.shape)
    return [found for _ in op.shapes]


@rule_for("mm bmm matmul")
def _product(op: Operation) -> Traces:
    left, right = op.given(0), op.given(1)
    return cells.multiplied(left, right, op.shape)


@rule_for("addmm baddbmm addbmm")
def _sum_and_product(op: Operation) -> Traces:
    left, right = op.given(1), op.given(2)
    return cells.merged([cells.multiplied(left, right, op.shape), op.first], op.shape)


@rule_for("addmv mv dot")
def _vector(op: Operation) -> Traces:
    return None


@rule_for("linear")
def _linear(op: Operation) -> Traces:
    return cells.contracted(op.first, [len(op.first.shape) - 1])._replace(shape=op.shape)


@rule_for(
    "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
    "_scaled_dot_product_attention_math _scaled_dot_product_fused_attention_overrideable "
    "_scaled_dot_product_attention_math_for_mps _flash_attention_forward _efficient_attention_forward"
)
def _attention(op: Operation) -> Traces:
    query, value = op.given(0), op.given(2)
    rank = len(op.shape)
    own = cells.contracted(query, [rank - 1])
    summed = cells.contracted(value, [rank - 2, rank - 1])
    return [cells.merged([own, summed], op.shape)]


@rule_for("_native_multi_head_attention _transformer_encoder_layer_fwd")
def _fast_attention(op: Operation) -> Traces:
    return [cells.contracted(op.first, [len(op.first.shape) - 1])._replace(shape=op.shape)]


@rule_for("lstm gru rnn_tanh rnn_relu")
def _recurrent(op: Operation) -> Traces:
    first = op.first
    if len(first.shape) != len(op.shape):
        return None
    return [cells.contracted(first, [len(first.shape) - 1])._replace(shape=op.shape)]


# Operators that compute cells from several cells


@rule_for(
    "convolution _convolution convolution_overrideable mkldnn_convolution cudnn_convolution conv1d conv2d "
    "conv3d thnn_conv2d _slow_conv2d_forward slow_conv3d conv_depthwise3d _conv_depthwise2d "
    "conv_transpose1d conv_transpose2d conv_transpose3d deform_conv2d"
)
def _convolution(op: Operation) -> Traces:
    given, weight = op.first, op.tensor("weight")
    if op.name == "deform_conv2d":
        stride, padding, dilation = (
            [op.number(f"{kind}_h"), op.number(f"{kind}_w")] for kind in ("stride", "pad", "dilation")
        )
        kernel = list(weight.shape[2:])
    else:
        kernel = list(weight.shape[2:])
        if isinstance(op["padding"], str):
            return None
        stride, padding = op.numbers("stride", len(kernel)), op.numbers("padding", len(kernel))
        dilation = op.numbers("dilation", len(kernel))
    rank = len(given.shape)
    axes = list(range(rank - len(kernel), rank))
    summed = cells.contracted(given, [axes[0] - 1])
    transposed = "transpose" in op.name or (op.has("transposed") and bool(op["transposed"]))
    make = cells.spread if transposed else cells.windowed
    return make(summed, op.shape, axes=axes, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


@rule_for(
    "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices avg_pool1d "
    "avg_pool2d avg_pool3d mkldnn_max_pool2d quantized_max_pool2d"
)
def _pool(op: Operation) -> Traces:
    kernel = op.numbers("kernel_size")
    rank = len(op.shape)
    count = {"1": 1, "2": 2, "3": 3}[op.name.split("pool")[1][0]]
    kernel = kernel * count if len(kernel) == 1 else kernel
    stride = op.numbers("stride", count) or kernel
    padding = op.numbers("padding", count)
    dilation = op.numbers("dilation", count) if op.has("dilation") else [1] * count
    found = cells.windowed(
        op.first,
        op.shape,
        axes=range(rank - count, rank),
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
    return [found, found]


@rule_for(
    "adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_avg_pool3d "
    "_adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d"
)
def _adaptive_pool(op: Operation) -> Traces:
    rank = len(op.shape)
    count = int(op.name.split("pool")[1][0])
    found = cells.pooled_to(op.first, op.shape, range(rank - count, rank))
    return [found, found]


@rule_for(
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
    "_upsample_nearest_exact2d _upsample_nearest_exact3d upsample_bilinear2d upsample_linear1d "
    "upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa"
)
def _upsample(op: Operation) -> Traces:
    corners = op.has("align_corners") and bool(op["align_corners"])
    return cells.resampled(op.first, op.shape, range(2, len(op.shape)), corners)


@rule_for("im2col")
def _im2col(op: Operation) -> Traces:
    """(N, C, H, W) -> (N, C x kernel, cells): each cell lies in the middle of its window."""
    kernel, stride = op.numbers("kernel_size", 2), op.numbers("stride", 2)
    padding, dilation = op.numbers("padding", 2), op.numbers("dilation", 2)
    given = op.first
    sides = tuple(
        (side + 2 * pad - gap * (width - 1) - 1) // step + 1
        for side, pad, gap, width, step in zip(given.shape[-2:], padding, dilation, kernel, stride)
    )
    rank = len(given.shape)
    summed = cells.contracted(given, [rank - 3])
    form = (*summed.shape[:-2], *sides)
    found = cells.windowed(
        summed, form, axes=[rank - 2, rank - 1], kernel=kernel, stride=stride, padding=padding, dilation=dilation
    )
    return traces.reshape(found, (*form[:-2], sides[0] * sides[1]))._replace(shape=op.shape)


@rule_for("col2im")
def _col2im(op: Operation) -> Traces:
    kernel, stride = op.numbers("kernel_size", 2), op.numbers("stride", 2)
    padding, dilation = op.numbers("padding", 2), op.numbers("dilation", 2)
    size = op.numbers("output_size")
    sides = tuple(
        (side + 2 * pad - gap * (width - 1) - 1) // step + 1
        for side, pad, gap, width, step in zip(size, padding, dilation, kernel, stride)
    )
    rank = len(op.first.shape)
    summed = cells.contracted(op.first, [rank - 2])
    form = (*summed.shape[:-1], *sides)
    return cells.spread(
        traces.reshape(summed, form),
        op.shape,
        axes=[rank - 1, rank],
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )


@rule_for("grid_sampler grid_sampler_2d _grid_sampler_2d_cpu_fallback")
def _grid_sample(op: Operation) -> Traces:
    """Each sample has the position of its grid element: (N, rows, columns, 2) -> (N, C, rows, columns)."""
    grid = cells.contracted(op.trace(op["grid"]), [3])
    return traces.move(grid, op.shape, lambda plane: plane.transpose(0, 3, 1, 2))


@rule_for(
    "embedding nonzero one_hot arange full zeros ones empty empty_like full_like new_zeros new_empty "
    "new_ones new_full randn_like roi_align roi_pool nms ps_roi_align empty_strided new_empty_strided "
    "scalar_tensor linspace meshgrid bucketize searchsorted"
)
def _from_nowhere(op: Operation) -> Traces:
    """The output does not contain elements of an input."""
    return [Trace(shape) for shape in op.shapes]

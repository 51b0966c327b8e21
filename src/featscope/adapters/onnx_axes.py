"""Which axes of a graph's tensors are the image's: followed from its input, operator by operator, never guessed."""

from __future__ import annotations

from typing import Callable, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import onnx
from numpy.typing import NDArray

from featscope.capturing.reports import TensorReport
from featscope.records import Size, assumed_place

Axes = Dict[str, str]
"""Tensor -> a letter for each axis: N sample, C channel, H row, W column, 1 made of nothing, '.' not known."""

_SMALL = 4096  # numbers: no shape or place of a slice has more
_TO_THE_END = 1 << 30


def _words(text: str) -> FrozenSet[str]:
    return frozenset(text.split())


_KEEPING = _words(
    "Abs Acos Asin Atan BitShift Cast Ceil Celu Clip Cos Cosh CumSum DequantizeLinear Dropout Elu Erf Exp Floor Gelu "
    "HardSigmoid HardSwish Hardmax Identity IsInf IsNaN LayerNormalization LeakyRelu Log LogSoftmax LpNormalization "
    "MeanVarianceNormalization Mish Neg Not PRelu QuantizeLinear Reciprocal Relu Resize Round Selu Shrink Sigmoid Sign "
    "Sin Sinh Softmax Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu Upsample"
)
_ELEMENTWISE = _words(
    "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or Pow Sub Sum Where Xor"
)
# By the standard these take and give (N, C, rows, columns), or as many places as their kernel has.
_CHANNELS_SECOND = _words(
    "AveragePool BatchNormalization Conv ConvInteger ConvTranspose DepthToSpace GroupNormalization "
    "InstanceNormalization LRN LpPool MaxPool QLinearConv SpaceToDepth"
)
_POOLED = _words("GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample MaxRoiPool RoiAlign")


def find_axes(model: onnx.ModelProto, image: str, axes: str, shapes: Mapping[str, Sequence[int]]) -> Axes:
    """The axes of every tensor that are known.

    image, axes: the input that takes the images, and what its axes are. shapes: of all inputs. A tensor that is
    not in the answer, or a '.' in it, is not known: an attention's rows may be queries, a reshape may mix.
    """
    return _Graph(model, shapes).follow(image, axes)


_NAMES = {"N": "sample", "C": "channel", "H": "row", "W": "column"}


def axis_names(letters: str, count: int) -> Tuple[str, ...]:
    """A tensor's axes by their names, as in `featscope.records.MapRecord`.

    >>> axis_names("NC..", 4)
    ('sample', 'channel', 'unknown', 'unknown')
    """
    return tuple(_NAMES.get(letter, "unknown") for letter in letters.ljust(count, ".")[:count])


def tensor_report(letters: str, shape: Tuple[int, ...], size: Size) -> TensorReport:
    """How a tensor of this shape is read. size: (height, width) of the input."""
    axes = axis_names(letters, len(shape))
    if letters[2:] != "HW" or len(shape) != 4 or 0 in shape:
        return TensorReport(shape, axes, (), "its rows and columns could not be followed through the graph")
    grid = (shape[2], shape[3])
    return TensorReport(shape, axes, ((grid, assumed_place(size, grid)),), "rows and columns were followed")


class _Graph:
    def __init__(self, model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
        self._model = model
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._constants = {
            node.output[0]: attribute.t
            for node in model.graph.node
            if node.op_type == "Constant"
            for attribute in node.attribute
            if attribute.name == "value"
        }
        reshapes = any(node.op_type == "Reshape" for node in model.graph.node)
        self._shapes = _infer_shapes(model, shapes) if reshapes else {}

    def follow(self, image: str, axes: str) -> Axes:
        known: Axes = {image: axes}
        rules: Dict[str, Callable[[onnx.NodeProto, List[str]], str]] = {
            "Transpose": self._transpose,
            "Unsqueeze": self._unsqueeze,
            "Squeeze": self._squeeze,
            "Concat": self._concat,
            "Slice": self._slice,
            "Split": self._split,
            "Pad": self._pad,
            "Reshape": self._reshape,
        }
        for node in self._model.graph.node:
            given = [known.get(name, "") for name in node.input]
            kind = node.op_type if node.domain in ("", "ai.onnx") else ""
            found = ""
            if kind in _KEEPING and given:
                found = given[0]
            elif kind in _ELEMENTWISE:
                found = _merged(given)
            elif kind in _CHANNELS_SECOND or kind in _POOLED:
                found = self._channels_second(node, given)
            elif kind.startswith("Reduce"):
                found = self._reduce(node, given)
            elif kind in rules and given:
                found = rules[kind](node, given)
            if found.strip("."):
                for name in node.output[: None if kind == "Split" else 1]:
                    known[name] = found
        return known

    # Operators

    def _channels_second(self, node: onnx.NodeProto, given: List[str]) -> str:
        axes = given[0]
        if not axes:
            # Its input's axes are lost: the second is the channels, but the others may be queries or tokens.
            kernel = self._weights.get(node.input[3 if node.op_type == "QLinearConv" else 1] if node.input[1:] else "")
            if kernel is None or "Conv" not in node.op_type:
                return ""
            axes = "." * len(kernel.dims)
        places = axes[2:]
        if node.op_type in _POOLED:
            places = "." * len(places)
        first = "." if node.op_type in ("RoiAlign", "MaxRoiPool") else axes[0]
        return f"{first}C{''.join(axis if axis in 'HW' else '.' for axis in places)}"

    def _transpose(self, node: onnx.NodeProto, given: List[str]) -> str:
        axes = given[0]
        order = _attribute(node, "perm")
        order = list(order) if isinstance(order, (list, tuple)) else list(range(len(axes)))[::-1]
        return "".join(axes[place] for place in order) if len(order) == len(axes) else ""

    def _unsqueeze(self, node: onnx.NodeProto, given: List[str]) -> str:
        places = self._numbers(node, "axes", 1)
        if not given[0] or places is None:
            return ""
        rank = len(given[0]) + len(places)
        rest = iter(given[0])
        made = {place % rank for place in places}
        return "".join("1" if place in made else next(rest, ".") for place in range(rank))

    def _squeeze(self, node: onnx.NodeProto, given: List[str]) -> str:
        places = self._numbers(node, "axes", 1)
        if not given[0] or places is None:
            return ""
        gone = {place % len(given[0]) for place in places}
        return "".join(axis for place, axis in enumerate(given[0]) if place not in gone)

    def _reduce(self, node: onnx.NodeProto, given: List[str]) -> str:
        places = self._numbers(node, "axes", 1)
        if not given or not given[0] or places is None:
            return ""
        gone = {place % len(given[0]) for place in places}
        kept = _attribute(node, "keepdims") != 0
        return "".join(
            "." if place in gone else axis for place, axis in enumerate(given[0]) if kept or place not in gone
        )

    def _concat(self, node: onnx.NodeProto, given: List[str]) -> str:
        return _cut(_merged(given), _attribute(node, "axis") or 0)

    def _split(self, node: onnx.NodeProto, given: List[str]) -> str:
        return _cut(given[0], _attribute(node, "axis") or 0)

    def _slice(self, node: onnx.NodeProto, given: List[str]) -> str:
        axes = given[0]
        starts, ends = self._numbers(node, "starts", 1), self._numbers(node, "ends", 2)
        if starts is None or ends is None:
            return "".join(axis if axis == "C" else "." for axis in axes)
        places = self._numbers(node, "axes", 3) or list(range(len(starts)))
        steps = self._numbers(node, "steps", 4) or [1] * len(starts)
        for place, start, end, step in zip(places, starts, ends, steps):
            # Every n-th row, as the focus of YOLOX, is a coarser grid over all of the image; a part is not.
            if not (0 <= start < step and end >= _TO_THE_END):
                axes = _cut(axes, place)
        return axes

    def _pad(self, node: onnx.NodeProto, given: List[str]) -> str:
        if self._numbers(node, "pads", 1) is None:
            return "".join(axis if axis == "C" else "." for axis in given[0])
        return given[0]

    def _reshape(self, node: onnx.NodeProto, given: List[str]) -> str:
        """Leading and trailing axes that keep their sizes keep their cells: the order in memory is the same."""
        before, after = self._shapes.get(node.input[0], ()), self._shapes.get(node.output[0], ())
        if len(before) != len(given[0]) or 0 in (*before, *after):
            return ""
        axes = ["."] * len(after)
        for sign in (range(len(after)), range(-1, -len(after) - 1, -1)):
            for place in sign:
                there = place if place >= 0 else -place - 1
                if there >= len(before) or before[place] != after[place]:
                    break
                axes[place] = given[0][place]
        return "".join(axes)

    def _numbers(self, node: onnx.NodeProto, name: str, place: int) -> Optional[List[int]]:
        """Whole numbers that an operator is given: as an attribute, or by newer versions as an input."""
        value = _attribute(node, name)
        if isinstance(value, (list, tuple)):
            return [int(number) for number in value]
        if place >= len(node.input) or not node.input[place]:
            return None
        tensor = self._weights.get(node.input[place]) or self._constants.get(node.input[place])
        if tensor is None or int(np.prod(tensor.dims)) > _SMALL:
            return None
        found: NDArray[np.generic] = onnx.numpy_helper.to_array(tensor)
        return [int(number) for number in found.reshape(-1)]


def _attribute(node: onnx.NodeProto, name: str) -> Union[int, Sequence[int], None]:
    for attribute in node.attribute:
        if attribute.name == name:
            value: Union[int, Sequence[int], None] = onnx.helper.get_attribute_value(attribute)
            return value
    return None


def _cut(axes: str, place: Union[int, Sequence[int]]) -> str:
    """Axes, of which one was cut or put together: its cells lie elsewhere now. Channels stay channels."""
    if not axes or not isinstance(place, int) or not -len(axes) <= place < len(axes):
        return ""
    there = place % len(axes)
    if axes[there] == "C":
        return axes
    return f"{axes[:there]}.{axes[there + 1 :]}"


def _merged(given: Sequence[str]) -> str:
    """The axes of what is worked out place by place; shapes are matched from the last axis on."""
    rank = max(map(len, given), default=0)
    letters = []
    for column in zip(*(axes.rjust(rank, ".") for axes in given if axes)):
        there = set(column) - {".", "1"}
        letters.append(there.pop() if len(there) == 1 else "1" if not there and "1" in column else ".")
    return "".join(letters)


def _infer_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> Dict[str, Tuple[int, ...]]:
    """The shapes of tensors, as far as they follow from those of the inputs; without the weights' numbers."""
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    graph = light.graph
    graph.name = model.graph.name or "graph"
    graph.node.extend(model.graph.node)
    graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in model.graph.output)
    for tensor in model.graph.initializer:
        if int(np.prod(tensor.dims)) <= _SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    there = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    for value in model.graph.input:
        if value.name not in there:
            kind = value.type.tensor_type.elem_type
            shape = shapes.get(value.name)
            graph.input.append(onnx.helper.make_tensor_value_info(value.name, kind, shape and list(shape)))
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except Exception:  # noqa: BLE001 (protobuf and onnx have many errors; without shapes less is known, nothing wrong)
        return {}
    found = {}
    for value in [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]:
        dims = value.type.tensor_type.shape.dim
        found[value.name] = tuple(int(dim.dim_value) for dim in dims)  # 0 where it is not known
    return found

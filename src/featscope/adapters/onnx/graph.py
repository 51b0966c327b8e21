"""Find what is known about a graph's tensors for one input size: their shapes, and numbers that control operators.

Both come from one run of the graph. Everything that depends on the values of the image is left out, because it would
only be true for that image.
"""

from __future__ import annotations

from typing import Dict, Iterator, List, Mapping, Sequence, Set, Tuple, Union

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from featscope.adapters.onnx.operations import Facts, rule_of

Array = NDArray[np.generic]

# Inputs that determine the size of an output. If they depend on the image, the size does too.
_SIZING: Mapping[str, Tuple[int, ...]] = {
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "Compress": (1,),
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "MaxUnpool": (2,),
    "NonMaxSuppression": (0, 1, 2, 3, 4),
    "NonZero": (0,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Unique": (0,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
# Inputs whose numbers the rules need.
_STEERING: Mapping[str, Tuple[int, ...]] = {
    "Gather": (1,),
    "GatherElements": (1,),
    "GatherND": (1,),
    "Pad": (1, 3),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Tile": (1,),
    "Upsample": (1,),
}
_RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
_BY_SIZE = ("Shape", "Size")  # their output depends on a tensor's size but not on its values


class Graph:
    """A graph for one input size.

    feed: the inputs, of which only the sizes matter. image: the input for images. sized_by_image: tensors whose size
    may depend on the values of the images -> the operator that causes this.
    """

    def __init__(self, model: onnx.ModelProto, image: str, feed: Mapping[str, Array]) -> None:
        self.model = onnx.inliner.inline_local_functions(model) if model.functions else model
        graph = self.model.graph
        self.nodes: Sequence[onnx.NodeProto] = graph.node
        self.opset = max((one.version for one in self.model.opset_import if one.domain in ("", "ai.onnx")), default=1)
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._constants = {node.output[0]: node for node in graph.node if node.op_type == "Constant"}
        self._feed = feed
        self._by_image: Set[str] = {image}
        self.sized_by_image: Dict[str, str] = {}
        self._find_what_is_the_images()
        self._ran: Dict[str, Array] = {}
        self._run()

    @property
    def facts(self) -> Facts:
        """What the rules need to know."""
        return Facts(self._shapes, self._value)

    def _value(self, name: str) -> Union[Array, str]:
        if name in self._weights:
            return onnx.numpy_helper.to_array(self._weights[name])
        if name in self._constants:
            return _constant(self._constants[name])
        if name in self._by_image or name in self.sized_by_image:
            return "its effect depends on the image"
        if name in self._feed:
            return self._feed[name]
        return self._ran.get(name, "its numbers are unknown")

    # Dependence on the values of the image

    def _find_what_is_the_images(self) -> None:
        for node in self.nodes:
            given = [*node.input, *_from_outside(node)]
            sized = self._what_sizes(node, given)
            of_image = any(name in self._by_image for name in given) or node.op_type in _RANDOM
            if node.op_type in _BY_SIZE:
                of_image, sized = bool(sized), ""
            for name in filter(None, node.output):
                if of_image:
                    self._by_image.add(name)
                if sized:
                    self.sized_by_image[name] = sized

    def _what_sizes(self, node: onnx.NodeProto, given: Sequence[str]) -> str:
        """Return the operator that makes the size of a node's outputs depend on the image; '' if it does not."""
        sized = next((self.sized_by_image[name] for name in given if name in self.sized_by_image), "")
        known = rule_of(node) is not None or node.op_type in _SIZING
        sizing = [node.input[place] for place in _SIZING.get(node.op_type, ()) if place < len(node.input)]
        if sized or not any(name in self._by_image for name in (sizing if known else given)):
            return sized
        return f"{node.op_type} (the size of its output depends on the image)" if known else node.op_type

    # The run

    def _run(self) -> None:
        """Run the graph once to get the shapes of all tensors and the numbers that control operators."""
        names = [name for name in self._tensors() if name not in self._feed and name not in self._weights]
        there = {*self._weights, *self._constants, *self._feed}
        steering = [name for name in self._steering() if name not in there]
        model = self._asked_for(names, steering)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
        )
        found = session.run(None, dict(self._feed))
        self._shapes = {name: tuple(int(side) for side in shape) for name, shape in zip(names, found)}
        self._shapes.update({name: tuple(value.shape) for name, value in self._feed.items()})
        self._shapes.update({name: tuple(int(d) for d in one.dims) for name, one in self._weights.items()})
        for name in self.sized_by_image:
            self._shapes.pop(name, None)
        self._ran = dict(zip(steering, found[len(names) :]))

    def _asked_for(self, names: Sequence[str], steering: Sequence[str]) -> onnx.ModelProto:
        """Return a copy of the graph that outputs the shapes of tensors, then the numbers that control operators."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        del model.graph.output[:]
        taken = {name for node in self.nodes for name in (*node.input, *node.output)}
        taken |= {value.name for value in self.model.graph.input}
        prefix = "shape_of"
        while any(name.startswith(prefix) for name in taken):
            prefix += "_"
        for number, name in enumerate(names):
            model.graph.node.append(onnx.helper.make_node("Shape", [name], [f"{prefix}:{number}"]))
            model.graph.output.append(onnx.ValueInfoProto(name=f"{prefix}:{number}"))
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in steering)
        return model

    def _tensors(self) -> List[str]:
        """Return names that certainly belong to tensors, not lists: inputs and outputs of operators with a rule."""
        found = dict.fromkeys((*self._feed, *self._weights))
        for node in self.nodes:
            if rule_of(node) is None:
                continue
            if node.op_type != "Identity":
                found.update(dict.fromkeys(name for name in (*node.input, *node.output) if name))
            elif node.input[0] in found:
                found[node.output[0]] = None
        return list(found)

    def _steering(self) -> Iterator[str]:
        """Yield the names of tensors whose numbers the rules need."""
        seen: Set[str] = set()
        for node in self.nodes:
            reduces = node.op_type.startswith("Reduce")
            for place in (1,) if reduces else _STEERING.get(node.op_type, ()):
                name = node.input[place] if place < len(node.input) else ""
                if name and name not in seen and name not in self._by_image and name not in self.sized_by_image:
                    seen.add(name)
                    yield name


def _from_outside(node: onnx.NodeProto) -> Iterator[str]:
    """Yield names that the bodies of branches or loops may use from the surrounding graph."""
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                yield from inner.input
                yield from _from_outside(inner)


def _constant(node: onnx.NodeProto) -> Union[Array, str]:
    for attribute in node.attribute:
        if attribute.name == "value":
            found: Array = onnx.numpy_helper.to_array(attribute.t)
            return found
        if attribute.name in ("value_int", "value_ints", "value_float", "value_floats"):
            return np.asarray(onnx.helper.get_attribute_value(attribute))
    return "its numbers are unknown"

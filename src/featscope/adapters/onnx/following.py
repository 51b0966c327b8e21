"""Follow the positions of tensors' elements through an ONNX graph, from its images, operator by operator.

This is the counterpart of `featscope.capturing.following` for PyTorch. Nothing is guessed from a shape or a name.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Dict, Mapping, Optional, Sequence, Tuple

import numpy as np
import onnx
from numpy.typing import NDArray

from featscope.adapters.onnx import making, moving  # noqa: F401 (the rules are there once these are loaded)
from featscope.adapters.onnx.graph import Graph
from featscope.adapters.onnx.operations import Operation, UnfollowedError, rule_of
from featscope.arrays.readings import Reading, read, unknown
from featscope.arrays.traces import Trace, trace_of_images


class Followed:
    """How the tensors of a graph are read, for one size of its input.

    image, axes: the input for images and its axes (NCHW, NHWC, CHW or HWC). feed: all inputs. If the graph cannot be
    run with them, everything is unknown.
    """

    def __init__(self, model: onnx.ModelProto, image: str, axes: str, feed: Mapping[str, NDArray[np.generic]]) -> None:
        self._readings: Dict[str, Reading] = {}
        self._traces: Dict[str, Trace] = {}
        self._failed = ""
        try:
            graph = Graph(model, image, feed)
        except Exception as error:  # noqa: BLE001 (ONNX Runtime's errors have no common base; tensors may be stored without being followed)
            self._failed = f"the graph cannot be followed: {(str(error).splitlines() or [''])[0][:200]}"
            return
        sample = axes.index("N") if "N" in axes else None
        self._traces[image] = trace_of_images(feed[image].shape, axes.index("H"), axes.index("W"), sample)
        for node in graph.nodes:
            self._follow(graph, node)

    def reading(self, name: str, shape: Tuple[int, ...]) -> Reading:
        """Return how a tensor of the graph with this shape is read."""
        trace = self._traces.get(name)
        if trace is None:
            return unknown(shape, self._failed or "featscope could not follow it back to the images")
        if name not in self._readings:
            self._readings[name] = read(trace)
        found = self._readings[name]
        if found.shape == shape:
            return found
        return unknown(shape, found.why if trace.lost else "it had a different shape when the graph was followed")

    def _follow(self, graph: Graph, node: onnx.NodeProto) -> None:
        before = {name: self._traces[name] for name in node.input if name in self._traces}
        sized = next((graph.sized_by_image[name] for name in node.output if name in graph.sized_by_image), "")
        if not before and not sized:
            return
        found, why = _made(graph, node, before, sized)
        lost = next((trace.lost for trace in before.values() if trace.lost), "") or why
        for name, trace in zip_longest(node.output, found[: len(node.output)]):
            if name:
                self._traces[name] = trace or Trace(graph.facts.shapes.get(name, ()), lost=lost)


Made = Tuple[Sequence[Optional[Trace]], str]
"""The traces of a node's outputs, and why some of them may be missing."""


def _made(graph: Graph, node: onnx.NodeProto, before: Mapping[str, Trace], sized: str) -> Made:
    """Apply a node to the traces of its inputs. sized: why the size of its outputs depends on the image."""
    if sized:
        return (), sized
    if not any(trace.known for trace in before.values()):
        return (), ""
    kind = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
    rule = rule_of(node)
    if rule is None:
        return (), kind
    try:
        found = rule(Operation(node, graph.opset, graph.facts, before))
    except UnfollowedError as why:
        return (), f"{kind} ({why})" if str(why) else kind
    except Exception as error:  # noqa: BLE001 (if an operator is not understood, the tensor is stored unchanged)
        return (), f"{kind} ({type(error).__name__}: {error})"
    made = found if isinstance(found, list) else [found]
    shapes = (graph.facts.shapes.get(name) for name in node.output)
    return [trace if _fits(trace, shape) else None for trace, shape in zip(made, shapes)], kind


def _fits(trace: Optional[Trace], shape: Optional[Tuple[int, ...]]) -> bool:
    """Whether a trace fits a tensor of this shape."""
    if trace is None or shape is None or trace.shape != shape:
        return False
    return all(
        plane.ndim == len(shape) and all(side in (1, whole) for side, whole in zip(plane.shape, shape))
        for plane in trace.all_planes()
    )

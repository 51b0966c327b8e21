"""A node of an ONNX graph, and the table of rules for following operators."""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import onnx
from numpy.typing import NDArray

from featscope.arrays.traces import Trace

Traces = Union[Trace, List[Optional[Trace]], None]


class UnfollowedError(Exception):
    """A node cannot be followed. The text is the reason, or '' if the name of the operator says enough."""


class Facts(NamedTuple):
    """What is known about a graph's tensors before an image is run."""

    shapes: Mapping[str, Tuple[int, ...]]
    """Shapes of all tensors whose shape does not depend on the image."""

    values: Callable[[str], Union[NDArray[np.generic], str]]
    """Returns the numbers of a tensor that determine what an operator does, or why they are unknown."""


class Operation:
    """A node that has run, with the traces of its inputs. opset: version of the operator set."""

    def __init__(self, node: onnx.NodeProto, opset: int, facts: Facts, before: Mapping[str, Trace]) -> None:
        self.node, self.opset = node, opset
        self.kind: str = node.op_type
        self._facts, self._before = facts, before
        self._attributes = {attribute.name: attribute for attribute in node.attribute}

    # Attributes

    def has(self, name: str) -> bool:
        """Whether the node has this attribute."""
        return name in self._attributes

    def integer(self, name: str, default: int) -> int:
        """Return an attribute that is an integer."""
        return int(self._attributes[name].i) if name in self._attributes else default

    def integers(self, name: str) -> List[int]:
        """Return an attribute that is a list of integers; empty if it is missing."""
        return [int(one) for one in self._attributes[name].ints] if name in self._attributes else []

    def text(self, name: str, default: str) -> str:
        """Return an attribute that is a text."""
        return self._attributes[name].s.decode() if name in self._attributes else default

    # Inputs

    def is_given(self, place: int) -> bool:
        """Whether there is an input at this position. Optional inputs may be empty."""
        return place < len(self.node.input) and bool(self.node.input[place])

    def given(self, place: int) -> Trace:
        """Return the trace of an input."""
        name = self.node.input[place] if self.is_given(place) else ""
        return self._before.get(name) or Trace(self._facts.shapes.get(name, ()))

    @property
    def first(self) -> Trace:
        """The trace of the first input."""
        return self.given(0)

    @property
    def tensors(self) -> List[Trace]:
        """The traces of all inputs."""
        return [self.given(place) for place in range(len(self.node.input)) if self.is_given(place)]

    def axis(self, default: int, rank: Optional[int] = None) -> int:
        """Return the attribute 'axis', counted from the front."""
        rank = len(self.first.shape) if rank is None else rank
        return self.integer("axis", default) % max(rank, 1)

    def array(self, place: int) -> NDArray[np.generic]:
        """Return the numbers of an input. Raises `UnfollowedError` if they depend on the image."""
        found = self._facts.values(self.node.input[place])
        if isinstance(found, str):
            raise UnfollowedError(found)
        return found

    def numbers(self, name: str, place: int) -> Optional[List[int]]:
        """Return integers from an attribute or, in newer versions, from an input; None if there are neither."""
        if self.has(name):
            return self.integers(name)
        return [int(one) for one in self.array(place).reshape(-1)] if self.is_given(place) else None

    # Outputs

    @property
    def shapes(self) -> List[Tuple[int, ...]]:
        """The shapes of the outputs; () for omitted ones."""
        return [self._facts.shapes.get(name, ()) for name in self.node.output]

    @property
    def shape(self) -> Tuple[int, ...]:
        """The shape of the first output."""
        return self.shapes[0]


Rule = Callable[[Operation], Traces]
_RULES: Dict[str, Rule] = {}


def rule_of(node: onnx.NodeProto) -> Optional[Rule]:
    """Return the rule of a node's operator; None if there is none."""
    if node.domain not in ("", "ai.onnx"):
        return None
    return _RULES.get("Reduce" if node.op_type.startswith("Reduce") else node.op_type)


def rule_for(names: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of operators. 'Reduce' stands for all operators with this prefix."""

    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names.split(), rule))
        return rule

    return register


def normal(axes: Sequence[int], rank: int) -> List[int]:
    """Return axes counted from the front."""
    return [axis % rank for axis in axes]

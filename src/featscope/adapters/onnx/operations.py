"""A node of an ONNX graph, and the rules for what it does to the places of its tensors."""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import onnx
from numpy.typing import NDArray

from featscope.arrays.traces import Trace

Traces = Union[Trace, List[Optional[Trace]], None]


class UnfollowedError(Exception):
    """What a node does cannot be said. Its text is why, in brackets behind the operator's name; '' for no more."""


class Facts(NamedTuple):
    """What is known of a graph's tensors before any image is run.

    shapes: of all that do not depend on the image. values: whole numbers and scales that decide what an operator does,
    name -> array, or why it is not known.
    """

    shapes: Mapping[str, Tuple[int, ...]]
    values: Callable[[str], Union[NDArray[np.generic], str]]


class Operation:
    """A node that ran, with the traces of what it was given. opset: the version of its operator's set."""

    def __init__(self, node: onnx.NodeProto, opset: int, facts: Facts, before: Mapping[str, Trace]) -> None:
        self.node, self.opset = node, opset
        self.kind: str = node.op_type
        self._facts, self._before = facts, before
        self._attributes = {attribute.name: attribute for attribute in node.attribute}

    # Attributes

    def has(self, name: str) -> bool:
        """Whether an attribute is given."""
        return name in self._attributes

    def integer(self, name: str, default: int) -> int:
        """An attribute that is a whole number."""
        return int(self._attributes[name].i) if name in self._attributes else default

    def integers(self, name: str) -> List[int]:
        """An attribute that is a list of whole numbers; empty where it is not given."""
        return [int(one) for one in self._attributes[name].ints] if name in self._attributes else []

    def text(self, name: str, default: str) -> str:
        """An attribute that is a text."""
        return self._attributes[name].s.decode() if name in self._attributes else default

    # What goes in

    def is_given(self, place: int) -> bool:
        """Whether there is an input at this place; those that may be left out can be empty."""
        return place < len(self.node.input) and bool(self.node.input[place])

    def given(self, place: int) -> Trace:
        """The trace of an input."""
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
        """The attribute 'axis', counted from the front."""
        rank = len(self.first.shape) if rank is None else rank
        return self.integer("axis", default) % max(rank, 1)

    def array(self, place: int) -> NDArray[np.generic]:
        """The numbers of an input that decide what the operator does. Raises `UnfollowedError` if the image does."""
        found = self._facts.values(self.node.input[place])
        if isinstance(found, str):
            raise UnfollowedError(found)
        return found

    def numbers(self, name: str, place: int) -> Optional[List[int]]:
        """Whole numbers that are an attribute, or by newer versions an input; None where they are neither."""
        if self.has(name):
            return self.integers(name)
        return [int(one) for one in self.array(place).reshape(-1)] if self.is_given(place) else None

    # What comes out

    @property
    def shapes(self) -> List[Tuple[int, ...]]:
        """The shapes of the outputs, () of those that are left out."""
        return [self._facts.shapes.get(name, ()) for name in self.node.output]

    @property
    def shape(self) -> Tuple[int, ...]:
        """The shape of the first output."""
        return self.shapes[0]


Rule = Callable[[Operation], Traces]
_RULES: Dict[str, Rule] = {}


def rule_of(node: onnx.NodeProto) -> Optional[Rule]:
    """The rule of a node's operator; None where it has none."""
    if node.domain not in ("", "ai.onnx"):
        return None
    return _RULES.get("Reduce" if node.op_type.startswith("Reduce") else node.op_type)


def rule_for(names: str) -> Callable[[Rule], Rule]:
    """Make a function the rule of these operators; 'Reduce' are all whose names begin so."""

    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names.split(), rule))
        return rule

    return register


def normal(axes: Sequence[int], rank: int) -> List[int]:
    """Axes counted from the front."""
    return [axis % rank for axis in axes]

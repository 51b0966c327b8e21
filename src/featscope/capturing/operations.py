"""An operator of PyTorch that has run, and the table of rules for following operators."""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import torch

from featscope.arrays.traces import Trace

Traces = Union[Trace, List[Optional[Trace]], None]


class Operation:
    """An operator that has run: its arguments by name, its outputs, and the traces of its inputs."""

    def __init__(
        self,
        func: torch._ops.OpOverload,
        args: Sequence[object],
        kwargs: Mapping[str, object],
        output: object,
        before: Dict[int, Trace],
    ) -> None:
        self.name = func.overloadpacket.__name__
        self._schema = func._schema
        self._args, self._kwargs, self._before = args, kwargs, before
        found = output if isinstance(output, (tuple, list)) else [output]
        self.outputs = [one for one in found if isinstance(one, torch.Tensor)]

    def __getitem__(self, name: str) -> object:
        """Return an argument, or its default value."""
        for place, argument in enumerate(self._schema.arguments):
            if argument.name == name:
                if name in self._kwargs:
                    return self._kwargs[name]
                return self._args[place] if place < len(self._args) else argument.default_value
        raise KeyError(name)

    def has(self, name: str) -> bool:
        """Whether the operator has an argument with this name."""
        return any(argument.name == name for argument in self._schema.arguments)

    def tensor(self, name: str) -> torch.Tensor:
        """Return an argument that is a tensor."""
        value = self[name]
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{name} is not a tensor")
        return value

    def tensors_of(self, name: str) -> List[Optional[torch.Tensor]]:
        """Return an argument that is a list of tensors or None."""
        return list(self[name])  # type: ignore[call-overload]

    def number(self, name: str) -> int:
        """Return an argument that is an integer."""
        return int(self[name])  # type: ignore[call-overload]

    def numbers(self, name: str, count: int = 0) -> List[int]:
        """Return an argument that is a list of integers, or one integer for all of `count` axes."""
        value = self[name]
        found = [int(value)] if isinstance(value, (int, float)) else [int(v) for v in value or ()]  # type: ignore[attr-defined]
        return found * count if count and len(found) == 1 else found

    def given(self, place: int) -> Trace:
        """Return the trace of the argument at this position."""
        return self.trace(self._args[place] if place < len(self._args) else None)

    def trace(self, value: object) -> Trace:
        """Return what is known about an input tensor."""
        if isinstance(value, torch.Tensor):
            return self._before.get(id(value)) or Trace(tuple(value.shape))
        return Trace(())

    @property
    def first(self) -> Trace:
        """The trace of the first argument."""
        return self.given(0)

    @property
    def tensors(self) -> List[Trace]:
        """The traces of all tensors among the arguments."""
        found = []
        for value in [*self._args, *self._kwargs.values()]:
            found += [
                self.trace(one)
                for one in (value if isinstance(value, (list, tuple)) else [value])
                if isinstance(one, torch.Tensor)
            ]
        return found

    @property
    def shapes(self) -> List[Tuple[int, ...]]:
        """The shapes of the outputs."""
        return [tuple(one.shape) for one in self.outputs]

    @property
    def shape(self) -> Tuple[int, ...]:
        """The shape of the first output."""
        return self.shapes[0]


Rule = Callable[[Operation], Traces]
_RULES: Dict[str, Rule] = {}


def rule_of(func: torch._ops.OpOverload) -> Optional[Rule]:
    """Return the rule of an operator; None if there is none."""
    if func.namespace not in ("aten", "prims", "torchvision"):
        return None
    name = func.overloadpacket.__name__
    found = _RULES.get(name) or (_RULES.get(name[:-1]) if name.endswith("_") else None)
    return found or (_RULES["pointwise"] if torch.Tag.pointwise in func.tags else None)


def rule_for(names: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of operators. 'pointwise' stands for all that PyTorch tags as pointwise."""

    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names.split(), rule))
        return rule

    return register

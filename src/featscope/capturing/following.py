"""Follows the axes of tensors through one forward, from the network's input, operator by operator.

Every operator of PyTorch that runs is seen once, and its rule in `rules_moving` or `rules_making`
does to the traces of its tensors what it did to their values. Nothing of the model is run again or changed.
"""

from __future__ import annotations

import weakref
from types import TracebackType
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Tuple, Type

import torch
import torch.overrides
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from featscope.arrays.cells import contracted, windowed
from featscope.arrays.traces import Trace, trace_of_images
from featscope.capturing import rules_making, rules_moving  # noqa: F401 (the rules are there once these are loaded)
from featscope.capturing.calls import recomputing, unwatch, watch
from featscope.capturing.inputs import find_images
from featscope.capturing.layers import children_of
from featscope.capturing.operations import Operation, Rule, rule_of
from featscope.records import Size


def _is_composite(func: torch._ops.OpOverload) -> bool:
    """Whether an operator is made of others, whatever the device."""
    name: str = func.name()  # type: ignore[no-untyped-call]
    return torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")


_has_torch_function = torch.overrides.has_torch_function
_entered: List[Follower] = []


def _others_override(args: Iterable[object]) -> bool:
    """Whether a function of PyTorch would run otherwise than it is written, but for our following.

    Its own layers ask this before they take a fast path, and are to take the same one as without us.
    """
    if isinstance(torch.overrides._get_current_function_mode(), Follower):  # type: ignore[no-untyped-call]
        with torch.overrides._pop_mode_temporarily():
            return _has_torch_function(args)
    return _has_torch_function(args)


class Follower(TorchFunctionMode):
    """Knows the traces of the tensors that a block computes.

    >>> follower = Follower()
    >>> image = torch.zeros(1, 3, 8, 8)
    >>> follower.begin_at(image, rows=2, columns=3)
    >>> with follower:
    ...     tokens = torch.nn.functional.conv2d(image, torch.zeros(5, 3, 2, 2), stride=2).flatten(2).transpose(1, 2)
    >>> follower.trace(tokens).spots[0].planes["column"].ravel()[:5].tolist()
    [1.0, 3.0, 5.0, 7.0, 1.0]

    Operators are seen inside of PyTorch's own functions only: a kernel of somebody else's, as MMCV's suppression of
    boxes, may call a million of them, and none of these makes a map.
    """

    def __init__(self) -> None:
        super().__init__()
        self.resting = False
        self._traces = _Kept()
        self._operators = _Operators(self._traces)

    def __enter__(self) -> Follower:
        super().__enter__()  # type: ignore[no-untyped-call]
        _entered.append(self)
        torch.overrides.has_torch_function = _others_override
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        _entered.remove(self)
        if not _entered:
            torch.overrides.has_torch_function = _has_torch_function

    def begin_at(
        self, images: torch.Tensor, rows: int, columns: int, sample: Optional[int] = 0, time: Optional[int] = None
    ) -> None:
        """Take a tensor for the network's input; rows, columns, sample, time: which of its axes those are."""
        self._traces.put(images, trace_of_images(tuple(images.shape), rows, columns, sample, time))

    def trace(self, tensor: torch.Tensor) -> Trace:
        """What is known of a tensor."""
        return self._traces.get(tensor) or Trace(() if tensor.is_nested else tuple(tensor.shape))

    def note(self, tensor: torch.Tensor, trace: Trace) -> None:
        """Say what a tensor is that an operator made which no rule can see."""
        self._traces.put(tensor, trace)

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Tuple[object, ...] = (),
        kwargs: Optional[Dict[str, object]] = None,
    ) -> object:
        """Run a function of PyTorch, and follow the operators that it is made of."""
        if self.resting or recomputing():
            return func(*args, **(kwargs or {}))
        with self._operators:
            return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    """Sees every operator."""

    def __init__(self, traces: _Kept) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._traces = traces

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # hidden from PyTorch's compiler, a mode loads that compiler first: two seconds of every capture

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: Tuple[object, ...] = (),
        kwargs: Optional[Dict[str, object]] = None,
    ) -> object:
        """Run an operator, and follow it."""
        kwargs = kwargs or {}
        rule = rule_of(func)
        if rule is None and _is_composite(func):
            with self:  # under inference_mode what is made of other operators comes whole
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        before = self._traces.of(args, kwargs)
        output = func(*args, **kwargs)
        if before:
            try:
                self._follow(func, args, kwargs=kwargs, output=output, rule=rule, before=before)
            except Exception as error:  # noqa: BLE001 (the model goes on, whatever we fail to understand)
                self._lose(output, f"{func} ({type(error).__name__}: {error})")
        return output

    def _follow(
        self,
        func: torch._ops.OpOverload,
        args: Tuple[object, ...],
        kwargs: Dict[str, object],
        output: object,
        rule: Optional[Rule],
        before: Dict[int, Trace],
    ) -> None:
        if rule is None:
            lost = next((trace.lost for trace in before.values() if trace.lost), "")
            self._lose(output, lost or str(func).replace(".default", ""))
            return
        found = rule(Operation(func, args, kwargs, output, before))
        outputs = output if isinstance(output, (tuple, list)) else (output,)
        traces = found if isinstance(found, list) else [found]
        for tensor, trace in zip(outputs, traces):
            if isinstance(tensor, torch.Tensor) and isinstance(trace, Trace) and not tensor.is_nested:
                if trace.shape != tuple(tensor.shape):
                    trace = Trace(tuple(tensor.shape), lost=trace.lost or str(func).replace(".default", ""))
                self._traces.put(tensor, trace)

    def _lose(self, output: object, lost: str) -> None:
        for tensor in output if isinstance(output, (tuple, list)) else (output,):
            if isinstance(tensor, torch.Tensor) and not tensor.is_nested:
                self._traces.put(tensor, Trace(tuple(tensor.shape), lost=lost))


class Followed:
    """A block in which a model runs, followed from the first images that it, or one of its parts, is given.

    input_size: (height, width) of those images; None until they were seen.
    """

    def __init__(self, model: nn.Module) -> None:
        self.follower = Follower()
        self.input_size: Optional[Size] = None
        self._parts = {id(model), *(id(child) for _, child in children_of(model))}
        self._kernels = HiddenKernels(self.follower)

    def __enter__(self) -> Followed:
        watch(self)
        watch(self._kernels)
        self.follower.__enter__()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.follower.__exit__(kind, error, trace)
        unwatch(self._kernels)
        unwatch(self)

    def begin(self, module: nn.Module, arguments: Tuple[object, ...], named: Dict[str, object]) -> None:
        """A module is called (`featscope.capturing.calls`)."""
        if self.input_size is None and id(module) in self._parts:
            images = find_images([*arguments, *named.values()])
            if images is not None and images.batch is not None:
                self.input_size = images.size
                self.follower.begin_at(images.batch, *images.axes)


# Modules whose operators PyTorch does not see, and which slide a kernel over (N, C, H, W) as a convolution does.
_HIDDEN = {
    "mmcv.ops.deform_conv.DeformConv2d": "a deformable convolution",
    "mmcv.ops.modulated_deform_conv.ModulatedDeformConv2d": "a modulated deformable convolution",
}


class HiddenKernels:
    """Sees modules that call a kernel of their own past PyTorch, and follows those whose arithmetic is known."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def begin(
        self, module: nn.Module, arguments: Tuple[object, ...], named: Dict[str, object]
    ) -> Optional[_HiddenCall]:
        """A module is called (`featscope.capturing.calls`)."""
        if self._follower.resting or not any(
            f"{c.__module__}.{c.__qualname__}" in _HIDDEN for c in type(module).__mro__
        ):
            return None
        given = next((value for value in [*arguments, *named.values()] if isinstance(value, torch.Tensor)), None)
        return None if given is None else _HiddenCall(self._follower, module, self._follower.trace(given))


class _HiddenCall:
    """Such a module, while it runs."""

    def __init__(self, follower: Follower, module: nn.Module, given: Trace) -> None:
        self._follower, self._module, self._given = follower, module, given

    def end(self, output: object) -> None:
        """It gave a map: its cells are the middles of what the kernel covers before it is deformed."""
        if not isinstance(output, torch.Tensor) or len(self._given.shape) != 4:
            return
        numbers = [_pair(getattr(self._module, name)) for name in ("kernel_size", "stride", "padding", "dilation")]
        summed = contracted(self._given, [1])
        self._follower.note(output, windowed(summed, tuple(output.shape), [2, 3], *numbers))

    def fail(self) -> None:
        """It gave none."""


def _pair(value: object) -> List[int]:
    return [int(one) for one in value] if isinstance(value, (tuple, list)) else [int(value)] * 2  # type: ignore[call-overload]


class _Kept:
    """Traces of tensors, as long as those live; tensors compare by value, so they are known by their ids."""

    def __init__(self) -> None:
        self._traces: Dict[int, Tuple[weakref.ref[torch.Tensor], Trace]] = {}

    def put(self, tensor: torch.Tensor, trace: Trace) -> None:
        key, traces = id(tensor), self._traces

        def forget(gone: weakref.ref[torch.Tensor]) -> None:
            there = traces.get(key)
            if there is not None and there[0] is gone:
                del traces[key]

        traces[key] = (weakref.ref(tensor, forget), trace)

    def get(self, tensor: torch.Tensor) -> Optional[Trace]:
        there = self._traces.get(id(tensor))
        return there[1] if there is not None and there[0]() is tensor else None

    def of(self, args: Sequence[object], kwargs: Dict[str, object]) -> Dict[int, Trace]:
        """The traces of the tensors among an operator's arguments, by the tensors' ids."""
        found: Dict[int, Trace] = {}
        pending: List[object] = [*args, *kwargs.values()]
        while pending:
            value = pending.pop()
            if isinstance(value, torch.Tensor):
                trace = self.get(value)
                if trace is not None:
                    found[id(value)] = trace
            elif isinstance(value, (tuple, list)):
                pending += value
        return found

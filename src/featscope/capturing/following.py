"""Follow the axes of tensors through a forward, from the network's input, operator by operator.

Each of PyTorch's operators that runs is seen once. Its rule in `rules_moving` or `rules_making` applies to the traces
of its tensors what the operator did to their values. The model is not run again and not changed.
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
from featscope.capturing import rules_making, rules_moving  # noqa: F401 (importing these modules registers the rules)
from featscope.capturing.calls import recomputing, unwatch, watch
from featscope.capturing.inputs import find_images
from featscope.capturing.layers import children_of
from featscope.capturing.operations import Operation, Rule, rule_of
from featscope.records import Size


def _is_composite(func: torch._ops.OpOverload) -> bool:
    """Whether an operator consists of other operators on every device."""
    name: str = func.name()  # type: ignore[no-untyped-call]
    return torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")


_has_torch_function = torch.overrides.has_torch_function
_entered: List[Follower] = []


def _others_override(args: Iterable[object]) -> bool:
    """Whether a tensor class or mode, other than our own, overrides PyTorch's functions.

    PyTorch's layers check this before they take a fast path. Following must not change which path they take.
    """
    if isinstance(torch.overrides._get_current_function_mode(), Follower):  # type: ignore[no-untyped-call]
        with torch.overrides._pop_mode_temporarily():
            return _has_torch_function(args)
    return _has_torch_function(args)


class Follower(TorchFunctionMode):
    """Records the traces of the tensors that a block computes.

    >>> follower = Follower()
    >>> image = torch.zeros(1, 3, 8, 8)
    >>> follower.begin_at(image, rows=2, columns=3)
    >>> with follower:
    ...     tokens = torch.nn.functional.conv2d(image, torch.zeros(5, 3, 2, 2), stride=2).flatten(2).transpose(1, 2)
    >>> follower.trace(tokens).spots[0].planes["column"].ravel()[:5].tolist()
    [1.0, 3.0, 5.0, 7.0, 1.0]

    Operators are only followed inside PyTorch's own functions. The kernels of other libraries, such as MMCV's
    suppression of boxes, may call a million operators, none of which makes a map.
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
        """Declare a tensor to be the network's input. rows, columns, sample, time: the respective axes."""
        self._traces.put(images, trace_of_images(tuple(images.shape), rows, columns, sample, time))

    def trace(self, tensor: torch.Tensor) -> Trace:
        """Return what is known about a tensor."""
        return self._traces.get(tensor) or Trace(() if tensor.is_nested else tuple(tensor.shape))

    def note(self, tensor: torch.Tensor, trace: Trace) -> None:
        """Set the trace of a tensor that was made by an operator that PyTorch does not show."""
        self._traces.put(tensor, trace)

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Tuple[object, ...] = (),
        kwargs: Optional[Dict[str, object]] = None,
    ) -> object:
        """Run a function of PyTorch and follow the operators in it."""
        if self.resting or recomputing():
            return func(*args, **(kwargs or {}))
        with self._operators:
            return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    """Follows every operator."""

    def __init__(self, traces: _Kept) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._traces = traces

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True would make PyTorch load its compiler first, which takes two seconds in every capture

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: Tuple[object, ...] = (),
        kwargs: Optional[Dict[str, object]] = None,
    ) -> object:
        """Run an operator and follow it."""
        kwargs = kwargs or {}
        rule = rule_of(func)
        if rule is None and _is_composite(func):
            with self:  # in inference_mode composite operators are not decomposed, so it is done here
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        before = self._traces.of(args, kwargs)
        output = func(*args, **kwargs)
        if before:
            try:
                self._follow(func, args, kwargs=kwargs, output=output, rule=rule, before=before)
            except Exception as error:  # noqa: BLE001 (the model must continue if an operator is not understood)
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
    """Follows a model during a block, from the first images that the model or one of its parts receives.

    input_size: (height, width) of these images; None until they are found.
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
        """Notice that a module is called (`featscope.capturing.calls`)."""
        if self.input_size is None and id(module) in self._parts:
            images = find_images([*arguments, *named.values()])
            if images is not None and images.batch is not None:
                self.input_size = images.size
                self.follower.begin_at(images.batch, *images.axes)


# Modules whose operators PyTorch does not show, and which slide a kernel over (N, C, H, W) like a convolution.
_HIDDEN = {
    "mmcv.ops.deform_conv.DeformConv2d": "a deformable convolution",
    "mmcv.ops.modulated_deform_conv.ModulatedDeformConv2d": "a modulated deformable convolution",
}


class HiddenKernels:
    """Follows modules that run a kernel outside PyTorch's operators, if it is known what the kernel does."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def begin(
        self, module: nn.Module, arguments: Tuple[object, ...], named: Dict[str, object]
    ) -> Optional[_HiddenCall]:
        """Notice that a module is called (`featscope.capturing.calls`)."""
        if self._follower.resting or not any(
            f"{c.__module__}.{c.__qualname__}" in _HIDDEN for c in type(module).__mro__
        ):
            return None
        given = next((value for value in [*arguments, *named.values()] if isinstance(value, torch.Tensor)), None)
        return None if given is None else _HiddenCall(self._follower, module, self._follower.trace(given))


class _HiddenCall:
    """The call of a module with a hidden kernel."""

    def __init__(self, follower: Follower, module: nn.Module, given: Trace) -> None:
        self._follower, self._module, self._given = follower, module, given

    def end(self, output: object) -> None:
        """Set the trace of the output: its cells are the centres of the kernel before it is deformed."""
        if not isinstance(output, torch.Tensor) or len(self._given.shape) != 4:
            return
        numbers = [_pair(getattr(self._module, name)) for name in ("kernel_size", "stride", "padding", "dilation")]
        summed = contracted(self._given, [1])
        self._follower.note(output, windowed(summed, tuple(output.shape), [2, 3], *numbers))

    def fail(self) -> None:
        """Do nothing."""


def _pair(value: object) -> List[int]:
    return [int(one) for one in value] if isinstance(value, (tuple, list)) else [int(value)] * 2  # type: ignore[call-overload]


class _Kept:
    """Keeps the traces of tensors while they exist. The keys are ids, because tensors are compared by value."""

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
        """Return the traces of the tensors in an operator's arguments, by the ids of the tensors."""
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

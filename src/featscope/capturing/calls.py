"""Watch the calls of modules from outside, without putting hooks on a model.

While there are observers, `torch.nn.Module.__call__` is replaced by a function that informs them first. Hooks would be
copied, pickled and saved with the model; this function is not. Replicas in other threads are seen like the model
itself, and a call that ends with an exception of any kind is seen to end, which hooks do not ensure.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
from types import CodeType, FrameType, MethodType
from typing import Callable, Dict, FrozenSet, List, NamedTuple, Optional, Protocol, Tuple

import torch
from torch import nn

from featscope.capturing.layers import modules_of


class ModelCall(NamedTuple):
    """A call of a model or of one of its methods."""

    method: str
    """Name of the method; '' if the model itself was called."""

    arguments: Tuple[object, ...]
    """Positional arguments."""

    named: Dict[str, object]
    """Keyword arguments."""

    @property
    def values(self) -> List[object]:
        """All arguments, in order."""
        return [*self.arguments, *self.named.values()]


class RunningCall(Protocol):
    """A call whose end an observer wants to be informed of."""

    def end(self, output: object) -> None:
        """The call returned this output."""

    def fail(self) -> None:
        """The call raised an exception."""


class CallObserver(Protocol):
    """Is informed of the calls of modules before they run."""

    def begin(
        self, module: nn.Module, arguments: Tuple[object, ...], named: Dict[str, object]
    ) -> Optional[RunningCall]:
        """A module is called. Returns None if the end of the call does not matter."""


# Module state, because there is one `torch.nn.Module` for all captures of a process.
_observers: Tuple[CallObserver, ...] = ()
_original: Callable[..., object] = nn.Module.__call__
_installed = False  # whether our function is installed, perhaps wrapped by another one
_lock = threading.Lock()


def watch(observer: CallObserver) -> None:
    """Inform an observer of every call of every module, in all threads, until `unwatch`."""
    global _observers, _original, _installed
    with _lock:
        if not _installed:
            _original = nn.Module.__call__
            nn.Module.__call__ = _call  # type: ignore[method-assign]
            _installed = True
        _observers = (*_observers, observer)


def unwatch(observer: CallObserver) -> None:
    """Stop informing an observer. It need not be registered."""
    global _observers, _installed
    with _lock:
        _observers = tuple(other for other in _observers if other is not observer)
        # If other code has wrapped our function meanwhile, it must stay. It is used again for the next observer.
        if not _observers and nn.Module.__call__ is _call:
            nn.Module.__call__ = _original  # type: ignore[method-assign]
            _installed = False


_is_compiling: Callable[[], bool] = getattr(getattr(torch, "compiler", None), "is_compiling", lambda: False)


def _call(module: nn.Module, /, *arguments: object, **named: object) -> object:
    # Do nothing for a compiler, an export or a trace, because our actions would become part of the result.
    if _is_compiling() or torch._C._is_tracing():
        return _original(module, *arguments, **named)
    running: List[RunningCall] = []
    try:
        for observer in _observers:
            call = observer.begin(module, arguments, named)
            if call is not None:
                running.append(call)
        output = _original(module, *arguments, **named)
        while running:
            running.pop().end(output)
        return output
    except BaseException:
        while running:
            running.pop().fail()
        raise


def _forget() -> None:
    """Remove all observers in a forked process. It lacks the writing thread, so it cannot capture."""
    global _observers
    _observers = ()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


_graph_task: Optional[Callable[[], int]] = getattr(torch._C, "_current_graph_task_id", None)


def recomputing() -> bool:
    """Whether a backward pass is running. It repeats forwards that ran before (activation checkpointing)."""
    if _graph_task is not None:
        return _graph_task() != -1
    return any(  # an older torch
        frame.f_code.co_name in ("backward", "unpack") and frame.f_code.co_filename.endswith("checkpoint.py")
        for frame in stack()
    )


class Methods:
    """The methods of a model, used to find out which of them are on the stack.

    >>> class Net(nn.Module):
    ...     def features(self):
    ...         return [frame.f_code.co_name for frame in methods.running()]
    >>> methods = Methods(net := Net())
    >>> net.features()
    ['features']
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._codes = frozenset(_codes_of(model))

    def running(self) -> List[FrameType]:
        """Return the frames whose `self` is the model, outermost first.

        Generators are skipped: the code between two values is a separate call, for example for each frame of a video.
        """
        found = []
        for frame in stack():
            code = frame.f_code
            # Reading `f_locals` copies them, so it is done only for code that belongs to the model.
            if code in self._codes and frame.f_locals.get(code.co_varnames[0]) is self._model:
                found.append(frame)
        return found[::-1]

    def nearest(self, name: str) -> Optional[FrameType]:
        """Return the innermost frame of a method of the model; None if it does not run."""
        return next((frame for frame in reversed(self.running()) if frame.f_code.co_name == name), None)


def _codes_of(model: nn.Module) -> FrozenSet[CodeType]:
    # Modules inside compiled code are called by a method that was bound before our function was installed.
    own: List[object] = [_original, nn.Module._call_impl]
    for cls in type(model).__mro__:
        if cls not in (nn.Module, object):
            own += vars(cls).values()
    own += [value for value in vars(model).values() if isinstance(value, MethodType) and value.__self__ is model]
    codes = set()
    for value in own:
        value = value.fget if isinstance(value, property) else value
        while value is not None:
            code = getattr(value, "__code__", None)
            if isinstance(code, CodeType) and code.co_argcount and not code.co_flags & inspect.CO_GENERATOR:
                codes.add(code)
            value = getattr(value, "__wrapped__", None)
    return frozenset(codes)


def is_running(frame: FrameType) -> bool:
    """Whether a frame is on the stack of this thread."""
    return any(one is frame for one in stack())


def in_warm_up() -> bool:
    """Whether a function named `warmup` runs, in which frameworks feed noise to prepare the device."""
    return any(frame.f_code.co_name == "warmup" for frame in stack())


def stack() -> List[FrameType]:
    """Return the frames of this thread, innermost first."""
    frames: List[FrameType] = []
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def call_of(frame: FrameType) -> ModelCall:
    """Return the arguments of a method from its frame. The method may have reassigned them since."""
    code, here = frame.f_code, frame.f_locals
    count = code.co_argcount + code.co_kwonlyargcount
    named = {name: here[name] for name in code.co_varnames[1:count] if name in here}
    rest = list(code.co_varnames[count : count + 2])
    arguments = here.get(rest.pop(0)) if code.co_flags & inspect.CO_VARARGS else ()
    others = here.get(rest.pop(0)) if code.co_flags & inspect.CO_VARKEYWORDS else {}
    if isinstance(others, dict):
        named.update(others)
    return ModelCall(code.co_name, arguments if isinstance(arguments, tuple) else (), named)


def is_copy(module: nn.Module, of: nn.Module) -> bool:
    """Whether a module is a copy of another one: a weight of more than one value is equal to the bit.

    This also finds a copy in which norms were fused into convolutions, since other weights are unchanged.
    """
    if type(module) is not type(of):
        return False
    own, other = (
        {f"{name}.{key}": value for name, part in modules_of(one) for key, value in part._parameters.items()}
        for one in (module, of)
    )
    return any(_same_weights(value, other.get(name)) for name, value in own.items())


def _same_weights(one: Optional[torch.Tensor], other: Optional[torch.Tensor]) -> bool:
    """Whether two weights are equal to the bit and hold more than one value."""
    if one is None or other is None or one.shape != other.shape or one.numel() < 2:
        return False
    if one.device.type == "meta" or other.device.type == "meta":
        return False
    values = one.detach()
    return bool((values != values.flatten()[0]).any()) and torch.equal(other.detach().to(values), values)

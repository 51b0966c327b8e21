"""Disable torch.compile during a capture, because compiled code does not call the modules inside it."""

from __future__ import annotations

import functools
import sys
from contextlib import ExitStack
from typing import Callable, TypeVar, cast

import torch

_CAN_REST = hasattr(getattr(torch, "compiler", None), "set_stance")
"""Whether this version of torch can run a compiled model uncompiled (2.6 and later)."""

_F = TypeVar("_F", bound=Callable[..., object])


class _AsWritten:
    """While it is held, compiled functions and models run uncompiled."""

    def __init__(self) -> None:
        self._holders = 0
        self._resting = False
        self._entered = ExitStack()

    def hold(self) -> None:
        """Disable compiled code, unless another holder has already done so."""
        self._holders += 1
        if self._holders > 1 or not _CAN_REST:
            return
        if "torch._dynamo" in sys.modules:
            self._rest()
        else:  # importing the compiler takes seconds, so wait until somebody compiles something
            plain = torch.compile
            torch.compile = self._then_rest(plain)
            self._entered.callback(setattr, torch, "compile", plain)

    def release(self) -> None:
        """Enable compiled code again after the last holder has released it."""
        self._holders -= 1
        if not self._holders:
            self._entered.close()
            self._resting = False

    def _rest(self) -> None:
        if self._holders and not self._resting:
            self._resting = True
            self._entered.enter_context(torch.compiler.set_stance("force_eager"))

    def _then_rest(self, compile_: _F) -> _F:
        @functools.wraps(compile_)
        def compile_and_rest(*args: object, **kwargs: object) -> object:
            compiled = compile_(*args, **kwargs)
            self._rest()
            return compiled

        return cast(_F, compile_and_rest)


as_written = _AsWritten()

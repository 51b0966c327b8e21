"""`featscope.capture` with automatic support for the framework of a model.

The capture itself knows no framework. This module adds the companion for the framework of the model, if there is one.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Callable, Optional, TypeVar, cast

from torch import nn

from featscope.adapters.frameworks import companions_at_hand
from featscope.capturing import start
from featscope.capturing.inputs import Companion
from featscope.capturing.layers import unwrap
from featscope.capturing.session import Capture

_Make = TypeVar("_Make", bound=Callable[..., Capture])


def companion_of(model: nn.Module, pictures: bool) -> Optional[Companion]:
    """Return the companion of a model's framework; None if there is none, or if it only works in the framework's loop.

    pictures: whether to keep pictures of the inputs.
    """
    for module in companions_at_hand():
        found = module.companion_of(model, pictures)
        if found is not None:
            return found
    return None


def _with_companion(make: _Make) -> _Make:
    @functools.wraps(make)
    def capture(model: nn.Module, *arguments: object, **options: object) -> Capture:
        if options.get("companion") is None:
            to = options.get("to", arguments[1] if len(arguments) > 1 else None)
            options["companion"] = companion_of(unwrap(model), pictures=isinstance(to, (str, Path)))
        return make(model, *arguments, **options)

    return cast(_Make, capture)


capture = _with_companion(start.capture)

"""`featscope.capture`: a capture that knows what the model's framework knows of the images.

The core below knows no framework; this gives it the companion of the model's own, where that is at hand.
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
    """The companion that the framework of a model has for it; None where it has none, or needs its loop for that.

    pictures: whether to keep what the inputs look like.
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

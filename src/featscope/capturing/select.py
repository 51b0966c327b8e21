"""Which layers: names and globs, against what the model has."""

from __future__ import annotations

import inspect
import re
from fnmatch import fnmatchcase
from typing import List, NamedTuple, Optional, Sequence

from torch import nn

from featscope.errors import unknown_name
from featscope.store.files import natural_key


class Choice(NamedTuple):
    """A layer that was asked for.

    attribute: '' for the layer's output; otherwise what the layer's forward keeps under this name
    (`self.output = out`). own_call: whether it can run by itself; a ModuleList cannot, and stands
    for the nearest layers below it that run.
    """

    name: str
    module: nn.Module
    attribute: str = ""


def select(model: nn.Module, layers: Optional[Sequence[str]] = None) -> List[Choice]:
    """The layers that names and globs choose, in natural order.

    >>> model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    >>> [choice.name for choice in select(model, ["*", "!1"])]
    ['0']

    None chooses every top-level part. A pattern that starts with '!' excludes what it matches, and
    all that lies below. Raises `UnknownNameError` for a name that the model does not have.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    modules.pop("", None)
    patterns = list(layers) if layers is not None else []
    includes = [p for p in patterns if not p.startswith("!")]
    excludes = [p[1:] for p in patterns if p.startswith("!")]
    if not includes:
        chosen = [Choice(name, module) for name, module in model.named_children()]
    else:
        chosen = []
        for pattern in includes:
            found = [Choice(n, m) for n, m in modules.items() if n == pattern]
            # A star is one part of a name, as in a file system: `backbone.*` are its children.
            found = found or [Choice(n, m) for n, m in modules.items() if _matches(n, pattern)]
            found = found or _kept_attribute(modules, pattern)
            if not found:
                raise unknown_name("layer", pattern, modules, "featscope layers MODEL")
            chosen += found
    for pattern in excludes:
        if not any(_matches(name, pattern) for name in modules):
            raise unknown_name("layer", pattern, modules, "featscope layers MODEL")
    kept = {
        choice.name: choice
        for choice in chosen
        if not any(_matches(choice.name, p) or _below(choice.name, p) for p in excludes)
    }
    return sorted(kept.values(), key=lambda choice: natural_key(choice.name))


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside of `torch.compile`, DataParallel or DistributedDataParallel: its names are the user's."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _matches(name: str, pattern: str) -> bool:
    if "**" in pattern:
        return fnmatchcase(name, pattern.replace("**", "*"))
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(fnmatchcase(p, w) for p, w in zip(parts, wanted))


def _below(name: str, pattern: str) -> bool:
    parts = name.split(".")
    return any(_matches(".".join(parts[:end]), pattern) for end in range(1, len(parts)))


def _kept_attribute(modules: dict[str, nn.Module], name: str) -> List[Choice]:
    """`neck.output`, where the forward of `neck` says `self.output = ...`."""
    parent, _, attribute = name.rpartition(".")
    module = modules.get(parent)
    if module is None or not attribute.isidentifier():
        return []
    try:
        source = inspect.getsource(type(module))
    except (OSError, TypeError):
        source = ""
    assigned = re.search(rf"\bself\.{attribute}\s*(:[^=\n]+)?=[^=]", source)
    return [Choice(name, module, attribute)] if assigned or attribute in vars(module) else []

"""Select layers of a model by names and globs."""

from __future__ import annotations

import inspect
import re
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import torch
from torch import nn

from featscope.errors import UnknownNameError, unknown_name
from featscope.store.files import natural_key
from featscope.store.globs import lies_below, matches


class Layer(NamedTuple):
    """A layer that was requested."""

    name: str

    module: nn.Module

    attribute: str = ""
    """'' for the layer's output; otherwise the name of the attribute that the layer's forward sets (`self.output =
    out`)."""

    glob: str = ""
    """The glob that found the layer; '' if it was named."""


def modules_of(model: nn.Module, prefix: str = "", shared: bool = True) -> Iterator[Tuple[str, nn.Module]]:
    """Yield the model and every module in it, by dotted path.

    >>> [name for name, _ in modules_of(nn.Sequential(nn.ReLU()))]
    ['', '0']

    Methods of the model are not called, because a model may use PyTorch's names for something else (`self.modules =
    []`). The wrapper of torch.compile comes right before the module in it, with the same name: `backbone.conv`, not
    `backbone._orig_mod.conv`. shared: yield a module with several names under each of them.
    """
    yield from _below(model, prefix, shared, set(), ())


def _below(
    module: nn.Module, path: str, shared: bool, seen: Set[int], above: Tuple[int, ...]
) -> Iterator[Tuple[str, nn.Module]]:
    if id(module) in above or (not shared and id(module) in seen):
        return
    seen.add(id(module))
    yield path, module
    inner = _compiled(module)
    if inner is not None:
        yield from _below(inner, path, shared, seen, (*above, id(module)))
        return
    for name, child in _parts(module).items():
        if child is not None:
            yield from _below(child, f"{path}.{name}" if path else name, shared, seen, (*above, id(module)))


def children_of(model: nn.Module) -> List[Tuple[str, nn.Module]]:
    """Return the direct children of a model, by name."""
    below = {name: module for name, module in modules_of(model, shared=False) if name and "." not in name}
    return list(below.items())


def parameters_of(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield each parameter of a model once."""
    seen: Set[int] = set()
    for _, module in modules_of(model, shared=False):
        for value in vars(module).get("_parameters", {}).values():
            if value is not None and id(value) not in seen:
                seen.add(id(value))
                yield value


def count_parameters(model: nn.Module) -> int:
    """Return the number of a model's parameters."""
    return sum(p.numel() for p in parameters_of(model) if not isinstance(p, nn.UninitializedParameter))


def select(model: nn.Module, layers: Optional[Sequence[str]] = None) -> List[Layer]:
    """Return the layers that names and globs choose, in natural order.

    >>> model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    >>> [layer.name for layer in select(model, ["*", "!1"])]
    ['0']

    None chooses every top-level part, or the model itself if it has no parts. '' is the model itself. A pattern that
    starts with '!' excludes what it matches, with all parts. Raises `UnknownNameError` for a name that the model does
    not have.
    """
    inner, prefix = unwrap_named(model)
    modules = dict(modules_of(inner))
    known = [name for name in modules if name]
    patterns = [_without(prefix, pattern, known) for pattern in layers or ()]
    includes = [p for p in patterns if not p.startswith("!")]
    excludes = [p[1:] for p in patterns if p.startswith("!")]
    if not includes:
        chosen = [Layer(name, module) for name, module in children_of(inner)] or [Layer("", inner)]
    else:
        chosen = []
        for pattern in includes:
            found = [Layer(pattern, modules[pattern])] if pattern in modules else []
            # `*` stands for one part of a name, as in a file system: `backbone.*` matches its children.
            found = found or [Layer(n, modules[n], glob=pattern) for n in known if matches(n, pattern)]
            found = found or _kept_attribute(modules, pattern)
            if not found:
                raise unknown_name("layer", pattern, known, "featscope layers MODEL")
            chosen += found
    chosen.sort(
        key=lambda layer: bool(layer.glob), reverse=True
    )  # if a layer is found by a glob and by name, the name counts
    for pattern in excludes:
        if not any(matches(name, pattern) for name in known):
            raise unknown_name("layer", pattern, known, "featscope layers MODEL")
    kept = {
        layer.name: layer
        for layer in chosen
        if not any(matches(layer.name, p) or lies_below(layer.name, p) for p in excludes)
    }
    return sorted(kept.values(), key=lambda layer: natural_key(layer.name))


def has_layers(model: nn.Module, layers: Sequence[str]) -> Optional[UnknownNameError]:
    """Return None if a model has the layers that names and globs choose, else the error that says what is missing."""
    try:
        select(model, layers)
    except UnknownNameError as missing:
        return missing
    return None


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside its wrappers, whose layer names the user knows."""
    return unwrap_named(model)[0]


def unwrap_named(model: nn.Module) -> Tuple[nn.Module, str]:
    """Return the model inside torch.compile, (Distributed)DataParallel or Ultralytics' YOLO, and its path."""
    path = ""
    while True:
        inner, name = _compiled(model), ""
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner, name = model.module, "module"
        elif any(cls.__module__ == "ultralytics.engine.model" for cls in type(model).__mro__):
            # A call of YOLO predicts on files, videos and folders. It calls the network once for each batch.
            inner, name = getattr(model, "model", None), "model"
        if not isinstance(inner, nn.Module):
            return model, path
        model, path = inner, f"{path}{name}." if name else path


def scripted_part(module: nn.Module) -> bool:
    """Whether a module or a part of it is scripted (torch.jit), so that its calls do not run in Python."""
    return any(isinstance(part, torch.jit.ScriptModule) for _, part in modules_of(module))


def is_compiled(model: nn.Module) -> bool:
    """Whether a model, or a part of it, went through torch.compile."""
    return any(
        _compiled(module) is not None or vars(module).get("_compiled_call_impl") is not None
        for _, module in modules_of(model)
    )


def _parts(module: nn.Module) -> Dict[str, Optional[nn.Module]]:
    return dict(vars(module).get("_modules", {}).items())  # not a dict in a scripted module


def _compiled(module: nn.Module) -> Optional[nn.Module]:
    inner = _parts(module).get("_orig_mod")
    return inner if isinstance(inner, nn.Module) else None


def _without(prefix: str, pattern: str, known: Sequence[str]) -> str:
    """Remove wrappers from a pattern: `module.neck` and `neck` are the same layer."""
    sign, name = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    name = ".".join(part for part in name.split(".") if part != "_orig_mod")
    # Users may also type wrappers that were removed before: test-time augmentation in a distributed wrapper.
    for wrapper in (prefix, "module.", "module."):
        if wrapper and name.startswith(wrapper) and not any(matches(one, name) for one in known):
            name = name[len(wrapper) :]
    return sign + name


def _kept_attribute(modules: Dict[str, nn.Module], name: str) -> List[Layer]:
    """Return the layer `neck.output` if the code of `neck` sets `self.output = ...`."""
    parent, _, attribute = name.rpartition(".")
    module = modules.get(parent)
    if module is None or not attribute.isidentifier():
        return []
    try:
        source = inspect.getsource(type(module))
    except (OSError, TypeError):
        source = ""
    assigned = re.search(rf"\bself\.{attribute}\s*(:[^=\n]+)?=[^=]", source)
    return [Layer(name, module, attribute)] if assigned or attribute in vars(module) else []

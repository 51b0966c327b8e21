"""Which layers: names and globs, against what the model has."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from typing import DefaultDict, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import torch
from torch import nn

from featscope.errors import UnknownNameError, unknown_name
from featscope.store.files import natural_key
from featscope.store.globs import lies_below, matches


class Layer(NamedTuple):
    """A layer that was asked for.

    attribute: '' for the layer's output; otherwise what the layer's forward keeps under this name
    (`self.output = out`). glob: the one that it was found by; '' for a layer that was named.
    """

    name: str
    module: nn.Module
    attribute: str = ""
    glob: str = ""


def modules_of(model: nn.Module, prefix: str = "", shared: bool = True) -> Iterator[Tuple[str, nn.Module]]:
    """Every module below a model and the model itself, by dotted path.

    >>> [name for name, _ in modules_of(nn.Sequential(nn.ReLU()))]
    ['', '0']

    A model may use PyTorch's own names for something else (`self.modules = []`), so nothing of it is called. What
    torch.compile puts around a module comes right before it, under the same name: `backbone.conv`, not
    `backbone._orig_mod.conv`. shared: a module with several names comes under each.
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
    """The modules right below a model, by name."""
    below = {name: module for name, module in modules_of(model, shared=False) if name and "." not in name}
    return list(below.items())


def parameters_of(model: nn.Module) -> Iterator[nn.Parameter]:
    """Every weight of a model, once."""
    seen: Set[int] = set()
    for _, module in modules_of(model, shared=False):
        for value in vars(module).get("_parameters", {}).values():
            if value is not None and id(value) not in seen:
                seen.add(id(value))
                yield value


def count_parameters(model: nn.Module) -> int:
    """How many numbers a model has learned."""
    return sum(p.numel() for p in parameters_of(model) if not isinstance(p, nn.UninitializedParameter))


def select(model: nn.Module, layers: Optional[Sequence[str]] = None) -> List[Layer]:
    """The layers that names and globs choose, in natural order.

    >>> model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    >>> [layer.name for layer in select(model, ["*", "!1"])]
    ['0']

    None chooses every top-level part, or the model itself where it has no parts. '' is the model itself. A
    pattern that starts with '!' excludes what it matches, and all that lies below. Raises `UnknownNameError` for a
    name that the model does not have.
    """
    inner, prefix = unwrap_named(model)
    modules = dict(modules_of(inner))
    known = [name for name in modules if name]
    patterns = [_without(prefix, pattern, known) for pattern in layers or ()]
    includes = [p for p in patterns if not p.startswith("!")]
    excludes = [p[1:] for p in patterns if p.startswith("!")]
    if includes:
        chosen = [layer for pattern in includes for layer in _matching(modules, pattern)]
    else:
        chosen = [Layer(name, module) for name, module in children_of(inner)] or [Layer("", inner)]
    chosen.sort(key=lambda layer: bool(layer.glob), reverse=True)  # of one found twice the name counts
    for pattern in excludes:
        if not any(matches(name, pattern) for name in known):
            raise unknown_name("layer", pattern, known, "featscope layers MODEL")
    kept = {
        layer.name: layer
        for layer in chosen
        if not any(matches(layer.name, p) or lies_below(layer.name, p) for p in excludes)
    }
    return sorted(kept.values(), key=lambda layer: natural_key(layer.name))


def _matching(modules: Dict[str, nn.Module], pattern: str) -> List[Layer]:
    """The layers that a name or a glob means. Raises `UnknownNameError` where there is none."""
    if pattern in modules:
        return [Layer(pattern, modules[pattern])]
    known = [name for name in modules if name]
    # A star is one part of a name, as in a file system: `backbone.*` are its children.
    found = [Layer(name, modules[name], glob=pattern) for name in known if matches(name, pattern)]
    found = found or _kept_attribute(modules, pattern)
    if not found:
        raise unknown_name("layer", pattern, known, "featscope layers MODEL")
    return found


def has_layers(model: nn.Module, layers: Sequence[str]) -> Optional[UnknownNameError]:
    """None where a model has what names and globs choose, else the error that says what it lacks."""
    try:
        select(model, layers)
    except UnknownNameError as missing:
        return missing
    return None


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside of its wrappers: its names are the user's."""
    return unwrap_named(model)[0]


def unwrap_named(model: nn.Module) -> Tuple[nn.Module, str]:
    """The model inside of `torch.compile`, DataParallel, DistributedDataParallel or Ultralytics' YOLO, and its path."""
    path = ""
    while True:
        inner, name = _compiled(model), ""
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner, name = model.module, "module"
        elif any(cls.__module__ == "ultralytics.engine.model" for cls in type(model).__mro__):
            # Its own call predicts on files, films and folders: the network is called once a batch.
            inner, name = getattr(model, "model", None), "model"
        if not isinstance(inner, nn.Module):
            return model, path
        model, path = inner, f"{path}{name}." if name else path


def shared_names(model: nn.Module) -> Dict[int, List[Tuple[str, int]]]:
    """Of each module with several names, by its id: each name with the id of the module that it lies in."""
    names: DefaultDict[int, List[Tuple[str, int]]] = defaultdict(list)
    modules = dict(modules_of(model))
    for name, module in modules.items():
        if name:
            names[id(module)].append((name, id(modules[name.rpartition(".")[0]])))
    return {key: found for key, found in names.items() if len(found) > 1}


def scripted_part(module: nn.Module) -> bool:
    """Whether a module, or a part of it, is scripted (torch.jit): its calls are not Python's."""
    return any(isinstance(part, torch.jit.ScriptModule) for _, part in modules_of(module))


def is_compiled(model: nn.Module) -> bool:
    """Whether a model, or a part of it, went through torch.compile."""
    return any(
        _compiled(module) is not None or vars(module).get("_compiled_call_impl") is not None
        for _, module in modules_of(model)
    )


def _parts(module: nn.Module) -> Dict[str, Optional[nn.Module]]:
    return dict(vars(module).get("_modules", {}).items())  # of a scripted module it is no dict


def _compiled(module: nn.Module) -> Optional[nn.Module]:
    inner = _parts(module).get("_orig_mod")
    return inner if isinstance(inner, nn.Module) else None


def _without(prefix: str, pattern: str, known: Sequence[str]) -> str:
    """A pattern as the model inside of a wrapper knows it: `module.neck` and `neck` are the same layer."""
    sign, name = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    name = ".".join(part for part in name.split(".") if part != "_orig_mod")
    # Wrappers that are off already (test-time augmentation, and around that a distributed one) are typed all the same.
    for wrapper in (prefix, "module.", "module."):
        if wrapper and name.startswith(wrapper) and not any(matches(one, name) for one in known):
            name = name[len(wrapper) :]
    return sign + name


def _kept_attribute(modules: Dict[str, nn.Module], name: str) -> List[Layer]:
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
    return [Layer(name, module, attribute)] if assigned or attribute in vars(module) else []

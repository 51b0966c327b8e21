"""Find the names of a layer's outputs in its source code: `return cls_scores, bbox_preds`."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import lru_cache
from typing import Callable, Hashable, Iterator, List, Optional, Tuple

from torch import nn

_DEEPEST = 5  # calls followed from one return statement to the next


def field_names(module: nn.Module, count: int) -> Optional[Tuple[str, ...]]:
    """Return the names of the `count` values that a module's forward returns; None if its source does not tell.

    >>> class Head(nn.Module):                                              # doctest: +SKIP
    ...     def forward(self, x):
    ...         cls_score, bbox_pred = self.cls(x), self.reg(x)
    ...         return cls_score, bbox_pred
    >>> field_names(Head(), 2)                                              # doctest: +SKIP
    ('cls_score', 'bbox_pred')

    `return multi_apply(self.forward_single, ...)` is followed into `forward_single`, whose names
    then stand for lists: cls_score becomes cls_scores.
    """
    # A forward that was set on the instance, as wrappers do, replaces that of the class.
    own = vars(module).get("forward")
    if own is not None:
        function = inspect.unwrap(getattr(own, "__func__", own))
        return _names_of(function, type(module), count, 0)
    return _names_in_class(type(module), count)  # type: ignore[arg-type]


@lru_cache(maxsize=None)
def _names_in_class(cls: Hashable, count: int) -> Optional[Tuple[str, ...]]:
    return _names_of(inspect.unwrap(cls.forward), cls, count, 0)  # type: ignore[attr-defined, arg-type]


def _names_of(function: Callable[..., object], cls: type, count: int, depth: int) -> Optional[Tuple[str, ...]]:
    tree = _parse(function)
    if tree is None or depth > _DEEPEST:
        return None
    # Take the last return that fits. Earlier ones are usually for exceptions (training, empty input).
    for value in reversed(list(_returned(tree))):
        if isinstance(value, ast.Name):
            value = _assigned(tree, value.id) or value
        if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == count:
            return _distinct([_name(element, i) for i, element in enumerate(value.elts)])
        names = _follow(value, function, cls, count, depth)
        if names is not None:
            return names
    return None


def _follow(
    value: ast.expr, function: Callable[..., object], cls: type, count: int, depth: int
) -> Optional[Tuple[str, ...]]:
    """Follow `multi_apply(self.method, ...)`, `self.method(...)` and `super().forward(...)` to their names."""
    if not isinstance(value, ast.Call):
        return None
    called, listed = value.func, False
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    if name in ("multi_apply", "tuple", "list", "map") and value.args:
        listed = name in ("multi_apply", "map")
        inner = value.args[0]
        if isinstance(inner, ast.Call):  # tuple(map(list, zip(*...)))
            return _follow(inner, function, cls, count, depth)
        called = inner
    if not isinstance(called, ast.Attribute):
        return None
    target = _method(called, function, cls)
    if not inspect.isfunction(target):
        return None
    names = _names_of(inspect.unwrap(target), cls, count, depth + 1)
    if names is not None and listed:
        return tuple(name if name.endswith("s") or name.isdigit() else name + "s" for name in names)
    return names


def _method(called: ast.Attribute, function: Callable[..., object], cls: type) -> Optional[object]:
    """The method behind `self.name` or `super().name`; None for anything else."""
    owner = called.value
    if isinstance(owner, ast.Name) and owner.id == "self":
        return getattr(cls, called.attr, None)
    if isinstance(owner, ast.Call) and getattr(owner.func, "id", "") == "super":
        return _inherited(function, cls, called.attr)
    return None


def _inherited(function: Callable[..., object], cls: type, name: str) -> Optional[object]:
    classes = cls.__mro__
    for index, owner in enumerate(classes):
        if inspect.unwrap(vars(owner).get(name, lambda: None)) is function:
            return next((vars(c)[name] for c in classes[index + 1 :] if name in vars(c)), None)
    return None


def _parse(function: Callable[..., object]) -> Optional[ast.AST]:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return None


def _own_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function in the order of the source, without functions inside it."""
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield child
            yield from _own_nodes(child)


def _returned(tree: ast.AST) -> Iterator[ast.expr]:
    for node in _own_nodes(tree):
        if isinstance(node, ast.Return) and node.value is not None:
            yield node.value


def _assigned(tree: ast.AST, name: str) -> Optional[ast.expr]:
    """Return the last value that was assigned to a variable, if it is a tuple or a call."""
    found = None
    for node in _own_nodes(tree):
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == name for t in node.targets):
            found = node.value
    return found if isinstance(found, (ast.Tuple, ast.Call)) else None


def _name(element: ast.expr, index: int) -> str:
    if isinstance(element, ast.Name):
        return element.id
    if isinstance(element, ast.Attribute):
        return element.attr
    if isinstance(element, ast.Call) and len(element.args) == 1:  # list(cls_scores)
        return _name(element.args[0], index)
    return str(index)


def _distinct(names: List[str]) -> Tuple[str, ...]:
    """Number names that occur twice: `return x, x` would otherwise make one field of two values."""
    return tuple(name if names.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(names))

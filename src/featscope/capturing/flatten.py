"""Flatten the output of a layer, whatever its structure, to a list of (field, tensor)."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping, ValuesView
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import numpy as np
import torch

FieldTensor = Tuple[str, torch.Tensor]
"""The name of a field and a tensor of it."""


def flatten(output: Any, names: Optional[Sequence[str]] = None) -> List[FieldTensor]:
    """Return every tensor in an output with the name of its field.

    >>> x = torch.zeros(1)
    >>> [field for field, _ in flatten(([x, x], [x, x]), ["cls_scores", "bbox_preds"])]
    ['cls_scores', 'cls_scores', 'bbox_preds', 'bbox_preds']

    A field is a key, an attribute, or the name in `names` (the variables of the return statement). A plain sequence of
    tensors is one field with several levels. Numeric arrays count as tensors. None, and values without tensors
    (numbers, text, metrics), are left out, and a generator is not consumed.
    """
    fields = _fields_of(output, names)
    if fields is None:
        return list(_walk(output, "", set()))
    return [pair for name, value in zip(fields, output) for pair in _walk(value, name, set())]


def _fields_of(output: object, names: Optional[Sequence[str]]) -> Optional[Sequence[str]]:
    """Return the field of each value of a tuple or list; None if the values are levels of one field, or have names."""
    if not isinstance(output, (tuple, list)) or hasattr(output, "_fields") or len(output) < 2:
        return None
    several = any(map(_is_nested, output))
    # Plain tensors are levels of one field if some of them have no name: `return x, x[:, :, ::2, ::2]`.
    if names is not None and len(names) == len(output) and (several or not any(name.isdigit() for name in names)):
        return names
    return list(map(str, range(len(output)))) if several and isinstance(output, tuple) else None


def _is_nested(value: Any) -> bool:
    return isinstance(value, (tuple, list, Mapping)) or dataclasses.is_dataclass(value)


def _walk(value: Any, field: str, seen: Set[int]) -> Iterator[FieldTensor]:
    if isinstance(value, torch.Tensor):
        yield field, value
        return
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biufc":
            yield field, torch.from_numpy(np.array(value))
        return
    if isinstance(value, (type, torch.nn.Module)) or id(value) in seen:  # an object may contain itself
        return
    seen.add(id(value))
    for name, item in _children(value, field):
        yield from _walk(item, name, seen)
    seen.discard(id(value))


def _children(value: Any, field: str) -> Iterator[Tuple[str, Any]]:
    """Yield what a container holds, each value with its field."""
    if isinstance(value, Mapping):  # including ModelOutput, which is an OrderedDict
        yield from ((_join(field, str(key)), item) for key, item in value.items())
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from ((_join(field, name), getattr(value, name)) for name in value._fields)
    elif isinstance(value, (tuple, list, set, frozenset, deque, ValuesView)):
        yield from ((field, item) for item in value)
    elif dataclasses.is_dataclass(value):
        yield from ((_join(field, f.name), getattr(value, f.name)) for f in dataclasses.fields(value))
    else:
        yield from ((_join(field, k), v) for k, v in _attributes(value).items() if not k.startswith("__"))


def _attributes(value: object) -> Dict[str, object]:
    slots = [name for cls in type(value).__mro__ for name in _listed(vars(cls).get("__slots__", ()))]
    return {**{name: getattr(value, name) for name in slots if hasattr(value, name)}, **getattr(value, "__dict__", {})}


def _listed(slots: object) -> Sequence[str]:
    return [slots] if isinstance(slots, str) else list(slots) if isinstance(slots, (tuple, list)) else []


def _join(parent: str, name: str) -> str:
    # Frameworks keep the value of a property in a private attribute (`_boxes` of `boxes`). Use the public name.
    name = name.lstrip("_") or name
    return f"{parent}.{name}" if parent else name

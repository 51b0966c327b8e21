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
    if isinstance(output, (tuple, list)) and not hasattr(output, "_fields"):
        several = any(_is_nested(value) for value in output)
        fitting = names if names is not None and len(names) == len(output) > 1 else None
        # Plain tensors are levels of one field if some of them have no name: `return x, x[:, :, ::2, ::2]`.
        if fitting and (several or not any(name.isdigit() for name in fitting)):
            return [pair for name, value in zip(fitting, output) for pair in _walk(value, name, set())]
        if several and isinstance(output, tuple) and len(output) > 1:
            return [pair for index, value in enumerate(output) for pair in _walk(value, str(index), set())]
    return list(_walk(output, "", set()))


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
    children: Iterator[Tuple[str, Any]]
    if isinstance(value, Mapping):  # including ModelOutput, which is an OrderedDict
        children = ((_join(field, str(key)), item) for key, item in value.items())
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        children = ((_join(field, name), getattr(value, name)) for name in value._fields)
    elif isinstance(value, (tuple, list, set, frozenset, deque, ValuesView)):
        children = ((field, item) for item in value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        children = ((_join(field, f.name), getattr(value, f.name)) for f in dataclasses.fields(value))
    elif not isinstance(value, (type, torch.nn.Module)):
        children = ((_join(field, k), v) for k, v in _attributes(value).items() if not k.startswith("__"))
    else:
        return
    if id(value) in seen:  # an object that contains itself
        return
    seen.add(id(value))
    for name, item in children:
        yield from _walk(item, name, seen)
    seen.discard(id(value))


def _attributes(value: object) -> Dict[str, object]:
    slots = [name for cls in type(value).__mro__ for name in _listed(vars(cls).get("__slots__", ()))]
    return {**{name: getattr(value, name) for name in slots if hasattr(value, name)}, **getattr(value, "__dict__", {})}


def _listed(slots: object) -> Sequence[str]:
    return [slots] if isinstance(slots, str) else list(slots) if isinstance(slots, (tuple, list)) else []


def _join(parent: str, name: str) -> str:
    # Frameworks keep the value of a property in a private attribute (`_boxes` of `boxes`). Use the public name.
    name = name.lstrip("_") or name
    return f"{parent}.{name}" if parent else name

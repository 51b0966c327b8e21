"""The types of a table's columns, from the annotations of its rows or from their values."""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import (
    TYPE_CHECKING,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np
from numpy.typing import NDArray

from featscope.errors import BadArrayError

if TYPE_CHECKING:
    import pyarrow


class ColumnType(NamedTuple):
    """The type of a column's values."""

    scalar: str
    """text, bool, int, float, float32; '' if no value is known."""

    depth: int = 0
    """0 for plain values, 1 for lists of them, 2 for lists of lists, ..."""

    @property
    def nested(self) -> bool:
        """Whether the values are lists."""
        return self.depth > 0

    def arrow(self) -> pyarrow.DataType:
        """Return the type of a Parquet column."""
        import pyarrow

        scalars = {
            "text": pyarrow.string(),
            "bool": pyarrow.bool_(),
            "int": pyarrow.int64(),
            "float": pyarrow.float64(),
            "float32": pyarrow.float32(),
        }
        made = scalars.get(self.scalar, pyarrow.null())
        for _ in range(self.depth):
            made = pyarrow.list_(made)
        return made


UNKNOWN = ColumnType("")

_TYPES: Tuple[Tuple[Tuple[type, ...], str], ...] = (
    ((bool, np.bool_), "bool"),
    ((int, np.integer), "int"),
    ((np.float32, np.float16), "float32"),
    ((float, np.floating), "float"),
    ((str, PurePath), "text"),
)
"""Types of values, and their names here; the first that fits counts."""


def column_types(
    columns: Sequence[str],
    kind: Optional[Type[Tuple[object, ...]]],
    types: Mapping[str, object],
    rows: Iterable[Tuple[object, ...]],
) -> List[ColumnType]:
    """Return the type of each column.

    kind: a named tuple whose annotations are used. types: annotations by name, used first. rows: their values are used
    for columns without an annotation. Raises `BadArrayError` if the values of such a column have no common type.
    """
    hints: Dict[str, object] = dict(_hints_of(kind))
    hints.update(types)
    found = [annotated(hints[name]) if name in hints else UNKNOWN for name in columns]
    missing = [place for place, one in enumerate(found) if not one.scalar]
    if missing:
        for row in rows:
            for place in missing:
                try:
                    found[place] = common(found[place], type_of(row[place]))
                except BadArrayError as error:
                    raise BadArrayError(f"the column {columns[place]!r} {error}") from None
    return found


def _hints_of(kind: Optional[Type[Tuple[object, ...]]]) -> Mapping[str, object]:
    try:
        return get_type_hints(kind) if kind is not None else {}
    except (NameError, TypeError, AttributeError):  # a name that only type checkers import; the values tell then
        return {}


def annotated(hint: object) -> ColumnType:
    """Return the type that an annotation stands for; `UNKNOWN` if it stands for none of ours.

    >>> annotated(Optional[int]), annotated(List[np.float32])
    (ColumnType(scalar='int', depth=0), ColumnType(scalar='float32', depth=1))
    """
    if isinstance(hint, type) and _origin_of(hint) is None:
        return ColumnType(next((name for types, name in _TYPES if issubclass(hint, types)), ""))
    origin = _origin_of(hint)
    args = [arg for arg in _args_of(hint) if arg is not type(None) and arg is not ...]
    if not args:
        return UNKNOWN
    if origin is NDArray or origin is np.ndarray:
        # NDArray[np.float32] is ndarray[Any, dtype[float32]] up to NumPy 2.4, and an alias of its own from 2.5 on.
        scalar = annotated(args[0] if origin is NDArray else next(iter(_args_of(args[-1])), None))
        return ColumnType(scalar.scalar, 1) if scalar.scalar else UNKNOWN
    same = list(dict.fromkeys(map(annotated, args)))
    if len(same) > 1 or not same[0].scalar:
        return UNKNOWN
    if origin is Union or (sys.version_info >= (3, 10) and getattr(origin, "__name__", "") == "UnionType"):
        return same[0]
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return ColumnType(same[0].scalar, same[0].depth + 1)
    return UNKNOWN


def _origin_of(hint: object) -> object:
    # In Python 3.8 `get_origin` does not know the aliases of NumPy.
    return get_origin(hint) or getattr(hint, "__origin__", None)


def _args_of(hint: object) -> Tuple[object, ...]:
    return get_args(hint) or getattr(hint, "__args__", ())


def type_of(value: object) -> ColumnType:
    """Return the type of one value.

    >>> type_of(None), type_of([1, 2.5]), type_of(np.zeros(3, np.float32))
    (ColumnType(scalar='', depth=0), ColumnType(scalar='float', depth=1), ColumnType(scalar='float32', depth=1))
    """
    if value is None:
        return UNKNOWN
    if isinstance(value, np.ndarray):
        return ColumnType(annotated(value.dtype.type).scalar, value.ndim)
    if isinstance(value, (list, tuple)):
        found = UNKNOWN
        for one in value:
            found = common(found, type_of(one))
        return ColumnType(found.scalar, found.depth + 1)
    found = annotated(type(value))
    if not found.scalar:
        raise BadArrayError(f"holds a {type(value).__name__}; give numbers, text, or lists of them")
    return found


def common(first: ColumnType, second: ColumnType) -> ColumnType:
    """Return the type that holds values of both. Raises `BadArrayError` if there is none."""
    if not first.scalar and first.depth <= second.depth:
        return second
    if not second.scalar and second.depth <= first.depth:
        return first
    if first == second:
        return first
    numbers = {"int", "float", "float32"}
    if first.depth != second.depth or not {first.scalar, second.scalar} <= numbers:
        raise BadArrayError(f"holds both {_named(first)} and {_named(second)}; give values of one type")
    return ColumnType("float", first.depth)


def _named(one: ColumnType) -> str:
    return "lists of " * one.depth + (one.scalar or "nothing")

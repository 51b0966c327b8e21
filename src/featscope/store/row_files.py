"""Write rows to a file: CSV, JSON, JSON lines or Parquet, chosen by the suffix of its name.

The type of a column is the same in all parts of a table, even in a part that has no value of it. It is therefore taken
from the annotation of the named tuple, and from the values only where there is no annotation.
"""

from __future__ import annotations

import math
import os
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import (
    TYPE_CHECKING,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
)

import msgspec
import numpy as np

from featscope.errors import BadArrayError, BadOptionError, MissingPackageError, first_line
from featscope.store.column_types import ColumnType, column_types
from featscope.store.files import make_folder, well_formed, whole_file, write_all
from featscope.store.tables import Rows

if TYPE_CHECKING:
    import pyarrow

AnyRow = Tuple[object, ...]

_AT_ONCE = 10_000  # rows that are converted together

_MARKS = frozenset(',"\r\n')  # a text with one of these is quoted in CSV


def write_rows(
    rows: Union[Rows[AnyRow], Iterable[AnyRow]],
    path: Union[str, Path],
    kind: Optional[Type[AnyRow]] = None,
    types: Optional[Mapping[str, object]] = None,
) -> Tuple[str, ...]:
    """Write rows to a file whose name ends in .csv, .json, .jsonl or .parquet. Return the columns that are left out.

    >>> from typing import List, NamedTuple
    >>> class Row(NamedTuple):
    ...     layer: str
    ...     mean: float
    ...     counts: List[int]
    >>> rows = Rows(Row._fields, [Row("neck", 0.5, [1, 2]), Row("head", float("nan"), [])])
    >>> write_rows(rows, "rows.csv")
    ('counts',)
    >>> print(Path("rows.csv").read_text(), end="")
    layer,mean
    neck,0.5
    head,
    >>> write_rows(rows, "rows.jsonl")
    ()
    >>> print(Path("rows.jsonl").read_text(), end="")
    {"layer":"neck","mean":0.5,"counts":[1,2]}
    {"layer":"head","mean":null,"counts":[]}

    rows: `Rows`, or any iterable, of which only some rows are in memory at a time; it needs `kind`. kind: the named
    tuple of the rows, by default that of the first row. types: annotations of columns, for rows that are plain tuples
    (`{"norm": float, "features": List[np.float32]}`). Columns without an annotation have the common type of their
    values (of an iterable, of the first 10,000 rows). Values are numbers, text, None, or lists, tuples and arrays of
    these; NumPy scalars are taken as numbers.

    None and NaN are empty in CSV and null in JSON and Parquet. Infinity is inf in CSV and null in JSON, which has no
    word for it. CSV has no lists: columns of lists are left out, and their names are returned. Lines end with a
    newline.

    The file appears when it is whole. Raises `BadOptionError` for another suffix, `MissingPackageError` for Parquet
    without pyarrow, and `BadArrayError` if a value does not have the type of its column.
    """
    path = Path(path)
    check_row_file(path)
    if isinstance(rows, Rows):
        columns: Sequence[str] = rows.columns
        if kind is None and len(rows) and hasattr(rows[0], "_fields"):
            kind = type(rows[0])
        source, sampled = iter(rows), iter(rows)
    else:
        if kind is None:
            raise BadOptionError("the columns of these rows are unknown; give kind=, the named tuple of the rows")
        columns, source = kind._fields, iter(rows)  # type: ignore[attr-defined]
        head = list(islice(source, _AT_ONCE))
        source, sampled = chain(head, source), iter(head)
    found = column_types(columns, kind, types or {}, sampled)
    make_folder(path.parent)
    with whole_file(path, shared=True) as descriptor:
        _FORMATS[path.suffix.lower()](descriptor, dict(zip(columns, found)), _batches(source))
    return tuple(name for name, one in zip(columns, found) if one.nested) if path.suffix.lower() == ".csv" else ()


def check_suffix(path: Union[str, Path]) -> str:
    """Return the suffix of a file of rows. Raises `BadOptionError` if it stands for no format."""
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise BadOptionError(
            f"{str(path)!r} does not say in which format to write; type a name that ends in {', '.join(_FORMATS)}"
        )
    return suffix


def check_row_files(*paths: Union[str, Path, None]) -> None:
    """Call `check_row_file` for each file that is wanted."""
    for path in paths:
        if path is not None:
            check_row_file(path)


def check_row_file(path: Union[str, Path]) -> None:
    """Raise an error if `write_rows` cannot write a file of this name: its suffix is unknown, or a package missing.

    Call it before work that takes long.
    """
    if check_suffix(path) == ".parquet":
        _pyarrow()


def part_of(path: Union[str, Path], rank: int) -> Path:
    """Return the file of one rank's part of a table; the table is then a folder, which pandas and polars read as one.

    >>> part_of("objects.parquet", 1).as_posix()
    'objects.parquet/part-00001.parquet'
    """
    path = Path(path)
    return path / f"part-{rank:05d}{path.suffix}"


def _batches(rows: Iterator[AnyRow]) -> Iterator[List[AnyRow]]:
    while True:
        batch = list(islice(rows, _AT_ONCE))
        if not batch:
            return
        yield batch


def _columns(
    types: Mapping[str, ColumnType], batch: List[AnyRow], convert: Callable[[object, ColumnType], object]
) -> Iterator[List[object]]:
    """Return the converted values of a batch, column by column."""
    for (name, one), values in zip(types.items(), zip(*batch)):
        try:
            yield [convert(value, one) for value in values]
        except (TypeError, ValueError, OverflowError) as error:
            raise BadArrayError(
                f"the column {name!r} has a value that is no {one.scalar or 'value'}: {first_line(error)}"
            ) from None


def _plain(value: object, one: ColumnType) -> object:
    """Return a value as plain Python, for JSON: None, bool, int, float, str, or lists of these."""
    if value is None:
        return None
    if one.depth:
        if isinstance(value, np.ndarray):
            return value.tolist()
        inner = ColumnType(one.scalar, one.depth - 1)
        return [_plain(item, inner) for item in value]  # type: ignore[attr-defined]
    return _CONVERT[one.scalar](value)


def _text(value: object) -> str:
    text = str(value)
    return text if text.isascii() else well_formed(text)


def _float32(value: object) -> float:
    return float(str(np.float32(value)))  # type: ignore[arg-type]  # its shortest digits: 0.1, not 0.10000000149


_CONVERT: Dict[str, Callable[[object], object]] = {
    "text": _text,
    "bool": bool,
    "int": int,  # type: ignore[dict-item]
    "float": float,  # type: ignore[dict-item]
    "float32": _float32,
    "": _text,
}


def _csv_cell(value: object, one: ColumnType) -> str:
    if value is None:
        return ""
    plain = _plain(value, one)
    if isinstance(plain, float):
        return "" if math.isnan(plain) else repr(plain)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    return _quoted(str(plain))


def _quoted(text: str) -> str:
    return text if _MARKS.isdisjoint(text) else '"' + text.replace('"', '""') + '"'


def _write_csv(descriptor: int, types: Mapping[str, ColumnType], batches: Iterator[List[AnyRow]]) -> None:
    kept = {name: one for name, one in types.items() if not one.nested}
    places = [place for place, one in enumerate(types.values()) if not one.nested]
    write_all(descriptor, (",".join(map(_quoted, kept)) + "\n").encode())
    for batch in batches:
        chosen = [tuple(row[place] for place in places) for row in batch]
        lines = zip(*_columns(kept, chosen, _csv_cell))
        write_all(descriptor, "".join(",".join(line) + "\n" for line in lines).encode())


def _write_lines(descriptor: int, types: Mapping[str, ColumnType], batches: Iterator[List[AnyRow]]) -> None:
    for batch in batches:
        write_all(descriptor, b"".join(line + b"\n" for line in _json_objects(types, batch)))


def _write_json(descriptor: int, types: Mapping[str, ColumnType], batches: Iterator[List[AnyRow]]) -> None:
    separator = b"[\n"
    for batch in batches:
        write_all(descriptor, separator + b",\n".join(_json_objects(types, batch)))
        separator = b",\n"
    write_all(descriptor, b"\n]\n" if separator == b",\n" else b"[]\n")


def _json_objects(types: Mapping[str, ColumnType], batch: List[AnyRow]) -> Iterator[bytes]:
    encode, names = msgspec.json.Encoder().encode, list(types)
    for line in zip(*_columns(types, batch, _plain)):
        yield encode(dict(zip(names, line)))  # NaN and infinity become null


def _write_parquet(descriptor: int, types: Mapping[str, ColumnType], batches: Iterator[List[AnyRow]]) -> None:
    pyarrow = _pyarrow()
    from pyarrow import parquet

    schema = pyarrow.schema([(name, one.arrow()) for name, one in types.items()])
    with os.fdopen(descriptor, "wb", closefd=False) as file, parquet.ParquetWriter(file, schema) as writer:
        for batch in batches:
            arrays = [_arrow_column(name, one, values) for (name, one), values in zip(types.items(), zip(*batch))]
            writer.write_table(pyarrow.table(arrays, schema=schema))


def _arrow_column(name: str, one: ColumnType, values: Sequence[object]) -> pyarrow.Array:
    pyarrow = _pyarrow()
    if one.scalar == "text" and not one.depth:
        values = [None if value is None else _text(value) for value in values]
    try:
        return pyarrow.array(values, one.arrow(), from_pandas=True)  # NaN becomes null
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise BadArrayError(
            f"the column {name!r} has a value that is no {one.scalar or 'value'}: {first_line(error)}"
        ) from None


def _pyarrow() -> ModuleType:
    try:
        import pyarrow
    except ImportError:
        raise MissingPackageError(
            "Parquet needs pyarrow: pip install 'featscope[parquet]'; without it, write .csv or .jsonl"
        ) from None
    return pyarrow


_FORMATS = {".csv": _write_csv, ".json": _write_json, ".jsonl": _write_lines, ".parquet": _write_parquet}

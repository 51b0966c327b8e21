"""Rows that show themselves, and become a table of pandas where that is installed."""

from __future__ import annotations

from html import escape
from typing import (
    TYPE_CHECKING,
    Generic,
    Iterable,
    Iterator,
    List,
    Sequence,
    Tuple,
    TypeVar,
    Union,
    overload,
)

from featscope.errors import MissingPackageError
from featscope.words import counted

if TYPE_CHECKING:
    import pandas

Row = TypeVar("Row", bound=Tuple[object, ...])

_SHOWN = 60  # rows, on a page
_TEXT_ROWS = 10  # rows, as text


class Rows(Sequence[Row], Generic[Row]):
    """Rows of one kind, each a named tuple: a sequence that a notebook shows as a table.

    >>> from typing import NamedTuple
    >>> class Size(NamedTuple):
    ...     layer: str
    ...     bytes: int
    >>> rows = Rows(Size._fields, [Size("backbone", 40), Size("neck", 10)])
    >>> rows
    layer     bytes
    backbone  40
    neck      10
    >>> rows[0].layer, rows.columns
    ('backbone', ('layer', 'bytes'))

    hidden: columns that are left out where the rows show themselves.
    """

    def __init__(self, columns: Sequence[str], rows: Iterable[Row], hidden: Sequence[str] = ()) -> None:
        self.columns = tuple(columns)
        self._rows: List[Row] = list(rows)
        self._hidden = tuple(hidden)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> Rows[Row]: ...

    def __getitem__(self, place: Union[int, slice]) -> Union[Row, Rows[Row]]:
        if isinstance(place, slice):
            return Rows(self.columns, self._rows[place], self._hidden)
        return self._rows[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and self.columns == other.columns and self._rows == other._rows

    __hash__ = None  # type: ignore[assignment]

    def table(self) -> pandas.DataFrame:
        """The rows as a table of pandas.

        Raises `MissingPackageError` where pandas is not installed; the rows themselves need nothing.
        """
        try:
            import pandas
        except ImportError:
            raise MissingPackageError(
                "a table needs pandas: pip install pandas; without it, go over the rows"
            ) from None
        return pandas.DataFrame(self._rows, columns=list(self.columns))

    def __repr__(self) -> str:
        columns, rows = self._shown(_TEXT_ROWS)
        lines = [columns, *([words(value) for value in row] for row in rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
        text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
        if len(self._rows) > _TEXT_ROWS:
            text.append(f"... {counted(len(self._rows), 'row')}")
        return "\n".join(text)

    def _repr_html_(self) -> str:
        more = len(self._rows) - _SHOWN
        return html_table(*self._shown(_SHOWN)) + (f"<p>and {counted(more, 'more row')}</p>" if more > 0 else "")

    def _shown(self, most: int) -> Tuple[List[str], List[List[object]]]:
        """The columns and the rows that are shown."""
        places = [place for place, name in enumerate(self.columns) if name not in self._hidden]
        return [self.columns[place] for place in places], [[row[p] for p in places] for row in self._rows[:most]]


def words(value: object) -> str:
    """A value as a reader of a table wants it: numbers short, None as nothing, several by comma.

    >>> words(None), words(0.123456), words((8.0, 8.0)), words(["a", "b"])
    ('', '0.123', '8, 8', 'a, b')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.1f}"
    if isinstance(value, (list, tuple)) and type(value).__str__ is object.__str__:
        return ", ".join(map(words, value))
    return str(value)


def html_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """HTML of a table; what comes from a run is text and nothing else."""
    head = "".join(f'<th style="text-align:left">{escape(column)}</th>' for column in columns)
    body = []
    for row in rows:
        cells = []
        for value in row:
            side = "right" if isinstance(value, (int, float)) and not isinstance(value, bool) else "left"
            cells.append(f'<td style="text-align:{side}">{escape(words(value))}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"

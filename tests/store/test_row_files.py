"""Rows as files: what each format holds, and what is refused."""

import csv
import json
import math
from pathlib import Path
from typing import List, NamedTuple, Optional, Tuple

import numpy as np
import pytest
from numpy.typing import NDArray

from featscope.errors import BadArrayError, BadOptionError, MissingPackageError, OutputError
from featscope.store.column_types import ColumnType, annotated, column_types, common, type_of
from featscope.store.row_files import check_row_file, part_of, write_rows
from featscope.store.tables import Rows


class Thing(NamedTuple):
    name: str
    number: int
    score: float
    hit: Optional[bool]
    small: Optional[np.float32]
    vector: NDArray[np.float32]
    box: List[float]


VECTOR = np.array([0.5, -1.0], np.float32)
THINGS = [
    Thing('a,"b"\nc', np.int64(3), np.float64(0.25), np.bool_(True), np.float32(0.1), VECTOR, [1.0, 2.0]),
    Thing("船\r", 4, float("nan"), None, None, VECTOR, []),
    Thing("", -1, float("inf"), False, np.float32(2), VECTOR, [0.5]),
]
ROWS = Rows(Thing._fields, THINGS)


def test_csv(tmp_path):
    assert write_rows(ROWS, tmp_path / "things.csv") == ("vector", "box")
    with open(tmp_path / "things.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    assert lines == [
        ["name", "number", "score", "hit", "small"],
        ['a,"b"\nc', "3", "0.25", "true", "0.1"],
        ["船\r", "4", "", "", ""],
        ["", "-1", "inf", "false", "2.0"],
    ]
    assert (tmp_path / "things.csv").read_bytes().endswith(b"2.0\n")


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_json(tmp_path, suffix):
    path = tmp_path / f"things{suffix}"
    assert write_rows(ROWS, path) == ()
    text = path.read_text(encoding="utf-8")
    found = json.loads(text) if suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    first = {"name": 'a,"b"\nc', "number": 3, "score": 0.25, "hit": True, "small": 0.1}
    assert found[0] == {**first, "vector": [0.5, -1.0], "box": [1.0, 2.0]}
    assert (found[1]["score"], found[1]["hit"], found[1]["box"]) == (None, None, [])
    assert found[2]["score"] is None  # JSON has no infinity


def test_no_rows(tmp_path):
    empty = Rows(Thing._fields, [])
    for suffix in (".csv", ".json", ".jsonl"):
        write_rows(empty, tmp_path / f"none{suffix}", kind=Thing)
    assert (tmp_path / "none.csv").read_text() == "name,number,score,hit,small\n"
    assert json.loads((tmp_path / "none.json").read_text()) == []
    assert (tmp_path / "none.jsonl").read_text() == ""


def test_parquet_has_the_annotated_types(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    write_rows(ROWS, tmp_path / "things.parquet")
    table = parquet.read_table(tmp_path / "things.parquet")
    assert table.schema.field("vector").type == pyarrow.list_(pyarrow.float32())
    assert table.column("score").to_pylist() == [0.25, None, math.inf]
    assert table.column("hit").to_pylist() == [True, None, False]
    assert table.column("name").to_pylist() == [thing.name for thing in THINGS]
    assert table.column("small").to_pylist() == [np.float32(0.1), None, 2.0]
    np.testing.assert_array_equal(table.column("vector").to_pylist()[1], VECTOR)


def test_parts_of_several_ranks_are_one_table(tmp_path):
    """Also one without rows, and one whose columns have no value."""
    pytest.importorskip("pyarrow")
    from pyarrow import dataset

    nothing = Thing("x", 0, 0.0, None, None, None, None)
    for rank, rows in enumerate((THINGS, [], [nothing])):
        write_rows(iter(rows), part_of(tmp_path / "things.parquet", rank), kind=Thing)
    table = dataset.dataset(tmp_path / "things.parquet").to_table()
    assert table.column("name").to_pylist() == [*(thing.name for thing in THINGS), "x"]


def test_without_pyarrow_an_error_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'featscope\[parquet\]'"):
        write_rows(ROWS, tmp_path / "things.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["things", "things.txt", "things.csv.gz"])
def test_an_unknown_suffix_is_refused(name):
    with pytest.raises(BadOptionError, match=r"\.csv, \.json, \.jsonl, \.parquet"):
        check_row_file(name)


def test_plain_tuples_have_the_types_of_their_values(tmp_path):
    rows = Rows(("a", "b", "c"), [(1, None, np.zeros(2, np.float32)), (2.5, "x", None)])
    assert write_rows(rows, tmp_path / "rows.csv") == ("c",)
    assert (tmp_path / "rows.csv").read_text() == "a,b\n1.0,\n2.5,x\n"


def test_a_generator_is_written_in_pieces(tmp_path):
    def things():
        for number in range(25_000):
            yield THINGS[1]._replace(name="y", number=number)

    write_rows(things(), tmp_path / "many.jsonl", kind=Thing)
    with open(tmp_path / "many.jsonl") as file:
        assert [json.loads(line)["number"] for line in file] == list(range(25_000))
    with pytest.raises(BadOptionError, match="give kind="):
        write_rows(things(), tmp_path / "many.jsonl")


def test_after_an_error_the_old_file_is_still_there(tmp_path):
    path = tmp_path / "things.csv"
    write_rows(ROWS, path)
    before = path.read_bytes()
    with pytest.raises(BadArrayError, match=r"'number' has a value that is no int: ValueError"):
        write_rows([THINGS[0]._replace(number=float("nan"))], path, kind=Thing)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["things.csv"]


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OutputError, match=r"folder\.csv"):
        write_rows(ROWS, tmp_path / "folder.csv")


def test_a_name_that_is_no_text_is_escaped(tmp_path):
    write_rows(Rows(("name",), [("harbour \udce4",)]), tmp_path / "a.jsonl")
    assert (tmp_path / "a.jsonl").read_text() == '{"name":"harbour \\\\udce4"}\n'


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (str, ColumnType("text")),
        (Path, ColumnType("text")),
        (bool, ColumnType("bool")),
        (Optional[int], ColumnType("int")),
        (Tuple[float, float], ColumnType("float", 1)),
        (List[List[int]], ColumnType("int", 2)),
        (NDArray[np.float32], ColumnType("float32", 1)),
        (Optional[NDArray[np.int64]], ColumnType("int", 1)),
        (Tuple[int, str], ColumnType("")),
        (object, ColumnType("")),
    ],
)
def test_annotations(hint, expected):
    assert annotated(hint) == expected


def test_types_of_values():
    assert type_of([]) == ColumnType("", 1)
    assert common(type_of([]), type_of([1])) == ColumnType("int", 1)
    assert common(type_of(1), type_of(np.float32(2))) == ColumnType("float")
    with pytest.raises(BadArrayError, match="the column 'a' holds both int and text"):
        column_types(["a"], None, {}, [(1,), ("x",)])
    with pytest.raises(BadArrayError, match="holds a dict"):
        type_of({})

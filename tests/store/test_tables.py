"""What a run holds, as rows, tables and named arrays, and as short texts."""

import numpy as np
import pytest

import featscope
from featscope.arrays.frames import to_original
from featscope.errors import BadOptionError, BadRunError, MissingPackageError, UnknownNameError
from featscope.records import Boxes, CapturedMap, Geometry, Place, RunInfo, Sample, Source
from featscope.store import tables
from featscope.store.tables import Rows
from featscope.store.writer import RunWriter

AXES = ("sample", "channel", "row", "column")
GEOMETRY = Geometry((120, 100), (60, 50), (64, 64), offset=(0, 10), flip="horizontal")


@pytest.fixture
def taken(tmp_path):
    """A run of a batch of two samples, and tokens of both."""
    writer = RunWriter(tmp_path / "taken", RunInfo(model="Toy", classes=["ship", "plane"]))
    boxes = Boxes("xyxy", [[1, 2, 30, 40], [5, 5, 9, 9]], [1, 7], [0.9, 0.4])
    cell = Source("cell", 5, 1, row=2, column=3)
    writer.put_sample(
        Sample("a", geometry=GEOMETRY, predictions=boxes, truth=boxes, sources=[[cell], [cell, cell]]), None
    )
    writer.put_sample(Sample("b", predictions=Boxes("xyxy", [[1, 2, 3, 4]], [0], [0.5])), None)
    array = np.arange(2 * 3 * 8 * 8, dtype=np.float32).reshape(2, 3, 8, 8)
    place = Place((8.0, 8.0), (3.5, 4.0), "operators")
    writer.put(CapturedMap("neck", "FPN", "", 1, 0, 0, ["a", "b"], "neck.fpn", AXES, place=place), array)
    tokens = CapturedMap("head", "Head", "q", 0, 0, 0, ["a", "b"], "head.q", ("sample", "token", "unknown"))
    writer.put(tokens, np.zeros((2, 5, 4), np.float16))
    writer.close()
    return featscope.open_run(tmp_path / "taken")


def test_a_row_for_each_map_of_each_image(taken):
    rows = taken.rows(layers=["neck"])
    assert [(row.sample, row.number, row.shape, row.stride_y, row.place) for row in rows] == [
        ("a", 0, (3, 8, 8), 8.0, "operators"),
        ("b", 1, (3, 8, 8), 8.0, "operators"),
    ]
    assert rows[0].file == "neck.fpn/batch_0_layer_1.npy"
    assert sum(row.bytes for row in taken.rows()) == sum(m.record.bytes for m in taken.maps)
    assert [row.sample for row in taken.rows(sample="b")] == ["b", "b"]
    (token, _) = taken.rows(layers=["head"])
    assert (token.shape, token.stride_y, token.place) == ((5, 4), None, "")


def test_a_table(taken):
    pandas = pytest.importorskip("pandas")
    table = taken.table()
    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns) == list(taken.rows().columns)
    assert table.groupby("layer").bytes.sum().to_dict() == {"head": 80, "neck": 1536}


def test_without_pandas_an_error_says_what_to_type(taken, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingPackageError, match="pip install pandas"):
        taken.table()


def test_without_xarray_an_error_says_what_to_type(taken, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "xarray", None)
    with pytest.raises(MissingPackageError, match="pip install xarray"):
        taken.maps[0].to_xarray()


def test_named_dimensions_with_the_places_of_cells(taken):
    pytest.importorskip("xarray")
    neck = next(m for m in taken.maps if m.record.layer == "neck")
    both = neck.to_xarray()
    assert both.dims == ("sample", "channel", "row", "column")
    assert list(both.sample.values) == ["a", "b"]
    assert both.input_y.values[:2].tolist() == [3.5, 11.5]
    assert "y" not in both.coords, "it differs by the sample"
    one = neck.to_xarray("a")
    assert one.dims == ("channel", "row", "column")
    assert (one.values == neck.load()[0]).all()
    point = [[one.input_x.values[2], one.input_y.values[1]] * 2]
    x, y, _, _ = to_original(np.array(point), GEOMETRY)[0]
    assert one.x.values[2] == pytest.approx(x)
    assert one.y.values[1] == pytest.approx(y)
    placed = one.swap_dims(row="y", column="x")
    assert placed.sel(x=x, y=y, method="nearest").values.tolist() == neck.load()[0, :, 1, 2].tolist()
    assert one.attrs["stride"] == (8.0, 8.0)
    assert one.attrs["place"] == "operators"
    other = neck.to_xarray("b")
    assert "input_x" in other.coords
    assert "x" not in other.coords, "nobody knows how that image lies in the input"
    with pytest.raises(BadOptionError, match="has a, b"):
        neck.to_xarray("c")
    (chosen,) = taken.choose(layers=["neck"], sample="b")
    assert (chosen.to_xarray().values == neck.load()[1]).all()


def test_an_assumed_place_is_no_coordinate(run):
    pytest.importorskip("xarray")
    found = featscope.open_run(run).maps[0].to_xarray()
    assert found.dims == ("channel", "row", "column")
    assert not {"x", "y", "input_x", "input_y"} & set(found.coords)
    assert found.attrs["place"] == "assumed"


def test_tokens_and_bare_files_have_dimensions_too(taken, tmp_path):
    pytest.importorskip("xarray")
    tokens = next(m for m in taken.maps if m.record.layer == "head").to_xarray()
    assert tokens.dims == ("sample", "token", "unknown")
    (tmp_path / "bare" / "x").mkdir(parents=True)
    np.save(tmp_path / "bare" / "x" / "a.npy", np.zeros((3, 4, 5)))
    assert featscope.open_run(tmp_path / "bare").maps[0].to_xarray().dims == ("channel", "row", "column")


def test_kept_channels_keep_their_numbers(tmp_path):
    pytest.importorskip("xarray")
    writer = RunWriter(tmp_path / "run", RunInfo())
    writer.put_sample(Sample("a"), None)
    captured = CapturedMap("neck", "FPN", "", 0, 0, 0, ["a"], "neck.fpn", AXES, channels=np.array([[7, 2]]))
    writer.put(captured, np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2))
    writer.close()
    found = featscope.open_run(tmp_path / "run").maps[0].to_xarray()
    assert found.sel(channel=2).values.tolist() == [[4, 5], [6, 7]]


def test_contents_are_what_list_prints(taken, tmp_path):
    row = next(row for row in taken.contents() if row.layer == "neck")
    assert (row.level, row.shape, row.stride, row.maps, row.place) == (1, "3 x 8 x 8", "8", 1, "operators")
    (tmp_path / "bare" / "x").mkdir(parents=True)
    np.save(tmp_path / "bare" / "x" / "a.npy", np.zeros((3, 4, 5)))
    bare = featscope.open_run(tmp_path / "bare")
    assert [(row.folder, row.shape, row.maps) for row in bare.contents()] == [("x", "3 x 4 x 5", 1)]
    assert [row.shape for row in bare.rows()] == [(3, 4, 5)]


def test_short_texts(taken, run):
    assert repr(taken) == f"<Run {taken.folder}: Toy, 2 maps in 2 folders, 2 samples>"
    assert "neck.fpn" in taken._repr_html_()
    assert repr(featscope.open_run(run).maps[1]) == (
        "<MapFile neck.fpn/batch_0_layer_1.npy: neck, level 1, 1 x 3 x 4 x 4 float32>"
    )
    assert repr(taken.samples["a"]) == "<Sample a: 120 x 100 pixels in an input of 64 x 64, 2 detections, 2 true boxes>"
    assert repr(Sample("x")) == "<Sample x>"
    assert repr(taken.samples["b"].predictions) == "<1 box of the form xyxy, in pixels of the original>"
    assert repr(featscope.check_run(taken)) == f"<Report of {taken.folder}: 2 maps, 0.0 MB, 2 samples, whole>"


def test_detections(taken):
    found = featscope.list_detections(taken)
    assert [(d.sample, d.number, d.label, d.score, d.state) for d in found] == [
        ("a", 0, "plane", 0.9, "one source"),
        ("a", 1, "7", 0.4, "a tie"),
        ("b", 0, "ship", 0.5, "not traced"),
    ]
    assert found[0].box == (1, 2, 30, 40)
    assert found[0].source == "level 1 row 2 column 3"
    assert found[1].source == "level 1 row 2 column 3 = level 1 row 2 column 3"
    assert found[0].sources[0].index == 5
    assert featscope.list_detections(str(taken.folder), "b")[0] == found[2]
    assert "sources" not in found._repr_html_()
    with pytest.raises(UnknownNameError, match="no sample 'c'"):
        featscope.list_detections(taken, "c")


def test_a_folder_of_arrays_has_no_detections(tmp_path):
    (tmp_path / "bare" / "x").mkdir(parents=True)
    np.save(tmp_path / "bare" / "x" / "a.npy", np.zeros((3, 4, 5)))
    with pytest.raises(BadRunError, match="featscope capture"):
        featscope.list_detections(tmp_path / "bare")


def test_rows_are_a_sequence(monkeypatch):
    rows = Rows(("name", "size"), [("a<b>", 1.0), ("c", 20.12345)])
    assert len(rows) == 2
    assert rows[-1] == ("c", 20.12345)
    assert rows[:1] == Rows(("name", "size"), [("a<b>", 1.0)])
    assert rows != rows[:1]
    assert repr(rows).splitlines() == ["name  size", "a<b>  1", "c     20.1"]
    assert "a&lt;b&gt;" in rows._repr_html_()
    monkeypatch.setattr(tables, "_SHOWN", 1)
    monkeypatch.setattr(tables, "_TEXT_ROWS", 1)
    assert "and 1 more row" in rows._repr_html_()
    assert repr(rows).endswith("... 2 rows")

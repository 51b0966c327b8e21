"""The objects of a run as rows, and as files that other programs read."""

import csv
import json

import numpy as np
import pytest

from featscope.analysis.object_tables import column_prefix, objects, summary, write_objects
from featscope.analysis.objects import MapName
from featscope.errors import BadOptionError, UnknownNameError
from featscope.records import Sample, Source
from tests.analysis.runs import boxes, bright_map, write_run

SHIPS = [(64, 64, 48, 32, 0, 0), (184, 104, 6, 6, 0, 1)]
FOUND = boxes((65, 64, 48, 32, 0, 0), (120, 200, 30, 30, 0, 1), scores=[0.9, 0.4])


@pytest.fixture
def run(tmp_path):
    maps = [("neck", level, 8 << level, {"a": bright_map(SHIPS, 8 << level)}) for level in (0, 1)]
    return write_run(tmp_path / "run", {"a": (boxes(*SHIPS, ignored=["", "difficult"]), FOUND)}, maps)


def test_rows(run):
    rows = objects(run)
    truth, small, hit, alarm = rows
    assert (truth.sample, truth.kind, truth.number, truth.label, truth.score) == ("a", "truth", 0, "ship", None)
    assert (truth.path, truth.width, truth.height) == ("/photos/a.png", 256, 256)
    assert (truth.match, hit.match, small.match, alarm.match) == (0, 0, None, None)
    assert truth.iou == hit.iou == pytest.approx(47 / 49)
    assert (truth.size, truth.size_input) == pytest.approx((np.sqrt(48 * 32), np.sqrt(48 * 32)))
    assert (truth.size_coco, truth.size_soda, small.size_soda) == ("medium", "normal", "extremely small")
    assert small.ignored == "difficult"
    assert (truth.x1, truth.y1, truth.x3, truth.y3) == (40, 48, 88, 80)
    assert truth.neck_0_cells == pytest.approx(24)
    assert (small.neck_0_unresolved, truth.neck_0_unresolved) == (True, False)
    assert truth.neck_0_features.shape == (4,)
    assert truth.neck_0_ratio > 3 > hit.neck_1_ratio > 1
    assert "neck_0_features" in rows.columns
    assert "features" not in repr(rows)


def test_without_features(run):
    assert not [name for name in objects(run, features=False).columns if name.endswith("features")]


def test_levels_and_layers(run):
    assert not [name for name in objects(run, level=1).columns if name.startswith("neck_0")]
    with pytest.raises(UnknownNameError):
        objects(run, ["nec"])


def test_files(run, tmp_path):
    written = write_objects(run, tmp_path / "o.csv")
    assert (written.images, written.truths, written.detections) == (1, 2, 2)
    assert written.left_out == ("neck_0_features", "neck_1_features")
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["ship", "plane", "ship", "plane"]
    assert rows[1]["match"] == ""
    assert float(rows[0]["neck_0_cells"]) == pytest.approx(24)
    write_objects(run, tmp_path / "o.jsonl", ["neck"], 0)
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert len(lines[0]["neck_0_features"]) == 4
    assert lines[0]["score"] is None
    with pytest.raises(BadOptionError, match=r"\.parquet"):
        write_objects(run, tmp_path / "o.txt")


def test_parquet(run, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_objects(run, tmp_path / "o.parquet")
    table = parquet.read_table(tmp_path / "o.parquet")
    assert table.num_rows == 4
    assert str(table.schema.field("neck_0_features").type) == "list<element: float>"
    assert str(table.schema.field("match").type) == "int64"


def test_sources(run, tmp_path):
    from featscope.analysis.object_tables import _source_columns

    cell = Source("cell", 7, 1, row=2, column=3)
    assert _source_columns([cell]) == ("cell", 1, 2, 3)
    assert _source_columns([cell, cell]) == ("tie", None, None, None)
    assert _source_columns([Source("query", 7)]) == ("query", None, None, None)
    assert _source_columns([]) == ("", None, None, None)
    assert Sample("a").sources == []


def test_summary(run):
    found = summary(run)
    assert [row.map for row in found.rows] == ["neck 0", "neck 1"]
    first = found.rows[0]
    assert (first.objects, first.unresolved) == (2, 1)
    assert first.ratio_found == pytest.approx(objects(run)[0].neck_0_ratio)
    assert first.ratio_missed == pytest.approx(objects(run)[1].neck_0_ratio)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        (MapName("neck", "", 0), "neck_0"),
        (MapName("bbox_head_refine.0", "cls_scores", 2), "bbox_head_refine_0_cls_scores_2"),
        (MapName("0.conv", "", 1), "layer_0_conv_1"),
        (MapName("", "", 0), "layer_0"),
        (MapName("/neck/Conv:0", "", 3), "layer_neck_Conv_0_3"),
    ],
)
def test_columns_have_names_that_every_program_takes(name, prefix):
    assert column_prefix(name) == prefix
    assert prefix.isidentifier()

"""`featscope list` as a user types it."""

import json

import numpy as np
import pytest

from featscope.records import Boxes, CapturedMap, Geometry, MeasuredPlace, Place, RunInfo, Sample
from featscope.store import index
from featscope.store.places import write_places
from featscope.store.reader import open_run
from featscope.store.writer import RunWriter

AXES = ("sample", "channel", "row", "column")


@pytest.fixture
def taken(tmp_path):
    """A run of 25 samples: a neck of two levels, a head of a list of heads, and tokens."""
    writer = RunWriter(tmp_path / "run", RunInfo(model="Toy"))
    for batch in range(25):
        name = f"P{batch:02d}"
        boxes = Boxes("xyxy", [[1, 1, 30, 30]] * (batch % 3), [0] * (batch % 3))
        geometry = Geometry((60, 40), (96, 64), (96, 64))
        writer.put_sample(Sample(name, name, batch, geometry, predictions=boxes, truth=boxes if batch else None), None)
        for level, stride in enumerate((8.0, 16.0)):
            place = Place((stride, stride), (0.0, 0.0), "operators")
            cells = (1, 4, int(96 // stride), int(64 // stride) - (batch % 2 if level else 0))
            found = CapturedMap("neck", "FPN", "", level, 0, batch, [name], "neck.fpn", AXES, place=place)
            writer.put(found, np.zeros(cells, np.float32))
        found = CapturedMap("head.0", "Head", "scores", 0, 0, batch, [name], "head.0.head.scores", ("sample", "token"))
        writer.put(found, np.zeros((1, 7), np.float32))
    writer.close()
    return tmp_path / "run"


def rows(text):
    return [line.split() for line in text.splitlines()]


@pytest.mark.parametrize("keep", [True, False])
def test_a_run(taken, featscope, monkeypatch, keep):
    monkeypatch.setattr(index, "_KEPT_FROM_BYTES", 0 if keep else 1 << 40)
    started = open_run(taken).info.started
    write_places(taken, started, [MeasuredPlace("neck", "", 1, (16.0, 16.0), (0.5, 0.5), (0.1, 0.1), 9, "gradient")])
    code, out, err = featscope("list", taken)
    assert (code, err) == (0, "")
    lines = rows(out)
    assert lines[0] == ["folder", "layer", "field", "level", "shape", "stride", "maps", "size", "place"]
    assert lines[1] == ["head.0.head.scores", "head.0", "scores", "0", "7", "25", "0.0", "MB", "not", "a", "map"]
    assert lines[2] == ["neck.fpn", "neck", "0", "4", "x", "12", "x", "8", "8", "25", "0.0", "MB", "operators"]
    assert lines[3] == ["1", "4", "x", "6", "x", "4,", "4", "x", "6", "x", "3", "16", "25", "0.0", "MB", "measured"]
    assert ["sample", "original", "input", "detections", "truth"] in lines
    assert ["P00", "60", "x", "40", "96", "x", "64", "0"] in lines, "nobody knows the truth of the first"
    assert ["P05", "60", "x", "40", "96", "x", "64", "2", "2"] in lines
    assert "P19" in out
    assert "P20" not in out
    assert "and 5 more samples: --all" in out
    assert out.splitlines()[-1] == "75 maps in 2 folders, 25 samples"
    run = open_run(taken)
    assert sum(form.bytes for form in run.index.forms()) == sum(map_file.record.bytes for map_file in run.maps) > 0
    out = featscope("list", taken, "--all")[1]
    assert "P24" in out
    assert "--all" not in out


def test_the_index_answers_and_no_line_is_read(taken, featscope, monkeypatch):
    monkeypatch.setattr(index, "_KEPT_FROM_BYTES", 0)
    open_run(taken)
    monkeypatch.setattr(index.RunIndex, "_map_file", None)
    assert "75 maps in 2 folders" in featscope("list", taken)[1]


def test_sizes_that_a_line_claims_are_not_believed_beyond_what_a_table_holds(taken, featscope):
    manifest = taken / "manifest-00000.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    lines[0]["bytes"] = 1 << 62
    lines[3]["bytes"] = 1 << 62
    lines[6]["bytes"] = -5
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert featscope("list", taken)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["-l", "neck"], 50),
        (["-l", "head"], 25),
        (["-l", "n*", "-l", "head.*"], 75),
        (["-l", "!neck"], 25),
        (["--level", "1"], 25),
        (["--sample", "P0?"], 30),
        (["-l", "neck", "--level", "0", "--sample", "P07"], 1),
    ],
)
def test_a_part_of_a_run(taken, featscope, arguments, count):
    code, out, _ = featscope("list", taken, *arguments)
    assert code == 0
    assert out.splitlines()[-1] == ("1 map" if count == 1 else f"{count} maps")
    assert len(out.splitlines()) == count + 2
    if count == 1:
        assert "neck.fpn/batch_7_layer_0.npy" in out
        assert "1 x 4 x 12 x 8" in out
    drawn = featscope("heat", taken, *arguments, "-o", taken.parent / "out", "--executor", "serial")
    assert drawn[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-l", "nekc"], "did you mean 'neck'"),
        (["-l", "neck", "-l", "!nothing"], "no layer '!nothing'"),
        (["--level", "7"], "has the levels 0, 1"),
        (["--sample", "Q*"], "no sample 'Q*'"),
    ],
)
@pytest.mark.parametrize("verb", ["list", "heat", "render"])
def test_what_is_not_there_is_named(taken, featscope, verb, arguments, message):
    code, _, err = featscope(verb, taken, *arguments)
    assert code == 1
    assert message in err


def test_a_folder_made_by_hand(tmp_path, featscope):
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "x.npy", np.zeros((1, 3, 500, 1000)))
    np.save(tmp_path / "a" / "y.npy", np.zeros((1, 3, 8, 4)))
    np.save(tmp_path / "z.npy", np.zeros((3, 4)))
    code, out, err = featscope("list", tmp_path)
    assert (code, err) == (0, "")
    assert rows(out)[1:3] == [
        [".", "3", "x", "4", "1", "0.0", "MB"],
        ["a", "1", "x", "3", "x", "500", "x", "1000,", "1", "x", "3", "x", "8", "x", "4", "2", "12.0", "MB"],
    ]
    assert out.splitlines()[-1] == "3 maps in 2 folders, 0 samples"
    (tmp_path / "a" / "x.npy").write_bytes(b"not numpy")
    code, out, err = featscope("list", tmp_path)
    assert code == 1
    assert "x.npy" in err
    code, _, err = featscope("list", tmp_path, "-l", "a")
    assert code == 1
    assert "has no manifest" in err


@pytest.mark.parametrize(
    "arguments", [["list"], ["heat"], ["render"], ["check"], ["explain"], ["explain", "--list"], ["place"]]
)
def test_a_folder_of_runs_says_which_they_are(taken, featscope, arguments):
    code, _, err = featscope(arguments[0], taken.parent, *arguments[1:])
    assert code == 1
    assert f"is not a run, but holds 1 run: {taken}" in err


def test_a_map_and_a_sample_are_one(tmp_path, featscope):
    writer = RunWriter(tmp_path / "run", RunInfo(model="Toy"))
    writer.put_sample(Sample("a", "a", 0), None)
    writer.put(CapturedMap("neck", "FPN", "", 0, 0, 0, ["a"], "neck.fpn", AXES), np.zeros((1, 2, 3, 3), np.float32))
    writer.close()
    assert "1 map in 1 folder, 1 sample\n" in featscope("list", tmp_path / "run")[1]
    assert ": 1 map, 0.0 MB, 1 sample, whole" in featscope("check", tmp_path / "run")[1]
    assert "1 picture of 1 map," in featscope("heat", tmp_path / "run", "--executor", "serial")[1]

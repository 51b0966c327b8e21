"""The verbs misses, objects and compare: what they print, what they write, and how they refuse."""

import csv
import io

import pytest
from typer.testing import CliRunner

from featscope.cli import app
from tests.analysis.runs import boxes, bright_map, write_run

OBJECTS = [(48, 48, 32, 32, 0, 0), (128, 48, 32, 32, 0, 0), (208, 48, 32, 32, 0, 1)]
FOUND = boxes(OBJECTS[0], OBJECTS[1], (40, 200, 20, 20, 0, 0), scores=[0.9, 0.8, 0.7])


def call(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "100", "TERM": "dumb"})


@pytest.fixture
def run(tmp_path):
    maps = {"a": bright_map(OBJECTS, 8)}
    return write_run(tmp_path / "run", {"a": (boxes(*OBJECTS), FOUND)}, [("neck", 0, 8, maps)])


def test_misses(run, tmp_path):
    done = call(
        "misses", run, "--score", 0.5, "--points", "0.85,0.1", "-o", tmp_path / "m.csv", "--alarms", tmp_path / "a.csv", "--errors",
        "--executor", "serial", "--evidence", tmp_path / "e.csv",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "at score at least 0.5 (given), IoU at least 0.5, matched by voc" in done.output
    assert "1 of 3 objects missed and 1 false alarm in 1 image, in" in done.output
    assert "false alarms: 1 background" in done.output
    assert "loss of AP" in done.output
    table = [line.split() for line in done.output.splitlines() if line.split()[:1] in (["0.1"], ["0.5"], ["0.85"])]
    assert [line[:4] for line in table] == [["0.1", "2", "1", "1"], ["0.5", "2", "1", "1"], ["0.85", "1", "2", "0"]]
    assert "missed" in done.output
    rows = [list(csv.DictReader(io.StringIO((tmp_path / name).read_text()))) for name in ("m.csv", "a.csv", "e.csv")]
    assert [(row["label"], row["number"]) for row in rows[0]] == [("plane", "2")]
    assert [(row["kind"], row["score"]) for row in rows[1]] == [("background", "0.7")]
    assert [(row["layer"], row["level"], row["number"], row["present"]) for row in rows[2]] == [("neck", "0", "2", "")]
    assert float(rows[2][0]["cells"]) > 1


def test_a_run_whose_model_is_gone_keeps_its_answers(run):
    done = call("misses", run, "--executor", "serial")
    assert done.exit_code == 0
    assert "its model cannot compute them again" in done.output


def test_weights_that_are_gone_are_named(tmp_path):
    gone = str(tmp_path / "weights" / "epoch_12.pth")
    run = write_run(tmp_path / "run", {"a": (boxes(*OBJECTS), FOUND)}, [], config="s2anet.py", checkpoint=gone)
    done = call("misses", run, "--executor", "serial")
    assert done.exit_code == 0
    text = " ".join(done.output.split())
    assert f"its weights are gone: {gone}" in text
    assert f"featscope misses {run} CHECKPOINT uses them" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--what-if", "nms:0.5"), "is not understood"),
        (("--what-if", "strictness=2"), "'strictness' cannot be changed; type one of nms, nms_pre, max, score"),
        (("--what-if", "nms=2"), "nms=2 is out of range"),
        (("-l", "nick"), "there is no layer 'nick'; did you mean 'neck'?"),
        (("--rule", "pascal"), "pascal"),
        (("--points", "0.1;0.2"), "is not understood"),
        (("-o", "misses.txt"), ".parquet"),
        (("--iou", "0"), "0"),
    ],
)
def test_wrong_values(run, arguments, words):
    done = call("misses", run, *arguments)
    assert done.exit_code != 0
    assert words in done.output + str(done.exception)


def test_objects(run, tmp_path):
    done = call("objects", run, "-o", tmp_path / "o.csv", "--executor", "serial")
    assert done.exit_code == 0, done.output
    assert "3 true boxes and 3 detections of 1 image, in" in done.output
    assert "CSV has no lists" in done.output
    done = call("objects", run, "--executor", "serial")
    assert "neck 0" in done.output
    assert "3 true boxes in 1 image" in done.output
    assert "ratio_missed" in done.output


def test_detections_are_not_called_objects_that_were_missed(tmp_path):
    maps = [("neck", 0, 8, {"a": bright_map(OBJECTS, 8), "b": bright_map([], 8)})]
    bare = write_run(tmp_path / "bare", {"a": (None, FOUND), "b": (None, FOUND)}, maps)
    done = call("objects", bare, "--executor", "serial")
    assert "ratio_missed" not in done.output
    assert "6 detections in 2 images" in done.output
    assert "has no ground truth, so these are its detections" in done.output
    empty = write_run(tmp_path / "empty", {"a": (boxes(), FOUND), "b": (None, FOUND)}, maps)
    done = call("objects", empty, "--executor", "serial")
    assert "0 true boxes in 2 images" in done.output, "labels that hold no object are labels"
    mixed = write_run(tmp_path / "mixed", {"a": (boxes(*OBJECTS), FOUND), "b": (None, FOUND)}, maps)
    assert "3 true boxes in 2 images" in call("objects", mixed, "--executor", "serial").output


def test_energy_without_an_interval_is_not_said_to_be_unchanged(tmp_path):
    runs = [write_run(tmp_path / name, {"a": (boxes(*OBJECTS), FOUND)}, [("neck", 0, 8, {"a": bright_map(OBJECTS, 8, value)})])
            for name, value in (("one", 5.0), ("two", 9.0))]  # fmt: skip
    done = call("compare", *runs, "--executor", "serial")
    assert done.exit_code == 0, done.output
    assert "by more than chance" not in done.output
    assert "neck 0" in done.output


def test_compare(run, tmp_path):
    other = write_run(
        tmp_path / "other",
        {"a": (boxes(*OBJECTS), boxes(OBJECTS[0], OBJECTS[2], scores=[0.9, 0.8]))},
        [("neck", 0, 8, {"a": bright_map(OBJECTS, 8, 2.0, seed=3)})],
    )
    done = call("compare", run, other, "--score", 0.5, "-o", tmp_path / "c.csv", "--executor", "serial")
    assert done.exit_code == 0, done.output
    assert "B finds 2 of 3 objects, A 2: 1 gained, 1 lost (p = 1), in" in done.output
    assert "nan" not in done.output, "one image has no interval"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "c.csv").read_text())))
    assert [(row["label"], row["change"]) for row in rows] == [("ship", "lost"), ("plane", "gained")]


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<svg "), (".PNG", b"\x89PNG")])
def test_the_suffix_of_the_matrix_is_its_format(tmp_path, suffix, start):
    file = tmp_path / f"likeness{suffix}"
    maps = {name: bright_map(OBJECTS, 8, seed=place) for place, name in enumerate("abcdefgh")}
    run = write_run(tmp_path / "run", {name: (boxes(*OBJECTS), FOUND) for name in maps}, [("neck", 0, 8, maps)])
    done = call("compare", run, run, "--score", 0.5, "--matrix", file, "--executor", "serial")
    assert done.exit_code == 0, done.output
    assert file.read_bytes().startswith(start)


def test_a_matrix_that_cannot_be_drawn(run, tmp_path):
    bare = write_run(tmp_path / "bare", {"a": (boxes(*OBJECTS), FOUND)}, [])
    done = call("compare", bare, bare, "--score", 0.5, "--matrix", tmp_path / "a.svg", "--executor", "serial")
    assert done.exit_code == 0, done.output
    assert "a.svg was not drawn" in " ".join(done.output.split())
    assert not (tmp_path / "a.svg").exists()
    done = call("compare", tmp_path / "no run", bare, "--matrix", "a.pdf")
    assert done.exit_code != 0
    assert "type a name that ends in .png or .svg" in f"{done.output} {done.exception}"

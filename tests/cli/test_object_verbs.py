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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--what-if", "nms:0.5"), "is not understood"),
        (("--what-if", "strictness=2"), "a selection has no 'strictness' to change; it has nms, nms_pre, max, score"),
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

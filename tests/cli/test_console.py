"""What a terminal is given: names come from models, files and runs of others, and steer nothing."""

import json
import re

import numpy as np
import pytest

import featscope.cli
from featscope.cli import main
from featscope.cli.console import unfinished
from featscope.records import Boxes, CapturedMap, Geometry, RunInfo, Sample, Source, assumed_place
from featscope.store.writer import RunWriter

HOSTILE = "\x1b[2J\x1b]0;owned\x07[/bold][red]:ship:\r\x9b31m\u202e\n"
SHOWN = r"\x1b[2J\x1b]0;owned\x07[/bold][red]:ship:\r\x9b31m\u202e\n"


@pytest.fixture
def hostile(tmp_path):
    """A run of which every name steers a terminal."""
    writer = RunWriter(tmp_path / "run", RunInfo(model=HOSTILE, classes=[HOSTILE], config=f"onnx:{HOSTILE}"))
    boxes = Boxes("xyxy", [[1, 1, 30, 30]], [0], [0.9])
    geometry = Geometry((32, 32), (32, 32), (32, 32))
    source = [[Source("cell", 0, 0, 0, 0)]]
    writer.put_sample(Sample(HOSTILE, HOSTILE, 0, geometry, predictions=boxes, sources=source))
    place = assumed_place((32, 32), (4, 4))
    axes = ("sample", "token")
    for folder, known in (("maps", ("sample", "channel", "row", "column")), ("tokens", axes)):
        shape = (1, 2, 4, 4)[: max(2, len(known))]
        captured = CapturedMap(HOSTILE, HOSTILE, HOSTILE, 0, 0, 0, [HOSTILE], folder, known, place=place)
        writer.put(captured, np.zeros(shape, np.float32))
    writer.left_out = writer.readings = {HOSTILE: HOSTILE}
    writer.close()
    manifest = tmp_path / "run" / "manifest-00000.jsonl"
    line = json.loads(manifest.read_text().splitlines()[0])
    with open(manifest, "a") as file:  # and one that is not believed, whose name is in the error
        file.write(json.dumps({**line, "path": f"../{HOSTILE}.npy"}) + "\n")
    return tmp_path / "run"


@pytest.mark.parametrize("arguments", [
    ["list"], ["list", "--sample", "*"], ["list", "--sample", "no\x1b[2Jbody"], ["check"], ["heat", "--boxes"],
    ["heat", "--only", "no\x1b[2Jfolder"], ["heat", "-o", "no\x1b[2Jfolder"], ["render", "--titles"],
    ["explain", "--list"], ["explain", "--class", "no\x1b[2Jclass"], ["place"],
])  # fmt: skip
def test_no_name_steers_the_terminal(hostile, capfd, monkeypatch, arguments):
    monkeypatch.chdir(hostile.parent)
    with pytest.raises(SystemExit):
        main([arguments[0], str(hostile), *arguments[1:]])
    out, err = capfd.readouterr()
    printed = re.sub(r"[╭╮╰╯│─]", "", out + err)  # Typer's own frame around an option that means nothing
    steering = {c for c in printed if not c.isprintable()} - {"\n"}
    assert not steering
    if arguments[-1] in ("list", "check", "*", "--list"):
        assert SHOWN[:30] in printed, "a name is shown as it is, with its brackets"


def test_every_command_prints_by_what_makes_text_plain():
    from pathlib import Path

    for path in Path(featscope.cli.__file__).parent.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != "console.py":
            assert "rich.table" not in text, f"{path.name}: take the Table of featscope.cli.console"
            assert "rich.markup" not in text, path.name
        if path.name not in ("console.py", "__init__.py", "run.py", "demo.py", "explain.py"):
            assert "typer.echo" not in text, f"{path.name}: take `say` of featscope.cli.console"


def test_a_rank_is_asked_for_its_own_part_of_a_run(tmp_path):
    """One that ends first does not call the run unfinished because of the others."""
    first = RunWriter(tmp_path, RunInfo(model="Toy", ranks=2))
    first.begin()
    RunWriter(tmp_path, RunInfo(model="Toy", ranks=2), rank=1).close()
    assert unfinished(tmp_path, 1) == []
    assert "is unfinished" in unfinished(tmp_path, 0)[0]
    first.close()
    assert unfinished(tmp_path, 0) == []
    assert "nothing was stored" in unfinished(tmp_path, 2)[0]

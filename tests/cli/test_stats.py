"""`featscope stats` as a user types it."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from rich.text import Text

from featscope.analysis.statistics import statistics
from featscope.cli import stats
from featscope.records import CapturedMap, Geometry, Place, RunInfo, Sample
from featscope.store.writer import RunWriter

AXES = ("sample", "channel", "row", "column")


@pytest.fixture
def taken(tmp_path):
    """A run of three images: two levels behind a ReLU, of which one channel never fires."""
    writer = RunWriter(tmp_path / "run", RunInfo(model="Toy"))
    random = np.random.default_rng(0)
    for batch, name in enumerate(("harbour", "marina", "airfield")):
        writer.put_sample(Sample(name, batch=batch, geometry=Geometry((64, 64), (64, 64), (64, 64))), None)
        for level, stride in enumerate((4, 8)):
            place = Place((stride, stride), (stride / 2, stride / 2), "operators")
            array = np.maximum(random.normal(size=(1, 50, 64 // stride, 64 // stride)), 0).astype(np.float32)
            array[:, 7] = 0
            array[0, 3, 1, 1] = 9 + batch
            writer.put(CapturedMap("neck", "FPN", "", level, 0, batch, [name], "neck.fpn", AXES, place=place), array)
    writer.close()
    return tmp_path / "run"


def test_a_row_for_each_level(taken, featscope):
    code, out, err = featscope("stats", taken, "--executor", "serial")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert lines[0][:5] == ["folder", "level", "images", "channels", "cells"]
    assert lines[1][:5] == ["neck.fpn", "0", "3", "50", "768"]
    assert lines[2][:4] == ["1", "3", "50", "192"]
    assert lines[-1] == ["6", "maps", "in", "2", "levels"]
    assert "channels never fire on these images: neck.fpn level 0 (1 of 50), neck.fpn level 1 (1 of 50)" in err


def test_a_row_for_each_channel(taken, featscope):
    code, out, _ = featscope("stats", taken, "--level", 1, "-c", "3,7", "--executor", "serial")
    lines = [line.split() for line in out.splitlines()]
    assert (code, [line[:2] for line in lines[:3]]) == (0, [["folder", "level"], ["neck.fpn", "1"], ["1", "7"]])
    assert out.splitlines()[1].endswith("airfield, marina, harbour")
    assert "100 %" in out.splitlines()[2]
    assert "never" in out.splitlines()[2]


def test_a_long_table_says_how_to_see_all_of_it(taken, featscope, monkeypatch):
    monkeypatch.setattr(stats, "_SHOWN_ROWS", 40)
    _, out, _ = featscope("stats", taken, "-c", "all", "--executor", "serial")
    assert "and 60 more rows: write them to a file, with -o rows.csv" in out


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_tables_fit_in_the_terminal(taken, featscope, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    monkeypatch.setenv("TERM", "xterm")
    for more in ((), ("-c", "0-5")):
        _, out, _ = featscope("stats", taken, *more, "--executor", "serial")
        table = Text.from_ansi(out[: out.index("\n\n")]).plain.splitlines()
        assert max(map(len, table)) <= width
        assert len(table) == 3 if not more else len(table) <= 26
        assert ("median" in table[0]) == (width >= 120 and not more)


def test_files(taken, featscope, tmp_path):
    code, out, err = featscope("stats", taken, "-o", tmp_path / "a.csv", "--basis-file", tmp_path / "b.npz")
    assert (code, out.splitlines()[-1]) == (
        0,
        f"6 maps in 2 levels, written to {tmp_path / 'a.csv'} and {tmp_path / 'b.npz'}",
    )
    assert "CSV has no lists; write .json for them" in err
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 3
    featscope("stats", taken, "-c", "all", "-o", tmp_path / "a.json", "--executor", "serial")
    rows = json.loads((tmp_path / "a.json").read_text())
    assert (len(rows), rows[3]["samples"], rows[7]["never_fires"]) == (100, ["airfield", "marina", "harbour"], True)
    code, _, _ = featscope("heat", taken, "-r", "pca", "--basis", tmp_path / "b.npz", "-o", tmp_path / "h")
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "a.txt"], "type a name that ends in .csv, .json, .jsonl, .parquet"),
        (["-c", "some"], "'some' is not a choice of channels"),
        (["-l", "nekc"], "there is no layer 'nekc'; did you mean 'neck'?"),
        (["--no-covariance", "--basis-file", "b.npz"], "leave out --no-covariance"),
    ],
)
def test_what_is_refused(taken, featscope, arguments, said):
    code, _, err = featscope("stats", taken, *arguments, "--executor", "serial")
    assert code == 1
    assert said in err


def test_a_damaged_file_ends_with_an_exit_code(taken, featscope):
    damaged = taken / "neck.fpn" / "batch_1_layer_0.npy"
    damaged.write_bytes(b"")
    code, out, err = featscope("stats", taken, "--executor", "serial")
    assert code == 1
    assert f"{damaged} is not a .npy file" in err
    assert "5 maps in 2 levels; 1 failed, see above" in out


def test_a_plot(taken, featscope, tmp_path):
    for name in ("values.svg", "values.png"):
        code, out, _ = featscope("stats", taken, "--plot", tmp_path / name, "--executor", "serial")
        assert (code, out.splitlines()[-1]) == (0, f"6 maps in 2 levels, written to {tmp_path / name}")
    texts = [one.text for one in ElementTree.parse(tmp_path / "values.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert texts[:2] == ["Values of the maps", "run: 3 images"]
    assert {"neck.fpn", "level 0, 50 channels", "level 1, 50 channels"} <= set(texts)
    found = statistics(taken).layers
    for row in found:
        assert f"effective rank {row.effective_rank:.1f} of 50, 1 silent" in texts
        assert any(text.startswith(f"zeros {100 * row.zeros:.1f} %, median 0, p99 ") for text in texts)
    assert Image.open(tmp_path / "values.png").text["title"] == "Values of the maps"


def test_a_plot_of_another_format_is_refused_before_the_work(featscope, tmp_path):
    code, _, err = featscope("stats", tmp_path / "no run", "--plot", "values.pdf")
    assert code == 1
    assert "type a name that ends in .png or .svg" in err

"""`featscope explain` as a user types it, on the built-in detector."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from featscope.cli import main
from featscope.demo.scenes import draw_scene
from featscope.render.png import read_text

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A photo, and a run of it."""
    folder = tmp_path_factory.mktemp("explain")
    Image.fromarray(draw_scene(3).image).save(folder / "harbour.png")
    with pytest.raises(SystemExit) as left:
        main(["capture", "demo", "-i", str(folder / "harbour.png"), "-o", str(folder / "run"), "-l", "neck"])
    assert left.value.code == 0
    return folder


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return left.value.code, captured.out, captured.err


def test_every_detection_is_listed_with_its_source(place, capsys):
    code, out, _ = call(capsys, "explain", place / "run", "--list")
    assert code == 0
    rows = [line.split() for line in out.splitlines()[1:-1]]
    (sample,) = [json.loads(line) for line in (place / "run" / "samples-00000.jsonl").read_text().splitlines()]
    assert len(rows) == len(sample["predictions"]["boxes"]) > 10
    for number, (row, sources) in enumerate(zip(rows, sample["sources"])):
        (source,) = sources
        assert row[0] == "harbour"
        assert row[1] == str(number)
        place_words = ["level", str(source.get("level", 0)), "row", str(source.get("row", 0))]
        assert row[-6:-2] == place_words
        assert row[-1] == str(source.get("column", 0))
    assert f"{len(rows)} detections of 1 image: {len(rows)} one source" in out


def test_a_run_without_detections_has_nothing_to_explain(tmp_path, capsys):
    Image.new("RGB", (128, 96)).save(tmp_path / "black.png")
    call(
        capsys,
        "capture",
        "demo",
        "-i",
        tmp_path / "black.png",
        "-o",
        tmp_path / "run",
        "-l",
        "neck",
        "--score-threshold",
        1,
    )
    code, out, _ = call(capsys, "explain", tmp_path / "run", "--list")
    assert code == 0
    assert out.splitlines()[-1] == "0 detections of 1 image: there is nothing to explain"


def test_a_run_is_explained(place, capsys):
    code, out, err = call(capsys, "explain", place / "run", "--box", 2, "-m", "layercam", "-m", "odam")
    assert code == 0, err
    assert "2 maps of 1 box in 1 image," in out
    (picture,) = (place / "run" / "explain" / "harbour").glob("box_2_*_layercam_neck_level_*.png")
    text = read_text(picture)
    assert text["method"] == "layercam"
    assert text["source"].startswith("cell ")
    with Image.open(picture) as drawn, Image.open(place / "harbour.png") as image:
        assert drawn.size == image.size
    heat = np.load(picture.with_suffix(".npy"), allow_pickle=False)
    assert heat.dtype == np.float32
    assert heat.max() > 0
    (panel,) = picture.parent.glob("*_methods_*.png")
    assert read_text(panel)["methods"] == "layercam,odam"


@pytest.mark.parametrize(
    ("options", "panels"),
    [(["-m", "odam"], 0), (["-m", "odam", "--panel"], 1), (["-m", "odam", "-m", "layercam", "--no-panel"], 0)],
)
def test_a_panel_where_it_is_asked_for(options, panels, place, capsys, tmp_path):
    code, _, err = call(capsys, "explain", place / "run", "--box", 2, *options, "-o", tmp_path)
    assert code == 0, err
    assert len(list(tmp_path.glob("harbour/*_methods_*.png"))) == panels


def test_a_run_is_opened_as_it_was(place, capsys, tmp_path):
    """With the detector's own threshold box 30 would not exist, or be another one."""
    run = tmp_path / "run"
    call(capsys, "capture", "demo", "-i", place / "harbour.png", "-o", run, "-l", "neck", "--score-threshold", 0.02)
    assert json.loads((run / "run.json").read_text())["opened"] == {"score_threshold": 0.02}
    (sample,) = [json.loads(line) for line in (run / "samples-00000.jsonl").read_text().splitlines()]
    last = len(sample["predictions"]["boxes"]) - 1
    assert sample["predictions"]["scores"][last] < 0.3
    code, out, err = call(capsys, "explain", run, "--box", last)
    assert code == 0, err
    (picture,) = (run / "explain" / "harbour").glob(f"box_{last}_*.png")
    score = sample["predictions"]["scores"][last]
    assert read_text(picture)["box"].split()[2] == f"{score:.4f}"
    code, out, err = call(capsys, "explain", run, "--box", last, "--score-threshold", 0.3)
    assert code == 1
    assert f"box {last} of harbour is recorded as" in err


def test_a_box_that_differs_from_the_recorded_one_is_an_error(place, capsys):
    """Another model at the place of the run's: its box 1 is not the run's."""
    code, out, err = call(capsys, "explain", place / "run", "random", "--box", 1, "-o", place / "other")
    assert code == 1
    assert "box 1 of harbour is recorded as" in err
    assert "capture again" in err
    assert not (place / "other").exists()


def test_the_demos_own_run_is_explained(capsys, tmp_path, place):
    assert call(capsys, "demo", "-i", place / "harbour.png", "-o", tmp_path / "demo")[0] == 0
    code, out, err = call(capsys, "explain", tmp_path / "demo" / "run", "--box", 1, "-l", "bbox_head_refine.0")
    assert code == 0, err
    assert "1 map of 1 box " in out


OWN = """
import numpy as np, torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        act = nn.ReLU()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), act)
        self.deep = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), act)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.deep(self.stem(x)).mean((2, 3)))

def make():
    return Net()

def score(output):
    return output[1].exp()

def both(output):
    return output

def detect(pictures):
    return [([[500, 150, 560, 250]], [float(p[150:250, 500:560].mean()) / 255], [0]) for p in pictures]
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_own_net.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "my_own_net"
    sys.modules.pop("my_own_net", None)


def test_a_function_of_ones_own_models_output(own, place, capsys, tmp_path):
    code, out, err = call(
        capsys, "explain", f"{own}:make", "random", "-i", place / "harbour.png", "--input-size", 64, "-l", "stem",
        "--target", f"{own}:score", "-m", "hirescam", "-m", "ablation-cam", "-o", tmp_path / "why",
    )  # fmt: skip
    assert code == 0, err
    assert "2 maps of 1 target " in out
    heat = np.load(tmp_path / "why" / "harbour" / "target_hirescam_stem_level_0.npy")
    assert heat.shape == (32, 32)


def test_a_function_that_detects(own, place, capsys, tmp_path):
    code, out, err = call(
        capsys, "explain", "--predict", f"{own}:detect", "-i", place / "harbour.png", "--masks", 40,
        "-o", tmp_path / "why",
    )  # fmt: skip
    assert code == 0, err
    heat = np.load(tmp_path / "why" / "harbour" / "box_0_0_d-rise.npy")
    assert heat.shape == draw_scene(3).image.shape[:2]
    assert heat[150:250, 500:560].mean() > 2 * heat.mean()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{own}:make", "random", "-l", "stem"], "--target module:function"),
        (["{own}:make", "random", "--target", "{own}:score"], "type -l layer4"),
        (["{own}:make", "random", "-l", "stem", "--target", "{own}:both"], "a tensor (3,)"),
        (["{own}:make", "random", "-l", "stem", "--target", "{own}:none"], "has no attribute 'none'"),
        (["{own}:make", "random", "-l", "stem", "--target", "score"], "is not the name of a function"),
        (["--predict", "{own}:both"], "it must return the detections of each"),
        (["--predict", "{own}:detect", "-m", "layercam"], "layercam makes a map of a layer"),
        (["demo", "--predict", "{own}:detect"], "both name a detector"),
        ([], "name a run or a model"),
    ],
)
def test_bad_input_about_ones_own_is_one_clear_line(own, place, capsys, arguments, words):
    code, _, err = call(capsys, "explain", *(a.format(own=own) for a in arguments), "-i", place / "harbour.png")
    assert code == 1
    assert words in err
    assert "Traceback" not in err


def test_the_picture_is_bright_where_the_map_is_and_the_image_elsewhere(place, capsys, tmp_path):
    call(capsys, "explain", "demo", "-i", place / "harbour.png", "-o", tmp_path / "why", "--top", 1)
    (picture,) = (tmp_path / "why" / "harbour").glob("*.png")
    drawn = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    image = np.asarray(Image.open(place / "harbour.png").convert("RGB")).astype(int)
    heat = np.load(picture.with_suffix(".npy"))
    changed = np.abs(drawn - image).sum(2)
    assert (changed == 0).mean() > 0.8
    rows, columns = heat.shape
    far = np.kron(heat > 0.5 * heat.max(), np.ones((2, 2), bool))
    assert far.any()
    assert changed.max() > 100


@pytest.mark.slow
def test_faithfulness_is_a_table_a_file_and_a_plot(place, capsys, tmp_path):
    code, out, _ = call(
        capsys, "explain", "demo", "-i", place / "harbour.png", "-o", tmp_path / "why", "--top", 1,
        "-m", "hirescam", "-m", "eigen-cam", "--faithfulness",
    )  # fmt: skip
    assert code == 0
    assert "pointing" in out
    lines = (tmp_path / "why" / "faithfulness.csv").read_text().splitlines()
    means = {line.split(",")[0]: [float(v) for v in line.split(",")[2:]] for line in lines if ",all," in line}
    assert means["hirescam"][0] == means["eigen-cam"][0] == 1
    assert means["hirescam"][2] > means["eigen-cam"][2], "energy in the box"
    chart = np.asarray(Image.open(tmp_path / "why" / "faithfulness.png"))
    assert len(np.unique(chart.reshape(-1, 3), axis=0)) > 5


def test_an_image_without_detections(place, capsys, tmp_path):
    code, out, err = call(
        capsys, "explain", "demo", "-i", place / "harbour.png", "-o", tmp_path / "why", "--score-threshold", 0.99
    )
    assert code == 0, err
    assert "best raw score" in err
    assert list((tmp_path / "why" / "harbour").glob("best_raw_score_*.png"))


def test_a_broken_image_does_not_stop_the_others(place, capsys, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"no image")
    (tmp_path / "photos" / "b.png").write_bytes((place / "harbour.png").read_bytes())
    code, out, err = call(capsys, "explain", "demo", "-i", tmp_path / "photos", "-o", tmp_path / "why", "--top", 1)
    assert code == 1
    assert "a.png cannot be read" in err
    assert "1 map of 1 box " in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{run}", "-m", "gradcam"], "'grad-cam'"),
        (["{run}", "-l", "nekc"], "'neck'"),
        (["{run}", "--class", "plain"], "'plane'"),
        (["{run}", "--box", "400"], "no box 400"),
        (["{run}", "--side", "heigth"], "'height'"),
        (["{run}", "--side", "x", "-m", "d-rise"], "leave out d-rise"),
        (["{run}", "--sample", "nothing"], "no sample 'nothing'"),
        (["demo"], "give one"),
        (["demo", "--list"], "is not a run"),
        (["nothing"], "is not a model"),
        (["demo", "-i", "missing.png"], "does not exist"),
    ],
)
def test_bad_input_is_one_clear_line(place, capsys, arguments, words):
    code, _, err = call(capsys, "explain", *(a.format(run=place / "run") for a in arguments))
    assert code == 1
    assert words in err
    assert "Traceback" not in err

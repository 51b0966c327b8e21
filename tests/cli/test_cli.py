"""The commands as a user types them: pictures, closing lines, errors and exit codes."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import pixels
from PIL import Image

from featscope.cli import console, main


@pytest.fixture
def featscope(capsys):
    """Run a command; returns exit code, standard output and standard error."""

    def run(*arguments):
        code = 0
        try:
            main([str(a) for a in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def folder(tmp_path, random):
    """A folder of subfolders made by hand, with every shape and several dtypes."""
    root = tmp_path / "by hand 船"
    for name, array in {
        "neck.fpn/batch_0_layer_0": random.random((2, 5, 8, 6), np.float32),
        "neck.fpn/batch_0_layer_1": random.random((5, 8, 6)).astype(np.float16),
        "heads/cls_scores/batch_0_layer_0": random.integers(-9, 9, (8, 6)),
        "mask": random.random((1, 8, 6)) > 0.5,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / f"{name}.npy", array)
    return root


def _files(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.mark.parametrize("verb", ["demo", "layers", "capture", "run", "render", "heat", "explain", "place", "check"])
def test_help_shows_examples(featscope, verb):
    code, out, _ = featscope(verb, "--help")
    assert code == 0
    assert f"featscope {verb}" in out.split("Examples:")[1]


def test_render_and_heat_a_folder_made_by_hand(featscope, folder):
    code, out, err = featscope("render", folder)
    assert (code, err) == (0, "")
    assert "5 pictures of 4 maps" in out
    assert _files(folder / "render") == [
        "heads/cls_scores/batch_0_layer_0.png",
        "mask.png",
        "neck.fpn/batch_0_layer_0_0.png",
        "neck.fpn/batch_0_layer_0_1.png",
        "neck.fpn/batch_0_layer_1.png",
    ]
    code, out, _ = featscope("heat", folder, "--style", "jet", "--colormap", "gray")
    assert code == 0
    assert "5 pictures of 4 maps" in out
    array = np.load(folder / "neck.fpn" / "batch_0_layer_0.npy")[1].mean(0)
    expected = np.floor((array - array.min()) / np.ptp(array) * 255 + 0.5)
    drawn = pixels(folder / "heat" / "neck.fpn" / "batch_0_layer_0_1.png")[..., 0]
    assert np.abs(drawn - expected).max() <= 1


def test_heat_over_an_image_given_by_hand(featscope, folder, tmp_path):
    Image.fromarray(np.full((40, 30, 3), 50, np.uint8)).save(tmp_path / "photo.png")
    code, out, _ = featscope(
        "heat", folder, "-o", tmp_path / "out", "--under", tmp_path / "photo.png", "--style", "jet"
    )
    assert code == 0
    assert "10 pictures" in out
    assert pixels(tmp_path / "out" / "mask_overlay.png").shape == (40, 30, 3)
    assert not (folder / "heat").exists()


def test_a_run_with_its_image(featscope, run):
    code, out, _ = featscope("heat", run, "--no-legend")
    assert code == 0
    assert "4 pictures of 2 maps" in out
    assert pixels(run / "heat" / "neck.fpn" / "a_level0_overlay.png").shape == (20, 30, 3)
    assert pixels(run / "heat" / "neck.fpn" / "a_level1.png").shape == (20, 30, 3)
    assert featscope("check", run)[0] == 0


def test_levels_side_by_side_in_another_format_and_size(featscope, run):
    code, out, _ = featscope("heat", run, "--panel", "--format", "webp", "--max-size", "15")
    assert code == 0
    assert "1 picture of 2 maps" in out
    with Image.open(run / "heat" / "neck.fpn" / "a_levels.webp") as picture:
        assert picture.format == "WEBP"


def test_an_old_name_still_works_and_the_new_one_is_said(featscope, run, tmp_path):
    code, _, err = featscope("heat", run, "-o", tmp_path / "old", "--no-colorbar")
    assert code == 0
    assert "--no-colorbar is called --no-legend now" in err
    assert featscope("heat", run, "-o", tmp_path / "new", "--no-legend")[2] == ""
    for path in (tmp_path / "old").rglob("*.png"):
        np.testing.assert_array_equal(pixels(path), pixels(tmp_path / "new" / path.relative_to(tmp_path / "old")))


@pytest.mark.parametrize("verb", ["heat", "render"])
def test_a_long_drawing_says_what_it_will_come_to_and_is_refused_where_it_does_not_fit(
    featscope, run, verb, monkeypatch
):
    monkeypatch.setattr(console, "_LONG", 1)
    code, _, err = featscope(verb, run)
    assert code == 0
    assert re.search(r"about \d pictures, [\d.]+ .?B, 1 min on one core; .* has .* free", err)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 9))
    shutil.rmtree(run / verb)
    code, _, err = featscope(verb, run)
    assert code == 1
    assert "draw less: --max-size 1024" in err
    assert not list((run / verb).rglob("*.png"))


def test_an_image_given_for_a_run_keeps_the_runs_geometry(featscope, run, tmp_path):
    featscope("heat", run, "-o", tmp_path / "recorded")
    featscope("heat", run, "-o", tmp_path / "given", "--under", run.parent / "photo.png")
    name = "neck.fpn/a_level0_overlay.png"
    np.testing.assert_array_equal(pixels(tmp_path / "recorded" / name), pixels(tmp_path / "given" / name))


def test_an_image_that_is_gone_is_drawn_from_the_run(featscope, run):
    (run.parent / "photo.png").unlink()
    code, out, err = featscope("heat", run, "--no-legend")
    assert code == 0
    assert "4 pictures" in out
    assert "is gone" in err
    assert pixels(run / "heat" / "neck.fpn" / "a_level0_overlay.png").shape == (20, 30, 3)


def test_an_image_of_another_size_is_an_error_and_the_rest_is_drawn(featscope, run):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(run.parent / "photo.png")
    code, out, err = featscope("heat", run)
    assert code == 1
    assert "9 x 9, but its record says 20 x 30" in " ".join(err.split())
    assert "4 pictures" in out


BAD_ARRAYS = {
    "complex": np.zeros((2, 2), complex),
    "text": np.array([["a"]]),
    "1-D": np.zeros(3),
    "6-D": np.zeros((1, 1, 1, 1, 2, 2)),
    "size zero": np.zeros((1, 0, 2, 2)),
}


def _bad(path, kind):
    path.mkdir()
    if kind == "object":
        np.save(path / "x.npy", np.array([None]), allow_pickle=True)
    elif kind == "truncated":
        np.save(path / "x.npy", np.zeros((4, 4)))
        os.truncate(path / "x.npy", 160)
    elif kind == "empty":
        (path / "x.npy").write_bytes(b"")
    elif kind == "header":
        (path / "x.npy").write_bytes(b"not numpy at all")
    else:
        np.save(path / "x.npy", BAD_ARRAYS[kind])


@pytest.mark.parametrize("kind", ["object", "truncated", "empty", "header", *BAD_ARRAYS])
@pytest.mark.parametrize("verb", ["render", "heat", "check"])
def test_a_bad_file_is_named_and_the_rest_goes_on(featscope, folder, verb, kind):
    _bad(folder / "bad one", kind)
    code, out, err = featscope(verb, folder)
    assert code == 1
    assert "bad one/x.npy" in err.replace("\n", "")
    assert "1 failed" in out
    if verb != "check":
        assert "5 pictures" in out


def test_nan_and_constant_maps_are_said(featscope, tmp_path):
    (tmp_path / "a").mkdir()
    array = np.ones((2, 4, 4), np.float32)
    np.save(tmp_path / "a" / "flat.npy", array)
    array = array.copy()
    array[0, 0, 0], array[1, 1, 1] = np.nan, np.inf
    np.save(tmp_path / "a" / "holes.npy", array)
    code, _, err = featscope("heat", tmp_path)
    assert code == 0
    assert "1 cell is NaN (magenta)" in err
    assert "1 cell is infinite (green)" in err
    assert "constant" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["heat", "{folder}", "-r", "maen"], "did you mean 'mean'"),
        (["heat", "{folder}", "--colormap", "viridiss"], "viridis"),
        (["heat", "{folder}", "--range", "x"], "not a value range"),
        (["heat", "{folder}", "--style", "jett"], "'jet'"),
        (["heat", "{folder}", "--format", "gif"], "no picture format 'gif'"),
        (["render", "{folder}", "--format", "jpgg"], "'jpg'"),
        (["heat", "{folder}", "--basis", "image"], "'image' is not a basis"),
        (["heat", "{folder}", "--labels", "names"], "no kind of label 'names'"),
        (["heat", "{folder}", "--boxes"], "no record of boxes"),
        (["heat", "{folder}", "--under", "none.png"], "none.png does not exist"),
        (["heat", "{folder}", "--image", "none.png"], "none.png does not exist"),
        (["capture", "best.pt", "-o", "{folder}/run"], "type ultralytics:best.pt"),
        (["layers", "weights/best.pt"], "type ultralytics:weights/best.pt"),
        (["render", "{folder}", "--channels", "q"], "is not a choice of channels"),
        (["render", "{folder}", "--only", "neck.fpnn"], "'neck.fpn'"),
        (["render", "missing"], "does not exist"),
        (["layers", "nothing"], "is not a model"),
        (["layers", "demo", "-l", "nek"], "'neck'"),
        (["layers", "no_module:thing"], "no adapter or module"),
    ],
)
def test_bad_options_are_one_clear_line(featscope, folder, arguments, message):
    if "demo" in arguments:
        pytest.importorskip("torch")
    code, _, err = featscope(*[a.format(folder=folder) for a in arguments])
    assert code == 1
    assert "Traceback" not in err
    assert message in err


def test_an_empty_folder(featscope, tmp_path):
    code, _, err = featscope("render", tmp_path)
    assert code == 1
    assert "holds no .npy file" in err
    assert not (tmp_path / "render").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_folders_without_permission(featscope, folder, tmp_path):
    folder.chmod(0o500)
    code, _, err = featscope("render", folder)
    folder.chmod(0o700)
    assert code == 1
    assert "cannot make the folder" in err


def test_an_output_that_is_a_file(featscope, folder, tmp_path):
    (tmp_path / "taken").write_text("")
    code, _, err = featscope("render", folder, "-o", tmp_path / "taken")
    assert code == 1
    assert "cannot make the folder" in err


def test_nothing_is_written_outside(featscope, folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "render").mkdir()
    (folder / "render" / "neck.fpn").symlink_to(outside)
    code, _, err = featscope("render", folder)
    assert code == 1
    assert "leads out" in err
    assert list(outside.iterdir()) == []


def test_the_demo_from_end_to_end(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    command = [sys.executable, "-m", "featscope", "demo", "-o", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "87 maps of 3 images and 261 pictures" in done.stdout
    report = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert report.count('"map?') == 87
    assert len(list((tmp_path / "demo" / "run").rglob("*.png"))) == 261
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "already exists" in again.stderr


def test_the_demo_on_an_image_of_ones_own(featscope, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 200, 3), dtype=np.uint8)).save(tmp_path / "mine.jpg")
    code, out, _ = featscope("demo", "--image", tmp_path / "mine.jpg", "-o", tmp_path / "out")
    assert code == 0
    assert "29 maps of 1 image " in out
    assert (tmp_path / "out" / "run" / "heat" / "neck.fpn" / "mine_level0_overlay.png").is_file()


def test_layers_lists_fields_and_strides(featscope):
    pytest.importorskip("torch")
    code, out, _ = featscope("layers", "demo")
    assert code == 0
    assert "cls_scores" in out
    assert "1 x 3 x 48 x 64" in out
    assert "bbox_head_refine.0" in out


def test_an_interrupted_run_is_drawn_and_named_by_check(featscope, run):
    info = (run / "run.json").read_text()
    (run / "run.json").write_text(
        "\n".join(line for line in info.splitlines() if "finished" not in line).replace('",\n}', '"\n}')
    )
    code, out, err = featscope("check", run)
    assert code == 1
    assert "unfinished" in err
    assert featscope("heat", run)[0] == 0

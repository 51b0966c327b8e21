"""Names that lead elsewhere, or that file systems do not like: they round trip, or are refused, and stay inside."""

import json
import os

import numpy as np
import pytest

from featscope.errors import BadOptionError, FeatscopeError
from featscope.records import Boxes, CapturedMap, Geometry, RunInfo, Sample
from featscope.render.heat_plan import HeatOptions, plan_heat
from featscope.render.jobs import run_jobs
from featscope.render.mosaic_plan import MosaicOptions, plan_mosaics
from featscope.store.check import check_run
from featscope.store.files import check_folder_name, safe_name, well_formed
from featscope.store.reader import open_run
from featscope.store.writer import RunWriter

HOSTILE = [
    "../outside", "../../etc/passwd", "/absolute", "C:\\windows", "con", "NUL.txt", "lpt1", "x" * 300, "船" * 150,
    "new\nline", "nul\x00byte", "\u202eright to left", "船 一", "", ".", "..", ".hidden", "trailing.", "trailing ",
    "%2F", "a/b/../c", "\\\\server\\share", "~root", "$HOME", "-rf", "inputs", "tab\tname", "🛰", "e\u0301",
    "\x1b[2J\x1b]0;title\x07", "[/bold][red]", ":ship:", "<script>alert(1)</script>", "'\" onload='alert(1)", "byte \udce4",
]  # fmt: skip


def _plans(run):
    """All that writes a name: into pictures, beside them, and into their text."""
    boxed = HeatOptions(predictions=bool(run.samples), min_score=0.0)
    titled = MosaicOptions(titles=True, numbers=True)
    return {"heat": plan_heat(run, run.maps, boxed), "render": plan_mosaics(run, run.maps, titled)}


def _around(folder):
    """All that lies around a folder, and not in it."""
    return {p: p.stat().st_mtime_ns for p in folder.parent.rglob("*") if folder not in (p, *p.parents)}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_sample_of_any_name(tmp_path, name):
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "neighbour").write_text("untouched")
    folder = tmp_path / "place" / "run"
    before = _around(folder)
    writer = RunWriter(folder, RunInfo())
    writer.put_sample(Sample(name, path=name), np.zeros((4, 4, 3), np.uint8))
    writer.put_sample(Sample("other"))
    writer.put(CapturedMap("neck", "FPN", "", 0, 0, 0, [name, "other"], "neck.fpn"), np.zeros((2, 1, 2, 2), "f4"))
    writer.close()
    run, name = open_run(folder), well_formed(name)
    assert run.samples[name].id == name
    assert run.maps[0].samples[0].id == name
    assert check_run(folder).problems == []
    for kind, plan in _plans(run).items():
        outcome = run_jobs(run.maps, plan, folder / kind)
        assert (outcome.pictures, outcome.errors) == (2, [])
    assert _around(folder) == before


@pytest.mark.parametrize("name", HOSTILE)
def test_a_layer_of_any_name(tmp_path, name):
    """Layers and fields are named by the model: what a file system cannot hold is written another way."""
    folder = tmp_path / "place" / "run"
    (tmp_path / "place").mkdir()
    before = _around(folder)
    writer = RunWriter(folder, RunInfo())
    writer.put(CapturedMap(name, "Cls", name, 0, 0, 0, [], safe_name(f"{name}.cls.{name}")), np.zeros((1, 1, 2, 2)))
    writer.close()
    run, name = open_run(folder), well_formed(name)
    (stored,) = run.maps
    assert (stored.record.layer, stored.record.field) == (name, name)
    assert stored.load().shape == (1, 1, 2, 2)
    assert folder in stored.path.resolve().parents
    for kind, plan in _plans(run).items():
        outcome = run_jobs(run.maps, plan, folder / kind)
        assert (outcome.pictures, outcome.errors) == (1, [])
    assert _around(folder) == before


@pytest.mark.parametrize("name", HOSTILE)
def test_a_class_of_any_name(tmp_path, name):
    """It is written beside its box, and into the run's own file."""
    folder = tmp_path / "run"
    writer = RunWriter(folder, RunInfo(classes=[name], command=["featscope", name]))
    boxes = Boxes("xyxy", [[10, 90, 190, 190]], [0], [0.9])
    geometry = Geometry((200, 200), (200, 200), (200, 200))
    writer.put_sample(Sample("a", geometry=geometry, predictions=boxes), np.zeros((200, 200, 3), np.uint8))
    writer.put(CapturedMap("neck", "FPN", "", 0, 0, 0, ["a"], "neck.fpn"), np.zeros((1, 1, 2, 2), "f4"))
    writer.close()
    run = open_run(folder)
    assert run.info.classes == [well_formed(name)]
    assert run.info.command == ["featscope", well_formed(name)]
    outcome = run_jobs(run.maps, _plans(run)["heat"], folder / "heat")
    assert (outcome.pictures, outcome.errors) == (2, [])


@pytest.mark.parametrize("name", ["../outside", "/absolute", "a/b", "..", "", "nul\x00", "con", "x" * 300])
def test_a_folder_name_of_the_user_is_refused(name):
    with pytest.raises(BadOptionError, match="cannot name a folder"):
        check_folder_name(name)


def test_a_folder_named_by_a_sink_cannot_lead_out(tmp_path):
    writer = RunWriter(tmp_path / "run", RunInfo())
    with pytest.raises(FeatscopeError, match="leads out of the run"):
        writer.put(CapturedMap("x", "X", "", 0, 0, 0, [], "../outside"), np.zeros((1, 1, 2, 2)))
        writer.close()
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    "path", ["../secret.npy", "/secret.npy", "neck.fpn/../../secret.npy", "linked/secret.npy", "neck.fpn/link.npy", "a\x00b", "", ".."]
)  # fmt: skip
def test_a_manifest_cannot_read_outside(run, path):
    np.save(run.parent / "secret.npy", np.full((1, 1, 2, 2), 42.0))
    os.symlink(run.parent, run / "linked")
    os.symlink(run.parent / "secret.npy", run / "neck.fpn" / "link.npy")
    line = json.loads((run / "manifest-00000.jsonl").read_text().splitlines()[0])
    path = str(run.parent) + path if path.startswith("/") else path
    (run / "manifest-00000.jsonl").write_text(json.dumps({**line, "path": path}) + "\n")
    opened = open_run(run)
    loaded = []
    for stored in opened.maps:
        with pytest.raises(FeatscopeError):
            loaded.append(stored.load())
    assert loaded == []
    assert check_run(run).problems


def test_an_input_cannot_be_read_outside(run):
    """The picture of a sample is a path in a record too."""
    (run.parent / "photo.png").rename(run.parent / "moved.png")
    text = (run / "samples-00000.jsonl").read_text().replace("inputs/0_a.jpg", "../moved.png")
    (run / "samples-00000.jsonl").write_text(text)
    opened = open_run(run)
    outcome = run_jobs(opened.maps, plan_heat(opened, opened.maps, HeatOptions()), run / "heat")
    assert any("leads out of the run" in error for error in outcome.errors)


def test_pictures_of_a_linked_folder_stay_in_theirs(run, tmp_path):
    """The folder for pictures has a link where a map's folder should be."""
    (tmp_path / "outside").mkdir()
    (run / "heat").mkdir()
    os.symlink(tmp_path / "outside", run / "heat" / "neck.fpn")
    opened = open_run(run)
    outcome = run_jobs(opened.maps, plan_heat(opened, opened.maps, HeatOptions()), run / "heat")
    assert len(outcome.errors) == 2
    assert not list((tmp_path / "outside").iterdir())

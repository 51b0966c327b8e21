"""Candidates in a run: stored on request, counted, checked, and the same when they are computed again."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from PIL import Image

import featscope
from featscope.adapters import recomputing
from featscope.adapters.by_name import estimate
from featscope.adapters.feeding import capture_images
from featscope.adapters.opening import open_detector
from featscope.adapters.recomputing import candidates_again
from featscope.arrays.selecting import KEPT, select
from featscope.capturing import estimate as estimating
from featscope.cli.capture import run as capture_command
from featscope.cli.run import run as run_command
from featscope.demo.scenes import draw_scene
from featscope.errors import BadOptionError, BadRunError, CaptureError, FeatscopeWarning
from featscope.records import Policy, Written
from featscope.store.candidates import read_candidates
from featscope.store.check import check_run
from featscope.store.reader import open_run

STORING = Policy(candidates=True)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    scene = draw_scene(3).image
    for number, part in enumerate((scene[:300, :420], scene[60:360, 100:520])):
        Image.fromarray(part).save(folder / f"scene{number}.png")
    return sorted(folder.iterdir())


def captured(images, to, **options):
    return capture_images(open_detector("demo"), images, to, ["bbox_head_refine"], policy=STORING, **options)


@pytest.fixture(scope="module")
def stored(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored") / "run"
    return captured(images, folder), open_run(folder)


def test_they_are_stored_and_give_the_detections(stored):
    made, run = stored
    assert not made.remarks
    for sample in run.samples.values():
        outcome = select(read_candidates(run, sample))
        assert (outcome.stage == KEPT).sum() == len(sample.predictions.boxes) > 0
        assert sample.sources
    assert check_run(run).whole


def test_their_bytes_are_said(stored):
    made, run = stored
    files = sum(path.stat().st_size for path in (run.folder / "candidates").iterdir())
    assert files - 10_000 < made.written.candidates < files
    assert re.search(r", candidates, 0\.\d MB, in ", str(made.written))
    assert "candidates" not in str(Written(1, 1, 1, "x"))


def test_by_default_there_are_none(images, tmp_path):
    made = capture_images(open_detector("demo"), images[:1], tmp_path / "run", ["neck"])
    assert made.written.candidates == 0
    assert not (tmp_path / "run" / "candidates").exists()
    run = open_run(tmp_path / "run")
    assert read_candidates(run, run.samples["scene0"]) is None


def test_without_sources(images, tmp_path):
    captured(images[:1], tmp_path / "run", provenance=False)
    run = open_run(tmp_path / "run")
    assert not run.samples["scene0"].sources
    assert read_candidates(run, run.samples["scene0"]).selection is not None


def test_samples_that_the_policy_leaves_out_have_none(images, tmp_path):
    policy = replace(STORING, every=2)
    capture_images(open_detector("demo"), images, tmp_path / "run", ["neck"], policy=policy, batch_size=2)
    assert [path.name for path in (tmp_path / "run" / "candidates").iterdir()] == ["0_scene0.npz"]


def test_a_resumed_run_has_them_all(stored, images, tmp_path):
    _, whole = stored
    captured(images[:1], tmp_path / "run")
    captured(images, tmp_path / "run", resume=True)
    run = open_run(tmp_path / "run")
    for name, sample in whole.samples.items():
        mine, theirs = read_candidates(run, run.samples[name]), read_candidates(whole, sample)
        np.testing.assert_array_equal(mine.levels[0].scores, theirs.levels[0].scores)
    with pytest.raises(BadRunError, match="its policy is"):
        capture_images(open_detector("demo"), images, tmp_path / "run", ["bbox_head_refine"], resume=True)


def test_a_run_of_objects_has_them_too(images, tmp_path):
    policy = replace(STORING, objects=True)
    capture_images(open_detector("demo"), images, tmp_path / "run", ["neck"], policy=policy)
    run = open_run(tmp_path / "run")
    assert all(read_candidates(run, sample) is not None for sample in run.samples.values())


def test_an_estimate_counts_them(stored, images):
    _, run = stored
    sizes = [estimate("demo", images[:1], "neck", policy={"candidates": wanted}).bytes for wanted in (False, True)]
    file = (run.folder / run.samples["scene0"].candidates).stat().st_size
    assert file - 5000 < sizes[1] - sizes[0] < file


def test_the_check_of_the_disk_counts_them(stored, images, tmp_path, monkeypatch):
    """After the first batch of a run."""
    asked = []
    monkeypatch.setattr(estimating, "refuse_what_does_not_fit", lambda footprint, *_: asked.append(footprint.bytes))
    captured(images, tmp_path / "run")
    _, run = stored
    file = (run.folder / run.samples["scene0"].candidates).stat().st_size
    maps = sum(one.record.bytes for one in run.maps if one.record.batch == 0)
    assert file - 5000 < asked[0] - maps < file


def test_a_model_without_candidates_is_refused_before_it_runs(images, tmp_path):
    class Untraceable(type(open_detector("demo"))):
        traceable = False

    detector = open_detector("demo")
    detector.__class__ = Untraceable
    with pytest.raises(BadOptionError, match="--candidates cannot be used with S2ANetMini"):
        capture_images(detector, images, tmp_path / "run", ["neck"], policy=STORING)
    assert not (tmp_path / "run").exists()


def test_a_plain_model_says_that_it_has_none(tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    told = "candidates could not be stored: the raw outputs behind some samples are not known"
    with pytest.warns(FeatscopeWarning, match=told), featscope.capture(
        model, to=tmp_path / "run", policy={"candidates": True}
    ):
        model(torch.zeros(1, 3, 8, 8))


def test_a_selection_that_gives_other_detections_is_not_stored(images, tmp_path, monkeypatch):
    """The framework may select in another way than featscope knows."""
    detector = open_detector("demo")
    wrong = replace(detector._selection, overlap=0.9)
    monkeypatch.setattr(type(detector), "_selection", wrong)
    with pytest.warns(FeatscopeWarning, match="is not known, first for 'scene0': it is not the one"):
        capture_images(detector, images, tmp_path / "run", ["neck"], policy=STORING)
    run = open_run(tmp_path / "run")
    found = read_candidates(run, run.samples["scene0"])
    assert found.selection is None
    assert "found that the detector did not keep" in found.unknown


def test_they_can_be_computed_again(stored):
    _, run = stored
    again = {sample.id: candidates for sample, candidates in candidates_again(run)}
    assert list(again) == ["scene0", "scene1"]
    for name, candidates in again.items():
        theirs = read_candidates(run, run.samples[name])
        assert candidates.selection == theirs.selection
        for mine, other in zip(candidates.levels, theirs.levels):
            np.testing.assert_array_equal(mine.scores, other.scores)
            np.testing.assert_array_equal(mine.boxes, other.boxes)
    assert [sample.id for sample, _ in candidates_again(run, "*1")] == ["scene1"]


def test_a_detection_that_is_not_found_again_is_an_error(stored, monkeypatch):
    _, run = stored
    sample = run.samples["scene1"]
    boxes = replace(sample.predictions, boxes=[[box[0] + 40, *box[1:]] for box in sample.predictions.boxes])
    pairs = [(one, Path(one.path)) for one in (run.samples["scene0"], replace(sample, predictions=boxes))]
    monkeypatch.setattr(recomputing, "images_of_run", lambda *_: pairs)
    found = candidates_again(run)
    assert next(found)[0].id == "scene0"
    with pytest.raises(CaptureError, match="box 0 of scene1 is recorded as"):
        next(found)


def test_both_commands_have_the_option():
    assert all("candidates" in command.__annotations__ for command in (capture_command, run_command))

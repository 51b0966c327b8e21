"""Causes that are made on the built-in detector: each must be named for the objects that it costs."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from featscope.adapters.feeding import capture_images  # noqa: E402 (needs torch)
from featscope.adapters.opening import open_detector  # noqa: E402
from featscope.analysis import stages  # noqa: E402
from featscope.analysis.misses import misses  # noqa: E402
from featscope.analysis.what_if import _kept  # noqa: E402
from featscope.arrays.selecting import select  # noqa: E402
from featscope.demo.scenes import draw_scene  # noqa: E402
from featscope.records import Boxes  # noqa: E402
from featscope.render.png import encode_rgb  # noqa: E402
from featscope.store.candidates import read_candidates  # noqa: E402
from featscope.store.reader import open_run  # noqa: E402

SCENES = 8
SCORE = 0.35


def capture(folder, layers, blank=()):
    """A run of some scenes, with candidates. blank: levels of the neck that are set to zero."""
    torch.set_num_threads(1)
    truth = {}
    for seed in range(300, 300 + SCENES):
        scene = draw_scene(seed)
        path = folder.parent / f"{seed}.png"
        path.write_bytes(encode_rgb(scene.image))
        truth[path] = Boxes("cxcywha", scene.boxes.tolist(), scene.labels.tolist())
    detector = open_detector("demo", score_threshold=0.05)

    def blanked(module, inputs, outputs):
        return type(outputs)(level * 0 if number in blank else level for number, level in enumerate(outputs))

    handle = detector.model.neck.register_forward_hook(blanked)
    capture_images(detector, list(truth), folder, layers, truth=truth, policy={"candidates": True})
    handle.remove()
    return open_run(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return capture(tmp_path_factory.mktemp("demo") / "run", ["neck"])


class Other:
    """The run, as its detector would have made it with another selection or other scores."""

    def __init__(self, run, selection=None, change=lambda candidates: candidates):
        self.run, self.selection, self.change = run, selection or {}, change

    def candidates(self, sample):
        found = self.change(read_candidates(self.run, self.run.samples[sample.id]))
        return replace(found, selection=msgspec.structs.replace(found.selection, **self.selection))

    def misses(self, monkeypatch):
        from featscope.analysis import labelled as module

        def samples(run, glob):
            made = []
            for sample in run.samples.values():
                own = self.candidates(sample)
                made.append(msgspec.structs.replace(sample, predictions=_kept(own, own.selection), sources=[]))
            return made

        monkeypatch.setattr(module, "samples_named", samples)
        return misses(self.run, SCORE, candidates=self.candidates, layers=["neck"])


def stages_of_new_misses(run, other, monkeypatch):
    before = {(row.sample, row.number) for row in misses(run, SCORE, layers=["neck"]).rows}
    return [row for row in other.misses(monkeypatch).rows if (row.sample, row.number) not in before]


def test_the_selection_repeats_the_detector(run):
    for sample in run.samples.values():
        candidates = read_candidates(run, sample)
        again = _kept(candidates, candidates.selection)
        assert again.labels == sample.predictions.labels
        assert np.allclose(again.boxes, sample.predictions.boxes, atol=0.01)


@pytest.mark.parametrize(
    ("selection", "stage"),
    [
        ({"threshold": 0.97}, stages.BELOW),
        ({"total": 2}, stages.CUT),
        ({"maximum": 2}, stages.OVER),
    ],
)
def test_a_selection_that_costs_objects_is_named(run, monkeypatch, selection, stage):
    new = stages_of_new_misses(run, Other(run, selection), monkeypatch)
    assert len(new) > 20
    assert np.mean([row.stage == stage for row in new]) >= 0.95


def test_a_worse_box_on_each_object(run, monkeypatch):
    """Its score leads, so it suppresses the good one; it covers two fifths of the object, which is too little."""

    def leading(candidates, truth):
        first = candidates.levels[0]
        scores, boxes = first.scores.copy(), first.boxes.copy()
        for cell, (box, label) in zip(np.argsort(scores.max(1)), zip(truth.boxes, truth.labels)):
            scores[cell, label] = 0.999
            boxes[cell] = [*box[:2], 0.4 * box[2], *box[3:]]
        levels = (replace(first, scores=scores, boxes=boxes), *candidates.levels[1:])
        return replace(candidates, levels=tuple(replace(level, compared=None) for level in levels))

    other = Other(run)
    monkeypatch.setattr(
        other,
        "candidates",
        lambda sample: leading(read_candidates(run, run.samples[sample.id]), run.samples[sample.id].truth),
    )
    new = stages_of_new_misses(run, other, monkeypatch)
    assert len(new) > 50
    assert np.mean([(row.stage, row.by) == (stages.SUPPRESSED, stages.WORSE_BOX) for row in new]) >= 0.95


def test_a_class_that_is_switched_off(run, monkeypatch):
    def off(candidates):
        levels = []
        for level in candidates.levels:
            scores = level.scores.copy()
            scores[:, 2] = 0
            levels.append(replace(level, scores=scores))
        return replace(candidates, levels=tuple(levels))

    new = stages_of_new_misses(run, Other(run, change=off), monkeypatch)
    assert len(new) > 10
    assert {row.label for row in new} == {"vehicle"}
    assert {row.stage for row in new} <= {stages.OTHER_CLASS, stages.BACKGROUND}


def test_a_level_that_is_blank_holds_no_object(run, tmp_path):
    blank = capture(tmp_path / "run", ["neck"], blank=[0])
    whole, found = misses(run, SCORE), misses(blank, SCORE)
    known = {(row.sample, row.number) for row in whole.rows}
    new = [row for row in found.rows if (row.sample, row.number) not in known]
    assert len(new) > 10, "vehicles are found in the finest level"
    at_blank = [row for row in found.findings.rows if row.level == 0]
    assert not any(row.present for row in at_blank)
    assert {row.reliable for row in found.findings.levels if row.level == 0} == {False}
    before = [row for row in whole.findings.seen if row.level == 0 and row.state == "found"]
    assert sum(row.present for row in before) > 0.8 * sum(row.known for row in before)
    assert select(read_candidates(blank, next(iter(blank.samples.values())))).level.min() > 0

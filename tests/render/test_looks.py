"""What a layer's maps are: proved by the run's own detections, or taken from a name, and said."""

import numpy as np
import pytest

from featscope.arrays.scores import sigmoid
from featscope.records import Boxes, CapturedMap, Geometry, Place, RunInfo, Sample, Source
from featscope.render.heat import STYLES, HeatStyle
from featscope.render.heat_plan import HeatOptions, plan_heat
from featscope.render.jobs import run_jobs
from featscope.render.looks import looks_of
from featscope.render.png import read_text
from featscope.store.reader import open_run
from featscope.store.writer import RunWriter

CLASSES = ["ship", "plane", "harbour"]
CELLS = [(0, 1, 2), (0, 3, 1), (0, 5, 5), (0, 6, 0), (0, 7, 7)]
"""Anchor, row and column of the sources."""


@pytest.fixture
def make(tmp_path):
    """make(score, fields) writes a run: score(maps, label, anchor, row, column) is that of its detections."""

    def write(score, fields, layer="head", sources=True):
        writer = RunWriter(tmp_path / "run", RunInfo(classes=CLASSES))
        labels = [number % 3 for number in range(len(CELLS))]
        scores = [float(score(fields, label, *cell)) for label, cell in zip(labels, CELLS)]
        found = Boxes("xyxy", [[0.0, 0.0, 8.0, 8.0]] * len(CELLS), labels, scores)
        known = [[Source("cell", 0, 0, row, column, anchor)] for anchor, row, column in CELLS] if sources else []
        writer.put_sample(
            Sample("a", geometry=Geometry((64, 64), (64, 64), (64, 64)), predictions=found, sources=known)
        )
        for field, array in fields.items():
            place = Place((8.0, 8.0), (4.0, 4.0), "operators")
            folder = f"{layer}.toy.{field}"
            one = CapturedMap(layer, "Toy", field, 0, 0, 0, ["a"], folder, place=place, axes=AXES)
            writer.put(one, array[None].astype(np.float32))
        writer.close()
        return open_run(tmp_path / "run")

    return write


AXES = ("sample", "channel", "row", "column")


def _normal(channels, seed=0):
    return np.random.default_rng(seed).normal(0, 2, (channels, 8, 8))


def _role(run, field):
    look = looks_of(run, STYLES["featscope"])[f"head.toy.{field}"]
    return look.scores


SCORES = {
    "sigmoid": (3, lambda f, label, a, r, c: sigmoid(f["out"][label, r, c])),
    "softmax": (4, lambda f, label, a, r, c: np.exp(f["out"][label, r, c]) / np.exp(f["out"][:, r, c]).sum()),
    "": (3, lambda f, label, a, r, c: f["out"][label, r, c]),
}


@pytest.mark.parametrize("activation", SCORES)
def test_the_detections_prove_how_scores_are_made_whatever_the_layers_name(make, activation):
    channels, score = SCORES[activation]
    out = _normal(channels) if activation else np.random.default_rng(0).random((channels, 8, 8))
    role = _role(make(score, {"out": out}), "out")
    assert (role.kind, role.activation, role.known) == ("class scores", activation, "detections")


@pytest.mark.parametrize("root", [False, True])
def test_what_the_head_multiplies_with_is_found(make, root):
    def score(fields, label, anchor, row, column):
        product = sigmoid(fields["out"][label, row, column]) * sigmoid(fields["objectness"][0, row, column])
        return np.sqrt(product) if root else product

    fields = {"out": _normal(3), "objectness": _normal(1, 1)}
    run = make(score, fields)
    role = _role(run, "out")
    assert (role.factor, role.root) == ("head.toy.objectness", root)
    map_file = next(m for m in run.maps if m.record.field == "out")
    expected = sigmoid(fields["out"].max(0)) * sigmoid(fields["objectness"][0])
    np.testing.assert_allclose(
        role.map_of(map_file, 0, map_file.load()[0]), np.sqrt(expected) if root else expected, rtol=1e-5
    )
    assert role.words == "highest class score after sigmoid, times objectness"


def test_one_detection_that_disagrees_is_enough_against_it(make):
    def score(fields, label, anchor, row, column):
        return sigmoid(fields["out"][label, row, column]) + (0.05 if row == 7 else 0)

    assert _role(make(score, {"out": _normal(3)}), "out") is None


@pytest.mark.parametrize(
    ("field", "channels", "kind", "activation"),
    [
        ("cls_scores", 3, "class scores", "sigmoid"),
        ("cls_scores", 4, "class scores", "softmax"),
        ("cls_logits", 6, "class scores", "sigmoid"),
        ("objectness", 1, "one score", "sigmoid"),
    ],
)
def test_without_proof_a_name_is_believed_and_this_is_said(make, field, channels, kind, activation):
    role = _role(make(lambda *_: 0.5, {field: _normal(channels)}, sources=False), field)
    assert (role.kind, role.activation, role.known) == (kind, activation, "name")
    assert role.words.endswith("(by the layer's name)")


@pytest.mark.parametrize("field", ["cls_feat", "bbox_preds", "cls_convs", "scores_of_nothing", "inclass_score"])
def test_other_names_are_no_scores(make, field):
    assert _role(make(lambda *_: 0.5, {field: _normal(4)}, sources=False), field) is None


def test_regressions_have_zero_in_the_middle_and_features_their_contrast(make):
    run = make(lambda *_: 0.5, {"bbox_preds": _normal(4), "feats": _normal(16)}, sources=False)
    looks = looks_of(run, STYLES["featscope"])
    boxes, features = looks["head.toy.bbox_preds"].style, looks["head.toy.feats"].style
    assert (boxes.reduce, boxes.range, boxes.zero) == ("mean", "symmetric:99", True)
    assert (features.reduce, features.range, features.zero) == ("contrast", "percentile:50:99", False)


def test_the_choice_is_one_for_all_levels_and_written_on_the_picture(make, tmp_path):
    run = make(SCORES["sigmoid"][1], {"out": _normal(3)})
    run_jobs(run.maps, plan_heat(run, run.maps, HeatOptions()), tmp_path / "heat")
    text = read_text(tmp_path / "heat" / "head.toy.out" / "a_level0.png")
    assert text["scores"] == "highest class score after sigmoid"
    low, high = map(float, text["range"].split())
    assert 0 <= low < high <= 1


def test_what_the_user_asks_for_is_drawn(make):
    run = make(SCORES["sigmoid"][1], {"out": _normal(3)})
    assert looks_of(run, STYLES["jet"]) == {}
    asked = looks_of(run, HeatStyle("max", "map", "gray"))
    assert asked == {}


def test_one_sample_is_drawn_as_it_is_among_all(make, tmp_path):
    """What a layer is does not depend on what is chosen of it."""
    run = make(SCORES["sigmoid"][1], {"out": _normal(3)})
    chosen = plan_heat(run, run.maps[:1], HeatOptions())
    assert chosen.looks == plan_heat(run, run.maps, HeatOptions()).looks


def test_maps_of_regions_are_not_taken_for_scores(make):
    """More rows than images: which of them is an image's is not known."""
    run = make(SCORES["sigmoid"][1], {"out": _normal(3)})
    path = run.maps[0].path
    np.save(path, np.repeat(np.load(path), 5, 0))
    assert _role(run, "out") is None


def test_some_stored_channels_are_not_all_classes(make):
    run = make(lambda *_: 0.5, {"cls_scores": _normal(4)}, sources=False)
    manifest = run.folder / "manifest-00000.jsonl"
    manifest.write_text(manifest.read_text().replace('"stride"', '"channels":[[0,1,2,3]],"stride"'))
    role = _role(open_run(run.folder), "cls_scores")
    assert (role.activation, role.classes) == ("sigmoid", 1), "four of many are not three and a background"

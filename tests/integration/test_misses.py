"""Misses and objects of real detectors on real images: S2ANet-tiny in MMRotate's test loop, and others by `-i`."""

import csv

import numpy as np
import pytest

from featscope.analysis.misses import misses
from featscope.analysis.objects import walk_objects
from featscope.analysis.stages import STAGES
from featscope.arrays.selecting import KEPT, select
from featscope.store.candidates import read_candidates
from featscope.store.reader import open_run

from .conftest import SHARED, featscope

TINY = SHARED / "models" / "s2anet_tiny.py"
WEIGHTS = SHARED / "models" / "s2anet_tiny.pth"
AERIAL = SHARED / "data" / "aerial" / "dota_devkit"
NATURAL = SHARED / "data" / "natural" / "coco8_train"


@pytest.fixture(scope="module")
def s2anet(mmrotate_root, tmp_path_factory):
    """Its own test loop, with objects in place of maps, and with all candidates."""
    folder = tmp_path_factory.mktemp("misses") / "run"
    featscope("capture", TINY, WEIGHTS, "-o", folder, "-l", "backbone", "-l", "neck", "--objects", "--candidates")
    return open_run(folder)


def test_the_selection_gives_the_detections_of_the_test_loop(s2anet):
    for sample in s2anet.samples.values():
        outcome = select(read_candidates(s2anet, sample))
        kept = outcome.stage == KEPT
        found = sample.predictions
        order = np.lexsort((found.labels, -np.array(found.scores)))
        ours = np.lexsort((outcome.label[kept], -outcome.score[kept]))
        assert kept.sum() == len(found.boxes) > 40
        assert outcome.label[kept][ours].tolist() == np.array(found.labels)[order].tolist()
        np.testing.assert_allclose(outcome.box[kept][ours], np.array(found.boxes)[order], atol=0.01)


def test_misses_of_s2anet(s2anet, tmp_path):
    found = misses(s2anet)
    stages = [row.stage for row in found.rows]
    assert len(stages) > 300
    assert set(stages) <= set(STAGES)
    assert stages.count("suppressed") > 0.2 * len(stages), "a third of its misses were found and suppressed"
    assert found.suppressors()[0][1] > 30
    out = featscope("misses", s2anet.folder, "--what-if", "nms=0.5", "-o", tmp_path / "misses.csv")
    assert "lost by the head" in out.stdout
    assert "with nms=0.5:" in out.stdout
    with (tmp_path / "misses.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(stages)


def test_objects_in_place_of_maps(s2anet):
    assert {row.layer for row in s2anet.contents()} == {"backbone", "neck"}
    for image in walk_objects(s2anet):
        assert len(image.maps) == 9
        assert not image.problems
        resolved = next(iter(image.maps.values())).cells >= 1
        assert np.isfinite(next(iter(image.maps.values())).features[resolved]).all()


def test_photos_with_labels_and_candidates_computed_again(tmp_path):
    """A two-stage detector with random weights: nothing is found, and that is said for each object."""
    pytest.importorskip("torchvision")
    model = ("torchvision:fasterrcnn_mobilenet_v3_large_320_fpn", "random")
    labels = next(path for path in (NATURAL / "annotations.json", NATURAL / "labels") if path.exists())
    featscope("capture", *model, "-i", NATURAL / "images", "-o", tmp_path / "run", "-l", "backbone", "--annotations",
              labels, "--score-threshold", "0.01", check=False)  # fmt: skip
    out = featscope("misses", tmp_path / "run")
    assert "objects missed" in out.stdout
    assert "cannot compute" not in out.stderr
    assert "lost by the head" in out.stdout

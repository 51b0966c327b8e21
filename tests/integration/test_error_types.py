"""The types of errors and their cost equal those of tidecv on upright boxes (pip install tidecv)."""

import numpy as np
import pytest

from featscope.analysis import evaluation
from featscope.analysis.error_types import KINDS, error_rows, find_errors, mean_average_precision
from featscope.records import Boxes

from .test_evaluation import random_images

SHORT = {
    "classification": "Cls",
    "localisation": "Loc",
    "both": "Both",
    "duplicate": "Dupe",
    "background": "Bkg",
    "missed": "Miss",
}


@pytest.fixture
def tidecv(monkeypatch):
    """The package. Its 101 points of recall are k / 100, those of pycocotools k * 0.01, which are not always equal."""
    monkeypatch.setitem(evaluation.POINTS, "coco", np.arange(101) / 100)
    return pytest.importorskip("tidecv", reason="needs tidecv")


def by_tidecv(tidecv, images, min_iou=0.5):
    data = pytest.importorskip("tidecv.data")
    true, found = data.Data("true", max_dets=10**6), data.Data("found", max_dets=10**6)
    for number, (detections, truth) in enumerate(images):
        true.add_image(number, str(number))
        for box, label, why in zip(truth.boxes, truth.labels, truth.ignored or [""] * len(truth.boxes)):
            add = true.add_ignore_region if why else true.add_ground_truth
            add(number, label, _sides(box))
        for box, label, score in zip(detections.boxes, detections.labels, detections.scores):
            found.add_detection(number, label, score, _sides(box))
    return tidecv.TIDE().evaluate(true, found, pos_threshold=min_iou, mode="bbox")


def _sides(box):
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def of_known_classes(images):
    """Without the detections of a class that has no object: tidecv counts its average precision as 0."""
    known = {
        label
        for _, truth in images
        for label, why in zip(truth.labels, truth.ignored or truth.labels)
        if why != "crowd"
    }
    made = []
    for found, truth in images:
        kept = [place for place, label in enumerate(found.labels) if label in known]
        boxes, labels, scores = ([some[place] for place in kept] for some in (found.boxes, found.labels, found.scores))
        made.append((Boxes("xyxy", boxes, labels, scores), truth))
    return made


def compare(run, errors):
    counts = {kind.short_name: number for kind, number in run.count_errors().items()}
    assert {SHORT[kind]: errors.number_of(kind) for kind in KINDS} == counts
    assert mean_average_precision(errors) == pytest.approx(run.ap / 100, abs=1e-9)
    costs = {kind.short_name: cost / 100 for kind, cost in run.fix_main_errors().items()}
    assert {SHORT[row.error]: row.loss for row in error_rows(errors, sizes="")[:6]} == pytest.approx(costs, abs=1e-9)
    return counts, costs


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("min_iou", [0.5, 0.7])
def test_random_boxes(tidecv, seed, min_iou):
    images = of_known_classes(list(random_images("xyxy", seed=seed)))
    counts, costs = compare(by_tidecv(tidecv, images, min_iou), find_errors(images, min_iou))
    assert min(counts.values()) > 0, "every type must occur"
    assert sum(cost > 0.001 for cost in costs.values()) >= 4


def test_random_boxes_by_size(tidecv):
    images = of_known_classes(list(random_images("xyxy")))
    run = by_tidecv(tidecv, images)
    rows = error_rows(find_errors(images))
    for name, qualifier in zip(("small", "medium", "large"), pytest.importorskip("tidecv.quantify").AREA):
        costs = {kind.short_name: cost / 100 for kind, cost in run.fix_main_errors(qual=qualifier).items()}
        found = {SHORT[row.error]: row.loss for row in rows if row.size == name}
        assert found == pytest.approx(costs, abs=1e-9)
        assert max(costs.values()) > 0


def test_crowds_are_left_out(tidecv):
    """The average precision is that of tidecv. It gives types to detections in crowds, which are none here."""
    images = of_known_classes(list(random_images("xyxy", ["crowd"])))
    run, errors = by_tidecv(tidecv, images), find_errors(images)
    assert mean_average_precision(errors) == pytest.approx(run.ap / 100, abs=1e-9)
    typed = [error.pred["used"] for error in run.errors if hasattr(error, "pred")]
    assert sum(errors.number_of(kind) for kind in KINDS if kind != "missed") == typed.count(False)
    assert None in typed

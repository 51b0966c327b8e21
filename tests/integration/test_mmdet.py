"""YOLOX-nano, which really detects: its resize and padding undone, its objects hot."""

import numpy as np
import pytest

from featscope.arrays.reduce import reduce
from featscope.render.geometry import place
from featscope.store.check import check_run
from featscope.store.reader import open_run

from .conftest import SHARED, featscope

WEIGHTS = SHARED / "models" / "yolox_nano_coco_mmdet.pth"
IMAGES = SHARED / "data" / "natural" / "coco_val"


@pytest.fixture(scope="module")
def captured(mmdet_root, tmp_path_factory):
    config = mmdet_root / ".mim" / "configs" / "yolox" / "yolox_nano_8xb8-300e_coco.py"
    folder = tmp_path_factory.mktemp("yolox") / "run"
    images = [IMAGES / f"{number:012d}.jpg" for number in (139, 285, 724)]
    options = [part for image in images for part in ("-i", image)]
    featscope("capture", config, WEIGHTS, *options, "-o", folder)
    return folder


def test_it_detects_what_is_there(captured):
    opened = open_run(captured)
    best = {}
    for name, sample in opened.samples.items():
        found = sample.predictions
        best[int(name)] = {opened.info.classes[n] for n, s in zip(found.labels, found.scores) if s > 0.5}
    assert {"tv", "chair", "person"} <= best[139]
    assert best[285] == {"bear"}
    assert "stop sign" in best[724]
    assert check_run(captured).problems == []


def test_resize_and_padding_are_undone(captured):
    geometry = open_run(captured).samples["000000000139"].geometry
    assert (geometry.original, geometry.resized, geometry.padded) == ((426, 640), (277, 416), (416, 416))


def test_the_score_of_a_class_peaks_in_its_box(captured):
    """The hottest pixel of the class map at a detection's level lies in its box, on the original image."""
    opened = open_run(captured)
    hits = 0
    for name, label in (("000000000285", "bear"), ("000000000724", "stop sign"), ("000000000139", "tv")):
        sample = opened.samples[name]
        number = opened.info.classes.index(label)
        x1, y1, x2, y2 = sample.predictions.boxes[sample.predictions.labels.index(number)]
        tops = []
        for stored in opened.maps:
            if stored.folder.endswith("cls_scores") and stored.samples[0].id == name:
                heat = np.ascontiguousarray(reduce(stored.load()[0], f"channel:{number}"), np.float32)
                placed = place(heat, sample.geometry.original, sample.geometry, stored.record.stride)
                y, x = np.unravel_index(placed.argmax(), placed.shape)
                tops.append((placed.max(), x, y))
        _, x, y = max(tops)
        hits += x1 <= x <= x2 and y1 <= y <= y2
    assert hits == 3

"""YOLOX-nano, which really detects: its resize and padding undone, its objects hot."""

import copy
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from featscope.arrays.geometry import place
from featscope.arrays.reduce import reduce
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


APIS = """
import sys
import cv2
from mmdet.apis import DetInferencer, inference_detector, init_detector

config, weights, way, *images = sys.argv[1:]
if way == "inferencer":
    DetInferencer(config, weights, device="cpu")(images, batch_size=2, no_save_vis=True, show=False)
else:
    model = init_detector(config, weights, device="cpu")
    inference_detector(model, images if way == "files" else [cv2.imread(image) for image in images])
print("the script ended well")
"""


@pytest.mark.parametrize("way", ["files", "arrays", "inferencer"])
def test_images_that_are_of_no_data_set(mmdet_root, tmp_path, way):
    """MMDetection gives them all the id 0; arrays have no path either."""
    script = tmp_path / "detect.py"
    script.write_text(APIS)
    config = mmdet_root / ".mim" / "configs" / "yolox" / "yolox_nano_8xb8-300e_coco.py"
    nano = tmp_path / "nano.py"
    nano.write_text(
        f"_base_ = {str(config)!r}\n"
        "test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(224, 224), keep_ratio=True),\n"
        "    dict(type='Pad', size=(224, 224), pad_val=dict(img=(114.0, 114.0, 114.0))),\n"
        "    dict(type='LoadAnnotations', with_bbox=True), dict(type='PackDetInputs', meta_keys=('img_id', 'img_path',\n"
        "        'ori_shape', 'img_shape', 'scale_factor'))]\n"
        "test_dataloader = dict(dataset=dict(pipeline=test_pipeline))\n"
    )
    (tmp_path / "more").mkdir()
    images = [IMAGES / "000000000139.jpg", IMAGES / "000000000285.jpg", tmp_path / "more" / "000000000139.jpg"]
    images[2].symlink_to(IMAGES / "000000000632.jpg")
    done = featscope("run", "-o", tmp_path / "run", "-l", "neck", "--", script, nano, WEIGHTS, way, *images)
    assert "the script ended well" in done.stdout
    opened = open_run(tmp_path / "run")
    ids = ["0", "1", "2"] if way == "arrays" else ["000000000139", "000000000285", "more_000000000139"]
    assert list(opened.samples) == ids
    assert [[sample.id for sample in m.samples] for m in opened.maps if m.record.level == 0] == (
        [ids[:2], ids[2:]] if way == "inferencer" else [[name] for name in ids]
    )
    for sample, size in zip(opened.samples.values(), [(426, 640), (640, 586), (483, 640)]):
        assert sample.geometry.original == size
        assert sample.geometry.padded == (224, 224)
        assert sample.truth is None
        assert len(sample.sources) == len(sample.predictions.boxes) > 0
        assert np.asarray(Image.open(tmp_path / "run" / sample.input)).shape[:2] == sample.geometry.resized


def test_a_head_that_is_listened_to_can_be_copied(mmdet_root):
    from featscope.adapters.mm.heads import candidates_of, head_calls
    from featscope.adapters.opening import open_detector

    config = mmdet_root / ".mim" / "configs" / "yolox" / "yolox_nano_8xb8-300e_coco.py"
    detector = open_detector(str(config), "random", score_threshold=0.0)
    head = detector.model.bbox_head
    method = type(head).predict_by_feat
    item = detector.prepare(IMAGES / "000000000139.jpg", "a")
    batch = {"inputs": [item.inputs["inputs"]], "data_samples": [item.inputs["data_samples"]]}
    with head_calls(detector.model) as outer, head_calls(detector.model) as inner:
        twin = pickle.loads(pickle.dumps(copy.deepcopy(detector.model)))
        with torch.no_grad():
            twin.test_step(batch)
        assert outer.last is None, "the copy is not listened to"
        with torch.no_grad():
            detector.model.test_step(batch)
            assert outer.last.head is inner.last.head is head
            assert len(candidates_of(inner.last, [None], [None])[0].levels) == 3
    assert type(head).predict_by_feat is method
    assert "predict_by_feat" not in vars(head)

"""Provenance and explanations of real detectors with real weights, on real images."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from featscope.adapters.feeding import capture_images, detect_and_trace
from featscope.adapters.opening import open_detector
from featscope.adapters.reopening import reopen
from featscope.arrays.found_again import differences
from featscope.arrays.selecting import SUPPRESSED, select
from featscope.errors import BadRunError
from featscope.explaining.explainer import explain_item
from featscope.explaining.faithfulness import inside_box, measure, table
from featscope.explaining.targets import Choice
from featscope.store.reader import open_run
from featscope.testing import AdapterContract, write_images

from .conftest import PROJECT, SHARED

AERIAL = SHARED / "data" / "aerial"
NATURAL = SHARED / "data" / "natural"


def config_of(name):
    mmdet = pytest.importorskip("mmdet")
    return str(Path(mmdet.__file__).parent / ".mim" / "configs" / name)


@lru_cache(maxsize=None)
def s2anet(threshold=None):
    pytest.importorskip("mmrotate")
    models = SHARED / "models"
    return open_detector(str(models / "s2anet_tiny.py"), str(models / "s2anet_tiny.pth"), score_threshold=threshold)


@lru_cache(maxsize=None)
def yolox(threshold=None):
    config = config_of("yolox/yolox_nano_8xb8-300e_coco.py")
    return open_detector(config, str(SHARED / "models" / "yolox_nano_coco_mmdet.pth"), score_threshold=threshold)


@lru_cache(maxsize=None)
def faster_rcnn():
    config = config_of("faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py")
    options = {"model.backbone.init_cfg": None}
    return open_detector(config, "random", config_options=options, score_threshold=0.001)


class TestS2ANet(AdapterContract):
    suppressed = 2000
    layers = ("backbone", "neck", "bbox_head_init", "bbox_head_refine")

    @staticmethod
    def open():
        return s2anet(0.02)

    def logit_place(self, detector, source, label, image):
        return detector.model.bbox_head_refine[0].retina_cls, source.level, (image, label, source.row, source.column)


class TestYOLOX(AdapterContract):
    clipped = False
    suppressed = 50
    layers = ("backbone", "neck", "bbox_head")

    @staticmethod
    def open():
        return yolox(0.001)

    def logit_place(self, detector, source, label, image):
        head = detector.model.bbox_head.multi_level_conv_cls[source.level]
        return head, 0, (image, label, source.row, source.column)


@pytest.mark.parametrize(
    ("name", "options", "suppressed"),
    [
        ("atss/atss_r50_fpn_1x_coco.py", {}, 1000),  # with a centerness
        ("faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", {}, 10_000),
        ("deformable_detr/deformable-detr_r50_16xb2-50e_coco.py", {}, 0),
        ("detr/detr_r50_8xb2-150e_coco.py", {}, 0),
    ],
)
def test_a_selection_gives_the_detections_of_mmdetection(name, options, suppressed, tmp_path):
    options = {"model.backbone.init_cfg": None, **options}
    detector = open_detector(config_of(name), "random", config_options=options, score_threshold=0.0)
    torch.manual_seed(0)
    for weight_name, weight in detector.model.named_parameters():
        if "head" in weight_name and "bias" in weight_name:
            weight.data += 0.5 * torch.randn_like(weight)
        elif "head" in weight_name and "cls" in weight_name:
            torch.nn.init.xavier_normal_(weight.data, 1.4) if weight.dim() > 1 else None
    item = detector.prepare(write_images(tmp_path)[0], "wide")
    with torch.no_grad():
        found = detector.detect([item], candidates=True)[0]
    outcome = select(found.candidates.arrays())
    assert differences(outcome, found.sample.predictions) == ""
    assert (outcome.stage == SUPPRESSED).sum() >= suppressed
    assert len(found.sample.predictions.boxes) == 100


def test_a_suppression_that_cannot_be_repeated_is_said(tmp_path):
    """Soft-NMS changes scores."""
    options = {"model.backbone.init_cfg": None, "model.test_cfg.nms": {"type": "soft_nms", "iou_threshold": 0.5}}
    detector = open_detector(config_of("retinanet/retinanet_r50_fpn_1x_coco.py"), "random", config_options=options)
    with torch.no_grad():
        found = detector.detect([detector.prepare(write_images(tmp_path)[0], "wide")], candidates=True)[0]
    assert found.candidates.selection is None
    assert "'soft_nms'" in found.candidates.unknown
    with pytest.raises(BadRunError, match="soft_nms"):
        select(found.candidates.arrays())


def images_of(*folders):
    return sorted(p for folder in folders for p in folder.rglob("*") if p.suffix in (".png", ".jpg"))


@pytest.mark.parametrize(
    ("make", "images"),
    [
        (s2anet, lambda: images_of(AERIAL / "dota_devkit", AERIAL / "dota8_train")),
        (yolox, lambda: images_of(NATURAL)),
        (faster_rcnn, lambda: images_of(NATURAL)[:4]),
    ],
    ids=["S2ANet", "YOLOX-nano", "Faster R-CNN"],
)
def test_detections_resolve_to_a_source(make, images):
    """At least 99.9 % to one source or a tie, in batches of two."""
    detector, paths = make(), images()
    assert paths
    found = lost = 0
    for start in range(0, len(paths), 2):
        items = [detector.prepare(path, path.stem) for path in paths[start : start + 2]]
        with torch.no_grad():
            for one in detect_and_trace(detector, items):
                found += len(one.sample.sources)
                lost += sum(not sources for sources in one.sample.sources)
    assert found >= 200
    assert lost <= 0.001 * found


def test_the_map_of_a_ship_lies_on_it_and_not_on_its_neighbour():
    detector = s2anet()
    item = detector.prepare(AERIAL / "dota_devkit" / "images" / "P0706.png", "P0706")
    found = explain_item(detector, item, "neck", ["layercam"], Choice(label="ship", top=8))
    assert len(found) == 8
    for explanation in found:
        assert detector.info.classes[explanation.target.label] == "ship"
        share = inside_box(explanation)
        assert share[np.unravel_index(explanation.heat.argmax(), explanation.heat.shape)] > 0
        mine = (explanation.heat * share).sum() / share.sum()
        for other in found:
            theirs = inside_box(other)
            if other is not explanation and not (theirs * share).any() and theirs.shape == share.shape:
                assert mine > 1.5 * (explanation.heat * theirs).sum() / theirs.sum()


def test_yolox_sees_what_it_names():
    detector = yolox()
    path = images_of(NATURAL / "coco_val")[0]
    item = detector.prepare(path, "room")
    found = explain_item(detector, item, "neck", ["layercam", "eigen-cam"], Choice(top=4))
    rows = {row[0]: row for row in table(list(measure(detector, item, found))) if row[1] == "all"}
    assert rows["layercam"][3] == 1.0, "every strongest cell lies in its box"
    assert rows["layercam"][4] > 2 * rows["eigen-cam"][4], "energy in the box"
    assert rows["layercam"][5] < rows["eigen-cam"][5], "deletion"


def test_d_rise_of_rotated_boxes():
    """The built-in detector is quick; S2ANet itself with few masks: what is not the ship may be hidden."""
    detector = s2anet()
    item = detector.prepare(AERIAL / "dota_devkit" / "images" / "P0706.png", "P0706")
    (found,) = explain_item(detector, item, "", ["d-rise"], Choice(label="ship", top=1), masks=24, batch_size=4)
    share = inside_box(found)
    assert (found.heat * share).sum() / share.sum() > 2 * found.heat.mean()


def test_one_side_of_a_rotated_box():
    detector = s2anet()
    item = detector.prepare(AERIAL / "dota_devkit" / "images" / "P0706.png", "P0706")
    for side in ("x", "angle"):
        (found,) = explain_item(detector, item, "neck", ["layercam"], Choice(label="ship", top=1), side)
        assert found.side == side
        share = inside_box(found)
        assert (found.heat * share).sum() / share.sum() > 10 * found.heat.mean()


def test_the_region_of_a_two_stage_detector():
    detector = faster_rcnn()
    item = detector.prepare(images_of(NATURAL / "coco_val")[0], "room")
    (found,) = explain_item(detector, item, "neck", ["hirescam"], Choice(top=1), on_error=print) or [None]
    if found is not None:
        assert found.target.source.kind == "roi"


def test_half_of_a_config(tmp_path):
    """Nothing is downloaded, and a checkpoint of another architecture is named."""
    from featscope.errors import CaptureError

    with pytest.raises(CaptureError, match="does not fit the model"):
        open_detector(str(SHARED / "models" / "s2anet_tiny.py"), str(SHARED / "models" / "yolox_nano_coco_mmdet.pth"))
    assert PROJECT.exists()


def test_a_tuple_of_the_config_is_one_again_when_a_run_is_opened(tmp_path):
    """mmcv takes no list for it, and run.json has no tuples."""
    pytest.importorskip("mmrotate")
    models = SHARED / "models"
    scale = {"test_dataloader.dataset.pipeline.1.scale": (256, 256)}
    detector = open_detector(str(models / "s2anet_tiny.py"), str(models / "s2anet_tiny.pth"), config_options=scale)
    capture_images(detector, [AERIAL / "dota_devkit" / "images" / "P0706.png"], tmp_path / "run", ["neck"])
    run = open_run(tmp_path / "run")
    again = reopen(run)
    assert again.prepare(Path(run.samples["P0706"].path), "P0706").sample.geometry.resized == (256, 241)

"""The sizes that torchvision's training assigns to levels, against its own code, and how they come to the disk."""

import copy

import pytest
import torch

from featscope.arrays.assigned import BY_SCORES, QUERIES
from featscope.testing import write_images

from .conftest import SHARED
from .squares import INPUT, SIDES, compare, middle_of, squares


def torchvision_model(name):
    """A detector that has run once, with the size of its input."""
    pytest.importorskip("torchvision")
    from torchvision.models import get_model

    model = get_model(name, weights=None, weights_backbone=None).eval()
    with torch.no_grad():
        batch = model.transform([torch.rand(3, 320, 320)])[0].tensors
        model([torch.rand(3, 320, 320)])
    return model, tuple(batch.shape[-2:])


def said_of(name):
    from featscope.adapters.torchvision.assigned import assigned_sizes

    model, size = torchvision_model(name)
    return model, size, assigned_sizes(model, size)


def levels_of(generator, side, strides):
    """The anchors (n, 4) of each level on an input of `side` pixels."""
    from torchvision.models.detection.image_list import ImageList

    maps = [torch.zeros(1, 1, -(-side // stride), -(-side // stride)) for stride in strides]
    anchors = generator(ImageList(torch.zeros(1, 3, side, side), [(side, side)]), maps)[0]
    counts = [one.shape[-1] * one.shape[-2] * number for one, number in zip(maps, generator.num_anchors_per_location())]
    return anchors.split(counts)


def test_fcos_of_torchvision():
    model, _, sizes = said_of("fcos_resnet50_fpn")
    assert [sizes.in_words(level) for level in (0, 1, 4)] == ["up to 128 px", "128 to 256 px", "above 1024 px"]
    anchors = levels_of(model.anchor_generator, INPUT, (8, 16, 32, 64, 128))
    counts = [len(level) for level in anchors]
    model.head.compute_loss = lambda targets, outputs, anchors, matched: matched[0]
    for level, boxes in enumerate(anchors):
        centre, index = middle_of((boxes[:, :2] + boxes[:, 2:]) / 2)
        trained = []
        for box in squares(centre, SIDES):
            truth = [{"boxes": box[None], "labels": torch.ones(1, dtype=torch.long)}]
            matched = model.compute_loss(truth, {}, [torch.cat(anchors)], counts)
            trained.append(int(matched.split(counts)[level][index]) == 0)
        compare(sizes, level, trained)


@pytest.mark.parametrize(
    ("name", "strides", "words"),
    [
        ("retinanet_resnet50_fpn", (8, 16, 32, 64, 128), "23 to 71 px"),
        ("ssd300_vgg16", (8, 16, 32, 64, 100, 300), "15 to 43 px"),
    ],
)
def test_anchors_of_torchvision(name, strides, words):
    from torchvision.models.detection._utils import Matcher
    from torchvision.ops import box_iou

    model, size, sizes = said_of(name)
    assert sizes.in_words(0) == words
    matcher = copy.copy(model.proposal_matcher)
    matcher.allow_low_quality_matches = False
    anchors = levels_of(model.anchor_generator, size[0] if "ssd" in name else INPUT, strides)
    assert len(anchors) == len(sizes.levels)
    for level, boxes in enumerate(anchors):
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        middle = centres[len(centres) // 2]
        trained = [
            bool((Matcher.__call__(matcher, box_iou(box[None], boxes)) >= 0).any()) for box in squares(middle, SIDES)
        ]
        compare(sizes, level, trained)


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_regions_of_torchvision(name):
    model, _, sizes = said_of(name)
    levels = model.roi_heads.box_roi_pool.map_levels([squares((1024.0, 1024.0), SIDES)]).numpy()
    for level in range(len(sizes.levels)):
        compare(sizes, level, levels == level)


# From a detector to its candidates


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("torchvision:fcos_resnet50_fpn", {"input_size": (256, 320)}, "up to 128 px"),
        ("torchvision:fasterrcnn_mobilenet_v3_large_320_fpn", {"input_size": (256, 320)}, "all sizes"),
        ("ultralytics:yolo11n.yaml", {"input_size": (160, 160)}, BY_SCORES),
        ("ultralytics:yolo11n-obb.yaml", {"input_size": (160, 160)}, BY_SCORES),
        ("ultralytics:yolo11n-pose.yaml", {"input_size": (160, 160)}, "featscope does not know how Pose assigns"),
        ("ultralytics:yolov8n-rtdetr.yaml", {"input_size": (160, 160)}, QUERIES),
        (str(SHARED / "models" / "s2anet_tiny.py"), {}, "anchors of 32 px"),
        ("demo", {}, "up to 28 px"),
    ],
)
def test_candidates_carry_it_to_the_disk(tmp_path, target, options, words):
    pytest.importorskip(target.partition(":")[0] if ":" in target else "mmrotate")
    from featscope.adapters.feeding import capture_images
    from featscope.adapters.opening import open_detector
    from featscope.store.candidates import read_candidates
    from featscope.store.reader import open_run

    detector = open_detector(target, "random", **options)
    capture_images(detector, write_images(tmp_path)[:1], tmp_path / "run", None, policy={"candidates": True})
    run = open_run(tmp_path / "run")
    (sample,) = run.samples.values()
    candidates = read_candidates(run, sample)
    assert candidates.assigned.in_words(0).startswith(words)
    if candidates.assigned.kind == "cell" and candidates.assigned.levels:
        assert len(candidates.assigned.levels) == len(candidates.levels)

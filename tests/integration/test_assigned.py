"""The sizes that a training assigns to levels, against the frameworks' own assigners: squares of many sizes are given
to them, and the level of what is trained on each is compared with what featscope says."""

import copy
import importlib
from pathlib import Path

import pytest
import torch

from featscope.arrays.assigned import BY_SCORES, QUERIES

from .squares import INPUT, SIDES, compare, middle_of, squares


def build(path, package="mmdet"):
    """A model of a config of a package, with random weights."""
    root = Path(pytest.importorskip(package, reason=f"needs {package}: see README").__file__).parent
    from mmengine.config import Config
    from mmengine.registry import MODELS

    importlib.import_module(f"{package}.utils").register_all_modules(init_default_scope=True)
    config = Config.fromfile(root / ".mim" / "configs" / path)
    config.model.backbone.init_cfg = None
    return MODELS.build(config.model)


def grids(head):
    return [(INPUT // stride[0], INPUT // stride[1]) for stride in head.prior_generator.strides]


def said(model, head, kind="cell"):
    from featscope.adapters.mm.assigned import assigned_sizes

    return assigned_sizes(head, kind, model)


@pytest.mark.parametrize("sampling", [False, True])
def test_fcos(sampling):
    from mmengine.structures import InstanceData

    model = build("fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py")
    head = model.bbox_head
    head.center_sampling = sampling
    sizes = said(model, head)
    assert [sizes.in_words(level) for level in (0, 1, 4)] == ["up to 128 px", "128 to 256 px", "above 1024 px"]
    points = head.prior_generator.grid_priors(grids(head), device="cpu")
    for level, places in enumerate(points):
        centre, index = middle_of(places)
        trained = []
        for box in squares(centre, SIDES):
            truth = InstanceData(bboxes=box[None], labels=torch.zeros(1, dtype=torch.long))
            labels, _ = head.get_targets(points, [truth])
            trained.append(int(labels[level][index]) == 0)
        compare(sizes, level, trained)


def by_anchors(head, sizes, boxes_of):
    """Compare with the assigner of a head. boxes_of: corners (n, 4) to boxes of the kind that it takes."""
    from mmengine.structures import InstanceData

    priors = head.prior_generator.grid_priors(grids(head), device="cpu")
    plain = copy.copy(head.assigner)
    plain.match_low_quality = False  # which gives what overlaps no anchor enough its best anchor in addition
    for level, anchors in enumerate(priors):
        whole = anchors.tensor if hasattr(anchors, "tensor") else anchors
        centres = whole[:, :2] if whole.shape[1] == 5 else (whole[:, :2] + whole[:, 2:]) / 2
        centre, _ = middle_of(centres)
        trained = []
        for box in squares(centre, SIDES):
            truth = InstanceData(bboxes=boxes_of(box[None]), labels=torch.zeros(1, dtype=torch.long))
            trained.append(bool((plain.assign(InstanceData(priors=anchors), truth).gt_inds > 0).any()))
        compare(sizes, level, trained)


@pytest.mark.parametrize(
    ("path", "name", "words"),
    [
        ("retinanet/retinanet_r50_fpn_1x_coco.py", "bbox_head", "23 to 72 px"),
        ("rpn/rpn_r50_fpn_1x_coco.py", "rpn_head", "27 to 38 px"),
    ],
)
def test_anchors(path, name, words):
    model = build(path)
    head = getattr(model, name, None) or model.bbox_head
    sizes = said(model, head)
    assert sizes.in_words(0) == words
    by_anchors(head, sizes, lambda corners: corners)


def test_anchors_without_a_training_are_only_anchors():
    model = build("retinanet/retinanet_r50_fpn_1x_coco.py")
    model.bbox_head.train_cfg = None
    del model.bbox_head.assigner
    assert said(model, model.bbox_head).in_words(0) == "anchors of 32 to 51 px"


def test_atss_has_no_fixed_overlap():
    model = build("atss/atss_r50_fpn_1x_coco.py")
    sizes = said(model, model.bbox_head)
    assert [sizes.in_words(level) for level in (0, 4)] == ["anchors of 64 px", "anchors of 1024 px"]
    anchors = model.bbox_head.prior_generator.grid_priors(grids(model.bbox_head), device="cpu")
    for (low, high), some in zip(sizes.levels, anchors):
        assert low == high == float(some[0, 2] - some[0, 0])


@pytest.mark.parametrize(
    "path", ["faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", "cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py"]
)
def test_regions(path):
    model = build(path)
    heads, readers = model.roi_head.bbox_head, model.roi_head.bbox_roi_extractor
    head, reader = (heads[-1], readers[-1]) if isinstance(heads, torch.nn.ModuleList) else (heads, readers)
    sizes = said(model, head, "roi")
    regions = torch.cat([torch.zeros(len(SIDES), 1), squares((1024.0, 1024.0), SIDES)], 1)
    levels = reader.map_roi_levels(regions, reader.num_inputs).numpy()
    assert [sizes.in_words(level) for level in (0, 3)] == ["up to 112 px", "above 448 px"]
    for level in range(4):
        compare(sizes, level, levels == level)


def test_yolox_assigns_by_the_scores():
    """The same object goes to the level whose cells score it."""
    from mmengine.structures import InstanceData

    model = build("yolox/yolox_tiny_8xb8-300e_coco.py")
    head = model.bbox_head
    assert said(model, head).unknown == BY_SCORES
    grids = [(256 // stride[0], 256 // stride[1]) for stride in head.prior_generator.strides]
    priors = torch.cat(head.prior_generator.grid_priors(grids, device="cpu", with_stride=True))
    levels = torch.repeat_interleave(torch.arange(3), torch.tensor([rows * columns for rows, columns in grids]))
    box = squares((130.0, 130.0), [100])
    truth = InstanceData(bboxes=box, labels=torch.zeros(1, dtype=torch.long))
    for level in range(3):
        scores = torch.full((len(priors), 80), 0.01)
        scores[levels == level, 0] = 0.99
        found = InstanceData(bboxes=box.expand(len(priors), -1), scores=scores, priors=priors)
        hit = levels[head.assigner.assign(found, truth).gt_inds > 0]
        assert len(hit) == 10
        assert (hit == level).sum() >= 9  # the coarsest level has only nine cells near the middle


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("rtmdet/rtmdet_tiny_8xb32-300e_coco.py", BY_SCORES),
        ("tood/tood_r50_fpn_1x_coco.py", BY_SCORES),
        ("paa/paa_r50_fpn_1x_coco.py", "featscope does not know how PAAHead assigns objects to levels"),
        ("free_anchor/freeanchor_r50_fpn_1x_coco.py", "featscope does not know how FreeAnchorRetinaHead assigns"),
        ("autoassign/autoassign_r50-caffe_fpn_1x_coco.py", "the config has no train_cfg"),
    ],
)
def test_heads_that_resemble_others_are_not_taken_for_them(path, why):
    """FCOS's ranges are in AutoAssign too, and RetinaNet's assigner in PAA, but other code uses the objects."""
    model = build(path)
    sizes = said(model, model.bbox_head)
    assert sizes.levels == []
    assert sizes.unknown.startswith(why)


def test_a_class_of_ones_own_with_another_assignment_is_not_known():
    model = build("fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py")
    kind = type(model.bbox_head)
    model.bbox_head.__class__ = type("Mine", (kind,), {"get_targets": lambda self, *_: None})
    assert said(model, model.bbox_head).levels == []
    model.bbox_head.__class__ = type("Mine", (kind,), {"forward": kind.forward})
    assert len(said(model, model.bbox_head).levels) == 5
    model.bbox_head.regress_ranges = ["all of them"]
    assert "the rule of Mine could not be read" in said(model, model.bbox_head).unknown


def test_detr():
    model = build("detr/detr_r50_8xb2-150e_coco.py")
    assert said(model, model.bbox_head, "query").unknown == QUERIES


@pytest.mark.parametrize(
    ("path", "name", "words", "rule"),
    [
        ("s2anet/s2anet-le135_r50_fpn_1x_dota.py", "bbox_head_init", "23 to 45 px", "bbox_head_init"),
        ("rotated_retinanet/rotated-retinanet-rbox-le90_r50_fpn_1x_dota.py", "bbox_head", "23 to 72 px", "RetinaHead"),
    ],
)
def test_rotated_anchors(path, name, words, rule):
    model = build(path, "mmrotate")
    from mmrotate.structures.bbox import RotatedBoxes

    head = getattr(model, name)
    last = model.bbox_head_refine[-1] if name == "bbox_head_init" else head  # the head that gives the detections
    sizes = said(model, last)
    assert sizes.in_words(0) == words
    assert sizes.rule.startswith(f"the anchors of {rule} and an IoU of at least 0.5")
    assert sizes.levels == said(model, head).levels

    def rotated(corners):
        middles, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        return RotatedBoxes(torch.cat([middles, sides, torch.zeros(len(corners), 1)], 1))

    by_anchors(head, sizes, rotated)


@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_rotated_fcos(angle):
    model = build("rotated_fcos/rotated-fcos-le90_r50_fpn_1x_dota.py", "mmrotate")
    from mmengine.structures import InstanceData
    from mmrotate.structures.bbox import RotatedBoxes

    head = model.bbox_head
    sizes = said(model, head)
    points = head.prior_generator.grid_priors(grids(head), device="cpu")
    for level, places in enumerate(points):
        centre, index = middle_of(places)
        trained = []
        for side in SIDES:
            box = RotatedBoxes(torch.tensor([[*centre, side, side, angle]], dtype=torch.float32))
            truth = InstanceData(bboxes=box, labels=torch.zeros(1, dtype=torch.long))
            trained.append(int(head.get_targets(points, [truth])[0][level][index]) == 0)
        compare(sizes, level, trained)


def test_rotated_regions():
    model = build("oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py", "mmrotate")
    sizes = said(model, model.roi_head.bbox_head, "roi")
    reader = model.roi_head.bbox_roi_extractor
    rows = torch.tensor([[0, 1024, 1024, 2 * side, side / 2, 0.3] for side in SIDES], dtype=torch.float32)
    levels = reader.map_roi_levels(rows, reader.num_inputs).numpy()
    for level in range(4):
        compare(sizes, level, levels == level)

"""Which sizes of objects the training of a head of MMDetection or MMRotate assigns to each of its levels.

Read in MMDetection 3.5 and MMRotate 1.2:

- `FCOSHead._get_targets_single` and MMRotate's `RotatedFCOSHead`: a point is trained on an object whose largest
  distance to a side, in the frame of the box, lies in `regress_ranges` of the point's level.
- `AnchorHead._get_targets_single` with `MaxIoUAssigner`: an anchor is trained on an object that it overlaps by
  `pos_iou_thr`. With `match_low_quality` an object that no anchor overlaps so much gets its best anchors in addition.
- `ATSSAssigner` takes the nearest anchors of every level and a threshold that depends on the object: there are only the
  sizes of the anchors.
- `SimOTAAssigner`, `DynamicSoftLabelAssigner` and `TaskAlignedAssigner` choose by costs or scores of the predictions.
- `RefineSingleStageDetector` (S2ANet, R3Det) refines the boxes of `bbox_head_init` cell by cell, so that a candidate's
  level is that of an anchor of `bbox_head_init`.
- `SingleRoIExtractor.map_roi_levels` and MMRotate's `RotatedSingleRoIExtractor` read a region from the level
  floor(log2(size / finest_scale)).

A rule holds only for these very methods. A class that replaces one of them has a rule that is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator, List, Optional, Tuple, Union

import torch
from torch import nn

from featscope.arrays.assigned import BY_SCORES, QUERIES, AssignedSizes, by_anchors, by_area, by_distance
from featscope.capturing.layers import modules_of
from featscope.errors import first_line

if TYPE_CHECKING:
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
    from mmdet.models.roi_heads.bbox_heads import BBoxHead

    Head = Union[BaseDenseHead, BBoxHead]

_DENSE, _ROTATED = "mmdet.models.dense_heads", "mmrotate.models.dense_heads"
_POINT_HEADS = (f"{_DENSE}.fcos_head.FCOSHead", f"{_ROTATED}.rotated_fcos_head.RotatedFCOSHead")
_ANCHOR_HEADS = (
    f"{_DENSE}.anchor_head.AnchorHead",
    f"{_DENSE}.atss_head.ATSSHead",
    f"{_DENSE}.gfl_head.GFLHead",
    f"{_DENSE}.rpn_head.RPNHead",
    f"{_DENSE}.ssd_head.SSDHead",
    f"{_ROTATED}.rotated_atss_head.RotatedATSSHead",
)
_REFINING = ("mmrotate.models.detectors.refine_single_stage.RefineSingleStageDetector",)
_EXTRACTORS = (
    "mmdet.models.roi_heads.roi_extractors.single_level_roi_extractor.SingleRoIExtractor",
    "mmrotate.models.roi_heads.roi_extractors.rotate_single_level_roi_extractor.RotatedSingleRoIExtractor",
)
_TASKS = "mmdet.models.task_modules.assigners"
_BY_OVERLAP = (f"{_TASKS}.max_iou_assigner.MaxIoUAssigner",)
_BY_SCORES = (
    f"{_TASKS}.sim_ota_assigner.SimOTAAssigner",
    f"{_TASKS}.dynamic_soft_label_assigner.DynamicSoftLabelAssigner",
    f"{_TASKS}.task_aligned_assigner.TaskAlignedAssigner",
)
_OVERLAPS = ("BboxOverlaps2D", "RBboxOverlaps2D", "FakeRBboxOverlaps2D", "RBbox2HBboxOverlaps2D")
"""Calculators that give the plain IoU for two upright boxes."""


def assigned_sizes(head: Head, kind: str, model: Optional[nn.Module]) -> AssignedSizes:
    """Return which sizes the training of a head assigns to its levels, or why they are not known.

    >>> assigned_sizes(model.bbox_head, "cell", model).in_words(0)                  # doctest: +SKIP
    'up to 128 px'

    kind: 'cell', 'query' or 'roi', what the head's candidates are. model: the detector that the head is a part of.
    """
    try:
        if kind == "query":
            return AssignedSizes(unknown=QUERIES)
        return _of_regions(head, model) if kind == "roi" else _of_cells(head, model)
    except Exception as error:  # noqa: BLE001 (a head of the user's own may have anything in place of a number)
        return AssignedSizes(unknown=f"the rule of {type(head).__name__} could not be read: {first_line(error)}")


def _of_cells(head: Head, model: Optional[nn.Module]) -> AssignedSizes:
    first = _first_head(head, model)
    head, name = (head, type(head).__name__) if first is None else (first, "bbox_head_init")
    assigner = getattr(head, "alignment_assigner", None) or getattr(head, "assigner", None)
    if _name(type(assigner)) in _BY_SCORES:
        return AssignedSizes(unknown=BY_SCORES)
    methods = {_owner(type(head), method) for method in ("loss_by_feat", "get_targets", "_get_targets_single")}
    if methods <= set(_POINT_HEADS):
        ranges = [(float(low), float(high)) for low, high in head.regress_ranges]
        return by_distance(ranges, f"regress_ranges of {name}")
    anchors = getattr(getattr(head, "prior_generator", None), "base_anchors", None)
    if methods <= set(_ANCHOR_HEADS) and anchors:
        return by_anchors([_sides(level) for level in anchors], f"the anchors of {name}", _overlap(assigner))
    if getattr(head, "train_cfg", None) is None:
        return AssignedSizes(unknown=f"the config has no train_cfg, so {name} does not say how it is trained")
    return AssignedSizes(unknown=f"featscope does not know how {name} assigns objects to levels")


def _of_regions(head: Head, model: Optional[nn.Module]) -> AssignedSizes:
    extractor = next(_extractors(head, model), None)
    if extractor is None:
        return AssignedSizes(unknown=f"featscope does not know what reads the regions of {type(head).__name__}")
    kind = type(extractor)
    if not {_owner(kind, "map_roi_levels"), _owner(kind, "forward")} <= set(_EXTRACTORS):
        return AssignedSizes(unknown=f"featscope does not know from which levels {kind.__name__} reads a region")
    scale = float(extractor.finest_scale)  # type: ignore[arg-type]
    rule = f"finest_scale of {kind.__name__}"
    return by_area(2 * scale, len(extractor.featmap_strides), rule)  # type: ignore[arg-type]


def _extractors(head: Head, model: Optional[nn.Module]) -> Iterator[nn.Module]:
    """Yield what reads the features of a head's regions, in a single stage or in that of a cascade."""
    for _, module in modules_of(model, shared=False) if model is not None else ():
        heads, readers = (getattr(module, name, None) for name in ("bbox_head", "bbox_roi_extractor"))
        if isinstance(heads, nn.ModuleList) and isinstance(readers, nn.ModuleList):
            yield from (reader for one, reader in zip(heads, readers) if one is head)
        elif heads is head and isinstance(readers, nn.Module):
            yield readers


def _first_head(head: Head, model: Optional[nn.Module]) -> Optional[Head]:
    """Return the head whose boxes a head refines cell by cell; None if it refines none."""
    for _, module in modules_of(model, shared=False) if model is not None else ():
        refining = getattr(module, "bbox_head_refine", None)
        if isinstance(refining, nn.ModuleList) and any(one is head for one in refining):
            return module.bbox_head_init if _owner(type(module), "predict") in _REFINING else None
    return None


def _overlap(assigner: object) -> Optional[float]:
    """Return the IoU at which an assigner trains an anchor on an object; None if it goes by something else."""
    if (
        _name(type(assigner)) not in _BY_OVERLAP
        or type(getattr(assigner, "iou_calculator", None)).__name__ not in _OVERLAPS
    ):
        return None
    return float(assigner.pos_iou_thr)  # type: ignore[attr-defined]


def _sides(anchors: torch.Tensor) -> List[Tuple[float, float]]:
    """Return the width and the height of anchors, (n, 4) corners."""
    return [(right - left, bottom - top) for left, top, right, bottom in anchors.detach().cpu().double().tolist()]


def _owner(kind: type, method: str) -> str:
    """Return the full name of the class that defines a method of a class; '' if none does."""
    return next((_name(cls) for cls in kind.__mro__ if method in vars(cls)), "")


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"

"""How heads of MMDetection and MMRotate select their detections.

Read in MMDetection 3.5 (`BaseDenseHead`, `YOLOXHead`, `BBoxHead`, `DETRHead`, `filter_scores_and_topk`,
`multiclass_nms`), MMRotate 1.2 and MMCV 2.3 (`batched_nms`):

- A dense head compares class scores with `score_thr`, takes the best `nms_pre` pairs of each level, multiplies by
  centerness, drops boxes whose sides are not above `min_bbox_size`, and suppresses in pixels of the original image.
- YOLOX takes the best class of each cell, keeps scores equal to `score_thr`, and has no maximum.
- A head of regions takes all pairs above `score_thr`. A decoder takes its best pairs, or with a softmax its best
  queries.
- `batched_nms` adds the largest coordinate plus 1, times the label, to every box.
- MMCV's suppression of rotated boxes on a CPU uses `>=`, all others `>`.
- MMCV's overlap of quadrilaterals (`nms_quadri`, Gliding Vertex) is not that of the polygons: `box_iou_quadri` gives 0
  for some that overlap. It is not repeated here, so such a selection is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, FrozenSet, Mapping, Optional, Tuple, Union

import numpy as np
import torch

from featscope.records import Selection

if TYPE_CHECKING:
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
    from mmdet.models.roi_heads.bbox_heads import BBoxHead

    Head = Union[BaseDenseHead, BBoxHead]

Known = Tuple[Optional[Selection], str]
"""A selection, or why it is not known."""

_KINDS = {"nms": "upright", "nms_rotated": "rotated"}
_OPTIONS = {"type", "iou_threshold", "iou_thr", "class_agnostic", "split_thr"}


def selection_of_cells(head: Head, config: Mapping[str, Any], boxes: torch.Tensor) -> Known:
    """Return how a dense head selects detections from all its cells. config: its `test_cfg`. boxes: as decoded."""
    from mmdet.models.dense_heads import YOLOXHead
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead

    kind = type(head)
    suppression, why = _suppression(config.get("nms"), boxes)
    if why:
        return None, why
    finish = getattr(kind, "_bbox_post_process", None)
    if kind.predict_by_feat is YOLOXHead.predict_by_feat and finish is YOLOXHead._bbox_post_process:
        return Selection(labels="best", threshold=float(config["score_thr"]), inclusive=True, **suppression), ""
    calls = _calls(kind, "_predict_by_feat_single")
    if finish is not BaseDenseHead._bbox_post_process or not {"filter_scores_and_topk", "_bbox_post_process"} <= calls:
        return None, f"featscope does not know how {kind.__name__} selects its detections"
    per_level, maximum = config.get("nms_pre", -1), config["max_per_img"]
    if per_level <= 0 or maximum <= 0:
        return None, f"with nms_pre={per_level} and max_per_img={maximum} MMDetection drops the last pairs"
    return (
        Selection(
            threshold=float(config.get("score_thr", 0)),
            per_level=per_level,
            smallest=_just_above(config.get("min_bbox_size", -1)),
            maximum=maximum,
            **suppression,
        ),
        "",
    )


def selection_of_regions(head: Head, config: Mapping[str, Any], boxes: torch.Tensor) -> Known:
    """Return how a head of regions selects detections. config: its `rcnn_test_cfg`. boxes: as decoded."""
    if "multiclass_nms" not in _calls(type(head), "_predict_by_feat_single"):
        return None, f"featscope does not know how {type(head).__name__} selects its detections"
    suppression, why = _suppression(config["nms"], boxes)
    if why:
        return None, why
    maximum = max(0, config["max_per_img"])
    return Selection(threshold=float(config["score_thr"]), maximum=maximum, **suppression), ""


def selection_of_queries(head: Head, queries: int) -> Known:
    """Return how a decoder selects detections from its queries."""
    from mmdet.models.dense_heads import DETRHead

    if getattr(type(head), "_predict_by_feat_single", None) is not DETRHead._predict_by_feat_single:
        return None, f"featscope does not know how {type(head).__name__} selects its detections"
    labels = "all" if head.loss_cls.use_sigmoid else "best"
    return Selection(labels=labels, inclusive=True, maximum=head.test_cfg.get("max_per_img", queries)), ""


def _suppression(config: Optional[Mapping[str, Any]], boxes: torch.Tensor) -> Tuple[Dict[str, Any], str]:
    """Return the fields of a selection for the config of `batched_nms`, or why they cannot be given."""
    if config is None:  # the detections are only sorted
        return {}, ""
    kind = _KINDS.get(config.get("type", "nms"))
    unknown = {name: value for name, value in config.items() if name not in _OPTIONS}
    if kind is None or unknown:
        return {}, f"it suppresses boxes by {dict(config)}, which featscope cannot repeat"
    return {
        "suppression": kind,
        "overlap": float(config.get("iou_threshold", config.get("iou_thr", 1.0))),
        "overlap_inclusive": kind == "rotated" and boxes.device.type == "cpu",
        "by_class": not config.get("class_agnostic", False),
        "class_offset": -1.0,
    }, ""


def _calls(kind: type, method: str) -> FrozenSet[str]:
    """Return the names that a method of a class uses."""
    code = getattr(getattr(kind, method, None), "__code__", None)
    return frozenset(code.co_names) if code is not None else frozenset()


def _just_above(side: float) -> float:
    """Return the smallest side that is longer than `side`; 0 if boxes of all sizes are kept."""
    return float(np.nextafter(np.float32(side), np.float32(np.inf))) if side >= 0 else 0.0

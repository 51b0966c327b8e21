"""Raw outputs of MMDetection's and MMRotate's heads, decoded by the heads themselves, before suppression."""

from __future__ import annotations

import copy
import inspect
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch

from featscope.errors import CaptureError
from featscope.explain.candidates import CandidateLevel, Candidates


class HeadCall(NamedTuple):
    """One call of a head's `predict_by_feat`: its arguments by name."""

    head: Any
    arguments: Dict[str, Any]


def has_box_head(model: torch.nn.Module) -> bool:
    """Whether some part of a model makes boxes of raw outputs in a way that is known here."""
    methods = (getattr(module, "predict_by_feat", None) for module in model.modules())
    return any(callable(method) and bool(_kind(method)) for method in methods)


@dataclass
class HeadCalls:
    """The calls of one forward. unsupported: why boxes could not be made, with `tolerant`."""

    calls: List[HeadCall] = field(default_factory=list)
    unsupported: str = ""

    @property
    def last(self) -> Optional[HeadCall]:
        """The call that made the detections."""
        return self.calls[-1] if self.calls else None

    def clear(self) -> None:
        """Forget the forward."""
        self.calls.clear()
        self.unsupported = ""


@contextmanager
def head_calls(model: torch.nn.Module, tolerant: bool = False) -> Iterator[HeadCalls]:
    """Note each call of a box head's `predict_by_feat`; the last is what the detections are made of.

    tolerant: where an operation of the framework does not exist on this device (RepPoints' polygons on a
    CPU) there are no boxes, and the forward goes on. The model is as before afterwards.
    """
    noted = HeadCalls()
    watched = []
    for module in model.modules():
        method = getattr(module, "predict_by_feat", None)
        if callable(method) and _kind(method):
            module.__dict__["predict_by_feat"] = _noting(module, method, noted, tolerant)
            watched.append(module)
    try:
        yield noted
    finally:
        for module in watched:
            del module.__dict__["predict_by_feat"]


def _noting(module: Any, method: Any, noted: HeadCalls, tolerant: bool) -> Any:
    signature = inspect.signature(method)

    def predict_by_feat(*arguments: Any, **named: Any) -> Any:
        bound = dict(signature.bind(*arguments, **named).arguments)
        noted.calls.append(HeadCall(module, bound))
        try:
            return method(*arguments, **named)
        except RuntimeError as error:
            if not (tolerant and "implementation for device" in str(error)):
                raise
            noted.unsupported = str(error)
            return [_no_boxes() for _ in bound["batch_img_metas"]]

    return predict_by_feat


def _no_boxes() -> Any:
    from mmengine.structures import InstanceData

    return InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.long))


def _kind(method: Any) -> str:
    """Regions, cells or queries: told by the arguments. Masks, keypoints and the like are none."""
    names = list(inspect.signature(method).parameters)
    if "rcnn_test_cfg" in names and "rois" in names and "cls_scores" in names:
        return "roi"
    if "cls_scores" in names and "with_nms" in names:
        return "cell"
    return "query" if len(names) > 1 and "cls_scores" in names[0] and "bbox_preds" in names[1] else ""


def candidates_of(call: HeadCall) -> List[Candidates]:
    """The candidates of each image of a batch, in pixels of the originals."""
    kind = _kind(type(call.head).predict_by_feat.__get__(call.head))
    if kind == "roi":
        return _regions(call)
    if kind == "query":
        return _queries(call)
    return _cells(call)


def _form(boxes: torch.Tensor) -> str:
    return {5: "cxcywha", 8: "quad"}.get(boxes.shape[-1], "xyxy")


# Regions of interest


def _regions(call: HeadCall) -> List[Candidates]:
    head, named = call.head, dict(call.arguments)
    # Without a config nothing is suppressed. Where masks follow, the boxes are rescaled behind them.
    raw = type(head).predict_by_feat(head, **{**named, "rcnn_test_cfg": None, "rescale": True})
    found = []
    for image, logits in zip(raw, named["cls_scores"]):
        # Four numbers, five of a rotated box, or eight of a quadrilateral (Gliding Vertex), for each class or for all.
        boxes = image.bboxes.reshape(len(logits), 1 if head.reg_class_agnostic else head.num_classes, -1)
        scores = image.scores[:, : head.num_classes]  # the last class is the background
        boxes = boxes[:, 0] if boxes.shape[1] == 1 else boxes
        found.append(Candidates([CandidateLevel(logits, scores, boxes, "roi")], _form(boxes)))
    return found


# Queries


def _queries(call: HeadCall) -> List[Candidates]:
    head = call.head
    (logits_of, boxes_of), metas = list(call.arguments.values())[:2], call.arguments["batch_img_metas"]
    found = []
    for index, meta in enumerate(metas):
        logits, boxes = logits_of[-1][index], boxes_of[-1][index]
        scores = logits.sigmoid() if head.loss_cls.use_sigmoid else logits.softmax(-1)[:, :-1]
        height, width = meta["img_shape"][:2]
        corners = torch.cat([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2], 1)
        corners = (corners.clamp(0, 1)) * corners.new_tensor([width, height, width, height])
        corners = corners / corners.new_tensor(meta["scale_factor"]).repeat(2)
        found.append(Candidates([CandidateLevel(logits, scores, corners, "query")], "xyxy"))
    return found


# Cells


def _cells(call: HeadCall) -> List[Candidates]:
    """Dense heads: let the head decode all cells, in place of the best few above its threshold."""
    head, named = call.head, dict(call.arguments)
    metas = named["batch_img_metas"]
    config = copy.deepcopy(named.get("cfg") or head.test_cfg)
    config.update(min_bbox_size=-1, score_thr=-1.0, nms_pre=-1)
    named.update(cfg=config, with_nms=False, rescale=True)
    seen: List[torch.Tensor] = []
    with _decoding_all(type(head), seen):
        raw = type(head).predict_by_feat(head, **named)
    scores_of: List[torch.Tensor] = list(named["cls_scores"])
    sizes = [(int(level.shape[-2]), int(level.shape[-1])) for level in scores_of]
    channels = head.cls_out_channels
    found = []
    for index in range(len(metas)):
        boxes, best = raw[index].bboxes, raw[index].scores
        boxes = getattr(boxes, "tensor", boxes)
        logits = [level[index].permute(1, 2, 0).reshape(-1, channels) for level in scores_of]
        if sum(map(len, logits)) != len(boxes):
            raise CaptureError(
                f"{type(head).__name__} gave {len(boxes)} boxes for {sum(map(len, logits))} cells: its detections "
                "cannot be traced; its maps can be captured"
            )
        count = len(scores_of)
        # A head that does not choose by `filter_scores_and_topk` (YOLOX) takes every cell above the threshold.
        activated = seen[index * count : (index + 1) * count] or [logit.sigmoid() for logit in logits]
        levels = []
        start = 0
        for (height, width), logit, scores in zip(sizes, logits, activated):
            part = slice(start, start + len(logit))
            start += len(logit)
            # Centerness, objectness, IoU: what the head multiplied its scores with, for all classes alike.
            factor = best[part] / scores.max(1).values.clamp(min=torch.finfo(scores.dtype).tiny)
            whole = torch.where(
                scores == scores.max(1, keepdim=True).values, best[part][:, None], scores * factor[:, None]
            )
            grid = (height, width, len(logit) // (height * width))
            levels.append(CandidateLevel(logit, whole, boxes[part], "cell", grid))
        found.append(Candidates(levels, _form(boxes)))
    return found


@contextmanager
def _decoding_all(cls: type, seen: List[torch.Tensor]) -> Iterator[None]:
    """Let a head keep every cell, in its order and with its gradient, where it would choose the best.

    `filter_scores_and_topk` and `select_single_mlvl` are names in the modules of the head's classes.
    """

    def keep_all(scores: torch.Tensor, _threshold: float, _best: int, results: Any = None) -> Tuple[Any, ...]:
        seen.append(scores)
        highest, labels = scores.max(1)
        return highest, labels, torch.arange(len(scores), device=scores.device), results

    def select_with_gradient(levels: Any, index: int, detach: bool = True) -> List[torch.Tensor]:
        return [level[index] for level in levels]

    replaced = []
    for module in {sys.modules[owner.__module__] for owner in cls.__mro__ if owner.__module__ in sys.modules}:
        for name, function in (
            ("filter_scores_and_topk", keep_all),
            ("select_single_mlvl", select_with_gradient),
        ):
            if name in vars(module):
                replaced.append((module, name, getattr(module, name)))
                setattr(module, name, function)
    try:
        yield
    finally:
        for module, name, original in replaced:
            setattr(module, name, original)

"""Raw outputs of MMDetection's and MMRotate's heads, decoded by the heads themselves, before suppression."""

from __future__ import annotations

import copy
import inspect
import sys
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

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


@contextmanager
def head_calls(model: torch.nn.Module) -> Iterator[List[HeadCall]]:
    """Note each call of a box head's `predict_by_feat`; the last is what the detections are made of.

    The model is as before afterwards.
    """
    calls: List[HeadCall] = []
    watched = []
    for module in model.modules():
        method = getattr(module, "predict_by_feat", None)
        if callable(method) and _kind(method):
            module.__dict__["predict_by_feat"] = _noting(module, method, calls)
            watched.append(module)
    try:
        yield calls
    finally:
        for module in watched:
            del module.__dict__["predict_by_feat"]


def _noting(module: Any, method: Any, calls: List[HeadCall]) -> Any:
    signature = inspect.signature(method)

    def predict_by_feat(*arguments: Any, **named: Any) -> Any:
        calls.append(HeadCall(module, dict(signature.bind(*arguments, **named).arguments)))
        return method(*arguments, **named)

    return predict_by_feat


def _kind(method: Any) -> str:
    """Regions, cells or queries: told by the arguments. Masks, keypoints and the like are none."""
    names = list(inspect.signature(method).parameters)
    if "rcnn_test_cfg" in names and "rois" in names and "cls_scores" in names:
        return "roi"
    if "cls_scores" in names and "with_nms" in names:
        return "cell"
    return "query" if len(names) > 1 and "cls_scores" in names[0] and "bbox_preds" in names[1] else ""


def candidates_of(call: HeadCall) -> List[Candidates]:
    """The candidates of each image of a batch, in pixels of the originals where the call asked for that."""
    kind = _kind(type(call.head).predict_by_feat.__get__(call.head))
    if kind == "roi":
        return _regions(call)
    if kind == "query":
        return _queries(call)
    return _cells(call)


def _form(boxes: torch.Tensor) -> str:
    return "cxcywha" if boxes.shape[-1] == 5 else "xyxy"


# Regions of interest


def _regions(call: HeadCall) -> List[Candidates]:
    head, named = call.head, dict(call.arguments)
    scores_of, rescale = named["cls_scores"], named.get("rescale", False)
    raw = head.predict_by_feat(
        named["rois"], scores_of, named["bbox_preds"], named["batch_img_metas"], rcnn_test_cfg=None, rescale=rescale
    )
    found = []
    for image, logits in zip(raw, scores_of):
        size = 5 if "Rotated" in type(head.bbox_coder).__name__ or head.bbox_coder.encode_size == 5 else 4
        boxes = image.bboxes.reshape(len(logits), -1, size)
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
        if call.arguments.get("rescale", True):
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
    named.update(cfg=config, with_nms=False)
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

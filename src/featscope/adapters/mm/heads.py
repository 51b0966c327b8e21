"""Raw outputs of MMDetection's and MMRotate's heads, decoded by the heads themselves, before suppression."""

from __future__ import annotations

import copy
import functools
import inspect
import sys
import threading
from contextlib import contextmanager
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import torch
from torch import nn

from featscope.arrays.frames import reframed
from featscope.capturing.layers import modules_of
from featscope.errors import CaptureError
from featscope.explaining.candidates import CandidateLevel, Candidates
from featscope.records import Geometry

if TYPE_CHECKING:
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
    from mmdet.models.roi_heads.bbox_heads import BBoxHead
    from mmengine.structures import InstanceData

    Head = Union[BaseDenseHead, BBoxHead]
    """What makes boxes of raw outputs by `predict_by_feat`."""


class HeadCall(NamedTuple):
    """One call of a head's `predict_by_feat`: its arguments by name, of which each kind of head has its own."""

    head: Head
    arguments: Dict[str, Any]


def has_box_head(model: nn.Module) -> bool:
    """Whether some part of a model makes boxes of raw outputs in a way that is known here."""
    return next(_box_heads(model), None) is not None


class HeadCalls:
    """The calls of one forward, in the thread that asks. unsupported: why boxes could not be made, with `tolerant`."""

    def __init__(self, model: Optional[nn.Module] = None, tolerant: bool = False) -> None:
        self.heads = {id(head): head for head in _box_heads(model)} if model is not None else {}
        self.tolerant = tolerant
        self._threads = threading.local()

    @property
    def last(self) -> Optional[HeadCall]:
        """The call that made the detections."""
        found: Optional[HeadCall] = getattr(self._threads, "last", None)
        return found

    @property
    def unsupported(self) -> str:
        """Why boxes could not be made; '' where they were."""
        return str(getattr(self._threads, "unsupported", ""))

    def clear(self) -> None:
        """Forget the forward."""
        self._threads.last, self._threads.unsupported = None, ""

    def hears(self, head: nn.Module) -> bool:
        """Whether a call of a head is to be noted: not one that the head makes of itself (`super()`)."""
        return id(head) in self.heads and getattr(self._threads, "running", None) is not head

    def call(self, call: HeadCall, method: Callable[[], object]) -> object:
        """Let a call be made, and note it."""
        self._threads.last, self._threads.running = call, call.head
        try:
            return method()
        except RuntimeError as error:
            if not (self.tolerant and "implementation for device" in str(error)):
                raise
            self._threads.unsupported = str(error)
            return [_no_boxes() for _ in call.arguments["batch_img_metas"]]
        finally:
            self._threads.running = None


@contextmanager
def head_calls(model: nn.Module, tolerant: bool = False) -> Iterator[HeadCalls]:
    """Note each call of a box head's `predict_by_feat`; the last is what the detections are made of.

    The method is replaced in the heads' classes as long as somebody listens; nothing is put on the model, so that
    a copy or a pickle of it is as ever. tolerant: where an operation of the framework does not exist on this
    device (RepPoints' polygons on a CPU) there are no boxes, and the forward goes on.
    """
    global _listening
    noted = HeadCalls(model, tolerant)
    with _lock:
        _listening = (*_listening, noted)
        for cls in {type(head) for head in noted.heads.values()} - set(_replaced):
            _replace(cls)
    try:
        yield noted
    finally:
        with _lock:
            _listening = tuple(other for other in _listening if other is not noted)
            heard = {type(head) for other in _listening for head in other.heads.values()}
            for cls in set(_replaced) - heard:
                _restore(cls)


# Module state, because a class is one for all captures of a process.
_lock = threading.Lock()
_listening: Tuple[HeadCalls, ...] = ()
_replaced: Dict[type, Tuple[Callable[..., object], bool]] = {}  # class -> its method, and whether it is its own


def _replace(cls: type) -> None:
    original: Callable[..., object] = vars(cls).get("predict_by_feat") or cls.predict_by_feat  # type: ignore[attr-defined]
    signature = inspect.signature(original)

    @functools.wraps(original)
    def predict_by_feat(head: nn.Module, *arguments: object, **named: object) -> object:
        method: Callable[[], object] = functools.partial(original, head, *arguments, **named)
        hearing = [noted for noted in _listening if noted.hears(head)]
        if hearing:
            bound = dict(signature.bind(head, *arguments, **named).arguments)
            bound.pop(next(iter(bound)))  # self
            for noted in hearing:
                method = functools.partial(noted.call, HeadCall(head, bound), method)
        return method()

    _replaced[cls] = original, "predict_by_feat" in vars(cls)
    cls.predict_by_feat = predict_by_feat  # type: ignore[attr-defined]


def _restore(cls: type) -> None:
    original, own = _replaced.pop(cls)
    if own:
        cls.predict_by_feat = original  # type: ignore[attr-defined]
    else:
        delattr(cls, "predict_by_feat")


def _decode(head: Head, named: Mapping[str, object]) -> List[InstanceData]:
    """What a head makes of its raw outputs; nobody hears it."""
    cls = type(head)
    method = _replaced[cls][0] if cls in _replaced else cls.predict_by_feat
    found: List[InstanceData] = method(head, **named)  # type: ignore[assignment, unused-ignore]
    return found


def _box_heads(model: nn.Module) -> Iterator[nn.Module]:
    for _, module in modules_of(model, shared=False):
        method = getattr(type(module), "predict_by_feat", None)
        if callable(method) and _kind(method):
            yield module


def _no_boxes() -> InstanceData:
    from mmengine.structures import InstanceData

    return InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.long))


def _kind(method: Callable[..., object]) -> str:
    """Regions, cells or queries: told by the arguments. Masks, keypoints and the like are none."""
    names = list(inspect.signature(method).parameters)[1:]  # without self
    if "rcnn_test_cfg" in names and "rois" in names and "cls_scores" in names:
        return "roi"
    if "cls_scores" in names and "with_nms" in names:
        return "cell"
    return "query" if len(names) > 1 and "cls_scores" in names[0] and "bbox_preds" in names[1] else ""


def candidates_of(
    call: HeadCall, believed: Sequence[Optional[Geometry]], geometries: Sequence[Optional[Geometry]]
) -> List[Candidates]:
    """The candidates of each image of a batch, in pixels of the originals.

    believed, geometries: by which the framework made them so, and by which they become so.
    """
    read = {"roi": _regions, "query": _queries}.get(_kind(type(call.head).predict_by_feat), _cells)
    found = read(call)
    for of_image, before, after in zip(found, believed, geometries):
        for level in of_image.levels if after is not None else ():
            level.boxes = reframed(level.boxes, before, after)
    return found


def _form(boxes: torch.Tensor) -> str:
    return {5: "cxcywha", 8: "quad"}.get(boxes.shape[-1], "xyxy")


# Regions of interest


def _regions(call: HeadCall) -> List[Candidates]:
    head, named = call.head, dict(call.arguments)
    # Without a config nothing is suppressed. Where masks follow, the boxes are rescaled behind them.
    raw = _decode(head, {**named, "rcnn_test_cfg": None, "rescale": True})
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
        raw = _decode(head, named)
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

    def keep_all(scores: torch.Tensor, _threshold: float, _best: int, results: object = None) -> Tuple[object, ...]:
        seen.append(scores)
        highest, labels = scores.max(1)
        return highest, labels, torch.arange(len(scores), device=scores.device), results

    def select_with_gradient(levels: Sequence[torch.Tensor], index: int, detach: bool = True) -> List[torch.Tensor]:
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

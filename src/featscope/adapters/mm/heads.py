"""Get the raw outputs of MMDetection's and MMRotate's heads, before suppression.

To explain a detection, featscope needs the raw output that it came from, with its gradient. A head usually decodes only
its best outputs, and then suppresses most of them. Therefore featscope notes the arguments of the head's call of
`predict_by_feat` and calls the method again in such a way that every output is decoded and kept. The head itself
decodes the boxes, so every kind of anchor and box coder is supported.
"""

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

from featscope.adapters.mm.assigned import assigned_sizes
from featscope.adapters.mm.selections import selection_of_cells, selection_of_queries, selection_of_regions
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
    """A head that computes boxes from raw outputs with `predict_by_feat`."""


class HeadCall(NamedTuple):
    """A call of a head's `predict_by_feat`, with its arguments by name, which differ between kinds of heads."""

    head: Head
    arguments: Dict[str, Any]

    model: Optional[nn.Module] = None
    """The model that the head is a part of."""


def has_box_head(model: nn.Module) -> bool:
    """Whether a model has a head whose way of computing boxes is known here."""
    return next(_box_heads(model), None) is not None


class HeadCalls:
    """The calls of box heads in the last forward of the current thread."""

    def __init__(self, model: Optional[nn.Module] = None, tolerant: bool = False) -> None:
        self.heads = {id(head): head for head in _box_heads(model)} if model is not None else {}
        self.model, self.tolerant = model, tolerant
        self._threads = threading.local()

    @property
    def last(self) -> Optional[HeadCall]:
        """The call that produced the detections."""
        found: Optional[HeadCall] = getattr(self._threads, "last", None)
        return found

    @property
    def unsupported(self) -> str:
        """Why boxes could not be computed, with `tolerant`; '' if they were computed."""
        return str(getattr(self._threads, "unsupported", ""))

    def clear(self) -> None:
        """Forget the forward."""
        self._threads.last, self._threads.unsupported = None, ""

    def hears(self, head: nn.Module) -> bool:
        """Whether a call of a head is to be noted, which excludes calls by the head itself (`super()`)."""
        return id(head) in self.heads and getattr(self._threads, "running", None) is not head

    def call(self, call: HeadCall, method: Callable[[], object]) -> object:
        """Run a call and note it."""
        self._threads.last, self._threads.running = call._replace(model=self.model), call.head
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
    """Note each call of a box head's `predict_by_feat`. The last call produces the detections.

    The method is replaced in the classes of the heads while somebody listens. The model itself is not changed, so its
    copies and pickles are not affected. tolerant: if the framework lacks an operation on this device (RepPoints'
    polygons on a CPU), return no boxes and let the forward continue.
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


# Module state, because all captures of a process share the classes.
_lock = threading.Lock()
_listening: Tuple[HeadCalls, ...] = ()
_replaced: Dict[
    type, Tuple[Callable[..., object], bool]
] = {}  # class -> its method, and whether the class itself defines it


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
    """Let a head decode raw outputs, without noting the call."""
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
    """Tell from the arguments whether a head gives regions, cells or queries; '' for masks, keypoints and others."""
    names = list(inspect.signature(method).parameters)[1:]  # without self
    if "rcnn_test_cfg" in names and "rois" in names and "cls_scores" in names:
        return "roi"
    if "cls_scores" in names and "with_nms" in names:
        return "cell"
    return "query" if len(names) > 1 and "cls_scores" in names[0] and "bbox_preds" in names[1] else ""


def candidates_of(
    call: HeadCall, believed: Sequence[Optional[Geometry]], geometries: Sequence[Optional[Geometry]]
) -> List[Candidates]:
    """Return the candidates of each image of a batch, in pixels of the originals.

    believed: the geometries with which the framework converted boxes to the originals. geometries: the true ones.
    """
    kind = _kind(type(call.head).predict_by_feat)
    found = {"roi": _regions, "query": _queries}.get(kind, _cells)(call)
    assigned = assigned_sizes(call.head, kind, call.model)
    for of_image, before, after in zip(found, believed, geometries):
        of_image.assigned = assigned
        for level in of_image.levels if after is not None and before != after else ():
            level.compared, level.boxes = level.boxes, reframed(level.boxes, before, after)
    return found


def _form(boxes: torch.Tensor) -> str:
    return {5: "cxcywha", 8: "quad"}.get(boxes.shape[-1], "xyxy")


# Regions of interest


def _regions(call: HeadCall) -> List[Candidates]:
    head, named = call.head, dict(call.arguments)
    # Without a config nothing is suppressed. `rescale` is set because heads with masks rescale boxes only later.
    raw = _decode(head, {**named, "rcnn_test_cfg": None, "rescale": True})
    found = []
    for image, logits in zip(raw, named["cls_scores"]):
        # 4 numbers, 5 for a rotated box, or 8 for a quadrilateral (Gliding Vertex), for each class or for all classes.
        boxes = image.bboxes.reshape(len(logits), 1 if head.reg_class_agnostic else head.num_classes, -1)
        scores = image.scores[:, : head.num_classes]  # the last class is the background
        boxes = boxes[:, 0] if boxes.shape[1] == 1 else boxes
        level, form = CandidateLevel(logits, scores, boxes, "roi"), _form(boxes)
        found.append(Candidates([level], form, *selection_of_regions(head, named["rcnn_test_cfg"], boxes)))
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
        level = CandidateLevel(logits, scores, corners, "query")
        found.append(Candidates([level], "xyxy", *selection_of_queries(head, len(logits))))
    return found


# Cells


def _cells(call: HeadCall) -> List[Candidates]:
    """Let a dense head decode all cells, not only the best ones above its threshold."""
    head, named = call.head, dict(call.arguments)
    metas = named["batch_img_metas"]
    own = named.get("cfg") or head.test_cfg
    config = copy.deepcopy(own)
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
                f"{type(head).__name__} returned {len(boxes)} boxes for {sum(map(len, logits))} cells: its detections "
                "cannot be traced, but its maps can be captured"
            )
        count = len(scores_of)
        # Heads that do not use `filter_scores_and_topk` (YOLOX) take every cell above the threshold.
        activated = seen[index * count : (index + 1) * count] or [logit.sigmoid() for logit in logits]
        levels = []
        start = 0
        for number, ((height, width), logit, scores) in enumerate(zip(sizes, logits, activated)):
            part = slice(start, start + len(logit))
            start += len(logit)
            whole = _multiplied(scores, best[part], _factor(named, number, index))
            grid = (height, width, len(logit) // (height * width))
            # These heads compare with the threshold before they multiply.
            ranks = scores if seen and not torch.equal(scores, whole) else None
            levels.append(CandidateLevel(logit, whole, boxes[part], "cell", grid, ranks=ranks))
        found.append(Candidates(levels, _form(boxes), *selection_of_cells(head, own, boxes)))
    return found


def _factor(named: Mapping[str, Any], level: int, image: int) -> Optional[torch.Tensor]:
    """Return the centerness or the like of a level's candidates, (n,), if it is among the arguments of the head."""
    factors = named.get("score_factors")
    return None if factors is None else factors[level][image].permute(1, 2, 0).reshape(-1).sigmoid()


def _multiplied(scores: torch.Tensor, best: torch.Tensor, factor: Optional[torch.Tensor]) -> torch.Tensor:
    """Return the scores of all classes (n, classes), from those before a factor and the final score of the best one.

    The factor is what the head multiplied all classes with: centerness, objectness or IoU.
    """
    highest = scores.max(1, keepdim=True).values
    if factor is None or not torch.equal(highest[:, 0] * factor, best):
        factor = best / highest[:, 0].clamp(min=torch.finfo(scores.dtype).tiny)
    return torch.where(scores == highest, best[:, None], scores * factor[:, None])


@contextmanager
def _decoding_all(cls: type, seen: List[torch.Tensor]) -> Iterator[None]:
    """Make a head keep every cell, in order and with its gradient, instead of choosing the best.

    The functions that choose, `filter_scores_and_topk` and `select_single_mlvl`, are replaced in the modules that
    define the head's classes.
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

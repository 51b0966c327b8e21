"""The raw candidates in the output of a model of Ultralytics: what its head gave before suppression."""

from __future__ import annotations

import copy
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union, cast

import torch
from msgspec.structs import replace
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import head as heads
from ultralytics.utils.nms import TorchNMS

from featscope.arrays.assigned import BY_SCORES, QUERIES, AssignedSizes
from featscope.arrays.frames import to_original
from featscope.explaining.candidates import CandidateLevel, Candidates
from featscope.records import Geometry, Selection, Size

OnImage = Callable[[torch.Tensor], torch.Tensor]
"""Boxes in pixels of the input, (n, 4) corners or (n, 5) rotated, to boxes in pixels of the image."""

_Raw = Dict[str, Any]  # tensors by name; 'feats' is a list with one for each level
_Output = Tuple[Union[torch.Tensor, Tuple[torch.Tensor, ...]], object]


def head_of(model: tasks.BaseModel) -> nn.Module:
    """Return the last module of a model, which makes the boxes."""
    return cast(nn.Sequential, model.model)[-1]


def form_of(head: nn.Module) -> str:
    """Return the form of a head's boxes, as in `featscope.records.Boxes`."""
    return "cxcywha" if isinstance(head, heads.OBB) else "xyxy"


def decoded_and_raw(output: object) -> Tuple[torch.Tensor, object]:
    """Split a model's output in evaluation into decoded boxes (without mask prototypes) and raw output."""
    if isinstance(output, torch.Tensor):
        return output, None
    decoded, raw = cast(_Output, output)[:2]
    return (decoded[0] if isinstance(decoded, tuple) else decoded), raw


class Limits(NamedTuple):
    """The options of a predictor or a validator by which it selects detections. The defaults are Ultralytics' own."""

    score: float
    """`conf`."""

    overlap: float = 0.7
    """`iou`."""

    maximum: int = 300
    """`max_det`."""

    by_class: bool = True
    """Whether boxes of different classes do not suppress one another: not `agnostic_nms`."""

    labels: str = "best"
    """As in `Selection`: 'all' in a validator."""


_MOST_BOXES, _CLASS_OFFSET = 30_000, 7680.0  # `max_nms` and `max_wh` of `non_max_suppression`


def candidates_of(
    head: nn.Module, raw: object, index: int, size: Size, on_image: OnImage, *, limits: Optional[Limits] = None
) -> Optional[Candidates]:
    """Return all candidates of one image of a batch; None if the form of the raw output is not known.

    index: of the image in the batch. size: (height, width) of the input. limits: None if they are not known.
    """
    found = _candidates(head, raw, index, size, on_image)
    if found is not None and limits is not None:
        found.selection, found.unknown = _selection(head, len(found.levels[0].scores), limits)
    elif found is not None:
        found.unknown = "the options of the predictor are not known"
    if found is not None:
        found.assigned = _assigned(head)
    return found


def _assigned(head: nn.Module) -> AssignedSizes:
    """Return why no sizes are assigned to levels: read in `ultralytics.utils.loss` and `ultralytics.utils.tal`.

    `v8DetectionLoss` and the losses of masks and rotated boxes choose cells by `TaskAlignedAssigner`, whatever their
    level. That of poses may limit the levels by size (`PoseTaskAlignedAssigner`), and a head of the user's own may have
    any loss. RT-DETR matches queries.
    """
    if isinstance(head, heads.RTDETRDecoder):
        return AssignedSizes(unknown=QUERIES)
    if isinstance(head, heads.Pose) or type(head).__module__ != heads.__name__:
        return AssignedSizes(unknown=f"featscope does not know how {type(head).__name__} assigns objects to levels")
    return AssignedSizes(unknown=BY_SCORES)


def _selection(head: nn.Module, queries: int, limits: Limits) -> Tuple[Optional[Selection], str]:
    """Return how detections are selected: read in `non_max_suppression`, `Detect.postprocess`, and `RTDETRDecoder`.

    An end-to-end head takes the best cells by their best class, then the best of their pairs, and suppresses nothing.
    Boxes are compared in pixels of the input, before they are clipped to the image. Rotated ones are compared as
    Gaussians, and a suppressed one suppresses others (`TorchNMS.fast_nms`).
    """
    if isinstance(head, heads.RTDETRDecoder):
        chosen = queries if hasattr(head, "postprocess") else 0  # older versions take the best class of each query
        labels = "all" if chosen else "best"
        return Selection(labels=labels, threshold=limits.score, maximum=_least(chosen, limits.maximum)), ""
    if getattr(head, "end2end", False):
        most = int(cast(heads.Detect, head).max_det)
        how = Selection(threshold=limits.score, maximum=_least(most, limits.maximum))
        if getattr(head, "agnostic_nms", False):
            return replace(how, labels="best"), ""
        return replace(how, total=most, ranked_by="candidate"), ""
    rotated = isinstance(head, heads.OBB)
    if rotated and not hasattr(TorchNMS, "fast_nms"):
        return None, "this version of Ultralytics suppresses rotated boxes in another way"
    return Selection(
        labels=limits.labels,
        threshold=limits.score,
        total=_MOST_BOXES,
        suppression="probiou" if rotated else "upright",
        overlap=limits.overlap,
        by_class=limits.by_class,
        by_kept=not rotated,
        class_offset=_CLASS_OFFSET,
        maximum=limits.maximum,
    ), ""


def _least(*counts: int) -> int:
    """Return the smallest of some maxima, of which 0 means none."""
    return min((count for count in counts if count), default=0)


def _candidates(head: nn.Module, raw: object, index: int, size: Size, on_image: OnImage) -> Optional[Candidates]:
    if isinstance(head, heads.RTDETRDecoder) and isinstance(raw, tuple):
        boxes, logits = raw[0][-1][index], raw[1][-1][index]  # from the last layer of the decoder
        height, width = size
        boxes = on_image(corners(boxes) * boxes.new_tensor([width, height, width, height]))
        scores = raw[1][-1].sigmoid()[index]
        return Candidates([CandidateLevel(logits, scores, boxes, "query")], "xyxy")
    if not isinstance(head, heads.Detect) or not isinstance(raw, dict):
        return None
    own = raw.get("one2one" if head.end2end else "one2many", raw)
    return Candidates(_cells(head, own, index, on_image), form_of(head))


def _cells(head: heads.Detect, raw: _Raw, index: int, on_image: OnImage) -> List[CandidateLevel]:
    # Decode all boxes again, before the best are chosen, to keep the gradient and the cell of each box.
    boxes = _unseen(head)._get_decode_boxes(raw)[index].T
    if isinstance(head, heads.OBB):
        boxes = torch.cat([boxes, raw["angle"][index].T], 1)
    elif not head.end2end and not head.xyxy:
        boxes = corners(boxes)
    on_images = on_image(boxes)
    # As the head does: the sigmoid of another layout may differ in the last digit, and with it the order of scores.
    logits, scores = raw["scores"][index].T, raw["scores"].sigmoid()[index].T
    sizes = [(int(level.shape[-2]), int(level.shape[-1])) for level in raw["feats"]]
    counts = [height * width for height, width in sizes]
    parts = zip(*(torch.split(some, counts) for some in (logits, scores, on_images, boxes)), sizes)
    return [
        CandidateLevel(logit, score, box, "cell", (*size, 1), compared=compared)
        for logit, score, box, compared, size in parts
    ]


def _unseen(head: heads.Detect) -> heads.Detect:
    """Copy a head with its `dfl` part, so that a capture does not take the copy's output for that of the model."""
    twin = copy.copy(head)
    twin._modules = {name: copy.deepcopy(part) if name == "dfl" else part for name, part in head._modules.items()}
    return twin


def corners(rows: torch.Tensor) -> torch.Tensor:
    """Convert rows that begin with the centre and the size of a box to rows that begin with its corners."""
    centre, size = rows[:, :2], rows[:, 2:4]
    return torch.cat([centre - size / 2, centre + size / 2, rows[:, 4:]], 1)


def on_original(boxes: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Boxes in the input to boxes on the image: corners (n, 4) not beyond its edge, rotated ones (n, 5) as they are."""
    moved = to_original(boxes, geometry)
    if boxes.shape[-1] == 5:
        return moved
    height, width = geometry.original
    return moved.clamp(min=0).minimum(moved.new_tensor([width, height, width, height]))

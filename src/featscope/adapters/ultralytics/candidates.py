"""The raw candidates in the output of a model of Ultralytics: what its head gave before suppression."""

from __future__ import annotations

import copy
from typing import Any, Callable, Dict, List, Optional, Tuple, Union, cast

import torch
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import head as heads

from featscope.arrays.frames import to_original
from featscope.explaining.candidates import CandidateLevel, Candidates
from featscope.records import Geometry, Size

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


def candidates_of(head: nn.Module, raw: object, index: int, size: Size, on_image: OnImage) -> Optional[Candidates]:
    """Return all candidates of one image of a batch; None if the form of the raw output is not known.

    index: of the image in the batch. size: (height, width) of the input.
    """
    if isinstance(head, heads.RTDETRDecoder) and isinstance(raw, tuple):
        boxes, logits = raw[0][-1][index], raw[1][-1][index]  # from the last layer of the decoder
        height, width = size
        boxes = on_image(corners(boxes) * boxes.new_tensor([width, height, width, height]))
        return Candidates([CandidateLevel(logits, logits.sigmoid(), boxes, "query")], "xyxy")
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
    boxes = on_image(boxes)
    logits = raw["scores"][index].T
    sizes = [(int(level.shape[-2]), int(level.shape[-1])) for level in raw["feats"]]
    counts = [height * width for height, width in sizes]
    return [
        CandidateLevel(logit, logit.sigmoid(), box, "cell", (*size, 1))
        for logit, box, size in zip(torch.split(logits, counts), torch.split(boxes, counts), sizes)
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

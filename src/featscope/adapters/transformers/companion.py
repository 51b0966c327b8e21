"""A detector of transformers in a user's own script. Its input is pixel values with a mask."""

from __future__ import annotations

import sys
from typing import List, Optional, Sequence

import msgspec
import torch
from torch import nn

from featscope.adapters.companions import ScriptModel, script_info
from featscope.adapters.detector import boxes_on_original
from featscope.capturing.calls import ModelCall
from featscope.capturing.inputs import Known, picture_of
from featscope.records import Geometry, Picture, Sample, Size

_SCORE = 0.5  # transformers' own threshold


def accompany(model: nn.Module, owners: Sequence[object], provenance: bool) -> Optional[ScriptModel]:
    """Return what is known about a model for object detection; None for other models, whose output is unknown."""
    if not finds_boxes(model):
        return None
    labels = getattr(model.config, "id2label", None) or {}
    info = msgspec.structs.replace(
        script_info(model, "transformers"), classes=[str(labels[key]) for key in sorted(labels)]
    )
    return ScriptModel(model, DetectionCompanion(model), info)


def companion_of(model: nn.Module, pictures: bool) -> Optional[DetectionCompanion]:
    """Return the companion of a model for object detection; None for other models."""
    return DetectionCompanion(model, pictures) if finds_boxes(model) else None


def finds_boxes(model: nn.Module) -> bool:
    """Whether a model is one of the library's models for object detection, which give logits and boxes of queries."""
    library = sys.modules.get("transformers.modeling_utils")
    if library is None or not isinstance(model, library.PreTrainedModel):
        return False
    from transformers import AutoModelForObjectDetection

    mapping = AutoModelForObjectDetection._model_mapping
    kind = mapping.get(type(model.config), None)
    return isinstance(model, kind) if isinstance(kind, type) else False


def scores_of(logits: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """Convert logits to class scores (..., classes). The last logit may stand for 'no object'."""
    labels: int = getattr(model.config, "num_labels")  # noqa: B009 (the attributes of a config depend on its class)
    if logits.shape[-1] == labels + 1:
        return logits.softmax(-1)[..., :-1]
    return logits.sigmoid()


class DetectionCompanion:
    """Numbers the images, because their files are unknown. Boxes are in pixels of the resized image.

    pictures: whether to keep pictures of the inputs.
    """

    def __init__(self, model: nn.Module, pictures: bool = True) -> None:
        self._model, self._pictures = model, pictures

    def before(self, call: ModelCall) -> Optional[Known]:
        """Return a sample for each image, without padding."""
        values = _argument(call, 0, "pixel_values")
        if values is None or values.dim() != 4:
            return None
        mask = _argument(call, 1, "pixel_mask")
        padded = (int(values.shape[-2]), int(values.shape[-1]))
        samples: List[Sample] = []
        pictures: List[Optional[Picture]] = []
        for index, image in enumerate(values):
            height, width = padded if mask is None else _size(mask[index], padded)
            samples.append(Sample("", geometry=Geometry((height, width), (height, width), padded)))
            pictures.append(picture_of(image[:, :height, :width]) if self._pictures else None)
        return Known(samples, pictures)

    def after(self, call: ModelCall, known: Known, output: object) -> Optional[Known]:
        """Add the queries with a score above 0.5 as predictions."""
        logits, boxes = getattr(output, "logits", None), getattr(output, "pred_boxes", None)
        if logits is None or boxes is None or len(logits) != len(known.samples):
            return None
        samples = []
        for sample, raw, box in zip(known.samples, logits.detach(), boxes.detach().float()):
            if sample.geometry is None:
                return None
            height, width = sample.geometry.resized
            scores, labels = scores_of(raw.float(), self._model).max(-1)
            kept = scores > _SCORE
            corners = torch.cat([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], 1)
            corners = corners * corners.new_tensor([width, height, width, height])
            predictions = boxes_on_original("xyxy", corners[kept].cpu(), scores[kept].cpu(), labels[kept].cpu())
            samples.append(msgspec.structs.replace(sample, predictions=predictions))
        return Known(samples, known.pictures)

    def close(self) -> None:
        """Do nothing."""


def _argument(call: ModelCall, place: int, name: str) -> Optional[torch.Tensor]:
    value = call.named.get(name, call.arguments[place] if len(call.arguments) > place else None)
    return value if isinstance(value, torch.Tensor) else None


def _size(mask: torch.Tensor, padded: Size) -> Size:
    """Return (height, width) of an image inside its padded input."""
    height, width = int(mask.any(-1).sum()), int(mask.any(-2).sum())
    return (height, width) if height and width else padded

"""Ultralytics' YOLO and RT-DETR: detect, segment, obb; the letterbox is undone exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import msgspec
import numpy as np
import torch
from ultralytics.data.augment import LetterBox
from ultralytics.nn.modules import head as heads
from ultralytics.nn.tasks import guess_model_task, yaml_model_load
from ultralytics.utils.nms import non_max_suppression

from featscope.adapters.detector import (
    Detected,
    Detector,
    Item,
    Opening,
    Picture,
    boxes_on_original,
    load_picture,
    need_checkpoint,
    no_candidates,
    refuse_unused,
    to_original,
    versions,
)
from featscope.adapters.weights import load_checkpoint, read_torch_file
from featscope.errors import BadOptionError, CaptureError
from featscope.explain.candidates import CandidateLevel, Candidates
from featscope.records import Geometry, RunInfo, Size

_SCORE = 0.25  # Ultralytics' own thresholds for prediction
_OVERLAP = 0.7


def letterbox_geometry(original: Size, padded: Size) -> Geometry:
    """How `LetterBox` puts an image of a size into an input of a size: one scale, centred.

    >>> letterbox_geometry((1080, 1920), (640, 640))
    Geometry(original=(1080, 1920), resized=(360, 640), padded=(640, 640), offset=(140, 0), flip='', crop=None)
    """
    scale = min(padded[0] / original[0], padded[1] / original[1])
    height, width = (max(1, round(side * scale)) for side in original)
    offset = (round((padded[0] - height) / 2 - 0.1), round((padded[1] - width) / 2 - 0.1))
    return Geometry(original, (height, width), padded, offset)


class UltralyticsDetector(Detector):
    """A model of Ultralytics as its predictor runs it, but for the fusion of convolution and norm."""

    def __init__(self, model: Any, info: RunInfo, task: str, size: Size, score: Optional[float]) -> None:
        super().__init__(model.eval(), info)
        self._task, self._size, self._score = task, size, _SCORE if score is None else score
        inputs = model.model[-1].f  # the layers that the head is fed from
        self.layer_to_explain = ",".join(f"model.{i}" for i in (inputs if isinstance(inputs, list) else [inputs]))
        self._stride = int(max(int(model.stride.max()), 32))

    @property
    def traceable(self) -> bool:
        """Whether its raw outputs are known."""
        return isinstance(self.model.model[-1], heads.Detect)

    def prepare(self, image: Union[Path, Picture], sample_id: str) -> Item:
        """Read an image; it is fitted with the others of its batch."""
        picture, sample = load_picture(image, sample_id)
        return Item(sample, picture, self._fit([picture])[0])

    def _fit(self, pictures: Sequence[Picture]) -> List[Picture]:
        """Images of one size get the smallest input that holds them, others a square one, as in the predictor."""
        same = len({picture.shape for picture in pictures}) == 1
        box = LetterBox(self._size, auto=same, stride=self._stride)
        return [box(image=picture) for picture in pictures]

    def detect(self, items: Sequence[Item], candidates: bool = False) -> List[Detected]:
        """Run the network and Ultralytics' own suppression."""
        fitted = self._fit([item.inputs for item in items])
        batch = torch.from_numpy(np.stack(fitted)).permute(0, 3, 1, 2).contiguous().float() / 255
        output = self.model(batch)
        decoded, raw = _parts(output)
        with torch.no_grad():
            kept = self._suppress(decoded.detach().clone())
        padded = (batch.shape[-2], batch.shape[-1])
        found = []
        for index, (item, rows) in enumerate(zip(items, kept)):
            geometry = letterbox_geometry((item.inputs.shape[0], item.inputs.shape[1]), padded)
            sample = msgspec.structs.replace(item.sample, geometry=geometry, predictions=self._boxes(rows, geometry))
            levels = Candidates(self._levels(raw, decoded, index, geometry), self._form) if candidates else None
            found.append(Detected(sample, levels))
        return found

    @property
    def _form(self) -> str:
        return "cxcywha" if self._task == "obb" else "xyxy"

    def _suppress(self, decoded: torch.Tensor) -> List[torch.Tensor]:
        head = self.model.model[-1]
        end_to_end = bool(getattr(head, "end2end", False))
        if isinstance(head, heads.RTDETRDecoder):
            return [_top(rows, self._score) for rows in decoded]
        kept: List[torch.Tensor] = non_max_suppression(
            decoded, self._score, _OVERLAP, nc=head.nc, rotated=self._task == "obb", end2end=end_to_end
        )
        return kept

    def _boxes(self, rows: torch.Tensor, geometry: Geometry) -> Any:
        values = rows.cpu().double().numpy()
        boxes = values[:, [0, 1, 2, 3, -1]] if self._task == "obb" else values[:, :4]
        if isinstance(self.model.model[-1], heads.RTDETRDecoder):
            boxes = boxes * np.array([geometry.padded[1], geometry.padded[0]] * 2)
        return boxes_on_original(self._form, boxes, values[:, 4], values[:, 5], geometry, clip=True)

    def _levels(self, raw: Any, decoded: torch.Tensor, index: int, geometry: Geometry) -> List[CandidateLevel]:
        head = self.model.model[-1]
        if not isinstance(head, heads.Detect) or not isinstance(raw, dict):
            raise no_candidates(self)
        raw = raw.get("one2one" if head.end2end else "one2many", raw)
        # Decoded again, before the best are chosen: with its gradient, and with the place of each.
        boxes = head._get_decode_boxes(raw)[index].T
        if self._task == "obb":
            boxes = torch.cat([boxes, raw["angle"][index].T], 1)
        elif not head.end2end and not head.xyxy:
            boxes = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
        boxes = to_original(boxes, geometry)
        if self._form == "xyxy":
            height, width = geometry.original
            boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
        logits = raw["scores"][index].T
        sizes = [(int(level.shape[-2]), int(level.shape[-1])) for level in raw["feats"]]
        counts = [height * width for height, width in sizes]
        return [
            CandidateLevel(logit, logit.sigmoid(), box, "cell", (*size, 1))
            for logit, box, size in zip(logits.split(counts), boxes.split(counts), sizes)
        ]


def _parts(output: Any) -> Tuple[torch.Tensor, Any]:
    """What a model gives in evaluation: decoded boxes (with masks' prototypes beside them), and the raw output."""
    if torch.is_tensor(output):
        return output, None
    decoded, raw = output[0], output[1]
    return (decoded[0] if isinstance(decoded, tuple) else decoded), raw


def _top(rows: torch.Tensor, threshold: float) -> torch.Tensor:
    """RT-DETR's queries (n, 4 + classes), boxes as shares of the input -> (k, 6): box, score, class."""
    scores, labels = rows[:, 4:].max(1)
    centre, size = rows[:, :2], rows[:, 2:4]
    found = torch.cat([centre - size / 2, centre + size / 2, scores[:, None], labels[:, None].float()], 1)
    return found[scores > threshold]


def open_detector(opening: Opening) -> Detector:
    """A model by its .yaml, with random weights or a checkpoint's, or a .pt file, which holds the model itself."""
    refuse_unused(opening, preprocess="it is always a letterbox", config_options="it has no config")
    target = opening.target
    size = opening.input_size or (640, 640)
    if target.endswith(".pt"):
        if not Path(target).is_file():
            raise BadOptionError(f"{target} does not exist; nothing is downloaded: name a .pt file, or a .yaml")
        content: Dict[str, Any] = read_torch_file(target, opening.trusted)
        model, checkpoint = (content.get("ema") or content.get("model")), target
        if not isinstance(model, torch.nn.Module):
            raise CaptureError(f"{target} holds no model of Ultralytics, but {sorted(content)[:5]}")
        model = model.float()
    else:
        checkpoint = need_checkpoint(opening)
        torch.manual_seed(opening.seed)
        try:
            config = yaml_model_load(target)
        except (FileNotFoundError, OSError) as error:
            raise BadOptionError(
                f"Ultralytics has no model {target!r} ({error}); for example yolo11n-obb.yaml"
            ) from None
        model = _make(config)
        load_checkpoint(model, checkpoint, opening.trusted)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    task = guess_model_task(model) or "detect"
    names = getattr(model, "names", {})
    info = RunInfo(
        model=type(model).__name__,
        config=f"ultralytics:{target}",
        checkpoint=checkpoint if checkpoint != target else "",
        classes=[str(names[key]) for key in sorted(names)] if isinstance(names, dict) else list(names),
        versions=versions("ultralytics"),
    )
    return UltralyticsDetector(model, info, task, size, opening.score_threshold)


def _make(config: Dict[str, Any]) -> torch.nn.Module:
    from ultralytics.nn import tasks

    kinds = {
        "detect": tasks.DetectionModel,
        "segment": tasks.SegmentationModel,
        "obb": tasks.OBBModel,
        "pose": tasks.PoseModel,
    }
    if config["head"][-1][2] == "RTDETRDecoder":
        return tasks.RTDETRDetectionModel(config, verbose=False)
    kind = guess_model_task(config)
    if kind not in kinds:
        raise CaptureError(f"an Ultralytics model for {kind!r} finds no boxes; known are {', '.join(kinds)}")
    return kinds[kind](config, verbose=False)

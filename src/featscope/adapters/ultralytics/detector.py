"""The adapter for Ultralytics' YOLO and RT-DETR, with boxes if the task has boxes, else only with maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Union, cast

import msgspec
import numpy as np
import torch
from PIL import Image
from torch import nn
from ultralytics.data.augment import LetterBox, classify_transforms
from ultralytics.nn import tasks
from ultralytics.nn.modules import head as heads
from ultralytics.utils import LOGGER
from ultralytics.utils.nms import non_max_suppression

from featscope.adapters.detector import (
    Detected,
    Detector,
    Item,
    Opening,
    boxes_on_original,
    load_picture,
    need_checkpoint,
    no_candidates,
    refuse_unused,
    versions,
)
from featscope.adapters.ultralytics.candidates import (
    Limits,
    candidates_of,
    corners,
    decoded_and_raw,
    head_of,
    on_original,
)
from featscope.adapters.ultralytics.companion import classes_of
from featscope.adapters.ultralytics.geometry import centre_crop_geometry, letterbox_geometry
from featscope.adapters.ultralytics.reading import read_file, reading_of_file
from featscope.adapters.weights import load_checkpoint, read_torch_file
from featscope.capturing.layers import modules_of
from featscope.errors import BadOptionError, CaptureError, FeatscopeError, first_line
from featscope.explaining.candidates import Candidates
from featscope.records import Boxes, Geometry, Picture, RunInfo, Size

_SCORE = 0.25  # Ultralytics' own thresholds for prediction
_OVERLAP = 0.7
_MAXIMUM = 300
_WITHOUT_BOXES = ("classify", "semantic", "depth")
_OWN = "capture it in your own script: featscope run -o RUN -- python SCRIPT"
_STRETCHED = ("rtdetr", "depth")  # instead of a letterbox


class UltralyticsDetector(Detector):
    """A model of Ultralytics, run in the same way as by its predictor, but without fusing convolutions and norms.

    task: Ultralytics' name of the task; 'rtdetr' for its transformers.
    """

    model: tasks.BaseModel

    def __init__(self, model: tasks.BaseModel, info: RunInfo, task: str, size: Size, score: Optional[float]) -> None:
        super().__init__(model.eval(), info)
        self._task, self._size, self._score = task, size, _SCORE if score is None else score
        inputs = cast(Union[int, List[int]], self._head.f)  # the layers whose outputs the head receives
        count = len(cast(nn.Sequential, model.model))
        indices = [i % count for i in (inputs if isinstance(inputs, list) else [inputs])]
        self.layer_to_explain = ",".join(f"model.{i}" for i in indices)
        self._grey = _channels_of(model) == 1
        self._transforms = classify_transforms(size) if task == "classify" else None
        self._stride = int(max(int(cast(torch.Tensor, model.stride).max()), 32))

    @property
    def _head(self) -> nn.Module:
        return head_of(self.model)

    @property
    def traceable(self) -> bool:
        """Whether the raw outputs are known."""
        return isinstance(self._head, (heads.Detect, heads.RTDETRDecoder))

    def prepare(self, image: Union[Path, Picture], sample_id: str) -> Item:
        """Read an image. It is resized together with the others of its batch."""
        reading = reading_of_file(str(image), 0 if self._grey else 1)
        picture, sample = load_picture(image, sample_id, reading, read_file)
        if self._grey:  # a file was read as grey, but an array may have colours
            picture = np.asarray(Image.fromarray(picture).convert("L"))[..., None]
        fitted = self._fit([picture])[0]
        return Item(sample, picture, fitted.repeat(3, -1) if self._grey else fitted)

    def _fit(self, pictures: Sequence[Picture]) -> List[Picture]:
        """Resize images like the predictor: to the smallest input if all have one size, else to a square.

        Classifiers crop the centre; RT-DETR and depth models stretch the image.
        """
        if self._transforms is not None:
            cut = self._transforms.transforms[:2]  # Resize and CenterCrop
            return [np.asarray(cut[1](cut[0](Image.fromarray(picture)))) for picture in pictures]
        stretched = self._task in _STRETCHED
        same = len({picture.shape for picture in pictures}) == 1
        box = LetterBox(self._size, auto=same and not stretched, scale_fill=stretched, stride=self._stride)
        return [np.asarray(box(image=picture)) for picture in pictures]

    def _geometry(self, picture: Picture, padded: Size) -> Geometry:
        original = (picture.shape[0], picture.shape[1])
        if self._transforms is not None:
            return centre_crop_geometry(original, min(padded), padded)
        if self._task in _STRETCHED:
            return Geometry(original, padded, padded)
        return letterbox_geometry(original, padded, self._size)

    def detect(self, items: Sequence[Item], candidates: bool = False) -> List[Detected]:
        """Run the network and Ultralytics' suppression."""
        inputs = [cast(Picture, item.inputs) for item in items]
        fitted = self._fit(inputs)
        batch = torch.from_numpy(np.stack(fitted)).permute(0, 3, 1, 2).contiguous().float() / 255
        if self._transforms is not None:
            batch = self._transforms.transforms[-1](batch)  # Normalize
        padded = (int(batch.shape[-2]), int(batch.shape[-1]))
        geometries = [self._geometry(picture, padded) for picture in inputs]
        pictures = [picture.repeat(3, -1) if self._grey else picture for picture in fitted]
        output = self._run(batch.to(next(self.model.parameters()).dtype))
        if self._task in _WITHOUT_BOXES:
            return [
                Detected(msgspec.structs.replace(item.sample, geometry=geometry), picture=picture)
                for item, geometry, picture in zip(items, geometries, pictures)
            ]
        decoded, raw = decoded_and_raw(output)
        with torch.no_grad():
            kept = self._suppress(decoded.detach().clone())
        found = []
        for index, (geometry, item, rows) in enumerate(zip(geometries, items, kept)):
            sample = msgspec.structs.replace(item.sample, geometry=geometry, predictions=self._boxes(rows, geometry))
            own = self._candidates(raw, index, geometry) if candidates else None
            found.append(Detected(sample, own, picture=pictures[index]))
        return found

    def _candidates(self, raw: object, index: int, geometry: Geometry) -> Candidates:
        limits = Limits(self._score, _OVERLAP, 0 if self._task == "rtdetr" else _MAXIMUM)

        def on_image(boxes: torch.Tensor) -> torch.Tensor:
            return on_original(boxes, geometry)

        found = candidates_of(self._head, raw, index, geometry.padded, on_image, limits=limits)
        if found is None:
            raise no_candidates(self)
        return found

    def _run(self, batch: torch.Tensor) -> object:
        try:
            return self.model(batch)
        except FeatscopeError:
            raise
        except Exception as error:  # (a .pt file may contain any model)
            raise CaptureError(
                f"{self.info.model} cannot run on images alone ({' x '.join(map(str, batch.shape))}): "
                f"{first_line(error)}; {_OWN}"
            ) from error

    @property
    def _form(self) -> str:
        return "cxcywha" if self._task == "obb" else "xyxy"

    def _suppress(self, decoded: torch.Tensor) -> List[torch.Tensor]:
        head = self._head
        end_to_end = bool(getattr(head, "end2end", False))
        if isinstance(head, heads.RTDETRDecoder):
            if not hasattr(head, "postprocess"):  # an older version, in which the head does not choose the best
                return [_top(rows, self._score) for rows in decoded]
            return [corners(rows[rows[:, 4] > self._score]) for rows in decoded]
        kept: List[torch.Tensor] = non_max_suppression(
            decoded,
            self._score,
            _OVERLAP,
            nc=cast(heads.Detect, head).nc,
            max_det=_MAXIMUM,
            rotated=self._task == "obb",
            end2end=end_to_end,
        )
        return kept

    def _boxes(self, rows: torch.Tensor, geometry: Geometry) -> Boxes:
        values = rows.cpu().double().numpy()
        boxes = values[:, [0, 1, 2, 3, -1]] if self._task == "obb" else values[:, :4]
        if isinstance(self._head, heads.RTDETRDecoder):
            boxes = boxes * np.array([geometry.padded[1], geometry.padded[0]] * 2)
        return boxes_on_original(self._form, boxes, values[:, 4], values[:, 5], geometry, clip=True)


def _top(rows: torch.Tensor, threshold: float) -> torch.Tensor:
    """Choose RT-DETR's queries: (n, 4 + classes) with relative boxes -> (k, 6) with box, score and class."""
    scores, labels = rows[:, 4:].max(1)
    found = torch.cat([rows[:, :4], scores[:, None], labels[:, None].float()], 1)
    return corners(found[scores > threshold])


def open_detector(opening: Opening) -> Detector:
    """Open a .yaml with random weights or a checkpoint, or a .pt file, which contains a model with its weights."""
    refuse_unused(opening, preprocess="it has its own", config_options="it has no config")
    target = opening.target
    if target.endswith(".pt"):
        model, checkpoint = _from_weights(target, opening.trusted), ""
    else:
        checkpoint = need_checkpoint(opening)
        torch.manual_seed(opening.seed)
        model = _make(target)
        load_checkpoint(model, checkpoint, opening.trusted)
    if _channels_of(model) not in (1, 3):
        raise CaptureError(
            f"{target} takes images with {_channels_of(model)} channels, but featscope reads grey and colour "
            f"images; {_OWN}"
        )
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    stretched = any(isinstance(module, heads.RTDETRDecoder) for _, module in modules_of(model))
    task = "rtdetr" if stretched else str(_guess_task(model) or "detect")
    size = opening.input_size or ((224, 224) if task == "classify" else (640, 640))
    if task == "classify" and size[0] != size[1]:
        raise BadOptionError(f"a classifier of Ultralytics needs a square input, not {size[0]} x {size[1]} pixels")
    info = RunInfo(
        model=type(model).__name__,
        config=f"ultralytics:{target}",
        checkpoint=checkpoint,
        classes=classes_of(model),
        versions=versions("ultralytics"),
    )
    return UltralyticsDetector(model, info, task, size, opening.score_threshold)


def _from_weights(path: str, trusted: bool) -> tasks.BaseModel:
    """Load the model in a .pt file of Ultralytics."""
    if not Path(path).is_file():
        raise BadOptionError(f"{path} does not exist, and nothing is downloaded; give an existing .pt file, or a .yaml")
    content = cast(Dict[str, object], read_torch_file(path, trusted))
    model = content.get("ema") or content.get("model")
    if not isinstance(model, torch.nn.Module):
        raise CaptureError(f"{path} does not contain a model of Ultralytics, but {sorted(content)[:5]}")
    return cast(tasks.BaseModel, model.float())


# Ultralytics' own functions are not typed.
_guess_task: Callable[[object], Optional[str]] = tasks.guess_model_task
_read_config: Callable[[str], Dict[str, Any]] = tasks.yaml_model_load


def _channels_of(model: nn.Module) -> int:
    """Return how many channels a model's images have."""
    config = getattr(model, "yaml", None) or {}
    return int(config.get("channels", config.get("ch", 3)))


def _make(target: str) -> tasks.BaseModel:
    """Make a model with its initial weights, by the name of its .yaml."""
    try:
        config = _read_config(target)
    except (FileNotFoundError, OSError) as error:
        raise BadOptionError(f"Ultralytics has no model {target!r} ({error}); for example yolo11n-obb.yaml") from None
    head, task = str(config["head"][-1][2]), _guess_task(config)
    by_head = {
        "RTDETRDecoder": "RTDETRDetectionModel",
        "WorldDetect": "WorldModel",
        "YOLOEDetect": "YOLOEModel",
        "YOLOESegment": "YOLOESegModel",
        "YOLOESegment26": "YOLOESegModel",
    }
    by_task = {
        "detect": "DetectionModel",
        "segment": "SegmentationModel",
        "obb": "OBBModel",
        "pose": "PoseModel",
        "classify": "ClassificationModel",
        "semantic": "SemanticSegmentationModel",
        "depth": "DepthModel",
    }
    name = by_head.get(head) or by_task.get(task or "", "")
    make: Optional[Callable[..., tasks.BaseModel]] = getattr(tasks, name, None)
    if make is None:
        raise CaptureError(f"{target} ends in {head}, which featscope does not know as a head of Ultralytics")
    level = LOGGER.level
    LOGGER.setLevel("WARNING")  # a classifier prints its summary in any case
    try:
        return make(config, verbose=False)
    except Exception as error:
        raise CaptureError(f"{name} cannot be made from {target}: {first_line(error)}; {_OWN}") from error
    finally:
        LOGGER.setLevel(level)

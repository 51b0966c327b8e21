"""The adapter for torchvision: its detectors with their exact geometry, and the maps of all other models."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union, cast

import msgspec
import numpy as np
import torch
import torchvision
from torch import nn
from torchvision.models import detection, segmentation
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import boxes as box_ops

from featscope.adapters.detector import (
    RANDOM,
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
from featscope.adapters.preprocessing import Preprocessing
from featscope.adapters.pytorch import PyTorchModel
from featscope.adapters.torchvision.assigned import assigned_sizes
from featscope.adapters.torchvision.companion import input_picture
from featscope.adapters.weights import load_checkpoint, read_weights
from featscope.arrays.frames import to_original
from featscope.errors import unknown_name
from featscope.explaining.candidates import CandidateLevel, Candidates
from featscope.records import Geometry, Picture, RunInfo, Selection, Size

if TYPE_CHECKING:
    from torchvision.transforms._presets import ImageClassification, SemanticSegmentation

_TRACEABLE = (detection.faster_rcnn.FasterRCNN, detection.retinanet.RetinaNet, detection.fcos.FCOS, detection.ssd.SSD)

_SMALLEST = float(np.float32(1e-2))  # pixels, in torchvision's `RoIHeads`

Model = Union[detection.faster_rcnn.FasterRCNN, detection.retinanet.RetinaNet, detection.fcos.FCOS, detection.ssd.SSD]

# The arguments of the postprocessing of each kind of detector.
_Regions = Tuple[torch.Tensor, torch.Tensor, List[torch.Tensor]]
_Cells = Tuple[Mapping[str, List[torch.Tensor]], List[List[torch.Tensor]]]
_Boxes = Tuple[Mapping[str, torch.Tensor], List[torch.Tensor]]


class TorchvisionDetector(Detector):
    """RetinaNet, FCOS, SSD, SSDlite, Faster, Mask and Keypoint R-CNN. Class 0 is the background."""

    model: Model
    not_features = ("transform",)
    layer_to_explain = "backbone"

    @property
    def traceable(self) -> bool:
        """Whether the raw outputs are known."""
        return isinstance(self.model, _TRACEABLE)

    def prepare(self, image: Union[Path, Picture], sample_id: str) -> Item:
        """Read an image. The model itself resizes it."""
        picture, sample = load_picture(image, sample_id)
        return Item(sample, torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255)

    def detect(self, items: Sequence[Item], candidates: bool = False) -> List[Detected]:
        """Run the model once."""
        with _watched(self.model) as seen:
            outputs = self.model([cast(torch.Tensor, item.inputs) for item in items])
        padded = (int(seen.batch.tensors.shape[-2]), int(seen.batch.tensors.shape[-1]))
        found = []
        for index, (item, output) in enumerate(zip(items, outputs)):
            resized = (int(seen.batch.image_sizes[index][0]), int(seen.batch.image_sizes[index][1]))
            image = cast(torch.Tensor, item.inputs)
            geometry = Geometry((image.shape[1], image.shape[2]), resized, padded)
            output = {name: values.detach().cpu().numpy() for name, values in output.items()}
            predictions = boxes_on_original("xyxy", output["boxes"], output["scores"], output["labels"])
            sample = msgspec.structs.replace(item.sample, geometry=geometry, predictions=predictions)
            raw = self._candidates(seen, index, geometry) if candidates else None
            found.append(Detected(sample, raw, picture=input_picture(self.model.transform, seen.batch.tensors[index])))
        return found

    def _candidates(self, seen: _Seen, index: int, geometry: Geometry) -> Candidates:
        if isinstance(self.model, detection.faster_rcnn.FasterRCNN):
            levels = [self._regions(cast(_Regions, seen.raw[:3]), index)]
        elif isinstance(self.model, (detection.retinanet.RetinaNet, detection.fcos.FCOS)):
            levels = list(self._cells(cast(_Cells, seen.raw[:2]), seen.sizes, index))
        elif isinstance(self.model, detection.ssd.SSD):
            levels = list(self._ssd_cells(cast(_Boxes, seen.raw[:2]), seen.sizes, index))
        else:
            raise no_candidates(self)
        for level in levels:
            level.compared = box_ops.clip_boxes_to_image(level.boxes, geometry.resized)
            level.boxes = to_original(level.compared, geometry)
        how, assigned = _selection(self.model, levels[0].boxes.device.type), assigned_sizes(self.model, geometry.padded)
        return Candidates(levels, "xyxy", how, assigned=assigned)

    def _regions(self, given: _Regions, index: int) -> CandidateLevel:
        logits, deltas, proposals = given
        boxes = self.model.roi_heads.box_coder.decode(deltas, proposals)
        start = sum(len(some) for some in proposals[:index])
        part = slice(start, start + len(proposals[index]))
        return CandidateLevel(logits[part], _without_background(logits[part]), boxes[part], "roi")

    def _cells(self, given: _Cells, sizes: Sequence[Size], index: int) -> Iterator[CandidateLevel]:
        outputs, anchors = given[0], given[1][index]
        coder = self.model.box_coder
        for number, (height, width) in enumerate(sizes):
            raw = {name: values[number][index] for name, values in outputs.items()}
            scores = raw["cls_logits"].sigmoid()
            if "bbox_ctrness" in raw:  # FCOS
                scores = (scores * raw["bbox_ctrness"].sigmoid()).sqrt()
                boxes = coder.decode(raw["bbox_regression"], anchors[number])
            else:
                boxes = coder.decode_single(raw["bbox_regression"], anchors[number])
            grid = (height, width, len(boxes) // (height * width))
            yield CandidateLevel(raw["cls_logits"], scores, boxes, "cell", grid)

    def _ssd_cells(self, given: _Boxes, sizes: Sequence[Size], index: int) -> Iterator[CandidateLevel]:
        """Split SSD's output into its levels, each of which has its own number of anchors."""
        outputs, anchors = given[0], given[1][index]
        per_cell = self.model.anchor_generator.num_anchors_per_location()
        counts = [height * width * number for (height, width), number in zip(sizes, per_cell)]
        boxes = self.model.box_coder.decode_single(outputs["bbox_regression"][index], anchors)
        logits = torch.split(outputs["cls_logits"][index], counts)
        for logit, box, (height, width), count in zip(logits, torch.split(boxes, counts), sizes, per_cell):
            yield CandidateLevel(logit, _without_background(logit), box, "cell", (height, width, count))


def _selection(model: Model, device: str) -> Selection:
    """Return how a model selects its detections, as in its `postprocess_detections` and in `batched_nms`.

    RetinaNet and FCOS take the best pairs of each level, SSD of each class. Faster R-CNN drops small boxes instead.
    """
    how = Selection(
        suppression="upright",
        class_offset=-1.0,
        # With more boxes `batched_nms` goes through the classes: 4 numbers a box.
        offset_up_to=1000 if device == "cpu" else 25_000,
    )
    if isinstance(model, detection.faster_rcnn.FasterRCNN):
        head = model.roi_heads
        return msgspec.structs.replace(
            how,
            threshold=float(head.score_thresh),
            smallest=_SMALLEST,
            overlap=float(head.nms_thresh),
            maximum=int(head.detections_per_img),
        )
    best = "per_class" if isinstance(model, detection.ssd.SSD) else "per_level"
    return msgspec.structs.replace(
        how,
        threshold=float(model.score_thresh),
        overlap=float(model.nms_thresh),
        maximum=int(model.detections_per_img),
        **{best: int(model.topk_candidates)},
    )


def _without_background(logits: torch.Tensor) -> torch.Tensor:
    """Compute the softmax over classes. Class 0, the background, cannot be detected."""
    scores = logits.softmax(-1)
    return torch.cat([torch.full_like(scores[:, :1], -1.0), scores[:, 1:]], -1)


@dataclass
class _Seen:
    """Values observed in one forward."""

    batch: ImageList = field(init=False)  # the network's input

    sizes: List[Size] = field(default_factory=list)  # of its levels

    raw: Tuple[object, ...] = ()  # the arguments of the postprocessing


@contextmanager
def _watched(model: Model) -> Iterator[_Seen]:
    """Observe a forward, and restore the model afterwards."""
    seen = _Seen()

    def see_batch(_module: nn.Module, _inputs: object, output: Tuple[ImageList, object]) -> None:
        seen.batch = output[0]

    def see_levels(
        _module: nn.Module, _inputs: object, output: Union[torch.Tensor, Mapping[str, torch.Tensor]]
    ) -> None:
        levels = [output] if isinstance(output, torch.Tensor) else list(output.values())
        seen.sizes = [(int(level.shape[-2]), int(level.shape[-1])) for level in levels]

    owner = getattr(model, "roi_heads", model)
    postprocess: Callable[..., object] = owner.postprocess_detections

    def see_raw(*arguments: object) -> object:
        seen.raw = arguments
        return postprocess(*arguments)

    hooks = [model.transform.register_forward_hook(see_batch), model.backbone.register_forward_hook(see_levels)]
    owner.postprocess_detections = see_raw
    try:
        yield seen
    finally:
        del owner.postprocess_detections
        for hook in hooks:
            hook.remove()


def open_detector(opening: Opening) -> Detector:
    """Open a torchvision model by the name of its function. Detectors give boxes, other models only maps."""
    refuse_unused(opening, config_options="it has no config")
    detectors = torchvision.models.list_models(module=detection)
    others = [*torchvision.models.list_models(module=torchvision.models), *torchvision.models.list_models(segmentation)]
    if opening.target not in (*detectors, *others):
        raise unknown_name(
            "torchvision model", opening.target, [*detectors, *others], "torchvision.models.list_models()"
        )
    checkpoint = need_checkpoint(opening)
    torch.manual_seed(opening.seed)
    return (_open_detector if opening.target in detectors else _open_other)(opening, checkpoint)


def _open_detector(opening: Opening, checkpoint: str) -> TorchvisionDetector:
    refuse_unused(opening, preprocess="the model has its own")
    options: Dict[str, int] = {}
    if opening.input_size and "ssd" not in opening.target:
        options = {"min_size": min(opening.input_size), "max_size": max(opening.input_size)}
    if checkpoint != RANDOM:  # the checkpoint may have another number of classes than COCO's 91
        count = _classes_of(read_weights(checkpoint, opening.trusted))
        options.update({"num_classes": count} if count else {})
    model = torchvision.models.get_model(opening.target, weights=None, weights_backbone=None, **options).eval()
    load_checkpoint(model, checkpoint, opening.trusted)
    if opening.score_threshold is not None:
        getattr(model, "roi_heads", model).score_thresh = opening.score_threshold
    return TorchvisionDetector(model, _info(opening, model, checkpoint, options.get("num_classes")))


def _open_other(opening: Opening, checkpoint: str) -> PyTorchModel:
    """Open a classifier or segmenter. Images are stretched to the input size of its published weights."""
    refuse_unused(opening, score_threshold="it detects nothing")
    backbone = {"weights_backbone": None} if opening.target in torchvision.models.list_models(segmentation) else {}
    model = torchvision.models.get_model(opening.target, weights=None, **backbone)
    load_checkpoint(model, checkpoint, opening.trusted)
    weights = torchvision.models.get_model_weights(opening.target).DEFAULT
    seen: Union[ImageClassification, SemanticSegmentation] = weights.transforms()
    (side,) = getattr(seen, "crop_size", seen.resize_size)
    fit = Preprocessing(mean=tuple(seen.mean), std=tuple(seen.std)).changed(opening.preprocess)
    return PyTorchModel(model, _info(opening, model, checkpoint), fit, opening.input_size or (side, side))


def _info(opening: Opening, model: nn.Module, checkpoint: str, classes: Optional[int] = None) -> RunInfo:
    return RunInfo(
        model=type(model).__name__,
        config=f"torchvision:{opening.target}",
        checkpoint=checkpoint,
        classes=_class_names(opening.target, classes),
        versions=versions("torchvision"),
    )


def _class_names(name: str, count: Optional[int]) -> List[str]:
    """Return the classes of the model's published weights, unless the checkpoint has a different number."""
    weights = list(torchvision.models.get_model_weights(name))
    names = list(weights[0].meta["categories"]) if weights else []
    return names if count in (None, len(names)) else []


def _classes_of(weights: Mapping[str, torch.Tensor]) -> Optional[int]:
    """Return the number of classes in the weights of a two-stage detector; None for other detectors."""
    bias = weights.get("roi_heads.box_predictor.cls_score.bias")
    return None if bias is None else len(bias)

"""Detectors of transformers by a local folder: DETR, Conditional, Deformable and RT-DETR, YOLOS."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import msgspec
import numpy as np
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModelForObjectDetection
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING

from featscope.adapters.detector import (
    RANDOM,
    Detected,
    Detector,
    Item,
    Opening,
    Picture,
    boxes_on_original,
    load_picture,
    refuse_unused,
    versions,
)
from featscope.adapters.weights import load_checkpoint
from featscope.capturing.layers import select
from featscope.capturing.session import tap
from featscope.errors import BadOptionError, CaptureError
from featscope.explain.candidates import CandidateLevel, Candidates
from featscope.records import Geometry, RunInfo, Size

_SCORE = 0.5  # transformers' own threshold
_LAYERS = ("model.backbone", "vit.embeddings")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


class TransformersDetector(Detector):
    """A model for object detection with its image processor.

    Where the layers that are asked for are deformable attention, the points that each query samples are
    captured as `<layer>.sampling_points`, (N, queries, heads, levels, points, 2) as shares of the input.
    """

    def __init__(self, model: Any, processor: Any, info: RunInfo, score: Optional[float]) -> None:
        super().__init__(model.eval(), info)
        self._processor, self._score = processor, _SCORE if score is None else score
        names = [name for name, _ in model.named_modules()]
        self.layer_to_explain = next(name for name in (*_LAYERS, names[1]) if name in names)

    @property
    def traceable(self) -> bool:
        """Whether its raw outputs are known."""
        return True

    def prepare(self, image: Union[Path, Picture], sample_id: str) -> Item:
        """Read an image, and fit it with the processor's own sizes."""
        picture, sample = load_picture(image, sample_id)
        features = self._features([picture])
        height, width = _sizes(features)[0]
        values = features["pixel_values"][0, :, :height, :width]
        if self._processor.do_normalize:
            mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self._processor.image_mean, self._processor.image_std))
            values = values * std + mean
        seen = (values * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        return Item(sample, (picture, features), np.ascontiguousarray(seen))

    def _features(self, pictures: List[Picture]) -> Dict[str, torch.Tensor]:
        return dict(self._processor(images=pictures, return_tensors="pt"))

    def detect(self, items: Sequence[Item], candidates: bool = False) -> List[Detected]:
        """Run the network and the processor's own postprocessing."""
        features = items[0].inputs[1] if len(items) == 1 else self._features([item.inputs[0] for item in items])
        output = self.model(**features)
        originals = [item.inputs[0].shape[:2] for item in items]
        with torch.no_grad():
            kept = self._processor.post_process_object_detection(output, self._score, target_sizes=originals)
        padded: Size = (int(features["pixel_values"].shape[-2]), int(features["pixel_values"].shape[-1]))
        found = []
        for index, (item, rows, resized) in enumerate(zip(items, kept, _sizes(features))):
            geometry = Geometry((originals[index][0], originals[index][1]), resized, padded)
            values = {name: tensor.detach().cpu().numpy() for name, tensor in rows.items()}
            predictions = boxes_on_original("xyxy", values["boxes"], values["scores"], values["labels"])
            sample = msgspec.structs.replace(item.sample, geometry=geometry, predictions=predictions)
            found.append(Detected(sample, self._queries(output, index, geometry) if candidates else None))
        return found

    def _queries(self, output: Any, index: int, geometry: Geometry) -> Candidates:
        logits, boxes = output.logits[index], output.pred_boxes[index]
        if logits.shape[-1] == self.model.config.num_labels + 1:  # the last class is 'no object'
            scores = logits.softmax(-1)[:, :-1]
        else:
            scores = logits.sigmoid()
        height, width = geometry.original
        corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
        corners = corners * corners.new_tensor([width, height, width, height])
        return Candidates([CandidateLevel(logits, scores, corners, "query")], "xyxy")

    @contextmanager
    def capture(self, layers: Optional[Sequence[str]], to: Any, **options: Any) -> Iterator[Any]:
        """A capture; deformable attention that was asked for gives its sampling points too."""
        session = super().capture(layers, to, **options)
        handles = []
        for choice in select(self.model, self.patterns(layers)) if layers else ():
            inner = getattr(choice.module, "attn", None)
            if "MultiscaleDeformableAttention" in type(choice.module).__name__ and inner is not None:
                name = f"{choice.name}.sampling_points"
                handles.append(inner.register_forward_pre_hook(_tap_points(name), with_kwargs=True))
        try:
            with session:
                yield session
        finally:
            for handle in handles:
                handle.remove()


def _tap_points(name: str) -> Any:
    def before(_module: Any, inputs: Tuple[Any, ...], named: Dict[str, Any]) -> None:
        for tensor in (*inputs, *named.values()):
            if torch.is_tensor(tensor) and tensor.dim() == 6 and tensor.shape[-1] == 2:
                tap(name, tensor)

    return before


def _sizes(features: Dict[str, torch.Tensor]) -> List[Size]:
    """(height, width) of each image inside its padded input: that of its mask."""
    mask = features.get("pixel_mask")
    if mask is None:
        height, width = features["pixel_values"].shape[-2:]
        return [(int(height), int(width))] * len(features["pixel_values"])
    return [(int(m.any(1).sum()), int(m.any(0).sum())) for m in mask]


def open_detector(opening: Opening) -> Detector:
    """The detector of a folder with config.json; nothing is downloaded and no code of the folder is run."""
    refuse_unused(opening, preprocess="the image processor does it", config_options="it has no config")
    folder = Path(opening.target)
    if not (folder / "config.json").is_file():
        raise BadOptionError(f"{folder} holds no config.json; name a folder that save_pretrained wrote")
    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    except (ValueError, OSError) as error:
        raise CaptureError(f"{folder}/config.json cannot be read: {str(error).splitlines()[0]}") from None
    if type(config) not in AutoModelForObjectDetection._model_mapping:
        raise CaptureError(f"{folder} is a {config.model_type!r}, which is no object detector of transformers")
    checkpoint = opening.checkpoint or next((str(folder / n) for n in _WEIGHTS if (folder / n).is_file()), "")
    if not checkpoint:
        raise BadOptionError(f"{folder} holds no weights ({', '.join(_WEIGHTS)}); name a file, or {RANDOM!r} for none")
    if hasattr(config, "use_pretrained_backbone"):
        config.use_pretrained_backbone = False
    torch.manual_seed(opening.seed)
    # Attention that keeps its weights: asked for, they are captured; other kinds never have them.
    model = AutoModelForObjectDetection.from_config(config, attn_implementation="eager")
    if checkpoint.endswith(".index.json"):
        model = AutoModelForObjectDetection.from_pretrained(
            str(folder), config=config, local_files_only=True, use_safetensors=True, attn_implementation="eager"
        )
    else:
        load_checkpoint(model, checkpoint, opening.trusted)
    labels = getattr(config, "id2label", {}) or {}
    info = RunInfo(
        model=type(model).__name__,
        config=f"transformers:{opening.target}",
        checkpoint=checkpoint,
        classes=[str(labels.get(index, index)) for index in range(config.num_labels)],
        versions=versions("transformers"),
    )
    return TransformersDetector(model, _processor(folder, config, opening.input_size), info, opening.score_threshold)


def _processor(folder: Path, config: Any, size: Optional[Size]) -> Any:
    fitted = {"size": {"height": size[0], "width": size[1]}} if size else {}
    if (folder / "preprocessor_config.json").is_file():
        return AutoImageProcessor.from_pretrained(str(folder), local_files_only=True, **fitted)
    kinds = IMAGE_PROCESSOR_MAPPING[type(config)]
    kind = next(k for k in (kinds.values() if isinstance(kinds, dict) else reversed(kinds)) if k is not None)
    return kind(**fitted)

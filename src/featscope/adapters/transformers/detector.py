"""Open models of transformers from a local folder: detectors such as DETR with boxes, others only with maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, List, NamedTuple, Optional, Protocol, Sequence, Tuple, Union, cast

import msgspec
import torch
from torch import nn

from featscope.adapters.detector import (
    Detected,
    Detector,
    Item,
    Opening,
    boxes_on_original,
    load_picture,
    no_candidates,
    refuse_unused,
    versions,
)
from featscope.adapters.transformers.companion import finds_boxes
from featscope.adapters.transformers.folder import inputs_of, open_folder, tokenizer_of
from featscope.adapters.transformers.processor import PIXELS, Placed, ProcessedImages
from featscope.arrays.assigned import QUERIES, AssignedSizes
from featscope.arrays.found_again import differences
from featscope.arrays.selecting import select
from featscope.capturing.calls import ModelCall
from featscope.capturing.layers import parameters_of
from featscope.capturing.layers import select as select_layers
from featscope.capturing.listener import LayerInput
from featscope.errors import BadOptionError, CaptureError, FeatscopeError, first_line
from featscope.explaining.candidates import CandidateLevel, Candidates
from featscope.records import Boxes, Picture, RunInfo, Selection, Size

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.utils.generic import ModelOutput


_SCORE = 0.5  # transformers' own threshold
_TEXT = "an object"
_ASSIGNED = AssignedSizes(unknown=QUERIES)  # the losses in transformers.loss match queries (`HungarianMatcher`)
_NOWHERE = "the position of images in the input is unknown for this image processor, so they have no geometry"

Features = Dict[str, torch.Tensor]


class _Queries(Protocol):
    """The part of a detector's output that is used here."""

    logits: torch.Tensor
    pred_boxes: torch.Tensor


class _Fed(NamedTuple):
    """An image and the output of the image processor for it alone."""

    picture: Picture
    features: Features

    @property
    def size(self) -> Size:
        return self.picture.shape[0], self.picture.shape[1]


def _fed(item: Item) -> _Fed:
    return cast(_Fed, item.inputs)


class TransformersModel(Detector):
    """Any vision model with its image processor. Its maps are captured; what it detects is unknown.

    A model that needs text always receives the same text, which its remarks mention.
    """

    def __init__(self, model: PreTrainedModel, images: ProcessedImages, info: RunInfo, folder: Path) -> None:
        super().__init__(nn.Module.eval(model), info)
        self._images = images
        self._takes = frozenset(inputs_of(type(model)))
        self._text: Features = {}
        if "input_ids" in self._takes:
            self._text, remark = _text_for(folder)
            self.remarks = [*self.remarks, remark]

    def prepare(self, image: Union[Path, Picture], sample_id: str) -> Item:
        """Read an image and run the image processor on it."""
        picture, sample = load_picture(image, sample_id, "pillow+exif")
        fed = _Fed(picture, self._images.features([picture]))
        (placed,) = self._images.places([fed.size])
        if placed is None and _NOWHERE not in self.remarks:
            self.remarks = [*self.remarks, _NOWHERE]
        sample = msgspec.structs.replace(sample, geometry=placed and placed.geometry)
        return Item(sample, fed, self._images.picture(fed.features[PIXELS][0], placed))

    def detect(self, items: Sequence[Item], candidates: bool = False) -> List[Detected]:
        """Run the model."""
        if candidates:
            raise no_candidates(self)
        features = self.features(items)
        self.run(features)
        return [
            Detected(
                msgspec.structs.replace(item.sample, geometry=placed and placed.geometry),
                picture=self._images.picture(values, placed),
            )
            for item, values, placed in zip(items, features[PIXELS], self.places(items))
        ]

    def features(self, items: Sequence[Item]) -> Features:
        """Return the output of the image processor for a batch."""
        if len(items) == 1:
            return _fed(items[0]).features
        return self._images.features([_fed(item).picture for item in items])

    def places(self, items: Sequence[Item]) -> List[Optional[Placed]]:
        """Return where the images lie in their batch."""
        return self._images.places([_fed(item).size for item in items])

    def run(self, features: Features) -> ModelOutput:
        """Return the model's output for a batch. Raises `CaptureError` if the model fails."""
        weight = next(w for w in parameters_of(self.model) if w.is_floating_point())
        number = len(features[PIXELS])
        text = {name: ids.expand(number, -1) for name, ids in self._text.items()}
        fed = {name: values for name, values in {**text, **features}.items() if name in self._takes}
        for name, values in fed.items():
            kind = weight.dtype if values.is_floating_point() else values.dtype
            fed[name] = values.to(weight.device, kind)
        try:
            return self.model(**fed)
        except FeatscopeError:
            raise
        except Exception as error:
            raise CaptureError(
                f"{self.info.model} cannot run on {', '.join(fed)} ({' x '.join(map(str, features[PIXELS].shape))}): "
                f"{first_line(error)}; if it needs more inputs, run it in your own script, in featscope.capture(model)"
            ) from error

    def inputs(self, layers: Optional[Sequence[str]]) -> Sequence[LayerInput]:
        """Return the sampling points of requested layers of deformable attention, as `<layer>.sampling_points`.

        They tell where each query looks, (N, queries, heads, levels, points, 2), relative to the size of the input.
        """
        found = []
        for layer in select_layers(self.model, self.patterns(layers)) if layers else ():
            inner = getattr(layer.module, "attn", None)
            if "MultiscaleDeformableAttention" in type(layer.module).__name__ and isinstance(inner, nn.Module):
                found.append(LayerInput(f"{layer.name}.sampling_points", inner, _sampling_points))
        return found


class TransformersDetector(TransformersModel):
    """A model for object detection: DETR, Conditional, DAB, Deformable and RT-DETR, D-FINE, YOLOS, ..."""

    traceable = True

    def __init__(
        self,
        model: PreTrainedModel,
        images: ProcessedImages,
        info: RunInfo,
        folder: Path,
        decode: Callable[..., List[Features]],
        score: Optional[float],
    ) -> None:
        super().__init__(model, images, info, folder)
        self._decode, self._score = decode, _SCORE if score is None else score
        self._softmax: Optional[bool] = None
        self._selection: Tuple[Optional[Selection], str] = None, ""
        # The first part of a model computes features from pixels, whatever its name is.
        first = next(name for name, _ in model.base_model.named_children())
        self.layer_to_explain = first if model.base_model is model else f"{model.base_model_prefix}.{first}"

    def detect(self, items: Sequence[Item], candidates: bool = False) -> List[Detected]:
        """Run the network and the processor's postprocessing."""
        features = self.features(items)
        output = self.run(features)
        sizes = [_fed(item).size for item in items]
        queries = hasattr(output, "logits") and hasattr(output, "pred_boxes")
        kept = self._found(output, self._score, sizes) if queries else [None] * len(items)
        untraced = self._untraced(output)
        if candidates and not untraced and self._softmax is None:
            self._softmax = self._is_softmax(output, sizes)
            self._selection = self._find_selection(output, sizes)
        found = []
        for index, (item, rows, placed) in enumerate(zip(items, kept, self.places(items))):
            predictions = None
            if rows is not None:
                predictions = _detections(rows)
            sample = msgspec.structs.replace(item.sample, geometry=placed and placed.geometry, predictions=predictions)
            raw = self._queries(output, index, sizes[index]) if candidates and not untraced else None
            picture = self._images.picture(features[PIXELS][index], placed)
            found.append(Detected(sample, raw, untraced if candidates else "", picture))
        return found

    def _untraced(self, output: ModelOutput) -> str:
        """Return why an output does not have known raw boxes; '' if it has."""
        if not (hasattr(output, "logits") and hasattr(output, "pred_boxes")):
            return f"{self.info.model} returned {', '.join(output)}, but not logits and pred_boxes"
        numbers = cast(_Queries, output).pred_boxes.shape[-1]
        return (
            ""
            if numbers == 4
            else f"{self.info.model} returned boxes of {numbers} numbers, but only boxes of 4 are supported"
        )

    def _found(self, output: ModelOutput, threshold: float, sizes: Sequence[Size]) -> List[Features]:
        """Postprocess an output. Raises `CaptureError` if the processor does not belong to the model."""
        try:
            with torch.no_grad():
                return self._decode(output, threshold, target_sizes=list(sizes))
        except Exception as error:
            raise CaptureError(
                f"the image processor cannot postprocess the output of {self.info.model}: {first_line(error)}; save "
                "the image processor that belongs to the model in its folder with save_pretrained"
            ) from error

    def _is_softmax(self, output: ModelOutput, sizes: Sequence[Size]) -> bool:
        """Whether the processor computes scores by a softmax, with a last class for 'no object', or by a sigmoid.

        Models of one kind may have different processors, so this is found by the scores that the processor gives for
        logits that are all 1.
        """
        even = type(output)(**{**output, "logits": torch.ones_like(cast(_Queries, output).logits)})
        scores = self._found(even, -1.0, sizes)[0]["scores"].float()
        return not torch.allclose(scores, torch.ones_like(scores).sigmoid(), atol=1e-3)

    def _queries(self, output: ModelOutput, index: int, original: Size) -> Candidates:
        given = cast(_Queries, output)
        logits, boxes = given.logits[index], given.pred_boxes[index]
        scores = logits.softmax(-1)[..., :-1] if self._softmax else given.logits.sigmoid()[index]
        height, width = original
        corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
        corners = corners * corners.new_tensor([width, height, width, height])
        return Candidates([CandidateLevel(logits, scores, corners, "query")], "xyxy", *self._selection, _ASSIGNED)

    def _find_selection(self, output: ModelOutput, sizes: Sequence[Size]) -> Tuple[Optional[Selection], str]:
        """Find how the processor selects detections, by what it makes of an output that is made up.

        DETR's takes the best class of each query, Deformable DETR's the best 100 pairs, RT-DETR's as many as queries.
        """
        given = cast(_Queries, output)
        maker = torch.Generator().manual_seed(0)
        logits, boxes = (torch.randn(some.shape, generator=maker).to(some) for some in (given.logits, given.pred_boxes))
        drawn = type(output)(**{**output, "logits": 3 * logits, "pred_boxes": boxes.sigmoid()})
        found = self._found(drawn, -1.0, sizes)[0]
        detections = _detections(found)
        candidates = self._queries(drawn, 0, sizes[0]).arrays()
        # All scores of one value show whether a score equal to the threshold is kept.
        even = type(output)(**{**output, "logits": torch.ones_like(logits)})
        score = float(self._found(even, -1.0, sizes)[0]["scores"][0])
        inclusive = bool(len(self._found(even, score, sizes)[0]["scores"]))
        for labels, count in (("best", 0), ("all", 0), ("all", len(detections.labels))):
            how = Selection(labels=labels, inclusive=True, maximum=count)
            if not differences(select(candidates, how), detections):
                return msgspec.structs.replace(how, threshold=self._score, inclusive=inclusive), ""
        return None, "the image processor selects detections in a way that featscope does not know"


def _detections(found: Features) -> Boxes:
    """Return what the processor found in an image."""
    boxes, scores, labels = (found[name].detach().float().cpu().numpy() for name in ("boxes", "scores", "labels"))
    return boxes_on_original("xyxy", boxes, scores, labels)


def _sampling_points(call: ModelCall) -> Optional[torch.Tensor]:
    for value in call.values:
        if isinstance(value, torch.Tensor) and value.dim() == 6 and value.shape[-1] == 2:
            return value
    return None


def _text_for(folder: Path) -> Tuple[Features, str]:
    """Return the text input for a model that needs text, and a remark on it."""
    tokenizer = tokenizer_of(folder)
    if tokenizer is not None:
        made = dict(tokenizer([_TEXT], return_tensors="pt"))
        return made, f"the model needs text; it received {_TEXT!r}, and its detections are not stored"
    ids = torch.tensor([[1, 2]])
    return (
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
        "the model needs text, but its folder has no tokenizer; it received two arbitrary tokens (1, 2)",
    )


def open_detector(opening: Opening) -> Detector:
    """Open the model in a folder with config.json. Nothing is downloaded, and code in the folder is not run."""
    refuse_unused(opening, preprocess="the image processor prepares the images", config_options="it has no config")
    folder = Path(opening.target)
    found = open_folder(opening)
    kind, config = type(found.model), found.model.config
    decode = getattr(found.processor, "post_process_object_detection", None) if finds_boxes(found.model) else None
    labels = getattr(config, "id2label", None) or {}
    info = RunInfo(
        model=kind.__name__,
        config=f"transformers:{opening.target}",
        checkpoint=found.checkpoint,
        classes=[str(labels.get(index, index)) for index in range(config.num_labels or 0)] if decode else [],
        versions=versions("transformers"),
    )
    images = ProcessedImages(found.processor)
    if opening.score_threshold is not None and decode is None:
        raise BadOptionError(
            f"--score-threshold cannot be used with {opening.target}: {kind.__name__} does not detect boxes"
        )
    detector: TransformersModel
    if decode is not None:
        detector = TransformersDetector(found.model, images, info, folder, decode=decode, score=opening.score_threshold)
    else:
        detector = TransformersModel(found.model, images, info, folder)
    detector.remarks = [*detector.remarks, *found.remarks]
    return detector

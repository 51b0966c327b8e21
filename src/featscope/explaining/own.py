"""Explain a user's own detectors and targets, which are functions, not boxes of an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, List, Optional, Sequence, Tuple, Union, cast

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featscope.capturing.inputs import find_images, picture_of
from featscope.errors import BadOptionError, CaptureError
from featscope.explaining.candidates import CandidateLevel, Candidates
from featscope.explaining.items import Detected, Item
from featscope.explaining.targets import Detecting
from featscope.records import Boxes, Geometry, Picture, RunInfo, Sample
from featscope.store.images import read_image

Tensor = torch.Tensor

_READING = "pillow+exif"

TargetOf = Callable[[Any], Tensor]
"""The model's output for one image -> the number to explain, with its gradient."""

Found = Union[Boxes, Tuple[Any, Any, Any]]
"""Detections of one image: a record, or (boxes, scores, labels) in pixels of the picture."""

Predict = Callable[[NDArray[np.uint8]], Sequence[Found]]
"""Pictures (N, H, W, 3), RGB -> the detections of each."""


class PlainModel:
    """A PyTorch model that receives its input directly from the user.

    >>> item = PlainModel(model).prepare(torch.zeros(1, 3, 224, 224))               # doctest: +SKIP
    """

    layer_to_explain = ""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.info = model, RunInfo(model=type(model).__name__)

    def prepare(self, image: object, name: str = "image", picture: Optional[Picture] = None) -> Item:
        """Prepare an input: a tensor (3, H, W) or (1, 3, H, W), or anything else that the forward takes."""
        if isinstance(image, Tensor) and image.dim() == 3:
            image = image[None]
        images = find_images([image])
        size = images.size if images is not None else None
        if images is not None and images.number != 1:
            raise BadOptionError(f"explain one image at a time; this input contains {images.number}")
        seen = picture_of(images.each[0]) if images is not None and images.each else None
        if picture is not None:
            original = (picture.shape[0], picture.shape[1])  # the whole picture fills the input
            size = size or original
            return Item(Sample(name, geometry=Geometry(original, size, size)), image, seen, picture)
        return Item(Sample(name, geometry=None if size is None else Geometry(size, size, size)), image, seen)

    def detect(self, items: Sequence[Item], candidates: bool = False) -> Sequence[Detected]:
        """Run the model on a batch."""
        inputs = [item.inputs for item in items]
        tensors = [one for one in inputs if isinstance(one, Tensor)]
        if len(inputs) == 1:
            self.model(inputs[0])
        elif len(tensors) == len(inputs):
            self.model(torch.cat(tensors))
        else:
            raise BadOptionError("inputs that are not tensors must run one at a time; type batch_size=1")
        return [Detected(item.sample) for item in items]


class OwnTarget:
    """A model with a number that a function computes from its output, in place of detections.

    >>> OwnTarget(PlainModel(model), lambda output: output[281])                    # doctest: +SKIP

    The function receives the output for one image, as in pytorch-grad-cam: `output[0]` if the output is a tensor or a
    list with one entry for each image, otherwise the whole output.
    """

    def __init__(self, detector: Detecting, target: TargetOf) -> None:
        self.model, self.info = detector.model, msgspec.structs.replace(detector.info, classes=["target"])
        self.layer_to_explain: str = detector.layer_to_explain
        self._detector, self._target = detector, target

    def prepare(self, *arguments: Any) -> Item:
        """Prepare an image with the detector."""
        return self._detector.prepare(*arguments)

    def detect(self, items: Sequence[Item], candidates: bool = False) -> Sequence[Detected]:
        """Run the model once on a batch, and the target on the output for each image."""
        outputs: List[object] = []
        handle = self.model.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        try:
            self._detector.detect(items)
        finally:
            handle.remove()
        if not outputs:
            raise CaptureError(
                f"{self.info.model} was not run by its forward but by another method, "
                "so there is no output for the target"
            )
        return [
            Detected(item.sample, self._candidates(item.sample, output))
            for item, output in zip(items, _by_image(outputs[-1], len(items)))
        ]

    def _candidates(self, sample: Sample, output: object) -> Candidates:
        value = self._target(output)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
            what = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise BadOptionError(
                f"the target returned {what}; it must return one number as a tensor: lambda output: output[281]"
            )
        height, width = sample.geometry.original if sample.geometry is not None else (1, 1)
        box = torch.tensor([[0.0, 0.0, float(width), float(height)]])
        number = value.reshape(1, 1)
        return Candidates([CandidateLevel(number, number.detach(), box, "image")], "xyxy")


class OwnPredict:
    """A function from pictures to detections without known layers, which only hiding methods can explain.

    >>> OwnPredict(lambda pictures: [detect(picture) for picture in pictures])      # doctest: +SKIP
    """

    layer_to_explain = ""

    def __init__(self, predict: Predict) -> None:
        self.model = _Predictor(predict)
        self.info = RunInfo(model=getattr(predict, "__name__", "predict"))
        self._labels = 1  # the number of classes seen so far

    def prepare(self, image: Union[Path, Picture], name: str = "image") -> Item:
        """Prepare an image file, rotated by its orientation tag, or a picture (H, W, 3), RGB."""
        sample = Sample(name)
        picture: object = image
        if isinstance(image, Path):
            picture, sample = read_image(image, _READING), Sample(name, str(image.absolute()), reading=_READING)
        if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] != 3:
            what = f"an array {picture.shape}" if isinstance(picture, np.ndarray) else f"a {type(picture).__name__}"
            raise BadOptionError(f"{what} is not a picture; give an array (H, W, 3) of uint8, RGB")
        size = (picture.shape[0], picture.shape[1])
        sample = msgspec.structs.replace(sample, geometry=Geometry(size, size, size))
        return Item(sample, torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float(), picture)

    def detect(self, items: Sequence[Item], candidates: bool = False) -> Sequence[Detected]:
        """Run the function on a batch of pictures of one size."""
        found = self.model(torch.cat([cast(Tensor, item.inputs) for item in items]))
        self._labels = max([self._labels, *(label + 1 for boxes in found for label in boxes.labels)])
        return [
            Detected(
                msgspec.structs.replace(item.sample, predictions=boxes),
                Candidates([_level_of(boxes, self._labels)], boxes.form),
            )
            for item, boxes in zip(items, found)
        ]


class _Predictor(nn.Module):
    """The function as a module, so that parts of its input can be hidden as for any network."""

    def __init__(self, predict: Predict) -> None:
        super().__init__()
        self._predict = predict

    def forward(self, pictures: Tensor) -> List[Boxes]:
        """Pictures (N, 3, H, W) from 0 to 255 -> the detections of each."""
        arrays = pictures.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
        found = self._predict(arrays)
        if not isinstance(found, (list, tuple)) or len(found) != len(arrays):
            raise BadOptionError(
                f"predict returned {_what(found)} for {len(arrays)} pictures; it must return the detections of each: a "
                "list of (boxes, scores, labels) or of featscope.records.Boxes"
            )
        return [one if isinstance(one, Boxes) else _boxes_of(one) for one in found]


def _boxes_of(found: Tuple[Any, Any, Any]) -> Boxes:
    """Make a record of (boxes, scores, labels). Boxes have 4 numbers (two corners), 5 (rotated) or 8 (four corners)."""
    try:
        boxes, scores, labels = (np.asarray(part, np.float64) for part in found)
        if not boxes.size:
            return Boxes("xyxy", [], [], [])
        form = {4: "xyxy", 5: "cxcywha", 8: "quad"}[boxes.shape[1]]
        return Boxes(form, boxes.tolist(), labels.astype(int).tolist(), scores.tolist())
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise BadOptionError(
            f"predict returned {_what(found)} for a picture ({error}); it must return (boxes, scores, labels): boxes "
            "(n, 4), (n, 5) or (n, 8), and n scores and labels"
        ) from None


def _what(found: object) -> str:
    return f"{len(found)} entries" if isinstance(found, (list, tuple)) else f"a {type(found).__name__}"


def _level_of(boxes: Boxes, classes: int) -> CandidateLevel:
    """Return detections as candidates, because no other candidates are known."""
    count = len(boxes.boxes)
    scores = torch.zeros(count, classes)
    scores[torch.arange(count), torch.tensor(boxes.labels, dtype=torch.long)] = torch.tensor(
        boxes.scores, dtype=torch.float32
    )
    numbers = {"xyxy": 4, "cxcywha": 5, "quad": 8}[boxes.form]
    values = torch.tensor(boxes.boxes, dtype=torch.float64).reshape(count, numbers)
    return CandidateLevel(scores, scores, values, "query")


def _by_image(output: object, count: int) -> List[object]:
    """Split a model's output into one entry for each image of a batch."""
    if isinstance(output, (Tensor, list, tuple)) and len(output) == count:
        return list(output)
    if count == 1:
        return [output]
    raise BadOptionError(
        f"the model returned {_what(output)} for {count} images, so they cannot be assigned; type batch_size=1"
    )

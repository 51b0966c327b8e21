"""torchvision's detectors in a user's own script. They resize images themselves and return boxes in original pixels."""

from __future__ import annotations

import threading
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from featscope.adapters.companions import ScriptModel, script_info
from featscope.adapters.detector import boxes_on_original
from featscope.arrays.agreement import SIDE, Thumbnail, thumbnail
from featscope.capturing.calls import ModelCall, unwatch, watch
from featscope.capturing.inputs import Known, find_images, picture_of
from featscope.records import Boxes, Geometry, Picture, Sample


def accompany(model: nn.Module, owners: Sequence[object], provenance: bool) -> Optional[ScriptModel]:
    """Return what is known about a torchvision detector, which resizes images itself; None for other models."""
    if not _fits_images(model):
        return None
    return ScriptModel(model, TorchvisionCompanion(), script_info(model, "torchvision"), ("transform",))


def companion_of(model: nn.Module, pictures: bool) -> Optional[TorchvisionCompanion]:
    """Return the companion of a torchvision detector; None for other models."""
    return TorchvisionCompanion(pictures) if _fits_images(model) else None


def _fits_images(model: nn.Module) -> bool:
    return isinstance(getattr(model, "transform", None), GeneralizedRCNNTransform)


class _Fitted(NamedTuple):
    """The result of a detector's transform for a list of images."""

    batch: ImageList
    transform: GeneralizedRCNNTransform


class TorchvisionCompanion:
    """Observes how a detector's `transform` fits the images, and what the detector finds in them.

    pictures: whether to keep pictures of the inputs.
    """

    def __init__(self, pictures: bool = True) -> None:
        self._pictures = pictures
        self._watching = False
        self._threads = threading.local()

    def before(self, call: ModelCall) -> Optional[Known]:
        """Return numbered samples, because the image files are unknown."""
        images = find_images(call.values)
        if images is None or len(images.each) != images.number:
            return None
        if not self._watching:
            watch(self)
            self._watching = True
        self._threads.fitted = None
        return Known([Sample("") for _ in images.each])

    def after(self, call: ModelCall, known: Known, output: object) -> Optional[Known]:
        """Return how the images were fitted, and what was found in them."""
        fitted: Optional[_Fitted] = getattr(self._threads, "fitted", None)
        images = find_images(call.values)
        if fitted is None or images is None or len(fitted.batch.image_sizes) != len(known.samples):
            return None
        padded = (int(fitted.batch.tensors.shape[-2]), int(fitted.batch.tensors.shape[-1]))
        samples: List[Sample] = []
        pictures: List[Optional[Picture]] = []
        originals: List[Optional[Thumbnail]] = []
        for index, (image, (height, width)) in enumerate(zip(images.each, fitted.batch.image_sizes)):
            original = (int(image.shape[-2]), int(image.shape[-1]))
            geometry = Geometry(original, (int(height), int(width)), padded)
            samples.append(Sample("", geometry=geometry, predictions=_boxes_of(output, index)))
            pictures.append(input_picture(fitted.transform, fitted.batch.tensors[index]) if self._pictures else None)
            originals.append(_small(image) if self._pictures else None)
        return Known(samples, pictures, originals=originals)

    def close(self) -> None:
        """Stop watching."""
        unwatch(self)

    def begin(
        self, module: nn.Module, arguments: Tuple[object, ...], named: Dict[str, object]
    ) -> Optional[_Transforming]:
        """Notice that a module is called (`featscope.capturing.calls`)."""
        return _Transforming(module, self._threads) if isinstance(module, GeneralizedRCNNTransform) else None


class _Transforming:
    """A call of a detector's transform."""

    def __init__(self, transform: GeneralizedRCNNTransform, threads: threading.local) -> None:
        self._transform, self._threads = transform, threads

    def end(self, output: object) -> None:
        """Note how the images were fitted."""
        batch = output[0] if isinstance(output, tuple) else None
        if isinstance(batch, ImageList):
            self._threads.fitted = _Fitted(batch, self._transform)

    def fail(self) -> None:
        """Do nothing."""


def _boxes_of(output: object, index: int) -> Optional[Boxes]:
    """Return what was found in an image; None during training, when the output is losses."""
    if not isinstance(output, (list, tuple)) or index >= len(output):
        return None
    found = output[index]
    if not isinstance(found, Mapping) or not {"boxes", "scores", "labels"} <= set(found):
        return None
    boxes, scores, labels = (found[name].detach().float().cpu().numpy() for name in ("boxes", "scores", "labels"))
    return boxes_on_original("xyxy", boxes, scores, labels)


def input_picture(transform: GeneralizedRCNNTransform, image: torch.Tensor) -> Optional[Picture]:
    """Return the picture of an input (3, H, W) with its padding, before normalisation."""
    image = image.detach()
    mean, deviation = (
        image.new_tensor(values)[:, None, None] for values in (transform.image_mean, transform.image_std)
    )
    return picture_of((image * deviation + mean).clamp(0, 1))


def _small(image: torch.Tensor) -> Optional[Thumbnail]:
    """Return a thumbnail of an image as the script gave it."""
    picture = picture_of(image)
    return None if picture is None else thumbnail(picture, 2 * SIDE)

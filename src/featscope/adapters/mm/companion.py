"""The companion for MMEngine: reads data samples, both for the hook and for a user's own script."""

from __future__ import annotations

import threading
import warnings
from contextlib import ExitStack
from functools import partial
from types import FrameType
from typing import Mapping, NamedTuple, Optional, Sequence, Tuple, cast

import torch
from mmengine.model import BaseModel, BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop
from msgspec.structs import replace
from torch import nn

from featscope.adapters.companions import ScriptModel
from featscope.adapters.mm.heads import HeadCall, HeadCalls, candidates_of, head_calls
from featscope.adapters.mm.reading import reading_of, reading_of_call
from featscope.adapters.mm.runners import NOT_FEATURES, info_of, trains
from featscope.adapters.mm.samples import (
    Annotations,
    DataSample,
    annotations_of,
    before_normalisation,
    believed_geometry,
    boxes_of,
    geometry_of,
    path_of,
    picture_of,
    sample_id,
    truth_of,
)
from featscope.capturing.calls import Methods, ModelCall
from featscope.capturing.inputs import Known, PlainImages
from featscope.errors import FeatscopeWarning
from featscope.explaining.candidates import Candidates, proved_arrays
from featscope.explaining.provenance import find_sources
from featscope.records import Geometry, Picture, Sample, Size


def accompany(model: nn.Module, owners: Sequence[object], provenance: bool) -> Optional[ScriptModel]:
    """Return what is known about a model of MMEngine that a script is about to run; None for other models.

    With test-time augmentation it is the network inside the wrapper. A loop among the owners tells the data set.
    """
    network, augmenting = network_of(model)
    if not isinstance(network, BaseModel):
        return None
    loop = next((owner for owner in owners if isinstance(owner, BaseLoop)), None)
    dataset = loop.dataloader.dataset if loop is not None else None
    # Training and its validations process images several times, so do not limit the run to the data set's size.
    size = len(dataset) if dataset is not None and loop is not None and not trains(loop.runner) else None
    truth, reading = annotations_of(dataset), None if dataset is None else reading_of(dataset)
    companion = MMCompanion(network, dataset is not None, truth, provenance, augmenting, reading=reading)
    return ScriptModel(network, companion, info_of(network, getattr(loop, "runner", None), dataset), NOT_FEATURES, size)


def companion_of(model: nn.Module, pictures: bool) -> Optional[MMCompanion]:
    """Return the companion of a model of MMEngine; None for other models."""
    return MMCompanion(model, pictures=pictures) if isinstance(model, BaseModel) else None


def network_of(model: nn.Module) -> Tuple[nn.Module, Optional[nn.Module]]:
    """Return the network inside wrappers for ranks and test-time augmentation, and the latter wrapper."""
    augmenting: Optional[nn.Module] = None
    while isinstance(model, BaseTTAModel) or is_model_wrapper(model):
        augmenting = model if isinstance(model, BaseTTAModel) else augmenting
        model = cast(nn.Module, model.module)
    return model, augmenting


class _Given(NamedTuple):
    """The images and the data samples in the arguments of a call."""

    images: object
    samples: Sequence[DataSample]


class _Read(NamedTuple):
    """The content of a batch's data samples."""

    samples: Sequence[Sample]

    believed: Sequence[Optional[Geometry]]  # with which the framework converted boxes to the original

    sizes: Sequence[Optional[Size]]  # of each image without the padding of the batch


class _Noted(NamedTuple):
    """The result of a forward for a batch."""

    read: _Read

    images: object  # as the pipeline made them or, if `normalised`, as the network received them

    normalised: bool

    head: Optional[HeadCall]  # the call that made the detections


class MMCompanion:
    """Reads the data samples that go through a model of MMEngine, and finds the source of each detection.

    of_data_set: whether the images come from a data set, whose ids are then used. truth: how the data set annotates
    its images; None if it does not. provenance: whether to find sources. augmenting: the wrapper for test-time
    augmentation, which runs the network once for each view. pictures: whether to keep pictures of the inputs. reading:
    how the data set reads its files; None without a data set, when each call may show it.
    """

    def __init__(
        self,
        model: nn.Module,
        of_data_set: bool = False,
        truth: Optional[Annotations] = None,
        provenance: bool = False,
        augmenting: Optional[nn.Module] = None,
        pictures: bool = True,
        reading: Optional[str] = None,
    ) -> None:
        self._model, self._of_data_set, self._truth, self._pictures = model, of_data_set, truth, pictures
        self._augmenting = Methods(augmenting) if augmenting is not None else None
        self._reading = reading
        self._provenance, self._listening = provenance, ExitStack()
        self._heads = HeadCalls()
        self._plain = PlainImages(pictures)
        self._threads = threading.local()

    def before(self, call: ModelCall) -> Optional[Known]:
        """Return samples with the names of the images. Without data samples, treat the model as a plain one."""
        if self._provenance:  # not earlier, because the capture may not take place
            self._provenance = False
            self._heads = self._listening.enter_context(head_calls(self._model))
        self._threads.images = None
        self._heads.clear()
        given = _given(call)
        if given is None:
            return self._plain.before(call)
        self._threads.images = given.images
        view = self._view()
        reading = reading_of_call() if self._reading is None else self._reading
        samples = [
            Sample(sample_id(one.metainfo, self._of_data_set), path_of(one.metainfo), view=view, reading=reading)
            for one in given.samples
        ]
        if self._augmenting is not None:  # views are named after their image
            samples = [one if one.id else replace(one, id=f"image{row}") for row, one in enumerate(samples)]
        return Known(samples)

    def _view(self) -> int:
        """Return the number of the view that is about to run in a call of `test_step`."""
        frame = self._augmenting.nearest("test_step") if self._augmenting is not None else None
        before: Optional[FrameType] = getattr(self._threads, "augmenting", None)
        self._threads.view = self._threads.view + 1 if frame is not None and frame is before else 0
        self._threads.augmenting = frame
        return int(self._threads.view)

    def after(self, call: ModelCall, known: Known, output: object) -> Optional[Known]:
        """Return geometry, predictions and ground truth. Pictures and sources follow when the batch ends, if wanted."""
        given = _given(call)
        if given is None or len(given.samples) != len(known.samples):
            return None
        found = _data_samples(output)
        predicted = found if found is not None and len(found) == len(known.samples) else None
        padded = _size_of_batch(given.images)
        try:
            read = self._read(
                known.samples, given.samples if predicted is None else predicted, padded, predicted is not None
            )
        except Exception as error:  # noqa: BLE001 (the user's data sample may raise any error)
            self._warn(f"featscope cannot read the data samples of {type(self._model).__name__}: {error}")
            return None
        images, normalised = self._threads.images, False
        larger = padded is not None and any(_is_larger(image, padded) for image in _each(images))
        if images is None or images is given.images or larger:
            # Only the output of the data preprocessor was seen. Copy it, because the user's code may write into it
            # before the picture is made.
            images = given.images.detach().clone() if isinstance(given.images, torch.Tensor) else None
            normalised = True
        made = _Noted(read, images, normalised, self._heads.last if predicted is not None else None)
        self._threads.images = None
        self._heads.clear()
        return Known(read.samples, later=lambda: self._complete(made))

    def _read(
        self, samples: Sequence[Sample], data: Sequence[DataSample], padded: Optional[Size], predicted: bool
    ) -> _Read:
        """Read the data samples of a batch. predicted: whether they contain the model's predictions."""
        head = self._heads.last if predicted else None
        decoder = head.head if head is not None else getattr(self._model, "bbox_head", None)
        claims = [geometry_of(one.metainfo, padded) for one in data]
        believed = [believed_geometry(one.metainfo, claim, decoder) for one, claim in zip(data, claims)]
        described = [
            self._described(sample, one, claim, belief) if predicted else replace(sample, geometry=claim)
            for sample, one, claim, belief in zip(samples, data, claims, believed)
        ]
        return _Read(described, believed, [_size_of(one.metainfo) for one in data])

    def _described(
        self, sample: Sample, data: DataSample, geometry: Optional[Geometry], believed: Optional[Geometry]
    ) -> Sample:
        predictions = boxes_of(data.get("pred_instances"), believed, geometry)
        truth = truth_of(data, self._truth)
        return replace(sample, geometry=geometry, predictions=predictions, truth=truth)

    def _complete(self, made: _Noted) -> Known:
        """Return the samples with the sources of their detections, and the pictures."""
        raw = self._candidates(made)
        samples = [
            replace(sample, sources=find_sources(of_image, sample.predictions))
            if of_image is not None and sample.predictions is not None
            else sample
            for sample, of_image in zip(made.read.samples, raw)
        ]
        pictures = [self._picture(made, row) for row in range(len(samples))]
        found = [sample.predictions for sample in samples]
        arrays = [None if one is None else partial(proved_arrays, one, boxes) for one, boxes in zip(raw, found)]
        return Known(samples, pictures, candidates=arrays)

    def _candidates(self, made: _Noted) -> Sequence[Optional[Candidates]]:
        """Return the raw outputs behind the detections. If the head fails, the user's loop continues without them."""
        nothing = [None] * len(made.read.samples)
        if made.head is None:
            return nothing
        try:
            with torch.no_grad():
                found = candidates_of(made.head, made.read.believed, [sample.geometry for sample in made.read.samples])
        except Exception as error:  # noqa: BLE001 (the user's head may raise any error; the test must continue)
            self._warn(f"featscope cannot trace the detections of this head: {error}")
            self._listening.close()
            self._heads = HeadCalls()
            return nothing
        return found if len(found) == len(made.read.samples) else nothing

    def _picture(self, made: _Noted, row: int) -> Optional[Picture]:
        images = made.images
        # A picture is also needed to compare the file with the input, even if it is not kept.
        if not (self._pictures or made.read.samples[row].path) or row >= len(_each(images)):
            return None
        image = _each(images)[row]
        if made.normalised and isinstance(image, torch.Tensor) and image.dim() == 3:
            size = made.read.sizes[row]
            if size is not None and size[0] <= image.shape[1] and size[1] <= image.shape[2]:
                image = image[:, : size[0], : size[1]]
            image = before_normalisation(image, getattr(self._model, "data_preprocessor", None))
        return picture_of(image)

    def _warn(self, text: str) -> None:
        warnings.warn(text, FeatscopeWarning, stacklevel=2)

    def close(self) -> None:
        """Stop listening."""
        self._listening.close()
        self._threads = threading.local()


def _size_of_batch(images: object) -> Optional[Size]:
    """Return the size of an input (N, C, H, W) with its padding."""
    if not isinstance(images, torch.Tensor) or images.dim() != 4:
        return None
    return int(images.shape[-2]), int(images.shape[-1])


def _each(images: object) -> Sequence[object]:
    if isinstance(images, torch.Tensor):
        return list(images)
    return images if isinstance(images, (list, tuple)) else ()


def _is_larger(image: object, size: Size) -> bool:
    """Whether an image is larger than the input, because it was changed again when the batch was made."""
    return (
        isinstance(image, torch.Tensor) and image.dim() == 3 and (image.shape[1] > size[0] or image.shape[2] > size[1])
    )


def _size_of(meta: Mapping[str, object]) -> Optional[Size]:
    """Return the size of an image before it was padded in the batch."""
    shape = meta.get("img_shape")
    if not isinstance(shape, (list, tuple)) or len(shape) < 2 or not all(isinstance(n, int) for n in shape[:2]):
        return None
    return int(shape[0]), int(shape[1])


def _given(call: ModelCall) -> Optional[_Given]:
    """Find the images and data samples in the arguments of `test_step(data)`, `forward(inputs, data_samples)`, ..."""
    places = ("inputs", "data_samples")
    named: Mapping[str, object] = {**dict(zip(places, call.arguments)), **call.named}
    data = named.get("data")
    if isinstance(data, Mapping):
        named = data
    elif isinstance(data, (list, tuple)):
        named = dict(zip(places, data))
    samples = next((_data_samples(named[name]) for name in (places[1], f"batch_{places[1]}") if name in named), None)
    images = next((named[name] for name in (places[0], f"batch_{places[0]}") if name in named), None)
    return _Given(images, samples) if samples else None


def _data_samples(value: object) -> Optional[Sequence[DataSample]]:
    """Return a list of data samples; None for anything else, such as the losses during training."""
    if not isinstance(value, (list, tuple)) or not value:
        return None
    return value if all(isinstance(getattr(one, "metainfo", None), Mapping) for one in value) else None

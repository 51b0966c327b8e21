"""Find what Ultralytics feeds to its networks: files, frames of videos or arrays, and how each was resized."""

from __future__ import annotations

import re
from pathlib import Path
from typing import List, Mapping, Optional, Protocol, Sequence, Tuple, Union, cast

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from ultralytics.engine.predictor import BasePredictor
from ultralytics.engine.validator import BaseValidator

from featscope.adapters.ultralytics.geometry import classifier_geometry, is_letterbox, letterbox_geometry
from featscope.adapters.ultralytics.reading import reading_of_data_set, reading_of_source
from featscope.capturing.calls import ModelCall, stack
from featscope.capturing.inputs import Images
from featscope.records import Geometry, Sample, Size

Owner = Union[BasePredictor, BaseValidator]
"""The object that feeds a network and decodes boxes from its output."""


class _Source(Protocol):
    """The kind of images that a predictor receives."""

    stream: bool
    tensor: bool


class _Network(Protocol):
    """The object that a predictor calls: `AutoBackend`."""

    stride: int


class _Predictor(Protocol):
    """The attributes of a `BasePredictor` while it predicts; its own type hints say None for some of them."""

    batch: Optional[Tuple[Sequence[str], Sequence[Union[NDArray[np.uint8], torch.Tensor]], Sequence[str]]]
    source_type: _Source
    transforms: Optional[object]
    imgsz: Sequence[int]
    model: _Network
    dataset: object


def feeder(call: ModelCall, images: Images) -> Tuple[Optional[Owner], Optional[List[Sample]]]:
    """Return the object that feeds a batch and decodes its boxes, and the samples of the batch, if known."""
    for value in call.values:  # a trainer's batch
        if isinstance(value, dict) and "im_file" in value:
            return None, _of_dict(value, images, None)
    for frame in stack():
        name = frame.f_code.co_name
        if name not in ("stream_inference", "__call__"):
            continue
        owner = frame.f_locals.get("self")
        if isinstance(owner, BasePredictor) and name == "stream_inference":
            return owner, _of_predictor(cast(_Predictor, owner), images)
        if isinstance(owner, BaseValidator):
            return owner, _of_dict(frame.f_locals.get("batch"), images, owner)
    return None, None


def _of_dict(batch: object, images: Images, validator: Optional[BaseValidator]) -> Optional[List[Sample]]:
    """Return the samples of a data set's batch. The geometry is only known in a validator, not in a trainer."""
    if not isinstance(batch, dict) or len(batch.get("im_file") or ()) != images.number:
        return None
    samples = []
    for index, path in enumerate(map(str, batch["im_file"])):
        geometry, reading = None, ""
        if validator is not None:
            geometry = _fitted(batch, index, images.size)
            reading = reading_of_data_set(getattr(validator.dataloader, "dataset", None), path)
        samples.append(Sample(Path(path).stem, str(Path(path).absolute()), geometry=geometry, reading=reading))
    return samples


def _fitted(batch: Mapping[str, Sequence[Sequence[float]]], index: int, padded: Optional[Size]) -> Optional[Geometry]:
    """Return the geometry that a data set records for its metrics."""
    if padded is None or not {"ori_shape", "ratio_pad"} <= set(batch):
        return None
    noted = np.asarray(batch["ratio_pad"][index], float)
    if noted.shape != (2, 2):
        return None
    (rows, columns), (left, top) = noted.tolist()
    height, width = (int(side) for side in batch["ori_shape"][index])
    resized = (round(height * rows), round(width * columns))
    if top + resized[0] > padded[0] or left + resized[1] > padded[1]:
        return None
    return Geometry((height, width), resized, padded, (int(top), int(left)))


def _of_predictor(predictor: _Predictor, images: Images) -> Optional[List[Sample]]:
    """Return the samples of a predictor's batch: files, frames of videos, arrays or streams."""
    if predictor.batch is None or len(predictor.batch[0]) != images.number:
        return None
    paths, originals, texts = predictor.batch[:3]
    kind = predictor.source_type
    samples = []
    for index, path in enumerate(map(str, paths)):
        shape = originals[index].shape
        original = (int(shape[-2]), int(shape[-1])) if kind.tensor else (int(shape[0]), int(shape[1]))
        geometry = _predicted(predictor, original, images.size or original)
        if Path(path).is_file():
            reading = reading_of_source(predictor.dataset, path)
            sample = Sample(Path(path).stem, str(Path(path).absolute()), geometry=geometry, reading=reading)
        else:  # Ultralytics invents names for arrays, and uses the same name for all single arrays
            sample = Sample(path if kind.stream else "", geometry=geometry)
        text = texts[index] if index < len(texts) else ""
        samples.append(_frame_of_film(sample, predictor, text))
    return samples


def _frame_of_film(sample: Sample, predictor: _Predictor, text: str) -> Sample:
    """Add the number and the time of a video frame. text: the loader's description, which contains the number."""
    count = re.match(r"video \d+/\d+ \(frame (\d+)/", text)
    if count is None:
        return sample
    loader = predictor.dataset
    frame = int(count[1]) * int(getattr(loader, "vid_stride", 1)) - 1
    rate = getattr(loader, "fps", None)
    # Older versions truncate the frame rate to an integer, which is not exact.
    time = frame / rate if isinstance(rate, float) and rate > 0 else None
    return replace(sample, id=f"{sample.id}_{frame}", frame=frame, time=time)


def _predicted(predictor: _Predictor, original: Size, padded: Size) -> Optional[Geometry]:
    """Return how a predictor resized an image; None if the user replaced Ultralytics' own preprocessing."""
    if predictor.source_type.tensor:
        return Geometry(padded, padded, padded) if original == padded else None
    for name in ("preprocess", "pre_transform"):
        way = getattr(type(predictor), name)
        if name in vars(predictor) or not way.__module__.startswith("ultralytics."):
            return None
    if predictor.transforms is not None:
        return classifier_geometry(predictor.transforms, original, padded)
    if getattr(predictor, "scale_fill", type(predictor).__name__ == "RTDETRPredictor"):
        return Geometry(original, padded, padded)
    target = (int(predictor.imgsz[0]), int(predictor.imgsz[1]))
    geometry = letterbox_geometry(original, padded, target)
    return geometry if is_letterbox(geometry, target, int(predictor.model.stride)) else None

"""What goes into a model: how many images, of which size, and what they look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable, Iterator, NamedTuple, Optional, Protocol, Sequence, Tuple

import numpy as np
import torch

from featscope.arrays.agreement import Thumbnail
from featscope.capturing.calls import ModelCall
from featscope.records import Geometry, Picture, Sample, Size

_DEEPEST = 4  # dicts in lists in dicts
_COLOURS = (1, 3, 4)
_FILES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


class Images(NamedTuple):
    """The images among the arguments of a call: how many, (height, width) of the input, and each one's tensor.

    batch: the one tensor that holds them all, where there is one. axes: which of its axes are the rows, the columns,
    the samples and the time.
    """

    number: int
    size: Optional[Size] = None
    each: Sequence[torch.Tensor] = ()
    batch: Optional[torch.Tensor] = None
    axes: Tuple[int, int, Optional[int], Optional[int]] = (2, 3, 0, None)


def find_images(values: Sequence[object]) -> Optional[Images]:
    """The images among what a model is given, also inside of lists and dicts; None where nothing looks like one.

    >>> find_images([torch.zeros(1, 1, 16, 16), {"img": torch.zeros(2, 3, 64, 96)}])[:2]
    (2, (64, 96))
    >>> find_images([[torch.zeros(3, 64, 96), torch.zeros(3, 48, 48)]])[:2]
    (2, None)

    A batch is a tensor (N, C, H, W) or (N, H, W, C); of several the one that has three colours, then the largest (a
    mask or a prompt is no image). Otherwise a list of images, or a single one.
    """
    found = list(_tensors(values, 0))
    batches = [tensor for tensor in found if tensor.dim() == 4 and not tensor.is_complex()]
    if batches:
        return _batch(max(batches, key=_rank))
    for value in _lists(values, 0):
        images = _list_of_images(value)
        if images is not None:
            return images
    for tensor in found:
        if tensor.dim() == 5:
            return _clip(tensor)
    for tensor in found:
        if tensor.dim() == 3 and (tensor.shape[0] in _COLOURS or tensor.shape[2] in _COLOURS):
            return _single(tensor)
    return None


def _batch(tensor: torch.Tensor) -> Images:
    rows, columns = _axes(tensor.shape[1:])
    size = (int(tensor.shape[1 + rows]), int(tensor.shape[1 + columns]))
    return Images(int(tensor.shape[0]), size, list(tensor), tensor, (1 + rows, 1 + columns, 0, None))


def _list_of_images(value: Sequence[object]) -> Optional[Images]:
    """A list of tensors (C, H, W), or of pictures that the model reads itself; None for any other list."""
    single = [next(_tensors([one], 1), None) for one in value]
    images = [tensor for tensor in single if tensor is not None and tensor.dim() == 3]
    if images and len(images) == len(value):
        return Images(len(images), None, images)
    return Images(len(value)) if value and all(map(_is_picture, value)) else None


def _clip(tensor: torch.Tensor) -> Images:
    """A film (N, C, T, H, W) or (N, T, C, H, W)."""
    time = 2 if tensor.shape[1] in _COLOURS and tensor.shape[2] not in _COLOURS else 1
    size = (int(tensor.shape[-2]), int(tensor.shape[-1]))
    return Images(int(tensor.shape[0]), size, (), tensor, (3, 4, 0, time))


def _single(tensor: torch.Tensor) -> Images:
    rows, columns = _axes(tensor.shape)
    size = (int(tensor.shape[rows]), int(tensor.shape[columns]))
    return Images(1, size, [tensor], tensor, (rows, columns, None, None))


def _tensors(values: Sequence[object], depth: int) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            if not value.is_nested:
                yield value
        elif depth < _DEEPEST:
            yield from _tensors(_inside(value), depth + 1)


def _lists(values: Sequence[object], depth: int) -> Iterator[Sequence[object]]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield value
        if depth < _DEEPEST:
            yield from _lists(_inside(value), depth + 1)


def _inside(value: object) -> Sequence[object]:
    if isinstance(value, (list, tuple)):
        return value
    content = getattr(value, "data", value)  # UserDict, as transformers' BatchFeature
    if isinstance(content, Mapping):
        return list(content.values())
    kept = getattr(value, "__dict__", {})  # an object around a batch, as DETR's NestedTensor
    return [one for one in kept.values() if isinstance(one, torch.Tensor) and one.dim() == 4]


def _is_picture(value: object) -> bool:
    """An array (H, W, 3), a picture of Pillow, or the path of a file."""
    if isinstance(value, np.ndarray):
        return value.ndim in (2, 3)
    if isinstance(value, str):  # a text is none: some models are asked by text
        return value.lower().endswith(_FILES)
    return hasattr(value, "__fspath__") or hasattr(value, "getbands")


def _rank(tensor: torch.Tensor) -> Tuple[bool, bool, int]:
    rows, columns = _axes(tensor.shape[1:])
    colours = tensor.shape[1 + ({0, 1, 2} - {rows, columns}).pop()]
    return colours == 3, colours in _COLOURS, int(tensor.shape[1 + rows] * tensor.shape[1 + columns])


def _axes(shape: Sequence[int]) -> Tuple[int, int]:
    """Which axes of an image (C, H, W) or (H, W, C) are rows and columns."""
    last = shape[2] in _COLOURS and shape[0] not in _COLOURS
    return (0, 1) if last else (1, 2)


def picture_of(image: torch.Tensor) -> Optional[Picture]:
    """An input as a picture: as it is where its values are those of one, else from its smallest to its largest value.

    >>> picture_of(torch.tensor([[[0.0, 1.0]]])).tolist()
    [[[0, 0, 0], [255, 255, 255]]]
    """
    if image.dim() != 3 or image.is_complex() or not image.numel() or image.device.type == "meta":
        return None
    values = image.detach()
    if _axes(values.shape) == (0, 1):
        values = values.permute(2, 0, 1)
    if values.shape[0] not in _COLOURS:
        return None
    values = values[:3].float().cpu()
    if image.dtype is not torch.uint8:
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 255:  # normalised by a mean that is not known here
            values = (values - low) / max(high - low, 1e-12)
            high = 1.0
        values = values * 255 if high <= 1 else values
    return values.expand(3, -1, -1).nan_to_num().round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


class Known(NamedTuple):
    """What is known of a batch's samples, in their order, and their pictures where they are at hand.

    A sample without an id is numbered. pictures: the inputs as the network saw them, with their padding, before
    normalisation. originals: the images, made small, where they are no files. forward: a method of the model that
    this call runs once for each view of its images, where it does: each of its calls after the first is a batch of
    its own, of which the companion is asked again. later: what is known when the batch is over and nobody else has
    described it.
    """

    samples: Sequence[Sample]
    pictures: Sequence[Optional[Picture]] = ()
    forward: str = ""
    later: Optional[Callable[[], Known]] = None
    originals: Sequence[Optional[Thumbnail]] = ()


class Companion(Protocol):
    """Goes along with a capture and says what a framework knows of the images: before a batch runs, and after."""

    def before(self, call: ModelCall) -> Optional[Known]:
        """The samples of a batch that is about to run; None where the call does not show them."""

    def after(self, call: ModelCall, known: Known, output: object) -> Optional[Known]:
        """The samples complete, with what was found in them; None where nothing more is known."""

    def close(self) -> None:
        """The capture is over."""


class NoCompanion:
    """The companion of a capture whose driver knows all of its images, and describes them itself."""

    def before(self, call: ModelCall) -> Optional[Known]:
        """Nothing."""
        return None

    def after(self, call: ModelCall, known: Known, output: object) -> Optional[Known]:
        """Nothing."""
        return None

    def close(self) -> None:
        """Nothing to close."""


class PlainImages:
    """The companion of models of which nothing is known but their inputs: images are numbered, and lie in the
    original's place themselves.

    pictures: whether to keep what the inputs look like.
    """

    def __init__(self, pictures: bool = True) -> None:
        self._pictures = pictures

    def before(self, call: ModelCall) -> Optional[Known]:
        """The images among the arguments."""
        images = find_images(call.values)
        if images is None:
            return None
        samples, pictures = [], []
        for index in range(images.number):
            picture = picture_of(images.each[index]) if self._pictures and index < len(images.each) else None
            size = images.size  # what becomes of a list of images, the model itself decides
            geometry = Geometry(size, size, size) if size is not None and min(size) > 0 else None
            samples.append(Sample("", geometry=geometry))
            pictures.append(picture)
        return Known(samples, pictures)

    def after(self, call: ModelCall, known: Known, output: object) -> Optional[Known]:
        """Nothing more."""
        return None

    def close(self) -> None:
        """Nothing to close."""

"""Find the images in a model's input: their number, their size and their appearance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable, Iterator, NamedTuple, Optional, Protocol, Sequence, Tuple

import numpy as np
import torch

from featscope.arrays.agreement import Thumbnail
from featscope.arrays.candidates import MakeCandidates
from featscope.capturing.calls import ModelCall
from featscope.records import Geometry, Picture, Sample, Size

_DEEPEST = 4  # the deepest nesting of lists and dicts that is searched
_COLOURS = (1, 3, 4)  # numbers of channels that an image may have
_FILES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


class Images(NamedTuple):
    """The images in the arguments of a call."""

    number: int
    """How many images there are."""

    size: Optional[Size] = None
    """Size of the input, (height, width)."""

    each: Sequence[torch.Tensor] = ()
    """The tensor of each image."""

    batch: Optional[torch.Tensor] = None
    """The tensor that holds all images, if there is one."""

    axes: Tuple[int, int, Optional[int], Optional[int]] = (2, 3, 0, None)
    """The axes of `batch` for rows, columns, samples and time."""


def find_images(values: Sequence[object]) -> Optional[Images]:
    """Find the images in a model's arguments, also inside lists and dicts; None if nothing looks like an image.

    >>> find_images([torch.zeros(1, 1, 16, 16), {"img": torch.zeros(2, 3, 64, 96)}])[:2]
    (2, (64, 96))
    >>> find_images([[torch.zeros(3, 64, 96), torch.zeros(3, 48, 48)]])[:2]
    (2, None)

    A batch is a tensor (N, C, H, W) or (N, H, W, C). Of several such tensors, those with three colours are preferred,
    then the largest one, because masks and prompts are not images. Without a batch, a list of images or a single image
    counts.
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
    content = getattr(value, "data", value)  # a UserDict such as BatchFeature of transformers
    if isinstance(content, Mapping):
        return list(content.values())
    kept = getattr(value, "__dict__", {})  # an object that wraps a batch, such as DETR's NestedTensor
    return [one for one in kept.values() if isinstance(one, torch.Tensor) and one.dim() == 4]


def _is_picture(value: object) -> bool:
    """Whether a value is an array (H, W, 3), a Pillow image or the path of an image file."""
    if isinstance(value, np.ndarray):
        return value.ndim in (2, 3)
    if isinstance(value, str):  # other texts are prompts
        return value.lower().endswith(_FILES)
    return hasattr(value, "__fspath__") or hasattr(value, "getbands")


def _rank(tensor: torch.Tensor) -> Tuple[bool, bool, int]:
    rows, columns = _axes(tensor.shape[1:])
    colours = tensor.shape[1 + ({0, 1, 2} - {rows, columns}).pop()]
    return colours == 3, colours in _COLOURS, int(tensor.shape[1 + rows] * tensor.shape[1 + columns])


def _axes(shape: Sequence[int]) -> Tuple[int, int]:
    """Return the axes of rows and columns in an image (C, H, W) or (H, W, C)."""
    last = shape[2] in _COLOURS and shape[0] not in _COLOURS
    return (0, 1) if last else (1, 2)


def picture_of(image: torch.Tensor) -> Optional[Picture]:
    """Convert an input to a picture: unchanged if its values are in the range of images, else scaled to its range.

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
        if low < 0 or high > 255:  # the input was normalised with an unknown mean
            values = (values - low) / max(high - low, 1e-12)
            high = 1.0
        values = values * 255 if high <= 1 else values
    return values.expand(3, -1, -1).nan_to_num().round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


class Known(NamedTuple):
    """What is known about the samples of a batch."""

    samples: Sequence[Sample]
    """The samples, in the order of the batch. A sample without an id is numbered."""

    pictures: Sequence[Optional[Picture]] = ()
    """The inputs as the network received them, with their padding, before normalisation."""

    forward: str = ""
    """Name of a method of the model that the call runs once for each view of its images. Each of its calls after the
    first is a separate batch, for which the companion is asked again."""

    later: Optional[Callable[[], Known]] = None
    """Returns what is known when the batch ends. It is called only if nobody else has described the batch."""

    originals: Sequence[Optional[Thumbnail]] = ()
    """Thumbnails of images that do not come from files."""

    candidates: Sequence[Optional[MakeCandidates]] = ()
    """Functions that return the raw outputs behind the detections. They are called only if these are stored."""


class Companion(Protocol):
    """Tells a capture what a framework knows about the images, before and after a batch runs."""

    def before(self, call: ModelCall) -> Optional[Known]:
        """Return the samples of a batch that is about to run; None if the call does not show them."""

    def after(self, call: ModelCall, known: Known, output: object) -> Optional[Known]:
        """Return the complete samples with what was found in them; None if nothing more is known."""

    def close(self) -> None:
        """End the capture."""


class NoCompanion:
    """The companion of a capture whose driver knows all images and describes them itself."""

    def before(self, call: ModelCall) -> Optional[Known]:
        """Return None."""
        return None

    def after(self, call: ModelCall, known: Known, output: object) -> Optional[Known]:
        """Return None."""
        return None

    def close(self) -> None:
        """Do nothing."""


class PlainImages:
    """The companion of models without a known framework: it numbers the images in the model's input.

    The input itself takes the place of the original image. pictures: whether to keep pictures of the inputs.
    """

    def __init__(self, pictures: bool = True) -> None:
        self._pictures = pictures

    def before(self, call: ModelCall) -> Optional[Known]:
        """Return a sample for each image in the arguments."""
        images = find_images(call.values)
        if images is None:
            return None
        samples, pictures = [], []
        for index in range(images.number):
            picture = picture_of(images.each[index]) if self._pictures and index < len(images.each) else None
            size = images.size  # None for a list of images, which the model itself puts into a batch
            geometry = Geometry(size, size, size) if size is not None and min(size) > 0 else None
            samples.append(Sample("", geometry=geometry))
            pictures.append(picture)
        return Known(samples, pictures)

    def after(self, call: ModelCall, known: Known, output: object) -> Optional[Known]:
        """Return None."""
        return None

    def close(self) -> None:
        """Do nothing."""

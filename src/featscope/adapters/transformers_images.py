"""Image processors of transformers: what they make of an image, and where it lies in what they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch

from featscope.adapters.detector import Picture
from featscope.capturing.inputs import picture_of
from featscope.errors import BadOptionError, CaptureError
from featscope.records import Geometry, Size

if TYPE_CHECKING:
    from transformers.image_processing_utils import BaseImageProcessor

PIXELS = "pixel_values"
_LEVELS = 255
_LEAST = 4  # cells on a side that a line can be laid through


class ProcessedImages:
    """A folder's own image processor.

    Its options differ from class to class (a shortest edge, a crop of a share, a square with a border), so where an
    image lies is measured: the processor is given a picture of coordinates, and its output shows which pixel went
    where. What shows no straight line has no geometry.
    """

    def __init__(self, processor: BaseImageProcessor) -> None:
        self.processor = processor
        self._measured: Dict[Tuple[Size, ...], List[Optional[Geometry]]] = {}

    def features(self, pictures: Sequence[Picture]) -> Dict[str, torch.Tensor]:
        """What the model is given of a batch. Raises `BadOptionError` for images that make no batch."""
        try:
            made = dict(self.processor(images=list(pictures), return_tensors="pt"))
        except Exception as error:  # noqa: BLE001 (raised again, as one line)
            reason = f"{type(self.processor).__name__} makes no input of the images: {first_line(error)}"
            if len({picture.shape for picture in pictures}) > 1:
                raise BadOptionError(f"{reason}; add --batch-size 1, or --input-size 224") from error
            raise CaptureError(f"{reason}; try --input-size 224, or another image") from error
        if PIXELS not in made:
            raise CaptureError(f"{type(self.processor).__name__} makes {', '.join(made)} and no {PIXELS}: no images")
        return made

    def geometries(self, sizes: Sequence[Size]) -> List[Optional[Geometry]]:
        """Where images of these sizes, processed together, lie in the input; None where that cannot be told."""
        key = tuple(sizes)
        if key not in self._measured:
            if len(self._measured) > 64:
                self._measured.clear()
            self._measured[key] = self._measure(key)
        return self._measured[key]

    def _measure(self, sizes: Sequence[Size]) -> List[Optional[Geometry]]:
        unknown: List[Optional[Geometry]] = [None] * len(sizes)
        try:
            made = self.processor(
                images=[_coordinates(size) for size in sizes],
                return_tensors="pt",
                do_normalize=False,
                do_rescale=False,
            )[PIXELS]
        except Exception:  # noqa: BLE001 (a processor without these options: the place of an image is not known)
            return unknown
        if made.dim() != 4 or made.shape[1] != 3 or len(made) != len(sizes):
            return unknown
        return [_read(size, self._rgb(values.float()).numpy()) for size, values in zip(sizes, made)]

    def picture(self, values: torch.Tensor, geometry: Optional[Geometry]) -> Optional[Picture]:
        """One image's input (3, H, W) before normalisation, without its padding."""
        if values.dim() != 3:
            return None
        if geometry is not None:
            (top, left), (height, width) = geometry.offset, geometry.resized
            values = values[:, top : top + height, left : left + width]
        process = self.processor
        if values.shape[0] != 3:
            return picture_of(values)
        values = values.float()
        if getattr(process, "do_normalize", False):
            mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (process.image_mean, process.image_std))
            values = values * std + mean
        if getattr(process, "do_rescale", False):
            values = values / process.rescale_factor
        values = self._rgb(values)
        return np.ascontiguousarray(values.round().clamp(0, _LEVELS).byte().permute(1, 2, 0).numpy())

    def _rgb(self, values: torch.Tensor) -> torch.Tensor:
        return values.flip(0) if getattr(self.processor, "do_flip_channel_order", False) else values


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    text = " ".join(str(error).split("\n")[:1]).strip()
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _coordinates(size: Size) -> Picture:
    """Red counts the columns, green the rows, and blue is full: where it is not, there is no image."""
    height, width = size
    picture = np.full((height, width, 3), _LEVELS, np.uint8)
    picture[:, :, 0] = np.rint((np.arange(width) + 0.5) / width * _LEVELS)
    picture[:, :, 1] = np.rint((np.arange(height) + 0.5) / height * _LEVELS)[:, None]
    return picture


class _Side(NamedTuple):
    """The part of an original's side that is shown, in its pixels, and whether it is all."""

    start: int
    length: int
    whole: bool


def _read(original: Size, seen: np.ndarray) -> Optional[Geometry]:
    """The geometry that a processed picture of coordinates (3, H, W) shows."""
    inside = seen[2] > _LEVELS / 2
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if len(rows) < _LEAST or len(columns) < _LEAST:
        return None
    top, left, height, width = int(rows[0]), int(columns[0]), len(rows), len(columns)
    part = (slice(top, top + height), slice(left, left + width))
    if not inside[part].all():
        return None
    down, across = _side(seen[1][part].T, original[0]), _side(seen[0][part], original[1])
    if down is None or across is None:
        return None
    crop = None
    if not (down.whole and across.whole):
        crop = (down.start, across.start, down.length, across.length)
    padded = (int(seen.shape[1]), int(seen.shape[2]))
    return Geometry(original, (height, width), padded, (top, left), crop=crop)


def _side(levels: np.ndarray, length: int) -> Optional[_Side]:
    """What the levels (lines, cells) along a side of so many pixels show; None where they are no straight line."""
    cells = levels.shape[1]
    middle = slice(cells // 10, cells - cells // 10)  # a resize looks over its edges
    place = np.arange(cells)[middle]
    slope, start = np.polyfit(place, levels.mean(0)[middle], 1)
    if slope <= 0 or np.abs(levels[:, middle] - (slope * place + start)).max() > 1.5 + _LEVELS / length:
        return None
    scale = length / _LEVELS
    first, last = (start - slope / 2) * scale, (start + slope * (cells - 0.5)) * scale
    tolerance = max(1.0, slope * scale) / 2
    if first < -tolerance or last > length + tolerance:
        return None
    if first < tolerance and last > length - tolerance:
        return _Side(0, length, True)
    begin, end = max(0, round(first)), min(length, round(last))
    return _Side(begin, end - begin, False) if end > begin else None

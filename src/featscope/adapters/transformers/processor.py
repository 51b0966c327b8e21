"""Run image processors of transformers, and find where an image lies in their output."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray

from featscope.capturing.inputs import picture_of
from featscope.errors import BadOptionError, CaptureError, first_line
from featscope.records import Geometry, Picture, Size

if TYPE_CHECKING:
    from transformers.image_processing_utils import BaseImageProcessor

PIXELS = "pixel_values"
_WHITE = 255
_LEAST = 4  # the least cells on a side to fit a line through
_REMEMBERED = 64  # the most batches whose geometry is remembered

Array = NDArray[np.float32]


class Placed(NamedTuple):
    """The place of an image in an input."""

    geometry: Geometry

    black: Array
    """Value of black in the input, (3,)."""

    white: Array
    """Value of white in the input, (3,)."""

    bgr: bool = False
    """Whether the colours are in the order BGR."""


class ProcessedImages:
    """Runs the image processor of a model's folder.

    The options of image processors differ from class to class (a shortest edge, a relative crop, a square with a
    border, a second normalisation), so the geometry is measured. The processor receives a picture of coordinates, a
    black one and a white one, and its outputs show where each pixel went. If this is not a straight line, the geometry
    is unknown.
    """

    def __init__(self, processor: BaseImageProcessor) -> None:
        self.processor = processor
        self._measured: Dict[Tuple[Size, ...], List[Optional[Placed]]] = {}

    def features(self, pictures: Sequence[Picture]) -> Dict[str, torch.Tensor]:
        """Return the input of the model for a batch. Raises `BadOptionError` if the images cannot form a batch."""
        name = type(self.processor).__name__
        try:
            # Copy the pictures, because torch warns about read-only arrays.
            made = dict(self.processor(images=[np.array(picture) for picture in pictures], return_tensors="pt"))
        except Exception as error:
            if len({picture.shape for picture in pictures}) > 1:
                raise BadOptionError(
                    f"{name} cannot make a batch of images of different sizes ({first_line(error)}); add --batch-size 1"
                ) from error
            raise CaptureError(f"{name} cannot process the image: {first_line(error)}") from error
        if PIXELS not in made:
            raise CaptureError(f"{name} returns {', '.join(made)}, but not {PIXELS}, which featscope needs")
        return made

    def places(self, sizes: Sequence[Size]) -> List[Optional[Placed]]:
        """Return where images of these sizes lie in the input if processed together; None for an unknown geometry."""
        key = tuple(sizes)
        if key not in self._measured:
            if len(self._measured) >= _REMEMBERED:
                self._measured.clear()
            with quiet():
                self._measured[key] = self._measure(key)
        return self._measured[key]

    def _measure(self, sizes: Sequence[Size]) -> List[Optional[Placed]]:
        found: List[Optional[Placed]] = [None] * len(sizes)
        # Fractional levels are more exact, but processors that use Pillow only accept integers.
        for kind, rounded in ((np.float32, 0.0), (np.uint8, 1.0)):
            try:
                seen, black, white = (
                    self._values([draw(size).astype(kind) for size in sizes]) for draw in (_coordinates, _black, _white)
                )
            except Exception:  # noqa: BLE001 (this processor does not accept such pictures)
                continue
            if seen.ndim == 4 and seen.shape[1] == 3 and len(seen) == len(sizes) and seen.shape == white.shape:
                found = [_read(*one, rounded) for one in zip(sizes, seen, black, white)]
            if all(found):
                break
        return found

    def _values(self, pictures: Sequence[NDArray[np.generic]]) -> Array:
        return np.asarray(self.processor(images=list(pictures), return_tensors="pt")[PIXELS], np.float32)

    def picture(self, values: torch.Tensor, placed: Optional[Placed]) -> Optional[Picture]:
        """Return the picture of an image's input before normalisation."""
        if placed is None:
            return picture_of(values) if values.dim() == 3 else None
        black, white = placed.black[:, None, None], placed.white[:, None, None]
        levels = (
            np.rint((np.asarray(values.float()) - black) / (white - black) * _WHITE).clip(0, _WHITE).astype(np.uint8)
        )
        return np.ascontiguousarray((levels[::-1] if placed.bgr else levels).transpose(1, 2, 0))


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the library's reports, hints and progress bars in a block."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call, unused-ignore]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]


def _coordinates(size: Size) -> Array:
    """Draw a picture whose red channel increases with the columns and whose green channel increases with the rows."""
    height, width = size
    picture = np.zeros((height, width, 3), np.float32)
    picture[:, :, 0] = (np.arange(width) + 0.5) / width * _WHITE
    picture[:, :, 1] = ((np.arange(height) + 0.5) / height * _WHITE)[:, None]
    return picture


def _black(size: Size) -> Array:
    return np.zeros((*size, 3), np.float32)


def _white(size: Size) -> Array:
    return np.full((*size, 3), _WHITE, np.float32)


def _read(original: Size, seen: Array, black: Array, white: Array, rounded: float) -> Optional[Placed]:
    """Find the geometry from the processed pictures (3, H, W) of coordinates, of black and of white.

    rounded: by how many levels the processor may have rounded the values.
    """
    contrast = (white - black).min(0)
    inside = contrast > contrast.max() / 2  # padding has the same value in both
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if len(rows) < _LEAST or len(columns) < _LEAST or not contrast.max() > 0:
        return None
    top, left, height, width = int(rows[0]), int(columns[0]), len(rows), len(columns)
    part = (slice(None), slice(top, top + height), slice(left, left + width))
    if not inside[part[1:]].all():
        return None
    levels = (seen[part] - black[part]) / (white[part] - black[part]) * _WHITE
    down = _side(levels[1].T, original[0], rounded)
    for bgr in (False, True):
        across = _side(levels[2 if bgr else 0], original[1], rounded)
        if down is not None and across is not None:
            crop = None if down.whole and across.whole else (down.start, across.start, down.length, across.length)
            padded = (int(seen.shape[1]), int(seen.shape[2]))
            centre = (slice(None), top + height // 2, left + width // 2)
            geometry = Geometry(original, (height, width), padded, (top, left), crop=crop)
            return Placed(geometry, black[centre], white[centre], bgr)
    return None


class _Side(NamedTuple):
    """The part of an original's side that the input shows."""

    start: float  # in pixels of the original

    length: float  # in pixels of the original

    whole: bool  # whether it is the whole side


def _side(levels: Array, length: int, rounded: float) -> Optional[_Side]:
    """Find which part of a side the levels (lines, cells) show; None if they are not a straight line."""
    lines, cells = levels.shape
    # Ignore the edges, where a resize mixes in other values, and where borders may be mirrored.
    middle = levels[lines // 10 : lines - lines // 10, cells // 10 : cells - cells // 10]
    place = np.arange(cells)[cells // 10 : cells - cells // 10]
    slope, start = np.polyfit(place, middle.mean(0), 1)
    if slope <= 0 or np.abs(middle - (slope * place + start)).max() > 1.5 + _WHITE / length:
        return None
    scale = length / _WHITE
    first, last = (start - slope / 2) * scale, (start + slope * (cells - 0.5)) * scale
    tolerance = max(1.0, slope * scale) / 2 + rounded * scale
    if first < -tolerance or last > length + tolerance:
        return None
    if first < tolerance and last > length - tolerance:
        return _Side(0, length, True)
    begin, end = max(0.0, float(first)), min(float(length), float(last))
    return _Side(begin, end - begin, False) if end > begin else None

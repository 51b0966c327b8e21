"""Read image files at a small size, to compare them with the input that the network received."""

from __future__ import annotations

from pathlib import Path
from typing import List

import numpy as np
from PIL import Image

from featscope.arrays.agreement import Thumbnail, thumbnail
from featscope.store.files import open_file
from featscope.store.images import ORIENTATION, TURNS, blaming

_SIDEWAYS = [TURNS[number] for number in (5, 6, 7, 8)]


def read_small(path: Path, side: int) -> List[Thumbnail]:
    """Read an image file at a small size: its longer side has `side` pixels or slightly more.

    If the file has an orientation tag, the result contains two pictures: as stored, and rotated by the tag, because
    programs differ in whether they apply it. A JPEG is decoded at 1/2, 1/4 or 1/8 of its size, which is faster. Raises
    `BadImageError`.
    """
    with blaming(path), open_file(path) as raw, Image.open(raw) as file:
        size = (file.height, file.width)
        turn = TURNS.get(file.getexif().get(ORIENTATION, 1))
        step = max(1, max(size) // side)
        file.draft("RGB", (-(-file.width // step), -(-file.height // step)))  # has an effect for JPEG only
        drafted = max(1, round(size[0] / file.height), round(size[1] / file.width))
        small = _rgb(file)
    pictures = [(small, size)]
    if turn is not None:
        pictures.append((small.transpose(turn), size[::-1] if turn in _SIDEWAYS else size))
    found = [(thumbnail(np.asarray(picture), max(1, max(size) // step)), whole) for picture, whole in pictures]
    return [Thumbnail(one.grey, whole, one.step * drafted) for one, whole in found]


def _rgb(file: Image.Image) -> Image.Image:
    """Convert a picture to 8-bit RGB. More bits are scaled to 8 by the picture's range: only brightness is compared."""
    if file.mode.startswith(("I", "F")):
        values = np.asarray(file, np.float32)
        low, high = float(values.min()), float(values.max())
        return Image.fromarray(((values - low) / max(high - low, 1e-9) * 255).astype(np.uint8)).convert("RGB")
    return file.convert("RGB")

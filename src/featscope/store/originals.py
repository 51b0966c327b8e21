"""Image files made small, to be laid beside what a network saw: decoded no larger than that needs."""

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
    """An image file with about `side` pixels on its longer side, or a little more: as it is stored, and where a tag
    asks for that as it is turned by it. Programs differ in whether they do.

    A JPEG is decoded at a half, a quarter or an eighth of its size. Raises `BadImageError`.
    """
    with blaming(path), open_file(path) as raw, Image.open(raw) as file:
        size = (file.height, file.width)
        turn = TURNS.get(file.getexif().get(ORIENTATION, 1))
        step = max(1, max(size) // side)
        file.draft("RGB", (-(-file.width // step), -(-file.height // step)))  # of a JPEG; others stay as they are
        drafted = max(1, round(size[0] / file.height), round(size[1] / file.width))
        small = _rgb(file)
    pictures = [(small, size)]
    if turn is not None:
        pictures.append((small.transpose(turn), size[::-1] if turn in _SIDEWAYS else size))
    found = [(thumbnail(np.asarray(picture), max(1, max(size) // step)), whole) for picture, whole in pictures]
    return [Thumbnail(one.grey, whole, one.step * drafted) for one, whole in found]


def _rgb(file: Image.Image) -> Image.Image:
    """The picture in 8 bits; of more bits the upper ones, as brightness is all that is compared."""
    if file.mode.startswith(("I", "F")):
        values = np.asarray(file, np.float32)
        low, high = float(values.min()), float(values.max())
        return Image.fromarray(((values - low) / max(high - low, 1e-9) * 255).astype(np.uint8)).convert("RGB")
    return file.convert("RGB")

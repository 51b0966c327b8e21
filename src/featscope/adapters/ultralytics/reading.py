"""Find how Ultralytics reads image files: a path with OpenCV, a list of paths or pictures with Pillow."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from ultralytics.data.base import BaseDataset
from ultralytics.data.loaders import LoadImagesAndVideos, LoadPilAndNumpy
from ultralytics.utils import patches

from featscope.errors import BadImageError
from featscope.records import Picture

_GREY, _COLOUR = 0, 1  # cv2.IMREAD_GRAYSCALE, cv2.IMREAD_COLOR
_BY_EITHER = (".avif", ".heic", ".heif")


def reading_of_file(path: str, flag: object = _COLOUR) -> str:
    """Return how `imread` of Ultralytics reads a file, one of `featscope.store.images.READINGS`; '' if unknown.

    >>> reading_of_file("photo.jpg"), reading_of_file("photo.avif", 0), reading_of_file("photo.png", -1)
    ('cv2+exif', 'ultralytics+exif+grey', '')

    flag: OpenCV's flag; -1 keeps all channels of an image.
    """
    if flag not in (_GREY, _COLOUR):
        return ""
    library = "cv2"
    if path.lower().endswith(_BY_EITHER):
        if not hasattr(
            patches, "PIL_FALLBACK_SUFFIXES"
        ):  # either OpenCV or Pillow reads it, and only one of them applies the orientation
            return ""
        library = "ultralytics"
    return f"{library}+exif" + ("+grey" if flag == _GREY else "")


def reading_of_source(loader: object, path: str) -> str:
    """Return how the loader of a predictor (`predictor.dataset`) read a file."""
    if isinstance(loader, LoadPilAndNumpy):
        return _of_pictures()
    return reading_of_file(path, getattr(loader, "cv2_flag", None)) if isinstance(loader, LoadImagesAndVideos) else ""


def reading_of_data_set(data_set: object, path: str) -> str:
    """Return how a validator's data set read a file; '' if it reads in its own way or from an array."""
    if not isinstance(data_set, BaseDataset) or type(data_set).load_image is not BaseDataset.load_image:
        return ""
    return "" if Path(path).with_suffix(".npy").exists() else reading_of_file(path, getattr(data_set, "cv2_flag", None))


@lru_cache(maxsize=None)
def _of_pictures() -> str:
    """Find how this version converts Pillow's pictures, with two tests: one with an orientation tag, one of 16 bits."""
    turned, deep = Image.new("RGB", (2, 1)), Image.fromarray(np.array([[0x1234]], np.uint16))
    turned.getexif()[0x0112] = 6
    try:
        first, second = LoadPilAndNumpy([turned, deep]).im0
    except (ValueError, OSError):
        return ""
    if first.shape[:2] != (2, 1):  # only paths are rotated then, and the loader does not show which it had
        return ""
    return {0x12: "ultralytics+exif", 255: "pillow+exif"}.get(int(second.max()), "")


def read_file(path: Path, reading: str) -> Picture:
    """Read a file as Ultralytics does, as (H, W, 3) RGB. Raises `BadImageError`."""
    found = patches.imread(str(path), _GREY if reading.endswith("+grey") else _COLOUR) if path.is_file() else None
    if found is None:
        what = "cannot be read by Ultralytics" if path.exists() else "does not exist"
        raise BadImageError(f"the image {path} {what}")
    if found.ndim == 2 or found.shape[2] == 1:
        found = np.repeat(found.reshape(*found.shape[:2], 1), 3, 2)
    return np.ascontiguousarray(found[:, :, 2::-1])

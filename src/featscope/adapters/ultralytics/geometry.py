"""Geometries of the ways in which Ultralytics resizes images. This module does not import a framework."""

from __future__ import annotations

from typing import Optional

from featscope.arrays.frames import whole
from featscope.records import Geometry, Size


def letterbox_geometry(original: Size, padded: Size, target: Optional[Size] = None) -> Geometry:
    """Return the geometry of `LetterBox` for an image and an input of these sizes: one scale, centred.

    >>> letterbox_geometry((1080, 1920), (640, 640))
    Geometry(original=(1080, 1920), resized=(360, 640), padded=(640, 640), offset=(140, 0), flip='', crop=None)

    target: the size that was requested of the letterbox. The input is smaller if padding was reduced. Without a target
    the larger scale that fits into the input is used.
    """
    height, width = original
    if target is not None:
        scales = [min(target[0] / height, target[1] / width)]
    else:
        scales = sorted((padded[0] / height, padded[1] / width), reverse=True)
    fitted = [(max(1, round(height * scale)), max(1, round(width * scale))) for scale in scales]
    resized = next((size for size in fitted if size[0] <= padded[0] and size[1] <= padded[1]), fitted[-1])
    offset = (round((padded[0] - resized[0]) / 2 - 0.1), round((padded[1] - resized[1]) / 2 - 0.1))
    return Geometry(original, resized, padded, offset)


def is_letterbox(geometry: Geometry, target: Size, stride: int) -> bool:
    """Whether an input has a size that a letterbox makes: as requested, or with the least padding."""
    pads = [side - inner for side, inner in zip(target, geometry.resized)]
    least = tuple(inner + pad % stride for inner, pad in zip(geometry.resized, pads))
    return min(pads) >= 0 and geometry.padded in (tuple(target), least)


def centre_crop_geometry(original: Size, shortest: int, size: Size) -> Geometry:
    """Return the geometry of a classifier's input: the centre of an image whose shorter side is resized to `shortest`.

    >>> [round(side, 2) for side in centre_crop_geometry((480, 640), 224, (224, 224)).crop]
    [0, 79.46, 480, 481.07]
    """
    height, width = original
    resized = (
        (shortest, max(1, int(shortest * width / height)))
        if height <= width
        else (max(1, int(shortest * height / width)), shortest)
    )
    starts = [round((length - part) / 2) for length, part in zip(resized, size)]  # like torchvision's CenterCrop
    edges = [
        (start * side / length, (start + part) * side / length)
        for start, part, length, side in zip(starts, size, resized, original)
    ]
    (top, bottom), (left, right) = edges
    crop = (whole(top), whole(left), whole(bottom - top), whole(right - left))
    return Geometry(original, size, size, crop=None if crop == (0, 0, height, width) else crop)


def classifier_geometry(transforms: object, original: Size, padded: Size) -> Optional[Geometry]:
    """Return the geometry of a classifier's transforms; None unless these are torchvision's `Resize`, `CenterCrop`."""
    steps = list(getattr(transforms, "transforms", ()))
    names = [f"{type(step).__module__.partition('.')[0]}.{type(step).__name__}" for step in steps[:2]]
    if names != ["torchvision.Resize", "torchvision.CenterCrop"] or tuple(steps[1].size) != padded:
        return None
    size = steps[0].size
    if isinstance(size, int) or len(size) == 1:
        shortest = size if isinstance(size, int) else size[0]
        return centre_crop_geometry(original, shortest, padded) if shortest >= max(padded) else None
    return Geometry(original, padded, padded) if tuple(size) == padded else None


def view_geometry(letterbox: Geometry, scale: float, flip: str, padded: Size) -> Geometry:
    """Return the geometry of a view of a letterboxed input: flipped, scaled, then padded at the right and the bottom.

    >>> whole = letterbox_geometry((640, 320), (640, 384), (640, 640))
    >>> view = view_geometry(whole, 0.83, "horizontal", (544, 320))
    >>> [round(side, 2) for side in (*view.resized, *view.offset)]
    [531, 265, 0, 26.5]
    """
    height, width = letterbox.padded
    top, left = letterbox.offset
    if flip == "horizontal":
        left = width - left - letterbox.resized[1]
    elif flip == "vertical":
        top = height - top - letterbox.resized[0]
    y, x = int(height * scale) / height, int(width * scale) / width
    resized = (whole(letterbox.resized[0] * y), whole(letterbox.resized[1] * x))
    return Geometry(letterbox.original, resized, padded, (whole(top * y), whole(left * x)), flip)

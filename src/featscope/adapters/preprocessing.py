"""Prepare images for models that do not define their own preprocessing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Dict, Optional, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featscope.errors import BadOptionError, unknown_name
from featscope.records import Geometry, Picture, Size
from featscope.store.images import READINGS

_FITS = ("stretch", "letterbox", "corner")
_COLOURS = ("rgb", "bgr", "grey")


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input of a network."""

    fit: str = "stretch"
    """'stretch' to the size, 'letterbox' (centred, with a border) or 'corner' (at the top left, with a border)."""

    pad: int = 114
    """Grey level of the border, 0 to 255."""

    colour: str = "rgb"
    """'rgb', 'bgr', or 'grey' (the same in all channels)."""

    range: float = 1.0
    """The largest value of the input, 1 or 255."""

    mean: Tuple[float, ...] = (0.0,)
    """Subtracted after scaling to the range."""

    std: Tuple[float, ...] = (1.0,)
    """Divided by after subtracting the mean."""

    layout: str = ""
    """'nchw' or 'nhwc'; '' for the layout that the model indicates, or else nchw."""

    reading: str = "pillow"
    """How image files are read, one of `featscope.store.images.READINGS`."""

    def changed(self, text: str) -> Preprocessing:
        """Return a copy with the changes that a user typed.

        >>> made = Preprocessing().changed("colour=bgr, range=255, reading=cv2+exif")
        >>> made.colour, made.range, made.reading
        ('bgr', 255.0, 'cv2+exif')

        Raises `UnknownNameError` or `BadOptionError`.
        """
        changes: Dict[str, object] = {}
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            key, _, value = part.partition("=")
            if key not in self.__dataclass_fields__:
                raise unknown_name("preprocessing", key, self.__dataclass_fields__, "featscope capture --help")
            try:
                if key in ("mean", "std"):
                    changes[key] = tuple(float(number) for number in value.split("/"))
                else:
                    changes[key] = type(getattr(self, key))(value)
            except ValueError:
                raise BadOptionError(
                    f"{part!r} is not a valid preprocessing; type for example range=255, mean=0.5/0.5/0.5"
                ) from None
        made = replace(self, **changes)  # type: ignore[arg-type]
        if made.fit not in _FITS or made.colour not in _COLOURS:
            raise BadOptionError(
                f"{text!r} is invalid; fit must be one of {', '.join(_FITS)}, and colour one of {', '.join(_COLOURS)}"
            )
        if made.reading not in READINGS:
            raise unknown_name("reading", made.reading, READINGS, "featscope capture --help")
        if made.layout not in ("", "nchw", "nhwc"):
            raise BadOptionError(f"layout={made.layout} is invalid; type layout=nchw or layout=nhwc")
        return made

    def __call__(self, picture: Picture, size: Optional[Size]) -> Tuple[NDArray[np.float32], Picture, Geometry]:
        """Return the input (3, H, W), its picture, and the geometry. Without a size the image keeps its size.

        With the layout 'nhwc' the input is (H, W, 3).
        """
        if self.colour == "grey":
            picture = np.repeat(np.asarray(Image.fromarray(picture).convert("L"))[:, :, None], 3, 2)
        original = (picture.shape[0], picture.shape[1])
        padded = size or original
        resized = padded
        if self.fit != "stretch":
            scale = min(padded[0] / original[0], padded[1] / original[1])
            resized = (max(1, round(original[0] * scale)), max(1, round(original[1] * scale)))
        if resized != original:
            picture = np.asarray(Image.fromarray(picture).resize(resized[::-1], Image.Resampling.BILINEAR))
        top = left = 0
        if self.fit == "letterbox":
            top, left = (padded[0] - resized[0]) // 2, (padded[1] - resized[1]) // 2
        canvas = np.full((*padded, 3), self.pad, np.float32)
        canvas[top : top + resized[0], left : left + resized[1]] = picture
        seen = canvas.astype(np.uint8)
        if self.colour == "bgr":
            canvas = canvas[:, :, ::-1]
        values = (canvas * (self.range / 255) - np.array(self.mean)) / np.array(self.std)
        if self.layout != "nhwc":
            values = values.transpose(2, 0, 1)
        inputs = np.ascontiguousarray(values, np.float32)
        return inputs, seen, Geometry(original, resized, padded, (top, left))

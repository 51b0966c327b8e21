"""An image as the input of a network that does not say itself how it wants it."""

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
    """How an image becomes an input.

    fit: 'stretch' to the size; 'letterbox', centred with a border; 'corner', at the top left with a border. pad: the
    border's grey, 0 to 255. colour: 'rgb', 'bgr', or 'grey', the same in all channels. range: the largest value, 1 or
    255. mean, std: what is taken away and divided by, after that. layout: 'nchw' or 'nhwc'; '' is what the model
    shows, and nchw where it shows nothing. reading: how files are read, one of `featscope.store.images.READINGS`.
    """

    fit: str = "stretch"
    pad: int = 114
    colour: str = "rgb"
    range: float = 1.0
    mean: Tuple[float, ...] = (0.0,)
    std: Tuple[float, ...] = (1.0,)
    layout: str = ""
    reading: str = "pillow"

    def changed(self, text: str) -> Preprocessing:
        """With what a user typed.

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
                raise BadOptionError(f"{part!r} is no preprocessing; for example range=255, mean=0.5/0.5/0.5") from None
        made = replace(self, **changes)  # type: ignore[arg-type]
        if made.fit not in _FITS or made.colour not in _COLOURS:
            raise BadOptionError(
                f"{text!r} is no preprocessing; fit is one of {', '.join(_FITS)}, colour one of {', '.join(_COLOURS)}"
            )
        if made.reading not in READINGS:
            raise unknown_name("reading", made.reading, READINGS, "featscope capture --help")
        if made.layout not in ("", "nchw", "nhwc"):
            raise BadOptionError(f"layout={made.layout} is no preprocessing; type layout=nchw or layout=nhwc")
        return made

    def __call__(self, picture: Picture, size: Optional[Size]) -> Tuple[NDArray[np.float32], Picture, Geometry]:
        """The input (3, H, W), what it looks like, and how the image lies in it. Without a size it stays as it is.

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

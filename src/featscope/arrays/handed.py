"""What a user hands over to be drawn: arrays of NumPy and tensors of torch, maps and pictures."""

from __future__ import annotations

import warnings
from typing import Any, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featscope.errors import BadArrayError, BadImageError

MapLike = Union[ArrayLike, Any]
"""A feature map as a user has it: an array of NumPy, a tensor of torch, or what NumPy makes an array of."""

PictureLike = Union[ArrayLike, Any]
"""A picture as a user has it: (H, W, 3) or (H, W) of uint8, an array or a tensor, or one of Pillow."""


def as_array(values: MapLike) -> NDArray[np.generic]:
    """An array of NumPy, of what is one, or of a tensor on any device; torch is not imported.

    >>> as_array([[1.0, 2.0]]).shape
    (1, 2)

    A tensor in bfloat16 or float8, which NumPy does not have, becomes float32. Raises `BadArrayError` for what holds
    no numbers.
    """
    if callable(getattr(values, "detach", None)):  # a tensor of torch
        values = values.detach().cpu()  # type: ignore[union-attr]
        try:
            return np.asarray(values.numpy())
        except TypeError:
            return np.asarray(values.float().numpy())
    try:
        with warnings.catch_warnings():  # NumPy before 1.24 warns of lists of different lengths, and gives objects
            warnings.simplefilter("ignore")
            array = np.asarray(values)
    except ValueError as error:  # lists of different lengths
        raise BadArrayError(f"{type(values).__name__} is not an array: {error}; give (C, H, W) or (H, W)") from None
    if array.dtype == object:
        raise BadArrayError(
            f"{type(values).__name__} holds no numbers; give one map, an array or a tensor (C, H, W) or (H, W)"
        )
    return array


def as_map(values: MapLike) -> NDArray[np.generic]:
    """One feature map (C, H, W), of an array or a tensor (C, H, W), (H, W) or (1, C, H, W).

    >>> as_map(np.zeros((1, 8, 4, 5))).shape, as_map(np.zeros((4, 5))).shape
    ((8, 4, 5), (1, 4, 5))

    Raises `BadArrayError` for a batch of several, as nobody knows which of them is meant, and for other shapes.
    """
    array = as_array(values)
    shape = array.shape
    if array.ndim == 4 and len(array) > 1:
        raise BadArrayError(
            f"{shape} is a batch of {shape[0]} maps (N, C, H, W), and one picture shows one map; "
            f"choose it: maps[0], up to maps[{shape[0] - 1}]"
        )
    if array.ndim == 5:
        raise BadArrayError(
            f"{shape} is a film or a volume (N, C, T, H, W), and one picture shows one step of it; "
            "choose it: maps[0, :, 0]"
        )
    if array.ndim not in (2, 3, 4) or 0 in shape:
        raise BadArrayError(f"an array of {shape} is not a feature map; give (C, H, W), (H, W) or (1, C, H, W)")
    return array[0] if array.ndim == 4 else array[None] if array.ndim == 2 else array


def as_picture(image: PictureLike) -> NDArray[np.uint8]:
    """A picture (H, W, 3) of uint8, of one in colour or grey.

    >>> as_picture(np.zeros((4, 5), np.uint8)).shape
    (4, 5, 3)

    Raises `BadImageError` for numbers that are not 0 to 255 in uint8, as nobody knows how they were scaled.
    """
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return image
    if callable(getattr(image, "convert", None)):  # a picture of Pillow
        return np.asarray(image.convert("RGB"))  # type: ignore[union-attr]
    if isinstance(image, (str, bytes)) or hasattr(image, "__fspath__"):
        raise BadImageError(
            f"{image!r} is a file and not a picture; open it: image=PIL.Image.open({str(image)!r}), turned and in the "
            "colours that the network saw"
        )
    array = as_array(image)
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        raise BadImageError(
            f"the image is {array.shape}, with its colours first; give (H, W, 3): image.permute(1, 2, 0) of a tensor, "
            "image.transpose(1, 2, 0) of an array"
        )
    if array.dtype != np.uint8:
        raise BadImageError(f"the image is of {array.dtype}; give uint8, 0 to 255, as the photo itself is")
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, 2)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise BadImageError(f"an image of {array.shape} is not a picture; give (H, W, 3) or (H, W)")
    return array  # type: ignore[return-value]

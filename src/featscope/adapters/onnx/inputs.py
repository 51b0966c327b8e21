"""Prepare the inputs of an ONNX file: find the input for images and its layout, and fill the other inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

from featscope.errors import BadOptionError, CaptureError, unknown_name
from featscope.records import Picture, Size
from featscope.store.files import read_npy

_FREE_SIDE = 640  # the default if the file does not fix the size
_COLOURS = (1, 3, 4)
_LAYOUTS = {4: ("NCHW", "NHWC"), 3: ("CHW", "HWC")}


class Input(NamedTuple):
    """An input of a graph."""

    name: str

    dtype: Optional[np.dtype]
    """None if it does not take numbers."""

    dims: Optional[Tuple[int, ...]]
    """Its shape, with 0 for sizes that the file does not fix; None if the file gives no shape."""

    def __str__(self) -> str:
        shape = "without a fixed shape" if self.dims is None else " x ".join(str(dim or "?") for dim in self.dims)
        return f"{self.name!r} ({self.dtype or 'not numeric'}{' ' if shape else ''}{shape})"


class ImageInput(NamedTuple):
    """The input that takes the images."""

    name: str

    dtype: np.dtype

    dims: Tuple[int, ...]
    """Its shape, with 0 for sizes that the file does not fix."""

    axes: str
    """NCHW, NHWC, CHW or HWC."""

    @property
    def batch(self) -> int:
        """Number of images in one run; 0 for any number."""
        return self.dims[0] if "N" in self.axes else 1

    @property
    def channels(self) -> int:
        """Number of channels: 1 for grey, 3 for colours."""
        return self.dims[self.axes.index("C")] or 3

    def size(self, asked: Optional[Size], path: str) -> Size:
        """Return (height, width) of the images. Raises `BadOptionError` if the file does not take this size."""
        own = self.dims[self.axes.index("H")], self.dims[self.axes.index("W")]
        if asked and any(side not in (0, wanted) for side, wanted in zip(own, asked)):
            raise BadOptionError(
                f"{path} takes images of {' x '.join(str(side or 'any') for side in own)} only; leave out --input-size"
            )
        height, width = asked or (_FREE_SIDE, _FREE_SIDE)
        return own[0] or height, own[1] or width


class Part(NamedTuple):
    """The input of one run of the graph."""

    images: int
    """Number of images in the batch, without those that fill it up."""

    batch: int

    feed: Dict[str, NDArray[np.generic]]


class GraphInputs:
    """All inputs of a graph.

    layout: 'nchw' or 'nhwc' for images, or '' to use what the file proves. texts: values of the other inputs, by name:
    a number, a list separated by commas, or a .npy file. Raises `BadOptionError` or `CaptureError` if these cannot be
    fed.
    """

    def __init__(
        self, model: onnx.ModelProto, path: str, layout: str, texts: Mapping[str, str], size: Optional[Size]
    ) -> None:
        # Files in an old format list their weights as inputs.
        weights = {tensor.name for tensor in model.graph.initializer}
        every = {value.name: _read_input(value) for value in model.graph.input}
        unknown = next((name for name in texts if name not in every), None)
        if unknown is not None:
            raise unknown_name("input", unknown, list(every), f"featscope layers {path}")
        own = [one for name, one in every.items() if name not in weights and name not in texts]
        self.image = _find_image(own, path, layout)
        self.size = self.image.size(size, path)
        self._path = path
        self._others = [one for name, one in every.items() if name in texts]
        _refuse_missing([one for one in own if one.name != self.image.name], path)
        self._values = {one.name: _read_value(one, texts[one.name]) for one in self._others}
        self.shapes = {name: value.shape for name, value in self._fed_beside(self.image.batch or 1).items()}
        sides = {"N": self.image.batch or 1, "C": self.image.channels, "H": self.size[0], "W": self.size[1]}
        self.shapes[self.image.name] = tuple(sides[axis] for axis in self.image.axes)

    def picture(self, picture: Picture) -> Picture:
        """Convert a picture to grey if the network takes grey images."""
        if self.image.channels == 3:
            return picture
        return np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))

    def parts(self, images: Sequence[NDArray[np.float32]]) -> Iterator[Part]:
        """Yield one run for all images, or batches of the graph's fixed size, of which the last one is filled up."""
        size = self.image.batch or len(images)
        for start in range(0, len(images), size):
            real = list(images[start : start + size])
            batch = self._cast(np.stack(real + real[-1:] * (size - len(real))))
            if "N" not in self.image.axes:
                batch = batch[0]
            yield Part(len(real), size, {self.image.name: batch, **self._fed_beside(size)})

    def _cast(self, batch: NDArray[np.float32]) -> NDArray[np.generic]:
        if self.image.channels == 1:
            batch = batch.take([0], axis=1 + self.image.axes.replace("N", "").index("C"))
        dtype = self.image.dtype
        if dtype.kind in "iu":
            batch = np.rint(batch)
            limits = np.iinfo(dtype)
            low, high = float(batch.min()), float(batch.max())
            if low < limits.min or high > limits.max:
                raise BadOptionError(
                    f"{self._path} takes {dtype} ({limits.min} to {limits.max}), but the images have values from "
                    f"{low:g} to {high:g}; change the range: --preprocess range=255,mean={-limits.min}"
                )
        return batch.astype(dtype)

    def _fed_beside(self, batch: int) -> Dict[str, NDArray[np.generic]]:
        return {one.name: _fitted(one, self._values[one.name], batch) for one in self._others}


def _read_input(value: onnx.ValueInfoProto) -> Input:
    if not value.type.HasField("tensor_type"):
        return Input(value.name, None, None)
    tensor = value.type.tensor_type
    dims = tuple(max(0, int(dim.dim_value)) for dim in tensor.shape.dim) if tensor.HasField("shape") else None
    dtype: Optional[np.dtype] = None
    if tensor.elem_type in onnx.helper.get_all_tensor_dtypes():
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return Input(value.name, dtype if dtype is not None and dtype.kind in "biuf" else None, dims)


def _refuse_missing(missing: Sequence[Input], path: str) -> None:
    if missing:
        raise CaptureError(
            f"{path} also takes {', '.join(map(str, missing))}; give a value: --input {missing[0].name}=1.0, "
            "or a list 1,2,3, or a .npy file"
        )


def _takers_of_images(inputs: Sequence[Input], layout: str) -> List[Tuple[Input, List[str]]]:
    """Return the inputs that may take images, with the possible layouts, preferably inputs for a whole batch."""
    numeric = [one for one in inputs if one.dtype is not None and one.dtype.kind in "iuf"]
    images = [(one, layouts) for one, layouts in ((one, _layouts(one.dims, layout)) for one in numeric) if layouts]
    return [(one, layouts) for one, layouts in images if one.dims is None or len(one.dims) == 4] or images


def _find_image(inputs: Sequence[Input], path: str, layout: str) -> ImageInput:
    """Find the input for images. Raises if there are none or several, or if the layout is not proved."""
    images = _takers_of_images(inputs, layout)
    if not images:
        hint = "" if not layout else f" in the layout {layout}"
        given = ", ".join(map(str, inputs)) or "no input beyond those of --input"
        raise CaptureError(
            f"{path} takes {given}: none is a batch of grey or RGB images{hint}, (N, C, H, W) or (N, H, W, C) "
            "with 1 or 3 channels; check its inputs, or add the conversion from such images to the file"
        )
    if len(images) > 1:
        raise CaptureError(
            f"{path} takes several images: {', '.join(str(one) for one, _ in images)}; featscope feeds only one; "
            f"give the others, --input {images[1][0].name}=FILE.npy"
        )
    image, layouts = images[0]
    if len(layouts) > 1 or image.dtype is None:
        raise BadOptionError(
            f"{path} does not show whether the images of {image} have channels before or after rows and columns; "
            "type --preprocess layout=nchw (before) or layout=nhwc (after)"
        )
    dims = image.dims if image.dims is not None else (0, 0, 0, 0)
    made = ImageInput(image.name, image.dtype, dims, layouts[0])
    if made.channels == 4:
        raise CaptureError(
            f"{path} takes images of 4 channels as {image}, and the meaning of the fourth is unknown; add the "
            "conversion from three channels to the file"
        )
    return made


def _layouts(dims: Optional[Tuple[int, ...]], layout: str) -> List[str]:
    """Return the layouts that images of this shape may have; a single one if it is proved.

    It is proved if the size at only one of the two positions can be a number of colours.
    """
    if dims is None:
        return [axes for axes in _LAYOUTS[4] if layout in ("", axes.lower())]
    if len(dims) not in _LAYOUTS:
        return []
    first, last = _LAYOUTS[len(dims)]
    before, behind = dims[first.index("C")], dims[last.index("C")]
    may = [axes for axes, size in ((first, before), (last, behind)) if size in (0, *_COLOURS)]
    if layout:
        wanted = layout.upper() if len(dims) == 4 else layout.upper().replace("N", "")
        return [axes for axes in may if axes == wanted]
    sure = [axes for axes, size in ((first, before), (last, behind)) if size in _COLOURS]
    return sure if len(sure) == 1 else may


def _read_value(one: Input, text: str) -> NDArray[np.generic]:
    """Convert what a user gives for an input to the input's type."""
    if one.dtype is None:
        raise BadOptionError(f"--input {one.name}={text} cannot be used: {one.name!r} does not take numbers")
    value: NDArray[np.generic]
    if text.endswith(".npy"):
        value = read_npy(Path(text))
    else:
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            raise BadOptionError(
                f"--input {one.name}={text} is not a number, a list such as 1,2,3, or a .npy file, as {one} needs"
            ) from None
        value = np.array(numbers[0] if len(numbers) == 1 else numbers)
    with np.errstate(all="ignore"):
        cast = value.astype(one.dtype) if value.dtype.kind in "biuf" else None
    if cast is None or (one.dtype.kind in "biu" and not np.array_equal(cast, value)):
        raise BadOptionError(f"--input {one.name}={text} does not fit: {one} takes {one.dtype}")
    _fitted(one, cast, 1)
    return cast


def _fitted(one: Input, value: NDArray[np.generic], batch: int) -> NDArray[np.generic]:
    """Fit a value to the shape of an input: a number fills it, and a value for one image is repeated for the batch."""
    if one.dims is None or value.shape == one.dims:
        return value
    rest = one.dims[1:]
    free = one.dims[:1] == (0,)  # the number of rows
    rows = (batch,) if free else one.dims[:1]
    if value.ndim == 0:
        return np.full((*rows, *(dim or 1 for dim in rest)), value)
    if value.ndim == len(one.dims) and all(dim in (0, side) for dim, side in zip(one.dims, value.shape)):
        return value.repeat(batch, 0) if free and len(value) == 1 else value
    if one.dims and 0 not in rest and value.size == int(np.prod(rest)):
        return np.broadcast_to(value.reshape(rest), (*rows, *rest)).copy()
    raise BadOptionError(f"--input {one.name}: an array of the shape {value.shape} does not fit {one}")

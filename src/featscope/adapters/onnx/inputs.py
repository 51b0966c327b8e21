"""What an ONNX file is fed: which input takes the images and how, and what goes into the others."""

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

_FREE_SIDE = 640  # where the file leaves it open
_COLOURS = (1, 3, 4)
_LAYOUTS = {4: ("NCHW", "NHWC"), 3: ("CHW", "HWC")}


class Input(NamedTuple):
    """An input of a graph. dims: its shape, 0 where the file leaves a size open; None where it gives no shape."""

    name: str
    dtype: Optional[np.dtype]
    dims: Optional[Tuple[int, ...]]

    def __str__(self) -> str:
        shape = "of no given shape" if self.dims is None else " x ".join(str(dim or "?") for dim in self.dims)
        return f"{self.name!r} ({self.dtype or 'no numbers'}{' ' if shape else ''}{shape})"


class ImageInput(NamedTuple):
    """The input that takes the images. axes: NCHW, NHWC, CHW or HWC. dims: 0 where the file leaves a size open."""

    name: str
    dtype: np.dtype
    dims: Tuple[int, ...]
    axes: str

    @property
    def batch(self) -> int:
        """Images of one run, 0 for any number."""
        return self.dims[0] if "N" in self.axes else 1

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colours."""
        return self.dims[self.axes.index("C")] or 3

    def size(self, asked: Optional[Size], path: str) -> Size:
        """(height, width) of the images. Raises `BadOptionError` where the file takes others than were asked for."""
        own = self.dims[self.axes.index("H")], self.dims[self.axes.index("W")]
        if asked and any(side not in (0, wanted) for side, wanted in zip(own, asked)):
            raise BadOptionError(
                f"{path} takes images of {' x '.join(str(side or 'any') for side in own)} only; leave out --input-size"
            )
        height, width = asked or (_FREE_SIDE, _FREE_SIDE)
        return own[0] or height, own[1] or width


class Part(NamedTuple):
    """What one run of the graph is fed. images: how many of the batch are real; the others fill it up."""

    images: int
    batch: int
    feed: Dict[str, NDArray[np.generic]]


class GraphInputs:
    """What a graph is fed.

    layout: 'nchw' or 'nhwc' of its images, '' for what the file proves. texts: of the other inputs, name ->
    a number, a list by commas, or a .npy file. Raises `BadOptionError` or `CaptureError` where it cannot be fed so.
    """

    def __init__(
        self, model: onnx.ModelProto, path: str, layout: str, texts: Mapping[str, str], size: Optional[Size]
    ) -> None:
        # Files of an old format list their weights among the inputs.
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
        """The picture as the network sees its colours."""
        if self.image.channels == 3:
            return picture
        return np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))

    def parts(self, images: Sequence[NDArray[np.float32]]) -> Iterator[Part]:
        """Images as runs of the graph: all in one, or as many as its fixed batch takes, the last one filled up."""
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
                    f"{self._path} takes {dtype} ({limits.min} to {limits.max}), and the images have values from "
                    f"{low:g} to {high:g}; change that: --preprocess range=255,mean={-limits.min}"
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
            f"{path} also takes {', '.join(map(str, missing))}; say what goes in: --input {missing[0].name}=1.0, "
            "or a list 1,2,3, or a .npy file"
        )


def _takers_of_images(inputs: Sequence[Input], layout: str) -> List[Tuple[Input, List[str]]]:
    """The inputs that may take images, and the layouts in which; those of a whole batch, if there are some."""
    numeric = [one for one in inputs if one.dtype is not None and one.dtype.kind in "iuf"]
    images = [(one, layouts) for one, layouts in ((one, _layouts(one.dims, layout)) for one in numeric) if layouts]
    return [(one, layouts) for one, layouts in images if one.dims is None or len(one.dims) == 4] or images


def _find_image(inputs: Sequence[Input], path: str, layout: str) -> ImageInput:
    """The input that takes the images. Raises where none does, several could, or its layout is not proved."""
    images = _takers_of_images(inputs, layout)
    if not images:
        hint = "" if not layout else f" in the layout {layout}"
        given = ", ".join(map(str, inputs)) or "nothing but what --input gives"
        raise CaptureError(
            f"{path} takes {given}: none is a batch of grey or RGB images{hint}, (N, C, H, W) or (N, H, W, C) "
            "with 1 or 3 channels; see its inputs, or put what makes them of such images into the file"
        )
    if len(images) > 1:
        raise CaptureError(
            f"{path} takes several images: {', '.join(str(one) for one, _ in images)}; featscope feeds one of them: "
            f"give the others, --input {images[1][0].name}=FILE.npy"
        )
    image, layouts = images[0]
    if len(layouts) > 1 or image.dtype is None:
        raise BadOptionError(
            f"{path} does not say whether the images of {image} have their channels before or behind rows and columns; "
            "type --preprocess layout=nchw (before) or layout=nhwc (behind)"
        )
    dims = image.dims if image.dims is not None else (0, 0, 0, 0)
    made = ImageInput(image.name, image.dtype, dims, layouts[0])
    if made.channels == 4:
        raise CaptureError(
            f"{path} takes images of 4 channels as {image}, and what the fourth is, is not known; put what makes it of "
            "three into the file"
        )
    return made


def _layouts(dims: Optional[Tuple[int, ...]], layout: str) -> List[str]:
    """The layouts that images of this shape may have; one where it is proved.

    It is proved where the sizes at the one place may be colours and those at the other are not.
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
    """What a user gives for an input, in its type."""
    if one.dtype is None:
        raise BadOptionError(f"--input {one.name}={text} has no use: {one.name!r} takes no numbers")
    value: NDArray[np.generic]
    if text.endswith(".npy"):
        value = read_npy(Path(text))
    else:
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            raise BadOptionError(
                f"--input {one.name}={text} is no number, no list as 1,2,3 and no .npy file; {one} takes one of them"
            ) from None
        value = np.array(numbers[0] if len(numbers) == 1 else numbers)
    with np.errstate(all="ignore"):
        cast = value.astype(one.dtype) if value.dtype.kind in "biuf" else None
    if cast is None or (one.dtype.kind in "biu" and not np.array_equal(cast, value)):
        raise BadOptionError(f"--input {one.name}={text} does not fit: {one} takes {one.dtype}")
    _fitted(one, cast, 1)
    return cast


def _fitted(one: Input, value: NDArray[np.generic], batch: int) -> NDArray[np.generic]:
    """A value in the shape of its input: one number fills it, one for an image is repeated for the batch's others."""
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

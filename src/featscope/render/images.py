"""Images to lie under heat maps: the files themselves, or the inputs that a run keeps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featscope.arrays.frames import in_whole_pixels
from featscope.errors import BadImageError, FeatscopeError
from featscope.records import Geometry, Sample
from featscope.render.geometry import refuse_huge
from featscope.store.files import inside
from featscope.store.images import read_image


def sample_image(run: Path, sample: Sample, errors: List[str], remarks: List[str]) -> Optional[NDArray[np.uint8]]:
    """The sample's image: the file it was read from, or else the input stored in the run.

    What is wrong with either goes to `errors`, that the file is gone to `remarks`.
    """
    geometry = sample.geometry
    if geometry is None:
        return None
    if sample.frame is not None or not sample.path:  # a film's frame, an array: the run keeps the picture
        return _stored_input(run, sample, geometry, errors)
    try:
        image = read_image(Path(sample.path))
        if image.shape[:2] == tuple(geometry.original):
            return image
        errors.append(
            f"{sample.path} is {image.shape[0]} x {image.shape[1]}, its record says {geometry.original[0]} x "
            f"{geometry.original[1]} (height x width); the input stored in the run was drawn in its place"
        )
    except BadImageError as error:
        if sample.path and os.path.exists(sample.path):  # unlike Path's, false for a name that no file can have
            errors.append(f"{error}; the input stored in the run was drawn in its place")
        else:
            remarks.append(f"{sample.path} is gone: the input stored in the run was drawn")
    return _stored_input(run, sample, geometry, errors)


def lies_in_input(sample: Sample) -> bool:
    """Whether nobody knows how the image lies in the input, but the run keeps all of that: it is drawn itself."""
    return sample.geometry is None and sample.agreement is not None and bool(sample.input)


def input_image(run: Path, sample: Sample, errors: List[str]) -> Tuple[Optional[NDArray[np.uint8]], Optional[Geometry]]:
    """The whole input of such a sample, in place of the image, and how it lies in itself; what is wrong to `errors`."""
    try:
        picture = read_image(inside(run, sample.input))
    except FeatscopeError as error:
        errors.append(str(error))
        return None, None
    size = (picture.shape[0], picture.shape[1])
    return picture, Geometry(size, size, size)


def _stored_input(run: Path, sample: Sample, geometry: Geometry, errors: List[str]) -> Optional[NDArray[np.uint8]]:
    if not sample.input:
        return None
    try:
        return unfed(read_image(inside(run, sample.input)), geometry)
    except FeatscopeError as error:
        errors.append(str(error))
        return None


def unfed(picture: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """The original image, as far as the input (without padding) holds it: flip, resize, crop undone."""
    refuse_huge(geometry.original)
    geometry = in_whole_pixels(geometry)
    if geometry.flip in ("horizontal", "diagonal"):
        picture = picture[:, ::-1]
    if geometry.flip in ("vertical", "diagonal"):
        picture = picture[::-1]
    height, width = map(round, geometry.crop[2:] if geometry.crop else geometry.original)
    resized = np.asarray(
        Image.fromarray(np.ascontiguousarray(picture)).resize((width, height), Image.Resampling.BILINEAR)
    )
    if not geometry.crop:
        return resized
    canvas = np.zeros((*geometry.original, 3), np.uint8)
    top, left = map(round, geometry.crop[:2])
    canvas[top : top + height, left : left + width] = resized
    return canvas

"""Images to lie under heat maps: the files themselves, read as the framework read them, or the inputs of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featscope.arrays.frames import in_whole_pixels
from featscope.arrays.geometry import refuse_huge
from featscope.errors import BadImageError, FeatscopeError, UnknownReadingError
from featscope.records import Geometry, Picture, Sample
from featscope.store.files import inside
from featscope.store.images import read_image

_INSTEAD = "; the input as the network saw it was drawn in its place"


def sample_image(run: Path, sample: Sample, errors: List[str], remarks: List[str]) -> Optional[NDArray[np.uint8]]:
    """The image of a run's sample: `original_image`, with the input that the run keeps."""

    def stored() -> Optional[Picture]:
        return read_image(inside(run, sample.input)) if sample.input else None

    return original_image(sample, stored, errors, remarks)


def original_image(
    sample: Sample, seen: Callable[[], Optional[Picture]], errors: List[str], remarks: List[str]
) -> Optional[NDArray[np.uint8]]:
    """A sample's image in its original size: the file it was read from, or else what the network saw of it.

    seen: the input without its padding, where it is at hand. What is wrong with either goes to `errors`; that the
    file is gone, or that it is not known how it was read, to `remarks`.
    """
    geometry = sample.geometry
    if geometry is None:
        return None
    problem, to = "", errors
    if sample.path and sample.frame is None:  # a film's frame and an array have their picture in the run alone
        try:
            image = read_image(Path(sample.path), sample.reading)
            if image.shape[:2] == tuple(geometry.original):
                return image
            problem = (
                f"{sample.path} is {image.shape[0]} x {image.shape[1]}, but its record says {geometry.original[0]} x "
                f"{geometry.original[1]} (height x width)"
            )
        except UnknownReadingError as error:
            problem, to = str(error), remarks
        except BadImageError as error:
            if os.path.exists(sample.path):  # unlike Path's, false for a name that no file can have
                problem = str(error)
            else:
                problem, to = f"{sample.path} is gone", remarks
    picture = _in_its_place(seen, geometry, errors)
    if problem:
        to.append(problem + (_INSTEAD if picture is not None else "; there is no image to draw over"))
    return picture


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


def _in_its_place(
    seen: Callable[[], Optional[Picture]], geometry: Geometry, errors: List[str]
) -> Optional[NDArray[np.uint8]]:
    try:
        picture = seen()
        return unfed(picture, geometry) if picture is not None else None
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

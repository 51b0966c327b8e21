"""How a pipeline of MMEngine reads image files: by MMCV, with the library and the flag that its first step names."""

from __future__ import annotations

from typing import Dict, Iterator, Optional

from mmcv.image import io as mmcv_io
from mmcv.transforms import LoadImageFromFile

from featscope.capturing.calls import stack

_FLAGS: Dict[str, str] = {
    "color": "+exif",
    "color_ignore_orientation": "",
    "grayscale": "+exif+grey",
    "grayscale_ignore_orientation": "+grey",
}
"""MMCV's flags -> what they add to the library's name. `unchanged` gives an image of any number of channels."""

_LIBRARIES: Dict[str, str] = {"cv2": "cv2", "pillow": "mmcv"}  # turbojpeg and tifffile are not known here


def reading_of(source: object) -> str:
    """How a data set or a pipeline reads its images (`featscope.store.images.READINGS`); '' where that is not known.

    >>> from mmcv.transforms import Compose
    >>> reading_of(Compose([dict(type="LoadImageFromFile")]))
    'cv2+exif'
    >>> reading_of(Compose([dict(type="LoadImageFromFile", imdecode_backend="pillow")]))
    'mmcv+exif'

    source: a data set, also one around others, a pipeline, or None. A loader of the user's own is not known.
    """
    found = {_of_loader(loader) for loader in _loaders(source)}
    return found.pop() if len(found) == 1 else ""


def reading_of_call() -> str:
    """How the images of the call that is running were read, where MMDetection's `apis` read them."""
    for frame in stack():
        here = frame.f_locals
        owner = here.get("self")
        if frame.f_code.co_name == "inference_detector" and "test_pipeline" in here:
            return reading_of(here["test_pipeline"])
        if any(cls.__name__ == "BaseInferencer" for cls in type(owner).__mro__):
            return reading_of(getattr(owner, "pipeline", None))
    return ""


def _loaders(source: object) -> Iterator[object]:
    """The first step of each pipeline in a data set."""
    parts = getattr(source, "datasets", None) or [getattr(source, "dataset", None)]
    if parts != [None]:  # around others
        for part in parts:
            yield from _loaders(part)
        return
    steps = getattr(getattr(source, "pipeline", source), "transforms", None)
    first: Optional[object] = steps[0] if steps else None
    yield getattr(first, "from_file", first)  # an inferencer's loader has one for files


def _of_loader(loader: object) -> str:
    # A subclass may read anything in its own way.
    if not isinstance(loader, LoadImageFromFile) or type(loader).transform is not LoadImageFromFile.transform:
        return ""
    library = _LIBRARIES.get(loader.imdecode_backend or mmcv_io.imread_backend)
    flag = _FLAGS.get(loader.color_type)
    return "" if library is None or flag is None else library + flag

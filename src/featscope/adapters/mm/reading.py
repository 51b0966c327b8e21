"""Find how a pipeline of MMEngine reads image files: with the library and the flag of its first step."""

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
"""MMCV's flags -> suffix of the library's name. `unchanged` is missing, because its channels may vary."""

_LIBRARIES: Dict[str, str] = {"cv2": "cv2", "pillow": "mmcv"}  # turbojpeg and tifffile are not reproduced


def reading_of(source: object) -> str:
    """Return how a data set or a pipeline reads images (`featscope.store.images.READINGS`); '' if unknown.

    >>> from mmcv.transforms import Compose
    >>> reading_of(Compose([dict(type="LoadImageFromFile")]))
    'cv2+exif'
    >>> reading_of(Compose([dict(type="LoadImageFromFile", imdecode_backend="pillow")]))
    'mmcv+exif'

    source: a data set, which may wrap others, or a pipeline, or None. A user's own loader is unknown.
    """
    found = {_of_loader(loader) for loader in _loaders(source)}
    return found.pop() if len(found) == 1 else ""


def reading_of_call() -> str:
    """Return how the images of the running call were read, if MMDetection's `apis` read them."""
    for frame in stack():
        here = frame.f_locals
        owner = here.get("self")
        if frame.f_code.co_name == "inference_detector" and "test_pipeline" in here:
            return reading_of(here["test_pipeline"])
        if any(cls.__name__ == "BaseInferencer" for cls in type(owner).__mro__):
            return reading_of(getattr(owner, "pipeline", None))
    return ""


def _loaders(source: object) -> Iterator[object]:
    """Yield the first step of each pipeline in a data set."""
    parts = getattr(source, "datasets", None) or [getattr(source, "dataset", None)]
    if parts != [None]:  # a wrapper of other data sets
        for part in parts:
            yield from _loaders(part)
        return
    steps = getattr(getattr(source, "pipeline", source), "transforms", None)
    first: Optional[object] = steps[0] if steps else None
    yield getattr(first, "from_file", first)  # the loader of an inferencer contains one for files


def _of_loader(loader: object) -> str:
    # A subclass may read files in another way.
    if not isinstance(loader, LoadImageFromFile) or type(loader).transform is not LoadImageFromFile.transform:
        return ""
    library = _LIBRARIES.get(loader.imdecode_backend or mmcv_io.imread_backend)
    flag = _FLAGS.get(loader.color_type)
    return "" if library is None or flag is None else library + flag

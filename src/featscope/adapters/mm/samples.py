"""What MMEngine's data samples say of an image: its name, its geometry, its boxes and what it looks like."""

from __future__ import annotations

import inspect
import os
import re
from enum import Enum
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any, Iterator, List, Mapping, Optional, Protocol, Sequence

import numpy as np
import torch
from msgspec.structs import replace

from featscope.arrays.frames import reframed
from featscope.records import Boxes, Extent, Geometry, Picture, Size

if TYPE_CHECKING:
    from mmengine.structures import InstanceData

Meta = Mapping[str, Any]
"""What a pipeline says of an image: img_id, img_path, ori_shape, scale_factor, flip, ..."""


_ROUNDING = 0.02  # pixels


class DataSample(Protocol):
    """What is used of `mmengine.structures.BaseDataElement`."""

    @property
    def metainfo(self) -> Meta:
        """What the pipeline says of the image."""

    def get(self, key: str) -> Optional[InstanceData]:
        """A field (`pred_instances`), or None."""


class AnnotationFrame(Enum):
    """In which frame a pipeline leaves the annotations that it loads."""

    ORIGINAL = "original"  # nothing behind them moves the image
    INPUT = "input"  # whatever moves the image moves them
    MIRRORED = "mirrored"  # loaded behind the resizing in pixels of the original, and mirrored with the resized image
    UNKNOWN = "unknown"


def sample_id(meta: Meta, of_data_set: bool = True) -> str:
    """The data set's own id of an image, or its file's name; '' where it has none.

    >>> sample_id({"img_id": 139, "img_path": "images/000139.jpg"})
    '139'
    >>> sample_id({"img_id": 0, "img_path": "photos/harbour.jpg"}, of_data_set=False)
    'harbour'

    of_data_set: where images do not come from a data set, MMDetection numbers them all 0.
    """
    if of_data_set and meta.get("img_id") is not None:
        return str(meta["img_id"])
    path = path_of(meta)
    return Path(path).stem if path else ""


def path_of(meta: Meta) -> str:
    """The file of an image; '' for one that was given as an array."""
    path = meta.get("img_path")
    return str(Path(path).absolute()) if isinstance(path, (str, os.PathLike)) and str(path) else ""


def geometry_of(meta: Meta, padded: Optional[Size] = None) -> Optional[Geometry]:
    """How an image became the network's input, as the pipeline says; None where it says nothing.

    padded: the size of the input, where it was seen. The pipeline may leave out a step: what it says need not even
    fit into the input (`featscope.arrays.frames.fits`).
    """
    try:
        geometry = _geometry(meta)
    except (TypeError, ValueError, IndexError, KeyError):  # several cameras, points, ...: no single image
        return None
    return geometry if geometry is None or padded is None else replace(geometry, padded=padded)


def _geometry(meta: Meta) -> Optional[Geometry]:
    if "ori_shape" not in meta:
        return None
    height, width = (int(n) for n in meta["ori_shape"][:2])
    whole = tuple(int(n) for n in meta.get("img_shape", (height, width))[:2])
    padded = tuple(int(n) for n in meta.get("batch_input_shape", meta.get("pad_shape", whole))[:2])
    resized: Extent = (whole[0], whole[1])
    scale = meta.get("scale_factor")
    if scale is not None:
        # Where the pipeline pads, img_shape is the padded size: the scale alone tells the image's.
        resized = (_nearly_whole(height * float(scale[1])), _nearly_whole(width * float(scale[0])))
    offset = (0, 0)
    if meta.get("pad_param") is not None:  # a letterbox: top, bottom, left, right
        offset = (round(float(meta["pad_param"][0])), round(float(meta["pad_param"][2])))
    flip = str(meta.get("flip_direction") or "horizontal") if meta.get("flip") else ""
    return Geometry((height, width), resized, (padded[0], padded[1]), offset, flip)


def _nearly_whole(side: float) -> float:
    """A side in pixels: whole, but for the last digits; of an image that was padded and then resized it is not."""
    return round(side) if abs(side - round(side)) < _ROUNDING else side


def believed_geometry(meta: Meta, geometry: Optional[Geometry], head: object = None) -> Optional[Geometry]:
    """The geometry by which the framework itself turns boxes of the input into those that it gives: a scale.

    >>> fed = Geometry((8, 10), (4, 5), (4, 8), flip="horizontal")
    >>> believed_geometry({"scale_factor": (0.5, 0.5)}, fed)
    Geometry(original=(8, 10), resized=(4.0, 5.0), padded=(4, 8), offset=(0, 0), flip='', crop=None)

    Mirrors and crops it leaves as they are. head: what decodes the boxes; that of MMYOLO takes the padding away first,
    as its code says by naming `pad_param`.
    """
    if geometry is None:
        return None
    scale = meta.get("scale_factor")
    x, y = (1.0, 1.0) if scale is None else (float(factor) for factor in scale[:2])
    height, width = geometry.original
    offset = geometry.offset if _reads(head, "pad_param") else (0, 0)
    plain = replace(geometry, offset=offset, flip="", crop=None)
    apart = max(abs(height * y - geometry.resized[0]), abs(width * x - geometry.resized[1]))
    if geometry == plain and apart < _ROUNDING:
        return geometry  # what the framework gives is right to the last digit
    return Geometry(geometry.original, (height * y, width * x), geometry.padded, offset)


def _reads(head: object, name: str) -> bool:
    """Whether the decoding of a head names a key of the pipeline's."""
    for cls in type(head).__mro__:
        method = vars(cls).get("predict_by_feat")
        code = getattr(inspect.unwrap(method), "__code__", None) if callable(method) else None
        if code is not None and name in _constants(code):
            return True
    return False


def _constants(code: CodeType) -> Iterator[object]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):  # a loop in brackets, before Python 3.12
            yield from _constants(constant)
        else:
            yield constant


def boxes_of(
    instances: Optional[InstanceData],
    believed: Optional[Geometry] = None,
    geometry: Optional[Geometry] = None,
    frame: str = "original",
) -> Optional[Boxes]:
    """Predictions or ground truth; None where there are none.

    believed, geometry: by which the framework made them ones of the original, and by which they become so.
    frame: in which they are then.
    """
    if instances is None or "bboxes" not in instances:
        return None
    boxes = instances.bboxes
    boxes = getattr(boxes, "tensor", boxes)
    values = torch.as_tensor(boxes).detach().cpu().double().numpy()
    form = {4: "xyxy", 5: "cxcywha", 8: "quad"}.get(values.shape[-1] if values.ndim == 2 else 0)
    if form is None:
        return None
    if geometry is not None:
        values = reframed(values, believed, geometry)
    found = instances.get("scores")
    scores = np.zeros(len(values)) if found is None else found.detach().cpu().double().numpy()
    real = np.isfinite(values).all(1) & np.isfinite(scores)  # a box that is nowhere is none
    return Boxes(
        form=form,
        boxes=values[real].tolist(),
        labels=np.asarray(instances.labels.tolist(), int)[real].tolist(),
        scores=[] if found is None else scores[real].tolist(),
        frame=frame,
    )


def truth_of(instances: Optional[InstanceData], frame: Optional[AnnotationFrame]) -> Optional[Boxes]:
    """The ground truth of an image, in the frame that its pipeline leaves it in; None where that is not known."""
    return None if frame is None or frame is AnnotationFrame.UNKNOWN else boxes_of(instances, frame=frame.value)


_MOVING = re.compile(
    "Resize|Flip|Crop|Affine|Rotate|Shift|Shear|Translate|Expand|Perspective|Albu|Mosaic|MixUp|Distort"
)
_COLOURS_ONLY = re.compile("PhotoMetric")


def annotation_frame(dataset: object) -> Optional[AnnotationFrame]:
    """What a data set's pipeline does to the annotations after it loaded them; None where there is no data set."""
    if dataset is None:
        return None
    kinds = [type(transform).__name__ for transform in _transforms(getattr(dataset, "pipeline", None))]
    loaded = next((number for number, kind in enumerate(kinds) if "Annotations" in kind), len(kinds))
    before, behind = _moving(kinds[:loaded]), _moving(kinds[loaded:])
    if not behind:
        return AnnotationFrame.ORIGINAL
    if not before:
        return AnnotationFrame.INPUT
    if all("Resize" in kind for kind in before) and all("Flip" in kind for kind in behind):
        return AnnotationFrame.MIRRORED
    return AnnotationFrame.UNKNOWN


def _moving(kinds: Sequence[str]) -> List[str]:
    """The names of transforms that move what an image shows."""
    return [kind for kind in kinds if _MOVING.search(kind) and not _COLOURS_ONLY.search(kind)]


def _transforms(pipeline: object) -> Iterator[object]:
    """The steps of a pipeline; of a test-time augmentation those of its first view."""
    for step in getattr(pipeline, "transforms", ()):
        views = getattr(step, "subroutines", None)
        if views:
            yield from _transforms(views[0])
        else:
            yield step


def picture_of(image: object) -> Optional[Picture]:
    """An input before normalisation, as (H, W, 3) RGB. MMCV reads BGR."""
    if not isinstance(image, torch.Tensor) or image.dim() != 3 or image.shape[0] not in (1, 3):
        return None
    if image.dtype != torch.uint8:
        image = image.round().clamp(0, 255).byte()
    picture = image.detach().expand(3, -1, -1).cpu().numpy()[::-1].transpose(1, 2, 0)
    return np.ascontiguousarray(picture)


def before_normalisation(image: torch.Tensor, preprocessor: object) -> torch.Tensor:
    """A network's input (3, H, W), as it was before its data preprocessor normalised it."""
    if getattr(preprocessor, "_enable_normalize", False):
        image = image * getattr(preprocessor, "std", 1.0) + getattr(preprocessor, "mean", 0.0)
    turned = any(getattr(preprocessor, name, False) for name in ("_channel_conversion", "channel_conversion", "to_rgb"))
    return image.flip(0) if turned and image.shape[0] == 3 else image

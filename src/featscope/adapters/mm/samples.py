"""Read MMEngine's data samples: the name, the geometry, the boxes and the picture of an image."""

from __future__ import annotations

import inspect
import os
import re
from enum import Enum
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any, Iterator, List, Mapping, NamedTuple, Optional, Protocol, Sequence

import numpy as np
import torch
from msgspec.structs import replace

from featscope.arrays.frames import reframed
from featscope.records import Boxes, Extent, Geometry, Picture, Size

if TYPE_CHECKING:
    from mmengine.structures import InstanceData

Meta = Mapping[str, Any]
"""What a pipeline records about an image: img_id, img_path, ori_shape, scale_factor, flip, ..."""


_ROUNDING = 0.02  # pixels; a difference below this is a rounding error


class DataSample(Protocol):
    """The part of `mmengine.structures.BaseDataElement` that is used here."""

    @property
    def metainfo(self) -> Meta:
        """What the pipeline records about the image."""

    def get(self, key: str) -> Optional[InstanceData]:
        """Return a field (`pred_instances`), or None."""


class AnnotationFrame(Enum):
    """The pixels in which a pipeline leaves the annotations that it loads."""

    ORIGINAL = "original"  # no later step moves the image
    INPUT = "input"  # every step that moves the image also moves the annotations
    MIRRORED = "mirrored"  # loaded in original pixels after the resize, and flipped with the resized image
    UNKNOWN = "unknown"


class Annotations(NamedTuple):
    """How a data set annotates its images."""

    frame: AnnotationFrame
    """The pixels of the annotations."""

    ignored: str
    """What an object with `ignore_flag` is: 'crowd' or 'difficult', as in `Boxes.ignored`."""


def sample_id(meta: Meta, of_data_set: bool = True) -> str:
    """Return the data set's id of an image, or the name of its file; '' if it has neither.

    >>> sample_id({"img_id": 139, "img_path": "images/000139.jpg"})
    '139'
    >>> sample_id({"img_id": 0, "img_path": "photos/harbour.jpg"}, of_data_set=False)
    'harbour'

    of_data_set: whether the image comes from a data set. If not, MMDetection gives every image the id 0.
    """
    if of_data_set and meta.get("img_id") is not None:
        return str(meta["img_id"])
    path = path_of(meta)
    return Path(path).stem if path else ""


def path_of(meta: Meta) -> str:
    """Return the path of an image; '' if it was given as an array."""
    path = meta.get("img_path")
    return str(Path(path).absolute()) if isinstance(path, (str, os.PathLike)) and str(path) else ""


def geometry_of(meta: Meta, padded: Optional[Size] = None) -> Optional[Geometry]:
    """Return the geometry of an image that the pipeline reports; None if it reports none.

    padded: the size of the input, if it is known. The pipeline may omit a step, so the geometry may not even fit into
    the input (`featscope.arrays.frames.fits`).
    """
    try:
        geometry = _geometry(meta)
    except (TypeError, ValueError, IndexError, KeyError):  # several cameras, point clouds, ...: not a single image
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
        # If the pipeline pads, img_shape is the padded size, so the size of the image follows from the scale.
        resized = (_nearly_whole(height * float(scale[1])), _nearly_whole(width * float(scale[0])))
    offset = (0, 0)
    if meta.get("pad_param") is not None:  # a letterbox: top, bottom, left, right
        offset = (round(float(meta["pad_param"][0])), round(float(meta["pad_param"][2])))
    flip = str(meta.get("flip_direction") or "horizontal") if meta.get("flip") else ""
    return Geometry((height, width), resized, (padded[0], padded[1]), offset, flip)


def _nearly_whole(side: float) -> float:
    """Round a side in pixels if it is nearly whole. It is not after an image was padded and then resized."""
    return round(side) if abs(side - round(side)) < _ROUNDING else side


def believed_geometry(meta: Meta, geometry: Optional[Geometry], head: object = None) -> Optional[Geometry]:
    """Return the geometry that the framework itself assumes when it converts boxes to the original: only a scale.

    >>> fed = Geometry((8, 10), (4, 5), (4, 8), flip="horizontal")
    >>> believed_geometry({"scale_factor": (0.5, 0.5)}, fed)
    Geometry(original=(8, 10), resized=(4.0, 5.0), padded=(4, 8), offset=(0, 0), flip='', crop=None)

    The framework ignores flips and crops. head: the head that decodes the boxes. MMYOLO's heads subtract the padding
    first, which is recognised by the name `pad_param` in their code.
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
        return geometry  # the framework's conversion is exact
    return Geometry(geometry.original, (height * y, width * x), geometry.padded, offset)


def _reads(head: object, name: str) -> bool:
    """Whether the code that decodes a head's boxes contains the name of a key of the pipeline."""
    for cls in type(head).__mro__:
        method = vars(cls).get("predict_by_feat")
        code = getattr(inspect.unwrap(method), "__code__", None) if callable(method) else None
        if code is not None and name in _constants(code):
            return True
    return False


def _constants(code: CodeType) -> Iterator[object]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):  # a comprehension, before Python 3.12
            yield from _constants(constant)
        else:
            yield constant


def boxes_of(
    instances: Optional[InstanceData],
    believed: Optional[Geometry] = None,
    geometry: Optional[Geometry] = None,
    frame: str = "original",
) -> Optional[Boxes]:
    """Return predictions or ground truth; None if there are none.

    believed: the geometry with which the framework converted them to the original. geometry: the true geometry. frame:
    the frame of the result.
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
    real = np.isfinite(values).all(1) & np.isfinite(scores)  # drop boxes with NaN or infinity
    return Boxes(
        form=form,
        boxes=values[real].tolist(),
        labels=np.asarray(instances.labels.tolist(), int)[real].tolist(),
        scores=[] if found is None else scores[real].tolist(),
        frame=frame,
    )


def truth_of(data: DataSample, annotations: Optional[Annotations]) -> Optional[Boxes]:
    """Return the ground truth of an image, in the frame in which its pipeline leaves it; None if that is unknown.

    Objects that the data set marks as ignored come last.
    """
    if annotations is None or annotations.frame is AnnotationFrame.UNKNOWN:
        return None
    frame = annotations.frame.value
    counted, ignored = (boxes_of(data.get(name), frame=frame) for name in ("gt_instances", "ignored_instances"))
    if ignored is None or not ignored.boxes:
        return counted
    words = [annotations.ignored] * len(ignored.boxes)
    if counted is None or not counted.boxes:
        return replace(ignored, ignored=words)
    return replace(
        counted,
        boxes=counted.boxes + ignored.boxes,
        labels=counted.labels + ignored.labels,
        ignored=[""] * len(counted.boxes) + words,
    )


_MOVING = re.compile(
    "Resize|Flip|Crop|Affine|Rotate|Shift|Shear|Translate|Expand|Perspective|Albu|Mosaic|MixUp|Distort"
)
_COLOURS_ONLY = re.compile("PhotoMetric")


def annotation_frame(dataset: object) -> Optional[AnnotationFrame]:
    """Return the frame in which a data set's pipeline leaves annotations; None if there is no data set."""
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


def annotations_of(dataset: object) -> Optional[Annotations]:
    """Return how a data set annotates its images; None if there is no data set.

    `ignore_flag` is `iscrowd` in the data sets that read COCO's files. In DOTA's it is set where the difficulty is
    above `diff_thr` (100 by default, so nowhere), and in PASCAL VOC's where an object is difficult.
    """
    frame = annotation_frame(dataset)
    crowds = {cls.__name__ for cls in type(dataset).__mro__} & {"CocoDataset", "BaseVideoDataset"}
    return None if frame is None else Annotations(frame, "crowd" if crowds else "difficult")


def _moving(kinds: Sequence[str]) -> List[str]:
    """Return the names of transforms that move the content of an image."""
    return [kind for kind in kinds if _MOVING.search(kind) and not _COLOURS_ONLY.search(kind)]


def _transforms(pipeline: object) -> Iterator[object]:
    """Yield the steps of a pipeline; for test-time augmentation, those of its first view."""
    for step in getattr(pipeline, "transforms", ()):
        views = getattr(step, "subroutines", None)
        if views:
            yield from _transforms(views[0])
        else:
            yield step


def picture_of(image: object) -> Optional[Picture]:
    """Convert an input before normalisation to an (H, W, 3) RGB picture. MMCV reads BGR."""
    if not isinstance(image, torch.Tensor) or image.dim() != 3 or image.shape[0] not in (1, 3):
        return None
    if image.dtype != torch.uint8:
        image = image.round().clamp(0, 255).byte()
    picture = image.detach().expand(3, -1, -1).cpu().numpy()[::-1].transpose(1, 2, 0)
    return np.ascontiguousarray(picture)


def before_normalisation(image: torch.Tensor, preprocessor: object) -> torch.Tensor:
    """Undo the normalisation of a network's input (3, H, W) by its data preprocessor."""
    if getattr(preprocessor, "_enable_normalize", False):
        image = image * getattr(preprocessor, "std", 1.0) + getattr(preprocessor, "mean", 0.0)
    turned = any(getattr(preprocessor, name, False) for name in ("_channel_conversion", "channel_conversion", "to_rgb"))
    return image.flip(0) if turned and image.shape[0] == 3 else image

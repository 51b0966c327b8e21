"""What MMEngine's data samples say of an image: its name, its geometry, its boxes and what it looks like."""

from __future__ import annotations

import os
from itertools import dropwhile
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple, Optional, Protocol, Sequence, TypeVar

import numpy as np
import torch
from msgspec.structs import replace

from featscope.records import Boxes, Geometry, Picture, Size

Meta = Mapping[str, Any]
"""What a pipeline says of an image: img_id, img_path, ori_shape, scale_factor, flip, ..."""

Values = TypeVar("Values", torch.Tensor, "np.ndarray[Any, Any]")


class DataSample(Protocol):
    """What is used of `mmengine.structures.BaseDataElement`."""

    @property
    def metainfo(self) -> Meta:
        """What the pipeline says of the image."""

    def get(self, key: str) -> Any:
        """A field (`pred_instances`), or None."""


class AnnotationFrame(NamedTuple):
    """In which frame a pipeline leaves the annotations that it loads: made smaller, or flipped, with the image."""

    resized: bool = False
    flipped: bool = False


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
    """How an image became the network's input, from what the pipeline says of it; None where it does not.

    padded: the size of the input, where it was seen; an image that does not fit into it was changed once more.
    """
    try:
        geometry = _geometry(meta)
    except (TypeError, ValueError, IndexError, KeyError):  # several cameras, points, ...: no single image
        return None
    if geometry is None or padded is None:
        return geometry
    ends = [start + side for start, side in zip(geometry.offset, geometry.resized)]
    return replace(geometry, padded=padded) if all(end <= side for end, side in zip(ends, padded)) else None


def _geometry(meta: Meta) -> Optional[Geometry]:
    if "ori_shape" not in meta:
        return None
    height, width = (int(n) for n in meta["ori_shape"][:2])
    resized = tuple(int(n) for n in meta.get("img_shape", (height, width))[:2])
    padded = tuple(int(n) for n in meta.get("batch_input_shape", meta.get("pad_shape", resized))[:2])
    scale = meta.get("scale_factor")
    if scale is not None:
        # Where the pipeline pads, img_shape is the padded size: the scale alone tells the image's.
        resized = (round(height * float(scale[1])), round(width * float(scale[0])))
    offset = (0, 0)
    if meta.get("pad_param") is not None:  # a letterbox: top, bottom, left, right
        offset = (round(float(meta["pad_param"][0])), round(float(meta["pad_param"][2])))
    flip = str(meta.get("flip_direction") or "horizontal") if meta.get("flip") else ""
    return Geometry((height, width), (resized[0], resized[1]), (padded[0], padded[1]), offset, flip)


def boxes_of(
    instances: Any, geometry: Optional[Geometry] = None, resized_by: Optional[Sequence[float]] = None
) -> Optional[Boxes]:
    """Predictions or ground truth, in pixels of the original image; None where there are none.

    geometry: of a flipped image, whose boxes are still those of the flipped one. resized_by: (x, y), where the boxes
    are those of the resized image.
    """
    if instances is None or "bboxes" not in instances:
        return None
    boxes = instances.bboxes
    boxes = getattr(boxes, "tensor", boxes)
    values = torch.as_tensor(boxes).detach().cpu().double().numpy()
    form = {4: "xyxy", 5: "cxcywha", 8: "quad"}.get(values.shape[-1] if values.ndim == 2 else 0)
    if form is None:
        return None
    if resized_by is not None:
        x, y = (float(s) for s in resized_by[:2])
        values = values / ([x, y, x, y, 1.0] if form == "cxcywha" else np.resize([x, y], values.shape[-1]))
    values = unflipped(values, geometry)
    found = instances.get("scores")
    scores = np.zeros(len(values)) if found is None else found.detach().cpu().double().numpy()
    real = np.isfinite(values).all(1) & np.isfinite(scores)  # a box that is nowhere is none
    return Boxes(
        form=form,
        boxes=values[real].tolist(),
        labels=np.asarray(instances.labels.tolist(), int)[real].tolist(),
        scores=[] if found is None else scores[real].tolist(),
    )


def unflipped(boxes: Values, geometry: Optional[Geometry]) -> Values:
    """Boxes (..., 4, 5 or 8) of a flipped image, in pixels of its original size -> of the image as it is.

    >>> unflipped(np.array([[0.0, 1.0, 2.0, 4.0]]), Geometry((8, 10), (8, 10), (8, 10), flip="horizontal")).tolist()
    [[8.0, 1.0, 10.0, 4.0]]
    """
    flip = geometry.flip if geometry is not None else ""
    across, down = flip in ("horizontal", "diagonal"), flip in ("vertical", "diagonal")
    if geometry is None or not flip:
        return boxes
    height, width = geometry.original
    x, y = (-1.0 if across else 1.0, width * across), (-1.0 if down else 1.0, height * down)
    count = int(boxes.shape[-1])
    if count == 5:  # cx, cy, w, h, angle
        order, changes = [0, 1, 2, 3, 4], [x, y, (1.0, 0.0), (1.0, 0.0), (-1.0 if across != down else 1.0, 0.0)]
    elif count == 4:
        order = [2 if across else 0, 3 if down else 1, 0 if across else 2, 1 if down else 3]
        changes = [x, y, x, y]
    else:
        order, changes = list(range(count)), [x, y] * (count // 2)
    signs, offsets = [sign for sign, _ in changes], [offset for _, offset in changes]
    if isinstance(boxes, torch.Tensor):
        return boxes[..., order] * boxes.new_tensor(signs) + boxes.new_tensor(offsets)
    return boxes[..., order] * np.array(signs) + np.array(offsets)


def annotation_frame(dataset: object) -> Optional[AnnotationFrame]:
    """What a data set's pipeline does to the annotations after it loaded them; None where there is no data set."""
    if dataset is None:
        return None
    kinds = [type(transform).__name__ for transform in _transforms(getattr(dataset, "pipeline", None))]
    behind = list(dropwhile(lambda kind: "Annotations" not in kind, kinds))
    return AnnotationFrame(any("Resize" in kind for kind in behind), any("Flip" in kind for kind in behind))


def _transforms(pipeline: object) -> Iterator[object]:
    """The steps of a pipeline; of a test-time augmentation those of its first view."""
    for step in getattr(pipeline, "transforms", ()):
        views = getattr(step, "subroutines", None)
        if views:
            yield from _transforms(views[0])
        else:
            yield step


def picture_of(image: object, geometry: Optional[Geometry]) -> Optional[Picture]:
    """An input before normalisation, as (H, W, 3) RGB without its padding. MMCV reads BGR."""
    if not isinstance(image, torch.Tensor) or image.dim() != 3 or image.shape[0] not in (1, 3):
        return None
    if geometry is not None:
        (top, left), (height, width) = geometry.offset, geometry.resized
        image = image[:, top : top + height, left : left + width]
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

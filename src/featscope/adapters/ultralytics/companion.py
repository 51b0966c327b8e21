"""Ultralytics in a user's own script: its predictor, validator or trainer knows the files and the boxes."""

from __future__ import annotations

import functools
from functools import partial
from types import FrameType
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

import numpy as np
import torch
from msgspec.structs import replace
from torch import nn
from ultralytics.engine.results import Results
from ultralytics.engine.validator import BaseValidator
from ultralytics.nn.modules.head import RTDETRDecoder
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils import ops

from featscope.adapters.companions import ScriptModel, script_info
from featscope.adapters.detector import boxes_on_original
from featscope.adapters.ultralytics.candidates import (
    Limits,
    OnImage,
    candidates_of,
    decoded_and_raw,
    head_of,
    on_original,
)
from featscope.adapters.ultralytics.geometry import view_geometry
from featscope.adapters.ultralytics.samples import Owner, feeder
from featscope.arrays.candidates import MakeCandidates
from featscope.arrays.frames import to_original
from featscope.capturing.calls import ModelCall, stack
from featscope.capturing.inputs import Images, Known, find_images, picture_of
from featscope.capturing.layers import modules_of
from featscope.explaining.candidates import Candidates, proved_arrays
from featscope.explaining.provenance import find_sources
from featscope.records import Boxes, Geometry, Sample, Size

_FORWARD = "_predict_once"  # the network's own forward: runs once for each call, or for each view with augment=True
_VIEWS = "_predict_augment"
_scale_boxes: Callable[..., torch.Tensor] = ops.scale_boxes  # Ultralytics' own functions are not typed

Found = Union[Results, Mapping[str, torch.Tensor]]
"""The output of `postprocess` for one image, in a predictor or in a validator."""


def accompany(model: nn.Module, owners: Sequence[object], provenance: bool) -> Optional[ScriptModel]:
    """Return what is known about a network of Ultralytics, also inside `AutoBackend`; None for other models."""
    if not any(cls.__module__.partition(".")[0] == "ultralytics" for cls in type(model).__mro__):
        return None
    network = next((module for _, module in modules_of(model) if isinstance(module, BaseModel)), None)
    if network is None:
        return None
    info = replace(script_info(network, "ultralytics"), classes=classes_of(network))
    return ScriptModel(network, UltralyticsCompanion(trace=network if provenance else None), info)


def companion_of(model: nn.Module, pictures: bool) -> Optional[UltralyticsCompanion]:
    """Return the companion of a network of Ultralytics; None for other models."""
    return UltralyticsCompanion(pictures) if isinstance(model, BaseModel) else None


def classes_of(network: nn.Module) -> List[str]:
    """Return the class names of a network."""
    names = getattr(network, "names", None) or {}
    return [str(names[key]) for key in sorted(names)] if isinstance(names, dict) else [str(name) for name in names]


class _Fed(NamedTuple):
    """A batch that was fed to the network."""

    owner: Optional[Owner]
    """The object that will decode the boxes."""

    images: Images

    samples: List[Sample]

    boxes: List[Optional[Boxes]]
    """What was found in each image; empty until then."""

    sizes: List[Optional[Size]]
    """(height, width) of the images that a predictor's boxes lie on."""

    raw: List[object]
    """The raw output of the head; empty if sources are not wanted."""


class UltralyticsCompanion:
    """Knows what a predictor, a validator or a trainer feeds to the network, and reads the boxes that it finds.

    pictures: whether to keep pictures of the inputs. trace: the network in whose raw output the source of each
    detection is looked for; None if sources are not wanted.
    """

    def __init__(self, pictures: bool = True, trace: Optional[BaseModel] = None) -> None:
        self._pictures, self._trace = pictures, trace
        self._fed: Optional[_Fed] = None
        self._heard: Dict[type, Callable[..., object]] = {}  # class -> its `postprocess` while we listen

    def before(self, call: ModelCall) -> Optional[Known]:
        """Return the files, video frames or arrays of a batch, or the view of them that is about to run."""
        around = _frame_of(_VIEWS) if call.method == _FORWARD else None
        if around is not None and self._fed is not None:
            return self._known(_view(self._fed, around), _FORWARD)
        images = find_images(call.values)
        if images is None or images.size is None or len(images.each) != images.number:
            return None
        views = _asks_for_views(call)
        owner, samples = feeder(call, images)
        if owner is not None:
            self._listen(type(owner))
        if samples is None:  # the user's own tensor, so the input itself is the image
            geometry = Geometry(images.size, images.size, images.size)
            samples = [Sample("", geometry=geometry) for _ in images.each]
        if views:  # views are named after their image
            samples = _with_names(samples)
        self._fed = _Fed(owner, images, samples=samples, boxes=[], sizes=[], raw=[])
        return self._known(self._fed, _FORWARD if views else "")

    def _known(self, fed: _Fed, forward: str) -> Known:
        return Known(fed.samples, forward=forward, later=lambda: self._complete(fed))

    def after(self, call: ModelCall, known: Known, output: object) -> Optional[Known]:
        """Return None: the boxes come later from `postprocess`. The raw output is kept to find their sources."""
        fed = self._fed
        if self._trace is not None and fed is not None and fed.owner is not None and not known.forward:
            fed.raw[:] = [decoded_and_raw(output)[1]]
        return None

    def close(self) -> None:
        """Stop listening."""
        for cls, listening in self._heard.items():
            if vars(cls).get("postprocess") is listening:
                own = listening.__dict__["own"]
                if own is None:
                    del cls.postprocess  # type: ignore[attr-defined]
                else:
                    cls.postprocess = own  # type: ignore[attr-defined]
        self._heard.clear()
        self._fed = None

    # Predictions

    def _listen(self, cls: type) -> None:
        """Observe `postprocess` of a class. The objects are not changed, because they may be copied or saved."""
        if cls in self._heard:
            return
        postprocess: Callable[..., object] = cls.postprocess  # type: ignore[attr-defined]

        @functools.wraps(postprocess)
        def listening(owner: Owner, *arguments: object, **named: object) -> object:
            results = postprocess(owner, *arguments, **named)
            self._hear(owner, results)
            return results

        listening.__dict__["own"] = vars(cls).get("postprocess")
        self._heard[cls] = cls.postprocess = listening  # type: ignore[attr-defined]

    def _hear(self, owner: Owner, results: object) -> None:
        fed = self._fed
        if fed is None or fed.owner is not owner or not isinstance(results, (list, tuple)):
            return
        if len(results) == len(fed.samples):
            fed.boxes[:] = [_boxes_of(found, sample.geometry) for found, sample in zip(results, fed.samples)]
            fed.sizes[:] = [getattr(found, "orig_shape", None) for found in results]

    def _complete(self, fed: _Fed) -> Known:
        """Return the samples of a finished batch."""
        samples = fed.samples
        raw: List[Optional[MakeCandidates]] = []
        if fed.boxes:
            traced = [self._candidates(fed, index, boxes) for index, boxes in enumerate(fed.boxes)]
            samples = [
                replace(sample, predictions=boxes, sources=find_sources(one, boxes) if one and boxes else [])
                for sample, boxes, one in zip(samples, fed.boxes, traced)
            ]
            raw = [None if one is None else partial(proved_arrays, one, boxes) for one, boxes in zip(traced, fed.boxes)]
        # A picture is also needed to compare the file with the input, even if it is not kept.
        pictures = [
            picture_of(image) if self._pictures or sample.path else None
            for image, sample in zip(fed.images.each, samples)
        ]
        return Known(samples, pictures, candidates=raw)

    def _candidates(self, fed: _Fed, index: int, boxes: Optional[Boxes]) -> Optional[Candidates]:
        """Return the candidates behind the boxes of an image; None if the form of the raw output is not known."""
        if boxes is None or not fed.raw or self._trace is None or fed.images.size is None:
            return None
        head = head_of(self._trace)
        on_image = _to_image(fed, index, boxes.form, stretched=isinstance(head, RTDETRDecoder))
        if on_image is None:
            return None
        try:
            with torch.no_grad():
                return candidates_of(head, fed.raw[0], index, fed.images.size, on_image, limits=_limits(fed.owner))
        except (AttributeError, KeyError, IndexError, TypeError):  # of another version of Ultralytics
            return None


def _limits(owner: Optional[Owner]) -> Optional[Limits]:
    """Return the options by which a predictor or a validator selects boxes; None if they cannot be told."""
    given = getattr(owner, "args", None)
    if given is None or getattr(given, "classes", None) or getattr(given, "augment", False):
        return None
    validates = isinstance(owner, BaseValidator)
    by_class = not (getattr(given, "agnostic_nms", False) or (validates and getattr(given, "single_cls", False)))
    labels = "all" if validates else "best"
    return Limits(float(given.conf), float(given.iou), int(given.max_det), by_class=by_class, labels=labels)


# Views


def _with_names(samples: Sequence[Sample]) -> List[Sample]:
    return [sample if sample.id else replace(sample, id=f"image{number}") for number, sample in enumerate(samples)]


def _asks_for_views(call: ModelCall) -> bool:
    return bool(call.named.get("augment")) or (len(call.arguments) > 2 and call.arguments[2] is True)


def _view(first: _Fed, frame: FrameType) -> _Fed:
    """Return the view that `_predict_augment` runs. Its number, scale, flip and input are local variables there."""
    here = frame.f_locals
    done, scale, view = here.get("y"), here.get("si"), here.get("xi")
    flip = {None: "", 3: "horizontal", 2: "vertical"}.get(here.get("fi", 0))
    images = (find_images([view]) if isinstance(view, torch.Tensor) else None) or Images(0)
    samples = []
    for sample in first.samples:
        geometry = None
        if sample.geometry is not None and images.size is not None and isinstance(scale, (int, float)):
            geometry = view_geometry(sample.geometry, scale, flip, images.size) if flip is not None else None
        samples.append(replace(sample, geometry=geometry, view=len(done) if isinstance(done, list) else 1))
    return _Fed(None, images, samples=samples, boxes=[], sizes=[], raw=[])


# Boxes and pictures


def _to_image(fed: _Fed, index: int, form: str, stretched: bool) -> Optional[OnImage]:
    """Return the function from boxes in the input to boxes on the image: the predictor's own, or by the geometry."""
    size, on, geometry = fed.images.size, fed.sizes[index], fed.samples[index].geometry
    if on is not None and not stretched:

        def by_predictor(boxes: torch.Tensor) -> torch.Tensor:
            scaled = _scale_boxes(size, boxes[:, :4].clone(), on, xywh=form == "cxcywha")
            return torch.cat([scaled, boxes[:, 4:]], 1)

        return by_predictor
    if geometry is None:
        return None
    # RT-DETR's predictor does not clip boxes to the image; a validator's boxes are clipped.
    return lambda boxes: on_original(boxes, geometry) if on is None else to_original(boxes, geometry)


def _boxes_of(found: Found, geometry: Optional[Geometry]) -> Optional[Boxes]:
    """Return the boxes that were found in an image; None for a task without boxes."""
    if isinstance(found, Mapping):
        return _validated(found, geometry)
    turned = getattr(found, "obb", None)
    held = turned if turned is not None else getattr(found, "boxes", None)
    if held is None:
        return None
    data = held.data
    data = data.detach().float().cpu().numpy() if isinstance(data, torch.Tensor) else data
    form, numbers = ("cxcywha", 5) if turned is not None else ("xyxy", 4)
    return boxes_on_original(form, data[:, :numbers], data[:, -2], data[:, -1])


def _validated(found: Mapping[str, torch.Tensor], geometry: Optional[Geometry]) -> Optional[Boxes]:
    """Convert what a validator found, which is in pixels of the input."""
    if geometry is None or not {"bboxes", "conf", "cls"} <= set(found):
        return None
    boxes, scores, labels = (found[name].detach().float().cpu().numpy() for name in ("bboxes", "conf", "cls"))
    extra = found.get("extra")
    if boxes.shape[-1] == 4 and extra is not None and extra.shape[-1] == 1:  # the angle, in older versions
        boxes = np.concatenate([boxes, extra.detach().float().cpu().numpy()], 1)
    if boxes.shape[-1] == 5:
        return boxes_on_original("cxcywha", boxes, scores, labels, geometry)
    return boxes_on_original("xyxy", boxes, scores, labels, geometry, clip=True)


def _frame_of(name: str) -> Optional[FrameType]:
    """Return the nearest calling frame with this name."""
    return next((frame for frame in stack() if frame.f_code.co_name == name), None)

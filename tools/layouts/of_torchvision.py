"""torchvision: classifiers by what their layers are known to give, detectors by what their backbones give."""

from __future__ import annotations

import math
from functools import partial
from typing import Callable, Dict, Iterator, List, Optional

import torch
import torchvision
from torch import nn
from torchvision.models import get_model

from layouts.cases import (
    Case,
    Family,
    Oracle,
    Size,
    Stride,
    Subject,
    evenly,
    known_stride,
    strides_by_slope,
    tensors_in,
    usual_sizes,
)

OWN = (224, 224)
CLASSIFIERS = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11_bn",
    "vit_b_16",
    "vit_b_32",
)
DETECTORS = (
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_resnet50_fpn",
    "fcos_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
)
WHOLE = {"inception_v3": (299, 299), "ssd300_vgg16": (300, 300), "ssdlite320_mobilenet_v3_large": (320, 320)}
BLOCKS = 4  # of a transformer's encoder


def families() -> Iterator[Family]:
    """A model each."""
    for name in CLASSIFIERS:
        yield Family("torchvision", name, partial(_open, name, classifier))
    for name in DETECTORS:
        yield Family("torchvision", name, partial(_open, name, _detector))


def _open(name: str, kind: Callable[..., Subject]) -> Case:
    own = WHOLE.get(name, OWN)
    strides = strides_by_slope(partial(kind, name, None), own)
    return Case(name, partial(kind, name, strides), usual_sizes(own))


def classifier(name: str, strides: Optional[List[Stride]], size: Size) -> Subject:
    options = {"init_weights": True, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    if name.startswith("vit"):
        options = {"image_size": size[0]}
        if size[0] != size[1]:
            raise ValueError("a square is asked for")
    model = get_model(name, weights=None, **options).eval()
    return Subject(model, partial(_layers_of, model, name, strides), model)


def _layers_of(model: nn.Module, name: str, strides: Optional[List[Stride]], images: torch.Tensor) -> List[Oracle]:
    """What the model's stages give; it is known that Swin's have the channels last, and ViT's a class token first."""
    body = model.encoder.layers if name.startswith("vit") else getattr(model, "features", model)
    prefix = next(found for found, module in model.named_modules() if module is body)
    names = [f"{prefix}.{child}" if prefix else child for child, _ in body.named_children()]
    if name.startswith("maxvit"):
        names = ["stem", *(f"blocks.{index}" for index in range(len(model.blocks)))]
    kept: Dict[str, torch.Tensor] = {}
    modules = dict(model.named_modules())
    hooks = [
        modules[one].register_forward_hook(lambda _m, _i, output, one=one: kept.update({one: output.clone()}))
        for one in names
    ]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    maps = [(one, _nchw(name, kept[one])) for one in names if isinstance(kept.get(one), torch.Tensor)]
    maps = [(one, values) for one, values in maps if values.dim() == 4 and min(values.shape[2:]) > 1]
    return [Oracle(values, known_stride(strides, index), one) for index, (one, values) in enumerate(evenly(maps))]


def _nchw(name: str, values: torch.Tensor) -> torch.Tensor:
    if name.startswith("swin"):
        return values.permute(0, 3, 1, 2)
    if name.startswith("vit"):
        side = math.isqrt(values.shape[1] - 1)
        return values[:, 1:].transpose(1, 2).reshape(values.shape[0], -1, side, side)
    return values


def _detector(name: str, strides: Optional[List[Stride]], size: Size) -> Subject:
    """The detector's backbone by itself: its own resizing of images is no part of the question."""
    detector = torchvision.models.get_model(name, weights=None, weights_backbone=None).eval()
    backbone = detector.backbone
    return Subject(backbone, partial(_outputs, backbone, strides), backbone, own_output=True)


def _outputs(backbone: nn.Module, strides: Optional[List[Stride]], images: torch.Tensor) -> List[Oracle]:
    maps = list(tensors_in(backbone(images)))
    return [Oracle(values, known_stride(strides, index)) for index, values in enumerate(maps)]

"""MMDetection: the backbones of its configs by what they give, and the blocks inside of Swin and PVT."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Dict, Iterator, List, Optional

import mmdet
import torch
from mmdet.models.layers.transformer.utils import nlc_to_nchw
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from torch import nn

from layouts.cases import (
    Case,
    Family,
    Oracle,
    Size,
    Stride,
    Subject,
    known_stride,
    strides_by_slope,
    tensors_in,
    usual_sizes,
)

OWN = (256, 256)
CONFIGS = {  # a config for each kind of backbone
    "ResNet": "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "ResNeXt": "faster_rcnn/faster-rcnn_x101-32x4d_fpn_1x_coco.py",
    "Res2Net": "res2net/faster-rcnn_res2net-101_fpn_2x_coco.py",
    "ResNeSt": "resnest/faster-rcnn_s50_fpn_syncbn-backbone+head_ms-range-1x_coco.py",
    "RegNet": "regnet/faster-rcnn_regnetx-400MF_fpn_ms-3x_coco.py",
    "HRNet": "hrnet/faster-rcnn_hrnetv2p-w18-1x_coco.py",
    "DetectoRS_ResNet": "detectors/detectors_cascade-rcnn_r50_1x_coco.py",
    "TridentResNet": "tridentnet/tridentnet_r50-caffe_1x_coco.py",
    "SSDVGG": "ssd/ssd300_coco.py",
    "MobileNetV2": "ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py",
    "Darknet": "yolo/yolov3_d53_8xb8-320-273e_coco.py",
    "CSPDarknet": "yolox/yolox_tiny_8xb8-300e_coco.py",
    "CSPNeXt": "rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
    "HourglassNet": "cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco.py",
    "SwinTransformer": "swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py",
    "PyramidVisionTransformer": "pvt/retinanet_pvt-t_fpn_1x_coco.py",
    "PyramidVisionTransformerV2": "pvt/retinanet_pvtv2-b0_fpn_1x_coco.py",
    "EfficientNet": "efficientnet/retinanet_effb3_fpn_8xb4-crop896-1x_coco.py",
    "ResNet (DCN)": "dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py",
    "ResNet (GCNet)": "gcnet/mask-rcnn_r50-gcb-r4-c3-c5_fpn_1x_coco.py",
    "ResNet (plugins, attention)": "empirical_attention/faster-rcnn_r50-attn1111_fpn_1x_coco.py",
    "ResNet (Libra)": "libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco.py",
    "ResNet (PAFPN)": "pafpn/faster-rcnn_r50_pafpn_1x_coco.py",
}
BLOCKS = ("SwinTransformer", "PyramidVisionTransformer", "PyramidVisionTransformerV2")
NECKS = {
    "FPN": "ResNet",
    "PAFPN of YOLOX": "CSPDarknet",
    "PAFPN of RTMDet": "CSPNeXt",
    "HRFPN": "HRNet",
    "BFP": "ResNet (Libra)",
    "PAFPN": "ResNet (PAFPN)",
}

_Strides = Optional[List[Stride]]


def families() -> Iterator[Family]:
    """Backbones, backbones with their necks, and blocks."""
    for name in CONFIGS:
        yield Family("mmdet", name, partial(_open, name, False, False))
    for neck, name in NECKS.items():
        yield Family("mmdet", f"{name} with neck: {neck}", partial(_open, name, True, False))
    for name in BLOCKS:
        yield Family("mmdet", f"{name} (blocks)", partial(_open, name, False, True))


def _open(name: str, neck: bool, blocks: bool) -> Case:
    register_all_modules(init_default_scope=True)
    root = Path(mmdet.__file__).parent / ".mim" / "configs"
    model = Config.fromfile(str(root / CONFIGS[name])).model
    make = partial(_make, model, neck, blocks)
    return Case(Path(CONFIGS[name]).stem, partial(make, strides_by_slope(partial(make, None), OWN)), usual_sizes(OWN))


class _Body(nn.Sequential):
    """A backbone, and its neck if it has one."""


def _make(config: Dict[str, object], neck: bool, blocks: bool, strides: _Strides, size: Size) -> Subject:
    parts = [_built(config["backbone"])]
    necks = config["neck"] if neck else []
    parts += [_built(one) for one in (necks if isinstance(necks, list) else [necks])]
    model = parts[0] if len(parts) == 1 else _Body(*parts)
    model.eval()  # which gives nothing back in some of them
    oracles = _blocks if blocks else _outputs
    return Subject(model, partial(oracles, model, strides), model, own_output=not blocks)


def _built(config: object) -> nn.Module:
    config = copy.deepcopy(config)
    config["init_cfg"] = None
    if isinstance(config.get("pretrained"), str):
        config["pretrained"] = None
    return MODELS.build(config)


def _outputs(model: nn.Module, strides: _Strides, images: torch.Tensor) -> List[Oracle]:
    maps = [values for values in tensors_in(model(images)) if values.shape[0] == images.shape[0]]
    return [Oracle(values, known_stride(strides, index)) for index, values in enumerate(maps)]


def _blocks(model: nn.Module, strides: _Strides, images: torch.Tensor) -> List[Oracle]:
    """What each block gives, on the rows and columns that the model itself passes along, by its own function."""
    maps: Dict[str, torch.Tensor] = {}

    def look(name: str, arguments: tuple, output: object) -> None:
        tokens, grid = (*arguments[:2], None, None)[:2]
        tensors = isinstance(output, torch.Tensor) and isinstance(tokens, torch.Tensor)
        if tensors and isinstance(grid, (list, tuple)) and tuple(output.shape[1:2]) == (grid[0] * grid[1],):
            maps[name] = nlc_to_nchw(output.clone(), grid)

    hooks = [
        module.register_forward_hook(lambda _m, arguments, output, name=name: look(name, arguments, output))
        for name, module in model.named_modules()
        if type(module).__name__.endswith(("Block", "EncoderLayer"))
    ]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [Oracle(values, known_stride(strides, index), layer) for index, (layer, values) in enumerate(maps.items())]

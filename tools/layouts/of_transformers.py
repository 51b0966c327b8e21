"""transformers: every backbone by its `feature_maps`, and models of tokens by their own hidden states."""

from __future__ import annotations

from functools import partial
from typing import Callable, Iterator, List, Optional

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoBackbone, AutoModel
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES

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
    usual_sizes,
)

LAYERS = 4  # of an encoder
SIZES = {"vitpose_backbone": (256, 192), "lw_detr_vit": (256, 256)}
TOKENS = ("vit", "deit", "dinov2", "beit", "ijepa")  # (N, class tokens + rows * columns, C)
RESHAPED = ("swin", "swinv2", "hiera", "focalnet", "donut-swin")
PLAIN = ("segformer", "pvt", "pvt_v2", "poolformer", "convnext", "cvt", "mobilevit", "levit", "glpn", "efficientformer")

_Strides = Optional[List[Stride]]


def families() -> Iterator[Family]:
    """Each backbone, then the models whose hidden states have a known form."""
    for kind in MODEL_FOR_BACKBONE_MAPPING_NAMES:
        if kind not in ("timm_backbone", "tipsv2"):  # of another library; without a backbone of its own
            yield Family("transformers", f"{kind} (backbone)", partial(_open, _backbone, kind))
    for kind in (*RESHAPED, *PLAIN, *TOKENS):
        if kind in CONFIG_MAPPING:
            yield Family("transformers", f"{kind} (model)", partial(_open, _model, kind))


def _open(make: Callable[[str, _Strides, Size], Subject], kind: str) -> Case:
    own = SIZES.get(kind, (224, 224))
    strides = strides_by_slope(partial(make, kind, None), own)
    return Case(kind, partial(make, kind, strides), usual_sizes(own))


def _config(kind: str, size: Size) -> object:
    """The default of its class, with few layers, for images of a size."""
    config = CONFIG_MAPPING[kind]()
    if isinstance(getattr(config, "num_hidden_layers", None), int) and "depths" not in vars(config):
        layers = min(LAYERS, config.num_hidden_layers)
        config = CONFIG_MAPPING[kind](num_hidden_layers=layers)
    for name, value in list(vars(config).items()):
        if isinstance(value, tuple) and name in ("depths", "hidden_sizes", "embed_dims"):
            setattr(config, name, list(value))  # which some models add to a list
    if hasattr(config, "image_size") and not kind.startswith("dinov2"):  # that one resizes its places by itself
        config.image_size = size if isinstance(config.image_size, (list, tuple)) or size[0] != size[1] else size[0]
    return config


def _backbone(kind: str, strides: _Strides, size: Size) -> Subject:
    config = _config(kind, size)
    stages = [name for name in config.stage_names if name != "stem"]
    config.set_output_features_output_indices(out_features=stages, out_indices=None)
    model = AutoBackbone.from_config(config).eval()
    return Subject(model, partial(_feature_maps, model, strides), model, own_output=True)


def _feature_maps(model: nn.Module, strides: _Strides, images: torch.Tensor) -> List[Oracle]:
    maps = [
        _on_the_grid(one, images, model.config.patch_size) if one.dim() == 3 else one
        for one in model(images).feature_maps
    ]
    return [Oracle(values, known_stride(strides, index)) for index, values in enumerate(maps)]


def _model(kind: str, strides: _Strides, size: Size) -> Subject:
    model = AutoModel.from_config(_config(kind, size)).eval()
    return Subject(model, partial(_hidden_states, model, kind, strides), model)


def _hidden_states(model: nn.Module, kind: str, strides: _Strides, images: torch.Tensor) -> List[Oracle]:
    output = model(images, output_hidden_states=True)
    if kind in RESHAPED:
        last = kind == "hiera"  # whose channels are the last axis
        maps = [states.permute(0, 3, 1, 2) if last else states for states in output.reshaped_hidden_states]
    elif kind in TOKENS:
        maps = [_on_the_grid(states, images, model.config.patch_size) for states in output.hidden_states]
    else:
        maps = [states for states in output.hidden_states if states.dim() == 4]
    return [Oracle(values, known_stride(strides, index)) for index, values in enumerate(evenly(maps))]


def _on_the_grid(states: torch.Tensor, images: torch.Tensor, patch: object) -> torch.Tensor:
    """The last tokens, row by row: what stands before them are class and register tokens."""
    side = patch if isinstance(patch, (list, tuple)) else (patch, patch)
    rows, columns = images.shape[2] // side[0], images.shape[3] // side[1]
    tokens = states[:, states.shape[1] - rows * columns :]
    return tokens.transpose(1, 2).reshape(states.shape[0], -1, rows, columns)

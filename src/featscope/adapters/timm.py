"""The adapter for timm's backbones, which many detectors use."""

from __future__ import annotations

from typing import Any, Dict

import timm
import torch
from timm.data.config import resolve_model_data_config

from featscope.adapters.detector import Detector, Opening, need_checkpoint, refuse_unused, versions
from featscope.adapters.preprocessing import Preprocessing
from featscope.adapters.pytorch import PyTorchModel
from featscope.adapters.weights import load_checkpoint
from featscope.errors import unknown_name
from featscope.records import RunInfo


def open_detector(opening: Opening) -> Detector:
    """Open a model of `timm.create_model`. Images are stretched and normalised as its configuration says."""
    refuse_unused(opening, score_threshold="it detects nothing", config_options="it has no config")
    if not timm.is_model(opening.target):
        raise unknown_name("timm model", opening.target, timm.list_models(), "timm.list_models()")
    checkpoint = need_checkpoint(opening)
    torch.manual_seed(opening.seed)
    fitted: Dict[str, Any] = {"img_size": opening.input_size} if opening.input_size else {}
    try:
        model = timm.create_model(opening.target, pretrained=False, **fitted)
    except TypeError:  # convolutional networks take any size, so they do not have this argument
        model = timm.create_model(opening.target, pretrained=False)
    load_checkpoint(model, checkpoint, opening.trusted)
    config = resolve_model_data_config(model)  # type: ignore[no-untyped-call, unused-ignore]
    info = RunInfo(
        model=type(model).__name__,
        config=f"timm:{opening.target}",
        checkpoint=checkpoint,
        versions=versions("timm"),
    )
    fit = Preprocessing(mean=tuple(config["mean"]), std=tuple(config["std"])).changed(opening.preprocess)
    return PyTorchModel(model, info, fit, opening.input_size or tuple(config["input_size"][1:]))

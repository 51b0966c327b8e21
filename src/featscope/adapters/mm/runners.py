"""Read from MMEngine's runner what a run records about the model, the data set and the packages."""

from __future__ import annotations

import sys
from typing import Dict, Optional

from mmengine.dataset import BaseDataset
from mmengine.runner import BaseLoop, Runner
from torch import nn

from featscope.adapters.detector import versions
from featscope.records import RunInfo

NOT_FEATURES = ("data_preprocessor",)
"""Layers that run but produce inputs."""

_PACKAGES = (
    "mmengine",
    "mmcv",
    "mmdet",
    "mmrotate",
    "onedl-mmengine",
    "onedl-mmcv",
    "onedl-mmdetection",
    "onedl-mmrotate",
)


def trains(runner: Runner) -> bool:
    """Whether a runner is training."""
    return isinstance(runner._train_loop, BaseLoop)


def info_of(model: nn.Module, runner: Optional[Runner], dataset: Optional[BaseDataset]) -> RunInfo:
    """Return the config, the checkpoint and the classes, if the runner and its data set have them."""
    return RunInfo(
        model=type(model).__name__,
        config=str(getattr(getattr(runner, "cfg", None), "filename", "") or ""),
        checkpoint=str(getattr(runner, "_load_from", "") or ""),
        classes=list((getattr(dataset, "metainfo", None) or {}).get("classes") or ()),
        versions=versions_here(),
        command=list(sys.argv),
    )


def versions_here() -> Dict[str, str]:
    """Return the versions of the installed OpenMMLab packages."""
    return versions(*_PACKAGES)

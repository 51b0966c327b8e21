"""What goes along with a captured script: what its framework knows of the images."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Iterator, NamedTuple, Optional, Sequence

from torch import nn

from featscope.adapters.detector import versions
from featscope.capturing.inputs import Companion, PlainImages
from featscope.records import RunInfo

COMPANIONS = {
    "mmengine": "featscope.adapters.mmengine",
    "ultralytics": "featscope.adapters.ultralytics_script",
    "torchvision": "featscope.adapters.torchvision_script",
    "transformers": "featscope.adapters.transformers_script",
}
"""A package that a script has imported -> the module that knows its models: by `accompany(model, owners, provenance)`,
and by `companion_of(model, pictures)` where nothing but the model is needed."""


class ScriptModel(NamedTuple):
    """A model that a script is about to run.

    model: what is captured. companion: what its framework knows of the images. info: for the run. not_features:
    layers that run but make inputs or boxes, left out unless they are asked for. dataset_size: samples of the
    script's data set, where that is known.
    """

    model: nn.Module
    companion: Companion
    info: RunInfo
    not_features: Sequence[str] = ()
    dataset_size: Optional[int] = None


def at_hand() -> Iterator[ModuleType]:
    """The modules of `COMPANIONS` whose framework is imported already, and is of a version that they know."""
    for package, module in COMPANIONS.items():
        if package in sys.modules:
            with suppress(ImportError):
                yield import_module(module)


def accompany(model: nn.Module, owners: Sequence[object], provenance: bool) -> ScriptModel:
    """What is known of a model that is about to run; of one that no framework knows, its inputs.

    owners: the objects whose methods called it, nearest first: a predictor, a test loop. provenance: find the
    source of each detection.
    """
    for module in at_hand():
        found: Optional[ScriptModel] = module.accompany(model, owners, provenance)
        if found is not None:
            return found
    return ScriptModel(model, PlainImages(), script_info(model))


def script_info(model: nn.Module, *packages: str) -> RunInfo:
    """What a run says of a model that a script made; `packages`: whose versions it names."""
    return RunInfo(model=type(model).__name__, versions=versions(*packages), command=list(sys.argv))

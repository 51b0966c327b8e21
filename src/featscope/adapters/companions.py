"""What goes along with a captured script: what its framework knows of the images."""

from __future__ import annotations

import sys
from typing import NamedTuple, Optional, Protocol, Sequence

from torch import nn

from featscope.adapters.detector import versions
from featscope.adapters.frameworks import companions_at_hand
from featscope.capturing.inputs import Companion, PlainImages
from featscope.records import RunInfo


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


class CompanionModule(Protocol):
    """What a framework's module `companion` has (`featscope.adapters.frameworks`)."""

    def accompany(self, model: nn.Module, owners: Sequence[object], provenance: bool) -> Optional[ScriptModel]:
        """What is known of a model that a script is about to run, as of `accompany` below; None for other models."""

    def companion_of(self, model: nn.Module, pictures: bool) -> Optional[Companion]:
        """What `featscope.capture` knows of a model's images; None for other models, and where it needs their loop.

        pictures: whether to keep what the inputs look like.
        """


def accompany(model: nn.Module, owners: Sequence[object], provenance: bool) -> ScriptModel:
    """What is known of a model that is about to run; of one that no framework knows, its inputs.

    owners: the objects whose methods called it, nearest first: a predictor, a test loop. provenance: find the
    source of each detection.
    """
    for module in companions_at_hand():
        found = module.accompany(model, owners, provenance)
        if found is not None:
            return found
    return ScriptModel(model, PlainImages(), script_info(model))


def script_info(model: nn.Module, *packages: str) -> RunInfo:
    """What a run says of a model that a script made; `packages`: whose versions it names."""
    return RunInfo(model=type(model).__name__, versions=versions(*packages), command=list(sys.argv))

"""Companions for captured scripts: they know the images of a framework."""

from __future__ import annotations

import sys
from typing import NamedTuple, Optional, Protocol, Sequence

from torch import nn

from featscope.adapters.detector import versions
from featscope.adapters.frameworks import companions_at_hand
from featscope.capturing.inputs import Companion, PlainImages
from featscope.records import RunInfo


class ScriptModel(NamedTuple):
    """A model that a script is about to run."""

    model: nn.Module
    """The model to capture."""

    companion: Companion
    """Knows the images of the model's framework."""

    info: RunInfo
    """Information for the run."""

    not_features: Sequence[str] = ()
    """Layers that run but produce inputs or boxes; they are only captured on request."""

    dataset_size: Optional[int] = None
    """Number of samples in the script's data set, if known."""


class CompanionModule(Protocol):
    """The functions of a framework's `companion` module (`featscope.adapters.frameworks`)."""

    def accompany(self, model: nn.Module, owners: Sequence[object], provenance: bool) -> Optional[ScriptModel]:
        """Return what is known about a model that a script is about to run (see `accompany` below); None if unknown."""

    def companion_of(self, model: nn.Module, pictures: bool) -> Optional[Companion]:
        """Return the companion of a model for `featscope.capture`; None for other models, or if it needs their loop.

        pictures: whether to keep pictures of the inputs.
        """


def accompany(model: nn.Module, owners: Sequence[object], provenance: bool) -> ScriptModel:
    """Return what is known about a model that is about to run. Without a known framework, only its inputs are known.

    owners: the objects whose methods called the model, nearest first, such as a predictor or a test loop. provenance:
    whether to find the source of each detection.
    """
    for module in companions_at_hand():
        found = module.accompany(model, owners, provenance)
        if found is not None:
            return found
    return ScriptModel(model, PlainImages(), script_info(model))


def script_info(model: nn.Module, *packages: str) -> RunInfo:
    """Return the run's information about a script's model. packages: packages whose versions are recorded."""
    return RunInfo(model=type(model).__name__, versions=versions(*packages), command=list(sys.argv))

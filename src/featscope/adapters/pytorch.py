"""Any PyTorch model: a function that makes it, `module.path:factory`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import List, Optional, Sequence, Union

import msgspec
import torch

from featscope.adapters.detector import (
    RANDOM,
    Detected,
    Detector,
    Item,
    Opening,
    Picture,
    load_picture,
    no_candidates,
    refuse_unused,
    versions,
)
from featscope.adapters.preprocessing import Preprocessing
from featscope.adapters.weights import load_checkpoint
from featscope.errors import BadOptionError
from featscope.records import RunInfo, Size


class PyTorchModel(Detector):
    """A model that takes a batch of images, (N, 3, H, W). What it finds is not known; its maps are captured.

    size: (height, width) of its input; without one images stay as they are.
    """

    def __init__(self, model: torch.nn.Module, info: RunInfo, fit: Preprocessing, size: Optional[Size]) -> None:
        super().__init__(model.eval(), info)
        self._fit, self._size = fit, size

    def prepare(self, image: Union[Path, Picture], sample_id: str) -> Item:
        """Fit an image to the input."""
        picture, sample = load_picture(image, sample_id)
        inputs, seen, geometry = self._fit(picture, self._size)
        return Item(msgspec.structs.replace(sample, geometry=geometry), torch.from_numpy(inputs), seen)

    def detect(self, items: Sequence[Item], candidates: bool = False) -> List[Detected]:
        """Run the model; images of one batch must be of one size."""
        if candidates:
            raise no_candidates(self)
        if len({item.inputs.shape for item in items}) > 1:
            raise BadOptionError("the images of a batch have several sizes; add --input-size 512, or --batch-size 1")
        self.model(torch.stack([item.inputs for item in items]))
        return [Detected(item.sample) for item in items]


def open_detector(opening: Opening) -> Detector:
    """The model that `module.path:factory` makes, with a checkpoint's weights or those it comes with."""
    refuse_unused(opening, score_threshold="what it detects is not known", config_options="it has no config")
    module, _, factory = opening.target.partition(":")
    sys.path.insert(0, "")  # as `python -m` does: the user's own module lies where the user is
    try:
        make = getattr(import_module(module), factory)
    except (ImportError, AttributeError) as error:
        raise BadOptionError(f"{opening.target!r} cannot be loaded: {error}; type module.path:factory") from None
    torch.manual_seed(opening.seed)
    model = make()
    if not isinstance(model, torch.nn.Module):
        raise BadOptionError(f"{opening.target}() gave a {type(model).__name__}; it must give a torch.nn.Module")
    load_checkpoint(model, opening.checkpoint or RANDOM, opening.trusted)
    info = RunInfo(
        model=type(model).__name__,
        config=f"pytorch:{opening.target}",
        checkpoint=opening.checkpoint,
        versions=versions(),
    )
    return PyTorchModel(model, info, Preprocessing().changed(opening.preprocess), opening.input_size)

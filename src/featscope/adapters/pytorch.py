"""Any PyTorch model: a function that makes it, `module.path:factory`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import List, Optional, Sequence, Union

import msgspec
import numpy as np
import torch
from PIL import Image

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
from featscope.capturing.layers import modules_of, parameters_of
from featscope.capturing.remarks import first_line
from featscope.errors import BadOptionError, CaptureError, FeatscopeError
from featscope.records import RunInfo, Size

_OWN = "feed it in a script of your own, and capture that: featscope run -o RUN -- python SCRIPT"


class PyTorchModel(Detector):
    """A model that takes a batch of images, (N, 3, H, W). What it finds is not known; its maps are captured.

    A model whose first convolution takes one channel is fed grey images, and one with half-precision weights halves.
    size: (height, width) of its input; without one images stay as they are.
    """

    def __init__(self, model: torch.nn.Module, info: RunInfo, fit: Preprocessing, size: Optional[Size]) -> None:
        super().__init__(torch.nn.Module.eval(model), info)
        self._fit, self._size = fit, size
        self._channels = next((m.in_channels for _, m in modules_of(model) if isinstance(m, torch.nn.Conv2d)), 3)
        self._dtype = next((p.dtype for p in parameters_of(model) if p.is_floating_point()), torch.float32)

    def prepare(self, image: Union[Path, Picture], sample_id: str) -> Item:
        """Fit an image to the input."""
        picture, sample = load_picture(image, sample_id)
        if self._channels == 1:
            picture = np.repeat(np.asarray(Image.fromarray(picture).convert("L"))[:, :, None], 3, 2)
        inputs, seen, geometry = self._fit(picture, self._size)
        values = torch.from_numpy(inputs).to(self._dtype)
        return Item(msgspec.structs.replace(sample, geometry=geometry), values[: min(3, self._channels)], seen)

    def detect(self, items: Sequence[Item], candidates: bool = False) -> List[Detected]:
        """Run the model; images of one batch must be of one size."""
        if candidates:
            raise no_candidates(self)
        if len({item.inputs.shape for item in items}) > 1:
            raise BadOptionError("the images of a batch have several sizes; add --input-size 512, or --batch-size 1")
        batch = torch.stack([item.inputs for item in items])
        if self._channels not in (1, 3):
            raise BadOptionError(
                f"the first convolution of {self.info.model} takes {self._channels} channels, an image has 3; {_OWN}"
            )
        try:
            self.model(batch)
        except FeatscopeError:
            raise
        except Exception as error:  # (a model may take anything, and is the user's)
            raise CaptureError(
                f"{self.info.model} cannot be run on a batch of images {tuple(batch.shape)}: {first_line(error)}; "
                f"if it takes something else, {_OWN}"
            ) from error
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

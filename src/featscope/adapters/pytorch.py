"""The adapter for any PyTorch model, given by a function that makes it: `module.path:factory`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Union, cast

import msgspec
import torch
from torch import nn

from featscope.adapters.detector import (
    RANDOM,
    Detected,
    Detector,
    Item,
    Opening,
    load_picture,
    no_candidates,
    refuse_unused,
    versions,
)
from featscope.adapters.opening import import_named
from featscope.adapters.preprocessing import Preprocessing
from featscope.adapters.weights import load_checkpoint
from featscope.capturing.layers import modules_of, parameters_of
from featscope.errors import BadOptionError, CaptureError, FeatscopeError, first_line
from featscope.records import Picture, RunInfo, Size

_OWN = "feed it in your own script and capture the script: featscope run -o RUN -- python SCRIPT"
_COLOURS = 3

Fed = Union[torch.Tensor, List[torch.Tensor], Dict[str, torch.Tensor], List[Dict[str, torch.Tensor]]]
"""A batch in one of the forms that models take."""


class PyTorchModel(Detector):
    """A model that takes a batch of images, (N, 3, H, W). Its maps are captured; what it detects is unknown.

    Inputs have the type of the weights and are on their device. A model whose first convolution takes one channel
    receives one if `fit` has the colour 'grey'. size: (height, width) of the input; without it images keep their size.
    form: the form of the batch: '' for a tensor, 'KEY' for {KEY: batch}, 'list' for a list of images, 'list:KEY' for a
    list of {KEY: image}.
    """

    def __init__(
        self, model: nn.Module, info: RunInfo, fit: Preprocessing, size: Optional[Size], form: str = ""
    ) -> None:
        super().__init__(_for_testing(model), info)
        self._fit, self._size, self._form = fit, size, form
        weight = next((p for p in parameters_of(model) if p.is_floating_point()), torch.zeros(1))
        self._grey = fit.colour == "grey" and _first_channels(model) == 1
        self._device, self._dtype = weight.device, weight.dtype

    def prepare(self, image: Union[Path, Picture], sample_id: str) -> Item:
        """Fit an image to the input."""
        picture, sample = load_picture(image, sample_id, self._fit.reading)
        inputs, seen, geometry = self._fit(picture, self._size)
        if self._grey:
            inputs = inputs[:1]
        values = torch.from_numpy(inputs).to(self._device, self._dtype)
        return Item(msgspec.structs.replace(sample, geometry=geometry), values, seen)

    def detect(self, items: Sequence[Item], candidates: bool = False) -> List[Detected]:
        """Run the model. All images of a batch must have one size. Raises `CaptureError` if the model fails."""
        if candidates:
            raise no_candidates(self)
        images = [cast(torch.Tensor, item.inputs) for item in items]
        if len({image.shape for image in images}) > 1 and not self._form.startswith("list"):
            raise BadOptionError("the images of a batch have different sizes; add --input-size 512, or --batch-size 1")
        try:
            self.model(_in_form(images, self._form))
        except FeatscopeError:
            raise
        except Exception as error:  # (the user's model may raise any error)
            raise CaptureError(
                f"{self.info.model} cannot be run on a batch of images {(len(images), *images[0].shape)}: "
                f"{first_line(error)}; {self._way_on()}"
            ) from error
        return [Detected(item.sample) for item in items]

    def _way_on(self) -> str:
        """Say what to type for a model that takes something else."""
        read = "" if self._form else _form_read_by(self.model)
        channels = _first_channels(self.model)
        if self._grey:
            return f"it received one grey channel, like its first convolution; add --preprocess colour=rgb, or {_OWN}"
        if read:
            return f"its forward reads a dict: add --preprocess input={read}, or {_OWN}"
        if channels not in (1, _COLOURS):
            return f"its first convolution takes {channels} channels, but an image has {_COLOURS}; {_OWN}"
        return f"if it takes a dict, add --preprocess input=KEY; if it takes a list, input=list; otherwise {_OWN}"


def _for_testing(model: nn.Module) -> nn.Module:
    """Do what `eval()` does, for models that may use PyTorch's names, such as `train`, for something else."""
    for _, part in reversed(
        list(modules_of(model, shared=False))
    ):  # parts first, because a module may set the mode of its parts
        train = type(part).train
        part.training = False
        if train is not nn.Module.train and "mode" in inspect.signature(train).parameters:
            train(part, False)
    return model


def _in_form(images: Sequence[torch.Tensor], form: str) -> Fed:
    kind, _, key = form.rpartition(":")
    if form == "list":
        return list(images)
    if kind == "list":
        return [{key: image} for image in images]
    batch = torch.stack(list(images))
    return {form: batch} if form else batch


def _form_read_by(model: nn.Module) -> str:
    """Find the form in the source of the forward: `batch['image']` for its argument, or for the elements of it."""
    try:
        source = inspect.getsource(type(model).forward)
    except (OSError, TypeError):
        return ""
    argument = next(iter(list(inspect.signature(type(model).forward).parameters)[1:]), "")
    found = re.search(r"\b(\w+)\[\s*['\"](\w+)['\"]\s*\]", source)
    if found is None:
        return ""
    name, key = found.groups()
    if name == argument:
        return key
    return f"list:{key}" if re.search(rf"\bfor {name} in {argument}\b", source) else ""


def _first_channels(model: nn.Module) -> int:
    """Return how many channels the first convolution takes; without a convolution, those of an image."""
    return next((m.in_channels for _, m in modules_of(model) if isinstance(m, nn.Conv2d)), _COLOURS)


def _read_form(text: str) -> Tuple[str, str]:
    """Split what a user typed for the preprocessing into the part without input=... and the input's form."""
    parts = [part.strip() for part in text.split(",")]
    forms = [part.partition("=")[2].strip() for part in parts if part.partition("=")[0].strip() == "input"]
    if any(not form.partition(":")[0] or form == "list:" for form in forms):
        raise BadOptionError(
            f"{text!r} does not name a key; type input=image for {{'image': batch}}, input=list, or list:image"
        )
    rest = [part for part in parts if part.partition("=")[0].strip() != "input"]
    return ",".join(rest), forms[-1] if forms else ""


def open_detector(opening: Opening) -> Detector:
    """Open the model that `module.path:factory` makes, with the weights of a checkpoint or its initial ones."""
    refuse_unused(opening, score_threshold="what it detects is unknown", config_options="it has no config")
    factory = opening.target.partition(":")[2]
    make = import_named(opening.target, "module.path:factory")
    preprocessing, form = _read_form(opening.preprocess)
    torch.manual_seed(opening.seed)
    model = make()
    if not isinstance(model, nn.Module):
        raise BadOptionError(f"{opening.target}() returned a {type(model).__name__}; {_what_to_give(model, factory)}")
    load_checkpoint(model, opening.checkpoint or RANDOM, opening.trusted)
    info = RunInfo(
        model=type(model).__name__,
        config=f"pytorch:{opening.target}",
        checkpoint=opening.checkpoint,
        versions=versions(),
    )
    # A first convolution of one channel needs grey input. What the user typed takes precedence.
    colour = "grey" if _first_channels(model) == 1 else "rgb"
    fit = Preprocessing(colour=colour).changed(preprocessing)
    return PyTorchModel(model, info, fit, opening.input_size, form)


def _what_to_give(made: object, factory: str) -> str:
    if isinstance(made, (tuple, list)):
        for place, part in enumerate(made):
            if isinstance(part, nn.Module):
                return f"write a function that returns only the model: def model(): return {factory}()[{place}]"
    return "it must return a torch.nn.Module"

"""Explanations without gradients: hide a part of the image or of the features, and see how the score changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the name every PyTorch user knows)
from torch.utils.hooks import RemovableHandle

from featscope.arrays.boxes import paired_iou
from featscope.errors import CaptureError
from featscope.explaining.candidates import Candidates, Target, as_array
from featscope.explaining.items import Detected, Item
from featscope.explaining.probe import ChannelAxis, Probe
from featscope.explaining.targets import Explainable

if TYPE_CHECKING:
    from typing_extensions import TypeGuard  # in typing from Python 3.10

Tensor = torch.Tensor

_Arguments = Tuple[Tuple[object, ...], Dict[str, object]]

_LIKELY = 64  # the number of candidates with the highest scores that are compared with a box
_GRID = 16  # cells of a random mask along each side (D-RISE)
_SHOWN = 0.5  # share of a mask's cells that show the image


# The score of a box in a changed image


def scores_of(candidates: Candidates, targets: Sequence[Target]) -> NDArray[np.float64]:
    """Return how much of each target is still detected: the best product of overlap and class score, in [0, 1].

    This is the similarity of D-RISE for a given class, with the exact overlap of rotated boxes.
    """
    labels = torch.tensor([target.label for target in targets])
    scores = torch.cat([level.scores.detach()[:, labels] for level in candidates.levels])
    if not len(scores):
        return np.zeros(len(targets))
    best = scores.topk(min(_LIKELY, len(scores)), 0)
    boxes = torch.cat([level.boxes.detach() for level in candidates.levels])
    chosen = as_array(boxes[best.indices] if boxes.dim() == 2 else boxes[best.indices, labels])
    theirs = np.broadcast_to(np.array([target.box for target in targets]), chosen.shape)
    size = chosen.shape[-1]
    overlap = paired_iou(candidates.form, chosen.reshape(-1, size), theirs.reshape(-1, size)).reshape(chosen.shape[:2])
    return np.asarray((overlap * as_array(best.values)).max(0))


# Hiding parts of the image


class ImageMask:
    """Hides parts of the images in a batch on their way into the network.

    masks: (N, H, W) in [0, 1], or smaller ones, which are stretched. Hidden parts get the mean of the image. The mask
    is applied to the input of the first module that receives a batch of pictures, after normalisation, resize and
    padding.
    """

    def __init__(self, detector: Explainable, item: Item) -> None:
        self._detector = detector
        self.size, self._entrance = _find_entrance(detector, item)

    def detect(self, item: Item, masks: Tensor, base: Optional[Tensor] = None) -> Sequence[Detected]:
        """Run the detector on one item under several masks. base: what is shown in place of hidden parts."""

        def before(_module: nn.Module, inputs: Tuple[object, ...], named: Dict[str, object]) -> _Arguments:
            def change(value: object) -> object:
                return _hide(value, masks, base) if _is_picture(value) else value

            return tuple(map(change, inputs)), {name: change(value) for name, value in named.items()}

        handle = self._entrance.register_forward_pre_hook(before, with_kwargs=True)
        try:
            with torch.no_grad():
                return self._detector.detect([item] * len(masks), candidates=True)
        finally:
            handle.remove()

    def look(self, item: Item, seen: List[Tensor]) -> None:
        """Record the network's input for the item, (1, 3, H, W)."""

        def before(_module: nn.Module, inputs: Tuple[object, ...], named: Dict[str, object]) -> None:
            seen.extend(value.detach().clone() for value in (*inputs, *named.values()) if _is_picture(value))

        handle = self._entrance.register_forward_pre_hook(before, with_kwargs=True)
        try:
            with torch.no_grad():
                self._detector.detect([item])
        finally:
            handle.remove()


def _is_picture(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, torch.Tensor) and value.dim() == 4 and value.shape[1] == 3 and value.is_floating_point()


def _hide(images: Tensor, masks: Tensor, base: Optional[Tensor]) -> Tensor:
    if masks.shape[-2:] != images.shape[-2:]:
        masks = F.interpolate(masks[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    hidden = images[:1].mean((2, 3), keepdim=True) if base is None else base
    # Keep the memory format of the images, because another one slows down the network's convolutions.
    shown = torch.empty_like(images)
    return torch.lerp(hidden.expand_as(images), images, masks[:, None].to(images), out=shown)


def _find_entrance(detector: Explainable, item: Item) -> Tuple[Tuple[int, int], nn.Module]:
    """Find the first module that receives pictures, and their size."""
    found: List[Tuple[Tuple[int, int], nn.Module]] = []

    def look(module: nn.Module, inputs: Tuple[object, ...], named: Dict[str, object]) -> None:
        for value in (*inputs, *named.values()):
            if not found and _is_picture(value):
                found.append(((int(value.shape[-2]), int(value.shape[-1])), module))

    handles: List[RemovableHandle] = [
        module.register_forward_pre_hook(look, with_kwargs=True) for module in detector.model.modules()
    ]
    try:
        with torch.no_grad():
            detector.detect([item])
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise CaptureError("no part of the model receives a batch of pictures (N, 3, H, W), so nothing can be hidden")
    return found[0]


# Methods


@dataclass(frozen=True)
class Trial:
    """The input of a hiding method."""

    detector: Explainable
    item: Item

    candidates: Candidates
    """The candidates of the whole image."""

    targets: Sequence[Target]
    """The detections to explain."""

    probe: Optional[Probe] = None
    """The layer in the same forward; None if no method needs one."""

    masks: int = 1000
    """Number of random masks."""

    batch_size: int = 4
    """Number of images in one forward, which determines the memory."""

    @property
    def layer(self) -> Probe:
        """The layer, for a method that needs one."""
        if self.probe is None:
            raise CaptureError("this method needs a layer; give one: -l neck")
        return self.probe


class Weighed(NamedTuple):
    """The map of one target."""

    heat: Tensor
    """(h, w)."""

    level: Optional[int]
    """Level of the layer; None for a map of the image."""


Hide = Callable[[Trial], List[Weighed]]
"""A hiding method, which returns a map for each target."""


def d_rise(trial: Trial) -> List[Weighed]:
    """Average random masks, weighted by how much of the target was still detected under them (Petsiuk, 2021)."""
    hidden = ImageMask(trial.detector, trial.item)
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(len(trial.targets), *hidden.size)
    weight = torch.zeros(len(trial.targets), 1, 1)
    seen = torch.zeros(hidden.size)
    for size in _sizes(trial.masks, trial.batch_size):
        masks = random_masks(size, hidden.size, generator)
        scores = torch.from_numpy(_scores_under(hidden, trial, masks)).float()
        if bool((scores < 0).any()):
            raise CaptureError(
                f"the target returned a negative number, {float(scores.min()):.3g}, but d-rise uses it as a weight; "
                "return a probability"
            )
        total += torch.tensordot(scores.T, masks, 1)
        weight += scores.sum(0)[:, None, None]
        seen += masks.sum(0)
    # Subtract the mean of all masks, which is brighter in the middle of the image.
    return [Weighed(heat, None) for heat in total / weight.clamp(min=1e-12) - seen / trial.masks]


def random_masks(count: int, size: Tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return smooth random masks (count, H, W): a coarse grid of shown and hidden cells, stretched and shifted."""
    cell = -(-size[0] // _GRID), -(-size[1] // _GRID)
    grid = (torch.rand(count, 1, _GRID + 1, _GRID + 1, generator=generator) < _SHOWN).float()
    stretched = F.interpolate(
        grid, ((_GRID + 1) * cell[0], (_GRID + 1) * cell[1]), mode="bilinear", align_corners=False
    )
    shifts = torch.stack([torch.randint(0, side, (count,), generator=generator) for side in cell], 1).tolist()
    return torch.stack([one[0, y : y + size[0], x : x + size[1]] for one, (y, x) in zip(stretched, shifts)])


def score_cam(trial: Trial) -> List[Weighed]:
    """Weight channels by the score of the image masked with the channel (Wang et al., 2020)."""
    hidden = ImageMask(trial.detector, trial.item)

    def weigh(_level: int, activation: Tensor, own: Trial) -> NDArray[np.float64]:
        low, high = activation.amin((1, 2), keepdim=True), activation.amax((1, 2), keepdim=True)
        channels = (activation - low) / (high - low).clamp(min=1e-12)
        return np.concatenate([_scores_under(hidden, own, masks) for masks in torch.split(channels, own.batch_size)])

    return _weighted_channels(trial, weigh)


def ablation_cam(trial: Trial) -> List[Weighed]:
    """Weight channels by the share of the score that is lost without them (Desai and Ramaswamy, 2020)."""

    def weigh(level: int, activation: Tensor, own: Trial) -> NDArray[np.float64]:
        place = own.layer.channel_of(level)
        before = scores_of(own.candidates, own.targets)
        scores = []
        for channels in torch.split(torch.arange(len(activation)), own.batch_size if place.sample is not None else 1):
            with torch.no_grad(), own.layer.changing(partial(_without, place, channels)):
                found = own.detector.detect([own.item] * len(channels), candidates=True)
            scores += [scores_of(one.raw, own.targets) for one in found]
        return np.asarray((before - np.stack(scores)) / np.maximum(np.abs(before), 1e-12))

    return _weighted_channels(trial, weigh)


Weigh = Callable[[int, Tensor, Trial], NDArray[np.float64]]
"""Level, its activation, and the trial with the targets on this level -> weights (channels, targets)."""


def _weighted_channels(trial: Trial, weigh: Weigh) -> List[Weighed]:
    """Return each target's map: the weighted sum of the channels of the target's level."""
    activations = {level: map_ for level, map_ in enumerate(trial.layer.maps(trial.layer.kept, 0)) if map_ is not None}
    levels = [_own_level(activations, trial.candidates, target) for target in trial.targets]
    heats: Dict[int, Tensor] = {}
    for level in sorted(set(levels)):
        activation = activations[level]
        chosen = [place for place, own in enumerate(levels) if own == level]
        own = replace(trial, targets=[trial.targets[place] for place in chosen])
        weights = torch.from_numpy(weigh(level, activation, own)).to(activation)
        for column, place in enumerate(chosen):
            heats[place] = torch.einsum("c,chw->hw", weights[:, column], activation)
    return [Weighed(heats[place], level) for place, level in enumerate(levels)]


def _scores_under(hidden: ImageMask, trial: Trial, masks: Tensor) -> NDArray[np.float64]:
    """Return how much of each target is left under each mask, (masks, targets)."""
    found = hidden.detect(trial.item, masks)
    return np.stack([scores_of(one.raw, trial.targets) for one in found])


def _without(place: ChannelAxis, channels: Tensor, number: int, value: Tensor) -> Tensor:
    """Remove one channel in each image of a batch from one tensor of a layer's output."""
    if number != place.tensor:
        return value
    changed = value.clone()
    for row, channel in enumerate(channels.tolist()):
        part = changed if place.sample is None else changed.select(place.sample, row).unsqueeze(place.sample)
        part.select(place.axis, channel).zero_()
    return changed


def _own_level(activations: Mapping[int, Tensor], candidates: Candidates, target: Target) -> int:
    """Return the layer's level of a target: the level with the size of the source's grid, else the first."""
    grid = candidates.levels[target.source.level].grid
    same = [level for level, map_ in activations.items() if grid is not None and grid[:2] == tuple(map_.shape[-2:])]
    return same[0] if same else min(activations)


def _sizes(count: int, size: int) -> Iterator[int]:
    for start in range(0, count, size):
        yield min(size, count - start)

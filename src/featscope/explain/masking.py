"""Explanations without gradients: hide a part, of the image or of the features, and see what the score does."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the name every PyTorch user knows)
from torch.utils.hooks import RemovableHandle

from featscope.arrays.boxes import paired_iou
from featscope.errors import CaptureError
from featscope.explain.candidates import Candidates, Target, as_array
from featscope.explain.explanation import Explanation
from featscope.explain.gradients import OnError, finish, reported
from featscope.explain.probe import Probe
from featscope.explain.targets import Choice, Explainable
from featscope.records import Place

Tensor = torch.Tensor
Done = Callable[[], None]

_LIKELY = 64  # candidates of highest score that are compared with a box
_GRID = 16  # cells of a random mask along each side (D-RISE)
_SHOWN = 0.5  # share of a mask's cells that let the image through


# The score of a box in an image that was changed


def scores_of(candidates: Candidates, targets: Sequence[Target]) -> NDArray[np.float64]:
    """How much each target is still there: the best overlap times score for its class, in [0, 1].

    The similarity of D-RISE with the class given; overlap of rotated boxes is that of the rotated boxes.
    """
    labels = torch.tensor([target.label for target in targets])
    scores = torch.cat([level.scores.detach()[:, labels] for level in candidates.levels])
    best = scores.topk(min(_LIKELY, len(scores)), 0)
    boxes = torch.cat([level.boxes.detach() for level in candidates.levels])
    chosen = as_array(boxes[best.indices] if boxes.dim() == 2 else boxes[best.indices, labels])
    theirs = np.broadcast_to(np.array([target.box for target in targets]), chosen.shape)
    size = chosen.shape[-1]
    overlap = paired_iou(candidates.form, chosen.reshape(-1, size), theirs.reshape(-1, size)).reshape(chosen.shape[:2])
    return np.asarray((overlap * as_array(best.values)).max(0))


# The image, hidden in part


class ImageMask:
    """Hides parts of the images of a batch, on their way into the network.

    masks: (N, H, W) in [0, 1], or smaller and stretched; what is hidden is the image's mean. The place is the
    first module that is given a batch of pictures: behind normalisation, resize and padding.
    """

    def __init__(self, detector: Explainable, item: Any) -> None:
        self._detector = detector
        self.size, self._entrance = _find_entrance(detector, item)

    def detect(self, item: Any, masks: Tensor, base: Optional[Tensor] = None) -> Sequence[Any]:
        """Run the detector on one item under several masks; base: what is seen where the item is hidden."""

        def before(_module: nn.Module, inputs: Tuple[Any, ...], named: Dict[str, Any]) -> Any:
            def change(value: Any) -> Any:
                return _hide(value, masks, base) if _is_picture(value) else value

            return tuple(map(change, inputs)), {name: change(value) for name, value in named.items()}

        handle = self._entrance.register_forward_pre_hook(before, with_kwargs=True)
        try:
            with torch.no_grad():
                return self._detector.detect([item] * len(masks), candidates=True)
        finally:
            handle.remove()

    def look(self, item: Any, seen: List[Tensor]) -> None:
        """Note the item as the network is given it, (1, 3, H, W)."""

        def before(_module: nn.Module, inputs: Tuple[Any, ...], named: Dict[str, Any]) -> None:
            seen.extend(value.detach().clone() for value in (*inputs, *named.values()) if _is_picture(value))

        handle = self._entrance.register_forward_pre_hook(before, with_kwargs=True)
        try:
            with torch.no_grad():
                self._detector.detect([item])
        finally:
            handle.remove()


def _is_picture(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() == 4 and value.shape[1] == 3 and value.is_floating_point()


def _hide(images: Tensor, masks: Tensor, base: Optional[Tensor]) -> Tensor:
    if masks.shape[-2:] != images.shape[-2:]:
        masks = F.interpolate(masks[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    hidden = images[:1].mean((2, 3), keepdim=True) if base is None else base
    # In the memory format of the images: in another one the network's convolutions take longer.
    shown = torch.empty_like(images)
    return torch.lerp(hidden.expand_as(images), images, masks[:, None].to(images), out=shown)


def _find_entrance(detector: Explainable, item: Any) -> Tuple[Tuple[int, int], nn.Module]:
    """The first module that is given pictures, and their size."""
    found: List[Tuple[Tuple[int, int], nn.Module]] = []

    def look(module: nn.Module, inputs: Tuple[Any, ...], named: Dict[str, Any]) -> None:
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
        raise CaptureError("no part of the model is given a batch of pictures (N, 3, H, W), so none can be hidden")
    return found[0]


# Methods


def explain_by_masking(
    detector: Explainable,
    item: Any,
    layer: str,
    method: str,
    choice: Choice = Choice(),  # noqa: B008 (a constant)
    masks: int = 1000,
    batch_size: int = 4,
    seed: int = 0,
    done: Done = lambda: None,
    on_error: Optional[OnError] = None,
) -> List[Explanation]:
    """Explain detections of one image by hiding; all detections share the forwards.

    >>> explain_by_masking(detector, item, "", "d-rise", Choice(top=3), masks=1000)    # doctest: +SKIP
    [Explanation(...), Explanation(...), Explanation(...)]

    method: 'd-rise' (random masks over the image, no layer), 'score-cam' (the image under each channel of
    the layer) or 'ablation-cam' (the layer without each of its channels). done: called after each forward.
    on_error: as by gradient. Memory is that of `batch_size` images.
    """
    probe = None if method == "d-rise" else Probe(detector.model, layer, gradients=False)
    with torch.no_grad(), probe or nullcontext():
        found = detector.detect([item], candidates=True)[0]
    targets = choice.of(found, detector.info.classes)
    if probe is None:
        heats, level = _d_rise(detector, item, targets, masks, batch_size, seed, done), 0
        maps = [(heat, level) for heat in heats]
        places: Sequence[Optional[Place]] = [None]
    else:
        probe.check()
        activations = [a for a in probe.maps(probe.kept, 0) if a is not None]
        if method == "score-cam":
            weigh = _score_weights(detector, item, batch_size, done)
        else:
            count = len(activations)
            weigh = _ablation_weights(detector, item, layer, found.candidates, count, batch_size, done)
        places = probe.places
        maps = _weighted_channels(activations, targets, found.candidates, weigh)
    explanations = []
    for target, (heat, level) in zip(targets, maps):
        with reported(on_error):
            explanations.append(finish(heat, found.sample, target, method, layer, level, place=places[level]))
    return explanations


def _d_rise(
    detector: Explainable, item: Any, targets: Sequence[Target], count: int, batch_size: int, seed: int, done: Done
) -> List[Tensor]:
    """Each target's mean of random masks, weighted by how much of it was still found under them (Petsiuk, 2021)."""
    hidden = ImageMask(detector, item)
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(targets), *hidden.size)
    weight = torch.zeros(len(targets), 1, 1)
    seen = torch.zeros(hidden.size)
    for size in _sizes(count, batch_size):
        masks = random_masks(size, hidden.size, generator)
        found = hidden.detect(item, masks)
        scores = torch.from_numpy(np.stack([scores_of(one.candidates, targets) for one in found])).float()
        total += torch.tensordot(scores.T, masks, 1)
        weight += scores.sum(0)[:, None, None]
        seen += masks.sum(0)
        done()
    # Less what the masks show anyhow: without it, the middle of the image would shine.
    return list(total / weight.clamp(min=1e-12) - seen / count)


def random_masks(count: int, size: Tuple[int, int], generator: torch.Generator) -> Tensor:
    """Smooth random masks (count, H, W): a coarse grid of shown and hidden cells, stretched and shifted."""
    cell = -(-size[0] // _GRID), -(-size[1] // _GRID)
    grid = (torch.rand(count, 1, _GRID + 1, _GRID + 1, generator=generator) < _SHOWN).float()
    stretched = F.interpolate(
        grid, ((_GRID + 1) * cell[0], (_GRID + 1) * cell[1]), mode="bilinear", align_corners=False
    )
    shifts = torch.stack([torch.randint(0, side, (count,), generator=generator) for side in cell], 1).tolist()
    return torch.stack([one[0, y : y + size[0], x : x + size[1]] for one, (y, x) in zip(stretched, shifts)])


Weigh = Callable[[int, Tensor, Sequence[Target]], NDArray[np.float64]]
"""Level, its activation and the targets on it -> weights (channels, targets)."""


def _weighted_channels(
    activations: Sequence[Tensor], targets: Sequence[Target], candidates: Candidates, weigh: Weigh
) -> List[Tuple[Tensor, int]]:
    """Each target's map and its level: the channels of its own level, by their weights."""
    levels = [_own_level(activations, candidates, target) for target in targets]
    heats: Dict[int, Tensor] = {}
    for level in sorted(set(levels)):
        chosen = [place for place, own in enumerate(levels) if own == level]
        weights = torch.from_numpy(weigh(level, activations[level], [targets[place] for place in chosen]))
        for column, place in enumerate(chosen):
            heats[place] = torch.einsum("c,chw->hw", weights[:, column].to(activations[level]), activations[level])
    return [(heats[place], level) for place, level in enumerate(levels)]


def _score_weights(detector: Explainable, item: Any, batch_size: int, done: Done) -> Weigh:
    """Channels weighted by the score of the image under them alone (Wang et al., 2020)."""
    hidden = ImageMask(detector, item)

    def weigh(_level: int, activation: Tensor, targets: Sequence[Target]) -> NDArray[np.float64]:
        low, high = activation.amin((1, 2), keepdim=True), activation.amax((1, 2), keepdim=True)
        scores = []
        for masks in torch.split((activation - low) / (high - low).clamp(min=1e-12), batch_size):
            scores += [scores_of(one.candidates, targets) for one in hidden.detect(item, masks)]
            done()
        return np.stack(scores)

    return weigh


def _ablation_weights(
    detector: Explainable, item: Any, layer: str, candidates: Candidates, count: int, batch_size: int, done: Done
) -> Weigh:
    """Channels weighted by the share of the score that is lost without them (Desai and Ramaswamy, 2020).

    count: of the layer's levels.
    """

    def weigh(level: int, activation: Tensor, targets: Sequence[Target]) -> NDArray[np.float64]:
        before = scores_of(candidates, targets)
        scores = []
        for channels in torch.split(torch.arange(len(activation)), batch_size):
            change = partial(_without, level, channels, iter(range(count)))
            with torch.no_grad(), Probe(detector.model, layer, change=change):
                found = detector.detect([item] * len(channels), candidates=True)
            scores += [scores_of(one.candidates, targets) for one in found]
            done()
        return np.asarray((before - np.stack(scores)) / np.maximum(before, 1e-12))

    return weigh


def _without(level: int, channels: Tensor, counter: Iterator[int], value: Tensor) -> Tensor:
    """The maps of a batch, of which each lacks one channel; maps of other levels stay whole."""
    if next(counter) != level:
        return value
    changed = value.clone()
    changed[torch.arange(len(channels)), channels] = 0
    return changed


def _own_level(activations: Sequence[Tensor], candidates: Candidates, target: Target) -> int:
    """The layer's level that a target lives on: the one of its source's size, else the finest."""
    grid = candidates.levels[target.source.level].grid
    sizes = [tuple(activation.shape[-2:]) for activation in activations]
    return sizes.index(grid[:2]) if grid is not None and grid[:2] in sizes else 0


def _sizes(count: int, size: int) -> Iterator[int]:
    for start in range(0, count, size):
        yield min(size, count - start)


MASKING: Dict[str, str] = {
    "d-rise": "random masks over the image; needs no layer",
    "score-cam": "the image under each channel",
    "ablation-cam": "the layer without each channel",
}
"""Method -> what is hidden."""

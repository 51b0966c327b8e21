"""Compute the gradient of a target's score, or of one side of its box, at the maps of a layer."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence

import torch

from featscope.errors import CaptureError
from featscope.explaining.candidates import Candidates, Target
from featscope.explaining.probe import Probe
from featscope.explaining.targets import side_index

Tensor = torch.Tensor


class Pulled(NamedTuple):
    """The level of a layer that a target depends on most, with its map and gradient, both (C, H, W)."""

    level: int
    activation: Tensor
    gradient: Tensor


def pulled(probe: Probe, candidates: Candidates, target: Target, side: str, layer: str, name: str) -> Pulled:
    """Return the gradient of a target at a layer.

    side: '' for the score. layer, name: names of the layer and the image, for errors. Raises `CaptureError` if the
    target does not depend on the layer.
    """
    activations = probe.maps(probe.kept, 0)
    gradients = probe.maps(_gradients(probe, candidates, target, side, layer), 0)
    found: Optional[Pulled] = None
    most = 0.0
    for level, (activation, gradient) in enumerate(zip(activations, gradients)):
        if activation is None or gradient is None:
            continue
        strength = float((gradient * activation).abs().sum())
        if strength > most:
            found, most = Pulled(level, activation, gradient), strength
    if found is None:
        raise CaptureError(
            f"{target.words} of {name} does not depend on layer {layer!r}: its gradient is zero; "
            "choose another layer, for example the neck"
        )
    return found


def _gradients(
    probe: Probe, candidates: Candidates, target: Target, side: str, layer: str
) -> Sequence[Optional[Tensor]]:
    if side:
        value = candidates.box(target.source, target.label)[side_index(side, candidates.form)]
    else:
        value = candidates.logit(target.source, target.label)
    if not value.requires_grad:
        raise CaptureError(
            f"the {side or 'score'} of {target.words} has no gradient at layer {layer!r}: the model computes it "
            "without that layer, or cuts the gradient on the way; choose a layer nearer to the head that made the box"
        )
    found: List[Optional[Tensor]] = list(torch.autograd.grad(value, probe.kept, retain_graph=True, allow_unused=True))
    return found

"""Class activation maps: compute a heat map from the output of a layer and the gradient of a score.

The table of all methods is `featscope.explaining.methods.METHODS`.
"""

from __future__ import annotations

from typing import Callable

import torch
from torch.nn import functional as F  # noqa: N812 (the name every PyTorch user knows)

from featscope.arrays.reduce import reduce

Tensor = torch.Tensor

Cam = Callable[[Tensor, Tensor], Tensor]
"""Activation and gradient, (C, H, W) each -> a map (H, W)."""


def _weighted(weights: Tensor, activation: Tensor) -> Tensor:
    return torch.einsum("c,chw->hw", weights, activation)


def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight channels by their mean gradient (Selvaraju et al., 2017)."""
    return _weighted(gradient.mean((1, 2)), activation)


def grad_cam_plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight channels by their positive gradients, with more weight on rare ones (Chattopadhay et al., 2018)."""
    square = gradient.square()
    share = square / (2 * square + activation.sum((1, 2), keepdim=True) * square * gradient + 1e-6)
    share = share.where(gradient != 0, share.new_zeros(()))
    return _weighted((gradient.relu() * share).sum((1, 2)), activation)


def hires_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight each cell by its own gradient (Draelos and Carin, 2020)."""
    return (activation * gradient).sum(0)


def layer_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight each cell by its own gradient if that is positive (Jiang et al., 2021)."""
    return (activation * gradient.relu()).sum(0)


def x_grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight channels by their gradient times their share of activation (Fu et al., 2020)."""
    share = activation / (activation.sum((1, 2), keepdim=True) + 1e-7)
    return _weighted((gradient * share).sum((1, 2)), activation)


def odam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight each cell by its gradient, smoothed over its neighbours; designed for single boxes (Zhao and Chan, 2023).

    The Gaussian has a standard deviation of one cell.
    """
    offsets = torch.arange(-3.0, 4.0)
    line = torch.exp(-offsets.square() / 2)
    kernel = (line[:, None] * line[None] / line.sum().square()).to(gradient)
    smooth = F.conv2d(gradient[:, None], kernel[None, None], padding=3)[:, 0]
    return (activation * smooth).sum(0)


def eigen_cam(activation: Tensor, _gradient: Tensor) -> Tensor:
    """Return the first principal component over channels, signed so that strong activation is bright.

    It does not use a score, so all boxes of an image have the same map (Muhammad and Yeasin, 2020).
    """
    return torch.from_numpy(reduce(activation.cpu().numpy(), "pc1"))

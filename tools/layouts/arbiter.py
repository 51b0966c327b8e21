"""Where featscope and a library put the same values in different cells: the gradient says who is right."""

from __future__ import annotations

from typing import Tuple

import numpy as np
import torch

from featscope.records import Place
from layouts.cases import Size, Subject

CELLS = 6


def centroid(score: torch.Tensor, images: torch.Tensor) -> Tuple[np.ndarray, np.ndarray]:
    """(y, x) of the middle of a score's squared gradient in each image, in pixels."""
    (gradient,) = torch.autograd.grad(score, images, retain_graph=True)
    weight = gradient.double().pow(2).sum(1)
    total = weight.sum((1, 2))
    ys, xs = (torch.arange(side, dtype=torch.float64) + 0.5 for side in weight.shape[1:])
    return ((weight.sum(2) @ ys) / total).numpy(), ((weight.sum(1) @ xs) / total).numpy()


def library_is_wrong(subject: Subject, images: torch.Tensor, index: int, laid: np.ndarray, place: Place) -> bool:
    """Whether cells look at where featscope puts them, rather than at where the library has them.

    index: of the library's map among its own. laid: the map as featscope lays it out, of the same shape.
    """
    images = images.clone().requires_grad_(True)
    values = [one for one in subject.oracles(images) if one.values.dim() == 4][index].values
    size: Size = (int(images.shape[2]), int(images.shape[3]))
    towards = torch.randn(values.shape[1], generator=torch.Generator().manual_seed(0))
    better = 0
    for row, column in np.random.default_rng(0).integers(0, values.shape[2:], (CELLS, 2)):
        cell = values[0, :, int(row), int(column)]
        same = np.abs(laid[0] - cell.detach().numpy()[:, None, None]).sum(0)
        here = np.unravel_index(int(same.argmin()), same.shape)
        seen = [float(axis[0]) for axis in centroid((cell * towards).sum(), images)]
        ours = [place.first[axis] + place.stride[axis] * here[axis] for axis in range(2)]
        theirs = [(at + 0.5) * size[axis] / values.shape[2 + axis] for axis, at in enumerate((row, column))]
        better += np.hypot(*np.subtract(seen, ours)) < np.hypot(*np.subtract(seen, theirs))
    return better > CELLS / 2

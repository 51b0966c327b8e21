"""Squares of many sizes, and what is trained on each at a level against what featscope says."""

import numpy as np
import torch

SIDES = np.exp(np.linspace(np.log(9), np.log(1900), 60))
INPUT = 256  # the squares may be larger; it is their middle that lies in it


def squares(centre, sides):
    """Upright squares around a point (x, y), (n, 4) corners."""
    half = torch.as_tensor(sides, dtype=torch.float32)[:, None] / 2
    return torch.cat([torch.as_tensor(centre) - half, torch.as_tensor(centre) + half], 1)


def compare(sizes, level, trained):
    """trained: of each of SIDES, whether it is trained at a cell of this level that lies in its middle."""
    low, high = sizes.levels[level]
    edges = [edge for edge in (low, high) if edge]
    clear = np.all([abs(SIDES / edge - 1) > 0.01 for edge in edges], 0)  # on an edge, rounding decides
    expected = (low <= SIDES) & ((np.inf if high is None else high) >= SIDES)
    assert (np.asarray(trained) == expected)[clear].all(), (level, SIDES[clear & (trained != expected)])
    assert expected.any()


def middle_of(places):
    """The place (n, 2) that is nearest to the middle of the input, and its index."""
    index = int((places - INPUT / 2).abs().sum(1).argmin())
    return places[index].tolist(), index

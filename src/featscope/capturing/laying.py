"""Arrange a tensor as maps (N, C, H, W) by its reading, on the tensor's device."""

from __future__ import annotations

from typing import List, Tuple

import torch

from featscope.arrays.readings import MapPart, Reading


def maps_of(reading: Reading, tensor: torch.Tensor) -> List[Tuple[MapPart, torch.Tensor]]:
    """Return the maps in a tensor, as `Reading.apply` does for an array, or the tensor itself if it has none.

    >>> from featscope.arrays.readings import read
    >>> from featscope.arrays.traces import trace_of_images
    >>> reading = read(trace_of_images((1, 4, 6, 3), rows=1, columns=2))
    >>> [tuple(map_.shape) for _, map_ in maps_of(reading, torch.zeros(1, 4, 6, 3))]
    [(1, 3, 4, 6)]
    """
    if not reading.parts:
        return [(reading.whole, tensor)]
    if reading.heads is not None:
        tensor = tensor.float().mean(reading.heads) if not tensor.is_floating_point() else tensor.mean(reading.heads)
    laid = tensor.permute(reading.front)
    found = []
    for part in reading.parts:
        if part.order is None:
            found.append((part, laid.reshape(part.form)))
            continue
        # (places, channels) -> places in grid order -> channels before rows and columns
        flat = laid.reshape(-1, part.form[1])
        order = torch.from_numpy(part.order).to(tensor.device)
        rows = flat.index_select(0, order).reshape(part.form[0], *part.form[2:], part.form[1])
        found.append((part, rows if part.name else rows.movedim(-1, 1)))
    return found

"""Measure how faithful a map is: whether it lies on its object, and whether the score depends on what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, List, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812 (the name every PyTorch user knows)

from featscope.arrays.boxes import corners_of
from featscope.arrays.coverage import cover
from featscope.arrays.frames import to_input
from featscope.explaining.explanation import Explanation
from featscope.explaining.items import Item
from featscope.explaining.masking import ImageMask, scores_of
from featscope.explaining.targets import Explainable

SHARES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares of the image that are deleted or inserted, most important first. The steps are uneven because objects are
small: a first step of 10 % would contain all of a ship."""

SIZES: Dict[str, Tuple[float, float]] = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, float("inf"))}
"""COCO's size classes, by the area of the box in pixels of the original."""


@dataclass(frozen=True)
class Faithfulness:
    """Faithfulness of one explanation. All numbers are shares; higher is better except for deletion."""

    method: str

    size: str
    """Size class of the box."""

    hit: bool
    """Whether the strongest cell touches the box (pointing game)."""

    energy: float
    """Share of the map inside the box."""

    deletion: float
    """Mean score, relative to the first, while the map's strongest cells are removed."""

    insertion: float
    """Mean score, relative to the first, while these cells are put back into a blurred image."""

    deletion_curve: Tuple[float, ...]
    """The scores at `SHARES`."""

    insertion_curve: Tuple[float, ...]
    """The scores at `SHARES`."""


def inside_box(explanation: Explanation) -> NDArray[np.float64]:
    """Return the share of each cell that lies in the box, (h, w), by the exact overlap of polygons."""
    geometry = explanation.geometry
    corners = corners_of(explanation.target.form, [explanation.target.box])
    corners = to_input(corners.reshape(1, 8), geometry).reshape(1, 4, 2)
    rows, columns = explanation.heat.shape
    high, wide = explanation.stride or (geometry.padded[0] / rows, geometry.padded[1] / columns)
    top, left = _corner(explanation, high, wide)
    covered = cover((corners - [left, top]) / [wide, high], (rows, columns))
    share = np.zeros(rows * columns)
    share[covered.cells] = covered.shares
    return share.reshape(rows, columns)


def measure(
    detector: Explainable, item: Item, explanations: Sequence[Explanation], batch_size: int = 5
) -> Iterator[Faithfulness]:
    """Measure how faithful each explanation of an image is."""
    hidden = ImageMask(detector, item)
    base = _blurred(detector, item, hidden)
    for explanation in explanations:
        share = inside_box(explanation)
        heat = explanation.heat.astype(np.float64)
        masks = _by_importance(explanation, hidden.size)
        curves = []
        for chosen, ground in ((1 - masks, None), (masks, base)):
            scores: List[float] = []
            for part in torch.split(chosen, batch_size):
                found = hidden.detect(item, part, ground)
                scores += [float(scores_of(one.raw, [explanation.target])[0]) for one in found]
            curves.append(np.array(scores))
        whole = max(curves[0][0], 1e-12)
        deletion, insertion = (np.clip(curve / whole, 0, 1) for curve in curves)
        yield Faithfulness(
            explanation.method,
            size_of(explanation),
            hit=bool(share[np.unravel_index(heat.argmax(), heat.shape)] > 0),
            energy=float((heat * share).sum() / heat.sum()),
            deletion=float(deletion.mean()),
            insertion=float(insertion.mean()),
            deletion_curve=tuple(map(float, deletion)),
            insertion_curve=tuple(map(float, insertion)),
        )


def size_of(explanation: Explanation) -> str:
    """Return 'small', 'medium' or 'large', by the area of the box."""
    x, y = corners_of(explanation.target.form, [explanation.target.box])[0].T
    area = abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
    return next(name for name, (low, high) in SIZES.items() if low <= area < high)


def _corner(explanation: Explanation, high: float, wide: float) -> Tuple[float, float]:
    """Return where the first cell begins on the input, (y, x)."""
    y, x = explanation.first or (high / 2, wide / 2)
    return y - high / 2, x - wide / 2


def _by_importance(explanation: Explanation, size: Tuple[int, int]) -> torch.Tensor:
    """Return masks (steps, H, W) in which the given share of pixels with the highest values is 1."""
    rows, columns = explanation.heat.shape
    high, wide = explanation.stride or (size[0] / rows, size[1] / columns)
    heat = torch.from_numpy(explanation.heat)[None, None]
    # A cell is as wide as its stride, so the map may be wider than the image.
    placed = F.interpolate(heat, (round(rows * high), round(columns * wide)), mode="bilinear", align_corners=False)
    top, left = (round(start) for start in _corner(explanation, high, wide))
    placed = F.pad(placed, (left, 0, top, 0))  # negative padding crops
    placed = F.pad(placed, (0, max(0, size[1] - placed.shape[-1]), 0, max(0, size[0] - placed.shape[-2])))
    flat = placed[0, 0, : size[0], : size[1]].flatten()
    masks = torch.zeros(len(SHARES), len(flat))
    order = flat.argsort(descending=True, stable=True)
    for row, share in zip(masks, SHARES):
        row[order[: round(share * len(flat))]] = 1
    return masks.reshape(len(SHARES), *size)


def _blurred(detector: Explainable, item: Item, hidden: ImageMask) -> torch.Tensor:
    """Return the item's input blurred so strongly that no object is left, (1, 3, H, W)."""
    seen: List[torch.Tensor] = []
    hidden.look(item, seen)
    small = F.adaptive_avg_pool2d(seen[0][:1], 8)
    return F.interpolate(small, seen[0].shape[-2:], mode="bilinear", align_corners=False)


def table(results: Sequence[Faithfulness]) -> List[Tuple[str, str, int, float, float, float, float]]:
    """Return (method, size, boxes, pointing, energy, deletion, insertion): means by method and size."""
    measures = ("hit", "energy", "deletion", "insertion")
    rows = []
    for method in dict.fromkeys(result.method for result in results):
        for size in (*SIZES, "all"):
            some = [r for r in results if r.method == method and size in (r.size, "all")]
            if some:
                means = (float(np.mean([getattr(r, name) for r in some])) for name in measures)
                rows.append((method, size, len(some), *means))
    return rows  # type: ignore[return-value]

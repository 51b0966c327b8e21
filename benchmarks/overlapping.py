"""Overlap of boxes and shares of cells, against shapely, MMCV's operator for CPUs, and masks in NumPy."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Tuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Row, alternate, faster
from featscope.arrays.boxes import corners_of, rotated_iou
from featscope.arrays.coverage import cover, pool, rings_around, separation

Boxes = NDArray[np.float64]

SIDE, OBJECTS, CANDIDATES = 1024, 500, 20_000
LEVELS = (8, 16, 32, 64, 128)  # strides
PART = 50  # the slowest peers compute one of 50 columns, and their time is multiplied


def rows(folder: Path) -> Iterator[Row]:
    """The rows about pairs of boxes, then those about boxes on maps."""
    for name, clustered in (("around the objects", True), ("spread evenly", False)):
        objects, candidates = scene(clustered)
        work = f"IoU of {OBJECTS} rotated objects and {CANDIDATES:,} candidates {name}"
        for peer, floor, call, parts in _peers(objects, candidates):
            times = alternate({"ours": lambda: rotated_iou(objects, candidates), "peer": call})  # noqa: B023
            yield faster(f"{work}, against {peer}", times["ours"], times["peer"] * parts, floor)
    yield from _on_maps(folder)


def scene(clustered: bool) -> Tuple[Boxes, Boxes]:
    """Objects of 10 to 60 pixels apart in an aerial image, and candidates as a detector gives them, or anywhere."""
    random = np.random.default_rng(0)

    def anywhere(count: int) -> Boxes:
        sizes = random.uniform([10, 10], [60, 30], (count, 2))
        return np.column_stack([random.uniform(0, SIDE, (count, 2)), sizes, random.uniform(-1.6, 1.6, count)])

    objects, candidates = anywhere(8 * OBJECTS), anywhere(CANDIDATES)
    touching, apart = rotated_iou(objects, objects) > 0, []
    for number in range(len(objects)):
        if len(apart) < OBJECTS and not touching[number, apart].any():
            apart.append(number)
    assert len(apart) == OBJECTS
    objects = objects[apart]
    if clustered:
        candidates = objects[random.integers(0, OBJECTS, CANDIDATES)]
        candidates[:, :2] += random.normal(0, 5, (CANDIDATES, 2))
        candidates[:, 2:4] *= np.exp(random.normal(0, 0.2, (CANDIDATES, 2)))
        candidates[:, 4] += random.normal(0, 0.2, CANDIDATES)
    return objects, candidates


def _peers(objects: Boxes, candidates: Boxes) -> Iterator[Tuple[str, float, Callable[[], object], int]]:
    """What is compared with: name, how many times faster ours must be, the call, and the parts its work is cut into."""
    try:
        import shapely
    except ImportError:
        pass
    else:
        name = f"shapely {version('shapely')}"
        a = shapely.polygons(corners_of("cxcywha", objects))
        b = shapely.polygons(corners_of("cxcywha", candidates))
        area_a, area_b = shapely.area(a), shapely.area(b)
        few = b[::PART]

        def loop() -> List[float]:
            return [one.intersection(other).area / one.union(other).area for one in a for other in few[::8]]

        def pairwise() -> Boxes:
            common = shapely.area(shapely.intersection(a[:, None], few[None]))
            return common / (area_a[:, None] + area_b[None, ::PART] - common)

        def tree() -> Boxes:
            result = np.zeros((len(a), len(b)))
            row, column = shapely.STRtree(b).query(a)
            common = shapely.area(shapely.intersection(a[row], b[column]))
            result[row, column] = common / (area_a[row] + area_b[column] - common)
            return result

        yield f"a loop over pairs of {name} (1 pair of {8 * PART}, scaled)", 100, loop, 8 * PART
        yield f"{name} on arrays of all pairs (1 of {PART}, scaled)", 100, pairwise, PART
        yield f"{name} on arrays of the pairs that its STRtree finds", 1, tree, 1
    try:
        import torch
        from mmcv.ops import box_iou_rotated
    except ImportError:
        return
    ours, theirs = (torch.from_numpy(boxes.astype(np.float32)) for boxes in (objects, candidates[::PART].copy()))
    yield f"MMCV's `box_iou_rotated` (1 of {PART}, scaled)", 1, lambda: box_iou_rotated(ours, theirs), PART


def _on_maps(folder: Path) -> Iterator[Row]:
    objects, _ = scene(clustered=True)
    corners = corners_of("cxcywha", objects)
    levels = [(corners / stride, (SIDE // stride, SIDE // stride)) for stride in LEVELS]
    values = np.random.default_rng(0).random((256, 128, 128), np.float32)
    np.save(folder / "map.npy", values)
    covers = {
        "ours": lambda: [cover(boxes, shape) for boxes, shape in levels],
        "masks": lambda: [_masks(boxes, shape) for boxes, shape in levels],
    }
    times = alternate(covers)
    work = f"exact shares of the cells that {OBJECTS} objects cover, five levels of a {SIDE} px image"
    yield faster(f"{work}, against masks of the cells' centres", times["ours"], times["masks"], 5)
    boxes, shape = levels[0]
    sides: Dict[str, Callable[[], object]] = {
        "ours": lambda: pool(cover(boxes, shape), OBJECTS, values),
        "masks": lambda: [values[:, mask].mean(1) for mask in _masks(boxes, shape) if mask.any()],
        "weights": lambda: [(values * mask).sum((1, 2)) for mask in _masks(boxes[::PART], shape)],
        "read": lambda: np.load(folder / "map.npy"),
    }
    times = alternate(sides)
    work = f"means of a (256, 128, 128) map over {OBJECTS} objects"
    yield faster(f"{work}, with exact shares; against masks of the cells' centres", times["ours"], times["masks"], 3)
    note = f"{work}, with exact shares; against sums of the weighted map (1 object of {PART}, scaled)"
    yield faster(note, times["ours"], times["weights"] * PART, 5)
    shown = f"{times['ours'] * 1e3:.2f} ms", f"{times['read'] * 1e3:.2f} ms to read the map"
    yield Row(f"{work}, with exact shares", *shown, f"{times['ours'] / times['read']:.1f} x the time", "", True)
    maps = [np.ascontiguousarray(values[:, : shape[0], : shape[1]]) for _, shape in levels]

    def ours() -> None:
        rings = rings_around(corners, corners)
        for stride, (boxes, shape), level in zip(LEVELS, levels, maps):
            inside = cover(boxes, shape)
            ring = rings.moved(lambda pixels: pixels / stride).cover(shape, inside)  # noqa: B023
            for part in (inside, ring):
                pool(part, OBJECTS, level[:1])
            separation(inside, ring, OBJECTS, level[0])
            pool(inside, OBJECTS, level)

    def masks() -> None:
        for (boxes, _), level in zip(levels, maps):
            _by_masks(boxes, level, level[0])

    times = alternate({"ours": ours, "masks": masks})
    work = (
        f"means of five levels of 256 channels over {OBJECTS} objects, energy inside and in rings without other objects"
    )
    yield faster(f"{work}, AUROC; against a loop of masks", times["ours"], times["masks"], 3)


def _by_masks(corners: Boxes, values: NDArray[np.float32], energy: NDArray[np.float32]) -> None:
    """What is usually written: whole cells, box by box."""
    centre = corners.mean(1, keepdims=True)
    masks = _masks(corners, energy.shape)
    taken = np.any(masks, 0)
    for mask, scaled in zip(masks, _masks(centre + np.sqrt(2) * (corners - centre), energy.shape)):
        ring = scaled & ~taken
        if mask.any() and ring.any():
            values[:, mask].mean(1)
            one, other = energy[mask], energy[ring]
            one.mean(), other.mean()
            (one[:, None] > other).mean() + (one[:, None] == other).mean() / 2


def _masks(corners: Boxes, shape: Tuple[int, int]) -> List[NDArray[np.bool_]]:
    """The cells whose centres lie in each box: what is usually written."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    masks = []
    for box in corners:
        mask = np.ones(shape, bool)
        for (x0, y0), (x1, y1) in zip(box, np.roll(box, -1, 0)):
            mask &= (x1 - x0) * (y - y0) >= (y1 - y0) * (x - x0)
        masks.append(mask)
    return masks

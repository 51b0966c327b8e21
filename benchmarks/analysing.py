"""Objects and misses: against masks in NumPy, against reading the maps, and against a framework's own evaluation."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Iterator, List, NamedTuple, Tuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Row, alternate, faster
from benchmarks.overlapping import scene as boxes_apart
from featscope.analysis.misses import misses
from featscope.analysis.objects import walk_objects
from featscope.arrays.boxes import rotated_corners
from featscope.arrays.candidates import ImageCandidates, LevelCandidates
from featscope.arrays.selecting import KEPT, select
from featscope.records import Boxes, CapturedMap, Geometry, Place, RunInfo, Sample, Selection
from featscope.store.reader import open_run
from featscope.store.writer import RunWriter

SIDE, OBJECTS, CHANNELS, IMAGES = 1024, 500, 256, 20
STRIDES = (8, 16, 32, 64, 128)
CLASSES = 15
HOW = Selection(
    threshold=0.05, per_level=2000, suppression="rotated", overlap=0.1, overlap_inclusive=True, maximum=2000
)


def rows(folder: Path) -> Iterator[Row]:
    """The rows about objects on stored maps, about objects during a capture, and about misses."""
    place = folder / "analysing"
    shutil.rmtree(place, ignore_errors=True)
    try:
        yield from _on_stored_maps(place / "maps")
        yield from _during_a_capture(place)
        yield from _misses(place / "candidates")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _objects(seed: int) -> Tuple[NDArray[np.float64], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    sizes = random.uniform([12, 8], [60, 24], (OBJECTS, 2))
    boxes = np.column_stack([random.uniform(20, SIDE - 20, (OBJECTS, 2)), sizes, random.uniform(-1.5, 1.5, OBJECTS)])
    return boxes, random.integers(0, CLASSES, OBJECTS)


def _on_stored_maps(folder: Path) -> Iterator[Row]:
    writer = RunWriter(folder, RunInfo(model="S2ANet", classes=[str(n) for n in range(CLASSES)]))
    boxes = boxes_apart(clustered=False)[0]  # apart from each other, as objects are
    labels = np.arange(OBJECTS) % CLASSES
    random = np.random.default_rng(0)
    for level, stride in enumerate(STRIDES):
        place = Place((stride, stride), (stride / 2, stride / 2), "operators")
        axes = ("sample", "channel", "row", "column")
        captured = CapturedMap("neck", "FPN", "", level, 0, 0, ["image"], "neck.fpn", axes, place=place)
        writer.put(captured, random.random((1, CHANNELS, SIDE // stride, SIDE // stride), np.float32))
    geometry = Geometry((SIDE, SIDE), (SIDE, SIDE), (SIDE, SIDE))
    truth = Boxes("cxcywha", boxes.tolist(), labels.tolist())
    writer.put_sample(Sample("image", "", 0, geometry, truth=truth), None)
    writer.close()
    run = open_run(folder)
    files = [file.path for file in run.maps]

    def read() -> List[NDArray[np.generic]]:
        return [np.load(path) for path in files]

    def masks() -> List[NDArray[np.float32]]:
        """Features, energy inside and around, by the centres of cells: what people write."""
        found = []
        corners, wide = rotated_corners(boxes), rotated_corners(boxes * [1, 1, 2**0.5, 2**0.5, 1])
        for path, stride in zip(files, STRIDES):
            feature_map = np.load(path)[0]
            energy = np.linalg.norm(feature_map, axis=0)
            y, x = ((np.indices(energy.shape) + 0.5) * stride).astype(np.float32)
            for inner, outer in zip(corners, wide):
                inside, around = _mask(x, y, inner), _mask(x, y, outer)
                ring = around & ~inside
                if inside.any() and ring.any():
                    found.append(feature_map[:, inside].mean(1))
                    found.append(np.array([energy[inside].mean() / energy[ring].mean()]))
        return found

    times = alternate({"ours": lambda: list(walk_objects(run)), "masks": masks, "read": read})
    work = f"objects of stored maps, {len(STRIDES)} levels of {CHANNELS} channels, {OBJECTS} boxes"
    yield faster(f"{work}, against a loop of masks in NumPy", times["ours"], times["masks"], 5)
    yield faster(f"{work}, against reading the maps (page cache)", times["ours"], times["read"], 0.5)


def _mask(x: NDArray[np.float32], y: NDArray[np.float32], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    sides = [(b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) for a, b in zip(corners, np.roll(corners, -1, 0))]
    inside: NDArray[np.bool_] = np.min(sides, 0) >= 0
    return inside


def _during_a_capture(folder: Path) -> Iterator[Row]:
    """The built-in detector's test loop, alone, with `--objects`, and storing its maps."""
    try:
        import torch
    except ImportError:
        return
    from featscope.adapters.feeding import capture_images, detect_and_trace
    from featscope.adapters.opening import open_detector
    from featscope.demo.scenes import draw_scene
    from featscope.render.png import encode_rgb

    torch.set_num_threads(1)
    photos = folder / "photos"
    photos.mkdir(parents=True)
    truth = {}
    for seed in range(8):
        scene = draw_scene(seed)
        (photos / f"{seed}.png").write_bytes(encode_rgb(scene.image))
        truth[photos / f"{seed}.png"] = Boxes("cxcywha", scene.boxes.tolist(), scene.labels.tolist())
    detector = open_detector("demo")

    def alone() -> None:
        with torch.no_grad():
            for path in truth:
                detect_and_trace(detector, [detector.prepare(path, path.stem)])

    def captured(policy) -> None:
        shutil.rmtree(folder / "run", ignore_errors=True)
        capture_images(detector, list(truth), folder / "run", None, truth=truth, policy=policy)

    times = alternate(
        {"alone": alone, "objects": lambda: captured({"objects": True}), "maps": lambda: captured({})}, seconds=6
    )
    work = "test loop of the built-in detector"
    added, stored = times["objects"] - times["alone"], times["maps"] - times["alone"]
    yield Row(
        f"{work}, --objects in it", f"+{added / len(truth) * 1e3:.1f} ms an image",
        f"{times['alone'] / len(truth) * 1e3:.0f} ms an image", f"+{added / times['alone']:.1%}", "+5 %",
        added <= 0.05 * times["alone"],
    )  # fmt: skip
    yield Row(
        f"{work}, --objects against storing maps", f"+{added / len(truth) * 1e3:.1f} ms an image",
        f"+{stored / len(truth) * 1e3:.1f} ms an image", f"{stored / max(added, 1e-9):.1f} x", "1 x", added <= stored,
    )  # fmt: skip


class _Scene(NamedTuple):
    candidates: ImageCandidates
    found: Boxes
    truth: Boxes


def _scene(seed: int) -> _Scene:
    """Candidates around 500 objects on three levels, most of them of low score."""
    boxes, labels = _objects(seed)
    random = np.random.default_rng(seed)
    levels = []
    for stride in STRIDES[:3]:
        cells = SIDE // stride
        rows, columns = np.divmod(np.arange(cells * cells), cells)
        centres = np.column_stack([columns, rows]) * stride + stride / 2
        own = np.column_stack([centres, np.full((len(centres), 2), 4.0 * stride), np.zeros(len(centres))])
        scores = random.random((len(own), CLASSES)).astype(np.float32) ** 8 * 0.1
        for number, (box, label) in enumerate(zip(boxes, labels)):
            near = np.flatnonzero(np.abs(centres - box[:2]).max(1) < stride)
            if number % 3:
                own[near] = box + random.normal(0, 1, (len(near), 5)) * [1, 1, 2, 2, 0.02]
                scores[near, label] = random.random(len(near)) * 0.9
        levels.append(LevelCandidates(scores, own, "cell", (cells, cells, 1)))
    candidates = ImageCandidates(tuple(levels), "cxcywha", HOW)
    outcome = select(candidates)
    kept = outcome.stage == KEPT
    found = Boxes("cxcywha", outcome.box[kept].tolist(), outcome.label[kept].tolist(), outcome.score[kept].tolist())
    return _Scene(candidates, found, Boxes("cxcywha", boxes.tolist(), labels.tolist()))


def _misses(folder: Path) -> Iterator[Row]:
    try:
        from mmrotate.evaluation.functional import eval_rbbox_map
    except ImportError:
        return
    scenes = {f"image{number}": _scene(number) for number in range(IMAGES)}
    writer = RunWriter(folder, RunInfo(model="S2ANet", classes=[str(n) for n in range(CLASSES)]))
    geometry = Geometry((SIDE, SIDE), (SIDE, SIDE), (SIDE, SIDE))
    for number, (name, scene) in enumerate(scenes.items()):
        writer.put_sample(Sample(name, "", number, geometry, predictions=scene.found, truth=scene.truth), None)
    writer.close()
    run = open_run(folder)
    results, annotations = [], []
    for scene in scenes.values():
        found = np.column_stack([scene.found.boxes, scene.found.scores]).astype(np.float32)
        labels = np.array(scene.found.labels)
        results.append([found[labels == label] for label in range(CLASSES)])
        annotations.append(
            {
                "bboxes": np.array(scene.truth.boxes, np.float32),
                "labels": np.array(scene.truth.labels),
                "bboxes_ignore": np.zeros((0, 5), np.float32),
                "labels_ignore": np.zeros(0, int),
            }
        )
    times = alternate(
        {
            "ours": lambda: misses(run, candidates=lambda sample: scenes[sample.id].candidates),
            "peer": lambda: eval_rbbox_map(
                results, annotations, iou_thr=0.5, use_07_metric=True, logger="silent", nproc=1
            ),
        },
        seconds=8,
    )
    work = f"misses of {IMAGES} images of {OBJECTS} objects, candidates at hand, against MMRotate's evaluation"
    yield faster(work, times["ours"], times["peer"], 0.5)

"""The demo's test loop: scenes or an image through the built-in detector, all parts captured."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray

from featscope.capturing.start import capture
from featscope.demo.detector import Detections, S2ANetMini, prepare
from featscope.demo.metrics import average_precision
from featscope.demo.scenes import CLASSES, Scene, draw_scene
from featscope.records import Boxes, Geometry, RunInfo, Sample
from featscope.store.images import read_image

READING = "pillow+exif"  # a photo is upright, as its owner sees it

DEMO_SEEDS = (3, 15, 22)
"""Scenes of the demo: a harbour, an airport and a car park."""
EVALUATION_SEED = 500_000
"""First scene of the evaluation: far from the demo's and from the training's."""


def capture_demo(output: Path, images: Sequence[Tuple[str, Path, Optional[Scene]]]) -> None:
    """Detect objects in images and capture every part of the detector, as a run in `output`.

    images: id, file and, if known, the scene with the truth.
    """
    model = S2ANetMini.trained()
    info = RunInfo(model="S2ANetMini", checkpoint="built-in", classes=list(CLASSES))
    with capture(model, to=output, info=info) as session:
        for number, (name, path, scene) in enumerate(images):
            image = read_image(path, READING)
            padded, resized = prepare(image)
            session.start_batch(number, [name])
            found = model.predict(_as_batch(padded))[0]
            sample = Sample(
                id=name,
                path=str(path.absolute()),
                reading=READING,
                geometry=Geometry(image.shape[:2], resized, padded.shape[:2]),
                predictions=_rotated(_on_image(found, image, resized)),
                truth=None if scene is None else Boxes("cxcywha", scene.boxes.tolist(), scene.labels.tolist()),
            )
            session.describe([sample], [padded])


def evaluate(scenes: int, done: Callable[[], None] = lambda: None) -> List[Tuple[str, float]]:
    """Average precision at IoU 0.5 of every class on fresh scenes."""
    model = S2ANetMini.trained()
    truth, found = [], []
    for seed in range(EVALUATION_SEED, EVALUATION_SEED + scenes):
        scene = draw_scene(seed)
        padded, resized = prepare(scene.image)
        found.append(_on_image(model.predict(_as_batch(padded))[0], scene.image, resized))
        truth.append(scene)
        done()
    return [(name, average_precision(found, truth, label)) for label, name in enumerate(CLASSES)]


def _as_batch(picture: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()


def _on_image(found: Detections, image: NDArray[np.uint8], resized: Tuple[int, int]) -> Detections:
    scale = image.shape[1] / resized[1]
    factors = np.array([scale, scale, scale, scale, 1.0], np.float32)
    return Detections(found.boxes * factors, found.scores, found.labels)


def _rotated(found: Detections) -> Boxes:
    return Boxes("cxcywha", found.boxes.tolist(), found.labels.tolist(), found.scores.tolist())

"""Evaluate the built-in detector on new scenes."""

from __future__ import annotations

from typing import Callable, List, Tuple

import numpy as np
import torch
from numpy.typing import NDArray

from featscope.analysis.evaluated import evaluate as evaluate_detections
from featscope.demo.detector import Detections, S2ANetMini, prepare
from featscope.demo.scenes import CLASSES, draw_scene
from featscope.records import Boxes

EVALUATION_SEED = 500_000
"""Seed of the first scene of the evaluation, far from the seeds of the demo and of the training."""


def evaluate(scenes: int, done: Callable[[], None] = lambda: None) -> List[Tuple[str, float]]:
    """Return the average precision at IoU 0.5 of every class, on new scenes."""
    model = S2ANetMini.trained()
    images: List[Tuple[Boxes, Boxes]] = []
    for seed in range(EVALUATION_SEED, EVALUATION_SEED + scenes):
        scene = draw_scene(seed)
        padded, resized = prepare(scene.image)
        found = _on_image(model.predict(_as_batch(padded))[0], scene.image, resized)
        images.append((found, Boxes("cxcywha", scene.boxes.tolist(), scene.labels.tolist())))
        done()
    return list(zip(CLASSES, evaluate_detections(images).average_precisions(len(CLASSES)).tolist()))


def _as_batch(picture: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()


def _on_image(found: Detections, image: NDArray[np.uint8], resized: Tuple[int, int]) -> Boxes:
    scale = image.shape[1] / resized[1]
    boxes = found.boxes * np.array([scale, scale, scale, scale, 1.0], np.float32)
    return Boxes("cxcywha", boxes.tolist(), found.labels.tolist(), found.scores.tolist())

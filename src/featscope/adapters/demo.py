"""The adapter of the built-in detector, named 'demo'."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional, Sequence, Union, cast

import msgspec
import numpy as np
import torch

from featscope.adapters.detector import (
    Detected,
    Detector,
    Item,
    Opening,
    boxes_on_original,
    load_picture,
    refuse_unused,
    versions,
)
from featscope.adapters.weights import load_checkpoint
from featscope.arrays.assigned import AssignedSizes
from featscope.arrays.frames import to_original
from featscope.demo.detector import MOST_PAIRS, OVERLAP, SIZE_LIMITS, S2ANetMini, prepare, suppress
from featscope.demo.scenes import CLASSES
from featscope.explaining.candidates import CandidateLevel, Candidates
from featscope.records import Geometry, Picture, RunInfo, Selection

_SCORE = 0.3
_ASSIGNED = AssignedSizes(  # read in `assign` of examples/train_demo_detector.py
    list(zip((0.0, *SIZE_LIMITS), (*SIZE_LIMITS, None))), rule="the root of a box's area (SIZE_LIMITS of the demo)"
)


class DemoDetector(Detector):
    """A small S2A-Net that finds rotated boxes of planes, ships and vehicles."""

    model: S2ANetMini
    traceable = True
    layer_to_explain = "neck"

    def __init__(self, model: S2ANetMini, info: RunInfo, score: Optional[float]) -> None:
        super().__init__(model.eval(), info)
        self._score = _SCORE if score is None else score

    @property
    def _selection(self) -> Selection:
        return Selection(threshold=self._score, total=MOST_PAIRS, suppression="rotated", overlap=OVERLAP)

    def prepare(self, image: Union[Path, Picture], sample_id: str) -> Item:
        """Fit an image into 512 pixels, padded at the bottom and the right."""
        picture, sample = load_picture(image, sample_id, "pillow+exif")
        padded, (height, width) = prepare(picture)
        geometry = Geometry((picture.shape[0], picture.shape[1]), (height, width), (padded.shape[0], padded.shape[1]))
        return Item(msgspec.structs.replace(sample, geometry=geometry), padded, padded)

    def detect(self, items: Sequence[Item], candidates: bool = False) -> List[Detected]:
        """Run the network once. Smaller images of a batch are padded to the size of the largest."""
        inputs = [cast(Picture, item.inputs) for item in items]
        height, width = (max(image.shape[axis] for image in inputs) for axis in (0, 1))
        batch = np.zeros((len(items), height, width, 3), np.uint8)
        for row, image in zip(batch, inputs):
            row[: image.shape[0], : image.shape[1]] = image
        logits, boxes = self.model.raw(torch.from_numpy(batch).permute(0, 3, 1, 2).float())
        found = []
        for index, (item, one) in enumerate(zip(items, suppress(logits, boxes, self._score))):
            assumed = item.sample.geometry or Geometry((height, width), (height, width), (height, width))
            geometry = msgspec.structs.replace(assumed, padded=(height, width))
            predictions = boxes_on_original("cxcywha", one.boxes, one.scores, one.labels, geometry)
            sample = msgspec.structs.replace(item.sample, geometry=geometry, predictions=predictions)
            levels = [
                CandidateLevel(
                    logit[index].flatten(1).T,
                    logit.sigmoid()[index].flatten(1).T,
                    to_original(box[index].flatten(1).T, geometry),
                    "cell",
                    (logit.shape[-2], logit.shape[-1], 1),
                    compared=box[index].flatten(1).T,
                )
                for logit, box in zip(logits, boxes)
            ]
            raw = Candidates(levels, "cxcywha", self._selection, assigned=_ASSIGNED) if candidates else None
            found.append(Detected(sample, raw))
        return found


def open_detector(opening: Opening) -> Detector:
    """Open the detector with its own weights, with 'random' ones, or with those of a checkpoint."""
    refuse_unused(opening, input_size="its input is 512", preprocess="as it is", config_options="it has no config")
    torch.manual_seed(opening.seed)
    model = S2ANetMini() if opening.checkpoint else S2ANetMini.trained()
    if opening.checkpoint:
        load_checkpoint(model, opening.checkpoint, opening.trusted)
    info = RunInfo(
        model="S2ANetMini",
        config="demo",
        checkpoint=opening.checkpoint or "built-in",
        classes=list(CLASSES),
        versions=versions(),
    )
    return DemoDetector(model, info, opening.score_threshold)

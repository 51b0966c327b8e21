"""Write a run that stores, in place of its maps, what the maps hold in the boxes of each image."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Tuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from featscope.arrays.image_boxes import ImageBoxes, boxes_of
from featscope.arrays.packed import unpack
from featscope.arrays.reduce import as_floats
from featscope.records import OBJECT, CapturedMap, RunInfo, Sample, is_map
from featscope.store.maps import as_batch
from featscope.store.writer import QUEUE_BYTES, RunWriter

_AXES = (OBJECT, "channel")

Held = Tuple[CapturedMap, NDArray[np.generic]]


class ObjectWriter(RunWriter):
    """A sink that pools each map over the boxes of its images, stores the result, and forgets the map.

    The boxes of an image are known after its forward, so the maps of one batch wait in memory for them. They are pooled
    in the thread that writes, beside the model. A file has one row for each box of its samples: of the ground truth, of
    the detections, and of the background beside them (`featscope.arrays.image_boxes.boxes_of`). A row is what
    `featscope.arrays.pooling.Pooled.table` gives.
    """

    def __init__(
        self, folder: Path | str, info: RunInfo, rank: int = 0, queue_bytes: int = QUEUE_BYTES, resume: bool = False
    ) -> None:
        super().__init__(folder, info, rank, queue_bytes, resume)
        self._maps: List[Held] = []
        self._described: Dict[str, Tuple[Sample, Optional[NDArray[np.uint8]]]] = {}

    def close(self, finished: bool = True) -> None:
        """Write everything that waits, also samples of which no map came."""
        if not self._closing and self._error is None:
            self._enqueue(self._write_batch, 0)
        super().close(finished)

    def _write_map(self, captured: CapturedMap, array: NDArray[np.generic]) -> None:
        if self._described and captured.batch != next(iter(self._described.values()))[0].batch:
            self._write_batch()
        if is_map(captured.axes) and captured.place is not None and len(captured.axes) == 4:
            captured.ready()
            self._maps.append((captured, array))

    def _write_sample(self, sample: Sample, picture: Optional[NDArray[np.uint8]]) -> None:
        self._described[sample.id] = sample, picture
        if all(name in self._described for captured, _ in self._maps for name in captured.samples):
            self._write_batch()

    def _write_batch(self) -> None:
        boxes = {name: boxes_of(sample) for name, (sample, _) in self._described.items()}
        for captured, array in self._maps:
            if all(name in boxes for name in captured.samples):
                table = _table(captured, as_batch(unpack(array, captured.scales), captured.folder), boxes)
                own = msgspec.structs.replace(captured, axes=_AXES, scales=None)
                super()._write_map(own, table)
        for sample, picture in self._described.values():
            super()._write_sample(sample, picture)
        self._maps, self._described = [], {}


def writer_of(folder: Path | str, info: RunInfo, rank: int = 0, resume: bool = False) -> RunWriter:
    """Return the writer that a run's policy asks for: of maps, or of objects."""
    return (ObjectWriter if info.policy.objects else RunWriter)(folder, info, rank, resume=resume)


def _table(captured: CapturedMap, maps: NDArray[np.generic], boxes: Dict[str, ImageBoxes]) -> NDArray[np.float32]:
    """Pool the maps of a batch: the rows of its first sample, then of the second, ..."""
    parts = []
    for name, feature_map in zip(captured.samples, maps):
        parts.append(boxes[name].pool(as_floats(feature_map), captured.place).table())
    return np.concatenate(parts)

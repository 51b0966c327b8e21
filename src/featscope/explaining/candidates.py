"""All that a detector could have said of an image: its raw outputs, before thresholds and suppression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from numpy.typing import NDArray

from featscope.errors import CaptureError
from featscope.records import Source


@dataclass
class CandidateLevel:
    """The candidates of one level of a dense head, the queries of a decoder, or the regions of interest.

    logits: (n, classes), what the scores are made of, with its gradient where the forward had one.
    scores: (n, classes), as the detector itself computes them. boxes: (n, 4 or 5), or one box a class,
    (n, classes, 4 or 5), in pixels of the original image, with gradient too. kind: 'cell', 'query',
    'roi', or 'image' of a number that is no detection's. grid: (rows, columns, anchors) of a level's
    cells; candidates count anchors first, then columns, then rows.

    Levels are apart, so that the gradient of a candidate runs through its own level only.
    """

    logits: torch.Tensor
    scores: torch.Tensor
    boxes: torch.Tensor
    kind: str
    grid: Optional[Tuple[int, int, int]] = None

    def __post_init__(self) -> None:
        """Refuse what does not fit together: an adapter that is wrong here would explain other boxes."""
        count = len(self.logits)
        if len(self.scores) != count or len(self.boxes) != count:
            raise CaptureError(
                f"an adapter gave {count} logits, {len(self.scores)} scores and {len(self.boxes)} boxes for one level"
            )
        if self.grid is not None and self.grid[0] * self.grid[1] * self.grid[2] != count:
            raise CaptureError(f"an adapter gave {count} candidates for a grid of {self.grid}")

    def source(self, index: int, level: int) -> Source:
        """The place of a candidate, by name."""
        if self.grid is None:
            return Source(self.kind, index, level)
        _, columns, anchors = self.grid
        cell, anchor = divmod(index, anchors)
        return Source(self.kind, index, level=level, row=cell // columns, column=cell % columns, anchor=anchor)

    def box(self, index: int, label: int) -> torch.Tensor:
        """The box of a candidate, (4 or 5,)."""
        return self.boxes[index] if self.boxes.dim() == 2 else self.boxes[index, label]


class Target(NamedTuple):
    """One detection to explain, or what a user's own function makes of the model's output (`source.kind` 'image').

    number: its place among the image's detections; -1 for a best raw score.
    """

    source: Source
    label: int
    score: float
    box: List[float]
    form: str
    number: int

    @property
    def words(self) -> str:
        """It, in an error."""
        if self.source.kind == "image":
            return "the target"
        return f"box {self.number}" if self.number >= 0 else "the best raw score"


@dataclass
class Candidates:
    """The candidates of one image, level by level. form: of their boxes, as in `featscope.records.Boxes`."""

    levels: List[CandidateLevel]
    form: str

    def logit(self, source: Source, label: int) -> torch.Tensor:
        """The logit of a class at a source, a number with its gradient."""
        return self.levels[source.level].logits[source.index, label]

    def box(self, source: Source, label: int) -> torch.Tensor:
        """The box of a class at a source, (4 or 5,) in pixels of the original, with its gradient."""
        return self.levels[source.level].box(source.index, label)

    def score(self, source: Source, label: int) -> float:
        """The score of a class at a source."""
        return float(self.levels[source.level].scores[source.index, label].detach())

    def best(self, label: Optional[int] = None) -> Target:
        """The highest raw score, of a class or of all: what an image without detections came closest to."""
        best: Tuple[float, int, int, int] = (-1.0, 0, 0, 0)
        for number, level in enumerate(self.levels):
            scores = level.scores.detach() if label is None else level.scores.detach()[:, label : label + 1]
            if scores.numel():
                place = int(scores.argmax())
                index, column = divmod(place, scores.shape[1])
                best = max(best, (float(scores[index, column]), number, index, column if label is None else label))
        score, number, index, found = best
        if score < 0:
            raise CaptureError("the detector has no raw scores for this image: nothing can be explained")
        level = self.levels[number]
        box = level.box(index, found).detach().double().tolist()
        return Target(level.source(index, number), found, score=score, box=box, form=self.form, number=-1)


def as_array(tensor: torch.Tensor) -> NDArray[np.float64]:
    """A tensor's values, without its gradient."""
    return tensor.detach().cpu().double().numpy()

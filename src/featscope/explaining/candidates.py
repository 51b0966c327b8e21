"""The candidates of a detector: all raw outputs for an image, before thresholds and suppression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from numpy.typing import NDArray

from featscope.arrays.assigned import AssignedSizes
from featscope.arrays.candidates import ImageCandidates, LevelCandidates
from featscope.arrays.found_again import proved
from featscope.errors import CaptureError
from featscope.records import Boxes, Selection, Source


@dataclass
class CandidateLevel:
    """The candidates of one level of a dense head, the queries of a decoder, or the regions of interest.

    Levels are kept separately, so that the gradient of a candidate runs only through its own level.
    """

    logits: torch.Tensor
    """Raw values from which scores are computed, (n, classes), with a gradient if the forward had one."""

    scores: torch.Tensor
    """Scores as the detector computes them, (n, classes)."""

    boxes: torch.Tensor
    """Boxes in pixels of the original image, (n, 4 or 5), or (n, classes, 4 or 5) with one box for each class, with a
    gradient if the forward had one."""

    kind: str
    """'cell', 'query' or 'roi', or 'image' for a number that does not belong to a detection."""

    grid: Optional[Tuple[int, int, int]] = None
    """(rows, columns, anchors) of a level's cells. Candidates are ordered by row, then column, then anchor."""

    ranks: Optional[torch.Tensor] = None
    """As in `featscope.arrays.candidates.LevelCandidates`."""

    compared: Optional[torch.Tensor] = None
    """As in `featscope.arrays.candidates.LevelCandidates`."""

    def __post_init__(self) -> None:
        """Check that all parts match, because a mistake in an adapter would explain the wrong boxes."""
        count = len(self.logits)
        if len(self.scores) != count or len(self.boxes) != count:
            raise CaptureError(
                f"an adapter returned {count} logits, {len(self.scores)} scores and "
                f"{len(self.boxes)} boxes for one level"
            )
        if self.grid is not None and self.grid[0] * self.grid[1] * self.grid[2] != count:
            raise CaptureError(f"an adapter returned {count} candidates for a grid of {self.grid}")

    def source(self, index: int, level: int) -> Source:
        """Return the source that describes a candidate."""
        if self.grid is None:
            return Source(self.kind, index, level)
        _, columns, anchors = self.grid
        cell, anchor = divmod(index, anchors)
        return Source(self.kind, index, level=level, row=cell // columns, column=cell % columns, anchor=anchor)

    def box(self, index: int, label: int) -> torch.Tensor:
        """Return the box of a candidate, (4 or 5,)."""
        return self.boxes[index] if self.boxes.dim() == 2 else self.boxes[index, label]

    def arrays(self) -> LevelCandidates:
        """Return the level without logits and gradients."""
        return LevelCandidates(
            _plain(self.scores.float()),
            _plain(self.boxes),
            self.kind,
            self.grid,
            ranks=None if self.ranks is None else _plain(self.ranks.float()),
            compared=None if self.compared is None else _plain(self.compared),
        )


class Target(NamedTuple):
    """What is explained: a detection, or a number that a user's function computes from the output."""

    source: Source
    """Its source; the kind is 'image' for a user's function."""

    label: int
    """Index of the class."""

    score: float

    box: List[float]

    form: str
    """Form of the box, as in `featscope.records.Boxes`."""

    number: int
    """Index among the image's detections; -1 for a best raw score."""

    @property
    def words(self) -> str:
        """The name of the target in messages."""
        if self.source.kind == "image":
            return "the target"
        return f"box {self.number}" if self.number >= 0 else "the best raw score"


@dataclass
class Candidates:
    """The candidates of one image, by level, and how the detector selects its detections from them."""

    levels: List[CandidateLevel]

    form: str
    """Form of the boxes, as in `featscope.records.Boxes`."""

    selection: Optional[Selection] = None
    """How detections are selected; None if this is not known."""

    unknown: str = ""
    """Why the selection is not known."""

    assigned: Optional[AssignedSizes] = None
    """Which sizes of objects the training assigns to each level; None if the adapter does not say."""

    def arrays(self) -> ImageCandidates:
        """Return the candidates as arrays, without logits and gradients.

        >>> detector.detect([item], candidates=True)[0].candidates.arrays()        # doctest: +SKIP
        ImageCandidates(levels=(...), form='cxcywha', selection=Selection(...), unknown='', assigned=None)
        """
        levels = tuple(level.arrays() for level in self.levels)
        assigned = None if self.assigned is None else self.assigned.for_levels(len(levels))
        return ImageCandidates(levels, self.form, self.selection, self.unknown, assigned)

    def logit(self, source: Source, label: int) -> torch.Tensor:
        """Return the logit of a class at a source, a number with its gradient."""
        return self.levels[source.level].logits[source.index, label]

    def box(self, source: Source, label: int) -> torch.Tensor:
        """Return the box of a class at a source, (4 or 5,) in pixels of the original, with its gradient."""
        return self.levels[source.level].box(source.index, label)

    def score(self, source: Source, label: int) -> float:
        """Return the score of a class at a source."""
        return float(self.levels[source.level].scores[source.index, label].detach())

    def best(self, label: Optional[int] = None) -> Target:
        """Return the highest raw score, of one class or of all: the closest to a detection if there is none."""
        best: Tuple[float, int, int, int] = (-1.0, 0, 0, 0)
        for number, level in enumerate(self.levels):
            scores = level.scores.detach() if label is None else level.scores.detach()[:, label : label + 1]
            if scores.numel():
                place = int(scores.argmax())
                index, column = divmod(place, scores.shape[1])
                best = max(best, (float(scores[index, column]), number, index, column if label is None else label))
        score, number, index, found = best
        if score < 0:
            raise CaptureError("the detector has no raw scores for this image, so nothing can be explained")
        level = self.levels[number]
        box = level.box(index, found).detach().double().tolist()
        return Target(level.source(index, number), found, score=score, box=box, form=self.form, number=-1)


def proved_arrays(candidates: Candidates, predictions: Optional[Boxes]) -> ImageCandidates:
    """Return candidates as arrays. Their selection is known only if it gives the detections of the detector."""
    return proved(candidates.arrays(), predictions)


def as_array(tensor: torch.Tensor) -> NDArray[np.float64]:
    """Return a tensor's values without its gradient."""
    return tensor.detach().cpu().double().numpy()


def _plain(tensor: torch.Tensor) -> NDArray[np.floating]:
    """Return a tensor as an array of float32, or of float64 if it has that precision."""
    tensor = tensor.detach().cpu()
    return np.asarray((tensor if tensor.dtype == torch.float64 else tensor.float()).numpy())

"""Choose the detections of an image to explain."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple, Optional, Protocol, Sequence, Union

import numpy as np
from torch import nn

from featscope.arrays.boxes import paired_iou
from featscope.arrays.frames import reframed
from featscope.errors import BadOptionError, CaptureError, unknown_name
from featscope.explaining.candidates import Candidates, Target
from featscope.explaining.items import Detected, Item
from featscope.explaining.provenance import find_sources
from featscope.records import Boxes, Picture, RunInfo, Sample, class_name

SIDES = {"xyxy": ("left", "top", "right", "bottom"), "cxcywha": ("x", "y", "width", "height", "angle")}
"""Form of boxes -> the numbers of a box that can be explained in addition to its score."""


OnError = Callable[[str], None]
"""Receives the message if one box cannot be explained; the others are explained."""

_SAME_OVERLAP = 0.9
_SAME_SCORE = 0.02
"""The difference allowed between a recorded box and the same box detected on another device or in another batch."""


class Explainable(Protocol):
    """The part of a detector that an explanation needs. Every adapter's detector has it.

    layer_to_explain: the layer that is used by default.
    """

    layer_to_explain: str

    @property
    def model(self) -> nn.Module:
        """The model that runs."""

    @property
    def info(self) -> RunInfo:
        """The name and the classes."""

    def detect(self, items: Sequence[Item], candidates: bool = False) -> Sequence[Detected]:
        """Return samples with their predictions and candidates."""


class Detecting(Explainable, Protocol):
    """A detector that also reads images: an adapter's detector, or the user's own model (`PlainModel`)."""

    def prepare(self, image: Union[Path, Picture], sample_id: str, /) -> Item:
        """Prepare an image file or a picture for the network."""


class Choice(NamedTuple):
    """The choice of detections: the `top` best ones, those of a class, or certain numbers; by default all."""

    top: Optional[int] = None

    label: str = ""
    """Name of a class."""

    numbers: Sequence[int] = ()

    recorded: Optional[Sample] = None
    """The sample of a run whose detections are meant. The model must find the same ones again."""

    def of(self, found: Detected, classes: Sequence[str], on_error: Optional[OnError] = None) -> List[Target]:
        """Return the chosen targets of an image, best first; without detections, its best raw score.

        Raises `UnknownNameError` for an unknown class, `BadOptionError` for a number that does not exist, and
        `CaptureError` for a box without a source or one that does not match the recorded one.
        """
        sample, candidates = found.sample, found.raw
        if candidates.levels and candidates.levels[0].kind == "image":
            own = candidates.levels[0]
            return [
                Target(
                    own.source(0, 0),
                    0,
                    score=float(own.scores),
                    box=own.boxes[0].tolist(),
                    form=candidates.form,
                    number=0,
                )
            ]
        wanted = self._class(classes, candidates)
        there = sample.predictions
        meant = there if self.recorded is None or self.recorded.predictions is None else self.recorded.predictions
        numbers = self._numbers(sample.id, meant, wanted)
        if there is None or not numbers:
            return [candidates.best(wanted)]
        sources = sample.sources or find_sources(candidates, there)
        targets: List[Target] = []
        for number in numbers:
            with reported(on_error):
                place = self.place_of(number, sample, there, classes)
                if not sources[place]:
                    raise CaptureError(
                        f"the source of box {number} of {sample.id} was not found, so the box cannot be explained; "
                        "a step after the box head changes its score or position"
                    )
                label, box, score = there.labels[place], there.boxes[place], there.scores[place]
                targets.append(Target(sources[place][0], label, score=score, box=box, form=there.form, number=number))
        return targets

    def place_of(self, number: int, sample: Sample, there: Boxes, classes: Sequence[str]) -> int:
        """Return the index of a recorded detection among those that the model finds now.

        Raises `CaptureError` if it is not there.
        """
        recorded = self.recorded
        if recorded is None or recorded.predictions is None:
            return number
        meant = recorded.predictions
        label, score = meant.labels[number], meant.scores[number] if meant.scores else 0.0
        here = [place for place, other in enumerate(there.labels) if other == label]
        scores = np.array([there.scores[place] for place in here])
        if here and meant.form == there.form:
            # Recorded boxes use the geometry found by pixels; the model's boxes use the one reported by its framework.
            box = reframed(np.array([meant.boxes[number]]), recorded.geometry, sample.geometry)
            boxes = np.array([there.boxes[place] for place in here])
            overlap = paired_iou(meant.form, np.broadcast_to(box, boxes.shape), boxes)
            best = int((overlap - np.abs(scores - score)).argmax())
            if overlap[best] >= _SAME_OVERLAP and abs(scores[best] - score) <= _SAME_SCORE:
                return here[best]
        name = class_name(classes, label)
        found = "no box of that class"
        if here:
            found = f"{len(here)} boxes of that class ({scores.min():.3f} to {scores.max():.3f}), not this one"
        raise CaptureError(
            f"box {number} of {sample.id} is recorded as {name} with score {score:.3f}, but the model finds "
            f"{found}; open it as it was captured (weights, --input-size, --cfg-options, --score-threshold), "
            "or capture again with --batch-size 1"
        )

    def _numbers(self, name: str, meant: Optional[Boxes], wanted: Optional[int]) -> List[int]:
        """Return the numbers of the chosen detections, best first."""
        count = len(meant.boxes) if meant is not None else 0
        for number in self.numbers:
            if not count:
                raise BadOptionError(f"{name} has no detections, so there is no box {number}; leave out --box")
            if not 0 <= number < count:
                raise BadOptionError(f"{name} has boxes 0 to {count - 1}, but no box {number}")
        if self.numbers or meant is None:
            return list(dict.fromkeys(self.numbers))
        some = [number for number, label in enumerate(meant.labels) if wanted is None or label == wanted]
        return sorted(some, key=lambda number: -(meant.scores[number] if meant.scores else 0.0))[: self.top]

    def _class(self, classes: Sequence[str], candidates: Candidates) -> Optional[int]:
        if not self.label:
            return None
        if self.label in classes:
            return list(classes).index(self.label)
        count = max((level.scores.shape[1] for level in candidates.levels), default=0)
        if self.label.isdigit() and int(self.label) < count:
            return int(self.label)
        raise unknown_name("class", self.label, list(classes) or [str(n) for n in range(count)], "the model's own list")


@contextmanager
def reported(on_error: Optional[OnError]) -> Iterator[None]:
    """Pass the error of one box to `on_error`, if it is given."""
    try:
        yield
    except CaptureError as error:
        if on_error is None:
            raise
        on_error(str(error))


def side_index(side: str, form: str) -> int:
    """Return the index of a side among the numbers of a box."""
    known = SIDES.get(form, ())
    if side not in known:
        raise unknown_name("side", side, known, f"boxes of this detector have {', '.join(known) or 'none by name'}")
    return known.index(side)

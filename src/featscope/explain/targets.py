"""Which detections of an image are explained."""

from __future__ import annotations

from typing import Any, List, NamedTuple, Optional, Protocol, Sequence

from featscope.errors import BadOptionError, CaptureError, unknown_name
from featscope.explain.candidates import Candidates, Target, targets_of
from featscope.explain.provenance import find_sources
from featscope.records import RunInfo, Sample

SIDES = {"xyxy": ("left", "top", "right", "bottom"), "cxcywha": ("x", "y", "width", "height", "angle")}
"""What can be explained of a box beside its score, by the form of boxes."""


class Explainable(Protocol):
    """What an explanation needs of a detector: an adapter's is one (`featscope.adapters.detector.Detector`)."""

    model: Any
    info: RunInfo

    def detect(self, items: Sequence[Any], candidates: bool = False) -> Sequence[Any]:
        """Samples with their predictions, and their candidates."""


class Choice(NamedTuple):
    """Which detections: the `top` best, of a class, or by their numbers; all without any of these."""

    top: Optional[int] = None
    label: str = ""
    numbers: Sequence[int] = ()

    def of(self, found: Any, classes: Sequence[str]) -> List[Target]:
        """The targets among what was detected in an image, best first; where there is none, its best raw score.

        Raises `UnknownNameError` for a class and `BadOptionError` for a number that does not exist.
        """
        sample: Sample = found.sample
        candidates: Optional[Candidates] = found.candidates
        if candidates is None:
            raise CaptureError(f"nothing can be explained in {sample.id}: {found.untraced}")
        wanted = self._class(classes, candidates)
        predictions = sample.predictions
        if predictions is None or not predictions.boxes:
            if self.numbers:
                raise BadOptionError(
                    f"{sample.id} has no detections, so there is no box {self.numbers[0]}; leave out --box"
                )
            return [candidates.best(wanted)]
        sources = sample.sources or find_sources(candidates, predictions)
        targets = targets_of(predictions, sources)
        known = {target.number for target in targets}
        for number in self.numbers:
            if not 0 <= number < len(predictions.boxes):
                raise BadOptionError(f"{sample.id} has boxes 0 to {len(predictions.boxes) - 1}, no box {number}")
            if number not in known:
                raise CaptureError(
                    f"the source of box {number} of {sample.id} was not found, so it cannot be explained"
                )
        if self.numbers:
            return [target for target in targets if target.number in self.numbers]
        targets = [target for target in targets if wanted is None or target.label == wanted]
        if not targets:
            lost = sum(wanted is None or label == wanted for label in predictions.labels)
            if lost:
                raise CaptureError(
                    f"{lost} detections of {sample.id} cannot be explained: their sources were not found, "
                    "as something behind the box head changes scores or boxes"
                )
            return [candidates.best(wanted)]
        return sorted(targets, key=lambda target: -target.score)[: self.top]

    def _class(self, classes: Sequence[str], candidates: Candidates) -> Optional[int]:
        if not self.label:
            return None
        if self.label in classes:
            return list(classes).index(self.label)
        count = max((level.scores.shape[1] for level in candidates.levels), default=0)
        if self.label.isdigit() and int(self.label) < count:
            return int(self.label)
        raise unknown_name("class", self.label, list(classes) or [str(n) for n in range(count)], "the model's own list")


def side_index(side: str, form: str) -> int:
    """The place of a side among the numbers of a box."""
    known = SIDES.get(form, ())
    if side not in known:
        raise unknown_name("side", side, known, f"boxes of this detector have {', '.join(known) or 'none by name'}")
    return known.index(side)

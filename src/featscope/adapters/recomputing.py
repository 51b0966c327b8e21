"""Compute the candidates of a run's samples again, for runs that do not store them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Iterator, Tuple

from featscope.adapters.detector import Detected, Detector, no_candidates
from featscope.adapters.feeding import without_gradients
from featscope.adapters.reopening import images_of_run, reopen
from featscope.arrays.candidates import ImageCandidates
from featscope.arrays.frames import reframed
from featscope.errors import CaptureError
from featscope.records import Sample
from featscope.store.reader import Run


class CandidatesAgain:
    """Gives the candidates of a run's samples: its detector is opened again, and runs on the images.

    >>> again = CandidatesAgain(open_run("runs/s2anet"))                                   # doctest: +SKIP
    >>> len(select(again(run.samples["P0706"])).score)                                     # doctest: +SKIP
    2914

    checkpoint: where the weights are now. opening: fields of `featscope.adapters.detector.Opening` that differ from
    those of the run. Every recorded detection must be found again, by the same rule as in `featscope explain`.
    Otherwise, or if the detector has no known candidates, `CaptureError` names the sample.
    """

    def __init__(self, run: Run, checkpoint: str = "", **opening: Any) -> None:
        self._detector = reopen(run, checkpoint, **opening)
        if not self._detector.traceable:
            raise no_candidates(self._detector)

    def __call__(self, sample: Sample) -> ImageCandidates:
        """Run the detector on the image of a sample."""
        item = self._detector.prepare(Path(sample.path), sample.id)
        with without_gradients():
            (found,) = self._detector.detect([item], candidates=True)
        return _again(self._detector, sample, found)


def candidates_again(
    run: Run, glob: str = "", checkpoint: str = "", **opening: Any
) -> Iterator[Tuple[Sample, ImageCandidates]]:
    """Yield the samples of a run whose ids match a glob, with their candidates, as `CandidatesAgain` gives them.

    >>> for sample, candidates in candidates_again(open_run("runs/s2anet"), "P07*"):       # doctest: +SKIP
    ...     print(sample.id, len(select(candidates).score))
    P0706 2914
    """
    chosen = images_of_run(run, glob)
    again = CandidatesAgain(run, checkpoint, **opening)
    for sample, _ in chosen:
        yield sample, again(sample)


def _again(detector: Detector, sample: Sample, found: Detected) -> ImageCandidates:
    """Return the candidates of a sample in the frame of its record, after its detections were found again."""
    from featscope.explaining.candidates import proved_arrays
    from featscope.explaining.targets import Choice

    here, recorded = found.sample.predictions, sample.predictions
    if found.candidates is None or here is None:
        raise CaptureError(f"the candidates of sample {sample.id!r} cannot be computed: {found.untraced or 'no boxes'}")
    choice = Choice(None, recorded=sample)
    for number in range(len(recorded.boxes) if recorded is not None else 0):
        choice.place_of(number, found.sample, here, detector.info.classes)
    raw = proved_arrays(found.candidates, here)
    if found.sample.geometry == sample.geometry:
        return raw
    # The record may have a geometry that was found by pixels, in place of the framework's own.
    levels = [
        replace(
            level,
            boxes=reframed(level.boxes, found.sample.geometry, sample.geometry),
            compared=level.boxes if level.compared is None else level.compared,
        )
        for level in raw.levels
    ]
    return replace(raw, levels=tuple(levels))

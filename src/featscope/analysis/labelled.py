"""The samples of a run that have ground truth, with their boxes."""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Optional

from msgspec.structs import replace

from featscope.analysis.evaluated import Pair
from featscope.arrays.image_boxes import boxes_of
from featscope.errors import BadRunError
from featscope.records import Boxes, Sample
from featscope.store.detections import samples_named
from featscope.store.reader import Run
from featscope.words import counted


class Labelled(NamedTuple):
    """The samples of a run that have ground truth, with their boxes in the same pixels."""

    samples: List[Sample]
    pairs: List[Pair]
    """The detections and the ground truth of each."""
    notes: List[str]
    """Samples that were left out, and why."""


def samples_with(run: Run, truth: Optional[Mapping[str, Boxes]] = None) -> Dict[str, Sample]:
    """Return the samples of a run by id. truth: in place of the run's own, by sample.

    >>> list(samples_with(featscope.open_run("runs/fpn"), {}).values())[0].truth is None
    True
    """
    return {one.id: one if truth is None else replace(one, truth=truth.get(one.id)) for one in run.samples.values()}


def labelled_samples(run: Run, sample: Optional[str] = None, truth: Optional[Mapping[str, Boxes]] = None) -> Labelled:
    """Return the samples of a run that have ground truth. truth: in place of the run's own, by sample.

    >>> labelled_samples(featscope.open_run("runs/fpn")).pairs
    [(<2 boxes of the form xyxy, in pixels of the original>, <2 boxes of the form xyxy, in pixels of the original>)]

    Raises `BadRunError` if there are none, or if none has detections.
    """
    samples = samples_named(run, sample)
    if truth is not None:
        samples = [replace(one, truth=truth.get(one.id)) for one in samples]
    samples = [one for one in samples if one.truth is not None]
    if not samples:
        raise BadRunError(
            f"{run.folder} has no ground truth, so nothing is known to be missed; give it: --annotations "
            "annotations.json, a folder of DOTA's labelTxt, or a folder of YOLO's labels"
        )
    if all(one.predictions is None for one in samples):
        raise BadRunError(f"{run.folder} has no detections, only maps; capture a detector that gives boxes")
    kept, pairs, odd = [], [], []
    for one in samples:
        boxes = boxes_of(one, background=False)
        if boxes.truth is None:
            odd.append(one.id)
            continue
        kept.append(one)
        pairs.append((boxes.detections or Boxes("xyxy", [], [], frame=boxes.truth.frame), boxes.truth))
    notes = list(run.info.truth_notes) if run.info is not None and truth is None else []
    if odd:
        some = ", ".join(odd[:3]) + (f" and {len(odd) - 3} more" if len(odd) > 3 else "")
        notes.append(
            f"{counted(len(odd), 'image')} left out ({some}): how an image lies in the input is unknown, so its ground "
            "truth cannot be laid on its detections"
        )
    if not kept:
        raise BadRunError(f"{run.folder}: {notes[-1]}")
    if not any(true.boxes for _, true in pairs):
        notes.append("no image has a true box, so nothing can be missed")
    return Labelled(kept, pairs, notes)

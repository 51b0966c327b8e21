"""Collect what is drawn of one missed object: its image, the boxes that matter, and the maps of all levels."""

from __future__ import annotations

from typing import List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.analysis import evidence, stages
from featscope.analysis.evidence import Evidence
from featscope.analysis.miss_rows import Miss
from featscope.analysis.misses import Misses
from featscope.analysis.objects import MapName
from featscope.analysis.points import Point
from featscope.analysis.scene_maps import SceneMaps
from featscope.analysis.stages import Head, Loss
from featscope.analysis.what_if import CandidatesOf
from featscope.arrays.boxes import corners_of
from featscope.arrays.selecting import select
from featscope.errors import BadRunError
from featscope.records import Geometry, Sample, class_name
from featscope.render.miss_strips import MarkedBox, MissScene
from featscope.render.outlines import CANDIDATE, OTHER, SUPPRESSOR, TRUE
from featscope.store.reader import Run
from featscope.store.sample_images import input_image, lies_in_input, sample_image


class _Chosen(NamedTuple):
    """The candidates of an image, and the form of their boxes."""

    head: Head
    form: str


class _OfSample(NamedTuple):
    """What the scenes of one sample share."""

    name: str
    image: Optional[NDArray[np.uint8]]
    geometry: Optional[Geometry]
    chosen: Optional[_Chosen]


class SceneMaker:
    """Makes the scenes of some misses of a run. The image and the candidates of one sample are in memory at a time.

    maps: those that are drawn beside the misses; `SceneMaps.read` has read them.
    """

    def __init__(
        self, run: Run, misses: Misses, samples: Mapping[str, Sample], candidates: CandidatesOf, maps: SceneMaps
    ) -> None:
        self.problems: List[str] = []
        """What could not be read."""

        self._run, self._misses, self._samples, self._give = run, misses, samples, candidates
        self._classes = run.info.classes if run.info is not None else []
        self._maps = maps
        self._last: Optional[_OfSample] = None
        found = misses.findings.rows if misses.findings is not None else ()
        self._evidence = {(row.sample, row.number, MapName(row.layer, row.field, row.level)): row for row in found}

    def scene(self, row: Miss, rank: str) -> MissScene:
        """Return what is drawn of one miss. rank: which of the misses it is, in words."""
        sample = self._samples[row.sample]
        truth = sample.truth
        if truth is None:
            raise BadRunError(f"{row.sample} has no ground truth; give the same truth=... as to featscope.misses")
        if self._last is None or self._last.name != sample.id:
            self._last = _OfSample(sample.id, *self._image(sample), self._chosen(sample))
        _, image, geometry, chosen = self._last
        corners = np.nan_to_num(corners_of(truth.form, truth.boxes))
        size = geometry.original if geometry is not None else image.shape[:2] if image is not None else None
        if size is None:
            high = corners[..., ::-1].max((0, 1))
            size = (int(high[0]) + 1, int(high[1]) + 1)
        remarks = []
        if image is None:
            remarks.append("the image is gone")
        near: List[MarkedBox] = []
        if chosen is None:
            remarks.append("no candidates are known; capture the run with --candidates")
        else:
            point = self._misses.point
            near = self._boxes_of(chosen.head.losses([row.number], point.score, point.iou)[0], chosen.form)
        layers = list(self._maps.at(row.sample, lambda name: self.held(row, name)).values())
        if not layers:
            remarks.append("the run stores no maps of features")
        said = self._maps.words(row.sample)
        drawn = f" \u00b7 maps: {', '.join(said)}, one scale for each layer" if said else ""
        others = [MarkedBox(box, OTHER, "another object") for number, box in enumerate(corners) if number != row.number]
        return MissScene(
            _title(row, self._misses.point),
            f"{row.label} {row.number} of {row.sample} \u00b7 {rank} \u00b7 {row.size:.0f} px ({row.size_bin}){drawn}",
            size=(size[0], size[1]),
            image=image,
            geometry=geometry,
            box=MarkedBox(corners[row.number], TRUE, f"the object: {row.label}, {row.size:.0f} px"),
            near=near,
            others=others,
            layers=layers,
            remarks=remarks,
        )

    def held(self, row: Miss, name: MapName) -> str:
        """Say what a map holds of an object; '' if that is not known."""
        return _held(self._evidence.get((row.sample, row.number, name)))

    def _image(self, sample: Sample) -> Tuple[Optional[NDArray[np.uint8]], Optional[Geometry]]:
        """Return the image of a sample and how it lies in the input."""
        if lies_in_input(sample):
            return input_image(self._run.folder, sample, self.problems)
        return sample_image(self._run.folder, sample, self.problems, self.problems), sample.geometry

    def _chosen(self, sample: Sample) -> Optional[_Chosen]:
        known = self._give(sample)
        if known is None or known.selection is None or sample.truth is None:
            return None
        return _Chosen(Head(known, select(known), sample.truth, sample.geometry), known.form)

    def _boxes_of(self, loss: Loss, form: str) -> List[MarkedBox]:
        """Return the box of the candidate that decided, and the one that suppressed it."""
        found: List[MarkedBox] = []
        by, near = loss.suppressor, loss.deciding
        if by is not None:
            name = class_name(self._classes, by.label)
            words = f"suppressed it: {by.what}, {name} {by.score:.2f}, IoU {by.iou:.2f} with the object"
            found.append(MarkedBox(corners_of(form, [by.box])[0], SUPPRESSOR, words))
        if near is not None:
            name = class_name(self._classes, near.label)
            words = (
                f"the candidate that came nearest, of level {near.level}: {name} {near.score:.2f}, IoU {loss.iou:.2f}"
            )
            found.append(MarkedBox(corners_of(form, [near.box])[0], CANDIDATE, words))
        return found


def _held(row: Optional[Evidence]) -> str:
    """Say what a level holds of an object."""
    if row is None:
        return ""
    if row.cells < 1:
        return "below resolution"
    words = {True: "stands out", False: "does not stand out", None: "unknown"}[row.present]
    cells = f"{row.cells:,.0f}" if row.cells >= 100 else f"{row.cells:.3g}"
    return f"{words}\n{cells} cells"


def _title(row: Miss, point: Point) -> str:
    """Say in plain words where an object was lost.

    >>> found = featscope.misses("runs/fpn")
    >>> _title(found.rows[0]._replace(verdict="lost in neck"), found.point)
    'Missed plane: where the head lost it is unknown; its features are lost in neck'
    """
    return f"Missed {row.label}: {stage_words(row, point)}; {_verdict(row.verdict)}"


def stage_words(row: Miss, point: Point) -> str:
    """Say in plain words where the head lost an object."""
    score = f"{row.score:.2f}" if row.score is not None else "none"
    by = f"{row.by_score:.2f}" if row.by_score is not None else "unknown"
    return {
        stages.NO_CLASS: "the detector does not know its class",
        stages.NOTHING_COULD: "no prior point of the head lies in its box",
        stages.NO_BOX: f"no candidate has a box like it (IoU {_against(row.iou, point.iou)})",
        stages.BADLY_BOXED: f"a candidate scores {score}, but its box is poor (IoU {_against(row.iou, point.iou)})",
        stages.BACKGROUND: f"its best candidate scores no more than background ({score})",
        stages.LOW_SCORE: f"its best candidate scores too little ({_against(row.score, point.score)})",
        stages.OTHER_CLASS: f"its candidate was taken for {row.other}",
        stages.BELOW: f"its candidate ({score}) is under the detector's own threshold",
        stages.CUT: f"its candidate ({score}) was cut before suppression",
        stages.SUPPRESSED: f"its candidate ({score}) was suppressed by {row.by} ({by})",
        stages.OVER: f"its candidate ({score}) is over the maximum of detections",
        stages.TAKEN: f"its detection ({score}) counts for another object",
    }.get(row.stage, "where the head lost it is unknown")


def _against(value: Optional[float], needed: float) -> str:
    """Say what a number is and what it should be, with so many digits that they differ.

    >>> _against(0.38, 0.419), _against(0.4183, 0.419), _against(None, 0.5)
    ('0.38, 0.42 is needed', '0.418, 0.419 is needed', 'none, 0.50 is needed')
    """
    for digits in (2, 3, 4):
        texts = [f"{one:.{digits}f}" if one is not None else "none" for one in (value, needed)]
        if texts[0] != texts[1]:
            break
    return f"{texts[0]}, {texts[1]} is needed"


def _verdict(verdict: str) -> str:
    if verdict.startswith(evidence.LOST_IN):
        return f"its features are lost in {verdict[len(evidence.LOST_IN) :]}"
    return {
        evidence.ABSENT: "its features stand out at no level",
        evidence.LOST_BY_HEAD: "its features are there, so the head lost it",
        evidence.SEEN_BY_HEAD: "the head saw it, though its features do not stand out by themselves",
        evidence.BELOW_RESOLUTION: "it is smaller than a cell at every level",
        evidence.UNDECIDED: "the features do not decide it",
    }.get(verdict, "the run stores no features")

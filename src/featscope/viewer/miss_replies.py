"""What the page is answered about misses: the fields of the replies. The OpenAPI page is made from these types."""

from __future__ import annotations

from typing import List, Optional, Tuple

import msgspec


class PointOut(msgspec.Struct):
    """The operating point at which objects count as missed, as in `featscope.analysis.points.Point`."""

    score: float
    iou: float
    rule: str
    chosen: str


class MissColumns(msgspec.Struct):
    """All objects that a run missed, by column."""

    sample: List[int] = []
    """Number of the sample in the columns of `samples`."""

    number: List[int] = []
    """Place of the object in the ground truth of its image."""

    label: List[str] = []
    x: List[float] = []
    """Centre of its box, in pixels of the original image."""
    y: List[float] = []
    size: List[float] = []
    """Square root of its area, in pixels of the original image."""

    stage: List[str] = []
    """One of `featscope.analysis.stages.STAGES`; '' if the candidates of its image are unknown."""

    verdict: List[str] = []
    """What the features hold of it; '' if the run stores none."""

    score: List[Optional[float]] = []
    """The best score for its class of a candidate that reaches it."""

    other: List[str] = []
    """With a second run: 'found' or 'missed' there, or '' if that run does not count this object."""


class AlarmColumns(msgspec.Struct):
    """All false alarms of a run, by column."""

    sample: List[int] = []
    number: List[int] = []
    """Number of the detection in its image."""
    label: List[str] = []
    x: List[float] = []
    y: List[float] = []
    size: List[float] = []
    kind: List[str] = []
    """One of `featscope.analysis.alarms.ALARMS`."""
    score: List[float] = []
    iou: List[float] = []
    """Its overlap with the object that it is about."""
    about: List[str] = []
    """The class of that object; '' if it is about none."""


class MissesOut(msgspec.Struct):
    """What a run missed, and its false alarms. Only those in samples that the viewer shows are listed."""

    why: str = ""
    """Why nothing is known; then the rest is empty."""

    point: Optional[PointOut] = None
    objects: int = 0
    """Objects that count, in all images."""
    missed: int = 0
    """Those that were missed."""
    ignored: int = 0
    """Difficult objects and crowds, which do not count."""
    images: int = 0
    notes: List[str] = []
    misses: MissColumns = msgspec.field(default_factory=MissColumns)
    alarms: AlarmColumns = msgspec.field(default_factory=AlarmColumns)


class LevelSeenOut(msgspec.Struct):
    """What the candidates of one level give for an object."""

    level: int
    iou: float
    score: Optional[float]
    """None if no candidate of the level reaches the object."""


class EvidenceOut(msgspec.Struct):
    """What one map holds of an object, as in `featscope.analysis.evidence.Evidence`."""

    layer: str
    field: str
    level: int
    cells: float
    likeness: Optional[float]
    probe: Optional[float]
    ratio: Optional[float]
    present: Optional[bool]


class LostOut(msgspec.Struct):
    """One missed object: where it was lost, and the boxes that tell."""

    number: int
    stage: str
    verdict: str
    score: Optional[float]
    iou: Optional[float]
    level: Optional[int]
    """Level of the candidate that decided."""

    candidate: Optional[List[float]] = None
    """Its box as a polygon, in pixels of the frame."""

    candidate_score: Optional[float] = None
    """Its own score for the object's class, or for the class `other`."""

    suppressor: Optional[List[float]] = None
    """The box that suppressed it."""

    by: str = ""
    """What that box is."""
    by_score: Optional[float] = None
    by_iou: Optional[float] = None
    """Its overlap with the object."""
    by_overlap: Optional[float] = None
    """Its overlap with the candidate."""

    other: str = ""
    """The class that is above the score, if the stage is 'other class'."""

    reaching: int = 0
    passing: int = 0
    steps: List[Tuple[str, int]] = []
    """How many of the passing candidates came to which stage."""

    levels: List[LevelSeenOut] = []
    evidence: List[EvidenceOut] = []


class LostsOut(msgspec.Struct):
    """The missed objects of a sample."""

    objects: List[LostOut]

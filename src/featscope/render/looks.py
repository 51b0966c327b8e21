"""Find out what a layer's maps are, and choose the style that suits them.

This is decided once for all maps of a layer, and every picture says what was decided.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.reduce import AS_THE_MAP, BOTH, Floats, signs_of
from featscope.arrays.scores import class_scores, highest_score, sigmoid
from featscope.errors import FeatscopeError
from featscope.records import Sample
from featscope.render.heat import AUTO, HeatStyle, two_signs
from featscope.store.feature_maps import spread
from featscope.store.maps import MapFile
from featscope.store.reader import Run

SCORES, ONE_SCORE, REGRESSION, FEATURES = "class scores", "one score", "regression", "features"

# Names that heads use for their outputs, and for the layers that compute them, at the end of `layer.field`.
_NAMES = (
    (
        SCORES,
        r"(cls|class)_(scores?|logits?|preds?)|((retina|rpn|fam|odm|conv|atss|fcos)_)?cls(_logits|_score)?"
        r"|multi_level_conv_cls(\.\d+)?",
    ),
    (
        ONE_SCORE,
        r"object(ness)?(es)?|centerness(es)?|(bbox_)?ctrness|iou_preds?|multi_level_conv_obj(\.\d+)?|conv_(centerness|obj)",
    ),
    (
        REGRESSION,
        r"(bbox|box|reg|angle|coef)_?(preds?|regression|deltas?|targets?)?|(retina|rpn|fam|odm|conv)_(reg|bbox)|offsets?"
        r"|multi_level_conv_reg(\.\d+)?",
    ),
)
_ROLES = tuple((kind, re.compile(rf"(.*\.)?({pattern})", re.IGNORECASE)) for kind, pattern in _NAMES)

_FILES_LOOKED_AT = 32  # the most files of a folder to search for detections
_FILES_READ = 8  # the most of these files to read for the range and the signs of their values
_DETECTIONS = 24  # enough detections to compare with a layer's values
_ENOUGH = 3  # the fewest detections to compare; all must agree
_CLOSE = 4e-3  # the largest difference of equal scores, because maps may be stored in half precision
_MOST_ANCHORS = 32  # per cell; layers with more channels than these need are not class scores


class Role(NamedTuple):
    """What a layer's maps are."""

    kind: str
    """`SCORES`, `ONE_SCORE`, `REGRESSION` or `FEATURES`."""

    activation: str = ""
    """The function that turns the values into scores, as in `featscope.arrays.scores`."""

    classes: int = 1
    """Number of classes that the scores are for."""

    factor: str = ""
    """The folder of the maps that the head multiplies the scores with."""

    root: bool = False
    """Whether the head takes the square root of that product."""

    known: str = ""
    """How this is known: 'detections' if the scores of the run's detections agree, or 'name'."""

    def map_of(self, map_file: MapFile, index: int, array: NDArray[np.generic]) -> Floats:
        """Return the highest score of each cell of one image's map, (H, W).

        index: position of the image in the file.
        """
        factor = None
        if self.factor:
            factor = _sibling(map_file, self.factor).load()[index]
        return highest_score(array, self.activation, self.classes, factor, self.root)

    @property
    def words(self) -> str:
        """Which score is drawn, as text on a picture."""
        made = {"sigmoid": " after sigmoid", "softmax": " after softmax"}.get(self.activation, "")
        if self.factor:
            made += f", times {self.factor.rpartition('.')[2]}"
        name = "score" if self.kind == ONE_SCORE else "highest class score"
        return name + made + (" (by the layer's name)" if self.known == "name" else "")


@dataclass(frozen=True)
class Look:
    """How a layer's maps are drawn."""

    style: HeatStyle

    scores: Optional[Role] = None
    """How to turn the maps into scores first; None if they are not drawn as scores."""


def looks_of(run: Run, style: HeatStyle) -> Dict[str, Look]:
    """Return how the maps of each folder of a run are drawn, depending on what they are.

    This is decided from a few maps of each folder, no matter which maps are drawn, so that a layer always looks the
    same. Returns nothing if no part of the style is `auto`.
    """
    if AUTO not in (style.reduce, style.range, style.colormap):
        return {}
    return {folder: look_of_folder(run, folder, style) for folder in run.folders()}


def look_of_folder(run: Run, folder: str, style: HeatStyle) -> Look:
    """Return how the maps of one folder of a run are drawn; see `looks_of`."""
    files = run.spread(folder, _FILES_LOOKED_AT)
    return _look(files, style, len(run.info.classes) if run.info is not None else 0) if files else Look(style)


def _look(files: List[MapFile], style: HeatStyle, classes: int) -> Look:
    """Choose how the maps of one folder are drawn."""
    record = files[0].record
    reduced = record is not None and bool(record.reduced)
    role = Role(FEATURES) if reduced or style.reduce != AUTO else role_of(files, classes)
    if role.kind in (SCORES, ONE_SCORE):
        return Look(style.with_auto("scores"), role)
    seen = list(spread(files, _FILES_READ))
    if role.kind == FEATURES and _channels(seen) > 1 and not reduced and style.reduce == AUTO:
        return Look(style.with_auto("contrast"))
    how = "mean" if style.reduce == AUTO else style.reduce
    return Look(style.with_auto(how, signed=_signed(seen, how)))


def role_of(files: Sequence[MapFile], classes: int) -> Role:
    """Find out what the maps of a folder are, from the scores of the run's detections or else from the layer's name."""
    record = files[0].record
    if record is None or not files[0].is_map:
        return Role(FEATURES)
    proved = _proved(files, classes) if classes else None
    if proved is not None:
        return proved
    kind = kind_by_name(record.layer, record.field)
    return Role(FEATURES) if kind == FEATURES else _by_name(kind, files, classes)


def kind_by_name(layer: str, field: str) -> str:
    """Return what maps of this name are: `SCORES`, `ONE_SCORE` or `REGRESSION` by names that heads use, or `FEATURES`.

    >>> kind_by_name("bbox_head", "cls_scores"), kind_by_name("neck", "")
    ('class scores', 'features')
    """
    name = ".".join(filter(None, (layer, field)))
    return next((kind for kind, pattern in _ROLES if pattern.fullmatch(name)), FEATURES)


def _by_name(kind: str, files: Sequence[MapFile], classes: int) -> Role:
    """Complete a kind that is known from the layer's name, using the number of channels and the range of values."""
    if kind == REGRESSION:
        return Role(kind, known="name")
    seen = list(spread(files, _FILES_READ))
    channels = _channels(seen)
    within = all(low >= 0 and high <= 1 for low, high in map(_ends, seen))
    record = files[0].record
    some = record is not None and bool(record.channels)  # only some of the channels were stored
    if kind == ONE_SCORE or some or not classes or (channels % classes and channels % (classes + 1)):
        # Each channel is a separate score, as for the region proposals of a two-stage detector.
        return Role(ONE_SCORE if kind == ONE_SCORE else SCORES, "" if within else "sigmoid", 1, known="name")
    softmax = channels % classes != 0 and not within
    return Role(SCORES, "softmax" if softmax else "" if within else "sigmoid", classes, known="name")


class _Seen(NamedTuple):
    """A detection whose source cell is known, with the raw outputs at that cell."""

    score: float
    label: int
    anchor: int
    values: Floats
    factors: Mapping[str, Floats]
    """Raw outputs of the maps that the head may multiply the scores with, by folder."""


def _proved(files: Sequence[MapFile], classes: int) -> Optional[Role]:
    """Return the role of class scores if the scores that follow from these maps are those of the detections; else None.

    All activations and factors are tried until one reproduces the score of every detection.
    """
    record = files[0].record
    shape = record.shape if record is not None and not record.channels else []  # empty unless all channels were stored
    if len(shape) != 4 or shape[1] > (classes + 1) * _MOST_ANCHORS:
        return None
    if shape[1] % classes and shape[1] % (classes + 1):
        return None
    seen: List[_Seen] = []
    for map_file in files:
        try:
            seen += _detections_of(map_file)
        except FeatscopeError:  # reported when the map is drawn
            continue
        if len(seen) >= _DETECTIONS:
            break
    if len(seen) < _ENOUGH:
        return None
    factors = sorted(set.intersection(*(set(one.factors) for one in seen)))
    joined = [("", False), *((factor, root) for factor in factors for root in (False, True))]
    for activation in ("sigmoid", "softmax", ""):
        for factor, root in joined:
            if all(_agrees(one, activation, classes, factor, root) for one in seen):
                return Role(SCORES, activation, classes=classes, factor=factor, root=root, known="detections")
    return None


def _agrees(one: _Seen, activation: str, classes: int, factor: str, root: bool) -> bool:
    """Whether a detection has the score that is computed in this way from the raw outputs at its source cell."""
    if len(one.values) % (classes + (activation == "softmax")):
        return False
    scores = class_scores(one.values[:, None, None], activation, classes)
    if one.anchor >= len(scores) or one.label >= classes:
        return False
    score = float(scores[one.anchor, one.label, 0, 0])
    if factor:
        if one.anchor >= len(one.factors[factor]):
            return False
        score *= float(sigmoid(one.factors[factor][one.anchor]))
    return abs((score**0.5 if root and score > 0 else score) - one.score) <= _CLOSE


def _detections_of(map_file: MapFile) -> Iterator[_Seen]:
    """Yield the detections whose source is a cell of a file's maps."""
    record, array = map_file.record, None
    siblings: Dict[str, NDArray[np.generic]] = {}
    for index, sample in enumerate(map_file.samples):
        for score, label, row, column, anchor in _sources(sample, record.level if record else 0):
            if array is None:
                array = map_file.load()
                siblings = {folder: _sibling(map_file, folder).load() for folder in _one_score_folders(map_file)}
            if array.shape[:1] != (len(map_file.samples),) or array.ndim != 4:
                return  # not one map per image
            if row >= array.shape[2] or column >= array.shape[3]:
                continue
            factors = {
                folder: np.asarray(other[index, :, row, column], np.float64)
                for folder, other in siblings.items()
                if other.ndim == 4 and other.shape[2:] == array.shape[2:]
            }
            yield _Seen(score, label, anchor, np.asarray(array[index, :, row, column], np.float64), factors)


def _sources(sample: Sample, level: int) -> Iterator[Tuple[float, int, int, int, int]]:
    """Yield (score, label, row, column, anchor) of each detection whose only source is a cell of this level."""
    found = sample.predictions
    if found is None or not found.scores:
        return
    for score, label, sources in zip(found.scores, found.labels, sample.sources):
        if len(sources) == 1 and sources[0].kind == "cell" and sources[0].level == level:
            yield score, label, sources[0].row, sources[0].column, sources[0].anchor


def _one_score_folders(map_file: MapFile) -> List[str]:
    """Return the folders of other fields of the same layer whose maps the head may multiply a file's maps with."""
    record = map_file.record
    if record is None or not record.field or map_file.root is None:
        return []
    stem = map_file.folder[: -len(record.field)]
    beside = map_file.root / map_file.folder
    return sorted(
        path.name
        for path in beside.parent.iterdir()
        if path.name.startswith(stem)
        and _ROLES[1][1].fullmatch(path.name[len(stem) :])
        and (path / map_file.path.name).exists()
    )


def _sibling(map_file: MapFile, folder: str) -> MapFile:
    """Return the file in another folder that has the same batch and level."""
    path = Path(*map_file.path.parts[: -len(Path(map_file.folder).parts) - 1]) / folder / map_file.path.name
    return MapFile(path, folder, root=map_file.root)


def _channels(files: Sequence[MapFile]) -> int:
    """Return the number of channels of the first file that can be read; 1 if there is none."""
    for map_file in files:
        try:
            return map_file.channels()
        except FeatscopeError:
            continue
    return 1


def _ends(map_file: MapFile) -> Tuple[float, float]:
    """Return the smallest and the largest finite value of a file; (0, 0) if there are none or it cannot be read."""
    try:
        array = map_file.load()
    except FeatscopeError:
        return 0.0, 0.0
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _signed(files: Sequence[MapFile], how: str) -> bool:
    """Whether the values of a layer have both signs after this reduction."""
    signs = signs_of(how)
    if signs != AS_THE_MAP:
        return signs == BOTH
    ends = [_ends(map_file) for map_file in files]
    return two_signs(min(low for low, _ in ends), max(high for _, high in ends))

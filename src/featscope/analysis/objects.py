"""The objects of a run: its ground truth and its detections, each with what the feature maps hold in its box."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from featscope.analysis.evaluated import evaluate
from featscope.analysis.evaluation import NOTHING
from featscope.arrays.boxes import iou_of
from featscope.arrays.image_boxes import ImageBoxes, boxes_of
from featscope.arrays.pooling import Pooled
from featscope.arrays.reduce import as_floats
from featscope.errors import BadRunError, FeatscopeError
from featscope.records import OBJECT, Boxes, Sample
from featscope.render.looks import FEATURES, kind_by_name
from featscope.scale.executor import Executor, serial
from featscope.scale.parallel import executor_named
from featscope.store.detections import samples_named
from featscope.store.feature_maps import feature_maps
from featscope.store.globs import literal_glob
from featscope.store.maps import MapFile
from featscope.store.reader import Run, open_run

MIN_IOU = 0.5


class MapName(NamedTuple):
    """Which map of an image: its layer, field and level."""

    layer: str
    field: str
    level: int

    @property
    def part(self) -> str:
        """The layer with its field, which the levels share: `neck`, `bbox_head_init.cls_scores`."""
        return ".".join(filter(None, (self.layer, self.field))) or "output"

    def __str__(self) -> str:
        """Return the name as it stands in tables: `neck 0`, `bbox_head_init.cls_scores 2`."""
        return f"{self.part} {self.level}"


@dataclass(frozen=True)
class ImageObjects:
    """The objects of one image, with what each map holds in their boxes."""

    sample: Sample
    boxes: ImageBoxes

    partners: NDArray[np.int64]
    """For each box of the ground truth the number of its detection, and the other way round, (n,); -1 for none."""

    overlaps: NDArray[np.float64]
    """Intersection over union with the partner, or else the highest one with any box of the other kind and of the same
    class, (n,); NaN where there is none."""

    maps: Mapping[MapName, Pooled] = field(default_factory=dict)
    """What each map holds in the boxes."""

    strides: Mapping[MapName, float] = field(default_factory=dict)
    """Pixels of the input from cell to cell, of each map."""

    problems: Tuple[str, ...] = ()
    """Maps that could not be pooled, with the reason."""


def feature_layers(run: Run) -> List[str]:
    """Return the layers of a run that give features: whose maps are no class scores and no regressions, by their names.

    >>> feature_layers(featscope.open_run("runs/fpn"))
    ['neck']
    """
    rows = [row for row in run.contents() if row.stride]
    heads = {row.layer for row in rows if kind_by_name(row.layer, row.field) != FEATURES}
    return list(dict.fromkeys(row.layer for row in rows if row.layer not in heads))


def chosen_layers(run: Run, layers: Sequence[str]) -> List[str]:
    """Return the layers that were asked for, or else those that give features.

    Raises `UnknownNameError` for a layer that the run does not have.
    """
    if layers:
        run.choose(layers=layers)
    return list(layers) or feature_layers(run)


@dataclass(frozen=True)
class _Item:
    """The samples of one batch, and the files of their maps."""

    number: int
    samples: List[Sample]
    files: List[MapFile]


def walk_objects(
    run: Union[Run, str, Path],
    layers: Sequence[str] = (),
    level: Optional[int] = None,
    sample: Optional[str] = None,
    *,
    min_iou: float = MIN_IOU,
    truth: Optional[Mapping[str, Boxes]] = None,
    background: bool = False,
    executor: Union[str, Executor] = serial,
) -> Iterator[ImageObjects]:
    """Yield the objects of each image of a run, with what the chosen maps hold in their boxes.

    >>> for image in walk_objects("runs/fpn", ["neck"]):
    ...     print(image.sample.id, image.boxes.counts, [str(name) for name in image.maps])
    harbour (2, 2, 0) ['neck 0', 'neck 1']

    At most the maps of one batch and of each process are in memory. layers, level, sample: as for `Run.choose`; no
    layer stands for all. truth: ground truth by sample, in place of the run's own. background: whether to add boxes
    of background (`featscope.arrays.image_boxes.boxes_of`). executor: 'serial', 'processes' and so on, as for
    `featscope.draw_run`.

    Raises `BadRunError` for a folder without a manifest.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    if opened.info is None:
        raise BadRunError(
            f"{opened.folder} has no manifest, so it knows no objects; capture a run: "
            "featscope capture MODEL -i photos -o RUN --annotations LABELS"
        )
    work = partial(_objects_of_batch, min_iou=min_iou, truth=truth, background=background)
    run_on = executor_named(executor) if isinstance(executor, str) else executor
    ready: Dict[int, List[ImageObjects]] = {}
    following = 0
    for item, value in run_on(work, _items(opened, layers, level, sample)):
        if isinstance(value, FeatscopeError):
            raise value
        if isinstance(value, Exception):
            names = ", ".join(one.id for one in item.samples)
            raise BadRunError(f"the objects of {names} could not be read: {type(value).__name__}: {value}") from value
        ready[item.number] = value  # other processes may be faster: the order is that of the run
        while following in ready:
            yield from ready.pop(following)
            following += 1


def _items(run: Run, layers: Sequence[str], level: Optional[int], sample: Optional[str]) -> Iterator[_Item]:
    """Yield the batches of a run in order. The maps of a batch lie in the same files, which are read once."""
    batches: List[List[Sample]] = []
    for one in samples_named(run, sample):
        if batches and one.batch == batches[-1][0].batch:
            batches[-1].append(one)
        else:
            batches.append([one])
    for number, batch in enumerate(batches):
        yield _Item(number, batch, _files(run, batch, layers, level))


def _files(run: Run, samples: Sequence[Sample], layers: Sequence[str], level: Optional[int]) -> List[MapFile]:
    files: Dict[Path, MapFile] = {}
    for one in samples:
        files.update((file.path, file) for file in run.select((), layers, level, literal_glob(one.id)))
    return list(files.values())


def _objects_of_batch(
    item: _Item, min_iou: float, truth: Optional[Mapping[str, Boxes]], background: bool
) -> List[ImageObjects]:
    samples = [one if truth is None else replace(one, truth=truth.get(one.id)) for one in item.samples]
    boxes = {one.id: boxes_of(one, background) for one in samples}
    maps: Dict[str, Dict[MapName, Pooled]] = {one.id: {} for one in samples}
    strides: Dict[str, Dict[MapName, float]] = {one.id: {} for one in samples}
    problems: Dict[str, List[str]] = {one.id: [] for one in samples}
    for file in item.files:
        try:
            for found in _pool_file(file, boxes):
                maps[found.sample][found.name] = found.pooled
                strides[found.sample][found.name] = found.stride
        except FeatscopeError as error:
            for one in file.samples:
                problems.get(one.id, []).append(str(error))
    return [
        ImageObjects(
            one,
            boxes[one.id],
            *partners_of(boxes[one.id], min_iou),
            maps=maps[one.id],
            strides=strides[one.id],
            problems=tuple(problems[one.id]),
        )
        for one in samples
    ]


class _Found(NamedTuple):
    sample: str
    name: MapName
    pooled: Pooled
    stride: float


def _pool_file(file: MapFile, boxes: Mapping[str, ImageBoxes]) -> Iterator[_Found]:
    """Pool the maps of a file, or read what was pooled during the capture."""
    record = file.record
    if record is None:
        return
    name = MapName(record.layer, record.field, record.level)
    if record.axes[:1] == [OBJECT]:
        for sample, pooled in _pooled_before(file, boxes):
            yield _Found(sample, name, pooled, max(record.stride or (0.0,)))
    for one in feature_maps(file) if file.is_map else ():
        if one.sample is not None and one.plane is None and one.sample.id in boxes:
            of_image, array = boxes[one.sample.id], as_floats(one.array)
            place = of_image.place_of((array.shape[1], array.shape[2]), file.place())
            yield _Found(one.sample.id, name, of_image.pool(array, place), max(place.stride))


def _pooled_before(file: MapFile, boxes: Mapping[str, ImageBoxes]) -> Iterator[Tuple[str, Pooled]]:
    """Read the table of a file, in which the boxes of its samples follow one another."""
    table = file.load()[0, 0]
    stored = [boxes_of(one) for one in file.samples]
    ends = np.cumsum([len(one.corners) for one in stored])
    if not len(ends) or ends[-1] != len(table):
        raise BadRunError(
            f"{file.path} has {len(table)} rows, but its samples have {ends[-1:].sum()} boxes; "
            f"try: featscope check {file.root or file.path.parent}"
        )
    for one, there, end in zip(file.samples, stored, ends):
        wanted = boxes.get(one.id)
        if wanted is None:
            continue
        count = len(wanted.corners)  # background, which is last, may not be wanted
        if not np.array_equal(wanted.corners, there.corners[:count], equal_nan=True):
            raise BadRunError(
                f"{file.path} holds the objects of {one.id} with the ground truth of its capture; to use "
                "another one, capture a run that stores maps, without --objects"
            )
        yield one.id, Pooled.from_table(table[end - len(there.corners) :][:count])


def partners_of(boxes: ImageBoxes, min_iou: float) -> Tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Match the detections of an image with its ground truth, as `ImageObjects.partners` and `.overlaps` say.

    The rule is VOC's (`featscope.analysis.evaluation`), over all detections of the run.
    """
    total = sum(boxes.counts)
    partners, overlaps = np.full(total, NOTHING), np.full(total, np.nan)
    truth, found = boxes.truth, boxes.detections
    if truth is None or found is None or not truth.boxes or not found.boxes or not found.scores:
        return partners, overlaps
    start = len(truth.boxes)  # the detections stand behind the ground truth
    iou = iou_of(found.form, found.boxes, truth.form, truth.boxes)
    same = np.array(found.labels)[:, None] == np.array(truth.labels)
    best = np.where(same, iou, -1.0)
    overlaps[: start + len(found.boxes)] = np.concatenate([best.max(0), best.max(1)])
    overlaps[overlaps < 0] = np.nan
    for number, match in enumerate(evaluate([(found, truth)], min_iou).match):
        if match >= 0:
            partners[match], partners[start + number] = number, match
            overlaps[match] = overlaps[start + number] = iou[number, match]
    return partners, overlaps

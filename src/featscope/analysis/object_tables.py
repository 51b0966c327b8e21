"""The objects of a run as a table: a row for each true box and each detection, columns for each map."""

from __future__ import annotations

import re
from collections import namedtuple
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, Union

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.objects import MIN_IOU, ImageObjects, MapName, walk_objects
from featscope.analysis.sizes import coco_bins, soda_bins
from featscope.arrays.image_boxes import DETECTION, TRUTH
from featscope.arrays.pooling import Pooled
from featscope.records import Boxes, Source, class_name
from featscope.scale.executor import Executor, serial
from featscope.store.globs import choose_names
from featscope.store.reader import Run, open_run
from featscope.store.row_files import write_rows
from featscope.store.tables import Rows

AnyRow = Tuple[object, ...]


class ObjectRow(NamedTuple):
    """The first columns of a row; those of the maps follow."""

    sample: str
    path: str
    """The image file."""
    width: Optional[int]
    """Of the original image, to which the corners refer; None where they are in pixels of the input."""
    height: Optional[int]
    kind: str
    """'truth' or 'detection'."""
    number: int
    """Place among the boxes of its kind in its image."""
    label: str
    score: Optional[float]
    ignored: str
    """'difficult', 'crowd' or ''."""
    x1: float
    """Corners in order around the box, in pixels of the original image, or of the input where its place is unknown."""
    y1: float
    x2: float
    y2: float
    x3: float
    y3: float
    x4: float
    y4: float
    size: float
    """Square root of the area, in pixels of the original image."""
    size_input: float
    """The same in pixels of the network's input."""
    size_coco: str
    """COCO's bin of the area in the original image."""
    size_soda: str
    """SODA-A's bin of the area in the original image."""
    match: Optional[int]
    """Of a true box: the detection that found it; of a detection: the true box that it hits; None if there is none."""
    iou: Optional[float]
    """Overlap with the match, else the highest with a box of the other kind and of its class; None if there is none."""
    source: str
    """'cell', 'query', 'roi', 'tie' (several candidates that cannot be told apart) or '' if it is not known."""
    source_level: Optional[int]
    source_row: Optional[int]
    source_column: Optional[int]


_OF_MAP = ("cells", "unresolved", "norm", "inside", "ring", "ratio", "auroc")
_TYPES: Dict[str, object] = {name: bool if name == "unresolved" else float for name in _OF_MAP}
_FEATURES = "features"


def objects(
    run: Union[Run, str, Path],
    layers: Sequence[str] = (),
    level: Optional[int] = None,
    sample: Optional[str] = None,
    *,
    features: bool = True,
    iou: float = MIN_IOU,
    truth: Optional[Mapping[str, Boxes]] = None,
    executor: Union[str, Executor] = serial,
) -> Rows[AnyRow]:
    """Return a row for each true box and each detection of a run, with what its maps hold there.

    >>> rows = featscope.objects("runs/fpn", ["neck"], level=0)
    >>> row = rows[0]
    >>> row.sample, row.kind, row.label, round(row.neck_0_cells, 2), len(row.neck_0_features)
    ('harbour', 'truth', 'ship', 0.98, 8)

    The columns are those of `ObjectRow`, and for each layer, field and level (`neck_0_...`):

    - cells: area of the box in cells. unresolved: whether that is below 1.
    - features: mean of each channel over the box; each cell counts by the share of it that the box covers, exactly.
    - norm: length of the features.
    - inside, ring: mean energy in the box, and in a ring of the same area around it without the parts that other
      objects cover. The energy of a cell is the length of its vector of channels.
    - ratio: inside / ring. auroc: chance that a cell of the box has more energy than one of the ring.

    Values are None where the box lies outside of the map, or nothing is left of its ring.

    layers, level, sample: as for `Run.choose`; without any, all. features: whether the features are columns too. iou:
    from which overlap on a detection hits a true box (`featscope.analysis.evaluation`, rule 'voc'). truth: ground truth
    by sample, in place of the run's own. `write_objects` writes a large run to a file without holding it in memory.
    Raises `BadRunError` for a folder without a manifest, `UnknownNameError` for an unknown layer or sample.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    names = map_names(opened, layers, level)
    images = walk_objects(opened, layers, level, sample, min_iou=iou, truth=truth, executor=executor)
    kind = row_type(names, features)
    hidden = [name for name in kind._fields if name.endswith(f"_{_FEATURES}")]  # type: ignore[attr-defined]
    return Rows(kind._fields, object_rows(images, opened, names, features), hidden)  # type: ignore[attr-defined]


class MapSummary(NamedTuple):
    """What one map holds of the true boxes of a run, or of the detections where there is no ground truth."""

    map: str
    objects: int
    unresolved: int
    """Objects that cover less than one cell."""
    ratio: Optional[float]
    """Median of the energy in the box divided by that of the ring."""
    auroc: Optional[float]
    """Median of the chance that a cell of the box has more energy than one of the ring."""
    ratio_found: Optional[float]
    """The median ratio of the objects that were found."""
    ratio_missed: Optional[float]
    """The median ratio of the objects that were missed."""


class Summary(NamedTuple):
    """The result of `summary`."""

    rows: Rows[MapSummary]
    kind: str
    """What the rows are of: 'truth', or 'detection' where the run has no ground truth at all."""
    objects: int
    """Number of boxes of this kind."""
    images: int
    problems: Tuple[str, ...]


def summary(
    run: Union[Run, str, Path],
    layers: Sequence[str] = (),
    level: Optional[int] = None,
    sample: Optional[str] = None,
    *,
    iou: float = MIN_IOU,
    truth: Optional[Mapping[str, Boxes]] = None,
    executor: Union[str, Executor] = serial,
) -> Summary:
    """Summarise the objects of a run, a row for each map: what `featscope objects RUN` prints.

    >>> [row.map for row in summary("runs/fpn", ["neck"]).rows]
    ['neck 0', 'neck 1']
    """
    opened = run if isinstance(run, Run) else open_run(run)
    names = map_names(opened, layers, level)
    numbers: Dict[MapName, List[NDArray[np.float64]]] = {name: [] for name in names}
    labelled = truth is not None or any(one.truth is not None for one in opened.samples.values())
    kind = TRUTH if labelled else DETECTION
    images = boxes = 0
    problems: List[str] = []
    for image in walk_objects(opened, layers, level, sample, min_iou=iou, truth=truth, executor=executor):
        rows = image.boxes.rows(kind)
        images, boxes = images + 1, boxes + rows.stop - rows.start
        problems += image.problems
        for name in names:
            if name in image.maps:
                one, hit = image.maps[name], image.partners[rows] >= 0
                numbers[name].append(np.stack([one.cells[rows], one.ratio[rows], one.auroc[rows], hit]))
    found = [_summary_of(name, np.concatenate([np.zeros((4, 0)), *numbers[name]], axis=1)) for name in names]
    return Summary(Rows(MapSummary._fields, found), kind, boxes, images=images, problems=tuple(dict.fromkeys(problems)))


def _summary_of(name: MapName, numbers: NDArray[np.float64]) -> MapSummary:
    cells, ratio, auroc, hit = numbers
    return MapSummary(
        str(name),
        objects=int((cells > 0).sum()),
        unresolved=int(((cells > 0) & (cells < 1)).sum()),
        ratio=_median(ratio),
        auroc=_median(auroc),
        ratio_found=_median(ratio[hit > 0]),
        ratio_missed=_median(ratio[hit == 0]),
    )


def _median(values: NDArray[np.float64]) -> Optional[float]:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


class WrittenObjects(NamedTuple):
    """What `write_objects` wrote."""

    images: int
    truths: int
    detections: int
    left_out: Tuple[str, ...]
    """Columns that the format has no place for."""
    problems: Tuple[str, ...]
    """Maps that could not be read."""


def write_objects(
    run: Union[Run, str, Path],
    path: Union[str, Path],
    layers: Sequence[str] = (),
    level: Optional[int] = None,
    sample: Optional[str] = None,
    *,
    features: bool = True,
    iou: float = MIN_IOU,
    truth: Optional[Mapping[str, Boxes]] = None,
    executor: Union[str, Executor] = serial,
) -> WrittenObjects:
    """Write the rows of `objects` to a .parquet, .csv, .jsonl or .json file, image by image.

    >>> write_objects("runs/fpn", "objects.csv", ["neck"]).truths
    2

    CSV has no lists, so it has no features; `WrittenObjects.left_out` names them.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    names = map_names(opened, layers, level)
    images = walk_objects(opened, layers, level, sample, min_iou=iou, truth=truth, executor=executor)
    counts = [0, 0, 0]
    problems: List[str] = []

    def watched() -> Iterator[ImageObjects]:
        for image in images:
            counts[0] += 1
            counts[1] += image.boxes.counts[0]
            counts[2] += image.boxes.counts[1]
            problems.extend(image.problems)
            yield image

    rows = object_rows(watched(), opened, names, features)
    left_out = write_rows(rows, path, row_type(names, features), column_types(names))
    return WrittenObjects(counts[0], counts[1], counts[2], left_out, tuple(dict.fromkeys(problems)))


def map_names(run: Run, layers: Sequence[str], level: Optional[int]) -> List[MapName]:
    """Return the maps that a table has columns for. Raises `UnknownNameError` for an unknown layer."""
    run.choose(layers=layers, level=level)
    rows = [row for row in run.contents() if row.stride and (level is None or row.level == level)]
    chosen = set(choose_names(list(dict.fromkeys(row.layer for row in rows)), layers).names)
    found = (MapName(row.layer, row.field, row.level or 0) for row in rows if row.layer in chosen)
    return list(dict.fromkeys(found))


def column_prefix(name: MapName) -> str:
    """Return the beginning of the names of a map's columns.

    >>> column_prefix(MapName("bbox_head_refine.0", "cls_scores", 2))
    'bbox_head_refine_0_cls_scores_2'
    """
    text = re.sub(r"\W", "_", "_".join([*filter(None, (name.layer, name.field)), str(name.level)]))
    return text if text[0].isalpha() else f"layer_{text.lstrip('_')}"


def row_type(names: Sequence[MapName], features: bool) -> Type[AnyRow]:
    """Return the named tuple of a table's rows."""
    columns = [*_OF_MAP, *([_FEATURES] if features else [])]
    own = [f"{column_prefix(name)}_{column}" for name in names for column in columns]
    return namedtuple("ObjectRow", [*ObjectRow._fields, *own])


def column_types(names: Sequence[MapName]) -> Dict[str, object]:
    """Return the annotation of each column."""
    types: Dict[str, object] = {name: ObjectRow.__annotations__[name] for name in ObjectRow._fields}
    for name in names:
        types.update((f"{column_prefix(name)}_{column}", kind) for column, kind in _TYPES.items())
        types[f"{column_prefix(name)}_{_FEATURES}"] = NDArray[np.float32]
    return types


def object_rows(images: Iterable[ImageObjects], run: Run, names: Sequence[MapName], features: bool) -> Iterator[AnyRow]:
    """Yield the rows of a table, image by image."""
    kind = row_type(names, features)
    classes = run.info.classes if run.info is not None else []
    for image in images:
        maps = [_map_columns(image.maps.get(name), sum(image.boxes.counts), features) for name in names]
        for place, row in enumerate(_rows_of_image(image, classes)):
            yield kind(*row, *(column[place] for columns in maps for column in columns))  # type: ignore[call-arg]


def _map_columns(pooled: Optional[Pooled], count: int, features: bool) -> List[Sequence[object]]:
    """Return the columns of one map, each with a value for each box."""
    if pooled is None:
        return [[None] * count] * (len(_OF_MAP) + features)
    there = pooled.cells > 0
    unresolved = [bool(small) if known else None for small, known in zip(pooled.cells < 1, there)]
    numbers = [pooled.cells, pooled.norm, pooled.inside, pooled.ring, pooled.ratio, pooled.auroc]
    cells, *others = ([_known(one) for one in column] for column in numbers)
    columns: List[Sequence[object]] = [cells, unresolved, *others]
    if features:
        columns.append([row if known else None for row, known in zip(pooled.features, there)])
    return columns


def _rows_of_image(image: ImageObjects, classes: Sequence[str]) -> Iterator[ObjectRow]:
    """Yield the first columns of the true boxes and the detections of an image."""
    boxes, sample = image.boxes, image.sample
    height, width = boxes.geometry.original if boxes.geometry is not None else (None, None)
    areas = boxes.areas
    in_input, coco, soda = boxes.input_areas(), coco_bins(areas), soda_bins(areas)
    for kind in (TRUTH, DETECTION):
        rows = boxes.rows(kind)
        for number, place in enumerate(range(rows.start, rows.stop)):
            sources = sample.sources[number] if kind == DETECTION and sample.sources else []
            label, match, overlap = int(boxes.labels[place]), int(image.partners[place]), image.overlaps[place]
            yield ObjectRow._make(
                [
                    *(sample.id, sample.path, width, height, kind, number),
                    class_name(classes, label),
                    _known(boxes.scores[place]),
                    boxes.ignored[place],
                    *boxes.corners[place].reshape(8).tolist(),
                    *(float(np.sqrt(areas[place])), float(np.sqrt(in_input[place])), coco[place], soda[place]),
                    *(match if match >= 0 else None, _known(overlap)),
                    *_source_columns(sources),
                ]
            )


def _known(value: np.floating) -> Optional[float]:
    """Return a number; None for NaN and infinity."""
    return float(value) if np.isfinite(value) else None


def _source_columns(sources: Sequence[Source]) -> Tuple[str, Optional[int], Optional[int], Optional[int]]:
    if len(sources) != 1:
        return "tie" if sources else "", None, None, None
    one = sources[0]
    return (one.kind, one.level, one.row, one.column) if one.kind == "cell" else (one.kind, None, None, None)

"""Measure the places of a head's cells from a run alone: detections lie around the cells that they come from."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import DefaultDict, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.boxes import corners_of
from featscope.arrays.frames import axes_of
from featscope.errors import FeatscopeError
from featscope.measuring.estimate import estimate
from featscope.records import Geometry, MapRecord, MeasuredPlace, Sample, Source
from featscope.store.globs import literal_glob
from featscope.store.maps import MapFile
from featscope.store.places import write_places
from featscope.store.reader import Run, open_run

Array = NDArray[np.float64]

_CHECKED = 60  # the number of detections whose score is searched in the maps
_ENOUGH = 0.9  # the share of them that must be found
_FEWEST = 3  # the least number of them that must be found


class Found(NamedTuple):
    """A detection with a single source."""

    image: int
    """Number of its sample."""

    batch: int
    sample: str
    source: Source
    label: int
    score: float

    centre: Tuple[float, float]
    """Centre of the box, (y, x) in pixels of the input."""


class _Proof(NamedTuple):
    """The maps that are proved to contain the raw outputs of a level of sources, and their stride."""

    records: List[MapRecord]
    stride: Tuple[float, float]


def keep_places_of_heads(folder: Path, samples: int = 100) -> None:
    """Measure the places of the heads in a newly captured run, by its first samples, and keep the precise ones.

    >>> keep_places_of_heads(Path("runs/s2anet"))                           # doctest: +SKIP

    Nothing is written if there is nothing to keep, for example if there are too few detections with a single source
    cell. Problems of the run are ignored here; `featscope check` reports them. If several ranks end one after the
    other, each of them measures what has been written until then.
    """
    with suppress(FeatscopeError):
        run = open_run(folder)
        found = measure_detections(run, samples)
        kept = {(place.layer, place.field, place.level): place for place in found if not place.refused}
        if kept and run.info is not None:
            write_places(folder, run.info.started, list({**run.places, **kept}.values()))


def measure_detections(run: Run, samples: Optional[int] = None) -> List[MeasuredPlace]:
    """Return the places of the maps of a run's heads, from its detections, without running the model.

    >>> measure_detections(open_run("runs/s2anet"))[0].offset               # doctest: +SKIP
    (0.1, 0.08)

    A layer is a head if its maps contain the scores of the detections at their source cells. Its cells then look at the
    centres of the boxes that they produce. samples: use at most this many samples.
    """
    found = list(detections_of(islice(run.samples.values(), samples)))
    places = []
    for level in sorted({one.source.level for one in found}):
        own = [one for one in found if one.source.level == level]
        for proof in _heads(run, own):
            stride = np.array(proof.stride)
            cells = np.array([(one.source.row, one.source.column) for one in own])
            offsets = np.array([one.centre for one in own]) / stride - cells
            seen = estimate(offsets, np.array([one.image for one in own]))
            for record in proof.records:
                places.append(
                    MeasuredPlace(
                        record.layer,
                        record.field,
                        level=record.level,
                        stride=proof.stride,
                        offset=seen.offset,
                        interval=seen.interval,
                        count=seen.number,
                        by="detections",
                        refused=seen.refused,
                    )
                )
    return places


def detections_of(samples: Iterable[Sample]) -> Iterator[Found]:
    """Yield the detections with a single source cell whose box is inside the image, because the edge cuts boxes off."""
    for number, sample in enumerate(samples):
        boxes, geometry = sample.predictions, sample.geometry
        if boxes is None or not boxes.boxes or not boxes.scores or (geometry is None and boxes.frame != "input"):
            continue
        height, width = geometry.original if geometry is not None and boxes.frame != "input" else (np.inf, np.inf)
        every = corners_of(boxes.form, boxes.boxes)
        for corners, label, score, sources in zip(every, boxes.labels, boxes.scores, sample.sources):
            inside = corners.min() > 0.5 and corners[:, 0].max() < width - 0.5 and corners[:, 1].max() < height - 0.5
            if len(sources) == 1 and sources[0].kind == "cell" and inside:
                yield Found(
                    number,
                    sample.batch,
                    sample=sample.id,
                    source=sources[0],
                    label=label,
                    score=score,
                    centre=_centre(corners, geometry if boxes.frame != "input" else None),
                )


def _centre(corners: Array, geometry: Optional[Geometry]) -> Tuple[float, float]:
    """The centre (y, x) of a box in pixels of the input. geometry: None if its corners are already in those."""
    x, y = corners.min(0) / 2 + corners.max(0) / 2
    if geometry is not None:
        rows, columns = axes_of(geometry)
        y, x = rows.to_input(y), columns.to_input(x)
    return float(y), float(x)


def _heads(run: Run, found: Sequence[Found]) -> List[_Proof]:
    """Find the layers whose maps contain the scores of these detections, all of one level, at their source cells."""
    checked = found[:_CHECKED]
    anchors = max(one.source.anchor for one in checked) + 1
    votes: DefaultDict[Tuple[str, int], DefaultDict[Tuple[str, int], int]] = defaultdict(lambda: defaultdict(int))
    records: Dict[Tuple[str, int], Dict[str, MapRecord]] = {}
    for sample in dict.fromkeys(one.sample for one in checked):
        here = [one for one in checked if one.sample == sample]
        for key, files in _levels(run, sample).items():
            for matches in _matches(files, here, anchors):
                for match in matches:
                    votes[key][match] += 1
            records.setdefault(key, {m.record.field: m.record for m in files if m.record is not None})
    proofs = []
    for key, counts in votes.items():
        (field, _), most = max(counts.items(), key=lambda item: item[1])
        if most < max(_FEWEST, _ENOUGH * len(checked)):
            continue
        own = records[key][field]
        same = [one for one in records[key].values() if one.shape[-2:] == own.shape[-2:] and one.stride == own.stride]
        if own.stride is not None:
            proofs.append(_Proof(same, own.stride))
    return proofs


def _levels(run: Run, sample: str) -> Dict[Tuple[str, int], List[MapFile]]:
    """The maps of a sample whose stride is known, by layer and level."""
    layers: DefaultDict[Tuple[str, int], List[MapFile]] = defaultdict(list)
    for map_file in run.select(sample=literal_glob(sample)):
        record = map_file.record
        if record is not None and map_file.is_map and len(record.shape) == 4 and record.stride is not None:
            layers[record.layer, record.level].append(map_file)
    return layers


def _matches(files: Sequence[MapFile], found: Sequence[Found], anchors: int) -> Iterator[List[Tuple[str, int]]]:
    """Yield for each detection of an image the (field, first channel) of the scores that contain its own."""
    arrays: Dict[str, NDArray[np.generic]] = {}
    tolerance = 2e-5
    for map_file in files:
        record = map_file.record
        if record is None or record.reduced or record.channels:
            continue
        name = found[0].sample
        row = record.samples.index(name) if name in record.samples else None
        try:
            array = map_file.load()
        except FeatscopeError:  # `featscope check` reports it
            continue
        if row is not None and row < len(array):
            arrays[record.field] = array[row]
            tolerance = max(tolerance, 2e-5 if record.dtype.endswith(("f4", "f8")) else 5e-3)
    for one in found:
        row, column = one.source.row, one.source.column
        cells = {
            field: array[:, row, column].astype(np.float64)
            for field, array in arrays.items()
            if row < array.shape[1] and column < array.shape[2]
        }
        matches = []
        for field, values in cells.items():
            step = len(values) // anchors
            for scores in _scores(values, cells, one.source.anchor):
                for channel in np.flatnonzero(np.abs(scores - one.score) < tolerance):
                    matches.append((field, int(channel) - one.source.anchor * step - one.label))
        yield list(dict.fromkeys(matches))


def _scores(values: Array, cells: Dict[str, Array], anchor: int) -> Iterator[Array]:
    """Yield the scores that a detector may compute from a cell: raw, sigmoid or softmax, also times an objectness."""
    yield values
    likely = _sigmoid(values)
    yield likely
    powers = np.exp(values - values.max())
    yield powers / powers.sum()
    for other in cells.values():
        if other is not values and anchor < len(other) < len(values):
            object_here = _sigmoid(other[anchor : anchor + 1])
            yield likely * object_here
            yield np.sqrt(likely * object_here)


def _sigmoid(values: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -60, 60))))

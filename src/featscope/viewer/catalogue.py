"""What the viewer can show of one run: its samples, its groups of maps, and the map of one sample."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Callable, Dict, List, Optional, Sequence, Tuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from featscope.arrays.tiles import strongest
from featscope.errors import BadArrayError, FeatscopeError, UnknownNameError, unknown_name
from featscope.records import Boxes, Sample
from featscope.render.bases import inside_of
from featscope.render.heat import AUTO, STYLES, HeatStyle
from featscope.render.looks import Look, look_of_folder
from featscope.store.contents import some_of
from featscope.store.feature_maps import FeatureMap, feature_map_of
from featscope.store.files import natural_key, read_npy_shape
from featscope.store.globs import choose_names
from featscope.store.index import Form
from featscope.store.maps import MapFile
from featscope.store.reader import Run
from featscope.store.sample_rows import SampleRow
from featscope.viewer.replies import Columns, GroupOut, LevelOut

Item = TypeVar("Item")

_LIKELY = re.compile(r"cls|class|score|logit", re.IGNORECASE)
STYLE = STYLES["featscope"]
"""How maps look unless a question says otherwise."""

_BY_HAND = re.compile(r"(.*?)_?layer_(\d+)")


class Catalogue:
    """A run as the page sees it: samples and groups have numbers, and a map is found by these.

    A folder of arrays without a manifest has samples too: the batch and image of `batch_0_layer_1.npy`, or else the
    name of the file.

    layers: globs of layers to show; all without any. sample: an id or a glob of samples to show. most:
    number of samples to show; 0 for all. before: the catalogue of the same run when it was smaller; what it has keeps
    its numbers, as the page still asks by these. Raises `UnknownNameError` if the run has none of that name.
    """

    def __init__(
        self,
        run: Run,
        layers: Sequence[str] = (),
        sample: Optional[str] = None,
        *,
        most: int = 0,
        before: Optional[Catalogue] = None,
    ) -> None:
        self.run = run
        # Several requests are answered at once, but an index is used by one thread at a time.
        self._lock = threading.RLock()
        self._looks: Dict[Tuple[str, HeatStyle], Look] = {}
        self._scores: Optional[int] = None
        self._columns = b""
        self._peaks: Dict[Tuple[int, int], Dict[int, Optional[NDArray[np.float64]]]] = {}
        self.problems: List[str] = [str(problem) for problem in run.problems]
        """What is wrong with the run's files."""
        if run.index is not None:
            self.groups = _groups_of_forms(run, run.index.forms())
            self.samples = run.index.sample_rows()
            self._files: Dict[Tuple[str, str, int], Tuple[MapFile, int]] = {}
        else:
            self.groups, self.samples, self._files = _by_names(run, self.problems)
        if layers:
            self._keep_layers(layers)
        if sample is not None:
            self._keep_samples(sample)
        if before is not None:
            self.groups = _in_order(self.groups, [group.folder for group in before.groups], lambda group: group.folder)
            self.samples = _in_order(self.samples, [row.name for row in before.samples], lambda row: row.name)
        self.total = len(self.samples)
        """Number of samples that could be shown; more than are if `most` limits them."""
        if most:
            self.samples = self.samples[:most]

    def _keep_layers(self, layers: Sequence[str]) -> None:
        known = list(dict.fromkeys(group.layer for group in self.groups))
        chosen = choose_names(known, layers)
        for pattern in chosen.missing:
            raise unknown_name("layer", pattern, known, f"featscope list {self.run.folder}")
        self.groups = [group for group in self.groups if group.layer in chosen.names]

    def _keep_samples(self, sample: str) -> None:
        kept = [row for row in self.samples if row.name == sample or fnmatchcase(row.name, sample)]
        if not kept:
            known = [row.name for row in self.samples]
            raise unknown_name("sample", sample, known, f"featscope list {self.run.folder}")
        self.samples = kept

    def columns(self) -> bytes:
        """Return all samples as the page reads them. They are kept, as 100,000 samples take 0.1 s."""
        with self._lock:
            if not self._columns:
                columns = zip(*self.samples) if self.samples else ([] for _ in Columns.__struct_fields__)
                self._columns = msgspec.json.encode(Columns(*map(list, columns)))
            return self._columns

    def group(self, number: int) -> GroupOut:
        """Return a group by its number."""
        return _at(self.groups, number, "layer")

    def row(self, number: int) -> SampleRow:
        """Return a sample's summary by its number."""
        return _at(self.samples, number, "sample")

    def sample(self, number: int) -> Sample:
        """Return a sample by its number."""
        name = self.row(number).name
        with self._lock:
            return self.run.samples[name] if self.run.index is not None else Sample(name)

    def truth_of(self, name: str) -> Optional[Boxes]:
        """Return the ground truth of a sample by its id; None if there is none."""
        with self._lock:
            found = self.run.samples.get(name)
        return found.truth if found is not None else None

    def find(self, sample: int, group: int, level: int) -> Optional[Tuple[MapFile, int]]:
        """Return the file of a sample's map and the map's index in it; None if there is no such map."""
        name, folder = self.row(sample).name, self.group(group).folder
        if self.run.index is None:
            return self._files.get((name, folder, level))
        with self._lock:
            found = self.run.index.map_of(name, folder, level)
        if found is None:
            return None
        return found, next(i for i, known in enumerate(found.samples) if known.id == name)

    def map_of(self, sample: int, group: int, level: int, plane: int = 0) -> FeatureMap:
        """Return the map of a sample. plane: which step of time or depth, if it has several.

        Raises `UnknownNameError` if the run does not have it, `BadArrayError` if it is not a map of the image.
        """
        found = self.find(sample, group, level)
        row, one = self.row(sample), self.group(group)
        what = " ".join(filter(None, [one.layer or one.folder, one.field, f"level {level}"]))
        if found is None:
            raise UnknownNameError(f"{row.name} has no map of {what}")
        if not found[0].is_map:
            raise BadArrayError(f"{what} is not a map of the image: its axes are {', '.join(_axes(found[0]))}")
        return feature_map_of(*found, plane=plane)

    def look(self, folder: str, style: HeatStyle) -> Look:
        """Return how the maps of a folder are drawn, as `featscope heat` decides it for this style."""
        if AUTO not in (style.reduce, style.range, style.colormap):
            return Look(style)
        if style.reduce.startswith("channel:"):
            # Every channel has the signs of the layer's values, which are read once.
            look = self.look(folder, replace(style, reduce="mean"))
            return replace(look, style=replace(look.style, reduce=style.reduce))
        key = folder, style
        with self._lock:
            if key not in self._looks:
                self._looks[key] = look_of_folder(self.run, folder, style)
            return self._looks[key]

    def score_shapes(self, sample: int) -> Dict[int, Tuple[int, int]]:
        """Return the rows and columns of each level of the head that gave a sample's detections.

        They are those of the maps in which the scores of the run's own detections stand. Empty if there are none.
        """
        group = self.score_group
        if group is None:
            return {}
        found = {}
        for level in self.groups[group].levels:
            there = self.find(sample, group, level.level)
            if there is not None:
                *_, rows, columns = shape_of(there[0])
                found[level.level] = (rows, columns)
        return found

    @property
    def score_group(self) -> Optional[int]:
        """The group that is proved to hold the scores of the run's detections; None if there is none."""
        if self._scores is None:
            self._scores = self._score_group()
        return self._scores if self._scores >= 0 else None

    def _score_group(self) -> int:
        """Return the group that is proved to hold the scores of the detections; -1 if there is none."""
        classes = len(self.run.info.classes) if self.run.info is not None else 0
        candidates = [
            number
            for number, group in enumerate(self.groups)
            if classes and any(level.channels % n == 0 for level in group.levels for n in (classes, classes + 1))
        ]
        # The proof reads maps, so likely names come first.
        for number in sorted(candidates, key=lambda n: not _LIKELY.search(self.groups[n].folder)):
            scores = self.look(self.groups[number].folder, STYLE).scores
            if scores is not None and scores.known == "detections":
                return number
        return -1

    def peaks(self, group: int, level: int, seconds: float) -> Tuple[Dict[int, NDArray[np.float64]], int]:
        """Return the value farthest from zero of each channel, {sample: (C,)}, and how many samples were looked at.

        Each call looks at more samples, for this many seconds, until all were looked at. Samples without such a map, or
        with a damaged one, have no values.
        """
        until = time.monotonic() + seconds
        with self._lock:
            known = self._peaks.setdefault((group, level), {})
            waiting = [sample for sample in range(len(self.samples)) if sample not in known]
        for sample in waiting:
            if time.monotonic() > until:
                break
            found: Optional[NDArray[np.float64]] = None
            with suppress(FeatscopeError):
                feature_map = self.map_of(sample, group, level)
                found = strongest(feature_map.array, inside_of(feature_map))
            with self._lock:
                known[sample] = found
        with self._lock:
            return {sample: values for sample, values in known.items() if values is not None}, len(known)

    def holds(self, sample: int) -> List[Tuple[int, int, MapFile]]:
        """Return which maps a sample has: the number of the group, the level, and the file."""
        found = []
        for number, group in enumerate(self.groups):
            for level in group.levels:
                there = self.find(sample, number, level.level)
                if there is not None:
                    found.append((number, level.level, there[0]))
        return found


def _in_order(rows: Sequence[Item], first: Sequence[str], name: Callable[[Item], str]) -> List[Item]:
    """Return rows with those of these names first, in their order; as they are if one of them is gone."""
    numbers = {one: number for number, one in enumerate(first)}
    if not numbers.keys() <= {name(row) for row in rows}:
        return list(rows)
    return sorted(rows, key=lambda row: numbers.get(name(row), len(numbers)))


def shape_of(map_file: MapFile) -> Tuple[int, ...]:
    """Return the shape of one image's map, (C, H, W) or (C, T, H, W), without reading the array."""
    record = map_file.record
    shape = tuple(record.shape) if record is not None and record.shape else read_npy_shape(map_file.path)
    shape = shape[1:] if len(shape) > 3 else shape
    return (1,) * (3 - len(shape)) + shape


def _axes(map_file: MapFile) -> Sequence[str]:
    return map_file.record.axes if map_file.record is not None else ()


def _at(rows: Sequence[Item], number: int, kind: str) -> Item:
    if not 0 <= number < len(rows):
        raise UnknownNameError(f"there is no {kind} number {number}; this run has {len(rows)}")
    return rows[number]


def _groups_of_forms(run: Run, every: Sequence[Form]) -> List[GroupOut]:
    groups: Dict[str, GroupOut] = {}
    forms: Dict[Tuple[str, int], List[Form]] = {}
    for form in every:
        groups.setdefault(form.folder, GroupOut(form.layer, form.field, form.folder))
        forms.setdefault((form.folder, form.level), []).append(form)
    for (folder, number), same in forms.items():
        channels = {form.shape.partition(" x ")[0] for form in same}
        group = groups[folder]
        measured = run.places.get((group.layer, group.field, number))
        place = "measured" if measured is not None and not measured.refused else same[0].place
        group.levels.append(
            LevelOut(
                number,
                some_of([form.shape for form in same]),
                channels=int(channels.pop() or 0) if len(channels) == 1 else 0,
                stride=some_of([form.stride for form in same]),
                place=place,
                maps=sum(form.maps for form in same),
            )
        )
    return list(groups.values())


def _by_names(
    run: Run, problems: List[str]
) -> Tuple[List[GroupOut], List[SampleRow], Dict[Tuple[str, str, int], Tuple[MapFile, int]]]:
    """Find samples, groups and maps in a folder that has no manifest. problems: takes what cannot be read."""
    groups: Dict[str, GroupOut] = {}
    names: Dict[str, None] = {}
    files: Dict[Tuple[str, str, int], Tuple[MapFile, int]] = {}
    shapes: Dict[Tuple[str, int], List[Tuple[int, ...]]] = {}
    for map_file in run.maps:
        try:
            count, shape = map_file.counts()[0], shape_of(map_file)
        except FeatscopeError as error:
            problems.append(str(error))
            continue
        match = _BY_HAND.fullmatch(map_file.path.stem)
        stem, level = (match[1] or "image", int(match[2])) if match else (map_file.path.stem, 0)
        groups.setdefault(map_file.folder, GroupOut(map_file.folder, "", map_file.folder))
        shapes.setdefault((map_file.folder, level), []).append(shape)
        for index in range(count):
            name = f"{stem} image {index}" if count > 1 else stem
            names.setdefault(name)
            files[name, map_file.folder, level] = map_file, index
    for (folder, level), found in sorted(shapes.items(), key=lambda item: item[0][1]):
        channels = {shape[0] for shape in found}
        texts = [" x ".join(map(str, shape)) for shape in found]
        one = channels.pop() if len(channels) == 1 else 0
        groups[folder].levels.append(LevelOut(level, some_of(texts), one, stride="", place="", maps=len(found)))
    rows = [
        SampleRow(name, None, None, score=None, smallest=None, classes=[], image=False)
        for name in sorted(names, key=natural_key)
    ]
    return list(groups.values()), rows, files

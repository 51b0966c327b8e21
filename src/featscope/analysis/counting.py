"""Walk the maps of a run once, on any executor, and sum each layer and level."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
from isal import isal_zlib

from featscope.arrays.basis import MOST_CHANNELS
from featscope.arrays.layer_sums import LayerSums
from featscope.arrays.reduce import EVERYWHERE, Floats, as_floats
from featscope.errors import BadArrayError, BadOptionError, FeatscopeError, first_line
from featscope.render.bases import inside_of
from featscope.scale.executor import Executor
from featscope.store.feature_maps import FeatureMap, feature_maps
from featscope.store.files import read_soon, size_text
from featscope.store.maps import MapFile

_MOST_BYTES = 4 << 30
"""The most memory that the covariances of all layers take together."""

_MOST_FILES = 256  # in a job
_INDEX_BITS = 20  # of the number of an image: its place in the batch of its file


class Group(NamedTuple):
    """What is summed together: the maps of one layer, field and level, with the same number of channels.

    Without a manifest it is a folder, and the level is None. reduced: how channels were reduced on capture.
    """

    folder: str
    layer: str
    field: str
    level: Optional[int]
    channels: int
    reduced: str

    @property
    def name(self) -> str:
        """The name of a basis for this group's maps, as in `featscope.render.bases.basis_key`."""
        return f"{self.layer}.{self.field}" if self.level is not None else self.folder


class Ways(NamedTuple):
    """How maps are summed."""

    examples: int
    """Number of images to remember for each channel."""

    most_cells: int
    """The most cells of an image in the histogram and the covariance; 0 for all."""

    covariance: bool


@dataclass
class Counted:
    """What was summed, and what was not."""

    groups: Dict[Group, LayerSums] = field(default_factory=dict)
    """The sums, in the order of the maps."""

    channels: Dict[Group, Tuple[int, ...]] = field(default_factory=dict)
    """The channels that were kept on capture; only of groups in which some were not."""

    no_maps: Dict[str, int] = field(default_factory=dict)
    """Folder -> number of its arrays that are not maps of the image."""

    chosen_apart: Set[Group] = field(default_factory=set)
    """Groups whose channels were chosen for each image apart, so that channel 3 is not the same one in all of them."""

    unplaced: Dict[Group, int] = field(default_factory=dict)
    """Number of maps of which it is unknown where the image lies on them; all their cells count."""

    errors: List[str] = field(default_factory=list)


class _Job(NamedTuple):
    """Some files of one group, each with its number among the chosen files."""

    group: Group
    files: List[Tuple[int, MapFile]]


def count_maps(
    maps: Sequence[MapFile], ways: Ways, executor: Executor, done: Callable[[], None], *, local: bool = True
) -> Counted:
    """Sum all maps. Memory does not grow with their number.

    done: called after each file. local: whether the files are read on this machine; they are then read ahead.

    The files of a job depend only on the run, so every executor gives the same sums.
    """
    counted = Counted()
    waiting: Dict[Group, List[Tuple[int, MapFile]]] = {}
    jobs = _jobs(maps, ways, counted, waiting, done=done)
    for job, result in executor(partial(_count, ways=ways), _read_ahead(jobs) if local else jobs):
        if isinstance(result, Exception):
            counted.errors.append(f"{job.files[0][1].path} and {len(job.files) - 1} more were not counted: {result}")
        else:
            _merge(counted, job.group, *result)
        for _ in job.files:
            done()
    counted.groups = {group: counted.groups[group] for group in waiting if group in counted.groups}
    return counted


def _merge(counted: Counted, group: Group, sums: LayerSums, unplaced: int, errors: List[str]) -> None:
    counted.errors += errors
    if group in counted.chosen_apart:
        return
    counted.unplaced[group] = counted.unplaced.get(group, 0) + unplaced
    if group not in counted.groups:
        counted.groups[group] = sums
        return
    with np.errstate(over="ignore", invalid="ignore"):  # as in `_count`
        counted.groups[group].merge(sums)


def image_of(number: int) -> Tuple[int, int]:
    """Return where the image with this number is: the number of its file among the chosen ones, its place in it."""
    return number >> _INDEX_BITS, number & ((1 << _INDEX_BITS) - 1)


def _jobs(
    maps: Sequence[MapFile],
    ways: Ways,
    counted: Counted,
    waiting: Dict[Group, List[Tuple[int, MapFile]]],
    *,
    done: Callable[[], None],
) -> Iterator[_Job]:
    """Put files of the same group together, so that the sums that a job returns are small beside what it reads.

    waiting: takes all groups, in the order of the maps, each with the files that wait for more.
    """
    sizes: Dict[Group, int] = {}
    most = max(1, min(_MOST_FILES, len(maps) // 16))
    for number, map_file in enumerate(maps):
        group = _group_of(map_file, counted)
        if group is None:
            done()
            continue
        if group not in waiting:
            waiting[group] = []
            _check_memory(waiting, ways)
        waiting[group].append((number, map_file))
        sizes[group] = sizes.get(group, 0) + _size(map_file)
        enough = 128 * group.channels**2 if ways.covariance else 0
        if len(waiting[group]) >= most or sizes[group] > max(enough, 1 << 24):
            yield _Job(group, waiting[group])
            waiting[group], sizes[group] = [], 0
    for group, files in waiting.items():
        if files and group not in counted.chosen_apart:
            yield _Job(group, files)


def _read_ahead(jobs: Iterator[_Job]) -> Iterator[_Job]:
    """Yield each job when the files of the next one are being read, so that the disk works while others are summed."""
    before: Optional[_Job] = None
    for job in jobs:
        for _, map_file in job.files:
            with suppress(FeatscopeError):  # a path that leads out of the run; reported when it is counted
                map_file.stay_inside()
                read_soon(map_file.path)
        if before is not None:
            yield before
        before = job
    if before is not None:
        yield before


def _group_of(map_file: MapFile, counted: Counted) -> Optional[Group]:
    """Return the group of a file; None, with a reason in `counted`, if it is not summed."""
    record = map_file.record
    if not map_file.is_map:
        counted.no_maps[map_file.folder] = counted.no_maps.get(map_file.folder, 0) + 1
        return None
    if record is None:
        try:
            return Group(map_file.folder, "", "", level=None, channels=map_file.channels(), reduced="")
        except FeatscopeError as error:
            counted.errors.append(str(error))
            return None
    shape = record.shape
    channels = shape[0] if len(shape) == 3 else shape[1] if len(shape) > 3 else 1
    group = Group(map_file.folder, record.layer, record.field, record.level, channels=channels, reduced=record.reduced)
    if record.channels:
        kept = {tuple(one) for one in record.channels} | {counted.channels.get(group, tuple(record.channels[0]))}
        counted.channels[group] = tuple(record.channels[0])
        if len(kept) > 1:
            counted.chosen_apart.add(group)
            counted.groups.pop(group, None)
    return None if group in counted.chosen_apart else group


def _check_memory(groups: Dict[Group, List[Tuple[int, MapFile]]], ways: Ways) -> None:
    taken = sum(8 * group.channels**2 for group in groups if group.channels <= MOST_CHANNELS)
    if ways.covariance and taken > _MOST_BYTES:
        raise BadOptionError(
            f"the covariances of these layers take more than {size_text(_MOST_BYTES)}; choose fewer layers (--layer "
            "'neck*'), or do without the effective rank and redundant groups: --no-covariance"
        )


def _size(map_file: MapFile) -> int:
    if map_file.record is not None:
        return map_file.record.bytes
    try:
        return map_file.path.stat().st_size
    except OSError:  # reported when the file is read
        return 0


def _count(job: _Job, ways: Ways) -> Tuple[LayerSums, int, List[str]]:
    """Sum the files of a job. Returns the sums, the number of maps whose place is unknown, and the errors."""
    sums = LayerSums(job.group.channels, ways.examples, ways.most_cells, ways.covariance)
    unplaced, errors = 0, []
    for number, map_file in job.files:
        try:
            for index, maps in groupby(feature_maps(map_file), key=lambda one: one.index):
                slices = list(maps)
                if len(slices[0].array) != job.group.channels:
                    raise BadArrayError(
                        f"{map_file.path} has {len(slices[0].array)} channels, but its record says {job.group.channels}"
                    )
                with np.errstate(over="ignore", invalid="ignore"):  # squares of doubles may be infinite
                    _add(sums, slices, number << _INDEX_BITS | index)
                unplaced += slices[0].sample is None or slices[0].sample.geometry is None
        except FeatscopeError as error:
            errors.append(str(error))
        except Exception as error:  # noqa: BLE001 (whatever happens, such as too little memory, count the other files)
            errors.append(f"{map_file.path} cannot be counted: {first_line(error)}")
    with np.errstate(over="ignore", invalid="ignore"):
        _ = sums.moments  # so that no cells travel to another process
    return sums, unplaced, errors


def _add(sums: LayerSums, slices: List[FeatureMap], image: int) -> None:
    """Add the map of one image; of a film or a volume all steps, as more cells of the same image."""
    inside = inside_of(slices[0])
    # The same cells of an image are chosen, whichever other maps are counted.
    seed = isal_zlib.crc32(slices[0].stem.encode())
    if len(slices) == 1:
        sums.add(as_floats(slices[0].array), image, inside, seed)
        return
    parts: List[Floats] = [as_floats(one.array)[(slice(None), *inside)] for one in slices]
    whole = slices[0].array.shape[1] * slices[0].array.shape[2]
    sums.padding += len(parts) * (whole - parts[0].shape[1] * parts[0].shape[2])
    sums.add(np.concatenate(parts, axis=1), image, EVERYWHERE, seed)

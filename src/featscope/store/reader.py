"""Reading a run, or any folder of subfolders of `.npy` files made by hand."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple, Type, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from featscope.errors import BadArrayError, BadRunError, FeatscopeError
from featscope.records import MapRecord, RunInfo, Sample
from featscope.store.files import inside, natural_key, read_npy
from featscope.store.writer import read_info

PICTURE_FOLDERS = ("render", "heat", "inputs")
"""Folders of a run that hold no maps."""

Record = TypeVar("Record", MapRecord, Sample)


@dataclass(frozen=True)
class MapFile:
    """One array on disk. `record` is None for a file that was made by hand."""

    path: Path
    folder: str
    record: Optional[MapRecord] = None
    samples: Tuple[Sample, ...] = ()

    def load(self) -> NDArray[np.generic]:
        """The array as a batch of feature maps (N, C, H, W).

        (C, H, W) and (H, W) become a batch of one. Raises `BadArrayError` for what is no feature map.
        """
        return as_batch(read_npy(self.path), str(self.path))


def as_batch(array: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    """View an array of 2, 3 or 4 dimensions as (N, C, H, W); `name` is for the error.

    >>> as_batch(np.zeros((3, 4)), "x").shape
    (1, 1, 3, 4)
    """
    if array.dtype.kind not in "fiub":
        raise BadArrayError(f"{name} holds {array.dtype}, which cannot be drawn; save real numbers")
    if array.ndim not in (2, 3, 4):
        raise BadArrayError(
            f"{name} has {array.ndim} dimensions, {array.shape}; a feature map has (N, C, H, W), (C, H, W) or (H, W)"
        )
    if 0 in array.shape:
        raise BadArrayError(f"{name} is empty: its shape is {array.shape}")
    return array.reshape((1,) * (4 - array.ndim) + array.shape)


@dataclass(frozen=True)
class Run:
    """A folder of maps, opened. `info` is None where there is no manifest.

    problems: lines of the manifest that are not believed, each as an error.
    """

    folder: Path
    maps: Tuple[MapFile, ...]
    info: Optional[RunInfo] = None
    samples: Dict[str, Sample] = field(default_factory=dict)
    problems: Tuple[FeatscopeError, ...] = ()


def open_run(folder: Path | str) -> Run:
    """Open a run, or any folder of subfolders of `.npy` files.

    >>> run = open_run("runs/s2anet")                                       # doctest: +SKIP
    >>> run.maps[0].folder, run.maps[0].load().shape                        # doctest: +SKIP
    ('backbone.resnet', (1, 256, 256, 248))

    Raises `BadRunError` where there is nothing to read. Single lines that are damaged go to
    `Run.problems`, the rest is read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        fact = "is no folder" if folder.exists() else "does not exist"
        raise BadRunError(f"{folder} {fact}; name a run, or a folder of subfolders of .npy files")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise BadRunError(f"{folder} cannot be read: permission denied; try: chmod -R u+rX {folder}")
    if (folder / "run.json").exists():
        return _open_manifests(folder)
    problems: List[FeatscopeError] = []
    maps = tuple(walk_arrays(folder, problems))
    if not maps and problems:
        raise problems[0]
    if not maps:
        raise BadRunError(f"{folder} holds no .npy file; name a folder of subfolders of .npy files")
    return Run(folder, maps, problems=tuple(problems))


def _open_manifests(folder: Path) -> Run:
    info = read_info(folder)
    problems: List[FeatscopeError] = []
    samples: Dict[str, Sample] = {}
    batches: Dict[int, List[Sample]] = {}
    maps: List[MapFile] = []
    for path in sorted(folder.glob("samples-*.jsonl")):
        for sample in read_lines(path, Sample, problems):
            samples[sample.id] = sample
            batches.setdefault(sample.batch, []).append(sample)
    for path in sorted(folder.glob("manifest-*.jsonl")):
        for record in read_lines(path, MapRecord, problems):
            try:
                file = inside(folder, record.path)
            except BadArrayError as error:
                problems.append(error)
                continue
            known = _samples_of(record, batches.get(record.batch, []), samples)
            maps.append(MapFile(file, record.path.rpartition("/")[0], record, known))
    maps.sort(key=lambda m: (natural_key(m.folder), natural_key(m.path.name)))
    return Run(folder, tuple(maps), info, samples, tuple(problems))


def _samples_of(record: MapRecord, batch: List[Sample], samples: Dict[str, Sample]) -> Tuple[Sample, ...]:
    """The samples of an array: by id within its batch, as an id may come twice in a run."""
    if not record.samples:
        return tuple(batch)
    here = {sample.id: sample for sample in batch}
    return tuple(here.get(name) or samples.get(name) or Sample(name) for name in record.samples)


def read_lines(path: Path, kind: Type[Record], problems: List[FeatscopeError]) -> Iterator[Record]:
    """Read the lines of a manifest. A last line without its end was cut off by a kill: it is ignored."""
    decoder = msgspec.json.Decoder(kind)
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                problems.append(BadRunError(f"{path} line {number} is damaged: {error}"))


def walk_arrays(root: Path, problems: List[FeatscopeError]) -> Iterator[MapFile]:
    """All `.npy` files below a folder in natural order, but for those among a run's pictures.

    Folders that cannot be read go to `problems`.
    """

    def unreadable(error: OSError) -> None:
        problems.append(BadRunError(f"{error.filename} cannot be read: {error.strerror}; try: chmod u+rx"))

    for current, folders, files in os.walk(root, onerror=unreadable):
        folders[:] = sorted(
            (f for f in folders if not (Path(current) == root and f in PICTURE_FOLDERS)), key=natural_key
        )
        for name in sorted(files, key=natural_key):
            if name.endswith(".npy"):
                path = Path(current) / name
                relative = path.parent.relative_to(root).as_posix()
                yield MapFile(path, "" if relative == "." else relative)

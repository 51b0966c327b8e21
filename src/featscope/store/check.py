"""Check that a run is complete: every array is present and unchanged, and every file has a record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, NamedTuple, Union

import numpy as np
from isal import isal_zlib

from featscope.errors import BadArrayError, FeatscopeError, first_line
from featscope.records import MapRecord, RunInfo
from featscope.store.candidates import read_candidates
from featscope.store.files import TEMPORARY, inside, open_file, read_npy_header, size_text
from featscope.store.maps import MapFile
from featscope.store.reader import Run, open_run, walk_arrays
from featscope.words import counted


class Report(NamedTuple):
    """The result of `check_run`: how much it read, and one line for each problem.

    >>> print(Report(120, 3_100_000_000, 12, [], Path("runs/s2anet")))
    runs/s2anet: 120 maps, 3.10 GB, 12 samples, whole
    """

    maps: int
    """Number of maps that were checked."""

    bytes: int
    """Their size in bytes."""

    samples: int
    """Number of samples."""

    problems: List[str]
    """One line for each problem."""

    folder: Path = Path()
    """The run."""

    @property
    def whole(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def __str__(self) -> str:
        state = "whole" if self.whole else "with problems"
        samples = counted(self.samples, "sample")
        return f"{self.folder}: {counted(self.maps, 'map')}, {size_text(self.bytes)}, {samples}, {state}"

    def __repr__(self) -> str:
        problems = f"; {counted(len(self.problems), 'problem')}: see .problems" if self.problems else ""
        return f"<Report of {self}{problems}>"


def check_run(run: Union[Run, str, Path]) -> Report:
    """Compare every array of a run with its record in the manifest, and list every problem: `featscope check RUN`.

    >>> report = featscope.check_run("runs/fpn")
    >>> report.whole, report.problems
    (True, [])

    run: its folder, or a run that is open.
    """
    run = run if isinstance(run, Run) else open_run(run)
    problems = [str(problem) for problem in run.problems]
    if run.info is None:
        return _check_bare(run)
    if not run.info.finished:
        problems.append(f"{run.folder} is unfinished: its capture was stopped or is still running")
    problems += [f"{run.folder} lacks {layer!r}: {why or 'it did not run'}" for layer, why in run.info.left_out.items()]
    size = _check_maps(run, run.info, problems)
    known = {map_file.path for map_file in run.maps}
    problems += [
        f"{one.path} has no line in the manifest; the capture may have been killed while writing it"
        for one in walk_arrays(run.folder, [])
        if one.path not in known
    ]
    _check_inputs(run, problems)
    _check_candidates(run, problems)
    problems += [f"{path} was never finished; it can be removed" for path in run.folder.rglob(f"*{TEMPORARY}")]
    return Report(len(run.maps), size, len(run.samples), problems, run.folder)


def _check_maps(run: Run, info: RunInfo, problems: List[str]) -> int:
    """Compare each map with its record, and find samples without a record; returns the size of the maps in bytes."""
    size, last_batch = 0, 0
    described, undescribed = set(run.samples), []
    for map_file in run.maps:
        if map_file.record is None:
            continue
        last_batch = max(last_batch, map_file.record.batch)
        try:
            size += _check_map(map_file, map_file.record)
        except BadArrayError as error:
            problems.append(str(error))
        for name in map_file.record.samples:
            if name not in described:
                undescribed.append((map_file.record.batch, f"{map_file.path}: its sample {name!r} has no record"))
    # An unfinished capture may have stopped before it described its last batch; that is not a problem of its own.
    running = last_batch - info.ranks if not info.finished else last_batch
    problems += [text for batch, text in undescribed if batch <= running]
    return size


def _check_inputs(run: Run, problems: List[str]) -> None:
    for sample in run.samples.values():
        try:
            if sample.input and not inside(run.folder, sample.input).is_file():
                problems.append(f"{run.folder / sample.input} is missing; it is the input of sample {sample.id!r}")
        except BadArrayError as error:
            problems.append(str(error))


def _check_candidates(run: Run, problems: List[str]) -> None:
    for sample in run.samples.values():
        try:
            read_candidates(run, sample)
        except FeatscopeError as error:
            problems.append(str(error))


def _check_bare(run: Run) -> Report:
    problems, size = [str(problem) for problem in run.problems], 0
    for map_file in run.maps:
        try:
            size += map_file.load().nbytes
        except BadArrayError as error:
            problems.append(str(error))
    return Report(len(run.maps), size, 0, problems, run.folder)


def _check_map(map_file: MapFile, record: MapRecord) -> int:
    path = map_file.path
    map_file.stay_inside()
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            shape, _, dtype = read_npy_header(file, size)
            if list(shape) != record.shape or dtype != np.dtype(record.dtype):
                raise BadArrayError(f"is {shape} {dtype}, but the manifest says {tuple(record.shape)} {record.dtype}")
            checksum = 0
            while chunk := file.read(1 << 20):
                checksum = isal_zlib.crc32(chunk, checksum)
    except OSError as error:
        raise BadArrayError(f"{path} cannot be read: {error.strerror}") from None
    except BadArrayError as error:
        raise BadArrayError(f"{path} {error}") from None
    except Exception as error:  # noqa: BLE001 (the dtype in the manifest may be any text)
        raise BadArrayError(f"{path} cannot be compared with its record: {first_line(error)}") from None
    if checksum != record.checksum:
        raise BadArrayError(f"{path} has changed since it was captured: its checksum differs")
    if record.scales_checksum is not None:
        map_file.load()
    return record.bytes

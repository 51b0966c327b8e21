"""`featscope stats`: against reading the same files, and with two processes against one."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import Callable, Iterator, List, Tuple

import numpy as np

import featscope
from benchmarks.measure import Row
from featscope.records import CapturedMap, Geometry, Place, RunInfo, Sample
from featscope.store.writer import RunWriter

IMAGES = 48
LEVELS = ((128, 124), (64, 62), (32, 31), (16, 16), (8, 8))
"""The neck of S2ANet on an image of 1024 x 962."""

CHANNELS = 256
_AXES = ("sample", "channel", "row", "column")


def rows(folder: Path) -> Iterator[Row]:
    """Time the neck of S2ANet: 256 channels, five levels, 48 images, 1 GB."""
    run = write_run(folder / "neck")
    files = sorted(run.glob("*/*.npy"))
    size = sum(file.stat().st_size for file in files)
    work = f"stats of {IMAGES} images of S2ANet's neck, {size / 1e9:.2f} GB"

    def read() -> None:
        for file in files:
            np.load(file)

    def count(executor: str = "serial", **more: object) -> Callable[[], object]:
        return lambda: featscope.statistics(run, executor=executor, **more)

    cold_read, cold = _medians(lambda: _forget(files), read, count())
    yield _row(f"{work}, from the disk (page cache dropped), against np.load of the same files", cold, cold_read, 0.5)
    warm_read, warm, exact = _medians(lambda: None, read, count(), count(most_cells=0))
    yield _row(f"{work}, page cache warm, against np.load of the same files", warm, warm_read, 0.05)
    yield _row(f"{work}, page cache warm, every cell in the covariance (--most-cells 0)", exact, warm_read, 0.01)
    count("processes:1")(), count("processes:2")()  # the server of processes starts once
    pairs = [_medians(lambda: None, count("processes:1"), count("processes:2"), times=1) for _ in range(5)]
    one, two = (statistics.median(side) for side in zip(*pairs))
    ratio = statistics.median(single / double for single, double in pairs)
    yield Row(f"{work}, 2 processes against 1", f"{two:.2f} s", f"{one:.2f} s", f"{ratio:.2f} x", "1.7 x", ratio >= 1.7)


def write_run(folder: Path) -> Path:
    """Write the run; as much of a map is padding as in the real one."""
    random = np.random.default_rng(0)
    arrays = [np.maximum(random.normal(size=(1, CHANNELS, *shape)), 0).astype(np.float32) for shape in LEVELS]
    writer = RunWriter(folder, RunInfo(model="S2ANet"))
    for batch in range(IMAGES):
        name = f"P{batch:04d}"
        writer.put_sample(Sample(name, batch=batch, geometry=Geometry((1182, 1111), (1024, 962), (1024, 992))), None)
        for level, array in enumerate(arrays):
            stride = 8.0 * 2**level
            place = Place((stride, stride), (stride / 2, stride / 2), "operators")
            writer.put(CapturedMap("neck", "FPN", "", level, 0, batch, [name], "neck.fpn", _AXES, place=place), array)
    writer.close()
    return folder


def _forget(files: List[Path]) -> None:
    """Drop the files from the page cache, so that they come from the disk."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _medians(before: Callable[[], None], *sides: Callable[[], object], times: int = 5) -> Tuple[float, ...]:
    """Return the median seconds of each side; they take turns. before: called before each measurement."""
    took: List[List[float]] = [[] for _ in sides]
    for _ in range(times):
        for side, found in zip(sides, took):
            before()
            start = time.perf_counter()
            side()
            found.append(time.perf_counter() - start)
    return tuple(map(statistics.median, took))


def _row(work: str, ours: float, reading: float, floor: float) -> Row:
    """Return a row that says at which share of the rate of reading ours works."""
    share = reading / ours
    return Row(work, f"{ours:.2f} s", f"{reading:.2f} s", f"{share:.2f} x", f"{floor:g} x", share >= floor)

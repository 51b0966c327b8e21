"""Estimate how many bytes a run takes, and which policy would make it fit on the disk."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.candidates import ImageCandidates
from featscope.capturing.ledger import Ledger
from featscope.errors import OutputError
from featscope.records import CapturedMap, Picture, Sample, Sink
from featscope.store.candidates import FOLDER, size_of
from featscope.store.files import size_text
from featscope.store.object_writer import ObjectWriter
from featscope.store.writer import RunWriter

_NO_ROOM = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@dataclass
class Footprint:
    """The size of some samples' maps. It is a sink that keeps only shapes and types.

    >>> footprint = Footprint()
    >>> footprint.put(CapturedMap("neck", "FPN", "", 0, 0, 0, [], "neck.fpn"), np.zeros((1, 256, 8, 8), np.float32))
    >>> footprint.bytes, footprint.under("uint8"), footprint.under("", "mean")
    (65536, 16384, 256)
    """

    maps: List[Tuple[str, Tuple[int, ...], np.dtype]] = field(default_factory=list)

    def put(self, captured: CapturedMap, array: NDArray[np.generic]) -> None:
        """Note one array's folder, shape and dtype."""
        captured.ready()
        self.add(captured, array)

    def add(self, captured: CapturedMap, array: NDArray[np.generic]) -> None:
        """Do the same without waiting for the array's values."""
        self.maps.append((captured.folder, array.shape, array.dtype))

    def add_candidates(self, candidates: ImageCandidates) -> None:
        """Note the size of a sample's candidates, which no policy makes smaller."""
        self.maps.append((FOLDER, (size_of(candidates),), np.dtype(np.uint8)))

    def put_sample(self, sample: Sample, picture: Optional[NDArray[np.uint8]] = None) -> None:
        """Ignore the sample, which needs hardly any space."""

    def close(self, finished: bool = True) -> None:
        """Do nothing."""

    @property
    def bytes(self) -> int:
        """Size of the arrays as they are."""
        return self.under("")

    def by_folder(self) -> Dict[str, Tuple[int, int]]:
        """Return folder -> (maps, bytes), in the order of arrival."""
        found: Dict[str, Tuple[int, int]] = {}
        for name, shape, dtype in self.maps:
            count, size = found.get(name, (0, 0))
            found[name] = count + 1, size + int(np.prod(shape)) * dtype.itemsize
        return found

    def under(self, dtype: str, reduce: str = "") -> int:
        """Return the size of the arrays if they were also converted to another dtype or reduced."""
        total = 0
        for _, shape, own in self.maps:
            count = int(np.prod(shape))
            if reduce and len(shape) == 4:
                count //= max(1, shape[1])
            wider = own.kind == "f" and dtype
            total += count * min(own.itemsize, {"float16": 2, "uint8": 1}.get(dtype, 99) if wider else 99)
        return total


class Room:
    """Checks whether a run fits on the disk, by the size of its first batch.

    sink: receives the maps. ledger: tells how many samples are still to come. Only a run in a folder, in a loop of
    known length, can be checked. If the disk fills up before the first batch ends, the error is raised at the end of
    the batch, because only then the size of the run is known.
    """

    def __init__(self, sink: Sink, ledger: Ledger) -> None:
        self._sink, self._ledger, self._footprint = sink, ledger, Footprint()
        whole = isinstance(sink, RunWriter) and not isinstance(sink, ObjectWriter)  # which stores no maps
        self._writer = sink if isinstance(sink, RunWriter) and whole and ledger.kept() is not None else None
        self._full: Optional[OutputError] = None

    def put(self, captured: CapturedMap, array: NDArray[np.generic]) -> None:
        """Pass a map to the sink."""
        if self._writer is not None:
            self._footprint.add(captured, array)
        with self._filling():
            self._sink.put(captured, array)

    def put_sample(
        self, sample: Sample, picture: Optional[Picture], candidates: Optional[ImageCandidates] = None
    ) -> None:
        """Pass a sample to the sink. Only a run in a folder takes candidates."""
        with self._filling():
            if candidates is None or not isinstance(self._sink, RunWriter):
                self._sink.put_sample(sample, picture)
                return
            if self._writer is not None:
                self._footprint.add_candidates(candidates)
            self._sink.put_sample(sample, picture, candidates)

    @contextmanager
    def _filling(self) -> Iterator[None]:
        try:
            yield
        except OutputError as error:
            if self._writer is None or error.errno not in _NO_ROOM:
                raise
            self._full = error

    def check(self, samples: int) -> None:
        """Check the rest of the run after the first batch, which had this many samples.

        Raises `OutputError` if the rest does not fit on the disk. A run that has just begun is deleted first.
        """
        writer = self._writer
        if writer is None or not self._footprint.maps:
            return
        self._writer = None
        new, waiting = not writer.stored, writer.waiting
        # The waiting bytes may already exceed the free space although the writer has not failed yet.
        full = self._full is not None or waiting > shutil.disk_usage(_existing(writer.folder)).free
        if new and full:
            writer.discard()
            waiting = 0
        try:
            left = self._ledger.left(0 if full else samples)
            refuse_what_does_not_fit(self._footprint, max(1, samples), left, _existing(writer.folder), waiting)
        except OutputError:
            if new and not full:
                writer.discard()
            raise
        if self._full is not None:
            raise self._full


def _existing(folder: Path) -> Path:
    """Return the folder or, if it was deleted, its nearest parent, which is on the same disk."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


def refuse_what_does_not_fit(footprint: Footprint, samples: int, left: int, folder: Path, waiting: int) -> None:
    """Raise `OutputError` if the disk does not have room for `left` more samples like the first ones.

    footprint: size of the first `samples`. waiting: bytes of these that are not on the disk yet.
    """

    def needed(size: int) -> int:
        return -(-size * left // samples)

    free = shutil.disk_usage(folder).free - waiting
    if needed(footprint.bytes) <= free:
        return
    hint = ""
    for dtype, reduce in (("float16", ""), ("uint8", ""), ("", "mean"), ("float16", "mean")):
        size = needed(footprint.under(dtype, reduce))
        if size <= 0.95 * free:
            policy = [f"{name}={value!r}" for name, value in (("dtype", dtype), ("reduce", reduce)) if value]
            hint = f"the policy {', '.join(policy)} reduces it to {size_text(size)}"
            break
    whole = needed(footprint.bytes)
    every = -(-whole // max(1, int(0.95 * free)))
    if every > left:
        hint = hint or "free the disk or choose another folder"
    else:
        hint = f"{hint}, or every={every} stores one sample in {every}" if hint else f"every={every} would fit"
    raise OutputError(
        28,
        f"the run would take {size_text(whole)} more, but {folder} has {size_text(max(0, free))} free; {hint}",
    )


def disk_rate(folder: Path, count: int = 64 << 20) -> float:
    """Measure how many bytes per second the disk of a folder writes, by writing and deleting `count` bytes."""
    data = np.random.default_rng(0).bytes(count)
    start = time.perf_counter()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            return count / (time.perf_counter() - start)
    except OSError as error:
        raise OutputError(error.errno, f"cannot write to {folder}: {error.strerror}; choose another with -o") from error

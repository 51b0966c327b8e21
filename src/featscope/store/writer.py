"""Write a run: in a thread of its own, through a queue of limited size, so that the model rarely waits for the disk."""

from __future__ import annotations

import io
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Callable, Deque, Dict, Iterator, List, Optional, Set, Tuple, Type

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featscope.arrays.candidates import ImageCandidates
from featscope.errors import BadRunError, FeatscopeError
from featscope.records import CapturedMap, MapRecord, RunInfo, Sample, Written
from featscope.store.candidates import FOLDER, size_of, write_candidates
from featscope.store.files import inside, make_folder, open_file, safe_name, scales_beside, write_atomic, write_npy
from featscope.store.lines import DAMAGED_JSON, LineFile, Record, encode, read_lines, refuse_other_format

QUEUE_BYTES = 256 << 20
"""The most bytes that may wait to be written. The model waits while the queue is full."""

_QUEUE_ITEMS = 1000  # small arrays take more memory than their bytes
_JPEG_QUALITY = 92
_MOST_DISCARDED = 10_000


def now() -> str:
    """Return the current time as ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class RunWriter:
    """A sink that stores everything it receives as a run.

    >>> import tempfile; from featscope.records import CapturedMap, RunInfo
    >>> folder = Path(tempfile.mkdtemp()) / "run"
    >>> writer = RunWriter(folder, RunInfo(model="demo"))
    >>> writer.put(CapturedMap("neck", "FPN", "", 0, 0, 0, [], "neck.fpn"), np.zeros((1, 2, 3, 3)))
    >>> writer.close(finished=True)
    >>> sorted(p.name for p in folder.iterdir())
    ['manifest-00000.jsonl', 'neck.fpn', 'run.json', 'samples-00000.jsonl']

    The run is locked from `begin`, or from the first call, until `close`. Calls return at once unless `queue_bytes` are
    waiting to be written. An error in the writing thread is raised by the next call. If several ranks write to the same
    folder, each has its own writer with its own files of lines; rank 0 writes run.json, the others rank-<n>.json.

    resume: continue the run in the folder, if it is the same run; `stored` then holds the batches that are already
    there, with the ids of their samples. `left_out`, `readings` and `truth_notes` are as in `RunInfo` and are written
    when the run is closed. Raises `BadRunError` if the folder already holds a run, if it holds a different run with
    `resume`, or if another process is writing to it.
    """

    def __init__(
        self, folder: Path | str, info: RunInfo, rank: int = 0, queue_bytes: int = QUEUE_BYTES, resume: bool = False
    ) -> None:
        self.folder = Path(folder)
        self.stored: Dict[int, List[str]] = {}
        self.left_out: Dict[str, str] = {}
        self.readings: Dict[str, str] = {}
        self.truth_notes: List[str] = []
        self.maps_written = 0
        self.bytes_written = 0
        self.samples_written = 0
        self.candidates_written = 0
        self._info = msgspec.structs.replace(info, started=info.started or now(), finished="")
        self._info_path = self.folder / info_name(rank)
        self._limit = queue_bytes
        self._queue: Deque[Callable[[], None]] = deque()
        self._sizes: Deque[int] = deque()
        self._waiting = 0
        self._state = threading.Condition()
        self._closing = False
        self._error: Optional[BaseException] = None
        self._folders: Set[str] = set()
        self._files: List[str] = []
        self._resume, self._begun = resume, False
        self._line_paths = [self.folder / f"{kind}-{rank:05d}.jsonl" for kind in ("manifest", "samples")]
        self._seen: Tuple[int, ...] = ()
        self._ends = (0, 0)
        make_folder(self.folder)
        if any(path.exists() for path in (*self._line_paths, self._info_path)):
            with self._opened() as lines:  # raise errors now, without changing anything
                for one in lines:
                    one.close()

    @contextmanager
    def _opened(self) -> Iterator[List[LineFile]]:
        """Open and lock the files of lines of a new run, or of one that can be continued. Close them after an error."""
        lines: List[LineFile] = []
        try:
            for path in self._line_paths:
                lines.append(LineFile(path))
            self._take_over(*lines)
            yield lines
        except BaseException:
            for one in lines:
                one.close()
            raise

    def begin(self) -> None:
        """Lock the run and start writing. The first array also does this; before, no file of the run exists."""
        if self._begun:
            return
        with self._opened() as lines:
            for one, end in zip(lines, self._ends):
                one.truncate(end)
            self._save_info()
        self._manifest, self._samples = lines
        self._begun = True
        self._checksums = ThreadPoolExecutor(1, "featscope-checksum")
        self._thread = threading.Thread(target=self._work, name="featscope-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of bytes that wait to be written."""
        return self._waiting

    @property
    def written(self) -> Written:
        """How much was written to the folder."""
        counts = self.maps_written, self.samples_written, self.bytes_written
        return Written(*counts, place=str(self.folder), candidates=self.candidates_written)

    def put(self, captured: CapturedMap, array: NDArray[np.generic]) -> None:
        """Queue one array to be written; it must not be changed afterwards."""
        self._enqueue(lambda: self._write_map(captured, array), array.nbytes)

    def put_sample(
        self,
        sample: Sample,
        picture: Optional[NDArray[np.uint8]] = None,
        candidates: Optional[ImageCandidates] = None,
    ) -> None:
        """Queue one sample, with its input as an (H, W, 3) RGB image and its candidates if available."""
        size = 0 if picture is None else picture.nbytes
        if candidates is not None:
            size += size_of(candidates)
        self._enqueue(lambda: self._write_sample(self._with_candidates(sample, candidates), picture), size)

    def close(self, finished: bool = True) -> None:
        """Write everything that waits, and mark the run as finished in run.json if `finished` is true."""
        self.begin()
        with self._state:
            if self._closing:
                return
            self._closing = True
            self._state.notify_all()
        self._thread.join()
        self._checksums.shutdown()
        self._manifest.close()
        self._samples.close()
        self._raise_error()
        if finished or self.left_out:
            self._info = msgspec.structs.replace(
                self._info,
                finished=now() if finished else "",
                left_out=self.left_out,
                readings={**self._info.readings, **self.readings},
                truth_notes=list(dict.fromkeys([*self._info.truth_notes, *self.truth_notes])),
            )
            self._save_info()

    def discard(self) -> None:
        """Delete everything that this writer wrote, for a run that just started."""
        with suppress(FeatscopeError):
            self.close(finished=False)
        for path in [*self._files, *(path.name for path in self._line_paths), self._info_path.name]:
            with suppress(OSError):
                (self.folder / path).unlink()
        for name in [*self._folders, "inputs", FOLDER, ""]:
            with suppress(OSError):
                (self.folder / name).rmdir()

    # The queue

    def _enqueue(self, job: Callable[[], None], size: int) -> None:
        self.begin()
        with self._state:
            # An array that is larger than the limit may still enter an empty queue.
            while self._error is None and (
                len(self._queue) >= _QUEUE_ITEMS or (self._waiting and self._waiting + size > self._limit)
            ):
                self._state.wait()
            if self._error is None and not self._closing:
                self._queue.append(job)
                self._sizes.append(size)
                self._waiting += size
                self._state.notify_all()
                return
        self._raise_error()
        raise BadRunError(f"the run {self.folder} is already closed; start another capture")

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while True:
            with self._state:
                while not self._queue and not self._closing:
                    self._state.wait()
                if not self._queue:
                    return
                job = self._queue.popleft()
            try:
                job()
            except BaseException as error:  # noqa: BLE001 (every error is passed to the main thread)
                with self._state:
                    self._error = error
                    self._queue.clear()
                    self._state.notify_all()
                return
            # Free the array before the next one may take its place in the queue.
            del job
            with self._state:
                self._waiting -= self._sizes.popleft()
                self._state.notify_all()

    # The files

    def _take_over(self, manifest: LineFile, described: LineFile) -> None:
        """Find where a run stopped; raise an error if the folder holds a run that must not be continued."""
        if self._seen == (manifest.size, described.size):
            return  # unchanged since the first check
        self._seen = (manifest.size, described.size)
        if not self._info_path.exists():
            if any(self._seen):
                raise BadRunError(
                    f"{self.folder} contains lines of a run but no {self._info_path.name}; choose another folder"
                )
            return
        if not self._resume:
            raise run_is_there(self.folder)
        old = read_info(self.folder, self._info_path.name)
        refuse_other_run(self.folder, old, self._info)
        self._info = msgspec.structs.replace(self._info, started=old.started, finished=old.finished)
        self._continue(manifest, described, bool(old.finished))

    def _continue(self, manifest: LineFile, described: LineFile, finished: bool) -> None:
        """Find the end of the last complete batch, and which batches are stored."""
        maps, map_end = _whole_lines(manifest.path, MapRecord)
        samples, sample_end = _whole_lines(described.path, Sample)
        # Lines are written in the order of the batches, so all batches before the last one are complete.
        last = max((batch for _, batch, _ in maps + samples), default=-1) + (1 if finished else 0)
        map_end = min((start for start, batch, _ in maps if batch >= last), default=map_end)
        sample_end = min((start for start, batch, _ in samples if batch >= last), default=sample_end)
        self._ends = map_end, sample_end
        named: Dict[int, List[str]] = {}
        for start, batch, ids in samples:
            if start < sample_end:
                named.setdefault(batch, []).extend(ids)
        self.stored.clear()
        self.stored.update((batch, ids) for start, batch, ids in maps if start < map_end)
        self.stored.update(named)

    def _save_info(self) -> None:
        text = msgspec.json.format(encode(self._info), indent=2)
        write_atomic(self._info_path, text + b"\n")

    def _write_map(self, captured: CapturedMap, array: NDArray[np.generic]) -> None:
        captured.ready()
        array = np.ascontiguousarray(array)
        path = f"{captured.folder}/batch_{captured.batch}_layer_{captured.level}.npy"
        if captured.folder not in self._folders:
            inside(self.folder, path)
            make_folder(self.folder / captured.folder)
            self._folders.add(captured.folder)
        scales_checksum = None
        if captured.scales is not None:  # written first, so that an array can be read as soon as it exists
            scales_path = scales_beside(self.folder / path)
            scales_checksum = write_npy(scales_path, np.ascontiguousarray(captured.scales), self._checksums)
            self._wrote(f"{captured.folder}/{scales_path.name}")
        checksum = write_npy(self.folder / path, array, self._checksums)
        self._wrote(path)
        place = captured.place
        record = MapRecord(
            path=path,
            layer=captured.layer,
            cls=captured.cls,
            field=captured.field,
            level=captured.level,
            call=captured.call,
            batch=captured.batch,
            samples=captured.samples,
            shape=list(array.shape),
            dtype=array.dtype.str,
            bytes=array.nbytes,
            checksum=checksum,
            axes=list(captured.axes),
            stride=place.stride if place is not None else None,
            first=place.first if place is not None else None,
            place=place.known if place is not None else "",
            reduced=captured.reduced,
            channels=[] if captured.channels is None else captured.channels.tolist(),
            scales_checksum=scales_checksum,
        )
        self._manifest.append(encode(record))
        self.maps_written += 1
        self.bytes_written += array.nbytes

    def _write_sample(self, sample: Sample, picture: Optional[NDArray[np.uint8]]) -> None:
        if picture is not None:
            make_folder(self.folder / "inputs")
            path = f"inputs/{safe_name(f'{sample.batch}_{sample.id}')}.jpg"
            jpeg = io.BytesIO()
            Image.fromarray(picture).save(jpeg, "JPEG", quality=_JPEG_QUALITY)
            write_atomic(self.folder / path, jpeg.getvalue())
            sample = msgspec.structs.replace(sample, input=path)
            self._wrote(path)
        self._samples.append(encode(sample))
        self.samples_written += 1

    def _with_candidates(self, sample: Sample, candidates: Optional[ImageCandidates]) -> Sample:
        """Write the candidates of a sample, and return the sample with the path of their file."""
        if candidates is None:
            return sample
        path = write_candidates(self.folder, f"{sample.batch}_{sample.id}", candidates)
        self._wrote(path)
        self.candidates_written += size_of(candidates)
        return msgspec.structs.replace(sample, candidates=path)

    def _wrote(self, path: str) -> None:
        # `discard` deletes these files. It is called after the first batch or never, so the list can be limited.
        if len(self._files) < _MOST_DISCARDED:
            self._files.append(path)


def run_is_there(folder: Path) -> BadRunError:
    """Return the error for a folder that already holds a run."""
    return BadRunError(
        f"{folder} holds a run already; resume it (--resume), choose another folder, or remove it: rm -r {folder}"
    )


def refuse_other_run(folder: Path, old: RunInfo, new: RunInfo) -> None:
    """Raise `BadRunError` that names the first difference, if a run cannot be continued with the new settings."""
    for name in ("model", "parameters", "layers", "names", "policy", "ranks", "classes", "checkpoint"):
        before, now_asked = getattr(old, name), getattr(new, name)
        if name == "checkpoint":  # the path of the same file may be written differently
            before, now_asked = Path(before).name, Path(now_asked).name
        if before != now_asked:
            raise BadRunError(
                f"{folder} cannot be resumed: its {name} is {_plain(before)}, but now it is {_plain(now_asked)}; "
                "use the same settings, or choose another folder"
            )


def _plain(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _whole_lines(path: Path, kind: Type[Record]) -> Tuple[List[Tuple[int, int, List[str]]], int]:
    """Return each complete line as (start, batch, sample ids), and the end of the last one."""
    lines, end = [], 0
    for start, length, record in read_lines(path, kind):
        if isinstance(record, BadRunError):
            raise BadRunError(f"{record}; a run with a damaged line cannot be resumed; start another run")
        lines.append((start, record.batch, record.samples if isinstance(record, MapRecord) else [record.id]))
        end = start + length
    return lines, end


def info_name(rank: int) -> str:
    """Return the name of the file that describes a rank's part of a run."""
    return "run.json" if rank == 0 else f"rank-{rank:05d}.json"


def read_info(folder: Path, name: str = "run.json") -> RunInfo:
    """Read run.json, or the corresponding file of another rank."""
    path = folder / name
    try:
        with open_file(path) as file:
            text = file.read()
        refuse_other_format(path, text)
        return msgspec.json.decode(text, type=RunInfo)
    except OSError as error:
        raise BadRunError(f"{path} cannot be read: {error.strerror}; give the folder of a run") from None
    except DAMAGED_JSON as error:
        raise BadRunError(f"{path} is damaged: {error}") from None

"""Writing a run: one thread, a queue bounded in bytes, each array visible only when whole."""

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

from featscope.errors import BadRunError, FeatscopeError
from featscope.records import CapturedMap, MapRecord, RunInfo, Sample, Written
from featscope.store.files import inside, make_folder, open_file, safe_name, scales_beside, write_atomic, write_npy
from featscope.store.lines import DAMAGED_JSON, LineFile, Record, encode, read_lines, refuse_other_format

QUEUE_BYTES = 256 << 20
"""Most bytes that wait to be written; the forward waits when they are reached."""

_QUEUE_ITEMS = 1000  # as small arrays weigh more than their bytes
_JPEG_QUALITY = 92
_MOST_DISCARDED = 10_000


def now() -> str:
    """The time, as ISO 8601 in UTC to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class RunWriter:
    """A sink that stores what it is given as a run.

    >>> import tempfile; from featscope.records import CapturedMap, RunInfo
    >>> folder = Path(tempfile.mkdtemp()) / "run"
    >>> writer = RunWriter(folder, RunInfo(model="demo"))
    >>> writer.put(CapturedMap("neck", "FPN", "", 0, 0, 0, [], "neck.fpn"), np.zeros((1, 2, 3, 3)))
    >>> writer.close(finished=True)
    >>> sorted(p.name for p in folder.iterdir())
    ['manifest-00000.jsonl', 'neck.fpn', 'run.json', 'samples-00000.jsonl']

    It is locked from `begin`, or the first call, to `close`. Calls return at once unless `queue_bytes` wait to be
    written. The first error of the writing thread is raised by the next call. With several ranks each has a writer of
    its own on the same folder: its lines, and its rank-<n>.json, but for rank 0's run.json.

    resume: go on with what is in the folder, if it is the same run; `stored` are the batches that are
    there, with the ids of their samples. `left_out`, `readings`: as in `RunInfo`; they are noted when
    the run is closed. Raises `BadRunError` where the folder holds a run already, or
    with `resume` another one, or while another process writes to it.
    """

    def __init__(
        self, folder: Path | str, info: RunInfo, rank: int = 0, queue_bytes: int = QUEUE_BYTES, resume: bool = False
    ) -> None:
        self.folder = Path(folder)
        self.stored: Dict[int, List[str]] = {}
        self.left_out: Dict[str, str] = {}
        self.readings: Dict[str, str] = {}
        self.maps_written = 0
        self.bytes_written = 0
        self.samples_written = 0
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
            with self._opened() as lines:  # what cannot be is refused now, and nothing is changed
                for one in lines:
                    one.close()

    @contextmanager
    def _opened(self) -> Iterator[List[LineFile]]:
        """The files of lines, locked, of a run that is new or can be continued; closed again after an error."""
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
        """Lock the run and begin to write it; the first array does so too. Before that nothing of it is there."""
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
        """Bytes that wait to be written."""
        return self._waiting

    @property
    def written(self) -> Written:
        """How much lies in the folder."""
        return Written(self.maps_written, self.samples_written, self.bytes_written, str(self.folder))

    def put(self, captured: CapturedMap, array: NDArray[np.generic]) -> None:
        """Queue one array to be written; it must not be changed afterwards."""
        self._enqueue(lambda: self._write_map(captured, array), array.nbytes)

    def put_sample(self, sample: Sample, picture: Optional[NDArray[np.uint8]] = None) -> None:
        """Queue one sample, with its input as (H, W, 3) RGB if at hand."""
        size = 0 if picture is None else picture.nbytes
        self._enqueue(lambda: self._write_sample(sample, picture), size)

    def close(self, finished: bool = True) -> None:
        """Write what waits, and say in run.json that the run is finished, if it is."""
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
            )
            self._save_info()

    def discard(self) -> None:
        """Take back a run that was just begun: all that this writer wrote."""
        with suppress(FeatscopeError):
            self.close(finished=False)
        for path in [*self._files, *(path.name for path in self._line_paths), self._info_path.name]:
            with suppress(OSError):
                (self.folder / path).unlink()
        for name in [*self._folders, "inputs", ""]:
            with suppress(OSError):
                (self.folder / name).rmdir()

    # The queue

    def _enqueue(self, job: Callable[[], None], size: int) -> None:
        self.begin()
        with self._state:
            # An array larger than the whole queue passes alone: the bound is then its own size.
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
        raise BadRunError(f"the run {self.folder} is closed; start another capture")

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
            except BaseException as error:  # noqa: BLE001 (handed to the main thread, whatever it is)
                with self._state:
                    self._error = error
                    self._queue.clear()
                    self._state.notify_all()
                return
            # The array must be gone before its room is given to the next one.
            del job
            with self._state:
                self._waiting -= self._sizes.popleft()
                self._state.notify_all()

    # The files

    def _take_over(self, manifest: LineFile, described: LineFile) -> None:
        """Refuse a folder that holds a run, or find where it stopped."""
        if self._seen == (manifest.size, described.size):
            return  # as it was when it was looked at first
        self._seen = (manifest.size, described.size)
        if not self._info_path.exists():
            if any(self._seen):
                raise BadRunError(
                    f"{self.folder} has lines of a run but no {self._info_path.name}; choose another folder"
                )
            return
        if not self._resume:
            raise run_is_there(self.folder)
        old = read_info(self.folder, self._info_path.name)
        refuse_other_run(self.folder, old, self._info)
        self._info = msgspec.structs.replace(self._info, started=old.started)
        maps, map_end = _whole_lines(manifest.path, MapRecord)
        samples, sample_end = _whole_lines(described.path, Sample)
        # Lines are written in the order of the batches: those before the last are whole.
        last = max((batch for _, batch, _ in maps + samples), default=-1) + (1 if old.finished else 0)
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
        if old.finished:
            self._info = msgspec.structs.replace(self._info, finished=old.finished)

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
        if captured.scales is not None:  # first, so that an array that is visible can be read
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

    def _wrote(self, path: str) -> None:
        # What `discard` may have to take back: it comes after the first batch or never.
        if len(self._files) < _MOST_DISCARDED:
            self._files.append(path)


def run_is_there(folder: Path) -> BadRunError:
    """The error of a folder that holds a run already."""
    return BadRunError(
        f"{folder} holds a run already; resume it (--resume), choose another folder, or remove it: rm -r {folder}"
    )


def refuse_other_run(folder: Path, old: RunInfo, new: RunInfo) -> None:
    """Raise `BadRunError` if a run cannot be continued as asked, with the first difference."""
    for name in ("model", "parameters", "layers", "names", "policy", "ranks", "classes", "checkpoint"):
        before, now_asked = getattr(old, name), getattr(new, name)
        if name == "checkpoint":  # the same file may be named from another folder
            before, now_asked = Path(before).name, Path(now_asked).name
        if before != now_asked:
            raise BadRunError(
                f"{folder} cannot be resumed: its {name} is {_plain(before)}, now it is {_plain(now_asked)}; "
                "ask for the same, or choose another folder"
            )


def _plain(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _whole_lines(path: Path, kind: Type[Record]) -> Tuple[List[Tuple[int, int, List[str]]], int]:
    """Each whole line as (start, batch, sample ids), and where the last one ends."""
    lines, end = [], 0
    for start, length, record in read_lines(path, kind):
        if isinstance(record, BadRunError):
            raise BadRunError(f"{record}; a run with a damaged line cannot be resumed, start another")
        lines.append((start, record.batch, record.samples if isinstance(record, MapRecord) else [record.id]))
        end = start + length
    return lines, end


def info_name(rank: int) -> str:
    """The file that says what a rank's part of a run is about."""
    return "run.json" if rank == 0 else f"rank-{rank:05d}.json"


def read_info(folder: Path, name: str = "run.json") -> RunInfo:
    """Read run.json, or the file of another rank."""
    path = folder / name
    try:
        with open_file(path) as file:
            text = file.read()
        refuse_other_format(path, text)
        return msgspec.json.decode(text, type=RunInfo)
    except OSError as error:
        raise BadRunError(f"{path} cannot be read: {error.strerror}; name the folder of a run") from None
    except DAMAGED_JSON as error:
        raise BadRunError(f"{path} is damaged: {error}") from None

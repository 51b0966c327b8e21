"""Writing a run: one thread, a queue bounded in bytes, each array visible only when whole."""

from __future__ import annotations

import io
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Callable, Deque, Optional, Set

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featscope.errors import BadRunError
from featscope.records import CapturedMap, MapRecord, RunInfo, Sample
from featscope.store.files import inside, make_folder, safe_name, write_atomic, write_npy

QUEUE_BYTES = 256 << 20
"""Most bytes that wait to be written; the forward waits when they are reached."""

_JPEG_QUALITY = 92


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

    Calls return at once unless `queue_bytes` wait to be written. The first error of the writing
    thread is raised by the next call. With several ranks each has a writer of its own on the same
    folder; rank 0 writes run.json.
    """

    def __init__(self, folder: Path | str, info: RunInfo, rank: int = 0, queue_bytes: int = QUEUE_BYTES) -> None:
        self.folder = Path(folder)
        self.rank = rank
        self.maps_written = 0
        self.bytes_written = 0
        self.samples_written = 0
        self._info = msgspec.structs.replace(info, started=info.started or now(), finished="")
        self._limit = queue_bytes
        self._queue: Deque[Callable[[], None]] = deque()
        self._sizes: Deque[int] = deque()
        self._waiting = 0
        self._state = threading.Condition()
        self._closing = False
        self._error: Optional[BaseException] = None
        self._known_folders: Set[str] = set()
        make_folder(self.folder)
        self._refuse_old_run()
        self._save_info()
        self._manifest = open(self.folder / f"manifest-{rank:05d}.jsonl", "ab", buffering=0)  # noqa: SIM115
        self._samples = open(self.folder / f"samples-{rank:05d}.jsonl", "ab", buffering=0)  # noqa: SIM115
        self._checksums = ThreadPoolExecutor(1, "featscope-checksum")
        self._thread = threading.Thread(target=self._work, name="featscope-writer", daemon=True)
        self._thread.start()

    def put(self, captured: CapturedMap, array: NDArray[np.generic]) -> None:
        """Queue one array to be written; it must not be changed afterwards."""
        self._enqueue(lambda: self._write_map(captured, array), array.nbytes)

    def put_sample(self, sample: Sample, picture: Optional[NDArray[np.uint8]] = None) -> None:
        """Queue one sample, with its input as (H, W, 3) RGB if at hand."""
        size = 0 if picture is None else picture.nbytes
        self._enqueue(lambda: self._write_sample(sample, picture), size)

    def close(self, finished: bool = True) -> None:
        """Write what waits, and say in run.json that the run is finished, if it is."""
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
        if finished:
            self._info = msgspec.structs.replace(self._info, finished=now())
            self._save_info()

    # The queue

    def _enqueue(self, job: Callable[[], None], size: int) -> None:
        with self._state:
            # An array larger than the whole queue passes alone: the bound is then its own size.
            while self._error is None and self._waiting and self._waiting + size > self._limit:
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

    def _refuse_old_run(self) -> None:
        old = sorted(self.folder.glob(f"manifest-{self.rank:05d}.jsonl"))
        if old:
            raise BadRunError(
                f"{self.folder} holds a run already; choose another folder, or remove it: rm -r {self.folder}"
            )

    def _save_info(self) -> None:
        if self.rank == 0:
            text = msgspec.json.format(msgspec.json.encode(self._info), indent=2)
            write_atomic(self.folder / "run.json", text + b"\n")

    def _write_map(self, captured: CapturedMap, array: NDArray[np.generic]) -> None:
        array = np.ascontiguousarray(array)
        path = f"{captured.folder}/batch_{captured.batch}_layer_{captured.level}.npy"
        if captured.folder not in self._known_folders:
            inside(self.folder, path)
            make_folder(self.folder / captured.folder)
            self._known_folders.add(captured.folder)
        checksum = write_npy(self.folder / path, array, self._checksums)
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
            stride=captured.stride,
        )
        self._manifest.write(msgspec.json.encode(record) + b"\n")
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
        self._samples.write(msgspec.json.encode(sample) + b"\n")
        self.samples_written += 1


def read_info(folder: Path) -> RunInfo:
    """Read run.json."""
    path = folder / "run.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunInfo)
    except OSError as error:
        raise BadRunError(f"{path} cannot be read: {error.strerror}; name the folder of a run") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRunError(f"{path} is damaged: {error}") from None

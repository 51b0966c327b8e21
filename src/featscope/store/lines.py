"""Files of JSON lines. One process appends, others may read, and a killed process leaves no damaged record."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Iterator, Tuple, Type, TypeVar, Union
from weakref import WeakSet

import msgspec

from featscope.errors import BadRunError, OutputError
from featscope.records import FORMAT, MapRecord, Sample
from featscope.store.files import BINARY, open_file, well_formed, write_all

Record = TypeVar("Record", MapRecord, Sample)

DAMAGED_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The errors that msgspec raises for text that is not a valid record."""


def encode(record: msgspec.Struct) -> bytes:
    """Encode a record as JSON. Names that JSON cannot represent are escaped (`well_formed`)."""
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:
        return msgspec.json.encode(_well_formed(msgspec.to_builtins(record)))


def _well_formed(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {well_formed(key): _well_formed(one) for key, one in value.items()}
    return [_well_formed(one) for one in value] if isinstance(value, (list, tuple)) else value


class _Format(msgspec.Struct):
    format: int = FORMAT


def refuse_other_format(path: Path, text: bytes) -> None:
    """Raise `BadRunError` for a file that another version of featscope wrote in another format."""
    found = msgspec.json.decode(text, type=_Format).format
    if found != FORMAT:
        raise BadRunError(
            f"{path} has format {found}, but this version of featscope reads format {FORMAT}; "
            "update it: pip install -U featscope"
        )


class LineFile:
    """A file of lines that one process appends to. If a line cannot be written completely, none of it stays.

    >>> import tempfile; path = Path(tempfile.mkdtemp()) / "lines"
    >>> lines = LineFile(path); lines.append(b"one"); lines.close(); path.read_bytes()
    b'one\\n'

    The file is locked while it is open. The operating system releases the lock when the process ends for any reason.
    Raises `BadRunError` if another process holds the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY, 0o666)
        except OSError as error:
            raise OutputError(error.errno, f"cannot write {path}: {error.strerror}; choose another folder") from error
        try:
            _lock(self._descriptor)
        except OSError:
            os.close(self._descriptor)
            raise BadRunError(
                f"another capture is writing to {path.parent} now; wait until it ends, or choose another folder"
            ) from None
        self.size = os.fstat(self._descriptor).st_size
        self._owner = os.getpid()
        _OPEN.add(self)

    def truncate(self, size: int) -> None:
        """Cut the file off after the first `size` bytes."""
        os.ftruncate(self._descriptor, size)
        self.size = size

    def append(self, line: bytes) -> None:
        """Append a line. If the disk fails in the middle of it, the part that was written is removed."""
        try:
            write_all(self._descriptor, line + b"\n")
        except OSError as error:
            with suppress(OSError):
                self.truncate(self.size)
            raise OutputError(
                error.errno, f"cannot write {self.path}: {error.strerror}; free the disk or choose another folder"
            ) from error
        self.size += len(line) + 1
        if not os.fstat(self._descriptor).st_nlink:
            raise OutputError(2, f"{self.path} was deleted while the run was being written; start the capture again")

    def close(self) -> None:
        """Close the file and release the lock."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        # A forked process shares the lock until it has closed the file too, so closing it here may not be enough. The
        # forked process itself must not release the lock of its parent.
        if self._owner == os.getpid():
            _unlock(descriptor)
        os.close(descriptor)


_OPEN: WeakSet[LineFile] = WeakSet()


def _close_in_child() -> None:
    """Close the files in a forked process, for example of a data loader: it would keep the lock of its parent alive."""
    for lines in list(_OPEN):
        lines.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def _lock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows locks bytes, so lock one far after the end of the file
        import msvcrt

        os.lseek(descriptor, 1 << 40, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        # Some network file systems do not support locks. Capturing without a lock is better than not capturing.


def _unlock(descriptor: int) -> None:
    with suppress(ImportError, OSError):  # Windows releases a lock with the file
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)


def read_lines(path: Path, kind: Type[Record]) -> Iterator[Tuple[int, int, Union[Record, BadRunError]]]:
    """Yield every line of a file as (start, length in bytes, record), with an error in place of a damaged record.

    If the last line has no line end, a killed process did not finish it, and it is left out.
    """
    decoder, start = msgspec.json.Decoder(kind), 0
    try:
        with open_file(path) as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield start, len(line), decoder.decode(line)
                except DAMAGED_JSON as error:
                    yield start, len(line), BadRunError(f"{path} line {number} is damaged: {error}")
                start += len(line)
    except OSError as error:
        raise BadRunError(f"{path} cannot be read: {error.strerror}") from None

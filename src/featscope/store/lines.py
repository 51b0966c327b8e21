"""Files of JSON lines: appended to by one process, read by many, whole after a kill."""

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
"""What msgspec raises for text that is no record."""


def encode(record: msgspec.Struct) -> bytes:
    """A record as JSON. Names that are no text, for which JSON has no form, are made so (`well_formed`)."""
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
    """Raise `BadRunError` for a file of a run that another version of featscope wrote in another format."""
    found = msgspec.json.decode(text, type=_Format).format
    if found != FORMAT:
        raise BadRunError(
            f"{path} has the format {found}, this featscope reads the format {FORMAT}; "
            "update it: pip install -U featscope"
        )


class LineFile:
    """A file of lines that one process at a time appends to; a line is written whole or taken back.

    >>> import tempfile; path = Path(tempfile.mkdtemp()) / "lines"
    >>> lines = LineFile(path); lines.append(b"one"); lines.close(); path.read_bytes()
    b'one\\n'

    The file is locked while it is open: the lock is the process's own and ends with it, however it ends.
    Raises `BadRunError` where another process holds it.
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
                f"another capture is writing to {path.parent} now; wait for its end, or choose another folder"
            ) from None
        self.size = os.fstat(self._descriptor).st_size
        _OPEN.add(self)

    def truncate(self, size: int) -> None:
        """Drop all behind the first `size` bytes."""
        os.ftruncate(self._descriptor, size)
        self.size = size

    def append(self, line: bytes) -> None:
        """Write a line; a disk that fails in the middle of it leaves none of it."""
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
            raise OutputError(2, f"{self.path} was deleted while the run was written; start the capture again")

    def close(self) -> None:
        """Close the file, and give the lock back."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


_OPEN: WeakSet[LineFile] = WeakSet()


def _close_in_child() -> None:
    """A process that was forked, as by a data loader, would hold the lock after its parent gave it back."""
    for lines in list(_OPEN):
        lines.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def _lock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows, where a byte far behind the end stands for the file
        import msvcrt

        os.lseek(descriptor, 1 << 40, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        # Some network file systems know no locks: better no guard than no run.


def read_lines(path: Path, kind: Type[Record]) -> Iterator[Tuple[int, int, Union[Record, BadRunError]]]:
    """Every line of a file as (start, length in bytes, record); an error in place of a damaged record.

    A last line without its end was cut off by a kill: it is left out.
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

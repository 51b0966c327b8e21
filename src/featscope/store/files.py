"""Safe file access: names that stay inside their folder, atomic writes, and `.npy` files without pickle."""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import stat
import threading
import warnings
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Dict, Iterator, List, Mapping, Tuple

import numpy as np
from isal import isal_zlib
from numpy.lib import format as npy
from numpy.typing import NDArray

from featscope.errors import BadArrayError, BadOptionError, OutputError, first_line

TEMPORARY = ".part"
"""Suffix of a file while it is being written. A killed process may leave one behind; it can be ignored."""

BINARY = getattr(os, "O_BINARY", 0)
"""Needed on Windows, which would convert line endings otherwise."""

_PARSING = threading.Lock()
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # fail on a FIFO with this name instead of waiting for it
_UNSAFE = re.compile(r'[/\\\x00-\x1f\x7f<>:"|?*%\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[\d¹²³]|lpt[\d¹²³])(\..*)?", re.IGNORECASE)
PICTURE_FOLDERS = ("render", "heat", "explain", "inputs", "candidates")
"""Folders of a run that do not contain maps."""

_OURS = re.compile(r"render|heat|explain|inputs|candidates|.*\.(json|jsonl|sqlite)", re.IGNORECASE)
_LONGEST_NAME = 200
_WORTH_A_THREAD = 1 << 20  # bytes; checksums of smaller arrays are computed in the same thread


def safe_name(name: str) -> str:
    """Turn any text into a file name: unsafe characters become %XX, as in a URL.

    >>> safe_name("branch/1.conv"), safe_name("船 1")
    ('branch%2F1.conv', '船 1')
    """
    text = _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", name)
    # Escape names with a special meaning: hidden files, the parent folder, devices and the empty name.
    if text[:1] in ("", ".", " ") or _RESERVED.fullmatch(text):
        text = f"%{ord(text[0]):02X}{text[1:]}" if text else "%"
    if text[-1] in ". ":
        text = f"{text[:-1]}%{ord(text[-1]):02X}"
    if len(text.encode()) > _LONGEST_NAME:
        tail = f"~{isal_zlib.crc32(name.encode()):08x}"
        text = text.encode()[: _LONGEST_NAME - len(tail)].decode(errors="ignore") + tail
    return text


def well_formed(name: str) -> str:
    """Return a file name as text that can be encoded.

    The bytes of a file name may not be valid in any encoding. Python keeps such bytes as surrogates, which JSON and
    UTF-8 cannot represent; they are escaped here.

    >>> well_formed(os.fsdecode(b"harbour \\xe4.png")) == "harbour \\\\udce4.png"
    True
    """
    return name.encode(errors="backslashreplace").decode()


def check_folder_name(name: str) -> str:
    """Return a folder name given by the user if it is valid; otherwise raise `BadOptionError`."""
    if name != safe_name(name):
        raise BadOptionError(
            f"{name!r} cannot name a folder of a run; avoid / \\ : and names such as '..', "
            f"for example {safe_name(name)!r}"
        )
    if is_ours(name):
        raise BadOptionError(
            f"{name!r} cannot name the folder of a layer, because featscope uses this name for something else; "
            f"for example {name + '.maps'!r}"
        )
    return name


def is_ours(name: str) -> bool:
    """Whether featscope uses this name in a run for something other than a layer; case is ignored, as on some disks.

    >>> is_ours("Heat"), is_ours("run.json"), is_ours("heat.conv2d")
    (True, True, False)
    """
    return _OURS.fullmatch(name) is not None


def refuse_shared(names: Mapping[str, str], what: str, where: str) -> None:
    """Raise `BadOptionError` if two layers or tensors would share a folder, or if their folders differ only by case."""
    seen: Dict[str, str] = {}
    for name in names.values():
        first = seen.setdefault(name.casefold(), name)
        if first == name and list(names.values()).count(name) > 1:
            raise BadOptionError(f"two {what} cannot share the folder {name!r}; change {where}")
        if first != name:
            raise BadOptionError(
                f"the folders {first!r} and {name!r} differ only by case, and are one on some disks; change {where}"
            )


def inside(root: Path, relative: str) -> Path:
    """Return the path of a record's file; refuse one that leads out of the run, including through a link."""
    path = root / relative
    try:
        leads_out = "\x00" in relative or root.resolve() not in path.resolve().parents
        path.exists()
    except (OSError, ValueError, RuntimeError):  # a NUL, an invalid name, or circular links
        leads_out = True
    if leads_out:
        raise BadArrayError(f"{relative[:200]!r} leads out of the run {root}; the record is ignored")
    return path


@contextmanager
def whole_file(path: Path, shared: bool = False) -> Iterator[int]:
    """Open a temporary file that is renamed to `path` at the end of the block, or removed after an error.

    Yields its descriptor. shared: as in `write_atomic`.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{TEMPORARY}" if shared else path.name + TEMPORARY)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | BINARY | _AT_ONCE, 0o666)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        raise OutputError(
            error.errno, f"cannot write {path}: {error.strerror}; free the disk or choose another folder"
        ) from error


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading.

    Anything that is not a regular file raises `OSError`: a FIFO would block, and a device may never end.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file but a folder, a FIFO, a socket or a device")
    return open(path, "rb")


def read_soon(path: Path) -> None:
    """Let the system read a file into memory while other work goes on. Does nothing where that is impossible."""
    if not hasattr(os, "posix_fadvise"):  # not on macOS and Windows
        return
    with suppress(OSError), open_file(path) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def write_all(descriptor: int, data: bytes | memoryview[int]) -> None:
    """Write all bytes, in as many system calls as necessary."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_atomic(path: Path, data: bytes, shared: bool = False) -> None:
    """Write a file under a temporary name and then rename it, so that readers see all of it or nothing.

    shared: other processes may write the same file at the same time; the last one to finish wins.
    """
    with whole_file(path, shared) as descriptor:
        write_all(descriptor, data)


def write_npy(path: Path, array: NDArray[np.generic], pool: Executor) -> int:
    """Write a C-ordered array as a `.npy` file, atomically, and return the CRC-32 of its bytes.

    The checksum of a large array is computed in `pool` while the bytes are written, since both release the GIL. For a
    small array, handing the work to another thread would take longer than the checksum.
    """
    data = array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")
    large = len(data) >= _WORTH_A_THREAD
    checksum = pool.submit(isal_zlib.crc32, data) if large else None
    with whole_file(path) as descriptor:
        write_all(descriptor, npy_header(array))
        write_all(descriptor, data)
    return checksum.result() if checksum is not None else isal_zlib.crc32(data)


def scales_beside(path: Path) -> Path:
    """Return the path of the file that holds the scales of an array of 8-bit codes."""
    return path.with_suffix(".scales")


def make_folder(path: Path) -> None:
    """Make a folder and its parents. Raises `OutputError` if that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            error.errno, f"cannot make the folder {path}: {error.strerror}; choose another with -o"
        ) from error


def npy_header(array: NDArray[np.generic]) -> bytes:
    """Return the `.npy` header of a C-ordered array."""
    out = io.BytesIO()
    npy.write_array_header_1_0(out, npy.header_data_from_array_1_0(array))
    return out.getvalue()


def read_npy_header(file: BinaryIO, size: int) -> Tuple[Tuple[int, ...], bool, np.dtype]:
    """Read the header of a `.npy` file: its shape, whether it is in Fortran order, and its dtype.

    The file is left at the start of its data. Nothing is unpickled, and nothing is allocated before the header is known
    to match the size of the file.
    """
    try:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"version {version} of the format is unknown")
        # A damaged length must not cause a huge allocation, so it is compared with the size of the file first.
        field = file.read(2 if version == (1, 0) else 4)
        length = int.from_bytes(field, "little")
        if length > size - file.tell():
            raise ValueError(f"its header claims {length} bytes, but the file has only {size}")
        header = io.BytesIO(field + file.read(length))
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        # One thread at a time: Python 3.11 parses two headers at once wrongly now and then ("AST constructor recursion
        # depth mismatch"), and the filters of warnings belong to all threads.
        with _PARSING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns about files written by Python 2, but reads them
            shape, fortran, dtype = read_header(header)
    except Exception as error:  # noqa: BLE001 (NumPy raises a dozen kinds of errors for damaged headers)
        raise BadArrayError(f"is not a .npy file: {(str(error).splitlines() or [''])[0][:200]}") from None
    _check_header(shape, dtype, size - file.tell())
    return shape, fortran, dtype


def _check_header(shape: Tuple[int, ...], dtype: np.dtype, size: int) -> None:
    """Raise `BadArrayError` for a header that does not match the data behind it. size: of the data, in bytes."""
    if dtype.hasobject:
        raise BadArrayError(
            "holds Python objects, which are never unpickled; save numbers: numpy.save(path, array.astype('float32'))"
        )
    if not dtype.itemsize:
        raise BadArrayError(f"holds values of type {dtype}, which take no bytes; save real numbers")
    count = 1
    for length in shape:
        if type(length) is not int or length < 0:  # bool is a subclass of int
            raise BadArrayError(f"has the impossible shape {shape}")
        count *= length
    expected = count * dtype.itemsize
    if expected != size:
        raise BadArrayError(
            f"is {'truncated' if expected > size else 'too long'}: {shape} {dtype} takes "
            f"{expected} bytes, but the file has {size}; write it again"
        )


def read_npy_shape(path: Path) -> Tuple[int, ...]:
    """Return the shape of a `.npy` file from its header. Errors name the file."""
    try:
        with open_file(path) as file:
            return read_npy_header(file, os.fstat(file.fileno()).st_size)[0]
    except BadArrayError as error:
        raise BadArrayError(f"{path} {error}") from None
    except OSError as error:
        raise BadArrayError(f"{path} cannot be read: {error.strerror}") from None


def read_npy(path: Path) -> NDArray[np.generic]:
    """Read a `.npy` file of numbers as a C-ordered array. Errors name the file."""
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise BadArrayError("is empty; write it again")
            shape, fortran, dtype = read_npy_header(file, size)
            array = np.fromfile(file, dtype)
        if fortran:
            return np.ascontiguousarray(array.reshape(shape[::-1]).T)
        return array.reshape(shape)
    except BadArrayError as error:
        raise BadArrayError(f"{path} {error}") from None
    except OSError as error:
        raise BadArrayError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # noqa: BLE001 (NumPy raises various errors for impossible shapes and dtypes)
        raise BadArrayError(f"{path} cannot be read: {first_line(error)}") from None


def size_text(count: int) -> str:
    """Format a number of bytes for people.

    >>> size_text(152_000_000), size_text(2_230_000_000)
    ('152.0 MB', '2.23 GB')
    """
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


_NUMBERS = re.compile(r"(\d+)")


def natural_key(text: str) -> List[Tuple[int, int, str]]:
    """Return a sort key that puts layer2 before layer10.

    >>> sorted(["layer10", "layer2"], key=natural_key)
    ['layer2', 'layer10']
    """
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in _NUMBERS.split(text)]

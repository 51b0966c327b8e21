"""Write PNG files, with a palette or in true colour, compressed with ISA-L; and read the text in them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Dict, Mapping, Optional

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from featscope.store.files import open_file

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2  # the number of the filter Up
_HEAD = 8192  # bytes at the start of a file, which contain the text


def encode_indexed(
    indices: NDArray[np.uint8], palette: NDArray[np.uint8], text: Optional[Mapping[str, str]] = None
) -> bytes:
    """Encode indices (H, W) and their colours (256, 3) as a palette PNG.

    >>> encode_indexed(np.zeros((2, 2), np.uint8), np.zeros((256, 3), np.uint8))[:4]
    b'\\x89PNG'
    """
    height, width = indices.shape
    return _file(width, height, colour_type=3, palette=_chunk(b"PLTE", palette.tobytes()), rows=indices, text=text)


def encode_rgb(image: NDArray[np.uint8], text: Optional[Mapping[str, str]] = None) -> bytes:
    """Encode an image (H, W, 3) as a true-colour PNG."""
    height, width = image.shape[:2]
    return _file(width, height, colour_type=2, palette=b"", rows=image.reshape(height, width * 3), text=text)


def read_text(path: Path) -> Dict[str, str]:
    """Read the text in a PNG file, as `encode_indexed` and `encode_rgb` write it; empty if there is none or no file."""
    try:
        with open_file(path) as file:
            return parse_text(file.read(_HEAD))
    except OSError:
        return {}


def parse_text(head: bytes) -> Dict[str, str]:
    """Parse the text in the first bytes of a PNG file, up to the image data."""
    found: Dict[str, str] = {}
    place = len(_SIGNATURE)
    while place + 8 <= len(head):
        length, kind = struct.unpack(">I4s", head[place : place + 8])
        data = head[place + 8 : place + 8 + length]
        if kind == b"IDAT":
            break
        if kind in (b"tEXt", b"iTXt") and len(data) == length:
            key, _, value = data.partition(b"\0")
            found[key.decode("latin-1")] = (
                value.decode("latin-1") if kind == b"tEXt" else value[4:].decode("utf-8", "replace")
            )
        place += length + 12
    return found


def _file(
    width: int,
    height: int,
    colour_type: int,
    palette: bytes,
    rows: NDArray[np.uint8],
    text: Optional[Mapping[str, str]],
) -> bytes:
    # The filter Up stores the difference of each row from the row above. In an enlarged map, neighbouring rows are
    # similar, so most differences are small, and the fast level 1 of ISA-L compresses them well enough.
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)),
            palette,
            *(_text_chunk(key, value) for key, value in (text or {}).items()),
            _chunk(b"IDAT", isal_zlib.compress(filtered, 1)),
            _chunk(b"IEND", b""),
        )
    )


def _text_chunk(key: str, value: str) -> bytes:
    keyword = key.encode("latin-1", "replace")[:79]
    try:
        return _chunk(b"tEXt", keyword + b"\0" + value.replace("\0", " ").encode("latin-1"))
    except UnicodeEncodeError:
        body = value.replace("\0", " ").encode("utf-8", "backslashreplace")
        return _chunk(b"iTXt", keyword + b"\0\0\0\0\0" + body)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = isal_zlib.crc32(data, isal_zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)))

"""Save and describe drawn pictures. Used for single pictures and for those of a run."""

from __future__ import annotations

import struct
from html import escape
from pathlib import Path
from typing import Iterable, Tuple, Union

from featscope.errors import unknown_name
from featscope.records import Size
from featscope.render.files import FORMATS, reencode
from featscope.store.files import make_folder, write_atomic

_SUFFIXES = {".jpeg": "jpg", **{f".{form}": form for form in FORMATS}}


def save_picture(png: bytes, path: Union[str, Path]) -> Path:
    """Write a PNG to a file, converted to WebP or JPEG if the suffix says so, and return the path.

    The folder is made if necessary. An existing file is replaced atomically. Raises `UnknownNameError` for other
    suffixes.
    """
    path = Path(path)
    form = _SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise unknown_name("picture format", path.suffix or path.name, _SUFFIXES, "picture.save('heat.png')")
    make_folder(path.parent)
    write_atomic(path, png if form == "png" else reencode(png, form), shared=True)
    return path


def png_size(png: bytes) -> Size:
    """Read (height, width) from the header of a PNG."""
    width, height = struct.unpack(">II", png[16:24])
    return height, width


def png_words(png: bytes) -> str:
    """Return the size of a PNG in words: '512 x 640 pixels'."""
    height, width = png_size(png)
    return f"{height} x {width} pixels"


def contact_sheet(pictures: Iterable[Tuple[str, str]], width: int = 220) -> str:
    """Return HTML that shows small pictures side by side.

    pictures: (source of the image, text below it). width: of each picture, in pixels.
    """
    cells = "".join(
        f'<figure style="margin:0;width:{width}px">'
        f'<img src="{escape(source, quote=True)}" alt="{escape(words, quote=True)}" '
        f'style="width:100%;height:auto;display:block;border-radius:3px">'
        f'<figcaption style="font-size:11px;line-height:1.35;opacity:.75;overflow-wrap:anywhere;padding-top:3px">'
        f"{escape(words)}</figcaption></figure>"
        for source, words in pictures
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start">{cells}</div>'

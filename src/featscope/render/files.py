"""Picture files: formats other than PNG, and the text that each file carries."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Dict

from PIL import Image

from featscope.errors import BadImageError, unknown_name
from featscope.render import png

FORMATS = ("png", "webp", "jpg")

_DESCRIPTION = 0x010E  # the EXIF tag where WebP and JPEG keep what PNG has in its text chunks

_LONGEST_SIDE = {"webp": 16383, "jpg": 65535}  # pixels


def check_format(form: str) -> None:
    """Raise `UnknownNameError` if a format is not in `FORMATS`."""
    if form not in FORMATS:
        raise unknown_name("picture format", form, FORMATS, "featscope heat --help")


def reencode(picture: bytes, form: str) -> bytes:
    """Convert a PNG to WebP or JPEG and keep its text.

    A file with a photo becomes three to ten times smaller. Raises `BadImageError` if the picture is too large for the
    format.
    """
    image = Image.open(io.BytesIO(picture))
    if max(image.size) > _LONGEST_SIDE[form]:
        raise BadImageError(
            f"the picture is {image.height} x {image.width}, but a .{form} can have at most {_LONGEST_SIDE[form]} "
            f"pixels on a side; type --max-size {_LONGEST_SIDE[form] * 3 // 4}, or --format png"
        )
    exif = Image.Exif()
    exif[_DESCRIPTION] = json.dumps(png.parse_text(picture))
    out = io.BytesIO()
    if form == "jpg":
        image.convert("RGB").save(out, "JPEG", quality=92, exif=exif)
    else:
        image.convert("RGB").save(out, "WEBP", quality=92, method=1, exif=exif)
    return out.getvalue()


def read_text(path: Path) -> Dict[str, str]:
    """Return the text of a picture file; empty if the file cannot be read or has no text."""
    if path.suffix == ".png":
        return png.read_text(path)
    try:
        with Image.open(path) as image:
            found = json.loads(image.getexif().get(_DESCRIPTION, ""))
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}

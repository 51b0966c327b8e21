"""Pictures as files: other formats than PNG, and the text that each carries."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Dict

from PIL import Image

from featscope.errors import BadImageError, unknown_name
from featscope.render import png

FORMATS = ("png", "webp", "jpg")

_DESCRIPTION = 0x010E  # of EXIF, where WebP and JPEG keep what PNG has in its text chunks


_LONGEST_SIDE = {"webp": 16383, "jpg": 65535}


def check_format(form: str) -> None:
    """Raise `UnknownNameError` for a format that is not one of `FORMATS`."""
    if form not in FORMATS:
        raise unknown_name("picture format", form, FORMATS, "featscope heat --help")


def reencode(picture: bytes, form: str) -> bytes:
    """A PNG as WebP or JPEG, a third to a tenth of its size for a picture with a photo; its text goes along."""
    image = Image.open(io.BytesIO(picture))
    if max(image.size) > _LONGEST_SIDE[form]:
        raise BadImageError(
            f"the picture is {image.height} x {image.width}, and a side of a .{form} has at most {_LONGEST_SIDE[form]} "
            f"pixels; type --max-size {_LONGEST_SIDE[form] * 3 // 4}, or --format png"
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
    """The text of a picture; nothing where there is no such picture, or it has none."""
    if path.suffix == ".png":
        return png.read_text(path)
    try:
        with Image.open(path) as image:
            found = json.loads(image.getexif().get(_DESCRIPTION, ""))
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}

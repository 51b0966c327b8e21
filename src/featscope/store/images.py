"""Image files, as the frameworks read them: each turns, cuts off and mixes in its own way.

A `Sample` says how its file was read (`reading`), and the same file is drawn by the same way:

- `cv2+exif`: OpenCV's IMREAD_COLOR, which MMCV and Ultralytics use; `cv2`: with IMREAD_IGNORE_ORIENTATION.
- `pillow`: `convert("RGB")`, as the data sets of torchvision and timm; `pillow+exif`: turned by its tag before, as
  transformers.
- `mmcv`, `mmcv+exif`: what MMCV's backend 'pillow' makes of a picture; `ultralytics+exif`: what Ultralytics makes of
  one. Both differ from Pillow's own conversion in one mode each.
- with `+grey`: without its colours.
- '' where nobody knows. A file that all of them read alike is drawn all the same.

OpenCV is not needed for this: `tests/integration/test_reading.py` compares with it.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, FrozenSet, Iterator, Optional

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featscope.errors import BadImageError, UnknownReadingError
from featscope.store.files import open_file

READINGS = (
    *("cv2", "cv2+exif", "cv2+grey", "cv2+exif+grey"),
    *("pillow", "pillow+exif"),
    *("mmcv", "mmcv+exif", "mmcv+grey", "mmcv+exif+grey"),
    *("ultralytics+exif", "ultralytics+exif+grey"),
)
"""The ways of reading that are known; see above."""

ORIENTATION, _EXTRA_SAMPLES, _UNASSOCIATED = 0x0112, 0x0152, 2
# What an orientation tag asks for.
TURNS: Dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_COLOURED = frozenset({"1", "L", "P", "RGB"})
_ALIKE: Dict[str, FrozenSet[str]] = {
    "JPEG": frozenset({"L", "RGB"}),
    "PNG": _COLOURED | {"RGBA"},
    "BMP": _COLOURED,
    "TIFF": _COLOURED,
    "WEBP": frozenset({"RGB", "RGBA"}),
    "PPM": frozenset({"1", "L", "RGB"}),
    "JPEG2000": frozenset({"L", "RGB"}),
}
"""Format -> modes that all readers turn into the same pixels, where no tag turns the image."""

_SIXTEEN = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_OF_CV2: Dict[str, FrozenSet[str]] = {
    **_ALIKE,
    "JPEG": _ALIKE["JPEG"] | {"CMYK"},
    "PNG": _ALIKE["PNG"] | _SIXTEEN | {"LA", "I"},  # older versions of Pillow open 16 bits as "I"
    "BMP": _ALIKE["BMP"] | {"RGBA"},
    "TIFF": _ALIKE["TIFF"] | _SIXTEEN | {"LA", "RGBA", "CMYK"},
    "AVIF": frozenset({"RGB", "RGBA"}),
}
"""Format -> modes of which it is known what OpenCV makes of them."""


def read_image(path: Path, reading: str = "") -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) RGB, in one of `READINGS`.

    >>> read_image(Path("photo.jpg"), "cv2+exif").shape                      # doctest: +SKIP
    (1920, 1080, 3)

    Raises `UnknownReadingError` where the readers differ and it is not known which of them it was, or not what
    that one makes of such a file; else `BadImageError` where there is no image.
    """
    library, *options = reading.split("+") if reading in READINGS else [""]
    with _opened(path) as file:
        if not library:
            _refuse_ambiguous(path, file)
        elif library == "cv2":
            _refuse_unmeasured(path, file, "exif" in options)
        elif library == "ultralytics" and file.format == "TIFF" and _any_tag(file) in TURNS:
            raise UnknownReadingError(f"{path} is a turned TIFF, which versions of Pillow read in different ways")
        tag = _tag_heeded(file, library) if "exif" in options else 1
        picture = _as_cv2(file, "grey" in options) if library == "cv2" else _as_pillow(file, library)
        if "grey" in options:
            picture = picture.convert("L").convert("RGB")
        turn = TURNS.get(tag)
        return np.asarray(picture if turn is None else picture.transpose(turn))


def _tag_heeded(file: Image.Image, library: str) -> int:
    """The orientation tag by which a library turns a file; 1, which turns nothing, if it heeds none."""
    if library == "cv2":
        return _exif_tag(file) if file.format in ("JPEG", "PNG") else 1
    # Every reader turns a TIFF while it decodes it, whatever it was asked.
    return _any_tag(file) if file.format != "TIFF" else 1


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    # From memory: Pillow 13 turns a TIFF that it may map into memory twice.
    with blaming(path), open_file(path) as raw, Image.open(io.BytesIO(raw.read())) as file:
        if file.format == "MPO":  # a JPEG with further pictures behind it, as phones make them
            file.format = "JPEG"
        yield file


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """A block that reads an image file: whatever goes wrong in it is a `BadImageError` that names the file."""
    try:
        yield
    except BadImageError:
        raise
    except FileNotFoundError:
        raise BadImageError(f"the image {path} does not exist") from None
    except Exception as error:  # noqa: BLE001 (what Pillow makes of a damaged file: each format has errors of its own)
        fact = str(error) or type(error).__name__
        raise BadImageError(f"the image {path} cannot be read: {fact}") from None


# What is not known


def _refuse_ambiguous(path: Path, file: Image.Image) -> None:
    """Raise `UnknownReadingError` for a file that one reader takes otherwise than another."""
    tag = _any_tag(file)
    what = ""
    if tag in TURNS:
        what = f"is turned by its orientation tag ({tag})"
    elif file.mode not in _ALIKE.get(str(file.format), ()):
        what = f"is a {file.format} of the mode {file.mode}"
    elif _frames(file) > 1 and file.format != "TIFF":
        what = f"has {_frames(file)} frames"
    if what:
        raise UnknownReadingError(f"{path} {what}, which programs read in different ways, and it is not known in which")


def _refuse_unmeasured(path: Path, file: Image.Image, turned: bool) -> None:
    """Raise `UnknownReadingError` for a file of which it is not known what OpenCV makes of it."""
    what = ""
    if file.mode not in _OF_CV2.get(str(file.format), ()):
        what = f"is a {file.format} of the mode {file.mode}"
    elif _frames(file) > 1 and file.format not in ("TIFF", "JPEG"):
        what = f"has {_frames(file)} frames"
    elif file.format == "TIFF" and _alpha_of_tiff(file) not in (None, _UNASSOCIATED):
        what = "has colours that were multiplied by its alpha"
    elif turned and file.format == "WEBP" and _any_tag(file) in TURNS:
        what = f"is a WebP turned by its orientation tag ({_any_tag(file)}), which OpenCV heeds from version 5 on"
    elif turned and file.format == "JPEG" and not _starts_with_exif(file) and _exif_tag(file) in TURNS:
        what = f"has its orientation tag ({_exif_tag(file)}) behind other data, where OpenCV finds it from version 5 on"
    if what:
        raise UnknownReadingError(f"{path} {what}: it is not known how OpenCV read it")


def _frames(file: Image.Image) -> int:
    return int(getattr(file, "n_frames", 1))


def _starts_with_exif(file: Image.Image) -> bool:
    """Whether the first of a JPEG's segments for such data holds the EXIF."""
    segments = getattr(file, "applist", ())
    return next((data for name, data in segments if name == "APP1"), b"").startswith(b"Exif")


def _alpha_of_tiff(file: Image.Image) -> Optional[int]:
    """Which kind of alpha a TIFF of the mode RGBA has; None where it does not say that it has one."""
    kinds = getattr(file, "tag_v2", {}).get(_EXTRA_SAMPLES) if file.mode == "RGBA" else None
    return int(kinds[0]) if kinds else None


def _exif_tag(file: Image.Image) -> int:
    """The orientation that the file's EXIF names: OpenCV looks nowhere else."""
    file.load()  # a PNG may have it behind its pixels
    exif = Image.Exif()
    exif.load(file.info.get("exif") or b"")
    return int(exif.get(ORIENTATION) or 1)


def _any_tag(file: Image.Image) -> int:
    """The orientation as Pillow finds it, also in XMP."""
    return int(file.getexif().get(ORIENTATION) or 1)


# What they make of it


def _as_pillow(file: Image.Image, library: str) -> Image.Image:
    """A picture of Pillow as RGB, as Pillow or a library that uses it converts it."""
    if library == "mmcv" and file.mode == "LA":
        ground = Image.new("RGB", file.size, (124, 117, 104))
        with_alpha = file.convert("RGBA")
        ground.paste(with_alpha, mask=with_alpha.getchannel("A"))
        return ground
    if library == "ultralytics" and file.mode in _SIXTEEN:
        return _high_bytes(file)
    return _without_transparency(file).convert("RGB")


def _as_cv2(file: Image.Image, grey: bool) -> Image.Image:
    """A picture as OpenCV reads it, not turned yet."""
    if grey and file.format == "JPEG":
        file.draft("L", file.size)  # the decoder's own grey, which is not mixed from colours
    if file.mode in _SIXTEEN or file.mode == "I":
        return _high_bytes(file)
    if file.mode == "CMYK":
        return Image.fromarray(_from_inks(np.asarray(file), file.format == "JPEG"))
    if file.format == "TIFF" and _alpha_of_tiff(file) == _UNASSOCIATED:  # libtiff lays it on black
        values = np.asarray(file).astype(np.uint32)
        return Image.fromarray(((values[..., :3] * values[..., 3:] + 127) // 255).astype(np.uint8))
    return _without_transparency(file).convert("RGB")


def _high_bytes(file: Image.Image) -> Image.Image:
    """16 bits divided by 256, where Pillow cuts everything off at 255."""
    return Image.fromarray((np.asarray(file) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")


def _from_inks(inks: NDArray[np.uint8], of_jpeg: bool) -> NDArray[np.uint8]:
    """Four inks as colours: by OpenCV's arithmetic in a JPEG, by libtiff's in a TIFF."""
    white = 255 - inks.astype(np.int32)
    colours, key = white[..., :3], white[..., 3:]
    if of_jpeg:
        return (key - ((255 - colours) * key >> 8)).astype(np.uint8)
    return (colours * key // 255).astype(np.uint8)


def _without_transparency(file: Image.Image) -> Image.Image:
    """The picture without its note on which colour is transparent: nobody heeds it, and Pillow warns of it."""
    file.load()
    file.info.pop("transparency", None)
    return file

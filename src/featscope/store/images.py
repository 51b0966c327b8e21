"""Read image files in the way that each framework does. They differ in rotation, 16-bit values and colour conversion.

A `Sample` records how its file was read (`reading`), so that the file can be drawn from the same pixels:

- `cv2+exif`: OpenCV's IMREAD_COLOR, which MMCV and Ultralytics use; `cv2`: the same with IMREAD_IGNORE_ORIENTATION.
- `pillow`: `convert("RGB")`, as the data sets of torchvision and timm do; `pillow+exif`: first rotated by the
  orientation tag, as transformers does.
- `mmcv`, `mmcv+exif`: MMCV's backend 'pillow'; `ultralytics+exif`: Ultralytics' conversion of a Pillow picture. Each
  differs from Pillow's own conversion for one mode.
- With `+grey`: converted to greyscale.
- '': unknown. The file is still drawn if all frameworks read it alike.

OpenCV is not needed here: `tests/integration/test_reading.py` compares the results with OpenCV's.
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
"""The known ways to read an image file; see the module's docstring."""

ORIENTATION, _EXTRA_SAMPLES, _UNASSOCIATED = 0x0112, 0x0152, 2
# Value of the orientation tag -> the rotation or flip that it stands for.
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
"""Format -> modes that all readers convert to the same pixels, if the image has no orientation tag."""

_SIXTEEN = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_OF_CV2: Dict[str, FrozenSet[str]] = {
    **_ALIKE,
    "JPEG": _ALIKE["JPEG"] | {"CMYK"},
    "PNG": _ALIKE["PNG"] | _SIXTEEN | {"LA", "I"},  # older versions of Pillow open 16 bits as "I"
    "BMP": _ALIKE["BMP"] | {"RGBA"},
    "TIFF": _ALIKE["TIFF"] | _SIXTEEN | {"LA", "RGBA", "CMYK"},
    "AVIF": frozenset({"RGB", "RGBA"}),
}
"""Format -> modes for which OpenCV's result is known and reproduced here."""


def read_image(path: Path, reading: str = "") -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) RGB, in one of `READINGS`.

    >>> read_image(Path("photo.jpg"), "cv2+exif").shape                      # doctest: +SKIP
    (1920, 1080, 3)

    Raises `UnknownReadingError` if the readers differ and it is unknown which of them was used, or if the result of
    that reader is unknown for this kind of file. Raises `BadImageError` if the image is missing or damaged.
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
    """Return the orientation tag that a library applies to a file; 1, which means no rotation, if it applies none."""
    if library == "cv2":
        return _exif_tag(file) if file.format in ("JPEG", "PNG") else 1
    # Every reader rotates a TIFF while decoding it, whatever its options are.
    return _any_tag(file) if file.format != "TIFF" else 1


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    # Read from memory, because Pillow 13 rotates a TIFF twice if it can map the file into memory.
    with blaming(path), open_file(path) as raw, Image.open(io.BytesIO(raw.read())) as file:
        if file.format == "MPO":  # a JPEG followed by more pictures, as phones write it
            file.format = "JPEG"
        yield file


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Turn any error in the block, which reads an image file, into a `BadImageError` that names the file."""
    try:
        yield
    except BadImageError:
        raise
    except FileNotFoundError:
        raise BadImageError(f"the image {path} does not exist") from None
    except Exception as error:  # noqa: BLE001 (Pillow raises different errors for damaged files of each format)
        fact = str(error) or type(error).__name__
        raise BadImageError(f"the image {path} cannot be read: {fact}") from None


# Files that cannot be read with certainty


def _refuse_ambiguous(path: Path, file: Image.Image) -> None:
    """Raise `UnknownReadingError` for a file that readers decode differently."""
    tag = _any_tag(file)
    what = ""
    if tag in TURNS:
        what = f"is turned by its orientation tag ({tag})"
    elif file.mode not in _ALIKE.get(str(file.format), ()):
        what = f"is a {file.format} of the mode {file.mode}"
    elif _frames(file) > 1 and file.format != "TIFF":
        what = f"has {_frames(file)} frames"
    if what:
        raise UnknownReadingError(
            f"{path} {what}, which programs read in different ways; it is unknown how it was read"
        )


def _refuse_unmeasured(path: Path, file: Image.Image, turned: bool) -> None:
    """Raise `UnknownReadingError` for a file for which OpenCV's result is unknown."""
    what = ""
    if file.mode not in _OF_CV2.get(str(file.format), ()):
        what = f"is a {file.format} of the mode {file.mode}"
    elif _frames(file) > 1 and file.format not in ("TIFF", "JPEG"):
        what = f"has {_frames(file)} frames"
    elif file.format == "TIFF" and _alpha_of_tiff(file) not in (None, _UNASSOCIATED):
        what = "has colours that were multiplied by its alpha"
    elif turned and file.format == "WEBP" and _any_tag(file) in TURNS:
        what = f"is a WebP turned by its orientation tag ({_any_tag(file)}), which OpenCV uses only from version 5 on"
    elif turned and file.format == "JPEG" and not _starts_with_exif(file) and _exif_tag(file) in TURNS:
        what = f"has its orientation tag ({_exif_tag(file)}) after other data, where OpenCV before version 5 misses it"
    if what:
        raise UnknownReadingError(f"{path} {what}; it is unknown how OpenCV read it")


def _frames(file: Image.Image) -> int:
    return int(getattr(file, "n_frames", 1))


def _starts_with_exif(file: Image.Image) -> bool:
    """Whether the first APP1 segment of a JPEG holds the EXIF data."""
    segments = getattr(file, "applist", ())
    return next((data for name, data in segments if name == "APP1"), b"").startswith(b"Exif")


def _alpha_of_tiff(file: Image.Image) -> Optional[int]:
    """Return the kind of alpha channel of an RGBA TIFF; None if the file does not declare one."""
    kinds = getattr(file, "tag_v2", {}).get(_EXTRA_SAMPLES) if file.mode == "RGBA" else None
    return int(kinds[0]) if kinds else None


def _exif_tag(file: Image.Image) -> int:
    """Return the orientation from the file's EXIF data, the only place that OpenCV looks at."""
    file.load()  # a PNG may store it after its pixels
    exif = Image.Exif()
    exif.load(file.info.get("exif") or b"")
    return int(exif.get(ORIENTATION) or 1)


def _any_tag(file: Image.Image) -> int:
    """Return the orientation that Pillow finds, which includes XMP data."""
    return int(file.getexif().get(ORIENTATION) or 1)


# Conversion to RGB


def _as_pillow(file: Image.Image, library: str) -> Image.Image:
    """Convert a picture to RGB as Pillow does, or as a library that uses Pillow does."""
    if library == "mmcv" and file.mode == "LA":
        ground = Image.new("RGB", file.size, (124, 117, 104))
        with_alpha = file.convert("RGBA")
        ground.paste(with_alpha, mask=with_alpha.getchannel("A"))
        return ground
    if library == "ultralytics" and file.mode in _SIXTEEN:
        return _high_bytes(file)
    return _without_transparency(file).convert("RGB")


def _as_cv2(file: Image.Image, grey: bool) -> Image.Image:
    """Convert a picture as OpenCV does, before any rotation."""
    if grey and file.format == "JPEG":
        file.draft("L", file.size)  # the decoder's own luminance, which is not computed from RGB
    if file.mode in _SIXTEEN or file.mode == "I":
        return _high_bytes(file)
    if file.mode == "CMYK":
        return Image.fromarray(_from_inks(np.asarray(file), file.format == "JPEG"))
    if file.format == "TIFF" and _alpha_of_tiff(file) == _UNASSOCIATED:  # libtiff blends it with black
        values = np.asarray(file).astype(np.uint32)
        return Image.fromarray(((values[..., :3] * values[..., 3:] + 127) // 255).astype(np.uint8))
    return _without_transparency(file).convert("RGB")


def _high_bytes(file: Image.Image) -> Image.Image:
    """Convert 16 bits to 8 by dividing by 256; Pillow would clip at 255."""
    return Image.fromarray((np.asarray(file) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")


def _from_inks(inks: NDArray[np.uint8], of_jpeg: bool) -> NDArray[np.uint8]:
    """Convert CMYK to RGB with OpenCV's arithmetic for a JPEG, and with libtiff's for a TIFF."""
    white = 255 - inks.astype(np.int32)
    colours, key = white[..., :3], white[..., 3:]
    if of_jpeg:
        return (key - ((255 - colours) * key >> 8)).astype(np.uint8)
    return (colours * key // 255).astype(np.uint8)


def _without_transparency(file: Image.Image) -> Image.Image:
    """Remove the note of a transparent colour: all readers ignore it, and Pillow warns about it."""
    file.load()
    file.info.pop("transparency", None)
    return file

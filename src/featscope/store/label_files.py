"""Read files of ground truth: COCO's JSON, a folder of DOTA's labelTxt, a folder of YOLO's .txt."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Dict, Iterator, List, NamedTuple, Optional, Protocol, Sequence, Tuple, Union

import msgspec

from featscope.errors import BadRunError, first_line
from featscope.records import Size
from featscope.store.files import open_file

NOT_LABELS = ("classes.txt",)
"""Files that labelling tools write beside the labels."""

_HEADERS = ("imagesource:", "gsd:", "acquisition dates:")  # the first lines of a file of DOTA


class Label(NamedTuple):
    """One true box as its file gives it."""

    form: str
    """'xyxy' or 'quad', as in `Boxes`."""

    box: List[float]
    """In pixels of the original image."""

    label: Union[str, int]
    """Name of the class, or its index."""

    ignored: str = ""
    """'difficult', 'crowd' or ''."""

    corners: Optional[List[float]] = None
    """The corners of a segmentation that is one polygon with four, x and y of each."""

    def rotated(self) -> Label:
        """Return the box of the segmentation in place of the one around it, where there is one."""
        return self if self.corners is None else self._replace(form="quad", box=self.corners, corners=None)


class Labelled(NamedTuple):
    """An image that the labels know."""

    stem: str
    """Its file name without suffix; '' if the labels do not tell it."""

    folder: str = ""
    """The name of its folder, where the labels tell it."""

    id: str = ""
    """Its id in a COCO file."""

    size: Optional[Size] = None
    """Its (height, width) in pixels, where the labels tell it."""


class LabelFile(Protocol):
    """Labels of many images. What is damaged is left out and named in `problems`."""

    images: List[Labelled]
    """The images that are labelled."""

    needs_size: bool
    """Whether the size of an image must be known to read its labels."""

    problems: List[str]
    """What was damaged: file, place, and why."""

    def read(self, number: int, size: Optional[Size]) -> List[Label]:
        """Return the labels of one of the images. size: its (height, width) in pixels."""


def open_labels(path: Path) -> LabelFile:
    """Open labels of any known form. Raises `BadRunError` if there are none that can be read."""
    if path.is_file() and path.suffix.lower() == ".json":
        return CocoFile(path)
    if not path.is_dir():
        fact = "is neither a .json file nor a folder" if path.exists() else "does not exist"
        raise BadRunError(
            f"the labels {path}: this {fact}; give COCO's .json, or a folder of DOTA's or YOLO's .txt files"
        )
    files = sorted(file for file in path.rglob("*.txt") if file.name not in NOT_LABELS)
    if not files:
        raise BadRunError(
            f"the folder {path} holds no .txt file; give COCO's .json, or a folder of DOTA's or YOLO's .txt"
        )
    first = ""
    for file in files:
        for number, words in _lines(file, []):
            if _is_dota(words) or _is_yolo(words):
                return TextFolder(path, files, dota=_is_dota(words))
            first = first or f"{file}, line {number}: {' '.join(words)[:80]!r}"
    if first:
        raise BadRunError(
            f"{path} holds neither DOTA's lines (x1 y1 x2 y2 x3 y3 x4 y4 class difficult) nor YOLO's (class x y w h, "
            f"or class x1 y1 x2 y2 x3 y3 x4 y4); the first is {first}"
        )
    return TextFolder(path, files, dota=False)  # all are empty: images without objects, in either form


def _lines(file: Path, problems: List[str]) -> Iterator[Tuple[int, List[str]]]:
    """Yield the number and the words of each line that can hold a label."""
    try:
        with open_file(file) as opened:
            text = opened.read().decode("utf-8-sig", errors="replace")
    except OSError as error:
        problems.append(f"{file} cannot be read: {error.strerror}")
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lower().startswith(_HEADERS):
            yield number, line.split()


def _is_dota(words: Sequence[str]) -> bool:
    """Whether a line has eight numbers and a class behind them; the class may be a number if a difficulty follows."""
    return len(words) == 10 or (len(words) > 8 and not all(map(_is_number, words[8:])))


def _is_yolo(words: Sequence[str]) -> bool:
    return len(words) in (5, 9) and all(map(_is_number, words))


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


class TextFolder:
    """A folder with a .txt file for each image, in DOTA's or in YOLO's form."""

    def __init__(self, folder: Path, files: Sequence[Path], dota: bool) -> None:
        self._files, self._parse, self.needs_size = files, _dota if dota else _yolo, not dota
        self.images = [Labelled(file.stem, "" if file.parent == folder else file.parent.name) for file in files]
        self.problems: List[str] = []

    def read(self, number: int, size: Optional[Size]) -> List[Label]:
        """Return the labels of one of the images."""
        found: List[Label] = []
        for line, words in _lines(self._files[number], self.problems):
            try:
                found.append(self._parse(words, size or (1, 1)))
            except ValueError as error:
                self.problems.append(f"{self._files[number]}, line {line}: {error}")
        return found


def _dota(words: Sequence[str], size: Size) -> Label:
    if not _is_dota(words):
        raise ValueError(f"{len(words)} words in place of x1 y1 x2 y2 x3 y3 x4 y4 class difficult")
    box = _numbers(words[:8])
    _check_area(box[0::2], box[1::2])
    graded = len(words) > 9 and words[-1].isdigit()  # names of classes may have several words
    name = " ".join(words[8:-1] if graded else words[8:])
    return Label("quad", box, name, "difficult" if graded and int(words[-1]) else "")


def _yolo(words: Sequence[str], size: Size) -> Label:
    if len(words) not in (5, 9):
        raise ValueError(f"{len(words)} words in place of class x y w h, or of class x1 y1 x2 y2 x3 y3 x4 y4")
    if not words[0].isdigit():
        raise ValueError(f"the class {words[0]!r} is not an index")
    shares = _numbers(words[1:])
    # A rotated box may reach over the edge of its image. What is far outside was given in pixels.
    if not all(-1 <= share <= 2 for share in shares):
        raise ValueError("the numbers are not shares of the image's width and height")
    height, width = size
    if len(words) == 5:
        x, y, w, h = shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height
        box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        if w <= 0 or h <= 0:
            raise ValueError("the box has no area")
        return Label("xyxy", box, int(words[0]))
    box = [share * (height if place % 2 else width) for place, share in enumerate(shares)]
    _check_area(box[0::2], box[1::2])
    return Label("quad", box, int(words[0]))


def _numbers(words: Sequence[str]) -> List[float]:
    wrong = next((word for word in words if not _is_number(word)), None)
    if wrong is not None:
        raise ValueError(f"{wrong!r} is not a number")
    return [float(word) for word in words]


def _check_area(x: Sequence[float], y: Sequence[float]) -> None:
    turned = sum(a * d - b * c for a, b, c, d in zip(x, y, [*x[1:], x[0]], [*y[1:], y[0]]))
    if abs(turned) < 1e-9:
        raise ValueError("the box has no area")


class _Image(msgspec.Struct):
    id: Union[int, str]
    file_name: str = ""
    width: Optional[float] = None
    height: Optional[float] = None


class _Category(msgspec.Struct):
    id: Union[int, str]
    name: str


class _Coco(msgspec.Struct):
    images: List[_Image]
    annotations: List[msgspec.Raw]
    categories: List[_Category]


class _Annotation(msgspec.Struct):
    image_id: Union[int, str]
    category_id: Union[int, str]
    bbox: Tuple[float, float, float, float]
    iscrowd: int = 0
    segmentation: msgspec.Raw = msgspec.Raw(b"null")


class CocoFile:
    """COCO's JSON. An object with `iscrowd` is ignored as a crowd, as in pycocotools."""

    needs_size = False

    def __init__(self, path: Path) -> None:
        try:
            with open_file(path) as opened:
                held = msgspec.json.decode(opened.read(), type=_Coco)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRunError(
                f"{path} is not COCO's JSON with images, annotations and categories: {first_line(error)}"
            ) from None
        except OSError as error:
            raise BadRunError(f"{path} cannot be read: {error.strerror}") from None
        self.problems: List[str] = []
        files = [PurePosixPath(one.file_name.replace("\\", "/")) for one in held.images]
        self.images = [
            Labelled(file.stem, file.parent.name, str(one.id), _size(one)) for file, one in zip(files, held.images)
        ]
        self._names = {one.id: one.name for one in held.categories}
        places = {one.id: number for number, one in enumerate(held.images)}
        self._of_image: Dict[int, List[Label]] = defaultdict(list)
        for number, raw in enumerate(held.annotations):
            try:
                one = msgspec.json.decode(raw, type=_Annotation)
                if one.image_id not in places:
                    raise ValueError(f"there is no image {one.image_id!r}")
                self._of_image[places[one.image_id]].append(self._label(one))
            except (msgspec.DecodeError, ValueError) as error:
                self.problems.append(f"{path}, annotation {number}: {error}")

    def read(self, number: int, size: Optional[Size]) -> List[Label]:
        """Return the labels of one of the images."""
        return self._of_image.get(number, [])

    def _label(self, one: _Annotation) -> Label:
        x, y, w, h = one.bbox
        if one.category_id not in self._names:
            raise ValueError(f"there is no category {one.category_id!r}")
        if w <= 0 or h <= 0:
            raise ValueError("the box has no area")
        name, ignored = self._names[one.category_id], "crowd" if one.iscrowd else ""
        return Label("xyxy", [x, y, x + w, y + h], name, ignored, _corners(one.segmentation))


def _size(image: _Image) -> Optional[Size]:
    return (round(image.height), round(image.width)) if image.height and image.width else None


def _corners(segmentation: msgspec.Raw) -> Optional[List[float]]:
    """Return the corners of a segmentation that is one polygon with four; None for all others."""
    try:
        polygons = msgspec.json.decode(segmentation, type=List[List[float]])
    except msgspec.DecodeError:  # run lengths
        return None
    return polygons[0] if len(polygons) == 1 and len(polygons[0]) == 8 else None

"""Store the candidates of a sample: a file in the folder `candidates/` of a run.

The file is an uncompressed `.npz` archive, which `numpy.load` opens too: `about.json`, and for each level `0.scores`,
`0.boxes`, and where the detector has them `0.ranks` and `0.compared`. `docs/file-format.md` describes it.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Tuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from featscope.arrays.assigned import AssignedSizes
from featscope.arrays.candidates import ImageCandidates, LevelCandidates
from featscope.errors import BadRunError, FeatscopeError, first_line
from featscope.records import FORMAT, Sample, Selection
from featscope.store.files import inside, make_folder, npy_header, open_file, read_npy_header, safe_name, write_atomic

if TYPE_CHECKING:
    from featscope.store.reader import Run

FOLDER = "candidates"
_ABOUT = "about.json"
_NUMBERS = {"xyxy": 4, "cxcywha": 5, "quad": 8}
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class _Level(msgspec.Struct, frozen=True, omit_defaults=True):
    kind: str
    grid: Optional[Tuple[int, int, int]] = None


class _About(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a file says besides its arrays (`about.json`)."""

    form: str
    levels: List[_Level]
    selection: Optional[Selection] = None
    unknown: str = ""
    assigned: Optional[AssignedSizes] = None
    format: int = FORMAT


def write_candidates(folder: Path, sample_id: str, candidates: ImageCandidates) -> str:
    """Write the candidates of a sample and return the path of the file, relative to the run.

    >>> write_candidates(Path("runs/s2anet"), "0_P0706", candidates)                  # doctest: +SKIP
    'candidates/0_P0706.npz'

    folder: of the run. sample_id: any text that is unique in the run. Raises `OutputError` if the disk fails.
    """
    make_folder(folder / FOLDER)
    path = f"{FOLDER}/{safe_name(sample_id)}.npz"
    write_atomic(folder / path, packed(candidates))
    return path


def read_candidates(run: Run, sample: Sample) -> Optional[ImageCandidates]:
    """Read the candidates of a sample; None if the run does not have them.

    >>> read_candidates(run, run.samples["P0706"]).levels[0].scores.shape            # doctest: +SKIP
    (16384, 15)

    Raises `BadRunError`, which names the file, if it is missing or damaged.
    """
    if not sample.candidates:
        return None
    path = inside(run.folder, sample.candidates)
    try:
        with open_file(path) as file:
            return _unpacked(zipfile.ZipFile(file), os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise BadRunError(f"{path} is missing; it holds the candidates of sample {sample.id!r}") from None
    except OSError as error:
        raise BadRunError(f"{path} cannot be read: {error.strerror or error}") from None
    except FeatscopeError as error:
        raise BadRunError(f"{path} {error}; capture the run again with --candidates") from None
    except Exception as error:  # noqa: BLE001 (zipfile and msgspec raise many kinds of errors for damaged files)
        raise BadRunError(f"{path} is damaged: {first_line(error)}; capture the run again with --candidates") from None


def packed(candidates: ImageCandidates) -> bytes:
    """Return the content of a sample's file."""
    levels = [_Level(level.kind, level.grid) for level in candidates.levels]
    about = _About(candidates.form, levels, candidates.selection, candidates.unknown, candidates.assigned)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_ABOUT), msgspec.json.encode(about))
        for number, level in enumerate(candidates.levels):
            for name, array in _arrays_of(level).items():
                # A name without a date, so that the same candidates give the same file.
                entry = zipfile.ZipInfo(f"{number}.{name}.npy")
                archive.writestr(entry, npy_header(array) + array.tobytes())
    return out.getvalue()


def size_of(candidates: ImageCandidates) -> int:
    """Return how many bytes the file of some candidates takes, up to its headers."""
    return sum(array.nbytes for level in candidates.levels for array in _arrays_of(level).values())


def _arrays_of(level: LevelCandidates) -> Dict[str, NDArray[np.floating]]:
    given = {
        "scores": level.scores.astype(np.float32, copy=False),
        "ranks": None if level.ranks is None else level.ranks.astype(np.float32, copy=False),
        "boxes": _narrow(level.boxes),
        "compared": None if level.compared is None else _narrow(level.compared),
    }
    return {name: np.ascontiguousarray(array) for name, array in given.items() if array is not None}


def _narrow(boxes: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return boxes as float32 if that loses nothing, otherwise as float64."""
    with np.errstate(over="ignore"):
        small = boxes.astype(np.float32)
    return small if np.array_equal(small, boxes, equal_nan=True) else boxes.astype(np.float64)


def _unpacked(archive: zipfile.ZipFile, size: int) -> ImageCandidates:
    entries = {entry.filename: entry for entry in archive.infolist()}
    for entry in entries.values():
        # What is stored as it is cannot be larger than the file, so nothing huge is allocated.
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size:
            raise BadRunError(f"holds {entry.filename[:80]!r} in a form that featscope does not write")
    if _ABOUT not in entries:
        raise BadRunError(f"does not hold candidates: it has no {_ABOUT}")
    about = msgspec.json.decode(archive.read(_ABOUT), type=_About)
    if about.format != FORMAT:
        raise BadRunError(f"has the format {about.format}, but this featscope reads {FORMAT}")
    if about.form not in _NUMBERS:
        raise BadRunError(f"has boxes of the unknown form {about.form!r}")
    arrays = {name[:-4]: _array(archive.read(name)) for name in entries if name.endswith(".npy")}
    levels = tuple(_level(number, kind, arrays, _NUMBERS[about.form]) for number, kind in enumerate(about.levels))
    return ImageCandidates(levels, about.form, about.selection, about.unknown, about.assigned)


def _array(data: bytes) -> NDArray[np.floating]:
    file = io.BytesIO(data)
    shape, fortran, dtype = read_npy_header(file, len(data))
    if fortran or dtype not in _DTYPES:
        raise BadRunError(f"holds numbers of the type {dtype}, but candidates are float32 or float64")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape)


def _level(number: int, about: _Level, arrays: Dict[str, NDArray[np.floating]], numbers: int) -> LevelCandidates:
    """Return a level after its shapes were compared. numbers: of a box."""
    scores, boxes, ranks, compared = (
        arrays.get(f"{number}.{name}") for name in ("scores", "boxes", "ranks", "compared")
    )
    if scores is None or boxes is None or scores.ndim != 2:
        raise BadRunError(f"does not hold the scores and boxes of level {number}")
    if boxes.shape not in ((len(scores), numbers), (*scores.shape, numbers)):
        raise BadRunError(f"has boxes of shape {boxes.shape} in level {number} for scores of shape {scores.shape}")
    if (ranks is not None and ranks.shape != scores.shape) or (compared is not None and compared.shape != boxes.shape):
        raise BadRunError(f"has arrays of different shapes in level {number}")
    grid = about.grid
    if grid is not None and (min(grid) < 1 or grid[0] * grid[1] * grid[2] != len(scores)):
        raise BadRunError(f"has {len(scores)} candidates in level {number} for a grid of {grid}")
    return LevelCandidates(
        scores.astype(np.float32, copy=False),
        boxes,
        about.kind,
        grid,
        ranks=None if ranks is None else ranks.astype(np.float32, copy=False),
        compared=compared,
    )

"""Draw a whole run in many small jobs, on any executor. Each job draws the pictures of a few map files."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Protocol, Sequence, Tuple

from featscope.errors import FeatscopeError, OutputError, first_line
from featscope.render.files import read_text, reencode
from featscope.scale.executor import Executor, run_in_chunks, serial
from featscope.store.feature_maps import FeatureMap, feature_maps, spread
from featscope.store.files import inside, make_folder, size_text, write_atomic
from featscope.store.maps import MapFile
from featscope.store.reader import Run
from featscope.words import counted

_FILES_A_JOB = 8  # at most, so that little work is lost with a worker
_FIRST = 16  # the most pictures that an outcome lists


@dataclass
class Outcome:
    """The result of drawing some maps."""

    pictures: int = 0
    """Number of drawn pictures."""

    skipped: int = 0
    """Number of pictures that were up to date and were not drawn again."""

    bytes: int = 0
    """Size of the drawn pictures."""

    nan: int = 0
    """Number of NaN cells."""

    inf: int = 0
    """Number of infinite cells."""

    constant: int = 0
    """Number of maps with the same value in all cells."""

    no_maps: List[str] = field(default_factory=list)
    """The folder of each array that was left out because it does not have the rows and columns of the image."""

    errors: List[str] = field(default_factory=list)
    """One text for each part that failed."""

    remarks: List[str] = field(default_factory=list)
    """What the user should know about the pictures."""

    first: List[Path] = field(default_factory=list)
    """Some of the pictures, drawn or up to date."""

    dry: bool = False
    """Whether pictures are only counted and not written."""

    def add(self, other: Outcome) -> None:
        """Add the counts and texts of another outcome."""
        self.pictures += other.pictures
        self.skipped += other.skipped
        self.bytes += other.bytes
        self.nan += other.nan
        self.inf += other.inf
        self.constant += other.constant
        self.no_maps += other.no_maps
        self.errors += other.errors
        self.remarks += other.remarks
        self.first += other.first[: max(0, _FIRST - len(self.first))]


class Form(NamedTuple):
    """Format and size of picture files."""

    format: str = "png"
    """png, webp or jpg."""

    max_size: int = 0
    """The most pixels of the longer side; 0 keeps the size of the image."""

    @property
    def suffix(self) -> str:
        """The suffix of the file's name, with its dot."""
        return f".{self.format}"


AS_IT_IS = Form()
"""PNG at the size of the image."""


class Origin(NamedTuple):
    """What the text and the boxes of a picture need from a run. It is small, because every job carries it."""

    folder: Path
    classes: Tuple[str, ...]

    @classmethod
    def of(cls, run: Run) -> Origin:
        """Return the origin of a run's pictures."""
        return cls(run.folder, tuple(run.info.classes) if run.info else ())


class Plan(Protocol):
    """How each map is drawn. `heat_plan.py` has the plan for heat maps, `mosaic_plan.py` the one for mosaics."""

    def draw(self, feature_map: FeatureMap, folder: Path, outcome: Outcome) -> None:
        """Draw the map of one image, and save the pictures in a folder."""


FINGERPRINT = "fingerprint"
"""Key of the text chunk that shows whether a picture is up to date."""


def provenance(feature_map: FeatureMap, origin: Origin, fingerprint: str) -> Dict[str, str]:
    """Return the text chunks that say where a picture comes from."""
    return {"run": origin.folder.name, **feature_map.describe(), FINGERPRINT: fingerprint}


def output_folder(run: Run, kind: str, given: Optional[Path]) -> Path:
    """Make and return the folder for pictures: the given one, or RUN/<kind>.

    Raises `OutputError` if the folder cannot be made.
    """
    folder = run.folder / kind if given is None else given
    make_folder(folder)
    return folder


class Foreseen(NamedTuple):
    """The estimated size of a drawing, and how long it takes."""

    pictures: int
    bytes: int

    seconds: float
    """Time with one process."""

    def __str__(self) -> str:
        minutes = max(1, round(self.seconds / 60))
        return f"about {counted(self.pictures, 'picture')}, {size_text(self.bytes)}, {minutes} min on one core"


def foresee(maps: Sequence[MapFile], plan: Plan, output: Path, tried: int = 8) -> Foreseen:
    """Estimate a drawing: draw a few of the maps, spread from the first to the last, without saving the pictures."""
    total, files = Outcome(dry=True), list(spread(maps, tried))
    start = time.perf_counter()
    for map_file in files:
        total.add(_draw_files([map_file], plan, output, dry=True))
    factor = len(maps) / max(1, len(files))
    seconds = (time.perf_counter() - start) * factor
    return Foreseen(round(total.pictures * factor), round(total.bytes * factor), seconds)


def run_jobs(
    maps: Sequence[MapFile],
    plan: Plan,
    output: Path,
    done: Callable[[], None] = lambda: None,
    executor: Executor = serial,
) -> Outcome:
    """Draw all map files.

    Pictures that are up to date are not drawn again. If a map cannot be drawn, its error is listed and the others are
    drawn. done: called after each map file.
    """
    total = Outcome()
    size = max(1, min(_FILES_A_JOB, len(maps) // 16))
    for files, outcome in run_in_chunks(executor, partial(_draw_files, plan=plan, output=output), maps, size):
        if isinstance(outcome, Exception):
            total.errors.append(f"{files[0].path} was not drawn: {outcome}")
        else:
            total.add(outcome)
        for _ in files:
            done()
    return total


def _draw_files(files: Sequence[MapFile], plan: Plan, output: Path, dry: bool = False) -> Outcome:
    outcome = Outcome(dry=dry)
    for map_file in files:
        if not map_file.is_map:
            outcome.no_maps.append(map_file.folder)
            continue
        try:
            folder = output / map_file.folder
            if map_file.folder:
                inside(output, map_file.folder)
            if not dry:
                make_folder(folder)
            for feature_map in feature_maps(map_file):
                try:
                    plan.draw(feature_map, folder, outcome)
                except OutputError:
                    raise
                except FeatscopeError as error:
                    outcome.errors.append(named(map_file, error))
        except FeatscopeError as error:
            outcome.errors.append(str(error))
        except Exception as error:  # noqa: BLE001 (whatever happens, such as too little memory, draw the other files)
            outcome.errors.append(f"{map_file.path} cannot be drawn: {first_line(error)}")
    return outcome


def named(map_file: MapFile, error: FeatscopeError) -> str:
    """Return the text of an error, with the name of the file that it is about."""
    text = str(error)
    return text if text.startswith(str(map_file.path)) else f"{map_file.path}: {text}"


def save(path: Path, png: bytes, outcome: Outcome, form: Form = AS_IT_IS) -> None:
    """Write a picture in the format of `form`, and count it."""
    data = png if form.format == "png" else reencode(png, form.format)
    if not outcome.dry:
        write_atomic(path, data, shared=True)
    outcome.pictures += 1
    outcome.bytes += len(data)
    outcome.first += [path][: max(0, _FIRST - len(outcome.first))]


def up_to_date(paths: Sequence[Path], fingerprint: str, outcome: Outcome) -> bool:
    """Whether these pictures exist and were drawn from the same data in the same way. Counts them if so."""
    if outcome.dry or not all(read_text(path).get(FINGERPRINT) == fingerprint for path in paths):
        return False
    outcome.skipped += len(paths)
    outcome.first += paths[: max(0, _FIRST - len(outcome.first))]
    return True

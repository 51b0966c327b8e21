"""Drawing a whole run: many small jobs, each some map files to their pictures, on any executor."""

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

_FILES_A_JOB = 8  # at most: a job lost with its worker is little work
_FIRST = 16  # pictures that an outcome remembers


@dataclass
class Outcome:
    """What came of a plan: counts, and an error for each part that failed.

    skipped: pictures that were up to date. no_maps: the folders of arrays that were left out, as they
    have no rows and columns of the image. first: some of the pictures, drawn or up to date. dry: nothing is written,
    only counted.
    """

    pictures: int = 0
    skipped: int = 0
    bytes: int = 0
    nan: int = 0
    inf: int = 0
    constant: int = 0
    no_maps: List[str] = field(default_factory=list)
    errors: List[str] = field(default_factory=list)
    remarks: List[str] = field(default_factory=list)
    first: List[Path] = field(default_factory=list)
    dry: bool = False

    def add(self, other: Outcome) -> None:
        """Count another outcome in."""
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
    """What kind of file a picture is. format: png, webp or jpg. max_size: of its longer side; 0 for the image's own."""

    format: str = "png"
    max_size: int = 0

    @property
    def suffix(self) -> str:
        """Of the file's name."""
        return f".{self.format}"


AS_IT_IS = Form()


class Origin(NamedTuple):
    """What a picture's text and boxes need to know of a run: little, as it travels with every job."""

    folder: Path
    classes: Tuple[str, ...]

    @classmethod
    def of(cls, run: Run) -> Origin:
        """The origin of a run's pictures."""
        return cls(run.folder, tuple(run.info.classes) if run.info else ())


class Plan(Protocol):
    """What is drawn of each map: `heat_plan.py` has that of heat maps, `mosaic_plan.py` that of mosaics."""

    def draw(self, feature_map: FeatureMap, folder: Path, outcome: Outcome) -> None:
        """Draw one image's map into a folder."""


FINGERPRINT = "fingerprint"
"""The text chunk that tells a picture that is up to date from one that is not."""


def provenance(feature_map: FeatureMap, origin: Origin, fingerprint: str) -> Dict[str, str]:
    """Where a picture comes from, for its text chunks."""
    return {"run": origin.folder.name, **feature_map.describe(), FINGERPRINT: fingerprint}


def output_folder(run: Run, kind: str, given: Optional[Path]) -> Path:
    """The folder for pictures, made and writable: the given one, else RUN/render or RUN/heat."""
    folder = run.folder / kind if given is None else given
    make_folder(folder)
    return folder


class Foreseen(NamedTuple):
    """What a drawing will come to: pictures, bytes, and the seconds that one process takes."""

    pictures: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        minutes = max(1, round(self.seconds / 60))
        return f"about {self.pictures} pictures, {size_text(self.bytes)}, {minutes} min of one core"


def foresee(maps: Sequence[MapFile], plan: Plan, output: Path, tried: int = 8) -> Foreseen:
    """How much a drawing will be, by drawing a few of the maps, from first to last, without keeping them."""
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
    """Draw each map file; pictures that are up to date stay, an error is kept and the rest goes on."""
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
        except Exception as error:  # noqa: BLE001 (whatever it is, as too little memory: the other files are drawn)
            outcome.errors.append(f"{map_file.path} cannot be drawn: {first_line(error)}")
    return outcome


def named(map_file: MapFile, error: FeatscopeError) -> str:
    """An error's text, with the file that it is about."""
    text = str(error)
    return text if text.startswith(str(map_file.path)) else f"{map_file.path}: {text}"


def save(path: Path, png: bytes, outcome: Outcome, form: Form = AS_IT_IS) -> None:
    """Write a picture, and count it."""
    data = png if form.format == "png" else reencode(png, form.format)
    if not outcome.dry:
        write_atomic(path, data, shared=True)
    outcome.pictures += 1
    outcome.bytes += len(data)
    outcome.first += [path][: max(0, _FIRST - len(outcome.first))]


def up_to_date(paths: Sequence[Path], fingerprint: str, outcome: Outcome) -> bool:
    """Whether these pictures exist and were drawn of the same things in the same way; counts them if so."""
    if outcome.dry or not all(read_text(path).get(FINGERPRINT) == fingerprint for path in paths):
        return False
    outcome.skipped += len(paths)
    outcome.first += paths[: max(0, _FIRST - len(outcome.first))]
    return True

"""Drawing a whole run: many small jobs, each some map files to their pictures, on any executor."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import (
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Protocol,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

import numpy as np
from numpy.typing import NDArray

from featscope import __version__
from featscope.arrays.normalise import bounds, merge_bounds
from featscope.errors import FeatscopeError, OutputError, first_line
from featscope.records import Place, Sample
from featscope.render.files import read_text, reencode
from featscope.store.files import inside, make_folder, safe_name, size_text, write_atomic
from featscope.store.maps import MapFile
from featscope.store.reader import Run

Bounds = Tuple[float, float]
Item = TypeVar("Item")
Value = TypeVar("Value")

_FILES_A_JOB = 8  # at most: a job lost with its worker is little work


class Executor(Protocol):
    """Calls a function on every item, in any order and anywhere; see `featscope.scale`."""

    def __call__(
        self, function: Callable[[Item], Value], items: Iterable[Item]
    ) -> Iterator[Tuple[Item, Union[Value, Exception]]]:
        """Each item with what the function made of it, or the error that kept it from that."""


def serial(function: Callable[[Item], Value], items: Iterable[Item]) -> Iterator[Tuple[Item, Union[Value, Exception]]]:
    """The executor that uses no other process.

    >>> list(serial(abs, [-1, 2]))
    [(-1, 1), (2, 2)]
    """
    for item in items:
        try:
            value = function(item)
        except Exception as error:  # noqa: BLE001 (as from another process: the other items are not to blame)
            yield item, error
        else:
            yield item, value


@dataclass
class Outcome:
    """What came of a plan: counts, and an error for each part that failed.

    skipped: pictures that were up to date. no_maps: the folders of arrays that were left out, as they
    have no rows and columns of the image. dry: nothing is written, only counted.
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


class FeatureMap:
    """One image's map, and the sample it belongs to; the array is read when it is first used.

    index: its place in the file. stem: of its picture's name, by its sample where that is known. plane: which step of
    a film, or which depth of a volume; None where there is only one.
    """

    def __init__(self, batch: _Batch, index: int, plane: Optional[int] = None) -> None:
        self._batch, self.index, self.plane = batch, index, plane
        self.file = batch.file
        # Regions of interest come by the hundred for one image: they are no maps of the whole of it.
        samples = self.file.samples if len(self.file.samples) == batch.count else ()
        self.sample: Optional[Sample] = samples[index] if samples else None
        record = self.file.record
        if self.sample is not None and record is not None:
            self.stem = f"{safe_name(self.sample.id)}_level{record.level}"
        else:
            own = safe_name(self.sample.id) if self.sample is not None else str(index)
            self.stem = self.file.path.stem + (f"_{own}" if batch.count > 1 else "")
        if plane is not None:
            self.stem += f"_t{plane:03d}"

    @property
    def array(self) -> NDArray[np.generic]:
        """(C, H, W)."""
        of_image = self._batch.load()[self.index]
        return of_image if self.plane is None else np.ascontiguousarray(of_image[:, self.plane])

    def title(self, place: Optional[Place]) -> str:
        """Which map this is, as it stands above its picture. place: where its cells lie, if that is to be said."""
        record = self.file.record
        if record is None:
            parts = [f"{self.file.folder or self.file.path.parent.name}/{self.stem}"]
        else:
            field = [record.field] if record.field else []
            parts = [record.layer or "the model's output", *field, f"level {record.level}"]
            if place is not None:
                sides = [f"{step:g}" for step in dict.fromkeys(place.stride)]
                parts.append(f"stride {' x '.join(sides)}")
            if self.sample is not None:
                parts.append(self.sample.id)
        return "  ·  ".join([*parts, *([f"slice {self.plane}"] if self.plane is not None else [])])

    def fingerprint(self, *what: object) -> str:
        """A text that changes when the map, its sample, or `what` is drawn changes."""
        record = self.file.record
        if record is None:
            state = self.file.path.stat()
            mark: object = (state.st_size, state.st_mtime_ns)
        else:
            mark = (record.checksum, record.scales_checksum, record.shape, record.stride, record.first, record.reduced)
        return hashlib.sha1(repr((__version__, mark, self.sample, what)).encode()).hexdigest()[:20]

    def describe(self, origin: Origin, fingerprint: str) -> Dict[str, str]:
        """Where a picture comes from, for its text chunks."""
        text = {"run": origin.folder.name, "map": f"{self.file.folder}/{self.file.path.name}"}
        record = self.file.record
        if record is not None:
            text.update(layer=record.layer, field=record.field, level=str(record.level), reduced=record.reduced)
        if self.sample is not None:
            text["sample"] = self.sample.id
        if self.plane is not None:
            text["slice"] = str(self.plane)
        text[FINGERPRINT] = fingerprint
        return {key: value for key, value in text.items() if value}


FINGERPRINT = "fingerprint"
"""The text chunk that tells a picture that is up to date from one that is not."""


class _Batch:
    """A map file, read once and only if some picture of it is to be drawn."""

    def __init__(self, file: MapFile) -> None:
        self.file = file
        self.count, self.planes = file.counts()
        self._array: Optional[NDArray[np.generic]] = None

    def load(self) -> NDArray[np.generic]:
        if self._array is None:
            self._array = self.file.load()
        return self._array


def output_folder(run: Run, kind: str, given: Optional[Path]) -> Path:
    """The folder for pictures, made and writable: the given one, else RUN/render or RUN/heat."""
    folder = run.folder / kind if given is None else given
    make_folder(folder)
    return folder


def feature_maps(map_file: MapFile) -> Iterator[FeatureMap]:
    """The maps of one file, image by image; of a film or a volume, slice by slice."""
    batch = _Batch(map_file)
    for index in range(batch.count):
        sample = FeatureMap(batch, index).sample
        if sample is not None and not map_file.wants(sample):
            continue
        for plane in [None] if batch.planes is None else range(batch.planes):
            yield FeatureMap(batch, index, plane)


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


def spread(files: Sequence[Item], most: int) -> Iterator[Item]:
    """At most so many of the files, from first to last.

    >>> list(spread("abcdefg", 3))
    ['a', 'd', 'g']
    """
    count = min(most, len(files))
    for number in range(count):
        yield files[round(number * (len(files) - 1) / max(1, count - 1))]


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
    for files, outcome in _each(executor, partial(_draw_files, plan=plan, output=output), maps, size):
        if isinstance(outcome, Exception):
            total.errors.append(f"{files[0].path} was not drawn: {outcome}")
        else:
            total.add(outcome)
        for _ in files:
            done()
    return total


def _each(
    executor: Executor, function: Callable[[List[MapFile]], Value], maps: Iterable[MapFile], size: int
) -> Iterator[Tuple[List[MapFile], Union[Value, Exception]]]:
    """What a function makes of the files, some at a time. Some that fail together are done again one by one."""
    apart: List[MapFile] = []
    for files, value in executor(function, _parts(maps, size)):
        if isinstance(value, Exception) and len(files) > 1:
            apart += files
        else:
            yield files, value
    if apart:
        yield from executor(function, _parts(apart, 1))


def _parts(items: Iterable[Item], size: int) -> Iterator[List[Item]]:
    part: List[Item] = []
    for item in items:
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


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


def up_to_date(paths: Sequence[Path], fingerprint: str, outcome: Outcome) -> bool:
    """Whether these pictures exist and were drawn of the same things in the same way; counts them if so."""
    if outcome.dry or not all(read_text(path).get(FINGERPRINT) == fingerprint for path in paths):
        return False
    outcome.skipped += len(paths)
    return True


def shared_bounds(
    maps: Sequence[MapFile],
    value_range: str,
    values: Callable[[FeatureMap], NDArray[np.floating]],
    executor: Executor = serial,
) -> Dict[str, Bounds]:
    """The range of each layer's maps, or of all, if it is to be shared; unreadable maps have no say."""
    if value_range not in ("layer", "run"):
        return {}
    groups: Dict[str, List[Bounds]] = {}
    for files, found in _each(executor, partial(_ends, values=values), maps, _FILES_A_JOB):
        if not isinstance(found, Exception):
            for map_file, ends in zip(files, found):
                groups.setdefault(range_key(map_file, value_range), []).extend(ends)
    return {key: merge_bounds(found) for key, found in groups.items() if found}


def _ends(files: Sequence[MapFile], values: Callable[[FeatureMap], NDArray[np.floating]]) -> List[List[Bounds]]:
    found: List[List[Bounds]] = []
    for map_file in files:
        try:
            found.append([bounds(values(f), "map") for f in feature_maps(map_file)])
        except Exception:  # noqa: BLE001 (reported when it is drawn)
            found.append([])
    return found


def range_key(map_file: MapFile, value_range: str) -> str:
    """Which of the shared ranges is this map's."""
    return {"layer": map_file.folder, "run": "run"}.get(value_range, "none")

"""An index of a run's manifests: finds records by layer, level and sample without reading all lines.

A large run has millions of lines, so an SQLite table stores the position of each line. A record is always read from
its line; the table holds only what is needed to find it. For a large run the table is kept as `index.sqlite` in the
run's folder. This file is a cache: it is rebuilt when a manifest has changed, and it can be deleted at any time.
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from contextlib import ExitStack, closing, suppress
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Type, Union, overload

import msgspec

from featscope.errors import BadArrayError, BadRunError, FeatscopeError
from featscope.records import MapRecord, MeasuredPlace, Sample
from featscope.store.feature_maps import spread
from featscope.store.files import TEMPORARY, inside, natural_key, open_file
from featscope.store.globs import choose_names
from featscope.store.lines import DAMAGED_JSON, Record, read_lines
from featscope.store.maps import MapFile
from featscope.store.places import Key
from featscope.store.sample_rows import SampleRow, row_of

INDEX = "index.sqlite"

_KEPT_FROM_BYTES = 4 << 20  # size of the manifests; reading smaller ones takes less than 0.1 s
_ABANDONED_SECONDS = 600  # without a change; an index of a million maps takes four
_VERSION = 4
_TABLES = """
CREATE TABLE about (version INTEGER, signature TEXT);
CREATE TABLE problems (text TEXT);
CREATE TABLE groups (id INTEGER PRIMARY KEY, folder TEXT, layer TEXT, field TEXT, rank INTEGER);
CREATE TABLE maps (id INTEGER PRIMARY KEY, grp INTEGER, batch INTEGER, level INTEGER, file INTEGER, start INTEGER,
                   length INTEGER);
CREATE TABLE samples (id INTEGER PRIMARY KEY, name TEXT, batch INTEGER, file INTEGER, start INTEGER, length INTEGER,
                      detections INTEGER, truths INTEGER, score REAL, smallest REAL, classes TEXT,
                      image INTEGER);
CREATE TABLE members (name TEXT, batch INTEGER);
CREATE TABLE forms (grp INTEGER, level INTEGER, shape TEXT, stride TEXT, place TEXT, maps INTEGER, bytes INTEGER);
"""
_INSERT_SAMPLE = (
    "INSERT INTO samples (name, batch, file, start, length, detections, truths, score, smallest, classes, image) "
    "VALUES (?,?,?,?,?,?,?,?,?,?,?)"
)
_INDICES = """
CREATE INDEX maps_by_place ON maps (grp, batch, level);
CREATE INDEX samples_by_name ON samples (name);
CREATE INDEX samples_by_batch ON samples (batch);
CREATE INDEX members_by_name ON members (name, batch);
"""

Where = Tuple[int, int, int]
"""Position of a line: index of its file, start and length in bytes."""

_MOST = (1 << 63) - 1  # the largest number that SQLite holds; a damaged line may claim more


class Form(NamedTuple):
    """A group of similar maps: all maps of one folder and level that have the same shape and place."""

    folder: str
    layer: str
    field: str
    level: int

    shape: str
    """Shape of one sample's map."""

    stride: str
    """Stride of the cells; '' if the arrays are not maps of the image."""

    place: str
    """How the place of the cells is known, as in `featscope.records.Place`; later measurements are not included."""

    maps: int
    """Number of maps."""

    bytes: int
    """Size of all these maps together."""


def _matches_any(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _connect(where: str) -> sqlite3.Connection:
    # An index is used by one thread. It may be closed by another one, which collects the garbage.
    return sqlite3.connect(where, uri=True, check_same_thread=False)


class RunIndex:
    """The index of a run's manifests; see `open_run`. `places` are the places that were measured."""

    def __init__(self, folder: Path, places: Optional[Mapping[Key, MeasuredPlace]] = None) -> None:
        self.folder = folder
        self._places = places or {}
        self._files = sorted(folder.glob("manifest-*.jsonl")) + sorted(folder.glob("samples-*.jsonl"))
        self._db = self._open()
        weakref.finalize(self, self._db.close)
        self.batch_samples = lru_cache(maxsize=256)(self._batch_samples)

    def problems(self) -> List[FeatscopeError]:
        """Return an error for each line that is damaged or leads out of the run."""
        return [BadRunError(text) for (text,) in self._db.execute("SELECT text FROM problems")]

    # Maps

    def count(self) -> int:
        """Return the number of maps."""
        number: int = self._db.execute("SELECT count(*) FROM maps").fetchone()[0]
        return number

    def folders(self) -> Dict[str, int]:
        """Return folder -> number of maps, in natural order."""
        found = self._db.execute(
            "SELECT folder, count(*) FROM maps JOIN groups ON grp = groups.id GROUP BY folder ORDER BY min(rank)"
        )
        return dict(found.fetchall())

    def layers(self) -> List[str]:
        """Return the layers that have stored maps, in natural order."""
        found = self._db.execute("SELECT layer FROM groups GROUP BY layer ORDER BY min(rank)")
        return [layer for (layer,) in found]

    def forms(self) -> List[Form]:
        """Return a summary of all maps, in natural order, without reading any line."""
        found = self._db.execute(
            "SELECT folder, layer, field, level, shape, stride, place, maps, bytes FROM forms "
            "JOIN groups ON grp = groups.id ORDER BY rank, level, forms.rowid"
        )
        return [Form(*row) for row in found]

    def maps(
        self,
        only: Sequence[str] = (),
        layers: Sequence[str] = (),
        level: Optional[int] = None,
        sample: Optional[str] = None,
    ) -> Iterator[MapFile]:
        """Yield the maps of the given folders, layers, level and sample, in natural order. See `Run.select`."""
        batches = None if sample is None else self._batches_of(sample)
        groups = self._db.execute("SELECT id, folder, layer FROM groups ORDER BY rank").fetchall()
        chosen = set(choose_names(self.layers(), layers).names)
        for group, folder, own in groups:
            if own not in chosen:
                continue
            whole = not only or _matches_any(folder, only)
            if not whole and not any("/" in glob for glob in only):
                continue
            for map_file in self._group_maps(group, level, batches):
                wanted = whole or _matches_any(f"{folder}/{map_file.path.name}", only)
                if wanted and (sample is None or map_file.has(sample)):
                    yield map_file

    def spread(self, folder: str, most: int) -> List[MapFile]:
        """Return at most `most` maps of a folder, evenly from the first to the last."""
        found = self._db.execute(
            "SELECT file, start, length FROM maps JOIN groups ON grp = groups.id WHERE folder = ? "
            "ORDER BY batch, level, maps.id",
            (folder,),
        ).fetchall()
        return [self._map_file(row) for row in spread(found, most)]

    def map_of(self, sample: str, folder: str, level: int) -> Optional[MapFile]:
        """Return the last map of a sample in a folder and level; None if there is none."""
        # As a join with groups, it would be looked for among all maps.
        found = self._db.execute(
            "SELECT file, start, length FROM maps WHERE grp IN (SELECT id FROM groups WHERE folder = ?) "
            "AND batch IN (SELECT batch FROM members WHERE name = ?) AND level = ? ORDER BY batch DESC, id DESC",
            (folder, sample, level),
        )
        for row in found.fetchall():
            map_file = self._map_file(row)
            if any(known.id == sample for known in map_file.samples):
                return map_file
        return None

    def map_at(self, number: int) -> MapFile:
        """Return the map at a position in the natural order."""
        row = self._db.execute(
            "SELECT file, start, length FROM maps JOIN groups ON grp = groups.id "
            "ORDER BY rank, batch, level, maps.id LIMIT 1 OFFSET ?",
            (number,),
        ).fetchone()
        if row is None:
            raise IndexError(number)
        return self._map_file(row)

    def _group_maps(self, group: int, level: Optional[int], batches: Optional[List[int]]) -> Iterator[MapFile]:
        text, values = "SELECT file, start, length FROM maps WHERE grp = ?", [group]
        if level is not None:
            text, values = f"{text} AND level = ?", [*values, level]
        if batches is None:
            cursor = self._db.execute(f"{text} ORDER BY batch, level, id", values)
            for row in iter(cursor.fetchone, None):
                yield self._map_file(row)
            return
        for batch in batches:
            for row in self._db.execute(f"{text} AND batch = ? ORDER BY level, id", [*values, batch]).fetchall():
                yield self._map_file(row)

    def _map_file(self, where: Where) -> MapFile:
        record = self._read(where, MapRecord)
        batch = self.batch_samples(record.batch)
        if not record.samples:
            samples = batch
        else:  # look in the batch first, because a run may contain an id twice
            here = {sample.id: sample for sample in batch}
            samples = tuple(here.get(name) or self.sample(name) or Sample(name) for name in record.samples)
        folder = record.path.rpartition("/")[0]
        measured = self._places.get((record.layer, record.field, record.level))
        return MapFile(self.folder / record.path, folder, record, samples, self.folder, measured=measured)

    # Samples

    def sample_names(self) -> Iterator[str]:
        """Yield the ids of all samples that have a record, in the order of their lines."""
        for (name,) in self._db.execute("SELECT name FROM samples GROUP BY name ORDER BY min(id)"):
            yield name

    def sample_rows(self) -> List[SampleRow]:
        """Return a summary of every sample that has a record, in the order of their lines, without reading any line."""
        found = self._db.execute(
            "SELECT name, detections, truths, score, smallest, classes, image FROM samples ORDER BY id"
        )
        decode = msgspec.json.Decoder(List[int]).decode
        # Of several records of one name the last one counts, at the place of the first.
        rows = {
            name: SampleRow(
                name, detections, truths, score=score, smallest=smallest, classes=decode(classes), image=bool(image)
            )
            for name, detections, truths, score, smallest, classes, image in found
        }
        return list(rows.values())

    def sample_count(self) -> int:
        """Return the number of samples."""
        number: int = self._db.execute("SELECT count(DISTINCT name) FROM samples").fetchone()[0]
        return number

    def sample(self, name: str) -> Optional[Sample]:
        """Return the sample with this id; the last one if there are several."""
        row = self._db.execute(
            "SELECT file, start, length FROM samples WHERE name = ? ORDER BY id DESC LIMIT 1", (name,)
        ).fetchone()
        return None if row is None else self._read(row, Sample)

    def _batch_samples(self, batch: int) -> Tuple[Sample, ...]:
        rows = self._db.execute("SELECT file, start, length FROM samples WHERE batch = ? ORDER BY id", (batch,))
        return tuple(self._read(row, Sample) for row in rows.fetchall())

    def _batches_of(self, sample: str) -> List[int]:
        names = [sample]
        if any(character in sample for character in "*?["):
            every = self._db.execute("SELECT DISTINCT name FROM members")
            names = [name for (name,) in every if fnmatchcase(name, sample)]
        batches: Set[int] = set()
        for name in names:
            batches.update(b for (b,) in self._db.execute("SELECT batch FROM members WHERE name = ?", (name,)))
        return sorted(batches)

    # The table

    def _read(self, where: Where, kind: Type[Record]) -> Record:
        number, start, length = where
        path = self._files[number]
        with open_file(path) as file:
            file.seek(start)
            line = file.read(length)
        try:
            return msgspec.json.decode(line, type=kind)
        except DAMAGED_JSON:
            raise BadRunError(f"{path} changed while it was read; open the run again") from None

    def _open(self) -> sqlite3.Connection:
        signature = self._signature()
        path = self.folder / INDEX
        with suppress(sqlite3.Error, OSError):
            if path.is_file():
                with ExitStack() as unless_kept:
                    found = _connect(f"{path.absolute().as_uri()}?mode=ro")
                    unless_kept.enter_context(closing(found))
                    if found.execute("SELECT version, signature FROM about").fetchone() == (_VERSION, signature):
                        unless_kept.pop_all()
                        return found
        if sum(file.stat().st_size for file in self._files) >= _KEPT_FROM_BYTES:
            # Build it under a temporary name and rename it, because two processes may do this at the same time.
            temporary = path.with_name(f"{INDEX}.{os.getpid()}{TEMPORARY}")
            self._remove_abandoned()
            with suppress(sqlite3.Error, OSError):
                with closing(sqlite3.connect(str(temporary))) as new:
                    self._build(new, signature)
                os.replace(temporary, path)
                return _connect(f"{path.absolute().as_uri()}?mode=ro")
            with suppress(OSError):  # the folder is read-only, so build the index in memory
                temporary.unlink()
        with ExitStack() as unless_built:
            memory = _connect(":memory:")
            unless_built.callback(memory.close)
            self._build(memory, signature)
            unless_built.pop_all()
        return memory

    def _remove_abandoned(self) -> None:
        """Remove indices that killed processes left half made. One that is being made changes all the time."""
        for other in self.folder.glob(f"{INDEX}.*{TEMPORARY}"):
            with suppress(OSError):
                if time.time() - other.stat().st_mtime > _ABANDONED_SECONDS:
                    other.unlink()

    def _signature(self) -> str:
        states = [(file.name, file.stat()) for file in self._files]
        return repr([(name, state.st_size, state.st_mtime_ns) for name, state in states])

    def _build(self, db: sqlite3.Connection, signature: str) -> None:
        db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _TABLES)
        problems: List[str] = []
        groups: Dict[Tuple[str, str, str], int] = {}
        folders: Dict[str, bool] = {}
        last_members: Tuple[int, List[str]] = (-1, [])
        maps: List[Tuple[int, ...]] = []
        forms: Dict[Tuple[object, ...], List[int]] = {}
        samples: List[Tuple[object, ...]] = []
        members: List[Tuple[str, int]] = []

        def flush(least: int) -> None:
            if len(maps) + len(samples) < least:
                return
            db.executemany("INSERT INTO maps (grp, batch, level, file, start, length) VALUES (?,?,?,?,?,?)", maps)
            db.executemany(_INSERT_SAMPLE, samples)
            db.executemany("INSERT INTO members VALUES (?,?)", members)
            maps.clear()
            samples.clear()
            members.clear()

        for number, path in enumerate(self._files):
            about_maps = path.name.startswith("manifest")
            lines = read_lines(path, MapRecord) if about_maps else read_lines(path, Sample)
            for start, length, record in lines:
                if isinstance(record, BadRunError):
                    problems.append(str(record))
                elif isinstance(record, Sample):
                    row = row_of(record)
                    facts = row.detections, row.truths, row.score, row.smallest
                    listed = msgspec.json.encode(row.classes).decode()
                    samples.append((row.name, record.batch, number, start, length, *facts, listed, row.image))
                    members.append((record.id, record.batch))
                else:
                    folder = record.path.rpartition("/")[0]
                    if not self._believable(record.path, folder, folders):
                        problems.append(
                            f"{record.path[:200]!r} leads out of the run {self.folder}; the record is ignored"
                        )
                        continue
                    group = groups.setdefault((folder, record.layer, record.field), len(groups))
                    maps.append((group, record.batch, record.level, number, start, length))
                    known = record.stride and (record.place or "assumed")
                    key = (group, record.level, tuple(record.shape), record.stride, known)
                    form = forms.setdefault(key, [0, 0])
                    form[0] += 1
                    form[1] += record.bytes
                    if (record.batch, record.samples) != last_members:
                        last_members = record.batch, record.samples
                        members.extend((name, record.batch) for name in record.samples)
                flush(least=50_000)
        flush(least=0)
        order = sorted(groups, key=lambda group: natural_key(group[0]))
        db.executemany(
            "INSERT INTO groups VALUES (?,?,?,?,?)", [(groups[key], *key, rank) for rank, key in enumerate(order)]
        )
        db.executemany("INSERT INTO forms VALUES (?,?,?,?,?,?,?)", _rows(forms))
        db.executemany("INSERT INTO problems VALUES (?)", [(text,) for text in problems])
        db.executescript(_INDICES)
        db.execute("INSERT INTO about VALUES (?,?)", (_VERSION, signature))
        db.commit()

    def _believable(self, path: str, folder: str, folders: Dict[str, bool]) -> bool:
        """Whether a path stays in the run. Its folder is resolved only once; the file is checked when it is read."""
        if folder not in folders:
            try:
                inside(self.folder, f"{folder}/x")
                folders[folder] = True
            except BadArrayError:
                folders[folder] = False
        name = path.rpartition("/")[2]
        return folders[folder] and name not in ("", ".", "..") and "\x00" not in name


def _rows(forms: Mapping[Tuple[object, ...], List[int]]) -> List[Tuple[object, ...]]:
    """Return the rows of the table of forms. Forms that differ only in the number of samples in a file are merged."""
    rows: Dict[Tuple[object, ...], List[int]] = {}
    for (group, level, shape, stride, place), (maps, size) in forms.items():
        sides = shape[1:] if isinstance(shape, tuple) else ()
        steps = [f"{step:g}" for step in dict.fromkeys(stride)] if isinstance(stride, tuple) else []
        row = rows.setdefault((group, level, " x ".join(map(str, sides)), " x ".join(steps), place or ""), [0, 0])
        row[0] += maps
        row[1] += size
    return [(*key, maps, max(0, min(size, _MOST))) for key, (maps, size) in rows.items()]


class IndexedMaps(Sequence[MapFile]):
    """All maps of a run in natural order, each read from its line when it is accessed."""

    def __init__(self, index: RunIndex) -> None:
        self._index = index

    def __len__(self) -> int:
        return self._index.count()

    def __iter__(self) -> Iterator[MapFile]:
        return self._index.maps()

    @overload
    def __getitem__(self, place: int) -> MapFile: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[MapFile]: ...

    def __getitem__(self, place: Union[int, slice]) -> Union[MapFile, Sequence[MapFile]]:
        if isinstance(place, slice):
            return [self._index.map_at(i) for i in range(*place.indices(len(self)))]
        return self._index.map_at(place if place >= 0 else place + len(self))


class IndexedSamples(Mapping[str, Sample]):
    """The samples of a run by id, each read from its line when it is accessed."""

    def __init__(self, index: RunIndex) -> None:
        self._index = index

    def __len__(self) -> int:
        return self._index.sample_count()

    def __iter__(self) -> Iterator[str]:
        return self._index.sample_names()

    def __getitem__(self, name: str) -> Sample:
        sample = self._index.sample(name)
        if sample is None:
            raise KeyError(name)
        return sample

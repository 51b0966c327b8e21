"""Reading a run, or any folder of subfolders of `.npy` files made by hand."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import msgspec

from featscope.errors import BadOptionError, BadRunError, FeatscopeError, unknown_name
from featscope.records import MeasuredPlace, RunInfo, Sample
from featscope.store.files import PICTURE_FOLDERS, natural_key
from featscope.store.globs import choose_names
from featscope.store.index import IndexedMaps, IndexedSamples, RunIndex
from featscope.store.maps import MapFile
from featscope.store.places import Key, read_places
from featscope.store.writer import info_name, read_info
from featscope.words import counted

if TYPE_CHECKING:
    import pandas

    from featscope.store.contents import Content, MapRow
    from featscope.store.tables import Rows

_NAMED = 5  # runs, in an error


@dataclass(frozen=True, repr=False)
class Run:
    """A folder of maps, opened; a notebook shows what is in it. `info` is None where there is no manifest.

    >>> run = featscope.open_run("runs/fpn")
    >>> run
    <Run runs/fpn: Toy, 2 maps in 1 folder, 1 sample>
    >>> [(row.sample, row.layer, row.level, row.shape) for row in run.rows()]
    [('harbour', 'neck', 0, (8, 8, 10)), ('harbour', 'neck', 1, (8, 4, 5))]

    maps: in natural order. samples: by id. Both are read line by line when they are used, so that a run
    of a million maps opens at once. problems: lines of the manifest that are not believed, each as an
    error. places: what `featscope place` measured, by layer, field and level.
    """

    folder: Path
    maps: Sequence[MapFile]
    info: Optional[RunInfo] = None
    samples: Mapping[str, Sample] = field(default_factory=dict)
    problems: Tuple[FeatscopeError, ...] = ()
    index: Optional[RunIndex] = None
    places: Mapping[Key, MeasuredPlace] = field(default_factory=dict)

    def select(
        self,
        only: Sequence[str] = (),
        layer: Union[str, Sequence[str], None] = None,
        level: Optional[int] = None,
        sample: Optional[str] = None,
    ) -> List[MapFile]:
        """The maps of layers, of a level, of a sample, or whose folder or folder/file matches a glob.

        >>> featscope.open_run("runs/fpn").select(layer="neck", level=1, sample="harbour")
        [<MapFile neck.fpn/batch_0_layer_1.npy: neck, level 1, 1 x 8 x 4 x 5 float32>]

        layer: names and globs as for a capture (`backbone.layer*`, `**.conv`, `!neck`). sample may be a glob. A folder
        without a manifest knows neither.
        """
        layers = [layer] if isinstance(layer, str) else list(layer or ())
        if self.index is not None:
            return list(self.index.maps(only, layers, level, sample))
        if layers or level is not None or sample is not None:
            return []
        return [
            m
            for m in self.maps
            if not only or any(fnmatchcase(m.folder, g) or fnmatchcase(f"{m.folder}/{m.path.name}", g) for g in only)
        ]

    def choose(
        self,
        only: Sequence[str] = (),
        layers: Sequence[str] = (),
        level: Optional[int] = None,
        sample: Optional[str] = None,
    ) -> Sequence[MapFile]:
        """The maps that `select` gives, each for the wanted sample alone; all of the run where nothing is asked for.

        Raises `UnknownNameError` for a layer or a sample that the run does not have, and where no map is left.
        """
        if not only and not layers and level is None and sample is None:
            return self.maps
        asked = {"layers": layers, "levels": level is not None, "samples": sample is not None}
        if self.index is None and any(asked.values()):
            names = " and ".join(kind for kind, wanted in asked.items() if wanted)
            raise BadRunError(
                f"{self.folder} has no manifest, so it does not know its {names}; choose its folders: --only 'neck*'"
            )
        list_with = f"featscope list {self.folder}"
        if self.index is not None:
            known = self.index.layers()
            for pattern in choose_names(known, layers).missing:
                raise unknown_name("layer", pattern, known, list_with)
        chosen = self.select(only, layers, level, sample)
        if chosen:  # a file may hold others of the batch too
            return [replace(map_file, wanted=sample) for map_file in chosen]
        if sample is not None and not self.select(sample=sample):
            raise unknown_name("sample", sample, self.samples, list_with)
        if level is not None and self.select(only, layers, None, sample):
            levels = sorted({form.level for form in self.index.forms()}) if self.index is not None else []
            raise BadOptionError(
                f"no map of level {level} is among them; {self.folder} has the levels {', '.join(map(str, levels))}"
            )
        parts = [*only, *layers, *([f"level {level}"] if level is not None else []), *([sample] if sample else [])]
        raise unknown_name("map", " ".join(parts), self.folders(), list_with)

    def folders(self) -> Dict[str, int]:
        """Folder -> number of its maps, in natural order."""
        if self.index is not None:
            return self.index.folders()
        return dict(Counter(m.folder for m in self.maps))

    def contents(self) -> Rows[Content]:
        """What maps there are, a row for each level of a folder: what `featscope list RUN` prints."""
        from featscope.store.contents import contents

        return contents(self)

    def rows(
        self,
        only: Sequence[str] = (),
        layers: Sequence[str] = (),
        level: Optional[int] = None,
        sample: Optional[str] = None,
    ) -> Rows[MapRow]:
        """A row for each map of each image, of all or of those that `choose` gives."""
        from featscope.store.contents import map_rows

        return map_rows(self.choose(only, layers, level, sample))

    def table(self) -> pandas.DataFrame:
        """The `rows` as a table of pandas.

        >>> featscope.open_run("runs/fpn").table().groupby("layer").bytes.sum()     # doctest: +SKIP

        Raises `MissingPackageError` where pandas is not installed.
        """
        return self.rows().table()

    def __repr__(self) -> str:
        folders = self.folders()
        what = f"{self.info.model or 'a model'}, " if self.info is not None else ""
        samples = f", {counted(len(self.samples), 'sample')}" if self.info is not None else ""
        state = "" if self.info is None or self.info.finished else ", unfinished"
        wrong = f"; {counted(len(self.problems), 'problem')}: see .problems" if self.problems else ""
        maps = f"{counted(sum(folders.values()), 'map')} in {counted(len(folders), 'folder')}"
        return f"<Run {self.folder}: {what}{maps}{samples}{state}{wrong}>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self)[1:-1])}</p>{self.contents()._repr_html_()}"


def open_run(folder: Path | str) -> Run:
    """Open a run, or any folder of subfolders of `.npy` files.

    >>> run = featscope.open_run("runs/fpn")
    >>> run.maps[0].folder, run.maps[0].load().shape
    ('neck.fpn', (1, 8, 8, 10))

    Raises `BadRunError` where there is nothing to read. Single lines that are damaged go to
    `Run.problems`, the rest is read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        fact = "is not a folder" if folder.exists() else "does not exist"
        raise BadRunError(f"{folder} {fact}; name a run, or a folder of subfolders of .npy files")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise BadRunError(f"{folder} cannot be read: permission denied; try: chmod -R u+rX {folder}")
    if (folder / "run.json").exists():
        return _open_manifests(folder)
    problems: List[FeatscopeError] = []
    runs: List[Path] = []
    maps = tuple(walk_arrays(folder, problems, runs))
    if runs:
        some = ", ".join(map(str, runs[:_NAMED])) + (f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else "")
        raise BadRunError(f"{folder} is not a run, but holds {counted(len(runs), 'run')}: {some}; name one run")
    if not maps and problems:
        raise problems[0]
    if not maps:
        raise BadRunError(f"{folder} holds no .npy file; name a folder of subfolders of .npy files")
    return Run(folder, maps, problems=tuple(problems))


def _open_manifests(folder: Path) -> Run:
    info = read_info(folder)
    problems: List[FeatscopeError] = []
    for rank in range(1, info.ranks):
        if not (folder / info_name(rank)).exists() or not read_info(folder, info_name(rank)).finished:
            info = msgspec.structs.replace(info, finished="")
            break
    places: Dict[Key, MeasuredPlace] = {}
    try:
        places = read_places(folder, info.started)
    except BadRunError as error:  # maps are drawn where their records say
        problems.append(error)
    index = RunIndex(folder, places)
    problems += index.problems()
    return Run(folder, IndexedMaps(index), info, IndexedSamples(index), tuple(problems), index, places)


def walk_arrays(root: Path, problems: List[FeatscopeError], runs: Optional[List[Path]] = None) -> Iterator[MapFile]:
    """All `.npy` files below a folder in natural order, but for those among a run's pictures.

    Folders that cannot be read go to `problems`. runs: takes the folders of runs that lie below; their files are left
    out then.
    """

    def unreadable(error: OSError) -> None:
        problems.append(BadRunError(f"{error.filename} cannot be read: {error.strerror}; try: chmod u+rx"))

    for current, folders, files in os.walk(root, onerror=unreadable):
        folders[:] = sorted(
            (f for f in folders if not (Path(current) == root and f in PICTURE_FOLDERS)), key=natural_key
        )
        if runs is not None and "run.json" in files:
            runs.append(Path(current))
            folders.clear()
            continue
        for name in sorted(files, key=natural_key):
            if name.endswith(".npy"):
                path = Path(current) / name
                relative = path.parent.relative_to(root).as_posix()
                yield MapFile(path, "" if relative == "." else relative)

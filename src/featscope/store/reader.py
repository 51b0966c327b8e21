"""Read a run, or any folder with subfolders of `.npy` files that were made by hand."""

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
from featscope.store.feature_maps import spread
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
    from featscope.viewer.notebook import View

_NAMED = 5  # the most runs that an error lists


@dataclass(frozen=True, repr=False)
class Run:
    """An opened folder of maps; a notebook shows what it contains. `info` is None if there is no manifest.

    >>> run = featscope.open_run("runs/fpn")
    >>> run
    <Run runs/fpn: Toy, 2 maps in 1 folder, 1 sample>
    >>> [(row.sample, row.layer, row.level, row.shape) for row in run.rows()]
    [('harbour', 'neck', 0, (8, 8, 10)), ('harbour', 'neck', 1, (8, 4, 5))]

    Maps and samples are read line by line when they are used, so that a run of a million maps opens immediately.
    """

    folder: Path

    maps: Sequence[MapFile]
    """All maps, in natural order."""

    info: Optional[RunInfo] = None
    """What the run contains; None if the folder has no manifest."""

    samples: Mapping[str, Sample] = field(default_factory=dict)
    """The samples, by id."""

    problems: Tuple[FeatscopeError, ...] = ()
    """An error for each record that was ignored."""

    index: Optional[RunIndex] = None
    """The index of the manifests; None if the folder has no manifest."""

    places: Mapping[Key, MeasuredPlace] = field(default_factory=dict)
    """Places that `featscope place` measured, by layer, field and level."""

    def select(
        self,
        only: Sequence[str] = (),
        layer: Union[str, Sequence[str], None] = None,
        level: Optional[int] = None,
        sample: Optional[str] = None,
    ) -> List[MapFile]:
        """Return the maps of certain layers, of a level or of a sample, or in certain folders.

        >>> featscope.open_run("runs/fpn").select(layer="neck", level=1, sample="harbour")
        [<MapFile neck.fpn/batch_0_layer_1.npy: neck, level 1, 1 x 8 x 4 x 5 float32>]

        only: globs that match a folder or folder/file. layer: names and globs as for a capture (`backbone.layer*`,
        `**.conv`, `!neck`). sample: an id or a glob. Without a manifest only `only` can select maps; the others give
        an empty list.
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
        """Return the maps that `select` finds, each limited to the requested sample; all maps if nothing is requested.

        Raises `UnknownNameError` if the run does not have the layer or the sample, or if no map is left.
        """
        if not only and not layers and level is None and sample is None:
            return self.maps
        if self.index is None:
            self._need_manifest({"layers": bool(layers), "levels": level is not None, "samples": sample is not None})
        else:
            known = self.index.layers()
            for pattern in choose_names(known, layers).missing:
                raise unknown_name("layer", pattern, known, f"featscope list {self.folder}")
        chosen = self.select(only, layers, level, sample)
        if not chosen:
            raise self._nothing_chosen(only, layers, level, sample)
        # A file may also hold other samples of the batch.
        return [replace(map_file, wanted=sample) for map_file in chosen]

    def _need_manifest(self, asked: Mapping[str, bool]) -> None:
        names = " and ".join(kind for kind, wanted in asked.items() if wanted)
        if names:
            raise BadRunError(
                f"{self.folder} has no manifest, so it does not know its {names}; choose its folders: --only 'neck*'"
            )

    def _nothing_chosen(
        self, only: Sequence[str], layers: Sequence[str], level: Optional[int], sample: Optional[str]
    ) -> FeatscopeError:
        """Return the error that says why no map was chosen."""
        list_with = f"featscope list {self.folder}"
        if sample is not None and not self.select(sample=sample):
            return unknown_name("sample", sample, self.samples, list_with)
        if level is not None and self.select(only, layers, None, sample):
            levels = sorted({form.level for form in self.index.forms()}) if self.index is not None else []
            return BadOptionError(
                f"none of the chosen maps has level {level}; {self.folder} has the levels {', '.join(map(str, levels))}"
            )
        parts = [*only, *layers, *([f"level {level}"] if level is not None else []), *([sample] if sample else [])]
        return unknown_name("map", " ".join(parts), self.folders(), list_with)

    def folders(self) -> Dict[str, int]:
        """Return folder -> number of its maps, in natural order."""
        if self.index is not None:
            return self.index.folders()
        return dict(Counter(m.folder for m in self.maps))

    def spread(self, folder: str, most: int) -> List[MapFile]:
        """Return at most `most` maps of a folder, evenly from the first to the last."""
        if self.index is not None:
            return self.index.spread(folder, most)
        return list(spread([m for m in self.maps if m.folder == folder], most))

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

    def view(
        self,
        sample: Optional[str] = None,
        layer: Union[str, Sequence[str], None] = None,
        *,
        most: int = 8,
        height: int = 640,
        channels: bool = True,
    ) -> View:
        """Show the run in a notebook: every layer, level and channel on the image, with boxes and their sources.

        >>> featscope.open_run("runs/fpn").view(sample="harbour", layer="neck")
        <View of 2 maps of 1 sample of runs/fpn; a notebook shows it>

        The page holds its data, so it needs no server. For a large run, type `featscope view RUN` in a shell.

        sample: an id or a glob. layer: names and globs as for a capture. most: number of samples to hold; 0 for all.
        height: of the page, in pixels. channels: also hold all channels, small. Raises `UnknownNameError` if the run
        does not have the layer or the sample.
        """
        from featscope.viewer.notebook import View

        return View(self, sample, layer, most=most, height=height, channels=channels)

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
    """Open a run, or any folder with subfolders of `.npy` files.

    >>> run = featscope.open_run("runs/fpn")
    >>> run.maps[0].folder, run.maps[0].load().shape
    ('neck.fpn', (1, 8, 8, 10))

    Raises `BadRunError` if there is nothing to read. Damaged lines are listed in `Run.problems`; the others are read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        fact = "is not a folder" if folder.exists() else "does not exist"
        raise BadRunError(f"{folder} {fact}; give the folder of a run, or a folder with subfolders of .npy files")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise BadRunError(f"{folder} cannot be read: permission denied; try: chmod -R u+rX {folder}")
    if (folder / "run.json").exists():
        return _open_manifests(folder)
    problems: List[FeatscopeError] = []
    runs: List[Path] = []
    maps = tuple(walk_arrays(folder, problems, runs))
    if runs:
        some = ", ".join(map(str, runs[:_NAMED])) + (f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else "")
        raise BadRunError(f"{folder} is not a run, but holds {counted(len(runs), 'run')}: {some}; choose one of them")
    if not maps and problems:
        raise problems[0]
    if not maps:
        raise BadRunError(f"{folder} holds no .npy file; give a folder with subfolders of .npy files")
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
    except BadRunError as error:  # the places in the records are used instead
        problems.append(error)
    index = RunIndex(folder, places)
    problems += index.problems()
    return Run(
        folder,
        IndexedMaps(index),
        info=info,
        samples=IndexedSamples(index),
        problems=tuple(problems),
        index=index,
        places=places,
    )


def walk_arrays(root: Path, problems: List[FeatscopeError], runs: Optional[List[Path]] = None) -> Iterator[MapFile]:
    """Yield all `.npy` files below a folder in natural order, except those in a run's folders of pictures.

    Folders that cannot be read are added to `problems`. If `runs` is given, folders of runs are added to it and their
    files are left out.
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

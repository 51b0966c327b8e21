"""Which maps of two runs are of the same thing: by sample, layer, field and level.

A folder is named LAYER.class, so a layer whose class was changed has another folder in each run. What a map is of
stands in its record, and that is what is compared. Folders without a manifest have names only.
"""

from __future__ import annotations

from dataclasses import dataclass
from glob import escape as glob_escape
from html import escape
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from featscope.errors import BadRunError, unknown_name
from featscope.store.contents import some_of
from featscope.store.globs import choose_names
from featscope.store.holdings import Held, Key, Level, by_file, pair_folders
from featscope.store.maps import MapFile
from featscope.store.reader import Run, open_run
from featscope.store.tables import Rows
from featscope.words import counted

OUTPUT = "the model's output"
"""What the layer '' is called."""

_NAMED = 5  # samples, in a line


class OneMap(NamedTuple):
    """One image's map: a file, and its place in it."""

    file: MapFile
    number: int

    @property
    def array(self) -> NDArray[np.generic]:
        """(C, H, W)."""
        return self.file.load()[self.number]


class Pair(NamedTuple):
    """The maps of two runs that are of the same sample, layer, field and level."""

    sample: str
    layer: str
    field: str
    level: int
    first: OneMap
    second: OneMap


class MatchRow(NamedTuple):
    """One level of a layer's field, in two runs.

    folder, shape: of the first run, '' where it has none; other_folder, other_shape: of the second. both: samples
    whose map is in both runs. reshaped: those of them whose maps have two shapes. only_first, only_second: samples
    whose map is in one run.
    """

    layer: str
    field: str
    level: int
    folder: str
    other_folder: str
    shape: str
    other_shape: str
    both: int
    reshaped: int
    only_first: int
    only_second: int

    @property
    def where(self) -> str:
        """What it is, in words."""
        return " ".join(filter(None, [self.layer or OUTPUT, self.field, f"level {self.level}"]))


@dataclass(frozen=True, repr=False)
class Match:
    """How two runs line up; `featscope.match_runs` finds out, and a notebook shows it as a table.

    rows: a row for each level of a layer's field. samples: those in both runs. only_first, only_second: samples of one
    run. by: 'records', what the runs' manifests say, or 'names', where one of them is a folder without a manifest:
    then folders and files of one name are taken to be the same, and nothing proves it.
    """

    first: Run
    second: Run
    rows: Rows[MatchRow]
    samples: List[str]
    only_first: List[str]
    only_second: List[str]
    by: str = "records"

    @property
    def differences(self) -> List[str]:
        """What does not line up, a line each; empty where all does."""
        one, two = str(self.first.folder), str(self.second.folder)
        said = [*_only(one, two, self.only_first), *_only(two, one, self.only_second)]
        alone: Dict[Tuple[str, str, str], List[int]] = {}
        for row in self.rows:
            if not (row.folder and row.other_folder):
                where = f"{row.layer or OUTPUT} {row.field}".strip()
                alone.setdefault((one if row.folder else two, where, row.folder or row.other_folder), []).append(
                    row.level
                )
                continue
            if row.reshaped:
                shapes = f"{row.shape} in {one}, {row.other_shape} in {two}"
                said.append(f"{row.where} has two shapes for {counted(row.reshaped, 'sample')}: {shapes}")
            missing = len(self.samples) - row.both
            if missing > 0:
                said.append(f"{row.where} is missing in one of the runs for {counted(missing, 'sample')}")
        for (run, where, folder), levels in alone.items():
            numbers = ", ".join(map(str, levels))
            said.append(f"only {run} has {where}, level{'s' if len(levels) > 1 else ''} {numbers}, in {folder}")
        return said

    def pairs(self) -> Iterator[Pair]:
        """The maps that are in both, a level after the other, in the order of the first run.

        >>> for pair in featscope.match_runs("runs/fpn", "runs/newneck").pairs():
        ...     print(pair.sample, pair.layer, pair.level, abs(pair.first.array - pair.second.array).max())
        harbour neck 0 0.0
        harbour neck 1 0.0

        Arrays whose rows are not those of samples, as of regions of interest, are left out.
        """
        wanted = set(self.samples)
        for row in self.rows:
            if not (row.folder and row.other_folder):
                continue
            find = self._finder(row)
            for name, own in self._maps(self.first, row.folder, row):
                other = find(name) if name in wanted else None
                if other is not None:
                    yield Pair(name, row.layer, field=row.field, level=row.level, first=own, second=other)

    def _finder(self, row: MatchRow) -> Callable[[str], Optional[OneMap]]:
        """What finds a sample's map in the second run: one by one, as a run may hold a million."""
        if self.by == "names":
            return dict(self._maps(self.second, row.other_folder, row)).get
        return lambda name: next(
            (found for same, found in self._maps(self.second, row.other_folder, row, name) if same == name), None
        )

    def _maps(self, run: Run, folder: str, row: MatchRow, sample: str = "") -> Iterator[Tuple[str, OneMap]]:
        """The maps of one level, or those in the files of a sample, each with its sample."""
        if run.index is None or self.by == "names":
            for map_file in run.maps:
                name, level = by_file(map_file.path.name)
                if (map_file.folder, level) == (folder, row.level) and map_file.counts()[0] == 1:
                    yield name, OneMap(map_file, 0)
            return
        of_sample = glob_escape(sample) if sample else None
        for map_file in run.index.maps([glob_escape(folder)], level=row.level, sample=of_sample):
            record = map_file.record
            if record is None or (record.layer, record.field) != (row.layer, row.field):
                continue
            if record.shape[:1] == [len(map_file.samples)]:
                yield from ((one.id, OneMap(map_file, place)) for place, one in enumerate(map_file.samples))

    @property
    def summary(self) -> str:
        """How much lines up, in a line."""
        lined = sum(bool(row.both) for row in self.rows)
        how = "" if self.by == "records" else ", matched by the names of their folders and files, which proves nothing"
        what = "sample" if self.by == "records" else "file name"
        return (
            f"{self.first.folder} and {self.second.folder} share {lined} of {counted(len(self.rows), 'level')} "
            f"and {counted(len(self.samples), what)}{how}"
        )

    def __repr__(self) -> str:
        return f"<Match: {self.summary}; {counted(len(self.differences), 'difference')}>"

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{escape(text)}</p>" for text in self.differences)
        return f"<p>{escape(self.summary)}</p>{self.rows._repr_html_()}{said}"


def match_runs(
    first: Union[Run, str, Path],
    second: Union[Run, str, Path],
    *,
    layers: Union[str, Sequence[str]] = (),
    level: Optional[int] = None,
    sample: Optional[str] = None,
) -> Match:
    """Line up two runs, as of a detector and a variant of it: what `featscope list RUN OTHER` prints.

    >>> match = featscope.match_runs("runs/fpn", "runs/newneck")
    >>> match
    <Match: runs/fpn and runs/newneck share 2 of 2 levels and 1 sample; 0 differences>
    >>> match.rows[0].folder, match.rows[0].other_folder
    ('neck.fpn', 'neck.newneck')

    first, second: folders, or runs that are open. layers, level, sample: only these, as in `Run.select`. Raises
    `UnknownNameError` for a layer that neither run has, `BadRunError` where folders without a manifest are asked for
    layers, levels or samples.
    """
    runs = [one if isinstance(one, Run) else open_run(one) for one in (first, second)]
    by = "records" if all(run.index is not None for run in runs) else "names"
    patterns = [layers] if isinstance(layers, str) else list(layers)
    if by == "names" and (patterns or level is not None or sample is not None):
        bare = next(run for run in runs if run.index is None)
        raise BadRunError(
            f"{bare.folder} has no manifest, so it does not know layers, levels and samples: leave them out"
        )
    one, two = (Held.of_records(run) if by == "records" else Held.of_names(run) for run in runs)
    if by == "names":
        pair_folders(one, two)
    known = list(dict.fromkeys(key[0] for key in (*one.levels, *two.levels)))
    chosen = choose_names(known, patterns)
    for pattern in chosen.missing:
        raise unknown_name("layer", pattern, known, f"featscope list {runs[0].folder}")
    for held in (one, two):
        held.keep(set(chosen.names), level, sample)
    return Match(
        runs[0],
        runs[1],
        rows=Rows(MatchRow._fields, _rows(one.levels, two.levels)),
        samples=[name for name in one.samples if name in two.samples],
        only_first=[name for name in one.samples if name not in two.samples],
        only_second=[name for name in two.samples if name not in one.samples],
        by=by,
    )


def _rows(one: Dict[Key, Level], two: Dict[Key, Level]) -> Iterator[MatchRow]:
    nothing = Level("")
    for key in dict.fromkeys((*one, *two)):
        here, there = one.get(key, nothing), two.get(key, nothing)
        both = here.shapes.keys() & there.shapes.keys()
        yield MatchRow(
            *key,
            folder=here.folder,
            other_folder=there.folder,
            shape=some_of(here.shapes.values()),
            other_shape=some_of(there.shapes.values()),
            both=len(both),
            reshaped=sum(here.shapes[name] != there.shapes[name] for name in both),
            only_first=len(here.shapes) - len(both),
            only_second=len(there.shapes) - len(both),
        )


def _only(run: str, other: str, names: Sequence[str]) -> List[str]:
    """What to say of samples that one run has."""
    if not names:
        return []
    some = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    return [f"only {run} has {counted(len(names), 'sample')} that {other} lacks: {some}"]

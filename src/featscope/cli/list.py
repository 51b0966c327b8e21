"""`featscope list`: list the contents of a run."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, List, Optional, Sequence, Tuple

from featscope.cli import options
from featscope.cli.options import own
from featscope.words import counted

if TYPE_CHECKING:
    from featscope.cli.console import Table
    from featscope.records import Boxes, Sample
    from featscope.store.contents import Content
    from featscope.store.matching import MatchRow
    from featscope.store.reader import Run

_SHOWN_SAMPLES = 20


def run(
    folder: Path = options.run,
    other: Optional[Path] = options.other_run,
    layers: Optional[List[str]] = options.layer(),
    level: Optional[int] = options.level(),
    sample: Optional[str] = options.sample(),
    everything: bool = own(
        "--all", panel=options.WHAT, help=f"List every sample, not only the first {_SHOWN_SAMPLES}.", default=False
    ),
) -> None:
    """List what a run contains, or the maps of a layer, a level or a sample.

    A run of a million maps is listed in a second once it has been indexed.

    With a second run, list which maps of the two have the same sample, layer, field and level.

    Examples:
      featscope list runs/s2anet
      featscope list runs/fpn runs/newneck
      featscope list runs/s2anet --all
      featscope list runs/s2anet --sample P0706
      featscope list runs/s2anet -l neck --level 2 --sample 'P07*'
    """
    from featscope.cli.console import finish, new_table, show
    from featscope.store.reader import open_run

    if other is not None:
        _tell_match(folder, other, layers or (), level, sample)
        return
    opened = open_run(folder)
    problems = [str(problem) for problem in opened.problems]
    if not layers and level is None and sample is None:
        if opened.index is None:
            _tell_files(opened, problems)
        else:
            _tell_maps(opened)
            _tell_samples(opened, everything)
        folders = opened.folders()
        finish(
            f"{counted(sum(folders.values()), 'map')} in {counted(len(folders), 'folder')}, "
            f"{counted(len(opened.samples), 'sample')}",
            problems,
        )
        return
    found = opened.choose(layers=layers or (), level=level, sample=sample)
    table = new_table("file", "shape", "samples", folded=["file", "samples"])
    for map_file in found:
        shape = " x ".join(map(str, map_file.record.shape)) if map_file.record else ""
        table.add_row(map_file.path, shape, " ".join(one.id for one in map_file.samples))
    show(table)
    finish(counted(len(found), "map"), problems)


def _tell_match(folder: Path, other: Path, layers: Sequence[str], level: Optional[int], sample: Optional[str]) -> None:
    """Print how two runs line up: a line for each level, and the differences."""
    from featscope.cli.console import finish, fits, say, show
    from featscope.store.matching import match_runs

    match = match_runs(folder, other, layers=layers, level=level, sample=sample)
    say(f"1: {folder}")
    say(f"2: {other}")
    say("")
    table = _table_of_match(match.rows, narrow=False)
    show(table if fits(table) else _table_of_match(match.rows, narrow=True))
    say("")
    for text in match.differences:
        say(text)
    finish(match.summary, [*map(str, match.first.problems), *map(str, match.second.problems)])


def _table_of_match(rows: Iterable[MatchRow], narrow: bool) -> Table:
    from featscope.cli.console import new_table

    numbers = ["level", "both", "only 1", "only 2"]
    names = [] if narrow else ["folder of 1", "folder of 2"]
    shapes = ["shape in 1", "shape in 2"]
    table = new_table("layer", "field", "level", *names, *shapes, *numbers[1:], right=numbers, folded=[*names, *shapes])
    for row in rows:
        folders = [] if narrow else [row.folder, row.other_folder]
        same = row.shape == row.other_shape and not row.reshaped
        shown = [row.shape, "the same" if same else row.other_shape]
        counts = [row.both, row.only_first, row.only_second]
        table.add_row(row.layer, row.field, row.level, *folders, *shown, *counts)
    return table


def _tell_maps(run: Run) -> None:
    """Print the maps, a line for each level of a folder."""
    from featscope.cli.console import fits, show

    rows = run.contents()
    table = _table_of_maps(rows, narrow=False)
    # The name of a folder contains its layer and field, so a narrow terminal shows only the folder.
    show(table if fits(table) else _table_of_maps(rows, narrow=True))


def _table_of_maps(rows: Iterable[Content], narrow: bool) -> Table:
    from featscope.cli.console import new_table

    numbers = ["level", "stride", "maps", "size"]
    folded = ["folder", *(["shape"] if any("," in row.shape for row in rows) else [])]
    names = ["folder"] if narrow else ["folder", "layer", "field"]
    headings = [*names, "level", "shape", "stride", "maps", "size", "place"]
    table = new_table(*headings, right=numbers, folded=folded)
    last: Tuple[str, ...] = ()
    for row in rows:
        own = (row.folder,) if narrow else (row.folder, row.layer, row.field)
        named = own if own != last else [""] * len(own)
        cells = (*named, row.level, row.shape, row.stride, row.maps, row.size, row.place)
        table.add_row(*cells)
        last = own
    return table


def _tell_samples(run: Run, everything: bool) -> None:
    """Print the samples; only the first ones if there are many."""
    from featscope.cli.console import new_table, say, show

    count = len(run.samples)
    if not count:
        return
    headings = ("sample", "original", "input", "detections", "truth")
    table = new_table(*headings, right=headings[1:], folded=["sample"])
    for name in islice(run.samples, None if everything else _SHOWN_SAMPLES):
        sample = run.samples[name]
        table.add_row(name, *_sizes(sample), _number(sample.predictions), _number(sample.truth))
    say("")
    show(table)
    if count > _SHOWN_SAMPLES and not everything:
        say(f"and {counted(count - _SHOWN_SAMPLES, 'more sample')}: --all")
    say("")


def _sizes(sample: Sample) -> Tuple[str, str]:
    geometry = sample.geometry
    if geometry is None:
        return "unknown", "unknown"
    return " x ".join(map(str, geometry.original)), " x ".join(map(str, geometry.padded))


def _number(boxes: Optional[Boxes]) -> str:
    return "" if boxes is None else str(len(boxes.boxes))


def _tell_files(run: Run, problems: List[str]) -> None:
    """Print the folders of a run without a manifest, from the headers of its files."""
    from featscope.cli.console import new_table, show
    from featscope.store.contents import contents_of_files

    table = new_table("folder", "shape", "files", "size", right=["files", "size"], folded=["folder", "shape"])
    for row in contents_of_files(run, problems.append):
        table.add_row(row.folder, row.shape, row.maps, row.size)
    show(table)

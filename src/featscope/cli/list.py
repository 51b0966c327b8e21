"""`featscope list`: what is in a run."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Tuple

from featscope.cli import options
from featscope.cli.options import own
from featscope.words import counted

if TYPE_CHECKING:
    from featscope.cli.console import Table
    from featscope.records import Boxes, Sample
    from featscope.store.index import Form
    from featscope.store.reader import Run

_SHOWN_SAMPLES = 20
_SHOWN_SHAPES = 3


def run(
    folder: Path = options.argument("RUN", "A run, or a folder of subfolders of .npy files."),
    layers: Optional[List[str]] = options.layer(),
    level: Optional[int] = options.level(),
    sample: Optional[str] = options.sample(),
    everything: bool = own(
        "--all", panel=options.WHAT, help=f"List every sample, not the first {_SHOWN_SAMPLES}.", default=False
    ),
) -> None:
    """List what a run holds, or the maps of a layer, a level, a sample.

    A run of a million maps answers in a second, after it was indexed once.

    Examples:
      featscope list runs/s2anet
      featscope list runs/s2anet --all
      featscope list runs/s2anet --sample P0706
      featscope list runs/s2anet -l neck --level 2 --sample 'P07*'
    """
    from featscope.cli.console import finish, new_table, show
    from featscope.store.reader import open_run

    opened = open_run(folder)
    problems = [str(problem) for problem in opened.problems]
    if not layers and level is None and sample is None:
        if opened.index is None:
            _tell_files(opened, problems)
        else:
            _tell_maps(opened, opened.index.forms())
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


def _tell_maps(run: Run, forms: List[Form]) -> None:
    """Print the maps, a line for each level of a folder."""
    from featscope.cli.console import fits, show

    groups: Dict[Tuple[str, str, str, int], List[Form]] = {}
    for form in forms:
        groups.setdefault((form.folder, form.layer, form.field, form.level), []).append(form)
    table = _table_of_maps(run, groups, narrow=False)
    # A folder's name holds that of its layer and field: a narrow terminal has room for one of them.
    show(table if fits(table) else _table_of_maps(run, groups, narrow=True))


def _table_of_maps(run: Run, groups: Dict[Tuple[str, str, str, int], List[Form]], narrow: bool) -> Table:
    from featscope.cli.console import new_table
    from featscope.store.files import size_text

    shapes = {key: _some([form.shape for form in same]) for key, same in groups.items()}
    numbers = ["level", "stride", "maps", "size"]
    folded = ["folder", *(["shape"] if any("," in text for text in shapes.values()) else [])]
    names = ["folder"] if narrow else ["folder", "layer", "field"]
    table = new_table(*names, "level", "shape", "stride", "maps", "size", "place", right=numbers, folded=folded)
    last: Tuple[str, ...] = ()
    for (folder, layer, field, level), same in groups.items():
        measured = run.places.get((layer, field, level))
        places = ["measured" if measured is not None and not measured.refused else one.place for one in same]
        own = (folder,) if narrow else (folder, layer, field)
        table.add_row(
            *(own if own != last else [""] * len(own)),
            level,
            shapes[folder, layer, field, level],
            _some([form.stride for form in same]),
            sum(form.maps for form in same),
            size_text(sum(form.bytes for form in same)),
            ", ".join(dict.fromkeys(place or "not a map" for place in places)),
        )
        last = own
    return table


def _some(texts: List[str]) -> str:
    """A few of these texts, and how many more there are."""
    different = list(dict.fromkeys(filter(None, texts)))
    more = len(different) - _SHOWN_SHAPES
    return ", ".join(different[:_SHOWN_SHAPES]) + (f", {more} more" if more > 0 else "")


def _tell_samples(run: Run, everything: bool) -> None:
    """Print the samples, the first of them where they are many."""
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
    """Print the folders of a run without a manifest, by the headers of its files."""
    from featscope.cli.console import new_table, show
    from featscope.errors import BadArrayError
    from featscope.store.files import read_npy_shape, size_text

    shapes: Dict[str, List[str]] = {}
    counts: Dict[str, List[int]] = {}
    for map_file in run.maps:
        count = counts.setdefault(map_file.folder, [0, 0])
        try:
            shapes.setdefault(map_file.folder, []).append(" x ".join(map(str, read_npy_shape(map_file.path))))
            count[1] += map_file.path.stat().st_size
        except (BadArrayError, OSError) as error:
            problems.append(str(error))
        count[0] += 1
    table = new_table("folder", "shape", "files", "size", right=["files", "size"], folded=["folder", "shape"])
    for folder, (files, size) in counts.items():
        table.add_row(folder or ".", _some(shapes.get(folder, [])), files, size_text(size))
    show(table)

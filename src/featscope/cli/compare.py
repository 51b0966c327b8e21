"""`featscope compare`: two runs of the same images, by their objects, their features and their layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple

from featscope.cli import checks, options
from featscope.cli.options import own
from featscope.errors import FeatscopeError
from featscope.words import counted

if TYPE_CHECKING:
    from featscope.analysis.comparing import Comparison
    from featscope.store.reader import Run


def run(
    folder: Path = options.argument("RUN", "The run of the baseline."),
    other: Path = options.argument("OTHER", "The run to compare with it, of the same images."),
    output: Optional[Path] = options.output(
        help="Write a row for each object that a run missed to this file: .parquet, .csv, .jsonl or .json.",
        metavar="FILE",
        shown="only the tables",
        check=checks.row_file,
    ),
    matrix: Optional[Path] = own(
        "--matrix",
        panel=options.WHAT,
        help="Draw the likeness of all layers to this file: .png or .svg.",
        metavar="FILE",
        shown="none",
        check=checks.plot_file,
    ),
    pictures: Optional[Path] = options.pictures(
        help="Draw objects that were gained or lost into this folder, with the maps of both runs and their difference."
    ),
    each: int = own(
        "--each",
        panel=options.WHAT,
        help="With --pictures: draw so many gained and so many lost objects, those with the highest scores first.",
        default=6,
        metavar="N",
        min=1,
    ),
    maps: Optional[Path] = own(
        "--maps",
        panel=options.WHAT,
        help="Draw each map of OTHER minus that of RUN, over the image, into this folder.",
        metavar="DIR",
        shown="none",
    ),
    layers: Optional[List[str]] = options.layer(
        help="Compare the features of this layer: its name, or a glob. Repeat it for more.", shown="all features"
    ),
    sample: Optional[str] = options.sample(),
    annotations: Optional[Path] = options.truth(),
    score: Optional[float] = options.score(),
    iou: float = options.iou(),
    rule: str = options.rule(),
    executor: str = options.executor(
        help="Where to pool the maps: processes (all cores), processes:4, serial, or dask://HOST:PORT."
    ),
) -> None:
    """Compare two runs of the same images: which objects the second gained and lost, and how alike their layers are.

    Objects are counted by class and size, with an interval over images and
    McNemar's test. The energy on objects is compared in maps that both have.
    Likeness is the unbiased linear CKA of features pooled over the objects.

    Examples:
      featscope compare runs/baseline runs/ours
      featscope compare runs/baseline runs/ours -o changes.csv --matrix cka.svg
      featscope compare runs/epoch_1 runs/epoch_12 -l neck --pictures changes
      featscope view runs/baseline runs/ours
    """
    from featscope.analysis.comparing import compare
    from featscope.analysis.likeness import matrix_of
    from featscope.cli.console import finish, remark, say
    from featscope.cli.models import candidates_of, truth_of
    from featscope.render.matrix import draw_matrix
    from featscope.store.reader import open_run
    from featscope.store.row_files import check_row_files, write_rows

    check_row_files(output)
    one, two = open_run(folder), open_run(other)
    truth, candidates = truth_of(one, annotations), (candidates_of(one, "", False), candidates_of(two, "", False))
    found = compare(
        one,
        two,
        score,
        iou,
        sample,
        rule=rule,
        truth=truth,
        candidates=candidates,
        layers=layers or (),
        executor=executor,
    )
    for name, side in (("A", found.a), ("B", found.b)):
        say(f"{name}: {folder if name == 'A' else other}, at {side.point}")
    say("")
    _tell(found)
    written, notes = [], list(found.notes)
    problems = [str(problem) for opened in (one, two) for problem in opened.problems]
    if output is not None:
        write_rows(found.rows, output)
        written.append(str(output))
    if matrix is not None and len(found.likeness):
        draw_matrix(matrix_of(found.likeness, folder.name, other.name)).save(matrix)
        written.append(str(matrix))
    elif matrix is not None:
        notes.append(f"{matrix} was not drawn: the runs have no maps of features whose likeness could be told")
    if pictures is not None:
        from featscope.analysis.change_pictures import draw_changes

        drawn = draw_changes(found, one, two, pictures, each, candidates=candidates, truth=truth, layers=layers or ())
        notes += drawn.remarks
        written += [str(pictures)] if drawn.strips else []
    if maps is not None:
        drew, told, failed = _draw_maps(found, one, two, maps, layers or (), sample=sample or "", executor=executor)
        written, notes, problems = written + drew, notes + told, problems + failed
    for note in dict.fromkeys(notes):
        remark(note)
    whole = found.groups[-1]
    files = f", in {' and '.join(written)}" if written else ""
    finish(
        f"B finds {whole.found_b} of {counted(whole.objects, 'object')}, A {whole.found_a}: {whole.gained} gained, "
        f"{whole.lost} lost (p = {whole.p:.2g}){files}",
        problems,
    )


def _draw_maps(
    found: Comparison, one: Run, two: Run, folder: Path, layers: Sequence[str], *, sample: str, executor: str
) -> Tuple[List[str], List[str], List[str]]:
    """Draw the differences of all maps. Returns where to, what to note, and what failed."""
    from featscope.analysis.map_differences import draw_differences
    from featscope.cli.console import say

    try:
        drawn = draw_differences(one, two, folder, found.one_scale, layers=layers, sample=sample, executor=executor)
    except FeatscopeError as error:  # the tables are right all the same
        return [], [], [str(error)]
    say(drawn.summary)
    say("")
    return [str(folder)] if drawn.pictures else [], drawn.remarks, drawn.errors


def _tell(found: Comparison) -> None:
    """Print the tables: objects by class and size, where they were lost, energy on objects, and alike layers."""
    from featscope.cli.console import new_table, say, show

    numbers = ["objects", "A finds", "B finds", "gained", "lost", "net, 95 %", "p"]
    table = new_table("class", "size", *numbers, right=numbers)
    for group in found.groups:
        net = f"{group.gained - group.lost:+d} {_interval(group.low, group.high, '+.0f')}"
        counts = (group.objects, group.found_a, group.found_b, group.gained, group.lost)
        table.add_row(group.label, group.size_bin, *counts, net, f"{group.p:.2g}")
    show(table)
    say("")
    stages = found.by_stage()
    if len(stages):
        table = new_table("change", "how the other run lost them", "in its features", "objects", right=["objects"])
        for row in stages:
            table.add_row(*row)
        show(table)
        say("")
    _tell_likeness(found)
    _tell_energy(found)


def _tell_energy(found: Comparison) -> None:
    """Print where the energy on objects has changed by more than chance, or may have."""
    from featscope.cli.console import new_table, say, show

    if not len(found.energy):
        return
    # Without an interval, of too few images, nobody knows whether it has.
    changed = [one for one in found.energy if not one.low <= 1 <= one.high]
    if changed:
        numbers = ["objects", "A", "B", "B / A, 95 %"]
        table = new_table("energy on objects", "size", *numbers, right=numbers)
        for one in changed:
            ratios = (f"{one.ratio_a:.2f}", f"{one.ratio_b:.2f}", _interval(one.low, one.high, ".3f"))
            table.add_row(one.map, one.size_bin, one.objects, *ratios)
        show(table)
    same = len(found.energy) - len(changed)
    if same:
        where = f"the other {same}" if changed else f"all {same}"
        say(f"the energy on objects has not changed by more than chance in {where} pairs of a map and a size")
    say("")


def _tell_likeness(found: Comparison) -> None:
    """Print how alike the layers of the same name are, and why there is no number for some."""
    from featscope.analysis.objects import MapName
    from featscope.cli.console import new_table, remark, say, show

    same = [row for row in found.likeness if row[:3] == row[3:6]]
    if same:
        numbers = ["likeness (CKA)", "95 %", "chance below", "objects", "same channels"]
        table = new_table("layer", "level", *numbers, right=["level", *numbers])
        for row in same:
            name = MapName(*row[:3])
            known = row.value == row.value  # not NaN
            values = (f"{row.value:.3f}", _interval(row.low, row.high), f"{row.noise_high:.3f}")
            order = found.orders.get(name)
            channels = str(order) if order is not None and order.channels else ""
            table.add_row(name.part, row.level, *(values if known else ("none", "", "")), row.samples, channels)
        show(table)
        say("")
    for text in dict.fromkeys(row.remark for row in same if row.remark):
        remark(text)


def _interval(low: float, high: float, digits: str = ".2f") -> str:
    """Return an interval as text; nothing if there are too few images for one, which makes it NaN."""
    return f"[{low:{digits}}, {high:{digits}}]" if low == low else ""

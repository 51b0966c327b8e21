"""The tables that `featscope misses` prints. They wrap where the terminal is narrow: no number is ever cut."""

from __future__ import annotations

from math import isnan
from typing import Iterable, Sequence, Tuple

from featscope.analysis.error_types import ErrorRow
from featscope.analysis.level_sizes import SizesOfLevels
from featscope.analysis.misses import Misses
from featscope.analysis.objects import MapName
from featscope.analysis.sizes import SODA_WORDS
from featscope.cli.console import new_table, say, show
from featscope.store.tables import Rows


def tell_misses(found: Misses) -> None:
    """Print where objects were lost, what the features hold, what suppressed objects, and the false alarms."""
    shown = False
    for heading, rows in (("lost by the head", found.by_stage()), ("in the features", found.by_verdict())):
        if not len(rows) or rows.columns[3:] == ("no features",):
            continue
        shown = True
        table = new_table("class", "size", "missed", heading, right=["missed"], folded=[heading])
        total = ("all", "all", *(sum(int(str(value)) for value in column) for column in list(zip(*rows))[2:]))
        for row in [*rows, total] if len(rows) > 1 else rows:
            parts = [(name, count) for name, count in zip(rows.columns[3:], row[3:]) if count]
            table.add_row(*row[:3], "; ".join(f"{count} {name}" for name, count in parts))
        show(table)
        say("")
    if shown:
        say(f"sizes: {SODA_WORDS}")
        say("")
    if found.findings is not None:
        for line in found.findings.worth():
            say(line)
        say("")
    for heading, counts in (("suppressed by", found.suppressors()), ("false alarms", found.kinds_of_alarms())):
        if counts:
            say(f"{heading}: {_counted(counts)}")
            say("")


def tell_levels(found: Misses) -> None:
    """Print how far the features of each level can be believed."""
    if found.findings is None:
        return
    columns = ["layer", "level", "objects", "likeness", "probe", "found or missed", "reliable"]
    table = new_table(*columns, right=["level", "objects"], folded=columns)
    for row in found.findings.levels:
        values = (row.objects, row.likeness, row.probe, row.found, "yes" if row.reliable else "no")
        table.add_row(MapName(row.layer, row.field, row.level).part, row.level, *values)
    show(table)
    say("")


def tell_sizes(sizes: SizesOfLevels) -> None:
    """Print the sizes of the objects of each level, beside those that the training assigns to it."""
    if sizes.rows:
        numbers = ["objects", "10 %", "median", "90 %"]
        assigned = "training assigns"
        table = new_table("sizes in pixels", *numbers, assigned, right=numbers, folded=["sizes in pixels", assigned])
        for row in sizes.rows:
            quantiles = [f"{value:.0f}" if row.objects else "" for value in (row.low, row.middle, row.high)]
            table.add_row(row.name, row.objects, *quantiles, row.words)
        show(table)
    say(sizes.words)
    say("")


def tell_changes(found: Misses) -> None:
    """Print what other selections would find."""
    for change in found.changed:
        say(
            f"with {change.change}: {change.gained} more found, {change.lost} more missed, "
            f"{change.false_alarms:+d} false alarms"
        )
    if len(found.changed):
        say("")


def tell_points(found: Sequence[Misses]) -> None:
    """Print what is found and lost at several scores, a line for each."""
    numbers = ["score", "found", "missed", "false alarms"]
    table = new_table(*numbers, "lost by the head", right=numbers, folded=["lost by the head"])
    for one in sorted(found, key=lambda one: one.point.score):
        table.add_row(f"{one.point.score:.3g}", len(one.found), len(one.rows), len(one.alarms), _counted(one.stages()))
    show(table)
    say("")


def tell_errors(rows: Rows[ErrorRow]) -> None:
    """Print what each type of error costs: a line for each type, a column for each size."""
    sizes = list(dict.fromkeys(row.size for row in rows))
    table = new_table("loss of AP", *sizes, right=sizes, folded=["loss of AP", *sizes])
    for kind in dict.fromkeys(row.error for row in rows):
        of_kind = [row for row in rows if row.error == kind]
        losses = ["none" if isnan(row.loss) else f"{100 * row.loss:.1f}" for row in of_kind]
        table.add_row(kind, *(f"{loss} ({row.number})" for loss, row in zip(losses, of_kind)))
    show(table)
    say(
        "points of AP that each type of error costs, and how many errors there are (TIDE); all detections of the run "
        "count here, whatever their score"
    )
    say("")


def _counted(counts: Iterable[Tuple[str, int]]) -> str:
    return "; ".join(f"{count} {name}" for name, count in counts)

"""`featscope misses`: which objects were missed, which alarms are false, and where each went wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Optional, Sequence, Tuple

from featscope.cli import checks, options
from featscope.cli.options import own
from featscope.errors import BadOptionError
from featscope.words import counted

if TYPE_CHECKING:
    from featscope.analysis.error_types import ErrorRow
    from featscope.analysis.level_sizes import SizesOfLevels
    from featscope.analysis.misses import Misses
    from featscope.store.tables import Rows


def _changes(texts: Optional[Sequence[str]]) -> List[Dict[str, float]]:
    """Read --what-if: `nms=0.5` or `nms=0.5,nms_pre=4000`."""
    made = []
    for text in texts or ():
        change = {}
        for part in text.split(","):
            name, _, value = part.partition("=")
            try:
                change[name.strip()] = float(value)
            except ValueError:
                raise BadOptionError(
                    f"--what-if {text!r} is not understood; type nms=0.5, nms_pre=4000, max=300 or score=0.01"
                ) from None
        made.append(change)
    return made


def _check_change(text: str) -> None:
    from featscope.analysis.what_if import Trial

    for change in _changes([text]):
        Trial(change)


def _scores(text: str) -> List[float]:
    """Read --points."""
    try:
        scores = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        scores = [-1.0]
    if any(not 0 <= score <= 1 for score in scores):
        raise BadOptionError(f"--points {text!r} is not understood; type scores from 0 to 1: 0.1,0.3,0.5")
    return scores


def run(
    folder: Path = options.argument("RUN", "A run with ground truth."),
    checkpoint: str = options.argument("CHECKPOINT", "The weights, if they have moved since the capture.", ""),
    output: Optional[Path] = options.output(
        help="Write a row for each missed object to this file: .parquet, .csv, .jsonl or .json.",
        metavar="FILE",
        shown="only the tables",
        check=checks.row_file,
    ),
    alarms: Optional[Path] = own(
        "--alarms",
        panel=options.WHAT,
        help="Write a row for each false alarm to this file.",
        metavar="FILE",
        shown="only the table",
        check=checks.row_file,
    ),
    layers: Optional[List[str]] = options.layer(
        help="Ask the features of this layer: its name, or a glob. Repeat it for more.", shown="all features"
    ),
    sample: Optional[str] = options.sample(),
    annotations: Optional[Path] = options.truth(),
    score: Optional[float] = options.score(),
    points: str = own(
        "--points",
        panel=options.WHAT,
        help="Also count at these scores: 0.1,0.3,0.5.",
        default="",
        metavar="SCORES",
        shown="none",
        check=lambda text: _scores(text),
    ),
    iou: float = options.iou(),
    rule: str = options.rule(),
    what_if: Optional[List[str]] = own(
        "--what-if",
        panel=options.WHAT,
        help="Tell what another selection would find: nms=0.5, nms_pre=4000, max=300, score=0.01; joined by commas "
        "they change together. Repeat it for more.",
        metavar="NAME=VALUE",
        shown="none",
        check=_check_change,
    ),
    levels: bool = own(
        "--levels",
        panel=options.WHAT,
        help="Print how far the features of each level can be believed, and the sizes of the objects that each level "
        "of the head found, beside those that its training assigns to it.",
        default=False,
    ),
    pictures: Optional[Path] = options.pictures(
        help="Draw into this folder which level saw which objects, and the worst misses one by one."
    ),
    worst: int = own(
        "--worst",
        panel=options.WHAT,
        help="With --pictures: draw so many misses, those with the highest scores first.",
        default=12,
        metavar="N",
        min=0,
    ),
    errors: bool = own(
        "--errors",
        panel=options.WHAT,
        help="Print what each type of error costs, in points of AP, as TIDE does; by size too.",
        default=False,
    ),
    trust_checkpoint: bool = options.trust_checkpoint(),
    executor: str = options.executor(
        help="Where to pool the maps: processes (all cores), processes:4, serial, or dask://HOST:PORT."
    ),
) -> None:
    """For each missed object and each false alarm, say what went wrong.

    A missed object has a stage, at which the head lost it (no box, low score,
    other class, suppressed, and so on), and a verdict: whether each layer's
    features hold it. The stage needs the candidates, which are all raw outputs of
    the head. A run stores them (featscope capture --candidates); otherwise its
    model computes them again.

    Examples:
      featscope misses runs/s2anet
      featscope misses runs/s2anet --score 0.3 -o misses.csv
      featscope misses runs/s2anet --pictures misses --worst 20
      featscope misses runs/s2anet --what-if nms=0.3 --what-if nms=0.5,max=4000
      featscope misses runs/yolox --annotations instances.json --rule coco
    """
    from featscope.analysis.labelled import samples_with
    from featscope.analysis.level_sizes import sizes_of_levels
    from featscope.analysis.misses import misses
    from featscope.cli.console import finish, remark, say
    from featscope.cli.models import candidates_of, truth_of
    from featscope.store.reader import open_run
    from featscope.store.row_files import write_rows

    opened = open_run(folder)
    truth, candidates = truth_of(opened, annotations), candidates_of(opened, checkpoint, trust_checkpoint)
    how: Dict[str, Any] = {"rule": rule, "truth": truth, "candidates": candidates}
    found = misses(opened, score, iou, sample, layers=layers or (), what_if=_changes(what_if), executor=executor, **how)
    others = [misses(opened, other, iou, sample, features=False, **how) for other in _scores(points)]
    say(f"at {found.point}")
    say("")
    _tell(found, levels)
    if levels:
        _tell_sizes(sizes_of_levels(found, samples_with(opened, truth)))
    if others:
        _tell_points([found, *others])
    if errors:
        from featscope.analysis.error_types import error_rows, find_errors
        from featscope.analysis.labelled import labelled_samples

        pairs = labelled_samples(opened, sample, truth).pairs
        _tell_errors(error_rows(find_errors(pairs, iou, rule=rule), "coco" if rule == "coco" else "area", "soda"))
    for rows, path in ((found.rows, output), (found.alarms, alarms)):
        if path is not None:
            write_rows(rows, path)
    for note in found.notes:
        remark(note)
    if pictures is not None:
        from featscope.analysis.pictures import draw_misses

        drawn = draw_misses(found, opened, pictures, worst, candidates=candidates, truth=truth, layers=layers or ())
        for note in drawn.remarks:
            remark(note)
    files = " and ".join(str(path) for path in (output, alarms, pictures) if path is not None)
    ignored = f" ({found.ignored} more are ignored)" if found.ignored else ""
    finish(
        f"{len(found.rows)} of {counted(found.objects, 'object')} missed{ignored} and "
        f"{counted(len(found.alarms), 'false alarm')} in {counted(found.images, 'image')}{f', in {files}' if files else ''}",
        [str(problem) for problem in opened.problems],
    )


def _tell(found: Misses, levels: bool) -> None:
    """Print the tables: where objects were lost, what the features hold, the false alarms, and what would change."""
    from featscope.cli.console import new_table, say, show

    for heading, rows in (("lost by the head", found.by_stage()), ("in the features", found.by_verdict())):
        if not len(rows) or rows.columns[3:] == ("no features",):
            continue
        table = new_table("class", "size", "missed", heading, right=["missed"], folded=[heading])
        for row in rows:
            parts = [(count, name) for name, count in zip(rows.columns[3:], row[3:]) if count]
            table.add_row(*row[:3], "; ".join(f"{count} {name}" for count, name in parts))
        show(table)
        say("")
    if found.findings is not None and found.findings.sensitivity:
        shares = ", ".join(f"{share:.0%} in {layer}" for layer, share in found.findings.sensitivity.items())
        say(f"for comparison: of the objects that were found, this test sees {shares}")
        say("")
    for heading, counts in (("suppressed by", found.suppressors()), ("false alarms", found.kinds_of_alarms())):
        if counts:
            say(f"{heading}: {_counted(counts)}")
            say("")
    if levels and found.findings is not None:
        numbers = ["objects", "likeness", "probe", "found or missed", "reliable"]
        table = new_table("layer", "level", *numbers, folded=["layer"])
        for row in found.findings.levels:
            name = ".".join(filter(None, (row.layer, row.field)))
            values = (row.objects, row.likeness, row.probe, row.found, "yes" if row.reliable else "no")
            table.add_row(name, row.level, *values)
        show(table)
        say("")
    for change in found.changed:
        say(
            f"with {change.change}: {change.gained} more found, {change.lost} more missed, "
            f"{change.false_alarms:+d} false alarms"
        )


def _tell_sizes(sizes: SizesOfLevels) -> None:
    """Print the sizes of the objects of each level, beside those that the training assigns to it."""
    from featscope.cli.console import new_table, say, show

    if sizes.rows:
        numbers = ["objects", "10 %", "median", "90 %"]
        assigned = "training assigns"
        table = new_table("sizes in pixels", *numbers, assigned, right=numbers, folded=[assigned])
        for row in sizes.rows:
            quantiles = [f"{value:.0f}" if row.objects else "" for value in (row.low, row.middle, row.high)]
            table.add_row(row.name, row.objects, *quantiles, row.words)
        show(table)
    say(sizes.words)
    say("")


def _tell_points(found: Sequence[Misses]) -> None:
    """Print what is found and lost at several scores, a line for each."""
    from featscope.cli.console import new_table, say, show

    numbers = ["score", "found", "missed", "false alarms"]
    table = new_table(*numbers, "lost by the head", right=numbers, folded=["lost by the head"])
    for one in sorted(found, key=lambda one: one.point.score):
        table.add_row(f"{one.point.score:.3g}", len(one.found), len(one.rows), len(one.alarms), _counted(one.stages()))
    show(table)
    say("")


def _tell_errors(rows: Rows[ErrorRow]) -> None:
    """Print what each type of error costs: a line for each type, a column for each size."""
    from featscope.cli.console import new_table, say, show

    sizes = list(dict.fromkeys(row.size for row in rows))
    table = new_table("loss of AP", *sizes, right=sizes)
    for kind in dict.fromkeys(row.error for row in rows):
        table.add_row(kind, *(f"{100 * row.loss:.1f}  ({row.number})" for row in rows if row.error == kind))
    show(table)
    say("")


def _counted(counts: Iterable[Tuple[str, int]]) -> str:
    return "; ".join(f"{count} {name}" for name, count in counts)

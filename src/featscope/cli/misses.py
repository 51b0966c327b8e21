"""`featscope misses`: which objects were missed, which alarms are false, and where each went wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence

from featscope.cli import checks, options
from featscope.cli.options import own
from featscope.errors import BadOptionError
from featscope.words import counted

if TYPE_CHECKING:
    from featscope.analysis.error_types import ErrorRow
    from featscope.records import Boxes
    from featscope.store.reader import Run
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
    evidence: Optional[Path] = own(
        "--evidence",
        panel=options.WHAT,
        help="Write what each level holds of each missed object to this file: likeness, probe, and whether it stands "
        "out.",
        metavar="FILE",
        shown="none",
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
    from featscope.analysis.evidence import Evidence
    from featscope.analysis.labelled import samples_with
    from featscope.analysis.level_sizes import sizes_of_levels
    from featscope.analysis.misses import misses
    from featscope.cli.console import finish, remark, say
    from featscope.cli.miss_tables import (
        tell_changes,
        tell_errors,
        tell_levels,
        tell_misses,
        tell_points,
        tell_sizes,
    )
    from featscope.cli.models import candidates_of, truth_of
    from featscope.store.reader import open_run
    from featscope.store.row_files import check_row_files, write_rows
    from featscope.store.tables import Rows

    check_row_files(output, alarms, evidence)
    opened = open_run(folder)
    truth, candidates = truth_of(opened, annotations), candidates_of(opened, checkpoint, trust_checkpoint)
    how: Dict[str, Any] = {"rule": rule, "truth": truth, "candidates": candidates}
    found = misses(opened, score, iou, sample, layers=layers or (), what_if=_changes(what_if), executor=executor, **how)
    others = [misses(opened, other, iou, sample, features=False, **how) for other in _scores(points)]
    say(f"at {found.point}")
    say("")
    tell_misses(found)
    if levels:
        tell_levels(found)
        tell_sizes(sizes_of_levels(found, samples_with(opened, truth)))
    tell_changes(found)
    if others:
        tell_points([found, *others])
    if errors:
        tell_errors(_errors_of(opened, sample, truth, iou, rule))
    of_levels = found.findings.rows if found.findings is not None else Rows(Evidence._fields, [])
    for rows, path in ((found.rows, output), (found.alarms, alarms), (of_levels, evidence)):
        if path is not None:
            write_rows(rows, path)
    for note in found.notes:
        remark(note)
    if pictures is not None:
        from featscope.analysis.pictures import draw_misses

        drawn = draw_misses(found, opened, pictures, worst, candidates=candidates, truth=truth, layers=layers or ())
        for note in drawn.remarks:
            remark(note)
    files = " and ".join(str(path) for path in (output, alarms, evidence, pictures) if path is not None)
    ignored = f" ({found.ignored} more are ignored)" if found.ignored else ""
    finish(
        f"{len(found.rows)} of {counted(found.objects, 'object')} missed{ignored} and "
        f"{counted(len(found.alarms), 'false alarm')} in {counted(found.images, 'image')}{f', in {files}' if files else ''}",
        [str(problem) for problem in opened.problems],
    )


def _errors_of(
    run: Run, sample: Optional[str], truth: Optional[Mapping[str, Boxes]], iou: float, rule: str
) -> Rows[ErrorRow]:
    from featscope.analysis.error_types import error_rows, find_errors
    from featscope.analysis.labelled import labelled_samples

    pairs = labelled_samples(run, sample, truth).pairs
    return error_rows(find_errors(pairs, iou, rule=rule), "coco" if rule == "coco" else "area", "soda")

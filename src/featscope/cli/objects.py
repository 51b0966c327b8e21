"""`featscope objects`: a table of a run's objects, with what its maps hold in their boxes."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

from featscope.cli import checks, options
from featscope.cli.options import own
from featscope.words import counted

_NUMBERS = ("objects", "found", "cells", "energy ratio", "AUROC")


def run(
    folder: Path = options.argument("RUN", "A run."),
    output: Optional[Path] = options.output(
        help="Write a row for each object to this file: .parquet, .csv, .jsonl or .json.",
        metavar="FILE",
        shown="only the summary",
        check=checks.row_file,
    ),
    layers: Optional[List[str]] = options.layer(),
    level: Optional[int] = options.level(),
    sample: Optional[str] = options.sample(),
    annotations: Optional[Path] = options.truth(),
    iou: float = options.iou(),
    features: bool = own(
        "--features/--no-features",
        panel=options.HOW_MUCH,
        help="Write the mean of each channel over the box. CSV has no place for it.",
        default=True,
    ),
    executor: str = options.executor(
        help="Where to compute: processes (all cores), processes:4, serial, or dask://HOST:PORT."
    ),
) -> None:
    """Write a row for each true box and each detection, with what every map holds there.

    Each cell counts by the exact share of it that the box covers, so an object
    smaller than a cell counts too. The ring around an object has the same area
    as its box, and leaves other objects out.

    Examples:
      featscope objects runs/s2anet -o objects.parquet
      featscope objects runs/s2anet -l neck --no-features -o objects.csv
      featscope objects runs/yolox --annotations instances.json

    A run that stores objects in place of maps stays small:
      featscope capture s2anet.py s2anet.pth -o runs/objects --objects
      featscope objects runs/objects -o objects.parquet
    """
    from featscope.analysis.object_tables import summary, write_objects
    from featscope.arrays.image_boxes import TRUTH
    from featscope.cli.console import finish, new_table, remark, show
    from featscope.cli.models import truth_of
    from featscope.store.reader import open_run

    opened = open_run(folder)
    truth = truth_of(opened, annotations)
    if opened.info is not None and truth is None:
        for note in opened.info.truth_notes:
            remark(note)
    if output is None:
        found = summary(opened, layers or (), level, sample, iou=iou, truth=truth, executor=executor)
        labelled = found.kind == TRUTH
        # Without ground truth the rows are of the detections, none of which is found or missed.
        columns = [name for name in found.rows.columns[1:] if labelled or not name.startswith("ratio_")]
        table = new_table("map", *columns, right=columns, folded=["map"])
        for row in found.rows:
            values = [getattr(row, name) for name in columns]
            table.add_row(
                row.map, *("" if one is None else f"{one:.3g}" if isinstance(one, float) else one for one in values)
            )
        show(table)
        if labelled:
            remark("any detection counts as finding an object here, whatever its score; featscope misses asks for one")
        else:
            remark(f"{opened.folder} has no ground truth, so these are its detections; give it: --annotations LABELS")
        words = counted(found.objects, *(("true box", "true boxes") if labelled else ("detection",)))
        finish(f"{words} in {counted(found.images, 'image')}", found.problems)
        return
    written = write_objects(
        opened, output, layers or (), level, sample, features=features, iou=iou, truth=truth, executor=executor
    )
    if written.left_out:
        remark(f"CSV has no lists, so it has no features ({counted(len(written.left_out), 'column')}); write .parquet")
    finish(
        f"{counted(written.truths, 'true box', 'true boxes')} and {counted(written.detections, 'detection')} of "
        f"{counted(written.images, 'image')}, in {output}",
        written.problems,
    )

"""`featscope list`: what is in a run."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer


def run(
    folder: Path = typer.Argument(..., metavar="RUN", help="A run, or a folder of subfolders of .npy files."),
    layer: Optional[str] = typer.Option(None, help="Name or glob of a layer."),
    level: Optional[int] = typer.Option(None, min=0, help="Index of a level: 0 for P3 where P3 is the first."),
    sample: Optional[str] = typer.Option(None, metavar="ID", help="Id of a sample, or a glob."),
) -> None:
    """List a run's folders, or the maps of a layer, a level, a sample.

    \b
    A run of a million maps answers in a second, after it was indexed once. Examples:
      featscope list runs/s2anet
      featscope list runs/s2anet --sample P0706
      featscope list runs/s2anet --layer neck --level 2 --sample 'P07*'
    """
    from featscope.cli.console import finish, say
    from featscope.store.reader import open_run

    opened = open_run(folder)
    problems = [str(problem) for problem in opened.problems]
    if (layer, level, sample) == (None, None, None):
        folders = opened.folders()
        for name, count in folders.items():
            say(f"{count:8}  {name}")
        finish(f"{sum(folders.values())} maps in {len(folders)} folders, {len(opened.samples)} samples", problems)
        return
    found = opened.select(layer=layer, level=level, sample=sample)
    for map_file in found:
        shape = " x ".join(map(str, map_file.record.shape)) if map_file.record else ""
        say(f"{map_file.path}  {shape}  {' '.join(s.id for s in map_file.samples)}")
    finish(f"{len(found)} maps", problems)

"""`featscope check`: is a run whole?"""

from __future__ import annotations

from pathlib import Path

from featscope.cli import options
from featscope.words import counted


def run(
    folder: Path = options.argument("RUN", "A run, or a folder of subfolders of .npy files."),
) -> None:
    """Read every array of a run and compare it with the manifest; say what is missing or changed.

    The exit code is 1 if something is wrong.

    Examples:
      featscope check runs/s2anet
    """
    from featscope.cli.console import finish
    from featscope.store.check import check_run
    from featscope.store.files import size_text

    report = check_run(folder)
    state = "with problems" if report.problems else "whole"
    finish(
        f"{folder}: {counted(report.maps, 'map')}, {size_text(report.bytes)}, {counted(report.samples, 'sample')}, {state}",
        report.problems,
    )

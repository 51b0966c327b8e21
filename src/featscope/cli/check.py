"""`featscope check`: check that a run is complete, and that it lines up with another run."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from featscope.cli import options


def run(
    folder: Path = options.run,
    other: Optional[Path] = options.other_run,
) -> None:
    """Read every array of a run and compare it with the manifest; report what is missing or changed.

    With a second run, check both, and report which samples, layers and shapes do not line up.
    Maps are matched by sample, layer, field and level; the class of a layer may differ.

    The exit code is 1 if something is wrong.

    Examples:
      featscope check runs/s2anet
      featscope check runs/fpn runs/newneck
    """
    from featscope.cli.console import finish, say
    from featscope.store.check import check_run

    report = check_run(folder)
    if other is None:
        finish(str(report), report.problems)
        return
    from featscope.store.matching import match_runs

    second, match = check_run(other), match_runs(folder, other)
    say(str(report))
    say(str(second))
    finish(match.summary, [*report.problems, *second.problems, *match.differences])

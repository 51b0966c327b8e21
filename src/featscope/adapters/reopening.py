"""Open the detector of a run again in the same way as for the capture."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Dict, List, Tuple

from featscope.adapters.detector import Detector
from featscope.adapters.opening import open_detector, with_tuples
from featscope.errors import BadOptionError, unknown_name
from featscope.records import Opened, Sample
from featscope.store.reader import Run


def reopen(run: Run, checkpoint: str = "", instead: str = "", **changes: Any) -> Detector:
    """Open the detector of a run with the options that are recorded in its `run.json`.

    >>> reopen(open_run("runs/s2anet")).info.model                              # doctest: +SKIP
    'S2ANet'

    checkpoint: where the weights are now. changes: fields of `featscope.adapters.detector.Opening` that the user gave;
    empty ones are ignored. instead: what to type if the run does not record its model, in which case `BadOptionError`
    is raised.
    """
    info = run.info
    if info is None or not info.config:
        raise BadOptionError(f"{run.folder} does not record its model; {instead or 'name the model'}")
    opened = info.opened or Opened()
    options: Dict[str, Any] = {
        "input_size": opened.input_size,
        "preprocess": opened.preprocess,
        "score_threshold": opened.score_threshold,
        "config_options": {key: with_tuples(value) for key, value in opened.config_options.items()},
        "inputs": opened.inputs,
        "seed": opened.seed,
    }
    options.update({name: value for name, value in changes.items() if value not in (None, "", {}, False)})
    own = "" if info.checkpoint in ("", "built-in") else info.checkpoint
    return open_detector(info.config, checkpoint or own, **options)


def images_of_run(run: Run, glob: str = "") -> List[Tuple[Sample, Path]]:
    """Return the samples of a run whose ids match a glob, with their image files.

    Raises `UnknownNameError` if none matches.
    """
    found = [(s, Path(s.path)) for s in run.samples.values() if not glob or s.id == glob or fnmatchcase(s.id, glob)]
    if not found:
        raise unknown_name("sample", glob, run.samples, f"featscope list {run.folder}")
    return found

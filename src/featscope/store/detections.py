"""A run's detections, each with the raw output that gave it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

from featscope.errors import BadRunError, unknown_name
from featscope.records import Sample, Source, class_name
from featscope.store.reader import Run, open_run
from featscope.store.tables import Rows

STATES = ("one source", "a tie", "not found", "not traced")
"""What is known of a detection's source."""

_SHOWN = 3  # sources of a tie, in words


class Detection(NamedTuple):
    """One detection of a run.

    sample: its image. number: what `featscope.explain(run, sample, target=number)` calls it. label: its class, by
    name. score: None where the run has none. form, box: as in `featscope.Boxes`, in pixels of the original. state: one
    of `STATES`. source: the raw output that it was, in words; several that cannot be told apart are a tie. sources:
    the same as records.
    """

    sample: str
    number: int
    label: str
    score: Optional[float]
    form: str
    box: Tuple[float, ...]
    state: str
    source: str
    sources: Tuple[Source, ...]


def list_detections(run: Union[Run, str, Path], sample: Optional[str] = None) -> Rows[Detection]:
    """The detections of a run, or of a sample of it: what `featscope explain RUN --list` prints.

    >>> found = featscope.list_detections("runs/fpn", "harbour")
    >>> found[1].label, found[1].score, found[1].source
    ('plane', 0.81, 'level 1 row 1 column 1')

    The number of one is what `featscope.explain("runs/fpn", "harbour", target=1)` takes.

    run: its folder, or a run that is open. sample: an id or a glob. Raises `UnknownNameError` for a sample that the
    run does not have, `BadRunError` for a folder without a manifest.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    if opened.info is None:
        raise BadRunError(
            f"{opened.folder} is not a run, so it has no detections; capture one first: "
            "featscope capture MODEL -i photo.jpg -o RUN"
        )
    classes = opened.info.classes
    found = [row for one in samples_named(opened, sample) for row in _of_sample(one, classes)]
    return Rows(Detection._fields, found, hidden=("form", "state", "sources"))


def samples_named(run: Run, glob: Optional[str]) -> List[Sample]:
    """The samples of a run with this id, or whose ids match a glob; all without one.

    Raises `UnknownNameError` where there is none, and `BadRunError` where the run has no samples.
    """
    found = [one for one in run.samples.values() if not glob or one.id == glob or fnmatchcase(one.id, glob)]
    if not found and not run.samples:
        raise BadRunError(f"{run.folder} has no samples; featscope check {run.folder} says what is damaged")
    if not found:
        raise unknown_name("sample", glob or "", run.samples, f"featscope list {run.folder}")
    return found


def _of_sample(sample: Sample, classes: Sequence[str]) -> List[Detection]:
    there = sample.predictions
    rows = []
    for number, (box, label) in enumerate(zip(there.boxes, there.labels) if there is not None else ()):
        sources = sample.sources[number] if sample.sources else None
        state = "not traced" if sources is None else STATES[min(len(sources), 2) - 1] if sources else "not found"
        rows.append(
            Detection(
                sample=sample.id,
                number=number,
                label=class_name(classes, label),
                score=there.scores[number] if there is not None and there.scores else None,
                form=there.form if there is not None else "",
                box=tuple(box),
                state=state,
                source=sources_words(sources) if sources else state,
                sources=tuple(sources or ()),
            )
        )
    return rows


def sources_words(sources: Sequence[Source]) -> str:
    """Return the sources of one detection in words; those of a tie are joined by `=`."""
    more = f" = {len(sources) - _SHOWN} more" if len(sources) > _SHOWN else ""
    return " = ".join(map(source_words, sources[:_SHOWN])) + more


def source_words(source: Source) -> str:
    """A source in words.

    >>> source_words(Source("cell", index=1043, level=0, row=8, column=19)), source_words(Source("query", index=7))
    ('level 0 row 8 column 19', 'query 7')
    """
    if source.kind != "cell":
        return f"{source.kind} {source.index}"
    anchor = f" anchor {source.anchor}" if source.anchor else ""
    return f"level {source.level} row {source.row} column {source.column}{anchor}"

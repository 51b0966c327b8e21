"""Printing for all commands: tables, progress, errors and the closing line."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, List, Literal, Sequence

import typer
from rich import table
from rich.console import Console
from rich.emoji import Emoji
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from featscope.render.drawing import Drawing
    from featscope.render.pictures import Pictures

_SHOWN_ERRORS = 20
_LONG = 500  # maps; drawing so many takes more than a few seconds


def plain(text: str) -> str:
    """Escape control characters, because names come from foreign models, files and runs.

    >>> plain("ship\\x1b[2J\\n")
    'ship\\\\x1b[2J\\\\n'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def literal(text: str) -> str:
    """Escape a text for rich, so that brackets are not markup and `:factory:` is not an emoji.

    >>> literal("plain"), Text.from_markup(literal("photo[copy].png :factory:")).plain
    ('plain', 'photo[copy].png :factory:')
    """
    if "[" not in text and Emoji.replace(text) == text:
        return text
    return escape(text).replace(":", ":[b][/b]")


class Table(table.Table):
    """A table whose cells are plain text, so that brackets in a name are not markup."""

    def add_row(self, *cells: object, **style: Any) -> None:
        """Add a row of text."""
        super().add_row(*(Text(plain(str(cell))) for cell in cells), **style)


def new_table(*headings: str, right: Sequence[str] = (), folded: Sequence[str] = ()) -> Table:
    """Return a table without a frame. right: columns aligned right, for numbers. folded: columns that may wrap."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        side: Literal["left", "right"] = "right" if heading in right else "left"
        parts = heading.split() if heading in folded else [heading]
        width = max(map(len, parts), default=0)
        made.add_column(heading, justify=side, no_wrap=heading not in folded, overflow="fold", min_width=width)
    return made


def _width(shown: Table) -> int:
    """Return how many columns of the terminal a table takes without wrapping."""
    console = Console()
    return max(1, console.measure(shown, options=console.options.update(width=10_000)).maximum)


def fits(shown: Table) -> bool:
    """Return whether a table fits in the terminal. If the output is not a terminal, every table fits."""
    console = Console()
    return not console.is_terminal or _width(shown) <= console.width


def show(shown: Table) -> None:
    """Print a table. If the output is not a terminal, lines are not wrapped."""
    Console(width=None if Console().is_terminal else _width(shown)).print(shown)


def complain(message: str) -> None:
    """Print an error to standard error, as one paragraph."""
    _print_labelled("error:", "bold red", message)


def remark(message: str) -> None:
    """Print a note to standard error: what the user should know although nothing failed."""
    _print_labelled("note:", "yellow", message)


def _print_labelled(label: str, style: str, message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(Text.assemble((label, style), " ", plain(message)))


def say(message: str) -> None:
    """Print a line to standard output."""
    typer.echo(plain(message))


closing = say
"""Print the last line: what was written where."""


def unfinished(run: Path, rank: int = 0) -> List[str]:
    """Return the errors of a run whose capture is incomplete although the model has ended; none if it is complete.

    rank: the rank whose part of the run is checked. Other ranks may still be writing theirs.
    """
    from featscope.store.writer import info_name, read_info

    if not (run / info_name(rank)).exists():
        return [f"nothing was stored in {run}"]
    return [] if read_info(run, info_name(rank)).finished else [f"{run} is unfinished; continue it: --resume"]


def finish(message: str, errors: Sequence[str], remarks: Sequence[str] = ()) -> None:
    """Print remarks, errors and the closing line. Exit with code 1 if there are errors."""
    for text in list(dict.fromkeys(remarks))[:_SHOWN_ERRORS]:
        remark(text)
    shown = _SHOWN_ERRORS if sys.stderr.isatty() else len(errors)  # a log shows all errors
    for text in errors[:shown]:
        complain(text)
    if len(errors) > shown:
        complain(f"... and {len(errors) - shown} more")
    closing(message + (f"; {len(errors)} failed, see above" if errors else ""))
    if errors:
        raise typer.Exit(1)


class _Rate(TextColumn):
    """Steps per second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task):  # type: ignore[no-untyped-def]
        """Return the rate of a task as text."""
        from rich.text import Text

        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="cyan")


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar with the rate and the time left. Yields a function that counts one step.

    If standard error is not a terminal, for example in a log, nothing is shown.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    name = TextColumn("{task.description}")
    columns = [name, BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda: bar.advance(task)


@contextmanager
def watched(drawing: Drawing) -> Iterator[Callable[[], None]]:
    """Show the progress of a drawing, and first the size of a long one. Yields a function that counts one map."""
    _foretell(drawing)
    with progress("maps", len(drawing.maps)) as done:
        yield done


def tell_pictures(pictures: Pictures) -> None:
    """Print what was drawn and where. Exit with code 1 if something failed."""
    finish(str(pictures), pictures.errors, pictures.remarks)


def _foretell(drawing: Drawing) -> None:
    """Print how large a long drawing will be before it begins. Raises `OutputError` if it does not fit on the disk."""
    import shutil

    from featscope.errors import OutputError
    from featscope.render.jobs import foresee
    from featscope.store.files import size_text

    maps, plan, folder = drawing.maps, drawing.plan, drawing.folder
    if len(maps) < _LONG:
        return
    foreseen, free = foresee(maps, plan, folder), shutil.disk_usage(folder).free
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())  # pictures of earlier drawings
    remark(f"{foreseen}; {folder} has {size_text(free)} free")
    if foreseen.bytes - there > free:
        raise OutputError(
            f"{foreseen} do not fit in {folder}, which has {size_text(free)} free; draw less: --max-size 1024, "
            "--format webp, or --only 'neck*'"
        )

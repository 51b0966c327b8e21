"""The command line. Each verb has its own file, and all share one table of options."""

from __future__ import annotations

import inspect
import sys
import warnings
from typing import List, Optional

import typer

from featscope import __version__
from featscope.cli import (
    capture,
    check,
    compare,
    demo,
    explain,
    heat,
    layers,
    list,
    misses,
    objects,
    place,
    render,
    report,
    run,
    stats,
    view,
)
from featscope.cli.console import complain, literal
from featscope.cli.old_names import Command
from featscope.errors import FeatscopeError

app = typer.Typer(
    name="featscope",
    help="See what an object detector sees: capture, store and draw its feature maps.",
    no_args_is_help=True,
    rich_markup_mode="rich",  # for the panels of the help; texts are shown literally, see `literal`
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"featscope {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    # Characters that the terminal's code page lacks are printed as escapes. The output of `run` belongs to the script.
    if context.invoked_subcommand != "run" and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


for verb in (
    demo,
    layers,
    capture,
    run,
    list,
    view,
    report,
    render,
    heat,
    misses,
    compare,
    objects,
    stats,
    explain,
    place,
    check,
):
    name = verb.__name__.rpartition(".")[2]
    app.command(name, cls=Command, help=literal(inspect.getdoc(verb.run) or ""))(verb.run)


def main(arguments: Optional[List[str]] = None) -> None:
    """Run the command line. A `FeatscopeError` is printed as one line, and the exit code is 1."""
    warnings.filterwarnings("ignore", message="featscope: ")  # commands print these remarks as notes at the end
    try:
        app(arguments, standalone_mode=True, prog_name="featscope")
    except FeatscopeError as error:
        complain(str(error))
        sys.exit(1)

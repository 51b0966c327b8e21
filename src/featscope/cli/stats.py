"""`featscope stats`: statistics of a run's maps, by layer and by channel."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, List, Optional, Tuple, Type, TypeVar

from featscope.cli import checks, options
from featscope.cli.options import own

if TYPE_CHECKING:
    from featscope.analysis.layer_statistics import ChannelStatistics, LayerStatistics
    from featscope.cli.console import Table
    from featscope.store.tables import Rows

Row = TypeVar("Row", bound=Tuple[object, ...])

_SHOWN_ROWS = 200  # in the terminal; a file has all


def run(
    folder: Path = options.run_or_folder,
    output: Optional[Path] = options.output(
        help="Write all rows to this file too: .csv, .json, .jsonl or .parquet.",
        metavar="FILE",
        shown="only the table",
        check=checks.row_file,
    ),
    layers: Optional[List[str]] = options.layer(),
    level: Optional[int] = options.level(),
    sample: Optional[str] = options.sample(),
    only: Optional[List[str]] = options.only(),
    channels: Optional[str] = options.channels(
        default=None,
        help="Show these channels, a row for each, in place of layers: all, top:16 (the largest mean square), 0-15, or "
        "3,7.",
        shown="none",
        check=checks.channels,
    ),
    examples: int = own(
        "--examples", panel=options.WHAT, help="Name so many images for each channel.", default=5, metavar="N", min=1
    ),
    basis_file: Optional[Path] = own(
        "--basis-file",
        panel=options.WHAT,
        help="Write the principal components of each layer to this file, for featscope heat --basis FILE.",
        metavar="FILE",
        shown="not written",
    ),
    plot: Optional[Path] = own(
        "--plot",
        panel=options.WHAT,
        help="Draw the values of each layer and level to this file: .png or .svg.",
        metavar="FILE",
        shown="none",
        check=checks.plot_file,
    ),
    most_cells: int = own(
        "--most-cells",
        panel=options.HOW_MUCH,
        help="At most N cells of an image, spread evenly, enter percentiles, histogram, effective rank and redundant "
        "channels; 0 for all cells. All else is over all cells.",
        default=1024,
        metavar="N",
        min=0,
    ),
    correlation: float = own(
        "--correlation",
        panel=options.HOW_MUCH,
        help="Channels with at least this absolute correlation are redundant.",
        default=0.95,
        metavar="R",
        min=0,
        max=1,
    ),
    covariance: bool = own(
        "--covariance/--no-covariance",
        panel=options.HOW_MUCH,
        help="Compute the effective rank and redundant channels, which take most time where there are many channels.",
        default=True,
    ),
    executor: str = options.executor(
        help="Where to compute: processes (all cores), processes:4, serial, or dask://HOST:PORT."
    ),
) -> None:
    """Print statistics of a run's maps: a row for each layer and level, or for each channel.

    The maps are read once. Cells on padding do not count, as their zeros would make every layer look sparse.

    A silent channel has no value above zero on these images.
    If the layer has no negative value, as behind a ReLU, such a channel never fires.
    If it has, as behind a convolution, the channel would not fire if a ReLU followed.

    Examples:
      featscope stats runs/s2anet
      featscope stats runs/s2anet -l neck -o neck.csv
      featscope stats runs/s2anet --plot values.svg
      featscope stats runs/s2anet -l neck --level 0 --channels top:16
      featscope stats runs/s2anet --channels all -o channels.parquet
      featscope stats runs/s2anet -l neck --basis-file basis.npz
      featscope stats runs/large --executor dask://10.0.0.5:8786
    """
    from featscope.analysis.layer_statistics import ChannelStatistics, LayerStatistics
    from featscope.analysis.statistics import statistics
    from featscope.cli.console import finish
    from featscope.store.row_files import check_row_file
    from featscope.words import counted

    if output is not None:
        check_row_file(output)
    found = statistics(
        folder,
        layers=layers or (),
        level=level,
        sample=sample,
        only=only or (),
        examples=examples,
        most_cells=most_cells,
        correlation=correlation,
        covariance=covariance,
        executor=executor,
        watch=_watched,
    )
    if channels is None:
        remarks = _tell(found.layers, LayerStatistics, _table_of_layers, output)
    else:
        remarks = _tell(found.channels(channels), ChannelStatistics, _table_of_channels, output)
    if basis_file is not None:
        found.write_bases(basis_file)
    if plot is not None:
        found.plot().save(plot)
    maps = sum(row.images for row in found.layers)
    written = " and ".join(str(path) for path in (output, basis_file, plot) if path is not None)
    text = f"{counted(maps, 'map')} in {counted(len(found.layers), 'level')}"
    finish(text + (f", written to {written}" if written else ""), found.errors, [*found.remarks, *remarks])


def _tell(
    rows: Rows[Row], kind: Type[Row], table: Callable[[Rows[Row], int], Table], output: Optional[Path]
) -> List[str]:
    """Print rows as the widest table that fits, and write them. Returns remarks. table: makes one of a width, 0 to 2."""
    from featscope.cli.console import fits, say, show
    from featscope.store.row_files import write_rows
    from featscope.words import counted

    shown = rows[:_SHOWN_ROWS]
    if shown:
        tables = [table(shown, wide) for wide in (2, 1, 0)]
        show(next(filter(fits, tables), tables[-1]))
    if len(rows) > len(shown):
        say(f"and {counted(len(rows) - len(shown), 'more row')}: write them to a file, with -o rows.csv")
    say("")
    left_out = write_rows(rows, output, kind) if output is not None else ()
    return [f"{output} has no {', '.join(left_out)}: CSV has no lists; write .json for them"] if left_out else []


@contextmanager
def _watched(files: int) -> Iterator[Callable[[], None]]:
    from featscope.cli.console import progress

    with progress("maps", files) as done:
        yield done


def _table_of_layers(rows: Rows[LayerStatistics], wide: int) -> Table:
    """Return the table of layers. wide: 0 for a terminal of 80 columns, 2 for all."""
    from featscope.cli.console import new_table
    from featscope.store.tables import words
    from featscope.words import percent

    numbers = ["level", "images", "mean", "std", "min", "max", "zeros", "silent", "rank", "redundant"]
    if wide == 2:
        numbers[2:2] = ["channels", "cells"]
        numbers[7:7] = ["median", "p99"]
    if not wide:
        numbers = [name for name in numbers if name not in ("images", "redundant")]
    table = new_table("folder", *numbers, right=numbers, folded=["folder"])
    last = ""
    for row in rows:
        cells = {
            "level": "" if row.level is None else row.level,
            "images": row.images,
            "channels": row.channels,
            "cells": row.cells,
            "mean": words(row.mean),
            "std": words(row.std),
            "min": words(row.minimum),
            "median": words(row.median),
            "p99": words(row.p99),
            "max": words(row.maximum),
            "zeros": percent(row.zeros),
            "silent": row.silent,
            "rank": "" if row.effective_rank is None else f"{row.effective_rank:.1f}/{row.channels}",
            "redundant": "" if row.redundant is None else row.redundant,
        }
        table.add_row(row.folder if row.folder != last else "", *(cells[name] for name in numbers))
        last = row.folder
    return table


def _table_of_channels(rows: Rows[ChannelStatistics], wide: int) -> Table:
    """Return the table of channels. wide: 0 for a terminal of 80 columns, 2 for all."""
    from featscope.cli.console import new_table
    from featscope.store.tables import words
    from featscope.words import percent

    numbers = ["level", "channel", "mean", "std", "min", "max", "zeros", "fires", "saturated", "group"]
    if not wide:
        numbers = ["level", "channel", "mean", "std", "max", "zeros", "fires"]
    table = new_table("folder", *numbers, "excited by", right=numbers, folded=["folder", "excited by"])
    last = ""
    for row in rows:
        cells = {
            "level": "" if row.level is None else row.level,
            "channel": row.channel,
            "mean": words(row.mean),
            "std": words(row.std),
            "min": words(row.minimum),
            "max": words(row.maximum),
            "zeros": percent(row.zeros),
            "fires": "never" if row.never_fires else "silent" if row.silent else percent(row.fires),
            "saturated": "" if row.saturated is None else percent(row.saturated),
            "group": "" if row.group is None else row.group,
        }
        images = ", ".join(row.samples[: 1 + wide])
        table.add_row(row.folder if row.folder != last else "", *(cells[name] for name in numbers), images)
        last = row.folder
    return table

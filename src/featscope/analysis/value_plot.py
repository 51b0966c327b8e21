"""The plot of a run's values: which charts it has, and what is said in each."""

from __future__ import annotations

from itertools import groupby
from typing import Iterator, List, Sequence

from featscope.analysis.layer_statistics import Layer, LayerStatistics
from featscope.arrays.histogram import even
from featscope.render.histograms import ValueChart, ValueRow, draw_histograms
from featscope.render.plots import Plot
from featscope.store.tables import words
from featscope.words import counted, percent


def plot_values(layers: Sequence[Layer], rows: Sequence[LayerStatistics], run: str) -> Plot:
    """Draw the values of layers. rows: the row of each layer. run: the name of the run."""
    charts = [
        ValueRow(folder, [_chart(layer, row) for layer, row in members])
        for folder, members in groupby(zip(layers, rows), key=lambda pair: pair[1].folder)
    ]
    images = max((row.images for row in rows), default=0)
    return draw_histograms(charts, "Values of the maps", f"{run}: {counted(images, 'image')}{_padding(rows)}")


def _padding(rows: Sequence[LayerStatistics]) -> str:
    return "; cells on padding do not count" if any(row.padding for row in rows) else ""


def _chart(layer: Layer, row: LayerStatistics) -> ValueChart:
    return ValueChart(
        name=", ".join(_heading(row)),
        values=even(layer.sums.histogram),
        zeros=row.zeros,
        median=row.median,
        p99=row.p99,
        lines=list(_lines(row)),
    )


def _heading(row: LayerStatistics) -> List[str]:
    parts = [] if row.level is None else [f"level {row.level}"]
    return [*parts, counted(row.channels, "channel"), *([f"reduced by {row.reduced}"] if row.reduced else [])]


def _lines(row: LayerStatistics) -> Iterator[str]:
    yield f"zeros {percent(row.zeros)}, median {words(row.median)}, p99 {words(row.p99)}"
    rank = "" if row.effective_rank is None else f"effective rank {row.effective_rank:.1f} of {row.channels}, "
    yield f"{rank}{row.silent} silent"
    if row.nan or row.infinite:
        yield f"NaN {percent(row.nan)}, infinite {percent(row.infinite)}"

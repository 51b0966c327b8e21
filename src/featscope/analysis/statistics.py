"""Statistics of a run's maps: what `featscope stats` prints."""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Callable, ContextManager, Dict, Iterator, List, Optional, Sequence, Union

from featscope.analysis.counting import Counted, Group, Ways, count_maps, image_of
from featscope.analysis.layer_statistics import (
    ChannelStatistics,
    LayerStatistics,
    channel_rows,
    chosen_channels,
    layer_of,
    layer_row,
)
from featscope.analysis.value_plot import plot_values
from featscope.arrays.basis import MOST_CHANNELS, Basis, Key, Moments
from featscope.errors import BadArrayError, BadOptionError
from featscope.render.bases import write_bases
from featscope.render.plots import Plot
from featscope.scale.executor import Executor
from featscope.scale.parallel import executor_named
from featscope.store.feature_maps import feature_map_of
from featscope.store.maps import MapFile
from featscope.store.reader import Run, open_run
from featscope.store.tables import Rows
from featscope.words import counted

MOST_CELLS = 1024
"""The most cells of an image that enter percentiles, histogram, effective rank, groups and basis, by default."""

CORRELATION = 0.95
"""Channels with at least this absolute correlation say the same, by default."""

Watch = Callable[[int], ContextManager[Callable[[], None]]]
"""Watches the work, for example to show progress. It is called with the number of map files, and returns a context
manager in which they are counted; the value of the context is called after each of them."""

_HIDDEN = (
    *("folder", "reduced", "padding", "variance", "minimum_sample", "maximum_sample", "p1", "median", "p99", "sampled"),
    *("activation", "constant", "saturated", "groups", "histogram_low", "histogram_high", "histogram_counts"),
)


class Statistics:
    """The statistics of a run's maps. A notebook shows `layers` as a table."""

    def __init__(self, run: Run, maps: Sequence[MapFile], found: Counted, correlation: float) -> None:
        self.run = run
        self._maps = maps
        self._layers = [
            layer_of(group, sums, found.channels.get(group), correlation) for group, sums in found.groups.items()
        ]
        self._sample = lru_cache(maxsize=100_000)(self._sample_of)
        self.layers: Rows[LayerStatistics] = Rows(
            LayerStatistics._fields, [layer_row(layer, self._sample) for layer in self._layers], _HIDDEN
        )
        """A row for each layer, field and level; see `LayerStatistics`."""
        self.errors: List[str] = [*map(str, run.problems), *found.errors]
        """One text for each file that could not be counted, and for each damaged record."""
        self.remarks: List[str] = [*_remarks(run, found), *_never_fire(self.layers)]
        """What the reader of the numbers should know."""

    def channels(self, choice: str = "all") -> Rows[ChannelStatistics]:
        """Return a row for each channel of each layer and level; see `ChannelStatistics`.

        choice: `all`, a list such as `0-15` or `3,7`, or `top:8`, those with the largest mean square. Raises
        `BadOptionError` if no layer has these channels.
        """
        if self._layers and not any(chosen_channels(layer, choice) for layer in self._layers):
            most = max(layer.group.channels for layer in self._layers)
            raise BadOptionError(f"no layer has the channels {choice}; the widest one has {counted(most, 'channel')}")
        rows = (row for layer in self._layers for row in channel_rows(layer, choice, self._sample))
        return Rows(ChannelStatistics._fields, rows, ("folder", "nan", "infinite"))

    def bases(self) -> Dict[Key, Basis]:
        """Return the basis of principal components that the levels of each layer share, as `featscope heat` does."""
        whole: Dict[Key, Moments] = {}
        for layer, row in zip(self._layers, self.layers):
            moments = layer.sums.moments
            if moments is None or layer.group.reduced:
                continue
            key = (layer.group.name, layer.group.channels)
            part = moments.standing_for(row.cells)
            whole[key] = whole[key].and_of(part) if key in whole else part
        found = {key: moments.basis() for key, moments in whole.items()}
        return {key: basis for key, basis in found.items() if basis is not None}

    def write_bases(self, path: Union[str, Path]) -> None:
        """Write `bases` to a file, for `featscope heat --basis FILE`. Raises `BadArrayError` if there are none."""
        found = self.bases()
        if not found:
            raise BadArrayError(
                "there is no basis to write: no layer has a covariance of several channels; leave out --no-covariance"
            )
        write_bases(found, Path(path))

    def plot(self) -> Plot:
        """Draw the values of each layer and level: a histogram, the share of zeros, the median, the effective rank.

        >>> found = featscope.statistics("runs/fpn", layers="neck")
        >>> found.plot().save("plots/values.svg").name
        'values.svg'

        `Plot.save` writes PNG or SVG; a notebook shows a plot. Raises `BadArrayError` if no map was counted.
        """
        return plot_values(self._layers, self.layers, self.run.folder.resolve().name)

    def _sample_of(self, image: int) -> str:
        """Return the id of the sample with this number; the file's name where there is no sample."""
        file, index = image_of(image)
        one = feature_map_of(self._maps[file], index)
        return one.sample.id if one.sample is not None else one.stem

    def __repr__(self) -> str:
        failed = f"; {len(self.errors)} failed: see .errors" if self.errors else ""
        return f"<Statistics of {counted(len(self.layers), 'level')} of {self.run.folder}{failed}>"

    def _repr_html_(self) -> str:
        return self.layers._repr_html_()


def statistics(
    run: Union[Run, str, Path],
    *,
    layers: Union[str, Sequence[str]] = (),
    level: Optional[int] = None,
    sample: Optional[str] = None,
    only: Union[str, Sequence[str]] = (),
    examples: int = 5,
    most_cells: int = MOST_CELLS,
    correlation: float = CORRELATION,
    covariance: bool = True,
    executor: Union[str, Executor] = "serial",
    watch: Optional[Watch] = None,
) -> Statistics:
    """Compute statistics of a run's maps in one pass, over the cells whose centres lie on the image.

    >>> found = featscope.statistics("runs/fpn", layers="neck")
    >>> [(row.level, row.images, row.cells, row.channels, round(row.mean, 2)) for row in found.layers]
    [(0, 1, 54, 8, 0.52), (1, 1, 15, 8, 0.53)]
    >>> [(row.channel, round(row.maximum, 2), row.samples) for row in found.channels("top:1")]
    [(2, 0.97, ['harbour']), (4, 0.98, ['harbour'])]

    run: the folder of a run, an opened run, or a folder of `.npy` files. layers, level, sample, only: which maps, as in
    `Run.select`. examples: number of images to name for each channel. most_cells: at most so many cells of an image,
    spread evenly, enter the percentiles, the histogram, the effective rank, the redundant groups and the basis; 0 for
    all. Everything else is over all cells. correlation: from which absolute correlation on channels are redundant.
    covariance: False leaves out the effective rank, the redundant groups and the basis, which take most time where a
    layer has many channels; with more than 4096 channels they are always left out. executor: as in `draw_run`. watch:
    watches the work.

    Padding does not count: it is no part of the image, and its zeros would make every layer look sparse. Without a
    geometry all cells count, and a remark says so. Memory does not grow with the number of images. Sums are merged by
    the pairwise update of Chan, Golub and LeVeque (1979); means and variances are those of double precision to 1e-6.

    A file that cannot be read is listed in `Statistics.errors`; the others are counted. Raises a `FeatscopeError` for
    invalid options.
    """
    for name, value, least in (("examples", examples, 1), ("most_cells", most_cells, 0)):
        if value < least:
            raise BadOptionError(f"{name}={value!r} is out of range; give a number of at least {least}")
    if not 0 < correlation <= 1:
        raise BadOptionError(f"correlation={correlation!r} is out of range; give a number above 0, up to 1")
    far = isinstance(executor, str) and executor.startswith("dask")
    if far:  # its workers have other working folders
        run = Path(run.folder if isinstance(run, Run) else run).absolute()
    run_on = executor_named(executor) if isinstance(executor, str) else executor
    opened = run if isinstance(run, Run) else open_run(run)
    names = [layers] if isinstance(layers, str) else layers
    maps = opened.choose([only] if isinstance(only, str) else only, names, level, sample)
    with (watch or _unwatched)(len(maps)) as done:
        found = count_maps(maps, Ways(examples, most_cells, covariance), run_on, done, local=not far)
    return Statistics(opened, maps, found, correlation)


@contextmanager
def _unwatched(files: int) -> Iterator[Callable[[], None]]:
    yield lambda: None


def _remarks(run: Run, found: Counted) -> List[str]:
    said = []
    unplaced = sum(found.unplaced.get(group, 0) for group in found.groups)
    if run.index is None:
        said.append(f"{run.folder} has no manifest, so it is unknown which cells are padding; all cells were counted")
    elif unplaced:
        said.append(
            f"of {counted(unplaced, 'map')} it is unknown where the image lies on them; all their cells were "
            "counted, with padding if there is any"
        )
    for folder, arrays in found.no_maps.items():
        many = counted(arrays, "array of", "arrays of")
        said.append(f"{many} {folder} left out: not maps of the image, but tokens or vectors, for example")
    for group in found.chosen_apart:
        said.append(
            f"{group.folder} was left out: its channels were chosen for each image apart, so none is the same in all "
            "images; capture all channels, or a list: --channels 0-15"
        )
    for group in found.groups:
        said += _remarks_on(group, found)
    return said


def _never_fire(rows: Sequence[LayerStatistics]) -> List[str]:
    """Return a remark about the channels that never fire; none if all do, or if no layer is an activation."""
    dead = [row for row in rows if row.activation and row.silent]
    if not dead:
        return []
    named = [f"{_named(row.folder, row.level)} ({row.silent} of {row.channels})" for row in dead[:3]]
    more = f", and {counted(len(dead) - 3, 'more level')}" if len(dead) > 3 else ""
    return [f"channels never fire on these images: {', '.join(named)}{more}; --channels all names them"]


def _named(folder: str, level: Optional[int]) -> str:
    return folder if level is None else f"{folder} level {level}"


def _remarks_on(group: Group, found: Counted) -> Iterator[str]:
    sums = found.groups[group]
    name = _named(group.folder or ".", group.level)
    if group.reduced:
        yield (
            f"{name} was reduced on capture ({group.reduced}): its numbers are of the reduced map, not of the layer's "
            "channels"
        )
    if group.channels > MOST_CHANNELS:
        yield (
            f"{name} has {group.channels} channels; the effective rank and redundant groups are computed for at most "
            f"{MOST_CHANNELS}"
        )
    nan, infinite = int(sums.channels.nan.sum()), int(sums.channels.infinite.sum())
    if nan or infinite:
        many = f"{counted(nan, 'NaN value')} and {counted(infinite, 'infinite value')}"
        yield f"{name} has {many}; they have no part in the rest"

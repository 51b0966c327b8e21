"""Samples for the likeness of layers from the maps of two runs: images, or cells at the same places of the images."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.likeness import LikenessRow, likeness_of
from featscope.analysis.likeness_sums import Floats, LikenessOptions, Samples, Side, label
from featscope.arrays.reduce import as_floats
from featscope.errors import BadOptionError, BadRunError, check_name
from featscope.records import MapRecord, Place, assumed_place
from featscope.render.bases import inside_of
from featscope.store.feature_maps import FeatureMap, feature_maps
from featscope.store.holdings import Key
from featscope.store.matching import match_runs
from featscope.store.reader import Run
from featscope.store.tables import Rows

KINDS = ("images", "cells")

_NEARLY = 1e-6  # of a cell


def likeness_of_runs(
    first: Union[Run, str, Path],
    second: Union[Run, str, Path],
    samples: str = "images",
    options: Optional[LikenessOptions] = None,
    *,
    layers: Union[str, Sequence[str]] = (),
    level: Optional[int] = None,
    cells: int = 32,
) -> Rows[LikenessRow]:
    """Compare each layer of a run with each layer of another run of the same images.

    >>> likeness_of_runs("runs/fpn", "runs/newneck", "cells", layers="neck")[0].value
    1.0

    samples, layers, level, cells: as in `RunSamples`. The seed of the options also chooses the cells.
    """
    seed = (options or LikenessOptions()).seed
    walk = RunSamples(first, second, samples, layers=layers, level=level, cells=cells, seed=seed)
    rows = likeness_of(walk, options)
    lost = len(walk.left_out)
    return Rows(rows.columns, (row._replace(left_out=row.left_out + lost) for row in rows)) if lost else rows


class RunSamples:
    """The samples of two runs, block by block; they can be read several times, for `likeness_of`.

    samples: 'images' (one for each image: the mean of its cells) or 'cells' (the same places in both runs). layers,
    level: only these, as in `featscope.match_runs`. cells: the most cells of an image. seed: chooses the cells.

    Cells on the padding are left out: they are alike in all networks. Cells of different strides are compared on the
    grid of the coarser layer: the finer layer's cells whose centres lie in a coarse cell are averaged.

    Raises `BadRunError` if the runs have no image in common or no manifest, if maps have lost channels on capture, and
    for cells if an image was fed in two ways.
    """

    def __init__(
        self,
        first: Union[Run, str, Path],
        second: Union[Run, str, Path],
        samples: str = "images",
        *,
        layers: Union[str, Sequence[str]] = (),
        level: Optional[int] = None,
        cells: int = 32,
        seed: int = 0,
    ) -> None:
        check_name("kind of sample", samples, KINDS, "help(featscope.analysis.likeness_samples.RunSamples)")
        if cells < 1:
            raise BadOptionError(f"{cells} cells of an image are too few; take at least 1")
        match = match_runs(first, second, layers=layers, level=level)
        self._readers = [_Reader(match.first), _Reader(match.second)]
        for run in (match.first, match.second):
            if run.index is None:
                raise BadRunError(f"{run.folder} has no manifest, so nothing says which maps are of the same image")
        if not match.samples:
            raise BadRunError(
                f"{match.first.folder} and {match.second.folder} have no image in common; "
                "capture both on the same images"
            )
        for row in match.rows:
            for reader, folder in zip(self._readers, (row.folder, row.other_folder)):
                if folder:
                    reader.folders[row.layer, row.field, row.level] = folder
        self._names, self._samples, self._cells, self._seed = match.samples, samples, cells, seed
        self._grids: List[_Grid] = []
        self.left_out: Dict[str, str] = {}
        """Images that were left out in the last pass, each with the reason."""

    def __iter__(self) -> Iterator[Samples]:
        self.left_out = {}
        for number, name in enumerate(self._names):
            maps: Dict[Side, FeatureMap] = {}
            for side, reader in enumerate(self._readers):
                found, missing = reader.maps(name)
                maps.update({(side, key): of_key for key, of_key in found.items()})
                if missing:
                    self.left_out[name] = f"{reader.run.folder} has no map of {missing} for it"
            unknown = next((s for (s, _), m in maps.items() if m.sample is None or m.sample.geometry is None), None)
            if unknown is not None:
                folder = self._readers[unknown].run.folder
                self.left_out[name] = f"{folder} does not know how it lies in the network's input, so what is padding"
            if name not in self.left_out:
                self._check_sides(maps)
                yield from self._blocks(number, name, maps)
        if len(self.left_out) == len(self._names):
            name, why = next(iter(self.left_out.items()))
            raise BadRunError(f"no common image can be compared, as for {name}: {why}")

    def _check_sides(self, maps: Dict[Side, FeatureMap]) -> None:
        for side, reader in enumerate(self._readers):
            if not any(own == side for own, _ in maps):
                raise BadRunError(f"{reader.run.folder} has no maps of images; see: featscope list {reader.run.folder}")

    def _blocks(self, number: int, name: str, maps: Dict[Side, FeatureMap]) -> Iterator[Samples]:
        if self._samples == "images":
            means = {side: _inside(one).mean((1, 2), dtype=np.float64)[None] for side, one in maps.items()}
            yield _block(means, np.array([number]))
            return
        self._check_fed_alike(name, maps)
        places = {side: _place(one) for side, one in maps.items()}
        self._grids = self._grids or _grids(places)
        for grid in self._grids:
            found = _cells_of(grid, maps, places)
            random = np.random.default_rng([self._seed, zlib.crc32(name.encode(errors="replace"))])
            total = next(iter(found.values())).shape[1]
            if not total:
                continue
            chosen = np.sort(random.choice(total, min(self._cells, total), replace=False))
            tables = {side: of_side[:, chosen].T for side, of_side in found.items()}
            yield _block(tables, np.full(len(chosen), number), grid)

    def _check_fed_alike(self, name: str, maps: Dict[Side, FeatureMap]) -> None:
        one, two = (next(m.sample for (s, _), m in maps.items() if s == side and m.sample) for side in (0, 1))
        if one.geometry != two.geometry:
            (a, b), folders = (one.geometry, two.geometry), [reader.run.folder for reader in self._readers]
            raise BadRunError(
                f"{name} was fed in two ways: {a} in {folders[0]}, {b} in {folders[1]}; cells can be compared only at "
                "the same places, so take images or objects as samples, or capture both with the same preprocessing"
            )


class _Reader:
    """Finds the maps of an image in a run. Each file is read once as long as its images follow one another."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.folders: Dict[Key, str] = {}
        self._last: Dict[Key, Tuple[Path, Dict[str, FeatureMap]]] = {}
        self._channels: Dict[Key, Sequence[int]] = {}

    def maps(self, sample: str) -> Tuple[Dict[Key, FeatureMap], str]:
        """Return the maps of an image, without arrays that are no maps of images, and the first layer that has none."""
        found: Dict[Key, FeatureMap] = {}
        for key, folder in list(self.folders.items()):
            file = self.run.index.map_of(sample, folder, key[2]) if self.run.index is not None else None
            if file is None or file.record is None:
                return found, label(key)
            if not file.is_map or file.record.shape[0] != len(file.samples) or len(file.record.shape) != 4:
                del self.folders[key]  # tokens, regions of interest, or a film
                continue
            self._check_channels(key, file.record, [one.id for one in file.samples].index(sample))
            if self._last.get(key, (None,))[0] != file.path:
                self._last[key] = (
                    file.path,
                    {one.sample.id: one for one in feature_maps(file) if one.sample is not None},
                )
            found[key] = self._last[key][1][sample]
        return found, ""

    def _check_channels(self, key: Key, record: MapRecord, index: int) -> None:
        """Raise `BadRunError` if a map lost its channels on capture, or has others than the maps before."""
        where = f"{label(key)} in {self.run.folder}"
        if record.reduced:
            raise BadRunError(
                f"the maps of {where} were reduced on capture ({record.reduced}), but likeness needs all channels; "
                "capture again without -r"
            )
        channels = record.channels[index] if record.channels else []
        if self._channels.setdefault(key, channels) != channels:
            raise BadRunError(
                f"the maps of {where} have other channels in each image, which cannot be compared; "
                "capture again without -c, or with a list of channels"
            )


def _inside(one: FeatureMap) -> Floats:
    """Return the part of a map on its image, (C, h, w)."""
    rows, columns = inside_of(one)
    return as_floats(one.array)[:, rows, columns]


def _block(tables: Dict[Side, Floats], images: NDArray[np.int64], grid: Optional[_Grid] = None) -> Samples:
    one, two = ({key: table for (own, key), table in tables.items() if own == side} for side in (0, 1))
    return Samples(one, two, images) if grid is None else Samples(one, two, images, grid.name, grid.pairs)


class _Grid(NamedTuple):
    """The cells on which some pairs are compared: those of their coarsest layer."""

    name: str

    side: Side
    """The layer whose cells they are."""

    pairs: Set[Tuple[Key, Key]]

    def has(self, side: Side) -> bool:
        """Whether a layer is in one of the pairs."""
        return any(pair[side[0]] == side[1] for pair in self.pairs)


def _place(one: FeatureMap) -> Place:
    found = one.file.place()
    if found is None and one.sample is not None and one.sample.geometry is not None:
        return assumed_place(one.sample.geometry.padded, (one.array.shape[1], one.array.shape[2]))
    assert found is not None  # noqa: S101  # images without a geometry are left out before
    return found


def _grids(places: Dict[Side, Place]) -> List[_Grid]:
    """Sort the pairs by the stride of their coarser layer."""
    grids: Dict[Tuple[float, float], _Grid] = {}
    for one in places:
        for two in places:
            if (one[0], two[0]) == (0, 1):
                coarse = max(one, two, key=lambda side: places[side].stride[0] * places[side].stride[1])
                stride = places[coarse].stride
                name = f"stride {stride[0]:g} x {stride[1]:g}"
                grids.setdefault(stride, _Grid(name, coarse, set())).pairs.add((one[1], two[1]))
    return list(grids.values())


def _cells_of(grid: _Grid, maps: Dict[Side, FeatureMap], places: Dict[Side, Place]) -> Dict[Side, Floats]:
    """Return the features of each layer of a grid at the cells that all of them have on the image, (C, cells)."""
    coarse = places[grid.side]
    sums: Dict[Side, Tuple[Floats, List[NDArray[np.int64]]]] = {}
    for side, one in maps.items():
        if not grid.has(side):
            continue
        part, corners, axes = _inside(one), inside_of(one), []
        for axis in (0, 1):
            start = corners[axis].start or 0
            centres = places[side].first[axis] + places[side].stride[axis] * (start + np.arange(part.shape[1 + axis]))
            cells = np.floor((centres - coarse.first[axis]) / coarse.stride[axis] + 0.5 + _NEARLY).astype(np.int64)
            found, starts, counts = np.unique(cells, return_index=True, return_counts=True)
            if len(found) < len(cells):
                part = np.add.reduceat(part, starts, axis=1 + axis, dtype=np.float64)
                part /= counts[:, None] if axis == 0 else counts
            axes.append(found)
        sums[side] = part, axes
    common = [_common([axes[axis] for _, axes in sums.values()]) for axis in (0, 1)]
    cells_of: Dict[Side, Floats] = {}
    for side, (part, axes) in sums.items():
        rows, columns = (np.isin(have, both) for have, both in zip(axes, common))
        cells_of[side] = part[:, rows][:, :, columns].reshape(len(part), -1)
    return cells_of


def _common(axes: List[NDArray[np.int64]]) -> NDArray[np.int64]:
    found = axes[0]
    for axis in axes[1:]:
        found = np.intersect1d(found, axis)
    return found

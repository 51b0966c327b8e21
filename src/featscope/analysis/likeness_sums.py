"""What is gathered of the samples of two networks, block by block: sums, and a limited number of samples."""

from __future__ import annotations

from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.resampling import METHODS, Chance, chance
from featscope.arrays.similarity import FEWEST, Spread, Sums, cka, why_no_value
from featscope.errors import BadArrayError, BadRunError
from featscope.store.holdings import Key
from featscope.words import counted

Floats = NDArray[np.floating]

Side = Tuple[int, Key]
"""A layer, field and level of the first (0) or the second (1) network."""

_AT_ONCE = 512  # samples whose sums are taken together


class LikenessOptions(NamedTuple):
    """How likeness is measured."""

    measure: str = "cka"
    """'cka' (unbiased, linear), 'neighbours' (share of common nearest neighbours by cosine) or 'procrustes'."""

    z_scores: bool = False
    """Whether each channel is brought to mean 0 and standard deviation 1 first."""

    neighbours: int = 10
    """Number of neighbours of a sample, for the measure 'neighbours'."""

    shuffles: int = 100
    """Number of shuffles for the noise floor."""

    resamples: int = 200
    """Number of times that the images are drawn again for the interval."""

    keep: int = 1024
    """The most samples that are kept in memory, drawn evenly from all. The noise floor, the interval and 'neighbours'
    are computed on these; the values of 'cka' and 'procrustes' are those of all samples."""

    seed: int = 0

    @property
    def words(self) -> str:
        """The measure in words."""
        number = f", {self.neighbours} neighbours" if self.measure == "neighbours" else ""
        return METHODS[self.measure].words + number + (", channels as z-scores" if self.z_scores else "")


class Samples(NamedTuple):
    """Features of the same samples in two networks: a block of them. All samples of an image lie in one block."""

    first: Mapping[Key, Floats]
    """For each layer, field and level of the first network (n, C)."""

    second: Mapping[Key, Floats]
    """The same of the second network, in the same order of samples."""

    images: NDArray[np.generic]
    """Image of each sample, (n,)."""

    group: str = ""
    """Blocks of different groups have different samples, for example cells of another stride."""

    pairs: Optional[Set[Tuple[Key, Key]]] = None
    """Pairs to compare on these samples; None for all."""

    def tables(self) -> Iterator[Tuple[Side, Floats]]:
        """Yield the features of every layer of both networks."""
        for side, of_side in enumerate((self.first, self.second)):
            for key, table in of_side.items():
                yield (side, key), table


def usable_rows(table: Floats, options: LikenessOptions) -> NDArray[np.bool_]:
    """Return which samples can be used, (n,): not NaN, infinite, or, if directions are compared, zero."""
    usable = np.asarray(np.isfinite(table).all(axis=1))
    if options.measure == "neighbours" and not options.z_scores:
        usable = np.logical_and(usable, table.any(axis=1))
    return usable


def add_spreads(block: Samples, options: LikenessOptions, spreads: Dict[Side, Spread]) -> None:
    """Add a block to the spreads that z-scores need."""
    tables, good = _complete(block, options)
    if good.any():
        for name, table in tables.items():
            spread = Spread.of(table)
            spreads[name] = spreads[name].and_of(spread) if name in spreads else spread


def _complete(block: Samples, options: LikenessOptions) -> Tuple[Dict[Side, Floats], NDArray[np.bool_]]:
    """Return the samples that every layer has, and which these are."""
    tables = dict(block.tables())
    for (_, key), table in tables.items():
        if table.ndim != 2 or len(table) != len(block.images) or table.dtype.kind not in "fiu":
            raise BadArrayError(
                f"the features of {label(key)} are {table.shape} {table.dtype}; give a table of real numbers with "
                f"{counted(len(block.images), 'row')}, one for each sample"
            )
    good = np.ones(len(block.images), bool)
    for table in tables.values():
        good &= usable_rows(table, options)
    return (tables if good.all() else {name: table[good] for name, table in tables.items()}), good


def label(key: Key) -> str:
    """Name a layer, field and level as in tables.

    >>> label(("neck", "", 0)), label(("bbox_head", "cls_scores", 2))
    ('neck 0', 'bbox_head.cls_scores 2')
    """
    return f"{'.'.join(filter(None, key[:2])) or 'output'} {key[2]}"


class Found(NamedTuple):
    """What was found for a pair; numbers as in `LikenessRow`."""

    value: float
    low: float = np.nan
    high: float = np.nan
    noise: float = np.nan
    noise_high: float = np.nan
    remark: str = ""


class Collector:
    """The sums of one group of blocks, and the samples of it that are kept."""

    def __init__(self, block: Samples, options: LikenessOptions, spreads: Mapping[Side, Spread]) -> None:
        self._options, self._spreads = options, spreads
        self._names = [name for name, _ in block.tables()]
        wanted = [(a, b) for a in block.first for b in block.second if block.pairs is None or (a, b) in block.pairs]
        self.keys = [[tuple(key) for key in side] for side in (block.first, block.second)]
        self._pairs = wanted
        self._sums: Dict[Tuple[Side, Side], Sums] = {}
        self._waiting: List[Dict[Side, Floats]] = []
        self._kept: Dict[Side, Floats] = {}
        self._kept_images: NDArray[np.generic] = block.images[:0]
        self._chances = np.empty(0)
        self._random = np.random.default_rng(options.seed)
        self.samples = self.images = self.left_out = 0

    @property
    def kept(self) -> int:
        """Number of samples that are kept."""
        return len(self._chances)

    def add(self, block: Samples) -> None:
        """Add the samples of a block. Those that cannot be used in a layer are left out of all layers."""
        tables, good = _complete(block, self._options)
        if list(tables) != self._names:
            raise BadArrayError("every block of samples must have the same layers in the same order")
        images = block.images[good]
        self.left_out += len(good) - len(images)
        if not len(images):
            return
        self.samples += len(images)
        self.images += len(np.unique(images))
        for name, spread in self._spreads.items():
            tables[name] = spread.z_scores(tables[name])
        self._keep(tables, images)
        if self._options.measure != "neighbours":
            for start in range(0, len(images), _AT_ONCE):
                self._waiting.append({name: table[start : start + _AT_ONCE] for name, table in tables.items()})
                self._sum(_AT_ONCE)

    def _keep(self, tables: Mapping[Side, Floats], images: NDArray[np.generic]) -> None:
        """Keep the samples with the smallest random numbers, which are an even choice from all."""
        most, numbers = self._options.keep, self._random.random(len(images))
        if len(self._chances) == most:
            likely = numbers < self._chances.max()
            numbers, images = numbers[likely], images[likely]
            tables = {name: table[likely] for name, table in tables.items()}
        if not len(numbers):
            return
        self._chances = np.concatenate([self._chances, numbers])
        chosen = np.sort(np.argsort(self._chances, kind="stable")[:most])
        self._chances = self._chances[chosen]
        self._kept_images = np.concatenate([self._kept_images, images])[chosen]
        for name, table in tables.items():
            before = self._kept.get(name, table[:0])
            if before.shape[1] != table.shape[1]:
                raise _other_channels(name[1], before, table)
            self._kept[name] = np.concatenate([before, table])[chosen]

    def _sum(self, least: int) -> None:
        """Add the samples that wait to the sums, if there are enough of them."""
        if sum(len(tables[self._names[0]]) for tables in self._waiting) < least:
            return
        whole: Dict[Side, Floats] = {}
        for name in self._names:
            parts = [tables[name] for tables in self._waiting]
            odd = next((part for part in parts if part.shape[1] != parts[0].shape[1]), None)
            if odd is not None:
                raise _other_channels(name[1], parts[0], odd)
            whole[name] = np.concatenate(parts)
        self._waiting = []
        for one, two in [*((name, name) for name in self._names), *(((0, a), (1, b)) for a, b in self._pairs)]:
            sums = Sums.of(whole[one], whole[two])
            self._sums[one, two] = self._sums[one, two].and_of(sums) if (one, two) in self._sums else sums

    def finish(self) -> Iterator[Tuple[Key, Key, Found]]:
        """Yield what was found for every pair. Raises `BadRunError` if there are too few samples."""
        self._check_numbers()
        if self._waiting:
            self._sum(0)
        samples = {name: np.asarray(table, np.float64) for name, table in self._kept.items()}
        whys = {name: self._why(name, table) for name, table in samples.items()}
        ones, twos = ([name for name in self._names if name[0] == side and not whys[name]] for side in (0, 1))
        found, images = self._chance(samples, ones, twos)
        few = "" if np.isfinite(found.low).any() else f"no interval: too few images ({images})"
        for a, b in self._pairs:
            one, two = (0, a), (1, b)
            if whys[one] or whys[two]:
                reasons = [f"{label(name[1])} of {'AB'[name[0]]}: {whys[name]}" for name in (one, two) if whys[name]]
                yield a, b, Found(np.nan, remark="; ".join(reasons))
                continue
            place = ones.index(one), twos.index(two)
            value = self._value(one, two, float(found.values[place]))
            low, high = value + float(found.low[place]), value + float(found.high[place])
            noise, noise_high = float(found.noise[place]), float(found.noise_high[place])
            yield a, b, Found(value, low, high, noise=noise, noise_high=noise_high, remark=few)

    def _check_numbers(self) -> None:
        left_out = f"; {counted(self.left_out, 'sample')} with NaN or infinity left out" if self.left_out else ""
        if self.samples < FEWEST:
            raise BadRunError(
                f"{counted(self.samples, 'sample')} cannot show how alike two layers are, at least {FEWEST} are "
                f"needed{left_out}; compare runs of more images, or take cells as samples"
            )
        if self._options.measure == "neighbours" and self.kept < self._options.neighbours + 2:
            number = self._options.neighbours
            raise BadRunError(
                f"{number} neighbours need at least {number + 2} samples, but there are {self.kept}{left_out}; "
                f"set neighbours to at most {self.kept - 2}"
            )

    def _chance(
        self, samples: Mapping[Side, NDArray[np.float64]], ones: List[Side], twos: List[Side]
    ) -> Tuple[Chance, int]:
        names, images = np.unique(self._kept_images, return_inverse=True)
        options = self._options
        if not ones or not twos:
            return Chance(*[np.empty((len(ones), len(twos)))] * 5), len(names)
        found = chance(
            [samples[name] for name in ones],
            [samples[name] for name in twos],
            images.reshape(-1),
            METHODS[options.measure],
            neighbours=options.neighbours,
            shuffles=options.shuffles,
            resamples=options.resamples,
            seed=options.seed,
        )
        return found, len(names)

    def _why(self, name: Side, kept: Floats) -> str:
        """Return why a layer has no value."""
        return (why_no_value(self._sums[name, name]) if self._sums else "") or why_no_value(Sums.of(kept, kept))

    def _value(self, one: Side, two: Side, of_kept: float) -> float:
        if self._options.measure == "cka":
            return cka(self._sums[one, two], self._sums[one, one], self._sums[two, two])
        return self._sums[one, two].procrustes() if self._options.measure == "procrustes" else of_kept


def _other_channels(key: Key, one: Floats, other: Floats) -> BadArrayError:
    return BadArrayError(
        f"{label(key)} has {one.shape[1]} channels in some images and {other.shape[1]} in others; compare images whose "
        "maps have the same channels"
    )

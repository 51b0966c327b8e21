"""How alike the layers of two networks are, each of the first with each of the second, as rows."""

from __future__ import annotations

from itertools import product
from typing import Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.likeness_sums import (
    Collector,
    Floats,
    Found,
    LikenessOptions,
    Samples,
    Side,
    add_spreads,
    label,
    usable_rows,
)
from featscope.arrays.resampling import METHODS
from featscope.arrays.similarity import FEWEST, Spread
from featscope.errors import BadOptionError, BadRunError, check_name
from featscope.render.matrix import Matrix
from featscope.store.holdings import Key
from featscope.store.tables import Rows
from featscope.words import counted

Name = TypeVar("Name", bound=Key)


class LikenessRow(NamedTuple):
    """A layer of the first network (A) and one of the second (B)."""

    layer: str
    field: str
    level: int
    other_layer: str
    other_field: str
    other_level: int

    value: float
    """NaN if there is none; `remark` then says why."""

    low: float
    high: float
    """Ends of the interval of 95 % for other images of the same kind. NaN if there are fewer than five images."""

    noise: float
    """Mean of the values of shuffled pairs."""

    noise_high: float
    """95 % of the values of shuffled pairs are below it."""

    samples: int
    """Samples on which the value is computed."""

    images: int
    """Images of these samples."""

    kept: int
    """Samples on which the interval and the noise floor are computed."""

    left_out: int
    """Samples that were left out because a layer is NaN or infinite there, or zero if directions are compared."""

    measure: str
    remark: str = ""

    @property
    def above_noise(self) -> bool:
        """Whether the value is above 95 % of the values of shuffled pairs."""
        return self.value > self.noise_high


def likeness(
    samples_a: Mapping[Name, Floats],
    samples_b: Mapping[Name, Floats],
    groups: NDArray[np.generic],
    options: Optional[LikenessOptions] = None,
) -> Rows[LikenessRow]:
    """Compare each layer of one network with each layer of another on the same samples.

    >>> objects = np.random.default_rng(0).normal(size=(60, 8))
    >>> rows = likeness({("neck", "", 0): objects}, {("neck", "", 0): objects[:, ::-1] * 3}, np.arange(60) // 6)
    >>> round(rows[0].value, 6), rows[0].noise_high < 0.2
    (1.0, True)

    samples_a, samples_b: features (n, C) by (layer, field, level), in the same order of samples. groups: the image of
    each sample, (n,). Samples of one image are not independent, so the interval and the noise floor are found with
    whole images. A layer without four usable samples has no value; from the others, a sample is left out of all layers
    if it cannot be used in one. Raises `BadRunError` if there are fewer than four samples.
    """
    options = _checked(options)
    groups = np.asarray(groups)
    if not samples_a or not samples_b:
        raise BadRunError(f"there is no layer to compare: {len(samples_a)} of A and {len(samples_b)} of B")
    given = Samples(_plain(samples_a), _plain(samples_b), groups)
    bad = _unusable(given, options)
    one = {key: table for key, table in given.first.items() if (0, key) not in bad}
    two = {key: table for key, table in given.second.items() if (1, key) not in bad}
    rows = list(likeness_of([Samples(one, two, groups)], options)) if one and two else []
    by_pair = {pair_of(row): row for row in rows}
    for pair in product(given.first, given.second):
        reasons = [bad[name] for name in enumerate(pair) if name in bad]
        if reasons:
            found = Found(np.nan, remark="; ".join(reasons))
            by_pair[pair] = _row(*pair, found, _Numbers(0, 0, 0, len(groups)), options)
    return Rows(LikenessRow._fields, (by_pair[pair] for pair in product(given.first, given.second)))


def _unusable(given: Samples, options: LikenessOptions) -> Dict[Side, str]:
    """Return the layers that have too few samples to be compared, each with the reason."""
    found: Dict[Side, str] = {}
    total = len(given.images)
    for (side, key), table in given.tables():
        if total < FEWEST or table.ndim != 2 or len(table) != total or table.dtype.kind not in "fiu":
            continue  # an error says so when the samples are used
        usable = int(usable_rows(table, options).sum())
        if usable < FEWEST:
            zero = " or zero" if options.measure == "neighbours" else ""
            bad = f"{total - usable} of {counted(total, 'sample')} cannot be used (NaN or infinity{zero})"
            found[side, key] = f"{label(key)} of {'AB'[side]}: {bad}"
    return found


def likeness_of(blocks: Iterable[Samples], options: Optional[LikenessOptions] = None) -> Rows[LikenessRow]:
    """Compare layers on samples that come in blocks. The memory does not grow with the number of samples.

    blocks: are read a second time for z-scores. Raises `BadRunError` if there are fewer than four samples.
    """
    options = _checked(options)
    collectors: Dict[str, Collector] = {}
    spreads: Dict[str, Dict[Side, Spread]] = {}
    if options.z_scores:
        if isinstance(blocks, Iterator):
            raise BadOptionError("z-scores need the samples twice; give a list of blocks instead of an iterator")
        for block in blocks:
            add_spreads(block, options, spreads.setdefault(block.group, {}))
    for block in blocks:
        if block.group not in collectors:
            collectors[block.group] = Collector(block, options, spreads.get(block.group, {}))
        collectors[block.group].add(block)
    if not collectors:
        raise BadRunError("there is no sample to compare; give two runs of the same images")
    rows = []
    for collector in collectors.values():
        for a, b, found in collector.finish():
            used = collector.kept if options.measure == "neighbours" else collector.samples
            numbers = _Numbers(used, collector.images, collector.kept, collector.left_out)
            rows.append(_row(a, b, found, numbers, options))
    # The blocks of one group may lack some layers, so the fullest one says in which order the layers come.
    ones, twos = (max((collector.keys[side] for collector in collectors.values()), key=len) for side in (0, 1))
    rows.sort(key=lambda row: (ones.index(pair_of(row)[0]), twos.index(pair_of(row)[1])))
    return Rows(LikenessRow._fields, rows)


def _checked(options: Optional[LikenessOptions]) -> LikenessOptions:
    options = options or LikenessOptions()
    check_name("measure of likeness", options.measure, METHODS, "help(featscope.analysis.likeness.LikenessOptions)")
    for name, least in (("neighbours", 1), ("shuffles", 1), ("resamples", 1), ("keep", FEWEST)):
        if getattr(options, name) < least:
            raise BadOptionError(f"{name} is {getattr(options, name)}; set it to at least {least}")
    return options


class _Numbers(NamedTuple):
    samples: int
    images: int
    kept: int
    left_out: int


def _row(a: Key, b: Key, found: Found, numbers: _Numbers, options: LikenessOptions) -> LikenessRow:
    return LikenessRow(
        layer=a[0],
        field=a[1],
        level=a[2],
        other_layer=b[0],
        other_field=b[1],
        other_level=b[2],
        **found._asdict(),
        **numbers._asdict(),
        measure=options.words,
    )


def _plain(samples: Mapping[Name, Floats]) -> Dict[Key, Floats]:
    """Return the samples by plain tuples, which rows can be compared with."""
    return {(name[0], name[1], name[2]): table for name, table in samples.items()}


def pair_of(row: LikenessRow) -> Tuple[Key, Key]:
    """Return the layer of A and the layer of B of a row."""
    return (row.layer, row.field, row.level), (row.other_layer, row.other_field, row.other_level)


def matrix_of(rows: Iterable[LikenessRow], first: str = "A", second: str = "B", noun: str = "object") -> Matrix:
    """Arrange rows as a matrix that `featscope.render.matrix.draw_matrix` draws.

    first, second: names of the two networks or runs. noun: what a sample is.
    """
    rows = list(rows)
    pairs = [pair_of(row) for row in rows]
    ones, twos = (list(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1))
    values, floor = np.full((2, len(ones), len(twos)), np.nan)
    for row, (a, b) in zip(rows, pairs):
        place = ones.index(a), twos.index(b)
        values[place], floor[place] = row.value, row.noise_high
    words = [rows[0].measure if rows else "", _range([row.samples for row in rows], noun)]
    words.append("of " + _range([row.images for row in rows], "image"))
    return Matrix(
        values,
        floor,
        rows=_labels(ones),
        columns=_labels(twos),
        sides=(first, second),
        title="Likeness of layers",
        words=f"{words[0]}; {' '.join(words[1:])}",
    )


def _labels(keys: Iterable[Key]) -> List[Tuple[str, str]]:
    """Name the layers for a picture: a group and its member, each no longer than needed.

    >>> _labels([("neck", "", 0), ("neck", "", 1), ("fpn", "pool", 0), ("head", "boxes", 0), ("head", "boxes", 1)])
    [('neck', '0'), ('neck', '1'), ('fpn', 'pool'), ('head.boxes', '0'), ('head.boxes', '1')]
    """
    keys = list(keys)
    levels: Dict[str, int] = {}
    for layer, _, level in keys:
        levels[layer] = max(levels.get(layer, 0), level)
    return [
        (layer or "output", field)
        if field and not levels[layer]
        else (".".join(filter(None, (layer, field))) or "output", str(level))
        for layer, field, level in keys
    ]


def _range(numbers: List[int], noun: str) -> str:
    """Name a number, or the smallest and the largest of several.

    >>> _range([3, 3], "image"), _range([3, 9], "image")
    ('3 images', '3 to 9 images')
    """
    low, high = min(numbers, default=0), max(numbers, default=0)
    return counted(high, noun) if low == high else f"{low} to {counted(high, noun)}"


__all__ = [
    "LikenessOptions",
    "LikenessRow",
    "Samples",
    "likeness",
    "likeness_of",
    "matrix_of",
]

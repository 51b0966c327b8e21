"""Rows of statistics, from sums: one for each layer and level, and one for each channel."""

from __future__ import annotations

from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from featscope.analysis.counting import Group
from featscope.arrays.channel_sums import NO_IMAGE, ChannelSums
from featscope.arrays.channels import parse_channels
from featscope.arrays.histogram import coarse, quantiles
from featscope.arrays.layer_sums import LayerSums
from featscope.arrays.redundancy import effective_rank, redundant_groups

_SATURATED = 0.01
"""A channel is saturated if more than this share of its cells has exactly its largest value."""


class LayerStatistics(NamedTuple):
    """The values of one layer, field and level, over all cells whose centres lie on the image.

    level: None in a folder without a manifest. reduced: how the channels were reduced on capture. images: maps. cells:
    of all images, each with `channels` values. padding: cells that were left out. mean, variance, std, minimum,
    maximum: of the finite values; minimum_sample, maximum_sample: where they are (the first such image). zeros, nan,
    infinite: shares of all values. p1, median, p99: percentiles, at most 0.4 % off. silent: number of channels without
    a value above zero on these images. activation: whether the layer has no negative value, as behind a ReLU; its
    silent channels then never fire. Of other layers, such as a convolution, a silent channel would not fire behind a
    ReLU. constant: channels with the same value everywhere. saturated: other channels of which more than 1 % of the
    cells have exactly the largest value. effective_rank: see `featscope.arrays.redundancy`; None if not computed.
    redundant: channels that the first channels of their groups could stand for. groups: those groups, by channel
    number. sampled: cells behind the percentiles, the histogram, the effective rank and the groups. histogram_low,
    histogram_high, histogram_counts: bins that hold values, two for each power of two.
    """

    folder: str
    layer: str
    field: str
    level: Optional[int]
    reduced: str
    channels: int
    images: int
    cells: int
    padding: int
    mean: float
    variance: float
    std: float
    minimum: float
    minimum_sample: str
    maximum: float
    maximum_sample: str
    zeros: float
    nan: float
    infinite: float
    p1: float
    median: float
    p99: float
    silent: int
    activation: bool
    constant: int
    saturated: int
    effective_rank: Optional[float]
    redundant: Optional[int]
    groups: List[List[int]]
    sampled: int
    histogram_low: List[float]
    histogram_high: List[float]
    histogram_counts: List[int]


class ChannelStatistics(NamedTuple):
    """The values of one channel, over all cells whose centres lie on the image.

    mean, std, minimum, maximum: of the finite values. zeros, nan, infinite: shares of its values. fires: share of the
    images that have a value above zero. silent: whether no image has one. never_fires: the same, said only of a layer
    without negative values, as behind a ReLU; None for other layers. saturated: share of the finite values that are
    exactly the largest one; None for a constant channel. group: number of its redundant group, by size; None for none.
    samples: the images that excite it most, by their largest value (peaks); none for a constant channel.
    """

    folder: str
    layer: str
    field: str
    level: Optional[int]
    channel: int
    mean: float
    std: float
    minimum: float
    maximum: float
    zeros: float
    nan: float
    infinite: float
    fires: float
    silent: bool
    never_fires: Optional[bool]
    saturated: Optional[float]
    group: Optional[int]
    samples: List[str]
    peaks: List[float]


class Layer(NamedTuple):
    """The sums of one group, and what else its rows need."""

    group: Group
    sums: LayerSums

    numbers: Sequence[int]
    """The number of each channel; not all may have been kept on capture."""

    groups: List[List[int]]
    """Redundant groups, by place."""


def layer_of(group: Group, sums: LayerSums, kept: Optional[Sequence[int]], correlation: float) -> Layer:
    """Return what the rows of a layer are made from. kept: numbers of its channels, if only some were kept."""
    moments = sums.moments
    groups = redundant_groups(moments, correlation) if moments is not None else []
    return Layer(group, sums, kept if kept is not None else range(group.channels), groups)


def layer_row(layer: Layer, sample: Callable[[int], str]) -> LayerStatistics:
    """Return the row of a layer. sample: returns the name of the image with a number."""
    group, sums, channels = layer.group, layer.sums, layer.sums.channels
    moments = sums.moments
    values = int(channels.cells.sum())
    mean, variance = _over_channels(channels)
    lowest, highest = int(np.argmin(channels.low)), int(np.argmax(channels.high))
    constant = channels.low == channels.high
    all_values = values + int(channels.nan.sum()) + int(channels.infinite.sum())
    p1, median, p99 = quantiles(sums.histogram, [0.01, 0.5, 0.99])
    bins = coarse(sums.histogram)
    return LayerStatistics(
        folder=group.folder or ".",
        layer=group.layer,
        field=group.field,
        level=group.level,
        reduced=group.reduced,
        channels=group.channels,
        images=channels.images,
        cells=all_values // max(1, group.channels),
        padding=sums.padding,
        mean=mean,
        variance=variance,
        std=float(np.sqrt(variance)),
        minimum=_finite(channels.low[lowest]),
        minimum_sample=_named(sample, int(channels.low_image[lowest])),
        maximum=_finite(channels.high[highest]),
        maximum_sample=_named(sample, int(channels.top_images[highest, 0])),
        zeros=float(channels.zeros.sum() / max(1, all_values)),
        nan=float(channels.nan.sum() / max(1, all_values)),
        infinite=float(channels.infinite.sum() / max(1, all_values)),
        p1=p1,
        median=median,
        p99=p99,
        silent=int((channels.high <= 0).sum()),
        activation=_is_activation(channels),
        constant=int(constant.sum()),
        saturated=int((~constant & (channels.at_high > _SATURATED * channels.cells)).sum()),
        effective_rank=effective_rank(moments) if moments is not None else None,
        redundant=sum(len(members) - 1 for members in layer.groups) if moments is not None else None,
        groups=[[layer.numbers[place] for place in members] for members in layer.groups],
        sampled=sums.sampled,
        histogram_low=[one.low for one in bins],
        histogram_high=[one.high for one in bins],
        histogram_counts=[one.many for one in bins],
    )


def channel_rows(layer: Layer, choice: str, sample: Callable[[int], str]) -> Iterator[ChannelStatistics]:
    """Yield the rows of the chosen channels of a layer. choice: as `chosen_channels` takes it."""
    group, channels = layer.group, layer.sums.channels
    members = {place: number for number, places in enumerate(layer.groups) for place in places}
    activation = _is_activation(channels)
    for place in chosen_channels(layer, choice):
        finite = int(channels.cells[place])
        every = max(1, finite + int(channels.nan[place]) + int(channels.infinite[place]))
        silent = bool(channels.high[place] <= 0)
        varies = bool(channels.low[place] < channels.high[place])
        images = channels.top_images[place][channels.top_images[place] != NO_IMAGE] if varies else ()
        yield ChannelStatistics(
            folder=group.folder or ".",
            layer=group.layer,
            field=group.field,
            level=group.level,
            channel=layer.numbers[place],
            mean=float(channels.mean[place]) if finite else float("nan"),
            std=float(np.sqrt(channels.squares[place] / finite)) if finite else float("nan"),
            minimum=_finite(channels.low[place]),
            maximum=_finite(channels.high[place]),
            zeros=float(channels.zeros[place] / every),
            nan=float(channels.nan[place] / every),
            infinite=float(channels.infinite[place] / every),
            fires=float(channels.fires[place] / max(1, channels.images)),
            silent=silent,
            never_fires=silent if activation else None,
            saturated=float(channels.at_high[place] / finite) if varies else None,
            group=members.get(place),
            samples=[sample(int(image)) for image in images],
            peaks=[float(value) for value in channels.top_values[place][: len(images)]],
        )


def chosen_channels(layer: Layer, choice: str) -> List[int]:
    """Return the places of chosen channels: `all`, `0-15`, `3,7`, or `top:8`, those with the largest mean square."""
    kind, numbers = parse_channels(choice)
    places = list(range(layer.group.channels))
    if kind == "all":
        return places
    if kind == "list":
        wanted = set(numbers)
        return [place for place in places if layer.numbers[place] in wanted]
    channels = layer.sums.channels
    strength = channels.mean
    if kind == "top":
        strength = channels.squares / np.maximum(channels.cells, 1) + channels.mean**2
    return [int(place) for place in np.argsort(-strength, kind="stable")[: numbers[0]]]


def _over_channels(channels: ChannelSums) -> Tuple[float, float]:
    """Return the mean and the variance of the values of all channels together."""
    values = int(channels.cells.sum())
    if not values:
        return float("nan"), float("nan")
    with np.errstate(over="ignore", invalid="ignore"):  # squares of doubles may be infinite
        mean = float((channels.cells * channels.mean).sum() / values)
        between = channels.cells * (channels.mean - mean) ** 2
        return mean, float((channels.squares.sum() + between.sum()) / values)


def _is_activation(channels: ChannelSums) -> bool:
    return bool(channels.low.min() >= 0 and np.isfinite(channels.low).any())


def _finite(value: float) -> float:
    """Return a number; NaN for the extreme of no value."""
    return float(value) if np.isfinite(value) else float("nan")


def _named(sample: Callable[[int], str], image: int) -> str:
    return sample(image) if image != NO_IMAGE else ""

"""What two runs hold of the same objects: energy in the maps that both have, and the likeness of their layers."""

from __future__ import annotations

from typing import Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.likeness import LikenessRow, likeness
from featscope.analysis.object_changes import Key, TrueObject
from featscope.analysis.objects import MapName, chosen_layers, walk_objects
from featscope.analysis.sizes import SODA
from featscope.arrays.channel_order import ChannelOrder, channel_order
from featscope.arrays.image_boxes import TRUTH
from featscope.arrays.pooling import Pooled
from featscope.arrays.ranking import interval_over_images
from featscope.errors import BadRunError
from featscope.records import Boxes
from featscope.scale.executor import Executor
from featscope.store.reader import Run
from featscope.store.tables import Rows


class EnergyChange(NamedTuple):
    """The energy on objects of one size, in a map that both runs have."""

    map: str
    size_bin: str
    objects: int
    ratio_a: float
    """Median of the energy in the box divided by that of the ring."""
    ratio_b: float
    low: float
    """Lower end of the 95 % interval of the median of b / a, by a bootstrap over images; NaN for one image."""
    high: float
    """Upper end."""


class ObjectFeatures(NamedTuple):
    """What the maps of one run hold of the true boxes, in the order of `keys`; NaN where a map is missing."""

    keys: List[Key]
    features: Dict[MapName, NDArray[np.float32]]
    ratios: Dict[MapName, NDArray[np.float64]]


class _Image(NamedTuple):
    """The true boxes of an image, and what its maps hold in all of its boxes."""

    objects: int
    maps: Mapping[MapName, Pooled]
    rows: slice


def pooled_features(
    run: Run, truth: Mapping[str, Boxes], layers: Sequence[str], executor: Union[str, Executor]
) -> ObjectFeatures:
    """Pool the features of a run over the true boxes. They are in the order of `truth`, whatever that of the run is."""
    names = chosen_layers(run, layers)
    images: Dict[str, _Image] = {}
    for image in walk_objects(run, names, truth=truth, executor=executor) if names else ():
        images[image.sample.id] = _Image(image.boxes.counts[0], image.maps, image.boxes.rows(TRUTH))
    ordered = [(name, images[name]) for name in truth if name in images]
    keys = [(name, number) for name, one in ordered for number in range(one.objects)]
    features: Dict[MapName, NDArray[np.float32]] = {}
    ratios: Dict[MapName, NDArray[np.float64]] = {}
    for key in dict.fromkeys(key for _, one in ordered for key in one.maps):
        channels = next(one.maps[key].features.shape[1] for _, one in ordered if key in one.maps)
        features[key] = np.concatenate(
            [
                one.maps[key].features[one.rows]
                if key in one.maps
                else np.full((one.objects, channels), np.nan, np.float32)
                for _, one in ordered
            ]
        )
        ratios[key] = np.concatenate(
            [one.maps[key].ratio[one.rows] if key in one.maps else np.full(one.objects, np.nan) for _, one in ordered]
        )
    return ObjectFeatures(keys, features, ratios)


def energy_changes(sides: Sequence[ObjectFeatures], objects: Sequence[TrueObject]) -> Iterator[EnergyChange]:
    """Compare the energy on objects in the maps that both runs have, by size."""
    a, b = sides
    sizes = {one.key: one.size_bin for one in objects}
    bins = np.array([sizes.get(key, "") for key in a.keys])
    images = np.unique([key[0] for key in a.keys], return_inverse=True)[1] if a.keys else np.zeros(0, np.int64)
    for name in (name for name in a.ratios if name in b.ratios):
        one, two = a.ratios[name], b.ratios[name]
        for size_bin in SODA:
            mine = (bins == size_bin) & np.isfinite(one) & np.isfinite(two) & (one > 0)
            if not mine.any():
                continue
            change, of_image = two[mine] / one[mine], np.unique(images[mine], return_inverse=True)[1]

            def median(weights: NDArray[np.float64], change: NDArray[np.float64] = change) -> float:
                return float(np.median(np.repeat(change, weights.astype(np.int64)))) if weights.any() else float("nan")

            low, high = interval_over_images(median, of_image, 200)
            yield EnergyChange(
                str(name),
                size_bin,
                objects=int(mine.sum()),
                ratio_a=float(np.median(one[mine])),
                ratio_b=float(np.median(two[mine])),
                low=low,
                high=high,
            )


def channel_orders(sides: Sequence[ObjectFeatures]) -> Dict[MapName, ChannelOrder]:
    """Find out of each map that both runs have whether its channels are the same, in the same order."""
    a, b = (side.features for side in sides)
    return {name: channel_order(a[name], b[name]) for name in a if name in b and a[name].shape == b[name].shape}


def likeness_of_layers(sides: Sequence[ObjectFeatures]) -> Tuple[Rows[LikenessRow], List[str]]:
    """Compare each layer of the first run with each of the second; a note where that is not possible."""
    a, b = sides
    nothing: Rows[LikenessRow] = Rows(LikenessRow._fields, [])
    if not a.features or not b.features:
        return nothing, ["a run stores no maps of features, so its layers are not compared; capture backbone and neck"]
    try:
        return likeness(a.features, b.features, np.array([key[0] for key in a.keys])), []
    except BadRunError as error:
        return nothing, [f"the layers are not compared: {error}"]

"""The maps that are drawn around an object: those of all levels, with one scale for each layer."""

from __future__ import annotations

from typing import Callable, Collection, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.objects import MapName, feature_layers
from featscope.arrays.geometry import cells_inside
from featscope.arrays.normalise import bounds, merge_bounds
from featscope.errors import FeatscopeError
from featscope.records import Place
from featscope.render.heat import STYLES, HeatStyle, style_named
from featscope.render.heat_plan import HeatOptions, HeatPlan, plan_heat
from featscope.render.miss_strips import LayerAt, MapAt
from featscope.store.feature_maps import FeatureMap, feature_maps
from featscope.store.globs import literal_glob
from featscope.store.maps import MapFile
from featscope.store.reader import Run


class SceneMap(NamedTuple):
    """A map as it is drawn."""

    values: NDArray[np.float32]
    place: Optional[Place]
    title: str
    style: HeatStyle
    words: str
    """What the values are."""

    ends: Tuple[float, float]
    """The range of its own values."""


class SceneMaps:
    """Reads the maps of some samples of a run, reduced as `featscope heat` does.

    layers: which layers; by default those of all features. plain: maps that are reduced by the absolute mean over
    channels, in the units of the layer, whatever suits them best.
    """

    def __init__(self, run: Run, layers: Sequence[str] = (), plain: Collection[MapName] = ()) -> None:
        self.problems: List[str] = []
        """What could not be read."""

        self.maps: Dict[str, Dict[MapName, SceneMap]] = {}
        """By sample and name."""

        self._run, self._plain = run, plain
        self._layers = list(layers) or feature_layers(run)
        self._scales: Dict[str, Tuple[float, float]] = {}
        self._plans: Dict[bool, HeatPlan] = {}

    def read(self, samples: Iterable[str]) -> None:
        """Read the maps of these samples. Each layer has one scale in all of them."""
        for name in dict.fromkeys(samples):
            files = self._run.select((), self._layers, None, literal_glob(name)) if self._layers else []
            self.maps[name] = {}
            for file in files:
                self._read(file, name)
        ends: Dict[str, List[Tuple[float, float]]] = {}
        for maps in self.maps.values():
            for key, one in maps.items():
                ends.setdefault(key.part, []).append(one.ends)
        self._scales = {layer: merge_bounds(some) for layer, some in ends.items()}

    def at(self, sample: str, words: Callable[[MapName], str]) -> List[LayerAt]:
        """Return the maps of a sample, layer by layer. words: what is written below a map."""
        maps = self.maps.get(sample, {})
        groups: Dict[str, List[Tuple[MapName, SceneMap]]] = {key.part: [] for key in maps}
        for key, one in sorted(maps.items(), key=lambda item: item[0].level):
            groups[key.part].append((key, one))
        return [
            LayerAt(
                name,
                some[0][1].style,
                scale=self._scales[name],
                maps=[MapAt(one.values, one.place, one.title, words(key)) for key, one in some],
            )
            for name, some in groups.items()
        ]

    def words(self, sample: str) -> List[str]:
        """Say what the values of a sample's maps are."""
        return list(dict.fromkeys(one.words for one in self.maps.get(sample, {}).values()))

    def _read(self, file: MapFile, sample: str) -> None:
        record = file.record
        if record is None or not file.is_map:
            return
        name = MapName(record.layer, record.field, record.level)
        try:
            for one in feature_maps(file):
                if one.sample is not None and one.sample.id == sample and one.plane is None:
                    found = scene_map(one, self._plan(file, name in self._plain))
                    if found is not None:
                        self.maps[sample][name] = found
        except FeatscopeError as error:
            self.problems.append(str(error))

    def _plan(self, file: MapFile, plain: bool) -> HeatPlan:
        if plain not in self._plans:
            style = style_named("featscope", reduce="absmean") if plain else STYLES["featscope"]
            self._plans[plain] = plan_heat(self._run, [file], HeatOptions(style))
        return self._plans[plain]


def scene_map(one: FeatureMap, plan: HeatPlan) -> Optional[SceneMap]:
    """Return the map of an image as a plan draws it; None if it has three colours, or belongs to no image."""
    record = one.file.record
    if record is None or one.sample is None:
        return None
    reduced, place = plan.reduced(one), one.file.place()
    values = np.asarray(reduced.values, np.float32)
    if values.ndim != 2:
        return None
    inside = cells_inside(
        (values.shape[0], values.shape[1]),
        one.sample.geometry,
        place.stride if place is not None else None,
        place.first if place is not None else None,
    )
    stride = place.stride if place is not None else record.stride
    step = " x ".join(f"{side:g}" for side in dict.fromkeys(stride)) if stride else ""
    return SceneMap(
        values,
        place,
        title=f"level {record.level}" + (f" \u00b7 stride {step}" if step else ""),
        style=reduced.style,
        words=reduced.words,
        ends=bounds(values[inside], reduced.style.range),
    )

"""The maps that are drawn around an object: those of all levels, with one scale for each layer."""

from __future__ import annotations

from typing import Callable, Collection, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.objects import MapName, chosen_layers
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

SCORES, LAYER = "class scores", "the layer's own"

Group = Tuple[str, bool]
"""A layer with its field, and whether its maps are in the units of the layer: these share a scale."""


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

    units: str = ""
    """What the values are measured in, if another run may have the same: SCORES or LAYER."""


PLAIN = style_named("featscope", reduce="absmean")
"""How maps are drawn that keep the units of their layer."""


class SceneMaps:
    """Reads the maps of some samples of a run, reduced as `featscope heat` does.

    layers: which layers; by default those of all features. plain: maps that are reduced by the absolute mean over
    channels, so that they keep the units of the layer.
    """

    def __init__(self, run: Run, layers: Sequence[str] = (), plain: Collection[MapName] = ()) -> None:
        self.problems: List[str] = []
        """What could not be read."""

        self.maps: Dict[str, Dict[MapName, SceneMap]] = {}
        """By sample and name."""

        self._run, self._plain = run, plain
        self._layers = chosen_layers(run, layers)
        self._plans: Dict[bool, HeatPlan] = {}

        self.scales: Dict[Group, Tuple[float, float]] = {}
        """The scale of each group of maps."""

    def read(self, samples: Iterable[str]) -> None:
        """Read the maps of these samples. Each layer has one scale in all of them."""
        for name in dict.fromkeys(samples):
            files = self._run.select((), self._layers, None, literal_glob(name)) if self._layers else []
            self.maps[name] = {}
            for file in files:
                self._read(file, name)
        ends: Dict[Group, List[Tuple[float, float]]] = {}
        for maps in self.maps.values():
            for key, one in maps.items():
                ends.setdefault(self.group(key), []).append(one.ends)
        self.scales = {group: merge_bounds(some) for group, some in ends.items()}

    def group(self, name: MapName) -> Group:
        """Return the group of a map, whose maps share a scale."""
        return name.part, name in self._plain

    def at(self, sample: str, words: Callable[[MapName], str]) -> Dict[Group, LayerAt]:
        """Return the maps of a sample, group by group. words: what is written below a map."""
        maps = self.maps.get(sample, {})
        groups: Dict[Group, List[Tuple[MapName, SceneMap]]] = {self.group(key): [] for key in maps}
        for key, one in sorted(maps.items(), key=lambda item: item[0].level):
            groups[self.group(key)].append((key, one))
        return {
            group: LayerAt(
                group[0],
                some[0][1].style,
                scale=self.scales[group],
                maps=[MapAt(one.values, one.place, one.title, words(key)) for key, one in some],
            )
            for group, some in groups.items()
        }

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
                    plain = name in self._plain
                    found = scene_map(one, self._plan(file, plain), plain)
                    if found is not None:
                        self.maps[sample][name] = found
        except FeatscopeError as error:
            self.problems.append(str(error))

    def _plan(self, file: MapFile, plain: bool) -> HeatPlan:
        if plain not in self._plans:
            self._plans[plain] = plan_heat(self._run, [file], HeatOptions(PLAIN if plain else STYLES["featscope"]))
        return self._plans[plain]


def scene_map(one: FeatureMap, plan: HeatPlan, plain: bool = False) -> Optional[SceneMap]:
    """Return the map of an image as a plan draws it; None if it has three colours, or belongs to no image.

    plain: whether the plan keeps the units of the layer.
    """
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
        units=SCORES if plan.look(one).scores is not None else LAYER if plain else "",
    )

"""The difference of the maps of two runs: on one scale where it is proved that they have one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Collection, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.objects import MapName
from featscope.analysis.scene_maps import LAYER, PLAIN, SceneMap, scene_map
from featscope.arrays.geometry import cells_inside
from featscope.arrays.normalise import bounds
from featscope.errors import BadArrayError, first_line
from featscope.records import Place
from featscope.render.caption import Caption
from featscope.render.drawing import refuse_objects
from featscope.render.heat import DIVERGING, STYLES, draw_heat, style_named
from featscope.render.heat_plan import HeatOptions, HeatPlan, plan_heat
from featscope.render.results import save_picture
from featscope.scale.executor import Executor, serial
from featscope.scale.parallel import executor_named
from featscope.store.feature_maps import feature_map_of
from featscope.store.files import make_folder, safe_name
from featscope.store.matching import Pair, match_runs
from featscope.store.reader import Run, open_run
from featscope.store.sample_images import sample_image
from featscope.words import counted

STYLE = style_named("featscope", reduce="channel:0", range="symmetric:99", colormap=DIVERGING, zero=True)
"""How a difference is drawn: where there is none, the image is seen."""


class MapDifference(NamedTuple):
    """The map of the second run minus that of the first."""

    values: NDArray[np.float32]
    """(H, W)."""

    one_scale: bool
    """Whether both maps are in the same units; else each was scaled to its own values before."""

    words: str
    """What the values are."""


def difference_of(a: SceneMap, b: SceneMap) -> MapDifference:
    """Subtract the first map from the second.

    Class scores have one scale, as they are probabilities. So have maps that keep the units of their layer
    (`SceneMaps`, plain), which is only right if the layers have the same channels in the same order
    (`featscope.arrays.channel_order`). Of other maps, each is scaled to its own range, from 0 to 1, and the difference
    shows where they differ, not by how much. Raises `BadArrayError` if the cells of the maps lie at other places.
    """
    if a.values.shape != b.values.shape or not _near(a.place, b.place):
        shapes = " and ".join(f"{rows} x {columns} cells" for rows, columns in (a.values.shape, b.values.shape))
        raise BadArrayError(f"their cells lie at other places: {shapes} ({a.title}; {b.title})")
    if a.units and a.units == b.units and a.words == b.words:
        of = f"{a.words}, the same channels in both" if a.units == LAYER else a.words
        return MapDifference(b.values - a.values, True, f"B minus A: {of}")
    one, two = (_scaled(side) for side in (a, b))
    words = a.words if a.words == b.words else f"{b.words} and {a.words}"
    return MapDifference(two - one, False, f"B minus A: {words}, each map scaled to its own values")


def _near(a: Optional[Place], b: Optional[Place]) -> bool:
    """Whether cells lie at the same place. Measured places of two runs differ a little: half a cell is the limit."""
    if a is None or b is None:
        return a is b
    return a.stride == b.stride and all(abs(p - q) < s / 2 for p, q, s in zip(a.first, b.first, a.stride))


def _scaled(one: SceneMap) -> NDArray[np.float32]:
    low, high = one.ends
    if not low < high:
        return np.zeros_like(one.values)
    return np.clip((one.values - low) / (high - low), 0, 1)


class Differences(NamedTuple):
    """The pictures of the differences of two runs' maps."""

    folder: Path
    pictures: List[Path]

    one_scale: int
    """How many of them are on one scale; in the others, each map was scaled to its own values."""

    remarks: List[str]
    """Where the runs do not line up."""

    errors: List[str]
    """What failed. The other pairs are drawn."""

    @property
    def summary(self) -> str:
        """How many there are, and what their values mean."""
        scaled = len(self.pictures) - self.one_scale
        why = (
            f"; in {scaled} each map was scaled to its own values, as it is not proved that the channels are the same"
            if scaled
            else ""
        )
        return f"{counted(len(self.pictures), 'difference')} of maps, {self.one_scale} on one scale{why}"


class _Drawn(NamedTuple):
    picture: Optional[Path]
    one_scale: bool
    remarks: List[str]


@dataclass(frozen=True)
class _Plan:
    """Draws the difference of a pair of maps. Plans are of A and of B."""

    folder: Path
    runs: Tuple[Path, Path]
    own: Tuple[HeatPlan, HeatPlan]
    """How maps are drawn that suits them best."""

    plain: Tuple[HeatPlan, HeatPlan]
    """How they are drawn in the units of their layer."""

    proved: FrozenSet[MapName]

    def draw(self, pair: Pair) -> _Drawn:
        """Draw one pair."""
        name = MapName(pair.layer, pair.field, pair.level)
        plain = name in self.proved
        sides = []
        for one, plan in zip((pair.first, pair.second), self.plain if plain else self.own):
            found = scene_map(feature_map_of(one.file, one.number), plan, plain)
            if found is None:
                raise BadArrayError(f"{one.file.path} is drawn in three colours, or belongs to no image")
            sides.append(found)
        try:
            differing = difference_of(*sides)
        except BadArrayError as error:
            return _Drawn(None, False, [f"no difference of {name} was drawn: {error}"])
        sample = pair.first.file.samples[pair.first.number]
        problems: List[str] = []
        image, place = sample_image(self.runs[0], sample, problems, problems), sides[0].place
        stride, first = (place.stride, place.first) if place is not None else (None, None)
        inside = cells_inside(differing.values.shape, sample.geometry, stride, first)
        drawn = draw_heat(
            differing.values[None],
            STYLE,
            image=image,
            geometry=sample.geometry,
            stride=stride,
            first=first,
            value_range=range_of([differing.values[inside]], differing.one_scale),
            caption=Caption(f"{name.part}  \u00b7  {sides[0].title}  \u00b7  {pair.sample}", differing.words),
            text={"layer": pair.layer, "level": str(pair.level), "sample": pair.sample, "difference": differing.words},
        )
        path = self.folder / safe_name(name.part) / f"{safe_name(pair.sample)}_level{pair.level}.png"
        make_folder(path.parent)
        return _Drawn(save_picture(drawn.png, path), differing.one_scale, problems)


def range_of(values: Sequence[NDArray[np.float32]], one_scale: bool) -> Tuple[float, float]:
    """Return the range of a difference's colours, with zero in the middle."""
    if not one_scale:
        return -1.0, 1.0
    return bounds(np.concatenate([one.reshape(-1) for one in values])[None], STYLE.range)


def draw_differences(
    run_a: Union[Run, str, Path],
    run_b: Union[Run, str, Path],
    folder: Union[str, Path],
    proved: Collection[MapName] = (),
    *,
    layers: Sequence[str] = (),
    sample: str = "",
    executor: Union[str, Executor] = serial,
) -> Differences:
    """Draw, for each map that both runs have, the second minus the first, over the image.

    >>> drawn = draw_differences("runs/fpn", "runs/newneck", "pictures")
    >>> drawn.pictures[0].name, drawn.one_scale, drawn.remarks
    ('harbour_level0.png', 0, [])

    proved: maps of which the channels are known to be the same in both runs (`Comparison.one_scale`). layers, sample,
    executor: as for `featscope.draw_run`. A pair whose cells lie at other places has a remark, one that cannot be
    read an error; the others are drawn. Raises `BadRunError` if a run stores objects in place of maps.
    """
    one, two = (run if isinstance(run, Run) else open_run(run) for run in (run_a, run_b))
    for run in (one, two):
        refuse_objects(run)
    own, plain = (
        (plan_heat(one, one.maps, options), plan_heat(two, two.maps, options))
        for options in (HeatOptions(STYLES["featscope"]), HeatOptions(PLAIN))
    )
    plan = _Plan(Path(folder), (one.folder, two.folder), own, plain, frozenset(proved))
    match = match_runs(one, two, layers=layers, sample=sample or None)
    run_on = executor_named(executor) if isinstance(executor, str) else executor
    found = Differences(Path(folder), [], 0, list(match.differences), [])
    for pair, drawn in run_on(plan.draw, (pair for pair in match.pairs() if pair.first.file.is_map)):
        if isinstance(drawn, Exception):
            name = MapName(pair.layer, pair.field, pair.level)
            found.errors.append(f"no difference of {name} of {pair.sample} was drawn: {first_line(drawn)}")
            continue
        if drawn.picture is not None:
            found.pictures.append(drawn.picture)
        found = found._replace(one_scale=found.one_scale + drawn.one_scale)
        found.remarks.extend(text for text in drawn.remarks if text not in found.remarks)
    if not found.pictures:
        found.errors.append(f"{one.folder} and {two.folder} have no maps that could be subtracted")
    found.pictures.sort()
    return found

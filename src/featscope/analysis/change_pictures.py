"""Pictures of the objects that one of two runs gained or lost: both runs' maps around each, and their difference."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from featscope.analysis.comparing import Comparison
from featscope.analysis.labelled import samples_with
from featscope.analysis.map_differences import STYLE, MapDifference, difference_of, range_of
from featscope.analysis.miss_rows import Miss
from featscope.analysis.miss_scenes import SceneMaker, stage_words
from featscope.analysis.misses import stored_candidates
from featscope.analysis.object_changes import GAINED, LOST, ObjectChange
from featscope.analysis.objects import MapName
from featscope.analysis.scene_maps import Group, SceneMaps
from featscope.analysis.what_if import CandidatesOf
from featscope.arrays.boxes import corners_of, iou_of
from featscope.arrays.image_boxes import boxes_of
from featscope.arrays.normalise import merge_bounds
from featscope.errors import BadArrayError
from featscope.records import Boxes
from featscope.render.miss_strips import LayerAt, MapAt, MarkedBox, MissScene, draw_miss
from featscope.render.outlines import FOUND
from featscope.render.results import save_picture
from featscope.store.files import make_folder, safe_name
from featscope.store.reader import Run, open_run

MOST = 6
"""So many gained and so many lost objects are drawn unless another number is asked for."""


class ChangePictures(NamedTuple):
    """The pictures of objects that were gained or lost."""

    strips: List[Path]
    """Gained ones first, each kind with the surest detections first."""

    remarks: List[str]
    """What could not be drawn, and why."""


class _Found(NamedTuple):
    """The detection that found an object."""

    corners: NDArray[np.float64]
    score: float
    iou: float


def draw_changes(
    comparison: Comparison,
    run_a: Union[Run, str, Path],
    run_b: Union[Run, str, Path],
    folder: Union[str, Path],
    most: int = MOST,
    *,
    candidates: Tuple[Optional[CandidatesOf], Optional[CandidatesOf]] = (None, None),
    truth: Optional[Mapping[str, Boxes]] = None,
    layers: Sequence[str] = (),
) -> ChangePictures:
    """Draw objects that the second run gained or lost, with the maps of both runs around them.

    >>> runs = "runs/fpn", "runs/newneck"
    >>> draw_changes(featscope.compare(*runs), *runs, "pictures")
    ChangePictures(strips=[], remarks=['no object was gained or lost'])

    comparison: what `featscope.compare` returned for these runs. most: how many of the gained ones, and how many of
    the lost ones, those that were found with the highest scores first. candidates, truth, layers: as for
    `featscope.compare`. Maps have one scale in both runs where that is proved (`difference_of`).
    """
    runs = [run if isinstance(run, Run) else open_run(run) for run in (run_a, run_b)]
    scenes = _ChangeScenes(comparison, runs, candidates, truth, layers)
    chosen = {change: scenes.surest(change)[:most] for change in (GAINED, LOST)}
    if not any(chosen.values()):
        return ChangePictures([], ["no object was gained or lost"])
    scenes.read(row for rows in chosen.values() for row in rows)
    to = Path(folder)
    make_folder(to)
    strips = []
    for change, rows in chosen.items():
        for place, row in enumerate(rows, 1):
            name = f"{change}_{place:0{len(str(most))}d}_{safe_name(row.sample)}_{row.number}.png"
            text = {"runs": " ".join(run.folder.name for run in runs), "sample": row.sample, "object": str(row.number)}
            strips.append(save_picture(draw_miss(scenes.scene(row, place), text), to / name))
    return ChangePictures(strips, scenes.problems())


class _ChangeScenes:
    """Makes the scenes of objects that changed. A and B are 0 and 1."""

    def __init__(
        self,
        comparison: Comparison,
        runs: Sequence[Run],
        candidates: Sequence[Optional[CandidatesOf]],
        truth: Optional[Mapping[str, Boxes]],
        layers: Sequence[str],
    ) -> None:
        self._sides = (comparison.a, comparison.b)
        self._changes = comparison.rows
        known = {
            name: one.truth for run in reversed(runs) for name, one in run.samples.items() if one.truth is not None
        }
        self._samples = [samples_with(run, known if truth is None else truth) for run in runs]
        self._maps = [SceneMaps(run, layers, comparison.one_scale) for run in runs]
        self._makers = [
            SceneMaker(run, side, samples, give or partial(stored_candidates, run), maps)
            for run, side, samples, give, maps in zip(runs, self._sides, self._samples, candidates, self._maps)
        ]
        self._misses = [{(row.sample, row.number): row for row in side.rows} for side in self._sides]
        self._differences: Dict[str, Dict[MapName, MapDifference]] = {}
        self._ranges: Dict[Group, Tuple[float, float]] = {}
        self._problems: List[str] = []

    def surest(self, change: str) -> List[ObjectChange]:
        """Return the objects that changed so, those that were found with the highest scores first."""

        def score(row: ObjectChange) -> float:
            found = self._found(row)
            return found.score if found is not None else 0.0

        return sorted((row for row in self._changes if row.change == change), key=score, reverse=True)

    def read(self, rows: Iterable[ObjectChange]) -> None:
        """Read the maps of the images of these objects, and subtract them."""
        names = list(dict.fromkeys(row.sample for row in rows))
        for maps in self._maps:
            maps.read(names)
        of_group: Dict[Group, List[MapDifference]] = {}
        for name in names:
            one, two = (maps.maps[name] for maps in self._maps)
            self._differences[name] = {}
            for key in (key for key in one if key in two):
                try:
                    self._differences[name][key] = differing = difference_of(one[key], two[key])
                except BadArrayError as error:
                    self._problems.append(f"no difference of {key} was drawn: {error}")
                    continue
                of_group.setdefault((key.part, differing.one_scale), []).append(differing)
                if differing.one_scale:
                    self._share_scale(self._maps[0].group(key))
        self._ranges = {group: range_of([one.values for one in some], group[1]) for group, some in of_group.items()}

    def _share_scale(self, group: Group) -> None:
        both = merge_bounds([maps.scales[group] for maps in self._maps])
        for maps in self._maps:
            maps.scales[group] = both

    def scene(self, row: ObjectChange, place: int) -> MissScene:
        """Return what is drawn of one object. place: which of the objects that changed so it is."""
        loser, finder = (0, 1) if row.change == GAINED else (1, 0)
        letters = "AB"
        miss = self._misses[loser][row.sample, row.number]
        base = self._makers[loser].scene(miss, "")
        found = self._found(row)
        near = [one._replace(words=f"{letters[loser]}: {one.words}") for one in base.near]
        sure = ""
        if found is not None:
            sure = f" ({found.score:.2f})"
            words = f"{letters[finder]} finds it: {row.label} {found.score:.2f}, IoU {found.iou:.2f}"
            near.insert(0, MarkedBox(found.corners, FOUND, words))
        total = sum(one.change == row.change for one in self._changes)
        lost = stage_words(miss, self._sides[loser].point)
        gain = f"{row.change.capitalize()}: {letters[finder]} finds this {row.label}{sure}"
        return base._replace(
            title=f"{gain}. In {letters[loser]}, {lost}",
            words=f"{row.label} {row.number} of {row.sample} \u00b7 {place} of {total} {row.change}, by score \u00b7 "
            f"{row.size:.0f} px ({row.size_bin})",
            near=near,
            layers=list(self._layers(row, miss, loser)),
        )

    def _layers(self, row: ObjectChange, miss: Miss, loser: int) -> Iterator[LayerAt]:
        """Yield the maps of each layer: those of A, those of B, and their difference."""
        held = self._makers[loser].held
        sides = [
            maps.at(row.sample, lambda name, side=side: held(miss, name) if side == loser else "")  # type: ignore[misc]
            for side, maps in enumerate(self._maps)
        ]
        differences = self._difference_layers(row)
        for part in dict.fromkeys(group[0] for side in sides for group in side):
            own = [[layer for group, layer in side.items() if group[0] == part] for side in sides]
            of_part = [layer for group, layer in differences.items() if group[0] == part]
            if len(own[0]) == len(of_part) and all(_nothing(layer) for layer in of_part):
                yield from (layer._replace(name=f"A and B: {part}, the same in both") for layer in own[loser])
                continue
            for letter, side in zip("AB", own):
                yield from (layer._replace(name=f"{letter}: {part}") for layer in side)
            yield from of_part

    def _difference_layers(self, row: ObjectChange) -> Dict[Group, LayerAt]:
        boxes = boxes_of(self._samples[0][row.sample], background=False)
        found: Dict[Group, List[MapAt]] = {}
        for key, one in sorted(self._differences[row.sample].items(), key=lambda item: item[0].level):
            drawn = self._maps[0].maps[row.sample][key]
            change = float(boxes.pool(one.values[None], drawn.place).features[row.number, 0])
            words = f"{change:+.2g} on the object" if np.isfinite(change) else ""
            found.setdefault((key.part, one.one_scale), []).append(MapAt(one.values, drawn.place, drawn.title, words))
        return {
            group: LayerAt(
                f"B minus A: {group[0]}, " + ("on one scale" if group[1] else "each map scaled to its own values"),
                STYLE,
                scale=self._ranges[group],
                maps=maps,
            )
            for group, maps in found.items()
        }

    def problems(self) -> List[str]:
        """Return what could not be read or drawn."""
        read = [one.problems for one in self._maps] + [one.problems for one in self._makers]
        return list(dict.fromkeys([*self._problems, *(text for some in read for text in some)]))

    def _found(self, row: ObjectChange) -> Optional[_Found]:
        """Return the surest detection of the object, by the run that finds it."""
        finder = 1 if row.change == GAINED else 0
        sample, point = self._samples[finder][row.sample], self._sides[finder].point
        truth, found = sample.truth, sample.predictions
        if truth is None or found is None or not found.boxes or not found.scores:
            return None
        iou = iou_of(found.form, found.boxes, truth.form, [truth.boxes[row.number]])[:, 0]
        scores, labels = np.array(found.scores), np.array(found.labels)
        fits = (iou >= point.iou) & (labels == truth.labels[row.number])
        if not fits.any():
            return None
        best = int(np.where(fits, scores, -1.0).argmax())
        corners = corners_of(found.form, [found.boxes[best]])[0]
        return _Found(corners, float(scores[best]), float(iou[best]))


def _nothing(layer: LayerAt) -> bool:
    """Whether there is no difference at all."""
    return all(not one.values.any() for one in layer.maps)

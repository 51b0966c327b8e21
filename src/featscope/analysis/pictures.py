"""Pictures of what a detector missed: which level saw which objects, and the misses one by one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

from featscope.analysis.labelled import samples_with
from featscope.analysis.level_sizes import sizes_of_levels
from featscope.analysis.miss_rows import Miss
from featscope.analysis.miss_scenes import SceneMaker
from featscope.analysis.misses import Misses, stored_candidates
from featscope.analysis.objects import MapName
from featscope.analysis.scene_maps import SceneMaps
from featscope.analysis.sizes import SODA, SODA_SIDES
from featscope.analysis.what_if import CandidatesOf
from featscope.records import Boxes, Sample
from featscope.render.levels_seen import LevelsSeen, SeenCell, SizeRange, draw_levels_seen
from featscope.render.miss_strips import draw_miss
from featscope.render.results import save_picture
from featscope.store.files import make_folder, safe_name
from featscope.store.reader import Run, open_run
from featscope.words import counted

WORST = 12
"""So many misses are drawn unless another number is asked for."""


class MissPictures(NamedTuple):
    """The pictures of the misses of a run."""

    levels: Optional[Path]
    """Which level saw the objects, as PNG; an SVG lies beside it. None if the run has no features to tell it by."""

    strips: List[Path]
    """One picture for each of the worst misses, in order."""

    remarks: List[str]
    """What could not be drawn, and why."""


def draw_misses(
    misses: Misses,
    run: Union[Run, str, Path],
    folder: Union[str, Path],
    worst: int = WORST,
    *,
    candidates: Optional[CandidatesOf] = None,
    truth: Optional[Mapping[str, Boxes]] = None,
    layers: Sequence[str] = (),
) -> MissPictures:
    """Draw which level saw which objects, and the worst misses one by one.

    >>> drawn = draw_misses(featscope.misses("runs/fpn"), "runs/fpn", "pictures", worst=1)
    >>> drawn.levels.name, [path.name for path in drawn.strips]
    ('levels_seen.png', ['miss_1_harbour_1.png'])

    The worst misses are those that came nearest to being found: the highest score among their candidates first. Those
    whose candidates are not known come last, the largest first. misses: what `featscope.misses` returned for this run.
    worst: how many misses to draw. candidates, truth: as for `featscope.misses`. layers: whose maps are drawn beside a
    miss; by default those of all features.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    to = Path(folder)
    make_folder(to)
    remarks: List[str] = []
    levels = None
    samples = samples_with(opened, truth)
    seen = levels_seen(misses, opened, samples)
    if seen is None:
        remarks.append("which level saw the objects was not drawn, because the run stores no maps of features")
    else:
        plot = draw_levels_seen(seen)
        levels = plot.save(to / "levels_seen.png")
        plot.save(to / "levels_seen.svg")
    rows = worst_misses(misses, worst)
    maps = SceneMaps(opened, layers)
    maps.read(row.sample for row in rows)
    maker = SceneMaker(opened, misses, samples, candidates or partial(stored_candidates, opened), maps)
    strips: Dict[int, Path] = {}
    for place, row in sorted(enumerate(rows, 1), key=lambda item: item[1].sample):  # each image is read once
        text = {"run": opened.folder.name, "sample": row.sample, "object": str(row.number)}
        scene = maker.scene(row, f"{place} of {len(misses.rows)} misses, by {'size' if row.score is None else 'score'}")
        name = f"miss_{place:0{len(str(len(rows)))}d}_{safe_name(row.sample)}_{row.number}.png"
        png = draw_miss(scene, {**text, "stage": row.stage, "verdict": row.verdict})
        strips[place] = save_picture(png, to / name)
    return MissPictures(
        levels,
        [strips[place] for place in sorted(strips)],
        list(dict.fromkeys([*remarks, *maps.problems, *maker.problems])),
    )


def worst_misses(misses: Misses, count: int) -> List[Miss]:
    """Return the misses that came nearest to being found, in order.

    >>> [row.label for row in worst_misses(featscope.misses("runs/fpn"), 5)]
    ['plane']
    """
    rows = sorted(misses.rows, key=lambda row: (row.score is None, -(row.score or 0.0), -row.size))
    return rows[:count]


def levels_seen(misses: Misses, run: Run, samples: Mapping[str, Sample]) -> Optional[LevelsSeen]:
    """Return what `draw_levels_seen` draws of the misses of a run; None if the run has no features to tell it by."""
    if misses.findings is None or not len(misses.findings.seen):
        return None
    table, sizes = list(misses.findings.seen), sizes_of_levels(misses, samples)
    keys = [(size, state) for size in SODA for state in ("found", "missed")]
    counts = {(row.size_bin, row.state): row.objects for row in table}
    columns = list(dict.fromkeys(MapName(row.layer, row.field, row.level) for row in table))
    cells = {
        (row.size_bin, row.state, row.layer, row.field, row.level): SeenCell(row.resolved, row.known, row.present)
        for row in table
    }
    rows = [key for key in keys if key in counts]
    unknown = "" if any(row.known for row in table) else "; of no level can it be said which objects stand out"
    return LevelsSeen(
        [(f"{size}, {_sides(size)}", f"{state} ({counts[size, state]})") for size, state in rows],
        [(column.part, str(column.level)) for column in columns],
        [[cells.get((*key, *column)) for column in columns] for key in rows],
        ranges=[
            SizeRange(one.name, one.low, one.middle, one.high, objects=one.objects, assigned=one.assigned)
            for one in sizes.rows
        ],
        edges=SODA_SIDES,
        assigned=sizes.words,
        words=f"{run.folder.name}: {counted(misses.objects, 'object')} in {counted(misses.images, 'image')}; found at "
        f"{misses.point}{unknown}",
    )


def _sides(size_bin: str) -> str:
    """Return the sizes of a bin in words.

    >>> _sides("extremely small"), _sides("generally small"), _sides("normal")
    ('up to 12 px', '20 to 32 px', 'above 32 px')
    """
    place = SODA.index(size_bin)
    if place == 0:
        return f"up to {SODA_SIDES[0]:g} px"
    if place == len(SODA_SIDES):
        return f"above {SODA_SIDES[-1]:g} px"
    return f"{SODA_SIDES[place - 1]:g} to {SODA_SIDES[place]:g} px"

"""Answers about the maps of a sample."""

from __future__ import annotations

import shlex
from glob import escape as glob_escape
from typing import Optional, Tuple

import msgspec
import numpy as np
from msgspec.structs import asdict

from featscope.arrays.reduce import as_floats
from featscope.arrays.tiles import encode_tiles, rank_channels, shrink
from featscope.errors import BadOptionError, BadRunError, UnknownNameError
from featscope.records import Place
from featscope.render.jobs import Outcome
from featscope.store.feature_maps import FeatureMap
from featscope.viewer import questions, replies
from featscope.viewer.catalogue import STYLE, Catalogue
from featscope.viewer.explained import Explained, explained_of
from featscope.viewer.objects import objects_on
from featscope.viewer.scene import doubts_of_map
from featscope.viewer.shown_runs import ARRAY, JSON, PNG, Made, ShownRuns, digest, json_of, packed
from featscope.words import counted

_SECONDS = 2.0  # after which `best` answers with what it has seen so far


def map_values(runs: ShownRuns, asked: questions.Reduce) -> Made:
    """Return the values of a map that are drawn."""
    plan, feature_map = runs.plan(asked, questions.Draw(reduce=asked.reduce)), runs.map_of(asked)

    def make() -> bytes:
        reduced = plan.reduced(feature_map)
        values = np.ascontiguousarray(reduced.values, np.float32)
        if values.ndim != 2:
            raise BadOptionError(f"{asked.reduce} gives three colours, not values; choose another reduction")
        facts, placement = _facts(runs, asked, feature_map)
        style = reduced.style
        header = replies.MapHeader(
            **asdict(facts),
            reduce=style.reduce,
            words=reduced.words,
            range=style.range,
            colormap=style.colormap,
            zero=style.zero,
            placement=placement,
        )
        return packed(header, values)

    return Made(ARRAY, digest(asked, plan.fingerprint(feature_map)), make)


def _facts(
    runs: ShownRuns, asked: questions.OfMap, feature_map: FeatureMap
) -> Tuple[replies.MapFacts, replies.PlacementOut]:
    """Return what is known of a map, and where it lies in the frame."""
    channels, rows, columns = feature_map.array.shape
    scene, place = runs.scene(asked), feature_map.file.place()
    facts = replies.MapFacts(
        (rows, columns),
        channels,
        place=place.known if place else "assumed",
        stride=place.stride if place else None,
        first=place.first if place else None,
        title=feature_map.title(place),
        notes=doubts_of_map(feature_map, place),
        inside=scene.cells_inside((rows, columns), place),
    )
    return facts, scene.placement_of((rows, columns), place)


def channels(runs: ShownRuns, asked: questions.Tiles) -> Made:
    """Return the channels of a map as small tiles, in the order of their numbers."""
    feature_map = runs.map_of(asked)

    def make() -> bytes:
        array = feature_map.array
        if asked.first >= len(array):
            raise BadOptionError(f"there is no channel {asked.first}; this map has {counted(len(array), 'channel')}")
        chosen = array[asked.first : asked.first + asked.count if asked.count else None]
        tiles = encode_tiles(shrink(as_floats(chosen).astype(np.float32, copy=False), asked.size, asked.by))
        count, rows, columns = tiles.codes.shape
        facts, placement = _facts(runs, asked, feature_map)
        header = replies.TilesHeader(
            (count, rows, columns),
            first=asked.first,
            lows=tiles.lows.tolist(),
            highs=tiles.highs.tolist(),
            total=len(array),
            placement=placement,
            title=facts.title,
            map=facts,
        )
        return packed(header, tiles.codes)

    return Made(ARRAY, feature_map.fingerprint((asked, feature_map.file.place())), make)


def ranks(runs: ShownRuns, asked: questions.Ranks) -> Made:
    """Return the channels of a map in an order."""
    feature_map = runs.map_of(asked)
    if not all(part.isdecimal() for part in asked.labels.split(",") if part):
        raise BadOptionError(f"{asked.labels!r} is not a list of class indices, such as 0,3")
    labels = [int(part) for part in asked.labels.split(",") if part]

    def make() -> bytes:
        array, scene, place = feature_map.array, runs.scene(asked), feature_map.file.place()
        shape = (array.shape[1], array.shape[2])
        top, bottom, left, right = scene.cells_inside(shape, place)
        inside = (slice(top, bottom), slice(left, right))
        objects = objects_on(scene, shape, place, inside, labels) if asked.order == "contrast" else None
        ranked = rank_channels(array, asked.order, inside, objects)
        values = None if ranked.values is None else ranked.values[ranked.channels].tolist()
        return msgspec.json.encode(replies.RanksOut(ranked.channels.tolist(), values))

    return Made(JSON, feature_map.fingerprint((asked, feature_map.file.place())), make)


def best(runs: ShownRuns, asked: questions.Best) -> Made:
    """Return the images that excite a channel most."""
    catalogue = runs.shown(asked).catalogue
    peaks, looked = catalogue.peaks(asked.group, asked.level, _SECONDS)
    found = sorted(
        ((float(values[asked.channel]), sample) for sample, values in peaks.items() if asked.channel < len(values)),
        key=lambda pair: (-abs(pair[0]), pair[1]),
    )[: asked.count]
    total = len(catalogue.samples)
    return json_of(replies.BestOut([s for _, s in found], [v for v, _ in found], looked=looked, total=total))


def explanation(runs: ShownRuns, asked: questions.OfExplanation) -> Made:
    """Return a stored explanation."""
    shown, scene = runs.shown(asked), runs.scene(asked)
    one = next((one for one in explained_of(shown.folder, scene.sample.id) if one.name == asked.key), None)
    if one is None:
        raise UnknownNameError(f"{scene.sample.id} has no stored explanation {asked.key!r}")
    values = one.load()
    shape, place = (values.shape[0], values.shape[1]), _place_of(shown.catalogue, asked.sample, one)
    header = replies.MapHeader(
        shape,
        channels=1,
        reduce="mean",
        words=one.words,
        range="map",
        colormap="turbo",
        zero=False,
        place=place.known if place else "assumed",
        stride=place.stride if place else None,
        first=place.first if place else None,
        title=f"{one.words}  \u00b7  {scene.sample.id}",
        notes=[],
        placement=scene.placement_of(shape, place),
        inside=scene.cells_inside(shape, place),
    )
    body = packed(header, values)
    return Made(ARRAY, digest(body), lambda: body)


def picture(runs: ShownRuns, asked: questions.Draw) -> Made:
    """Return the picture that `featscope heat` draws."""
    plan, feature_map = runs.plan(asked, asked), runs.map_of(asked)

    def make() -> bytes:
        outcome = Outcome()
        png = plan.picture(feature_map, outcome)
        if outcome.errors:
            raise BadRunError("; ".join(outcome.errors))
        return png

    return Made(PNG, digest(asked, plan.fingerprint(feature_map)), make)


def command(runs: ShownRuns, asked: questions.Draw) -> Made:
    """Return the command that draws the same picture."""
    shown = runs.shown(asked)
    group, row = shown.catalogue.group(asked.group), shown.catalogue.row(asked.sample)
    words = ["featscope", "heat", str(shown.folder)]
    recorded = shown.catalogue.run.index is not None
    if recorded:
        words += [
            "--only",
            glob_escape(group.folder),
            "--level",
            str(asked.level),
            "--sample",
            glob_escape(row.name),
        ]
    else:
        found = shown.catalogue.find(asked.sample, asked.group, asked.level)
        words += ["--only", glob_escape(f"{group.folder}/{found[0].path.name}" if found else group.folder)]
    default = questions.Draw(alpha=STYLE.alpha)
    for option, name in (("-r", "reduce"), ("--range", "range"), ("--colormap", "colormap"), ("--alpha", "alpha")):
        if getattr(asked, name) not in (None, getattr(default, name)):
            words += [option, str(getattr(asked, name))]
    words += [] if asked.smooth else ["--no-smooth"]
    words += ["--boxes"] if asked.boxes and recorded else []
    words += ["--truth"] if asked.truth and recorded else []
    if asked.min_score != default.min_score:
        words += ["--min-score", f"{asked.min_score:g}"]
    return json_of(replies.CommandOut(shlex.join(words)))


def _place_of(catalogue: Catalogue, sample: int, one: Explained) -> Optional[Place]:
    """Return the place of the cells of an explanation: that of the maps of its layer and level."""
    for number, group in enumerate(catalogue.groups):
        if group.layer == one.layer:
            found = catalogue.find(sample, number, one.level)
            if found is not None:
                return found[0].place()
    return None

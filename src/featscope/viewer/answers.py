"""Answers to the page's questions: from a name and a query to bytes, without a socket.

The server, the report and the notebook call `Viewer.answer`. To add a question, write its type in `messages.py` and a
method here, and add a row to `QUESTIONS`.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from dataclasses import replace
from glob import escape as glob_escape
from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

import msgspec
import numpy as np
from numpy.typing import NDArray

from featscope import __version__
from featscope.arrays.normalise import parse_range
from featscope.arrays.tiles import encode_tiles, rank_channels, shrink
from featscope.errors import BadOptionError, BadRunError, FeatscopeError, UnknownNameError, unknown_name
from featscope.records import Place
from featscope.render.colour import palette
from featscope.render.heat import AUTO, STYLES
from featscope.render.heat_plan import HeatOptions, HeatPlan, check_heat
from featscope.render.jobs import Origin, Outcome
from featscope.store.feature_maps import FeatureMap
from featscope.store.files import read_npy_shape
from featscope.store.maps import MapFile
from featscope.viewer import messages as m
from featscope.viewer.book import Book
from featscope.viewer.catalogue import Catalogue
from featscope.viewer.explained import Explained, explained_of
from featscope.viewer.objects import objects_on
from featscope.viewer.scene import Scene, doubts_of_map

COLORMAPS = (
    *("turbo", "viridis", "magma", "inferno", "cividis", "gray", "jet"),
    *("colorbrewer:RdBu_r", "matplotlib:coolwarm", "colorbrewer:PiYG", "colorbrewer:PuOr"),
)
"""Colour maps that the page offers; the last four are for values of two signs."""

REDUCTIONS = ("auto", "contrast", "mean", "absmean", "max", "l2", "std", "channel")
"""Reductions that the page offers."""

JSON, ARRAY, PNG = "application/json", "application/octet-stream", "image/png"

_STYLE = STYLES["featscope"]
_SECONDS = 2.0  # after which `best` answers with what it has seen so far


class Answer(NamedTuple):
    """The answer to a question."""

    body: bytes
    media: str
    tag: str
    """Changes if the answer does."""

    status: int = 200


class _Made(NamedTuple):
    """How an answer is made, unless its tag is known already."""

    media: str
    tag: str
    make: Callable[[], bytes]


class Viewer:
    """One or several runs, and what can be asked about them.

    >>> viewer = Viewer(["runs/fpn"])
    >>> json.loads(viewer.answer("samples", {"run": "0"}).body)["ids"]
    ['harbour']
    """

    def __init__(self, folders: Sequence[Path | str], explains: Sequence[str] = ()) -> None:
        self._books = [Book(Path(folder)) for folder in folders]
        self._explains = list(explains)

    def answer(self, name: str, query: Mapping[str, str], known: str = "") -> Answer:
        """Answer a question. known: the tag of an answer that the page has already; then the body is empty, and 304.

        What is wrong with a question, or with the run, is an answer too, with its words.
        """
        try:
            if name not in QUESTIONS:
                raise unknown_name("question", name, QUESTIONS, "the page at openapi.json")
            kind, method = QUESTIONS[name]
            try:
                asked = msgspec.convert(dict(query), kind, strict=False)
            except msgspec.ValidationError as error:
                raise BadOptionError(f"{name} cannot be answered: {error}") from None
            made: _Made = method(self, asked)
            tag = _digest(name, made.tag)
            if known and tag == known:
                return Answer(b"", made.media, tag, 304)
            return Answer(made.make(), made.media, tag)
        except Exception as error:  # noqa: BLE001 (whatever goes wrong with one answer, the page says it and goes on)
            words = str(error) if isinstance(error, FeatscopeError) else f"{type(error).__name__}: {error}"
            body = msgspec.json.encode(m.ErrorOut(words))
            return Answer(body, JSON, _digest("error", words), _status(error))

    def names(self) -> List[str]:
        """Return the names of the runs."""
        return [book.folder.name for book in self._books]

    # Questions

    def about(self, asked: m.Nothing) -> _Made:
        runs = [book.about() for book in self._books]
        tables = {name: base64.b64encode(palette(name).tobytes()).decode() for name in COLORMAPS}
        return _json(m.About(__version__, "en", runs, tables, list(REDUCTIONS), self._explains))

    def samples(self, asked: m.OfRun) -> _Made:
        rows = self._book(asked).catalogue.samples
        columns = zip(*rows) if rows else ([] for _ in range(6))
        return _json(m.Columns(*map(list, columns)))

    def sample(self, asked: m.OfSample) -> _Made:
        book = self._book(asked)
        catalogue, scene = book.catalogue, self._scene(asked)
        sample, classes = scene.sample, book.classes
        maps = []
        for group, level, map_file in catalogue.holds(asked.sample):
            if map_file.is_map:
                planes = map_file.counts()[1] or 0
                maps.append(m.MapOut(group, level, _shape_of(map_file), planes))
        first = catalogue.find(asked.sample, maps[0].group, maps[0].level) if maps and scene.frame is None else None
        frame = scene.frame or (scene.placement_of(_sides(first[0]), None).frame if first else (0, 0))
        return _json(
            m.SampleOut(
                sample.id,
                sample.path,
                frame,
                image=scene.frame is not None and bool(sample.path or sample.input),
                notes=list(scene.notes),
                detections=scene.boxes(sample.predictions, classes, traced=True),
                truth=scene.boxes(sample.truth, classes),
                maps=maps,
                explanations=[
                    m.ExplanationOut(i, one.box, one.method, one.layer, one.level, one.words)
                    for i, one in enumerate(explained_of(book.folder, sample.id))
                ],
            )
        )

    def image(self, asked: m.OfSample) -> _Made:
        picture = self._scene(asked).picture()
        return _Made(picture.media, _digest(picture.data), lambda: picture.data)

    def thumb(self, asked: m.OfSample) -> _Made:
        book = self._book(asked)
        data = book.thumbnails.get(asked.sample)
        if data is None:
            data = book.keep_thumbnail(asked.sample, self._scene(asked).thumbnail().data)
        body = data
        return _Made("image/jpeg", _digest(body), lambda: body)

    def map(self, asked: m.Reduce) -> _Made:
        plan, feature_map = self._plan(asked, m.Draw(reduce=asked.reduce)), self._map(asked)

        def make() -> bytes:
            reduced, scene, place = plan.reduced(feature_map), self._scene(asked), feature_map.file.place()
            values = np.ascontiguousarray(reduced.values, np.float32)
            if values.ndim != 2:
                raise BadOptionError(f"{asked.reduce} gives three colours, not values; choose another reduction")
            shape = (values.shape[0], values.shape[1])
            header = m.MapHeader(
                shape,
                channels=feature_map.array.shape[0],
                reduce=reduced.style.reduce,
                words=reduced.words,
                range=reduced.style.range,
                colormap=reduced.style.colormap,
                zero=reduced.style.zero,
                place=place.known if place else "assumed",
                stride=place.stride if place else None,
                first=place.first if place else None,
                title=feature_map.title(place),
                notes=doubts_of_map(feature_map, place),
                placement=scene.placement_of(shape, place),
                inside=scene.cells_inside(shape, place),
            )
            return _packed(header, values)

        return _Made(ARRAY, feature_map.fingerprint(("map", asked)), make)

    def channels(self, asked: m.Tiles) -> _Made:
        feature_map = self._map(asked)

        def make() -> bytes:
            array, scene, place = feature_map.array, self._scene(asked), feature_map.file.place()
            shape = (array.shape[1], array.shape[2])
            rows, columns = scene.cells_inside(shape, place)[:2], scene.cells_inside(shape, place)[2:]
            inside = (slice(*rows), slice(*columns))
            objects = objects_on(scene, shape, place, inside) if asked.order == "contrast" else None
            ranked = rank_channels(array, asked.order, inside, objects)
            last = asked.first + asked.count if asked.count else None
            chosen = ranked.channels[asked.first : last]
            tiles = encode_tiles(shrink(np.asarray(array[chosen], np.float32), asked.size, asked.by))
            header = m.TilesHeader(
                (tiles.codes.shape[0], tiles.codes.shape[1], tiles.codes.shape[2]),
                channels=chosen.tolist(),
                values=[None] * len(chosen) if ranked.values is None else ranked.values[chosen].tolist(),
                lows=tiles.lows.tolist(),
                highs=tiles.highs.tolist(),
                total=len(array),
                placement=scene.placement_of(shape, place),
                title=feature_map.title(place),
            )
            return _packed(header, tiles.codes)

        return _Made(ARRAY, feature_map.fingerprint(("channels", asked)), make)

    def best(self, asked: m.Best) -> _Made:
        catalogue = self._book(asked).catalogue
        peaks = catalogue.peaks(asked.group, asked.level, _SECONDS)
        found = sorted(
            ((float(values[asked.channel]), sample) for sample, values in peaks.items() if asked.channel < len(values)),
            key=lambda pair: (-pair[0], pair[1]),
        )[: asked.count]
        total = len(catalogue.samples)
        return _json(m.BestOut([s for _, s in found], [v for v, _ in found], looked=len(peaks), total=total))

    def explanation(self, asked: m.OfExplanation) -> _Made:
        book, scene = self._book(asked), self._scene(asked)
        found = explained_of(book.folder, scene.sample.id)
        if not 0 <= asked.number < len(found):
            raise UnknownNameError(f"there is no explanation number {asked.number}; this sample has {len(found)}")
        one = found[asked.number]
        values = one.load()
        shape, place = (values.shape[0], values.shape[1]), _place_of(book.catalogue, asked.sample, one)
        header = m.MapHeader(
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
        body = _packed(header, values)
        return _Made(ARRAY, _digest(body), lambda: body)

    def picture(self, asked: m.Draw) -> _Made:
        plan, feature_map = self._plan(asked, asked), self._map(asked)

        def make() -> bytes:
            outcome = Outcome()
            png = plan.picture(feature_map, outcome)
            if outcome.errors:
                raise BadRunError("; ".join(outcome.errors))
            return png

        return _Made(PNG, feature_map.fingerprint(("picture", asked)), make)

    def command(self, asked: m.Draw) -> _Made:
        book = self._book(asked)
        group, row = book.catalogue.group(asked.group), book.catalogue.row(asked.sample)
        words = ["featscope", "heat", str(book.folder)]
        recorded = book.catalogue.run.index is not None
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
            found = book.catalogue.find(asked.sample, asked.group, asked.level)
            words += ["--only", glob_escape(f"{group.folder}/{found[0].path.name}" if found else group.folder)]
        default = m.Draw()
        for option, name in (("-r", "reduce"), ("--range", "range"), ("--colormap", "colormap"), ("--alpha", "alpha")):
            if getattr(asked, name) != getattr(default, name):
                words += [option, str(getattr(asked, name))]
        words += [] if asked.smooth else ["--no-smooth"]
        words += ["--boxes"] if asked.boxes and recorded else []
        words += ["--truth"] if asked.truth and recorded else []
        if asked.min_score != default.min_score:
            words += ["--min-score", f"{asked.min_score:g}"]
        return _json(m.CommandOut(shlex.join(words)))

    # Parts

    def _book(self, asked: m.OfRun) -> Book:
        if not 0 <= asked.run < len(self._books):
            raise UnknownNameError(f"there is no run number {asked.run}; the viewer shows {len(self._books)}")
        return self._books[asked.run].refreshed()

    def _scene(self, asked: m.OfSample) -> Scene:
        book = self._book(asked)
        return Scene.of(book.folder, book.catalogue.sample(asked.sample))

    def _map(self, asked: m.OfMap) -> FeatureMap:
        return self._book(asked).catalogue.map_of(asked.sample, asked.group, asked.level, asked.slice)

    def _plan(self, asked: m.OfMap, draw: m.Draw) -> HeatPlan:
        """Return the plan that `featscope heat` would draw this map by."""
        book = self._book(asked)
        style = replace(_STYLE, reduce=draw.reduce, range=draw.range, colormap=draw.colormap, smooth=draw.smooth)
        if draw.alpha is not None:
            style = replace(style, alpha=draw.alpha)
        options = HeatOptions(
            style, predictions=draw.boxes, truth=draw.truth, min_score=draw.min_score, labels=draw.labels, basis="map"
        )
        check_heat(options)
        if parse_range(draw.range)[0] in ("layer", "run") if draw.range != AUTO else False:
            raise BadOptionError(
                f"the viewer shares a range among what is on screen; {draw.range!r} is for the command"
            )
        folder = book.catalogue.group(asked.group).folder
        return HeatPlan(Origin.of(book.catalogue.run), options, {folder: book.catalogue.look(folder, style)})


QUESTIONS: Dict[str, Tuple[Type[msgspec.Struct], Callable[..., _Made]]] = {
    "about": (m.Nothing, Viewer.about),
    "samples": (m.OfRun, Viewer.samples),
    "sample": (m.OfSample, Viewer.sample),
    "image": (m.OfSample, Viewer.image),
    "thumb": (m.OfSample, Viewer.thumb),
    "map": (m.Reduce, Viewer.map),
    "channels": (m.Tiles, Viewer.channels),
    "best": (m.Best, Viewer.best),
    "explanation": (m.OfExplanation, Viewer.explanation),
    "picture": (m.Draw, Viewer.picture),
    "command": (m.Draw, Viewer.command),
}
"""Name -> the type of its query, and what answers it."""


def _json(answer: msgspec.Struct) -> _Made:
    body = msgspec.json.encode(answer)
    return _Made(JSON, _digest(body), lambda: body)


def _packed(header: msgspec.Struct, values: NDArray[np.generic]) -> bytes:
    """Join a header and an array: the length of the header as uint32, the header as JSON, and the values."""
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 4)
    return len(text).to_bytes(4, "little") + text + np.ascontiguousarray(values).tobytes()


def _digest(*parts: object) -> str:
    whole = hashlib.blake2b(digest_size=10)
    for part in parts:
        whole.update(part if isinstance(part, bytes) else repr(part).encode())
    return whole.hexdigest()


def _status(error: Exception) -> int:
    if isinstance(error, UnknownNameError):
        return 404
    if isinstance(error, BadRunError):
        return 410
    return 400 if isinstance(error, FeatscopeError) else 500


def _shape_of(map_file: MapFile) -> List[int]:
    """Return the shape (C, H, W) of one image's map."""
    rows, columns = _sides(map_file)
    return [map_file.channels(), rows, columns]


def _sides(map_file: MapFile) -> Tuple[int, int]:
    shape = read_npy_shape(map_file.path)
    return shape[-2], shape[-1]


def _place_of(catalogue: Catalogue, sample: int, one: Explained) -> Optional[Place]:
    """Return the place of the cells of an explanation: that of the maps of its layer and level."""
    for number, group in enumerate(catalogue.groups):
        if group.layer == one.layer:
            found = catalogue.find(sample, number, one.level)
            if found is not None:
                return found[0].place()
    return None

"""Answers about runs and their samples."""

from __future__ import annotations

import base64
from typing import List

from featscope import __version__
from featscope.errors import BadOptionError
from featscope.render.colour import palette
from featscope.viewer import questions, replies
from featscope.viewer.book import Book
from featscope.viewer.catalogue import shape_of
from featscope.viewer.explained import explained_of
from featscope.viewer.shelf import JSON, Made, Shelf, digest, json_of

COLORMAPS = (
    *("turbo", "viridis", "magma", "inferno", "cividis", "gray", "jet"),
    *("colorbrewer:RdBu_r", "matplotlib:coolwarm", "colorbrewer:PiYG", "colorbrewer:PuOr"),
)
"""Colour maps that the page offers; the last four are for values of two signs."""

EXPLAINS = ("layercam", "grad-cam", "odam", "eigen-cam")
"""Methods of explanation that the page offers; each takes one forward."""

REDUCTIONS = ("auto", "contrast", "mean", "absmean", "max", "l2", "std", "channel")
"""Reductions that the page offers."""


def about(shelf: Shelf, asked: questions.Nothing) -> Made:
    """Return what the viewer shows."""
    runs = [book.about() for book in shelf.books]
    tables = {name: base64.b64encode(palette(name).tobytes()).decode() for name in COLORMAPS}
    about = replies.About(
        __version__,
        "en",
        runs,
        colormaps=tables,
        reductions=list(REDUCTIONS),
        explains=list(EXPLAINS) if shelf.explain is not None else [],
    )
    return json_of(about)


def samples(shelf: Shelf, asked: questions.OfRun) -> Made:
    """Return all samples of a run, by column."""
    body = shelf.book(asked).catalogue.columns()
    return Made(JSON, digest(body), lambda: body)


def sample(shelf: Shelf, asked: questions.OfSample) -> Made:
    """Return one sample: its frame, its boxes, and which maps it has."""
    book = shelf.book(asked)
    catalogue, scene = book.catalogue, shelf.scene(asked)
    sample, classes = scene.sample, book.classes
    maps = []
    for group, level, map_file in catalogue.holds(asked.sample):
        if map_file.is_map:
            channels, *planes, rows, columns = shape_of(map_file)
            maps.append(replies.MapOut(group, level, [channels, rows, columns], planes[0] if planes else 0))
    frame = scene.frame or (0, 0)
    if scene.frame is None and maps:
        _, rows, columns = maps[0].shape
        frame = scene.placement_of((rows, columns), None).frame
    return json_of(
        replies.SampleOut(
            sample.id,
            sample.path,
            frame,
            image=scene.frame is not None and bool(sample.path or sample.input),
            notes=list(scene.notes),
            detections=scene.boxes(
                sample.predictions,
                classes,
                traced=True,
                shapes=catalogue.score_shapes(asked.sample),
                group=catalogue.score_group,
            ),
            truth=scene.boxes(sample.truth, classes),
            maps=maps,
            explanations=_explanations(book, sample.id),
        )
    )


def image(shelf: Shelf, asked: questions.OfSample) -> Made:
    """Return the image of a sample."""
    picture = shelf.scene(asked).picture()
    return Made(picture.media, digest(picture.data), lambda: picture.data)


def thumb(shelf: Shelf, asked: questions.OfSample) -> Made:
    """Return a small image of a sample."""
    book = shelf.book(asked)
    data = book.thumbnails.get(asked.sample)
    if data is None:
        data = book.keep_thumbnail(asked.sample, shelf.scene(asked).thumbnail().data)
    body = data
    return Made("image/jpeg", digest(body), lambda: body)


def explain(shelf: Shelf, asked: questions.Explain) -> Made:
    """Compute an explanation, and return all of the sample."""
    if shelf.explain is None:
        raise BadOptionError("this viewer does not compute explanations; start it again: featscope view RUN --explain")
    book = shelf.book(asked)
    group, row = book.catalogue.group(asked.group), book.catalogue.row(asked.sample)
    shelf.explain(book.folder, row.name, asked.box, layer=group.layer, method=asked.method)
    return json_of(replies.ExplanationsOut(_explanations(book, row.name)))


def _explanations(book: Book, sample: str) -> List[replies.ExplanationOut]:
    return [
        replies.ExplanationOut(one.name, one.box, one.method, layer=one.layer, level=one.level, words=one.words)
        for one in explained_of(book.folder, sample)
    ]

"""Answers about runs and their samples."""

from __future__ import annotations

import base64
from typing import List

from featscope import __version__
from featscope.errors import BadOptionError
from featscope.render.colour import palette
from featscope.viewer import questions, replies
from featscope.viewer.catalogue import shape_of
from featscope.viewer.explained import explained_of
from featscope.viewer.shown_run import ShownRun
from featscope.viewer.shown_runs import JSON, Made, ShownRuns, digest, json_of

COLORMAPS = (
    *("turbo", "viridis", "magma", "inferno", "cividis", "gray", "jet"),
    *("colorbrewer:RdBu_r", "matplotlib:coolwarm", "colorbrewer:PiYG", "colorbrewer:PuOr"),
)
"""Colour maps that the page offers; the last four are for values of two signs."""

EXPLAINS = ("layercam", "grad-cam", "odam", "eigen-cam")
"""Methods of explanation that the page offers; each takes one forward."""

REDUCTIONS = ("auto", "contrast", "mean", "absmean", "max", "l2", "std", "channel")
"""Reductions that the page offers."""


def about(runs: ShownRuns, asked: questions.Nothing) -> Made:
    """Return what the viewer shows."""
    every = [shown.about() for shown in runs.runs]
    tables = {name: base64.b64encode(palette(name).tobytes()).decode() for name in COLORMAPS}
    about = replies.About(
        __version__,
        every,
        colormaps=tables,
        reductions=list(REDUCTIONS),
        explains=list(EXPLAINS) if runs.explain is not None else [],
    )
    return json_of(about)


def samples(runs: ShownRuns, asked: questions.OfRun) -> Made:
    """Return all samples of a run, by column."""
    body = runs.shown(asked).catalogue.columns()
    return Made(JSON, digest(body), lambda: body)


def sample(runs: ShownRuns, asked: questions.OfSample) -> Made:
    """Return one sample: its frame, its boxes, and which maps it has."""
    shown = runs.shown(asked)
    catalogue, scene = shown.catalogue, runs.scene(asked)
    sample, classes = scene.sample, shown.classes
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
            explanations=_explanations(shown, sample.id),
        )
    )


def image(runs: ShownRuns, asked: questions.OfSample) -> Made:
    """Return the image of a sample."""
    picture = runs.scene(asked).picture()
    return Made(picture.media, digest(picture.data), lambda: picture.data)


def thumb(runs: ShownRuns, asked: questions.OfSample) -> Made:
    """Return a small image of a sample."""
    shown = runs.shown(asked)
    data = shown.thumbnails.get(asked.sample)
    if data is None:
        data = shown.keep_thumbnail(asked.sample, runs.scene(asked).thumbnail().data)
    body = data
    return Made("image/jpeg", digest(body), lambda: body)


def explain(runs: ShownRuns, asked: questions.Explain) -> Made:
    """Compute an explanation, and return all of the sample."""
    if runs.explain is None:
        raise BadOptionError("this viewer does not compute explanations; start it again: featscope view RUN --explain")
    shown = runs.shown(asked)
    group, row = shown.catalogue.group(asked.group), shown.catalogue.row(asked.sample)
    runs.explain(shown.folder, row.name, asked.box, layer=group.layer, method=asked.method)
    return json_of(replies.ExplanationsOut(_explanations(shown, row.name)))


def _explanations(shown: ShownRun, sample: str) -> List[replies.ExplanationOut]:
    return [
        replies.ExplanationOut(one.name, one.box, one.method, layer=one.layer, level=one.level, words=one.words)
        for one in explained_of(shown.folder, sample)
    ]

"""The page paints what `featscope heat` writes, pixel for pixel, with and without a graphics card."""

import numpy as np
import pytest
from PIL import Image

from featscope.render.colour import palette

from .screen import featscope

CASES = {
    "the default": {"layer": "neck", "level": 1},
    "two signs": {"layer": "bbox_head_init", "field": "bbox_preds", "reduce": "channel:2"},
    "percentiles": {"layer": "neck", "reduce": "l2", "range": "percentile:5:95", "colormap": "viridis"},
    "fixed ends": {"layer": "backbone", "level": 2, "reduce": "mean", "range": "-0.2:0.9", "colormap": "gray"},
    "cells": {"layer": "neck", "level": 2, "reduce": "max", "range": "map", "smooth": 0},
    "opaque": {"layer": "neck", "level": 0, "reduce": "std", "opacity": 1, "colormap": "gray"},
}
NAMES = {"reduce": "-r", "range": "--range", "colormap": "--colormap", "opacity": "--alpha"}
BACKENDS = ("canvas", "webgl")


def written(runs, folder, case, layer_folder):
    """The pictures that the command writes: of the map alone, and over the image."""
    words = [
        "--only",
        layer_folder,
        "--level",
        case.get("level", 0),
        "--sample",
        "scene_3",
        "-o",
        folder,
        "--no-legend",
    ]
    for name, option in NAMES.items():
        words += [option, case[name]] if name in case else []
    featscope("heat", runs.a, *words, *([] if case.get("smooth", 1) else ["--no-smooth"]))
    stem = folder / layer_folder / f"scene_3_level{case.get('level', 0)}"
    return {
        photo: np.asarray(Image.open(f"{stem}{end}.png").convert("RGB")).astype(int)
        for photo, end in (("none", ""), ("grey", "_overlay"))
    }


def at_scale_1(screen, case, photo):
    """What is painted when a pixel of the frame is one of the screen, and where in the frame that lies."""
    area = screen.open(**case, photo=photo, boxes="none").page.locator(".panel-map").bounding_box()
    width, height = round(area["width"]), round(area["height"])
    assert width < 640
    assert height <= 464
    # A centre that has pixels on pixels.
    x, y = 320 + width % 2 / 2, 232 + height % 2 / 2
    screen.open(**case, photo=photo, boxes="none", view=f"{x},{y},1")
    pixels = screen.pixels()
    assert pixels.shape[:2] == (height, width)
    assert (pixels[..., 3] == 255).all()
    return (
        pixels[..., :3].astype(int),
        slice(int(y - height / 2), int(y + height / 2)),
        slice(int(x - width / 2), int(x + width / 2)),
    )


def indices_off(drawn, wanted, colours):
    """By how many indices of the colour map a picture differs, at each pixel; 9 where it is another colour."""
    codes = [whole @ (65536, 256, 1) for whole in (colours, wanted)]
    index = np.abs(np.subtract.outer(np.unique(codes[1]), codes[0])).argmin(1)[
        np.unique(codes[1], return_inverse=True)[1]
    ]
    index = index.reshape(wanted.shape[:2])
    assert (colours[index] == wanted).all()
    off = np.full(index.shape, 9)
    for step in (2, -2, 1, -1, 0):
        there = colours[np.clip(index + step, 0, 255)]
        off[(np.abs(there - drawn) <= 1).all(-1)] = abs(step)
    return off


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_the_page_paints_the_picture_that_heat_writes(look, one, runs, tmp_path, request, backend, name):
    case = CASES[name]
    header, _ = one.ask(
        "map", group=one.group(case["layer"], case.get("field", "")), level=case.get("level", 0),
        reduce=case.get("reduce", "auto"),
    )  # fmt: skip
    folder = one.ask("about")["runs"][0]["groups"][one.group(case["layer"], case.get("field", ""))]["folder"]
    pictures = written(runs, tmp_path, case, folder)
    browser = request.getfixturevalue("chromium_without_webgl") if backend == "canvas" else None
    screen = look(one, width=1100, height=620, browser=browser, painter="webgl" if backend == "webgl" else "")
    kind = screen.module("stage.js", "(stage) => stage.stage.app.painter.kind")
    assert kind == backend

    drawn, rows, columns = at_scale_1(screen, case, "none")
    # Zero has a colour of its own only where it is in the middle.
    colormap = "turbo" if case.get("range") == "map" else header["colormap"]
    colours = palette(case.get("colormap", colormap)).astype(int)
    off = indices_off(drawn, pictures["none"][rows, columns], colours)
    assert off.max() <= 1

    drawn, rows, columns = at_scale_1(screen, case, "grey")
    off = np.abs(drawn - pictures["grey"][rows, columns]).max(-1)
    # One index is up to that many levels of a channel, and changes how much of the image is seen.
    steepest = np.abs(np.diff(colours, axis=0)).max() + 3
    assert off.max() <= steepest
    assert (off <= 2).mean() > 0.97


def test_both_ways_paint_the_same_at_any_scale(look, one):
    case = {"layer": "neck", "level": 1, "view": "300.3,200.7,3.3", "boxes": "none"}
    canvas = look(one, painter="canvas", **case).pixels().astype(int)
    webgl = look(one, painter="webgl", **case).pixels().astype(int)
    assert canvas.shape == webgl.shape
    off = np.abs(canvas - webgl).max(-1)
    assert (off <= 2).mean() > 0.995
    assert off.max() <= 12


def test_a_lost_graphics_card_is_made_up_for(look, one):
    screen = look(one, painter="webgl", layer="neck", boxes="none")
    before = screen.pixels().astype(int)
    screen.module("stage.js", "(s) => s.stage.app.painter.webgl.gl.getExtension('WEBGL_lose_context').loseContext()")
    screen.rest()
    assert screen.module("stage.js", "(s) => s.stage.app.painter.kind") == "canvas"
    after = screen.rest().pixels().astype(int)
    assert np.abs(after - before).max() <= 12

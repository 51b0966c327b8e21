"""The page paints maps as `draw_heat` does: the same indices at every pixel, to within one."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featscope.arrays.frames import in_whole_pixels
from featscope.arrays.geometry import cells_inside, cells_of_image
from featscope.records import Geometry
from featscope.render.heat import HeatStyle, draw_heat

NODE = shutil.which("node")
PROGRAM = Path(__file__).parent / "js" / "place.mjs"

Pair = Optional[Tuple[float, float]]


class Case(NamedTuple):
    """A map, and how it is drawn."""

    name: str
    heat: NDArray[np.float32]
    geometry: Geometry
    stride: Pair = None
    first: Pair = None
    range: str = "map"
    smooth: bool = True


def _maps() -> Dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(7)
    plain = random.random((16, 20), np.float32)
    signed = random.normal(size=(16, 20)).astype(np.float32)
    damaged = signed.copy()
    damaged[2:5, 3:6], damaged[9, 11], damaged[12, 0], damaged[0, 19] = np.nan, np.inf, -np.inf, np.nan
    return {
        "random": plain,
        "signed": signed,
        "damaged": damaged,
        "constant": np.full((16, 20), 3.5, np.float32),
        "nothing finite": np.full((16, 20), np.nan, np.float32),
        "huge": signed * np.float32(3e37),
        "tiny": signed * np.float32(1e-38),
        "far from zero": (plain + np.float32(1e4)),
        "mostly zero": np.where(plain > 0.97, plain, np.float32(0)),
    }


_WHOLE = Geometry((128, 160), (128, 160), (128, 160))
_GEOMETRIES: Dict[str, Tuple[Geometry, Pair, Pair]] = {
    "whole": (_WHOLE, None, None),
    "resized": (Geometry((251, 313), (128, 160), (128, 160)), None, None),
    "padded": (Geometry((200, 230), (100, 115), (128, 160)), None, None),
    "letterbox": (Geometry((97, 211), (70, 152), (128, 160), offset=(29, 4)), None, None),
    "mirrored": (Geometry((200, 230), (100, 115), (128, 160), flip="horizontal"), None, None),
    "upside down": (Geometry((200, 230), (100, 115), (128, 160), flip="vertical"), None, None),
    "turned": (Geometry((200, 230), (100, 115), (128, 160), offset=(3, 5), flip="diagonal"), None, None),
    "cropped": (Geometry((240, 300), (128, 160), (128, 160), crop=(40, 30, 128, 160)), None, None),
    "cropped, flipped": (
        Geometry((240, 300), (100, 140), (128, 160), crop=(40.5, 30.25, 120.0, 200.0), flip="horizontal"), None, None,
    ),
    "strides": (_WHOLE, (8.0, 8.0), (0.0, 0.0)),
    "strides beyond": (_WHOLE, (7.0, 7.5), (12.0, 9.0)),
    "reduced": (Geometry((9, 13), (128, 160), (128, 160)), None, None),
}  # fmt: skip

_RANGES = ("map", "percentile:50:99", "percentile:1:99", "symmetric", "symmetric:99", "-0.5:0.25")


def _cases() -> List[Case]:
    maps = _maps()
    cases = [Case(f"{name}, {r}", heat, _WHOLE, range=r) for name, heat in maps.items() for r in _RANGES]
    for place, (geometry, stride, first) in _GEOMETRIES.items():
        for name in ("random", "damaged"):
            for smooth in (True, False):
                if place == "reduced" and not smooth:
                    continue  # the page shows the mean of the cells that a pixel covers, a file the nearest one
                title = f"{name} {place}, {'smooth' if smooth else 'cells'}"
                cases.append(Case(title, maps[name], geometry, stride, first, "percentile:2:98", smooth))
    return cases


@pytest.fixture(scope="module")
def painted() -> Dict[str, Dict[str, Any]]:
    """What the page's code computes for each case, by name."""
    if NODE is None:
        pytest.skip("there is no node")
    scenes = []
    for case in _cases():
        shape, geometry = case.heat.shape, in_whole_pixels(case.geometry)
        rows, columns = cells_inside((shape[0], shape[1]), case.geometry, case.stride, case.first)
        scenes.append(
            {
                "values": base64.b64encode(case.heat.tobytes()).decode(),
                "shape": shape,
                "placement": {
                    "frame": geometry.original,
                    "cells": cells_of_image((shape[0], shape[1]), geometry, case.stride, case.first),
                    "crop": geometry.crop,
                    "flip": geometry.flip,
                },
                "inside": [*rows.indices(shape[0])[:2], *columns.indices(shape[1])[:2]],
                "range": case.range,
                "smooth": case.smooth,
            }
        )
    done = subprocess.run([NODE, str(PROGRAM)], input=json.dumps(scenes).encode(), stdout=subprocess.PIPE, check=True)
    return {case.name: picture for case, picture in zip(_cases(), json.loads(done.stdout))}


@pytest.mark.parametrize("case", _cases(), ids=lambda case: case.name)
def test_the_page_paints_the_indices_of_a_heat_map(case: Case, painted: Dict[str, Dict[str, Any]]) -> None:
    style = HeatStyle(reduce="channel:0", range=case.range, colormap="gray", smooth=case.smooth)
    drawn = draw_heat(case.heat[None], style, geometry=case.geometry, stride=case.stride, first=case.first)
    expected = np.asarray(Image.open(io.BytesIO(drawn.png)).convert("RGB")).astype(int)
    got = painted[case.name]

    assert got["low"] == pytest.approx(drawn.values.low, rel=1e-5, abs=1e-44)
    assert got["high"] == pytest.approx(drawn.values.high, rel=1e-5, abs=1e-44)
    crop = in_whole_pixels(case.geometry).crop or (0, 0, *case.geometry.original)
    assert (got["y"], got["x"], got["height"], got["width"]) == tuple(crop)
    indices = np.frombuffer(base64.b64decode(got["indices"]), np.uint8).reshape(got["height"], got["width"]).astype(int)
    expected = expected[got["y"] : got["y"] + got["height"], got["x"] : got["x"] + got["width"]]
    marked = drawn.values.nan + drawn.values.inf > 0
    nan = (expected == (255, 0, 255)).all(-1) & marked
    inf = (expected == (0, 255, 0)).all(-1) & marked
    clear = np.True_ if case.smooth and not marked else _off_edges(case)
    np.testing.assert_array_equal((indices == 255) & marked & clear, nan & clear)
    np.testing.assert_array_equal((indices == 254) & marked & clear, inf & clear)
    # The gray colour map has the value of an index as its colour; beside marks it has only 254 steps.
    grey = np.round(indices * 255 / 253) if marked else indices
    off = np.where(nan | inf | ~clear, 0, np.abs(grey - expected[..., 0]))
    assert off.max() <= (2 if marked else 1)  # one index may be two of 255 greys there


def _off_edges(case: Case) -> NDArray[np.bool_]:
    """The pixels whose centre does not lie exactly on the edge of a cell: there, rounding chooses the nearest cell."""
    geometry = in_whole_pixels(case.geometry)
    box = cells_of_image((case.heat.shape[0], case.heat.shape[1]), geometry, case.stride, case.first)
    size = geometry.crop[2:] if geometry.crop else geometry.original
    clear = []
    for axis, flips in ((1, ("vertical", "diagonal")), (0, ("horizontal", "diagonal"))):
        count = round(size[1 - axis])
        places = box[axis] + (np.arange(count) + 0.5) / count * (box[axis + 2] - box[axis])
        off = np.abs(places - np.round(places)) > 1e-6
        clear.append(off[::-1] if geometry.flip in flips else off)
    return clear[0][:, None] & clear[1][None]

"""The check of an image's geometry: what it adds to each sample, and what a thread of its own does meanwhile."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Callable, Iterator

import numpy as np
from PIL import Image

from benchmarks.measure import Row
from featscope.arrays.agreement import SIDE, compare, thumbnail
from featscope.demo.scenes import draw_scene
from featscope.records import Geometry
from featscope.store.originals import read_small

LIMIT = 2.0  # milliseconds an image


def rows(folder: Path) -> Iterator[Row]:
    """The rows: the check itself, and the files that are read while the network runs."""
    picture = np.asarray(Image.fromarray(draw_scene(3).image).resize((1024, 1024)))
    original = thumbnail(picture, 2 * SIDE)
    geometry = Geometry((1024, 1024), (1024, 1024), (1024, 1024))
    took = _milliseconds(lambda: compare(original, thumbnail(picture), geometry))
    yield Row(
        "check of the geometry of a 1024 x 1024 image: the input made small and laid beside its file's thumbnail",
        f"{took:.2f} ms",
        "",
        "",
        f"{LIMIT:g} ms",
        took <= LIMIT,
    )
    for name in ("photo.jpg", "photo.png"):
        Image.fromarray(picture).save(folder / name)
        small = _milliseconds(lambda name=name: read_small(folder / name, 2 * SIDE), 20)  # type: ignore[misc]
        whole = _milliseconds(lambda name=name: np.asarray(Image.open(folder / name)), 20)  # type: ignore[misc]
        text = f"its file's thumbnail, {name[-3:].upper()}, read by another thread, against decoding it"
        yield Row(text, f"{small:.1f} ms", f"{whole:.1f} ms", f"{whole / small:.1f} x", "", True)


def _milliseconds(call: Callable[[], object], rounds: int = 100) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)

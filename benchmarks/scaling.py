"""Large runs and many workers: what opening, listing and selecting cost, and what a second worker brings."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import numpy as np
from PIL import Image

from benchmarks.measure import Row
from featscope.render.heat_plan import HeatOptions, plan_heat
from featscope.render.jobs import run_jobs
from featscope.scale.parallel import executor_named
from featscope.store.index import INDEX
from featscope.store.reader import Run, open_run

MAPS = 160


def rows(folder: Path) -> Iterator[Row]:
    """The rows about size, then those about workers."""
    yield from _sizes(folder)
    yield from _workers(folder)


def write_lines(folder: Path, count: int) -> None:
    """A run of `count` maps, without their arrays: two layers of five levels an image."""
    folder.mkdir()
    (folder / "run.json").write_text('{"finished": "2026-01-01T00:00:00Z"}')
    with open(folder / "manifest-00000.jsonl", "w") as maps, open(folder / "samples-00000.jsonl", "w") as samples:
        for image in range(count // 10):
            name = f"P{image:06d}"
            samples.write(json.dumps({"id": name, "batch": image}) + "\n")
            for layer in ("backbone", "neck"):
                for level in range(5):
                    record = {"path": f"{layer}.cls/batch_{image}_layer_{level}.npy", "layer": layer, "cls": "Cls"}
                    record.update(field="", level=level, call=0, batch=image, samples=[name], shape=[1, 256, 128, 124])
                    record.update(dtype="<f4", bytes=16252928, checksum=1234567890, stride=[8.0, 8.0])
                    maps.write(json.dumps(record, separators=(",", ":")) + "\n")


def _sizes(folder: Path) -> Iterator[Row]:
    questions: Dict[str, Callable[[Run], object]] = {
        "open": lambda run: run.info,
        "list the folders": lambda run: run.folders(),
        "select one layer, level and image": lambda run: run.select(layer="neck", level=2, sample="P000050"),
        "select one image": lambda run: run.select(sample="P000050"),
    }
    took: Dict[str, List[float]] = {name: [] for name in ("first indexing", *questions)}
    sizes = (1_000, 10_000, 100_000, 1_000_000)
    for count in sizes:
        place = folder / f"lines{count}"
        write_lines(place, count)
        start = time.perf_counter()
        open_run(place)
        took["first indexing"].append(time.perf_counter() - start)
        for name, ask in questions.items():
            times = []
            for _ in range(7):
                start = time.perf_counter()
                ask(open_run(place))
                times.append(time.perf_counter() - start)
            took[name].append(statistics.median(times))
        kept = (place / INDEX).stat().st_size if (place / INDEX).exists() else 0
        shutil.rmtree(place)
    for name, times in took.items():
        answer = 1 if name.startswith("select") or name == "open" else 1000
        most = 10.0 if name == "first indexing" else 2.0
        shown = ", ".join(f"{seconds * 1e3:.3g}" for seconds in times)
        note = f" (kept in {kept / 1e6:.0f} MB)" if name == "first indexing" else ""
        # A small run is read anew each time: its answer is not cheaper than a large one's for that.
        grows = times[-1] / times[0]
        yield Row(
            f"{name}: 10^3, 10^4, 10^5, 10^6 lines{note}",
            f"{shown} ms",
            "",
            f"{grows:.1f} x for 1000 x the lines",
            f"{most:g} s" + (", flat" if answer == 1 else ""),
            times[-1] <= most and (answer > 1 or grows <= 10),
        )


def _workers(folder: Path) -> Iterator[Row]:
    random = np.random.default_rng(0)
    maps = folder / "maps"
    maps.mkdir()
    for number in range(MAPS):
        np.save(maps / f"{number}.npy", random.random((64, 128, 124), np.float32))
    Image.fromarray(random.integers(0, 256, (1024, 992, 3), np.uint8)).save(folder / "photo.png")
    run = open_run(maps)
    plan = plan_heat(run, run.maps, HeatOptions(image=folder / "photo.png"))

    def draw(executor: str) -> float:
        target = folder / "pictures"
        start = time.perf_counter()
        outcome = run_jobs(run.maps, plan, target, executor=executor_named(executor))
        took = time.perf_counter() - start
        assert (outcome.pictures, outcome.errors) == (2 * MAPS, [])
        shutil.rmtree(target)
        return took

    yield _workers_row("local processes", lambda: draw("processes:1"), lambda: draw("processes:2"))
    try:
        from distributed import LocalCluster
    except ImportError:
        return
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "host": "127.0.0.1"}
    with LocalCluster(n_workers=1, **options) as one, LocalCluster(n_workers=2, **options) as two:
        names = [cluster.scheduler_address.replace("tcp:", "dask:") for cluster in (one, two)]
        yield _workers_row("Dask workers", lambda: draw(names[0]), lambda: draw(names[1]))


def _workers_row(kind: str, one: Callable[[], float], two: Callable[[], float]) -> Row:
    one(), two()
    pairs = [(one(), two()) for _ in range(3)]
    ratio = statistics.median(single / double for single, double in pairs)
    single, double = (statistics.median(side) for side in zip(*pairs))
    return Row(
        f"{MAPS} heat maps of (64,128,124), alone and over an image of 1024 x 992, by 2 {kind}, against 1",
        f"{double:.2f} s",
        f"{single:.2f} s",
        f"{ratio:.2f} x",
        "1.6 x",
        ratio >= 1.6,
    )

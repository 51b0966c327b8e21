"""The viewer in a real browser: from a command, a key or a wheel to what is on the screen.

How it is known that a picture is there: `viewing.js` runs before the page's own scripts and wraps `drawImage` and
`putImageData`. A picture of a sample is there when the stage's canvas (or the mosaic's) has been drawn with a map, the
title of the page names that sample, and the panel is not waiting for anything. The time is taken in a task that is
posted from this drawing: it runs after the browser has laid out and painted the same frame. Then, outside of the time,
the canvas is read back: its pixels must not be all equal, nor those of the picture before.
"""

from __future__ import annotations

import contextlib
import http.client
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from benchmarks.measure import Row
from featscope.demo.scenes import draw_scene
from featscope.records import Boxes, CapturedMap, Geometry, RunInfo, Sample, assumed_place
from featscope.store.index import INDEX
from featscope.store.reader import open_run
from featscope.store.writer import RunWriter
from tools.chromium import FLAGS

SAMPLES = 100_000
AXES = ("sample", "channel", "row", "column")
_PROBE = Path(__file__).with_suffix(".js")


def rows(parent: Path, full: bool = False) -> Iterator[Row]:
    """The rows about the viewer. full: walk through 10,000 pictures in place of 1,000."""
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        yield _left_out("pip install playwright")
        return
    if chromium is None:
        yield _left_out("there is no chromium on the path")
        return
    folder = Path(tempfile.mkdtemp(prefix="featscope-benchmark-", dir=parent))
    try:
        steps = 10_000 if full else 1_000
        large = write_large(folder, SAMPLES, steps + 200)
        wide = write_wide(folder)
        yield _first_opening(large)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            yield from _opening(browser, large)
            with _viewer(large) as (url, process):
                yield from _stepping(browser, url)
                yield from _listing(browser, url)
                yield _on_the_wire(browser, url)
                yield from _walking(browser, url, process.pid, steps)
            with _viewer(wide) as (url, _):
                yield from _colouring(browser, url)
                yield _mosaic(browser, url)
            browser.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _left_out(why: str) -> Row:
    return Row("the viewer", f"left out: {why}", "", "", "", holds=True)


def _row(work: str, ours: str, floor: str, holds: bool) -> Row:
    return Row(work, ours, "", "", floor, holds)


# The runs


def write_large(folder: Path, samples: int, real: int) -> Path:
    """A run with one map a sample. real: how many samples have one of 16 x 32 x 32; the others have a single cell."""
    random = np.random.default_rng(0)
    photo, run = _photo(folder), folder / "large"
    writer = RunWriter(run, RunInfo(model="Toy", classes=[f"class {i}" for i in range(15)]))
    geometry, one = Geometry((1024, 1024), (1024, 1024), (1024, 1024)), np.zeros((1, 1, 1, 1), np.float32)
    for i in range(samples):
        count, name = i % 20, f"image_{i:06d}"
        found = [[100.0 + 40 * j, 500.0, 20.0 + i % 50, 10.0, 0.1] for j in range(count)]
        predictions = Boxes("cxcywha", found, [j % 15 for j in range(count)], [0.9 - 0.04 * j for j in range(count)])
        truth = Boxes("xyxy", [[10, 10, 30, 30 + i % 40]], [0])
        writer.put_sample(
            Sample(name, str(photo), batch=i, geometry=geometry, predictions=predictions, truth=truth), None
        )
        values = random.standard_normal((1, 16, 32, 32)).astype(np.float32) if i < real else one
        writer.put(_captured(i, name), values)
    writer.close()
    return run


def write_wide(folder: Path) -> Path:
    """A run of 12 images with 256 channels of 128 x 128: smooth blobs that differ, some noise, a ReLU."""
    random = np.random.default_rng(0)
    photo, run = _photo(folder), folder / "wide"
    writer = RunWriter(run, RunInfo(model="Toy", classes=["class"]))
    geometry = Geometry((1024, 1024), (1024, 1024), (1024, 1024))
    for i in range(12):
        name = f"image_{i:06d}"
        blobs = random.standard_normal((256, 16, 16)).astype(np.float32)
        smooth = [np.asarray(Image.fromarray(b).resize((128, 128), Image.Resampling.BICUBIC)) for b in blobs]
        values = np.maximum(np.stack(smooth) + 0.2 * random.standard_normal((256, 128, 128)), 0).astype(np.float32)
        writer.put_sample(Sample(name, str(photo), batch=i, geometry=geometry), None)
        writer.put(_captured(i, name), values[None])
    writer.close()
    return run


def _photo(folder: Path) -> Path:
    path = folder / "photo.jpg"
    if not path.exists():
        Image.fromarray(draw_scene(3).image).resize((1024, 1024)).save(path, quality=92)
    return path


def _captured(batch: int, name: str) -> CapturedMap:
    place = assumed_place((1024, 1024), (32, 32))
    return CapturedMap("neck", "FPN", "", 0, 0, batch, [name], "neck.fpn", AXES, place)


# The server and the page


@contextlib.contextmanager
def _viewer(run: Path) -> Iterator[Tuple[str, subprocess.Popen[str]]]:
    """`featscope view`, and the address that it prints."""
    command = [sys.executable, "-m", "featscope", "view", str(run), "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        assert "http" in line, f"{' '.join(command)} printed {line!r} in place of an address"
        yield line.split()[-1], process
    finally:
        process.terminate()
        process.wait()


class _Page:
    """A page of a browser that has seen nothing before."""

    def __init__(self, browser: Any, url: str, width: int = 1600, height: int = 1000) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.context.add_init_script(path=_PROBE)
        self.page = self.context.new_page()
        self.asked: List[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url) if "/ask/" in request.url else None)
        self.page.goto(url, wait_until="commit")
        self._pixels: List[int] = []

    def __enter__(self) -> _Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def picture(self) -> Dict[str, float]:
        """Wait for the picture that is expected. Times are in milliseconds from the request of the page on."""
        found: Dict[str, float] = self.page.evaluate("probe.done")
        return found

    def verify(self, canvas: str = ".panel-map") -> None:
        """See that the canvas shows a picture, and another one than when it was last looked at."""
        pixels = self.page.evaluate("canvas => probe.pixels(canvas)", canvas)
        assert len(set(pixels)) > 8, "the canvas is blank"
        assert pixels != self._pixels, "the canvas shows the picture before"
        self._pixels = pixels

    def press(self, key: str, sample: str = "", canvas: str = ".panel-map") -> Dict[str, float]:
        """Press a key and wait for the picture that follows."""
        self.page.evaluate("([sample, canvas]) => probe.expect(sample, canvas)", [sample, canvas])
        self.page.keyboard.press(key)
        return self.picture()

    def listed(self, count: int = SAMPLES) -> float:
        """Wait until so many samples are listed. Returns milliseconds from the request of the page on."""
        found: float = self.page.evaluate("count => probe.listed(count)", count)
        return found

    def rest(self) -> None:
        """Wait until nothing is asked any more."""
        while True:
            before = len(self.asked)
            self.page.wait_for_timeout(400)
            if len(self.asked) == before:
                return


def _name(number: int) -> str:
    return f"image_{number:06d}"


def _middle(values: Sequence[float]) -> float:
    return statistics.median(values)


def _high(values: Sequence[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


# The rows


def _first_opening(run: Path) -> Row:
    """When the index has to be made. Afterwards it is there, for all rows below."""
    times = []
    for _ in range(3):
        (run / INDEX).unlink(missing_ok=True)
        start = time.perf_counter()
        open_run(run)
        times.append(time.perf_counter() - start)
    return _row("first opening of a run of 100,000 maps: its index is made", f"{_middle(times):.2f} s", "", holds=True)


def _opening(browser: Any, run: Path) -> Iterator[Row]:
    commands, requests, again = [], [], []
    for _ in range(5):
        start = time.time()
        with _viewer(run) as (url, _process):
            with _Page(browser, url) as page:
                found = page.picture()
                commands.append((found["origin"] + found["at"]) / 1e3 - start)
                page.verify()
            for _ in range(3):
                with _Page(browser, url) as page:
                    requests.append(page.picture()["at"])
                    page.rest()
                    page.page.evaluate("probe.expect")
                    page.page.reload(wait_until="commit")
                    again.append(page.picture()["at"])
    took = _middle(commands)
    yield _row("`featscope view` on 100,000 maps: command to first picture", f"{took:.2f} s", "2 s", took <= 2)
    took = _middle(requests)
    yield _row(
        "the same: request of the page to picture",
        f"{took:.0f} ms (loaded again: {_middle(again):.0f} ms)",
        "300 ms",
        took <= 300,
    )


def _stepping(browser: Any, url: str) -> Iterator[Row]:
    took = _answer_times(url, range(200, 300))
    yield _row(
        "a step to the next sample: the server's answers (sample, map, image)",
        f"{_middle(took):.1f} ms (95th percentile {_high(took):.1f})",
        "20 ms",
        _middle(took) <= 20,
    )
    soon, rested = [], []
    with _Page(browser, url) as page:
        page.picture()
        page.verify()
        page.listed()
        for number in range(1, 41):
            found = page.press("j", _name(number))
            soon.append(found["at"] - found["key"])
            page.verify()
        for number in range(41, 61):
            page.page.wait_for_timeout(500)  # the samples beside it are asked for meanwhile
            found = page.press("j", _name(number))
            rested.append(found["at"] - found["key"])
            page.verify()
    ours = f"{_middle(soon):.0f} ms at once after the last, {_middle(rested):.0f} ms after half a second"
    ours += f" (95th percentile {_high(soon):.0f}, {_high(rested):.0f})"
    yield _row("the same: key to picture", ours, "100 ms", max(_middle(soon), _middle(rested)) <= 100)


def _answer_times(url: str, samples: Sequence[int]) -> List[float]:
    """Milliseconds of all questions of a step, asked one after another through one connection."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    questions = ("sample?run=0&sample={}", "map?group=0&level=0&reduce=auto&run=0&sample={}", "image?run=0&sample={}")
    times = []
    for sample in samples:
        start = time.perf_counter()
        for question in questions:
            connection.request("GET", f"{parts.path}ask/{question.format(sample)}")
            reply = connection.getresponse()
            body = reply.read()
            assert reply.status == 200, body
        times.append((time.perf_counter() - start) * 1e3)
    connection.close()
    return times


def _listing(browser: Any, url: str) -> Iterator[Row]:
    there, found, scrolled = [], [], []
    for _ in range(5):
        with _Page(browser, url) as page:
            there.append(page.listed())
            page.picture()
            page.page.keyboard.press("/")
            page.page.keyboard.press("7")
            hits = sum("7" in f"{i:06d}" for i in range(SAMPLES))
            at = page.listed(hits)
            found.append(at - page.page.evaluate("probe.key"))
            page.page.keyboard.press("Backspace")
            page.listed()
            page.rest()
            scrolled.append(page.page.evaluate("probe.scroll()"))
    took = (_middle(there) + _middle(found)) / 1e3
    ours = f"{took:.2f} s (there after {_middle(there):.0f} ms, searched in {_middle(found):.0f} ms)"
    yield _row("100,000 samples: request of the page to a list that was searched", ours, "1.5 s", took <= 1.5)
    longest = _middle([max(gaps) for gaps in scrolled])
    usual = _middle([gap for gaps in scrolled for gap in gaps])
    ours = f"{longest:.0f} ms (usual frame {usual:.1f})"
    yield _row("the same: scrolling, longest of 300 frames", ours, "50 ms", longest <= 50)


def _on_the_wire(browser: Any, url: str) -> Row:
    with _Page(browser, url) as page:
        page.picture()
        page.rest()
        sizes = page.page.evaluate("probe.sizes()")
    size = sum(sizes) / 1e3
    return _row("the page without data, over the wire", f"{size:.0f} KB in {len(sizes)} files", "150 KB", size < 150)


def _walking(browser: Any, url: str, server: int, steps: int) -> Iterator[Row]:
    memories: List[Dict[str, float]] = []
    with _Page(browser, url) as page:
        page.picture()
        page.listed()
        session = page.context.new_cdp_session(page.page)
        renderers = _renderers(browser)
        for number in range(1, steps + 1):
            page.press("j", _name(number))
            if number in (100, steps):
                page.rest()
                memories.append(_memory(session, server, renderers))
            if number % 100 == 0:
                page.verify()
    early, late = memories
    for key, name, most in (
        ("server", "server, resident", 16),
        ("heap", "page, JavaScript heap and buffers", 32),
        ("renderer", "page, its process, resident", 128),
    ):
        grown = late[key] - early[key]
        ours = f"{early[key]:.0f} MB after the first hundred, {late[key]:.0f} MB at the end"
        yield _row(
            f"walking through {steps:,} pictures, memory: {name}", ours, f"flat, +{most} MB for caches", grown <= most
        )


def _renderers(browser: Any) -> List[int]:
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    return [int(process["id"]) for process in processes if process["type"] == "renderer"]


def _memory(session: Any, server: int, renderers: Sequence[int]) -> Dict[str, float]:
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")
    used = heap["usedSize"] + heap.get("embedderHeapUsedSize", 0) + heap.get("backingStorageSize", 0)
    return {
        "server": _resident(server),
        "heap": used / 1e6,
        "renderer": max(map(_resident, renderers)),
    }


def _resident(process: int) -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _colouring(browser: Any, url: str) -> Iterator[Row]:
    with _Page(browser, url, 1700, 1300) as page:
        page.picture()
        _make_square(page)
        for key, work in (("c", "colour map changed"), ("g", "range changed")):
            page.rest()
            page.asked.clear()
            waits, frames = [], []
            for _ in range(26):  # the choices come in turns, so this is no whole number of rounds
                found = page.press(key)
                waits.append(found["at"] - found["key"])
                frames.append(found["at"] - found["frame"])
                page.page.wait_for_timeout(100)
            assert not page.asked, f"{work}: asked {page.asked}"
            page.verify()
            ours = (
                f"{_middle(frames):.1f} ms (longest {max(frames):.1f}, key to picture {_middle(waits):.0f}), no request"
            )
            yield _row(f"{work}, stage of 1024 x 1024: its frame", ours, "33 ms", _middle(frames) <= 33)


def _make_square(page: _Page) -> None:
    """Give the window the size in which the stage's canvas has 1024 x 1024 pixels."""
    size = "(() => { const { width, height } = document.querySelector('.panel-map'); return [width, height]; })()"
    for _ in range(5):
        width, height = page.page.evaluate(size)
        if width == height == 1024:
            return
        window = page.page.viewport_size
        page.page.set_viewport_size(
            {"width": window["width"] + 1024 - width, "height": window["height"] + 1024 - height}
        )
        page.page.wait_for_timeout(300)
    raise AssertionError(f"the stage has {width} x {height} pixels")


def _mosaic(browser: Any, url: str) -> Row:
    canvas, times = ".tile-layer canvas", []
    with _Page(browser, url) as page:
        page.picture()
        page.rest()
        page.press("3", _name(0), canvas)
        for number in range(1, 12):
            page.rest()
            found = page.press("j", _name(number), canvas)
            asked = page.page.evaluate("probe.asked('channels?')")
            times.append(found["at"] - asked)
            page.verify(canvas)
    ours = f"{_middle(times):.0f} ms (longest {max(times):.0f})"
    return _row("mosaic of 256 channels of 128 x 128: request to picture", ours, "250 ms", _middle(times) <= 250)

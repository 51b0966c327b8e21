"""The viewer's page in a real browser, with real runs behind a real server."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from featscope.records import Boxes, CapturedMap, Geometry, Place, RunInfo, Sample, Source
from featscope.store.writer import RunWriter
from tools.chromium import FLAGS

HOSTILE = "<img src=x onerror=alert(1)>"
AXES = ("sample", "channel", "row", "column")


def pytest_addoption(parser):
    parser.addoption("--update-screenshots", action="store_true", help="remake tests/browser/screenshots")


class Runs(NamedTuple):
    """Runs on disk, made once."""

    a: Path
    """The built-in detector on four scenes, with sources, truth and a stored explanation."""

    b: Path
    """Three of these scenes and another one, by other weights, without the heads."""


def _scenes(folder, seeds):
    from featscope.demo.scenes import draw_scene
    from featscope.render.png import encode_rgb

    folder.mkdir(exist_ok=True)
    truth = {}
    for seed in seeds:
        scene, path = draw_scene(seed), folder / f"scene_{seed}.png"
        path.write_bytes(encode_rgb(scene.image))
        truth[path] = Boxes("cxcywha", scene.boxes.tolist(), scene.labels.tolist())
    return truth


def _capture(folder):
    import torch

    from featscope.adapters.feeding import capture_images
    from featscope.adapters.opening import open_detector

    from .screen import featscope

    torch.set_num_threads(1)
    truth = _scenes(folder / "scenes", (3, 15, 22, 7))
    a, b = folder / "trained", folder / "random"
    capture_images(open_detector("demo"), list(truth), a, None, truth=truth)
    featscope("explain", a, "--sample", "scene_3", "--box", "0", "-l", "neck", "--no-panel")
    others = _scenes(folder / "scenes", (3, 15, 22, 9))
    capture_images(open_detector("demo", "random"), list(others), b, ["backbone", "neck"], truth=others)


@pytest.fixture(scope="session")
def runs(tmp_path_factory, request):
    pytest.importorskip("torch", reason="the runs come from the built-in detector, which needs torch")
    base = tmp_path_factory.getbasetemp()
    # Processes of one test run share them.
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "runs"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            _capture(folder)
            (folder / "done").touch()
    return Runs(folder / "trained", folder / "random")


def write_run(folder, maps, samples, **info):
    """A run by hand. maps: of each layer, the arrays (C, H, W) of its levels. samples: with pictures, or None."""
    writer = RunWriter(folder, RunInfo(**{"model": "Toy", "classes": ["ship", HOSTILE], **info}))
    for batch, (sample, picture) in enumerate(samples):
        writer.put_sample(sample, picture)
        for number, (layer, levels) in enumerate(maps.items()):
            for level, array in enumerate(levels):
                place = None
                if sample.geometry is not None:
                    height, width = sample.geometry.padded
                    stride = (height / array.shape[-2], width / array.shape[-1])
                    place = Place(stride, (stride[0] / 2, stride[1] / 2), "operators")
                captured = CapturedMap(
                    layer, "Layer", "", level, 0, batch, [sample.id], f"layer_{number}", list(AXES), place
                )
                writer.put(captured, array[None])
    return writer


def photo_of(folder, name, size=(40, 60)):
    """A photo on disk, and a sample of it."""
    from PIL import Image

    path = folder / "photo.png"
    if not path.exists():
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)).save(path)
    return Sample(name, str(path), geometry=Geometry(size, size, size))


@pytest.fixture
def hostile(tmp_path):
    """A run of two samples in which every name is markup; nothing is known of the second one."""
    rng = np.random.default_rng(0)
    sample = photo_of(tmp_path, HOSTILE)
    found = Boxes("cxcywha", [[20, 20, 16, 8, 0.3], [40, 10, 8, 8, 0]], [0, 1], [0.9, 0.8])
    sources = [[Source("cell", index=9, row=2, column=3)], []]
    sample = Sample(
        HOSTILE, sample.path, geometry=sample.geometry, predictions=found,
        truth=Boxes("xyxy", [[12, 14, 28, 26]], [1]), sources=sources,
    )  # fmt: skip
    maps = {HOSTILE: [rng.normal(size=(3, side, side)).astype(np.float32) for side in (8, 4)]}
    bare = Sample("nothing known", batch=1)
    samples = [(sample, np.zeros((40, 60, 3), np.uint8)), (bare, None)]
    writer = write_run(tmp_path / "run", maps, samples)
    writer.left_out[HOSTILE] = HOSTILE
    writer.close()
    return tmp_path / "run"


@pytest.fixture
def by_hand(tmp_path):
    """A folder of subfolders of .npy files, without a manifest, and more layers than are seen at once."""
    rng = np.random.default_rng(1)
    for number in range(14):
        folder = tmp_path / "arrays" / f"block{number}"
        folder.mkdir(parents=True)
        for level in range(2):
            array = rng.random((1, 4, 12 >> level, 16 >> level), np.float32)
            np.save(folder / f"batch_0_layer_{level}.npy", array)
    return tmp_path / "arrays"


# Browser and server


@pytest.fixture(scope="session")
def _playwright():
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium on the path")
    with api.sync_playwright() as started:
        yield started


def _launch(playwright, *more):
    return playwright.chromium.launch(executable_path=shutil.which("chromium"), args=[*FLAGS, *more])


@pytest.fixture(scope="session")
def chromium(_playwright):
    browser = _launch(_playwright)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def chromium_without_webgl(_playwright):
    browser = _launch(_playwright, "--disable-3d-apis")
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def _session_servers():
    from .screen import Served

    servers = {}

    def serve(*folders):
        if folders not in servers:
            servers[folders] = Served(*folders)
        return servers[folders]

    yield serve
    for server in servers.values():
        server.stop()


@pytest.fixture(scope="session")
def one(runs, _session_servers):
    """A viewer of the first run."""
    return _session_servers(runs.a)


@pytest.fixture(scope="session")
def two(runs, _session_servers):
    """A viewer of both runs."""
    return _session_servers(runs.a, runs.b)


@pytest.fixture
def serve():
    """Start a viewer of other folders."""
    from .screen import Served

    started = []

    def start(*folders, address=None, explain=None):
        started.append(Served(*folders, address=address, explain=explain))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def look(chromium):
    """Open a page of a viewer. The test fails if the page says an error, breaks its policy, or asks elsewhere."""
    from .screen import Screen

    screens = []
    contexts = []

    def open_page(served, width=1280, height=800, language="en-US", dark=False, painter="", browser=None, **state):
        context = (browser or chromium).new_context(
            viewport={"width": width, "height": height},
            locale=language,
            color_scheme="dark" if dark else "light",
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        context.set_default_timeout(10_000)
        screen = Screen(context.new_page(), served if isinstance(served, str) else served.url)
        if painter:

            def hook(route):
                text = route.fetch().text()
                assert "createPainter()" in text
                route.fulfill(
                    body=text.replace("createPainter()", f"createPainter({{ prefer: '{painter}' }})"),
                    content_type="text/javascript",
                )

            screen.page.route("**/main.js", hook)
        screens.append(screen)
        return screen.open(**state)

    yield open_page
    problems = [said for screen in screens for said in screen.unexpected]
    strangers = [url for screen in screens for url in screen.strangers]
    for context in contexts:
        context.close()
    assert not problems
    assert not strangers

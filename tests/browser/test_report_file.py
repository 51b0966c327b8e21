"""The viewer as a file on disk, and in a notebook: no server, and no request at all."""

import functools
import http.server
import re
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest
from PIL import Image

import featscope as package
from featscope.viewer import report as reports
from featscope.viewer.answers import Viewer

from .screen import WATCH, Screen, cell_centre, featscope, value_in
from .test_samples import listed


@pytest.fixture(scope="module")
def file(runs, tmp_path_factory):
    """A report of both runs."""
    path = tmp_path_factory.mktemp("report") / "two runs 船.html"
    featscope("report", runs.a, runs.b, "-l", "neck", "-o", path, "-r", "l2")
    return path


@pytest.fixture
def read(chromium, file):
    """Open the report in a browser that is cut off from every network."""
    screens = []

    def open_file(width=1280, height=800, path=file, hash="", **options):
        context = chromium.new_context(
            viewport={"width": width, "height": height}, locale="en-US", offline=True, **options
        )
        screen = Screen(context.new_page(), path.as_uri())
        screens.append((screen, context))
        screen.page.goto(path.as_uri() + hash)
        return screen.rest()

    yield open_file
    seen = [
        (screen.unexpected, [url for url in screen.strangers if not url.startswith("file:")]) for screen, _ in screens
    ]
    for _, context in screens:
        context.close()
    assert seen == [([], [])] * len(screens)


def test_the_map_is_that_of_the_viewer(read, look, two, file):
    screen = read(hash="#v=1&layer=neck&level=1&sample=scene_15")
    served = look(two, layer="neck", level=1, sample="scene_15")
    np.testing.assert_array_equal(screen.pixels(), served.pixels())
    header, values = two.ask("map", sample=1, group=two.group("neck"), level=1)
    words = screen.point(*cell_centre(header["placement"], 10, 12))
    assert value_in(words) == pytest.approx(values[10, 12], rel=1e-3)
    screen.choose("Reduction", "l2")
    assert (screen.pixels() != served.pixels()).any()
    assert {url.split(":")[0] for url in screen.requests} <= {"file", "data", "blob"}


def test_every_mode(read):
    screen = read()
    assert listed(screen) == ["scene_3", "scene_15", "scene_22", "scene_7"]
    for key, canvas in (("2", ".panel-map"), ("3", ".tiles canvas"), ("4", ".panel-map"), ("1", ".panel-map")):
        screen.press(key)
        assert (screen.pixels(canvas)[..., 3] > 0).any()
        assert screen.find(".notice.bad").count() == 0
    screen.press("4")
    for way in ("Swipe", "Blink", "Difference", "Side by side"):
        screen.page.get_by_role("radiogroup", name="How the two runs are shown").get_by_label(way).click()
        screen.rest()
        assert screen.find(".pair .panel-map:visible").count() >= 1
    screen.page.wait_for_function("() => location.hash.includes('mode=compare')")


def test_channels_are_ordered_and_opened(read):
    screen = read(hash="#v=1&mode=channels&layer=neck&level=0")
    screen.choose("Order", "energy")
    screen.find(".tiles").focus()
    screen.press("Home")
    number = re.match(r"Channel (\d+)", screen.text(".tile-about"))[1]
    screen.press("Enter")
    assert f"channel {number}" in screen.text(".panel-how")
    assert "a report holds channels in 254 steps" in screen.find(".panel-note").get_attribute("data-all")


def test_a_channel_of_a_report_has_its_values(read, runs, two):
    array = np.load(runs.a / "neck.fpn" / "batch_0_layer_1.npy")[0].astype(float)
    header, _ = two.ask("map", group=two.group("neck"), level=1)
    screen = read(hash="#v=1&layer=neck&level=1&reduce=channel:5")
    step = np.ptp(array[5]) / 253
    for row, column in ((4, 6), (12, 20), (20, 3)):
        words = screen.point(*cell_centre(header["placement"], row, column))
        assert f"row {row}, column {column}" in words
        assert value_in(words) == pytest.approx(array[5, row, column], abs=step)


def test_what_a_report_lacks_is_said(read):
    screen = read()
    screen.page.get_by_role("button", name="Save picture").click()
    screen.rest()
    assert "This report does not contain it" in screen.text(".notices")
    screen.press("Escape", "j")
    assert screen.page.title().startswith("scene_15")


def test_the_language_and_the_address(read):
    screen = read()
    screen.press("j")
    screen.page.wait_for_timeout(400)
    assert "sample=scene_15" in screen.page.evaluate("location.hash")
    screen.page.get_by_role("button", name="中文").click()
    screen.page.wait_for_function("() => document.documentElement.lang === 'zh-CN' && document.querySelector('.top')")
    screen.rest()
    assert screen.page.title().startswith("scene_15")


def test_a_large_report_is_a_folder_that_loads_samples_as_they_are_looked_at(read, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "LARGEST_FILE", 1)
    written = reports.write_report(reports.Frozen(Viewer([runs.a], ["neck"])), tmp_path / "large.html")
    assert written.page.name == "index.html"
    screen = read(path=written.page)
    assert (screen.pixels()[..., 3] > 0).any()
    assert not any("0-2.js" in url for url in screen.requests)
    screen.press("j", "j")
    assert screen.page.title().startswith("scene_22")
    assert (screen.pixels()[..., 3] > 0).any()


def stage_of(picture):
    """The middle of a page, where its map is, small."""
    wide, tall = picture.size
    return np.asarray(
        picture.convert("RGB").crop((wide * 3 // 10, tall // 4, wide * 7 // 10, tall * 3 // 4)).resize((64, 50))
    ).astype(int)


class _Slow(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(4)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *words):
        pass


@pytest.fixture
def slow():
    """An address that answers after seconds, so that a page is loaded only then."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Slow)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_firefox_paints_the_map_too(read, file, tmp_path, slow):
    firefox = shutil.which("firefox-esr") or shutil.which("firefox")
    if firefox is None:
        pytest.skip("there is no Firefox on the path")
    hash = "#v=1&layer=neck&level=1&boxes=none"
    # Firefox takes its picture once the page is loaded, and the report still has to paint then.
    frame, shot = tmp_path / "frame.html", tmp_path / "firefox.png"
    style = "position:fixed;inset:0;width:100%;height:100%;border:0"
    frame.write_text(f'<!doctype html><iframe src="{file.as_uri()}{hash}" style="{style}"></iframe><img src="{slow}">')
    (tmp_path / "profile").mkdir()
    words = ["--headless", "--no-remote", "--profile", tmp_path / "profile", "--window-size", "1280,800"]
    command = [firefox, *map(str, words), "--screenshot", str(shot), frame.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=90, check=False)
    assert shot.exists(), done.stderr[-500:]
    read(hash=hash).page.screenshot(path=tmp_path / "chromium.png")
    firefox_map, chromium_map = (stage_of(Image.open(path)) for path in (shot, tmp_path / "chromium.png"))
    off = np.abs(firefox_map - chromium_map).max(-1)
    assert np.median(off) < 12
    assert (off > 60).mean() < 0.1


@pytest.fixture
def notebook(chromium, runs, tmp_path):
    """What a notebook shows of a run, on a page of its own."""
    view = package.open_run(runs.a).view(sample="scene_3", layer="neck")
    page = f"<!doctype html><html><body><p>Out[1]:</p>{view._repr_html_()}</body></html>"
    (tmp_path / "notebook.html").write_text(page, encoding="utf-8")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    context = chromium.new_context(viewport={"width": 1000, "height": 800}, locale="en-US")
    context.add_init_script(WATCH)
    url = f"http://127.0.0.1:{server.server_port}/"
    screen = Screen(context.new_page(), url)
    screen.expect("favicon")
    screen.page.goto(url + "notebook.html")
    yield screen
    context.close()
    server.shutdown()
    thread.join()
    server.server_close()
    assert screen.unexpected == []
    assert [
        one
        for one in screen.requests
        if not one.startswith((url + "notebook.html", url + "favicon", "data:", "blob:", "about:srcdoc"))
    ] == []


def test_a_notebook_shows_the_viewer(notebook):
    frame = notebook.page.frame_locator("iframe")
    frame.locator(".panel-title").wait_for()
    assert frame.locator(".panel-title").inner_text() == "neck · level 0"
    inner = notebook.page.frames[1]
    inner.wait_for_function("() => !document.querySelector('.panel[aria-busy=true]')")
    painted = "(canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.filter((v, i) => i % 4 === 3 && v).length / (canvas.width * canvas.height)"
    assert frame.locator(".panel-map").evaluate(painted) > 0.3
    frame.locator("[data-mode=channels]").click()
    frame.locator(".tile-about").filter(has_text="Channel").wait_for()
    assert frame.locator(".tiles canvas").evaluate(painted) > 0.2
    frame.locator("[data-mode=grid]").click()
    frame.locator(".map-tile .panel-map").first.wait_for()

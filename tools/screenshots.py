"""Take the screenshots of the viewer that the README and the site show: bash tools/draw_screenshots.sh calls this.

python -m tools.screenshots RUN_A RUN_B REPORT FOLDER, with playwright and Chromium installed.
"""

from __future__ import annotations

import io
import shutil
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import uvicorn
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from featscope.viewer.answers import Viewer
from featscope.viewer.server import Address, make_app
from tools.chromium import FLAGS


class Shot(NamedTuple):
    """A screenshot: its file, and the state of the page."""

    name: str
    state: str
    scheme: str = "light"
    language: str = "en-US"
    size: tuple[int, int] = (1440, 900)


SHOTS = (
    Shot("viewer-stage", "sample=large-aircraft&layer=neck&level=1&boxes=detections"),
    Shot("viewer-source", "sample=large-aircraft&layer=neck&level=2&boxes=detections&box=d0"),
    Shot("viewer-grid", "mode=grid&sample=large-aircraft&boxes=none"),
    Shot("viewer-channels", "mode=channels&sample=large-aircraft&layer=neck&level=0&order=contrast&size=96", "dark"),
    Shot("viewer-compare", "mode=compare&sample=large-aircraft&layer=neck&level=0&boxes=detections"),
    Shot("viewer-zh", "sample=large-aircraft&layer=neck&level=1&boxes=detections", language="zh-CN"),
)


def main(first: str, second: str, report: str, folder: str) -> None:
    """Take all of them."""
    address, out = Address(), Path(folder)
    config = uvicorn.Config(make_app(Viewer([first, second]), address.token), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([address.socket],))
    thread.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            for shot in SHOTS:
                context = browser.new_context(
                    viewport={"width": shot.size[0], "height": shot.size[1]},
                    color_scheme=shot.scheme,
                    locale=shot.language,
                )
                page = context.new_page()
                page.goto(f"{address.url}#v=1&{shot.state}")
                _save(page, out / f"{shot.name}.jpg")
                context.close()
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(Path(report).absolute().as_uri() + "#v=1&layer=neck&level=0&boxes=detections")
            _save(page, out / "viewer-report.jpg")
            browser.close()
    finally:
        server.should_exit = True
        thread.join()


def _save(page: Page, path: Path) -> None:
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(2000)  # the last paint comes after the last answer
    with Image.open(io.BytesIO(page.screenshot())) as image:
        small = image.convert("RGB").resize((1200, 1200 * image.height // image.width), Image.Resampling.LANCZOS)
        small.save(path, quality=78, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:5])

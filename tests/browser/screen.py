"""A page of the viewer in a browser, and the server behind it."""

from __future__ import annotations

import base64
import json
import re
import threading
from typing import Any, Dict, List, Tuple
from urllib.parse import quote, urlencode

import numpy as np
import uvicorn
from numpy.typing import NDArray

from featscope.cli import main
from featscope.viewer.answers import Viewer
from featscope.viewer.server import Address, make_app
from featscope.viewer.shown_runs import Explain

# Counts requests on their way, and has violations of the policy said as errors.
WATCH = """
(() => {
  const real = window.fetch;
  window.asked = 0;
  window.fetch = async (...all) => {
    window.asked++;
    try { return await real(...all); } finally { window.asked--; }
  };
  addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
})();
"""

# Nothing is on its way, and has not been for some frames.
REST = """
() => new Promise((resolve, reject) => {
  const until = performance.now() + 20000;
  let calm = 0;
  const look = () => {
    const busy = [...document.querySelectorAll('[aria-busy=true]')].filter((element) => element.checkVisibility());
    const there = document.querySelector('.top, .failed');
    calm = there && !window.asked && !busy.length ? calm + 1 : 0;
    if (calm > 6) requestAnimationFrame(() => requestAnimationFrame(() => resolve(true)));
    else if (performance.now() > until) reject(new Error(`no rest: ${window.asked} asked, busy: ${busy.map((b) => b.className)}`));
    else setTimeout(look, 20);
  };
  look();
})
"""

PIXELS = """
(canvas) => {
  const { width, height } = canvas;
  const bytes = canvas.getContext('2d').getImageData(0, 0, width, height).data;
  let text = '';
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return [width, height, btoa(text)];
}
"""

# What the address says of a state, once it says what is wanted, or after some seconds.
STATE_OF = """
async ([address, wanted]) => {
  const { parse } = await import(address);
  const until = performance.now() + 5000;
  for (;;) {
    const state = parse(location.hash);
    const found = Object.fromEntries(Object.keys(wanted).map((key) => [key, state[key]]));
    if (JSON.stringify(found) === JSON.stringify(wanted) || performance.now() > until) return found;
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}
"""


def featscope(*words: Any) -> None:
    """Run a command, which has to succeed."""
    code: Any = 0
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    assert not code, words


class Served:
    """A viewer behind a real socket, in a thread."""

    def __init__(self, *folders: Any, address: Address | None = None, explain: Explain | None = None) -> None:
        self.viewer = Viewer(folders, explain=explain)
        self.address = address or Address()
        self.url = self.address.url
        config = uvicorn.Config(
            make_app(self.viewer, self.address.token),
            log_level="error",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self.address.socket],), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.address.socket.close()

    def ask(self, name: str, **query: Any) -> Any:
        """JSON, or a header with its array, or bytes: what the page gets."""
        answer = self.viewer.answer(name, {key: str(value) for key, value in query.items()})
        if answer.media == "application/json":
            assert answer.status == 200, answer.body
            return json.loads(answer.body)
        if answer.media != "application/octet-stream":
            return answer.body
        length = int.from_bytes(answer.body[:4], "little")
        header = json.loads(answer.body[4 : 4 + length])
        return header, np.frombuffer(answer.body[4 + length :], header["dtype"]).reshape(header["shape"])

    def group(self, layer: str, field: str = "", run: int = 0) -> int:
        """The number of a layer's field."""
        groups = self.ask("about")["runs"][run]["groups"]
        return next(i for i, group in enumerate(groups) if (group["layer"], group["field"]) == (layer, field))


class Screen:
    """A page that remembers what went wrong on it."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.problems: List[str] = []
        self.requests: List[str] = []
        self._expected: List[str] = ["willReadFrequently", "GPU stall due to ReadPixels"]  # the tests' own reading
        page.add_init_script(WATCH)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", lambda dialog: (self.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def _heard(self, said: Any) -> None:
        if said.type in ("error", "warning"):
            self.problems.append(f"{said.text} {said.location.get('url', '')}".strip())

    def expect(self, pattern: str) -> None:
        """A problem of these words belongs to the test."""
        self._expected.append(pattern)

    @property
    def unexpected(self) -> List[str]:
        return [said for said in self.problems if not any(re.search(one, said) for one in self._expected)]

    @property
    def strangers(self) -> List[str]:
        """Addresses asked for that are not the viewer's."""
        return [url for url in self.requests if not url.startswith((self.url, "data:", "blob:", "about:"))]

    # The page

    def open(self, hash: str = "", **state: Any) -> Screen:
        """Load the page in a state: of a link, or named by its fields."""
        address = hash or ("#v=1&" + urlencode(state, quote_via=quote) if state else "")
        if self.page.url != "about:blank":
            self.page.goto("about:blank")
        self.page.goto(self.url + address)
        return self.rest()

    def rest(self) -> Screen:
        """Wait until nothing is on its way."""
        self.page.evaluate(REST)
        return self

    def has(self, **state: Any) -> Screen:
        """Wait until the address says this, and the page rests."""
        assert self.page.evaluate(STATE_OF, [self.url + "state.js", state]) == state
        return self.rest()

    def module(self, name: str, body: str, argument: Any = None) -> Any:
        """Run code with a module of the page: `body` is a function of it and of an argument."""
        code = f"async ([address, argument]) => ({body})(await import(address), argument)"
        return self.page.evaluate(code, [self.url + name, argument])

    def press(self, *keys: str) -> Screen:
        for key in keys:
            self.page.keyboard.press(key)
        return self.rest()

    def find(self, selector: str, **options: Any) -> Any:
        return self.page.locator(selector, **options)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.inner_text()

    def choose(self, label: str, value: str) -> Screen:
        """Choose from a drop-down list by the name that it is read out by."""
        self.page.get_by_label(label, exact=True).select_option(value)
        return self.rest()

    # Its picture

    def pixels(self, selector: str = ".panel-map", nth: int = 0) -> NDArray[np.uint8]:
        """RGBA of a canvas."""
        width, height, text = self.page.locator(selector).nth(nth).evaluate(PIXELS)
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)

    def place(self, x: float, y: float, frame: Tuple[int, int] = (464, 640), nth: int = 0) -> Tuple[float, float]:
        """Where a pixel of the frame lies on the page, if all of the frame is shown."""
        area = self.page.locator(".panel-map").nth(nth).bounding_box()
        scale = min(area["width"] / frame[1], area["height"] / frame[0])
        left = area["x"] + area["width"] / 2 - frame[1] / 2 * scale
        top = area["y"] + area["height"] / 2 - frame[0] / 2 * scale
        return left + x * scale, top + y * scale

    def point(self, x: float, y: float, **options: Any) -> str:
        """Move the pointer to a pixel of the frame, and return the read-out."""
        self.page.mouse.move(*self.place(x, y, **options))
        return self.page.locator(".status .hover").inner_text()


def cell_centre(placement: Dict[str, Any], row: int, column: int) -> Tuple[float, float]:
    """The middle of a cell in pixels of the frame."""
    left, top, right, bottom = placement["cells"]
    y0, x0, height, width = placement["crop"] or (0, 0, *placement["frame"])
    return x0 + width * (column + 0.5 - left) / (right - left), y0 + height * (row + 0.5 - top) / (bottom - top)


def value_in(words: str) -> float:
    """The value in a read-out."""
    return float(re.search(r"value (\S+)", words)[1].replace("−", "-"))

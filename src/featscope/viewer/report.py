"""The viewer as a file: the page with its answers inside, which opens from disk without a server.

A browser refuses module scripts, requests and workers of a page that was opened from disk. So the modules of the page
are packed into an import map of data addresses, and the answers lie in the page itself, as base64 of gzip'd bytes.
"""

from __future__ import annotations

import base64
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple
from urllib.parse import parse_qs, quote

from isal import igzip

from featscope.store.files import make_folder, write_atomic
from featscope.viewer.answers import Viewer
from featscope.viewer.page import IMPORT, path_of, static_files

ORDERS = ("energy", "sparsity", "contrast")
"""Orders of channels that a report holds, besides that of their numbers."""

LARGEST_FILE = 50_000_000
"""Bytes from which on a report is a folder, whose page loads a sample when it is looked at."""

_TILE = 32  # cells of the longer side of a channel
_GAIN = 0.87 * 4 / 3  # maps compress to about that share, and base64 makes three bytes four

Answers = Dict[str, str]
"""Key -> base64 of the gzip'd answer."""


class Report(NamedTuple):
    """A report that was written."""

    page: Path
    samples: int
    maps: int
    bytes: int


def question(name: str, **query: object) -> Tuple[str, Dict[str, str]]:
    """Return the key of a question in a report, and its query.

    >>> question("map", run=0, sample=3, group=1, level=0, reduce="max")[0]
    'map?group=1&reduce=max&sample=3'
    """
    said = {field: str(value) for field, value in query.items()}
    parts = [
        f"{field}={quote(value, safe='!~*()')}"
        for field, value in sorted(said.items())
        if value not in ("0", "auto", "peak", "number") and field != "size"
    ]
    return f"{name}?{'&'.join(parts)}", said


class Frozen:
    """The answers of a viewer that a report holds.

    reductions: which of a map's values are held. channels: whether its channels are, small. misses: whether the lists
    of misses are, which takes seconds, as the whole run is evaluated.
    """

    def __init__(
        self, viewer: Viewer, reductions: Sequence[str] = ("auto",), channels: bool = True, misses: bool = True
    ) -> None:
        self._viewer = viewer
        self._reductions = list(dict.fromkeys(["auto", *reductions]))
        self._channels = channels
        self._misses = misses
        self.errors: List[str] = []
        """What could not be held, and why."""

    @property
    def samples(self) -> List[Tuple[int, int]]:
        """The run and the number of every sample."""
        return [(run, i) for run, shown in enumerate(self._viewer.runs) for i in range(len(shown.catalogue.samples))]

    def estimate(self) -> int:
        """Return about how many bytes the report takes, without reading any map."""
        total = float(len(page_with({})))
        for run, shown in enumerate(self._viewer.runs):
            cells = 0.0
            for group in shown.catalogue.groups:
                for level in group.levels:
                    sides = [int(side) for side in level.shape.split(",")[0].split(" x ") if side.isdecimal()]
                    if len(sides) < 2:
                        continue
                    rows, columns = sides[-2:]
                    cells += 4.0 * rows * columns * len(self._reductions)
                    if self._channels:
                        step = -(-max(rows, columns) // _TILE)
                        cells += (sides[0] if len(sides) > 2 else 1) * -(-rows // step) * -(-columns // step)
            held = [number for of_run, number in self.samples if of_run == run]
            total += len(held) * cells * _GAIN
            total += sum(self._image_bytes(run, number) for number in held) * 4 / 3
        return round(total)

    def _image_bytes(self, run: int, sample: int) -> int:
        try:
            return Path(self._viewer.runs[run].catalogue.sample(sample).path or "?").stat().st_size
        except (OSError, ValueError):
            return 0

    @property
    def maps(self) -> int:
        """Number of maps."""
        catalogues = [self._viewer.runs[run].catalogue.holds(sample) for run, sample in self.samples]
        return sum(map_file.is_map for held in catalogues for _, _, map_file in held)

    def every(self, on_sample: Optional[Callable[[], None]] = None) -> Answers:
        """Return all answers. on_sample: called after each sample."""
        answers = self.common()
        for run, sample in self.samples:
            answers.update(self.of_sample(run, sample))
            if on_sample is not None:
                on_sample()
        return answers

    def common(self) -> Answers:
        """Return the answers that the page needs before a sample is looked at."""
        about = json.loads(self._body("about", {}))
        about["reductions"] = [*self._reductions, *(["channel"] if self._channels else [])]
        about["explains"] = []
        about["misses"] = bool(self._lists)
        found = {question("about")[0]: _pack(json.dumps(about).encode())}
        found.update((key, _pack(body)) for key, body in self._lists.items())
        for run in range(len(self._viewer.runs)):
            key, query = question("samples", run=run)
            found[key] = _pack(self._body("samples", query))
        # The list of samples shows many at once, so a page that loads samples one by one has all of these.
        for run, sample in self.samples:
            key, query = question("thumb", run=run, sample=sample)
            body = self._body("thumb", query, optional=True)
            if body:
                found[key] = _pack(body)
        return found

    def of_sample(self, run: int, sample: int) -> Answers:
        """Return all answers about a sample. What cannot be read is left out, and named in `errors`."""
        found: Answers = {}
        where = {"run": run, "sample": sample}

        def hold(name: str, optional: bool = False, **query: object) -> bytes:
            key, asked = question(name, **where, **query)
            body = self._body(name, asked, optional)
            if body:
                found[key] = _pack(body)
            return body

        facts = json.loads(hold("sample") or b'{"maps": [], "explanations": []}')
        hold("image", optional=True)
        if (run, sample) in self._missed:
            hold("lost")
        for one in facts["maps"]:
            of_map = {"group": one["group"], "level": one["level"]}
            for plane in range(max(1, one["slices"])):
                for reduce in self._reductions:
                    hold("map", reduce=reduce, slice=plane, **of_map)
            if self._channels:
                hold("channels", size=_TILE, **of_map)
                for order in ORDERS:
                    hold("ranks", optional=order == "contrast", order=order, **of_map)
        for one in facts["explanations"]:
            hold("explanation", key=one["name"])
        return found

    @cached_property
    def _lists(self) -> Dict[str, bytes]:
        """The lists of misses by their keys, as the page asks for them; empty if nothing is known of any run."""
        runs = range(len(self._viewer.runs)) if self._misses else range(0)
        asked = [
            question("misses", run=run, **against)
            for run in runs
            for against in ([{"against": other} for other in runs if other != run] or [{}])
        ]
        found = {key: self._body("misses", query) for key, query in asked}
        known = any(body and not json.loads(body)["why"] for body in found.values())
        return {key: body for key, body in found.items() if body} if known else {}

    @cached_property
    def _missed(self) -> Set[Tuple[int, int]]:
        """The run and the number of each sample with a missed object."""
        found: Set[Tuple[int, int]] = set()
        for key, body in self._lists.items():
            query = parse_qs(key.partition("?")[2])
            run = int(query.get("run", ["0"])[0])
            found.update((run, sample) for sample in json.loads(body)["misses"]["sample"])
        return found

    def _body(self, name: str, query: Dict[str, str], optional: bool = False) -> bytes:
        """Return an answer; nothing if there is none, which is an error unless it is optional."""
        answer = self._viewer.answer(name, query)
        if answer.status == 200:
            return answer.body
        if optional:
            return b""
        self.errors.append(json.loads(answer.body)["error"])
        return b""


def write_report(frozen: Frozen, path: Path, on_sample: Optional[Callable[[], None]] = None) -> Report:
    """Write a report. on_sample: called after each sample.

    path: a file, NAME.html, in whose place the folder NAME is written if the report is large; or a folder, in which the
    page is index.html.
    """
    is_file = path.suffix.lower() in (".html", ".htm") and not path.is_dir()
    if frozen.estimate() > LARGEST_FILE:
        return _write_folder(frozen, path.with_suffix("") if is_file else path, on_sample)
    path = path if is_file else path / "index.html"
    answers = frozen.every(on_sample)
    text = page_with(answers).encode()
    make_folder(path.parent)
    write_atomic(path, text, shared=True)
    return Report(path, len(frozen.samples), _maps_in(answers), len(text))


def _write_folder(frozen: Frozen, folder: Path, on_sample: Optional[Callable[[], None]]) -> Report:
    maps, size = 0, 0
    make_folder(folder / "samples")
    for run, sample in frozen.samples:
        own = frozen.of_sample(run, sample)
        text = f"featscopeAnswers.add({json.dumps(own)})\n".encode()
        write_atomic(folder / "samples" / f"{run}-{sample}.js", text, shared=True)
        maps, size = maps + _maps_in(own), size + len(text)
        if on_sample is not None:
            on_sample()
    text = page_with(frozen.common(), beside=True).encode()
    write_atomic(folder / "index.html", text, shared=True)
    return Report(folder / "index.html", len(frozen.samples), maps, size + len(text))


def _maps_in(answers: Answers) -> int:
    return sum(key.startswith("map?") for key in answers)


def page_with(answers: Answers, beside: bool = False) -> str:
    """Return the page with its answers. beside: more of them lie in scripts in the folder `samples` beside it."""
    files = static_files()
    modules = {f"featscope/{name}": _module(name, data) for name, data in files.items() if name.endswith(".js")}
    styles = "\n".join(data.decode() for name, data in sorted(files.items()) if name.endswith(".css"))
    held, where = json.dumps(answers).replace("<", "\\u003c"), "yes" if beside else "no"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            "<title>featscope report</title>",
            '<link rel="icon" href="data:,">',
            f"<style>{styles}</style>",
            f'<script type="importmap">{json.dumps({"imports": modules})}</script>',
            f'<script type="application/json" id="featscope-answers" data-beside="{where}">{held}</script>',
            "</head><body><noscript>This report needs JavaScript.</noscript>",
            '<script type="module">import "featscope/embedded.js"; import "featscope/main.js";</script>',
            "</body></html>\n",
        ]
    )


def _module(name: str, data: bytes) -> str:
    """Return a module as a data address. It imports by the names of the import map, as it has no address of its own."""

    def named(match: re.Match[str]) -> str:
        return f"{match[1]}{match[2]}featscope/{path_of(name, match[3])}{match[2]}"

    text = IMPORT.sub(named, data.decode())
    return f"data:text/javascript;base64,{base64.b64encode(text.encode()).decode()}"


def _pack(body: bytes) -> str:
    return base64.b64encode(igzip.compress(body, 3, mtime=0)).decode()

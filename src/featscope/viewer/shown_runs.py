"""The runs that the viewer shows, and what its answers are made from."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Protocol, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from featscope.errors import BadOptionError, UnknownNameError
from featscope.render.heat_plan import HeatOptions, HeatPlan, check_heat
from featscope.render.jobs import Origin
from featscope.store.feature_maps import FeatureMap
from featscope.viewer import questions
from featscope.viewer.catalogue import STYLE
from featscope.viewer.scene import Scene
from featscope.viewer.shown_run import ShownRun

JSON, ARRAY, PNG = "application/json", "application/octet-stream", "image/png"


class Explain(Protocol):
    """Computes an explanation and stores it in a run. Raises a `FeatscopeError` that says what went wrong."""

    def __call__(self, run: Path, sample: str, box: int, *, layer: str, method: str) -> None:
        """Explain a detection. box: its number. layer: where. method: one of those of `featscope explain`."""


class Made(NamedTuple):
    """How an answer is made. It is only made if the page does not have it already."""

    media: str
    """The type of the answer, as HTTP names it."""

    tag: str
    """Changes if the answer does."""

    make: Callable[[], bytes]


class ShownRuns:
    """The runs that the viewer shows.

    layers, sample, most: only these layers and samples are shown, as in `featscope.viewer.catalogue.Catalogue`.
    explain: computes an explanation of a detection and stores it in its run.
    """

    def __init__(
        self,
        folders: Sequence[Path | str],
        layers: Sequence[str] = (),
        sample: Optional[str] = None,
        most: int = 0,
        explain: Optional[Explain] = None,
    ) -> None:
        self.runs = [ShownRun(Path(folder), layers, sample, most) for folder in folders]
        self.explain = explain

    def shown(self, asked: questions.OfRun) -> ShownRun:
        """Return the run that a question is about."""
        if not 0 <= asked.run < len(self.runs):
            raise UnknownNameError(f"there is no run number {asked.run}; the viewer shows {len(self.runs)}")
        return self.runs[asked.run].refreshed()

    def scene(self, asked: questions.OfSample) -> Scene:
        """Return the frame of the sample that a question is about."""
        shown = self.shown(asked)
        return Scene.of(shown.folder, shown.catalogue.sample(asked.sample))

    def map_of(self, asked: questions.OfMap) -> FeatureMap:
        """Return the map that a question is about."""
        return self.shown(asked).catalogue.map_of(asked.sample, asked.group, asked.level, asked.slice)

    def plan(self, asked: questions.OfMap, draw: questions.Draw) -> HeatPlan:
        """Return the plan that `featscope heat` would draw this map by."""
        shown = self.shown(asked)
        style = replace(STYLE, reduce=draw.reduce, range=draw.range, colormap=draw.colormap, smooth=draw.smooth)
        if draw.alpha is not None:
            style = replace(style, alpha=draw.alpha)
        options = HeatOptions(style, predictions=draw.boxes, truth=draw.truth, min_score=draw.min_score, basis="map")
        check_heat(options)
        if draw.range in ("layer", "run"):
            raise BadOptionError(
                f"the range {draw.range!r} needs all maps, and is only for featscope heat; on the page, switch on "
                "'One scale for all maps'"
            )
        folder = shown.catalogue.group(asked.group).folder
        return HeatPlan(Origin.of(shown.catalogue.run), options, {folder: shown.catalogue.look(folder, style)})


def json_of(answer: msgspec.Struct) -> Made:
    """Return an answer that is JSON."""
    body = msgspec.json.encode(answer)
    return Made(JSON, digest(body), lambda: body)


def packed(header: msgspec.Struct, values: NDArray[np.generic]) -> bytes:
    """Join a header and an array: the length of the header as uint32, the header as JSON, and the values."""
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 4)
    return len(text).to_bytes(4, "little") + text + np.ascontiguousarray(values).tobytes()


def digest(*parts: object) -> str:
    """Return a short text that differs if any of the parts does."""
    whole = hashlib.blake2b(digest_size=10)
    for part in parts:
        whole.update(part if isinstance(part, bytes) else repr(part).encode())
    return whole.hexdigest()

"""What the page is answered: the fields of every JSON reply, and of every header of an array.

The OpenAPI page is made from these types.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

import msgspec


class LevelOut(msgspec.Struct):
    """The maps of one level of a group."""

    level: int

    shape: str
    """Shape of one sample's map, such as '256 x 128 x 124'; a few of them if they differ."""

    channels: int
    """Number of channels; 0 if it differs."""

    stride: str
    """Stride of the cells; '' if it is unknown."""

    place: str
    """How the place of the cells is known, as in `featscope.records.Place`."""

    maps: int
    """Number of map files."""


class GroupOut(msgspec.Struct):
    """The maps of one folder: those of one field of a layer."""

    layer: str
    field: str
    folder: str
    levels: List[LevelOut] = []


class LeftOut(msgspec.Struct):
    """A layer whose tensors are not maps of the image, or that could not be stored."""

    layer: str
    why: str


class RunOut(msgspec.Struct):
    """A run."""

    name: str
    folder: str
    model: str
    config: str
    classes: List[str]
    live: bool
    started: str
    finished: str
    samples: int
    maps: int
    state: str
    notes: List[str]
    groups: List[GroupOut]
    left: List[LeftOut]


class About(msgspec.Struct):
    """What the viewer shows."""

    version: str
    runs: List[RunOut]
    colormaps: Dict[str, str]
    """Name -> base64 of 256 colours, RGB."""

    reductions: List[str]
    explains: List[str]
    """Methods that the viewer can compute; none unless it was started with `--explain`."""

    misses: bool = True
    """Whether the page can ask what the runs missed; a report may not hold it."""


class Columns(msgspec.Struct):
    """All samples of a run, by column."""

    ids: List[str]
    detections: List[Optional[int]]
    truths: List[Optional[int]]
    score: List[Optional[float]]
    smallest: List[Optional[float]]
    classes: List[List[int]]
    image: List[bool]


class CellOut(msgspec.Struct):
    """A cell of one of the head's levels."""

    level: int
    row: int
    column: int

    shape: Optional[Tuple[int, int]] = None
    """Rows and columns of that level; None if no stored map is proved to be the head's scores. The cell lies in the
    maps of this shape, whichever number their level has in another layer."""

    group: Optional[int] = None
    """Number of the group that holds the head's scores; None if there is no such group."""


class BoxOut(msgspec.Struct):
    """A box, in pixels of the frame."""

    polygon: List[float]
    label: int
    name: str
    score: Optional[float]
    size: float
    state: str = ""
    source: str = ""
    cells: List[CellOut] = []


class MapOut(msgspec.Struct):
    """A map that a sample has."""

    group: int
    level: int
    shape: List[int]
    slices: int = 0


class ExplanationOut(msgspec.Struct):
    """A stored explanation."""

    name: str
    box: int
    method: str
    layer: str
    level: int
    words: str


class ExplanationsOut(msgspec.Struct):
    """All stored explanations of a sample."""

    explanations: List[ExplanationOut]


class SampleOut(msgspec.Struct):
    """A sample."""

    id: str
    path: str
    frame: Tuple[int, int]
    image: bool
    notes: List[str]
    detections: List[BoxOut]
    truth: List[BoxOut]
    maps: List[MapOut]
    explanations: List[ExplanationOut]


class PlacementOut(msgspec.Struct):
    """Where the cells of a map lie in the frame."""

    frame: Tuple[int, int]
    cells: Tuple[float, float, float, float]
    crop: Optional[Tuple[float, float, float, float]] = None
    flip: str = ""


class MapFacts(msgspec.Struct):
    """What is known of a map, whichever values of it are wanted."""

    shape: Tuple[int, int]
    """Rows and columns."""

    channels: int

    place: str
    """How the place of its cells is known, as in `featscope.records.Place`."""

    stride: Optional[Tuple[float, float]]
    first: Optional[Tuple[float, float]]
    title: str

    notes: List[str]
    """What is not proved."""

    inside: Tuple[int, int, int, int]
    """Rows and columns that lie on the image: first, last + 1, first, last + 1."""


class MapHeader(MapFacts):
    """What the values of a map are; the header of an array of float32, (rows, columns)."""

    reduce: str
    words: str
    range: str
    colormap: str
    zero: bool
    placement: PlacementOut
    dtype: str = "float32"


class TilesHeader(msgspec.Struct):
    """What the tiles are; the header of an array of bytes, (count, rows, columns)."""

    shape: Tuple[int, int, int]
    first: int
    """Number of the first channel."""

    lows: List[float]
    highs: List[float]

    total: int
    """Number of channels of the map."""

    placement: PlacementOut
    title: str

    map: MapFacts
    """The map that they are the channels of."""

    dtype: str = "uint8"


class RanksOut(msgspec.Struct):
    """Channels in an order."""

    channels: List[int]
    """Numbers of the channels."""

    values: Optional[List[float]]
    """The value of each by which they are ordered."""


class BestOut(msgspec.Struct):
    """The images that excite a channel most."""

    samples: List[int]
    values: List[float]
    looked: int
    total: int


class CommandOut(msgspec.Struct):
    """The command that draws the same."""

    command: str


class ErrorOut(msgspec.Struct):
    """What is wrong, in words."""

    error: str

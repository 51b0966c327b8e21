"""What the page asks, and what it is answered: the fields of every request and of every JSON reply.

The requests are checked against these types, and the OpenAPI page is made from them.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

import msgspec

_MOST = 2**31 - 1


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A question without fields."""


class OfRun(msgspec.Struct, forbid_unknown_fields=True):
    """A question about a run."""

    run: int = 0
    """Number of the run, in the order of the command line."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for a number that counts nothing; it becomes an error of the question."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if type(value) is int and not 0 <= value <= _MOST:
                raise ValueError(f"{name}={value} is out of range; give a number from 0 to {_MOST}")


class OfSample(OfRun):
    """A question about a sample."""

    sample: int = 0
    """Number of the sample in the columns of `samples`."""


class OfMap(OfSample):
    """A question about the maps of a sample."""

    group: int = 0
    """Number of the group in the run's `groups`."""

    level: int = 0
    """Level of the map, as recorded."""

    slice: int = 0
    """Step of time or depth, if the map has several."""


class Reduce(OfMap):
    """Which values are wanted."""

    reduce: str = "auto"
    """A reduction as in `featscope heat -r`."""


class Draw(Reduce):
    """How a picture is drawn; the options of `featscope heat`."""

    range: str = "auto"
    colormap: str = "auto"
    alpha: Optional[float] = None
    smooth: bool = True
    boxes: bool = False
    truth: bool = False
    min_score: float = 0.3
    labels: str = "score"


class Tiles(OfMap):
    """Which channels are wanted, and how small."""

    by: str = "peak"
    """'peak' or 'mean': how a block of cells becomes one."""

    size: int = 64
    """Cells of the longer side, at most."""

    first: int = 0
    """The first channel."""

    count: int = 0
    """How many channels; 0 for all from `first` on."""


class Ranks(OfMap):
    """In which order channels are wanted."""

    order: str = "number"
    """number, energy, sparsity, contrast, or similarity:N."""


class Best(OfRun):
    """Which images excite a channel most."""

    group: int = 0
    level: int = 0
    channel: int = 0
    count: int = 24


class OfExplanation(OfSample):
    """A question about a stored explanation."""

    key: str = ""
    """Its name in the sample's `explanations`."""


class Explain(OfMap):
    """Which detection is to be explained, at which layer; only if the viewer was started with `--explain`."""

    box: int = 0
    """Number of the detection."""

    method: str = "layercam"
    """A method of `featscope explain`."""


# Replies


class LevelOut(msgspec.Struct):
    """One level of a group."""

    level: int
    shape: str
    channels: int
    stride: str
    place: str
    maps: int


class GroupOut(msgspec.Struct):
    """The maps of one field of a layer."""

    layer: str
    field: str
    folder: str
    levels: List[LevelOut]
    look: Optional[Dict[str, str]] = None


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
    language: str
    runs: List[RunOut]
    colormaps: Dict[str, str]
    """Name -> base64 of 256 colours, RGB."""

    reductions: List[str]
    explains: List[str]
    """Methods that the viewer can compute; none unless it was started with `--explain`."""


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

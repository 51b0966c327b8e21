"""The nouns that travel between capture, store and render: frozen, and written as JSON.

They are plain values: no torch, no framework, no open file.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Protocol, Sequence, Tuple, Union

import msgspec
import numpy as np
from numpy.typing import NDArray

from featscope.words import counted

Size = Tuple[int, int]
"""(height, width) in pixels."""

Pixels = Union[int, float]
"""A whole number where it is one, so that arrays can be cut by it."""

Extent = Tuple[Pixels, Pixels]
"""(height, width) or (top, left) in pixels, of what may begin or end between two."""

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""


FORMAT = 1
"""Of the files that say what a run is about. A version of featscope reads its own, and refuses another by name."""

_LONGEST_SIDE = 1 << 20


class Geometry(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an image became the network's input: a part of it was resized, flipped, and put into the input.

    >>> Geometry(original=(1182, 1111), resized=(1024, 962), padded=(1024, 992)).offset
    (0, 0)

    original: the image file. resized: the image inside the input. padded: the input. All as
    (height, width) in pixels. offset: (top, left) of the image inside the input (a letterbox has
    one). flip: '', 'horizontal', 'vertical' or 'diagonal' (both). crop: (top, left, height, width)
    of the part of the original that was used.

    In which order a pipeline did this, and how often, does not matter: whatever resizes, crops, pads
    and mirrors is one of these. An image that was padded at the right and then mirrored has its padding at
    the left: an offset. Edges may fall between pixels: a crop behind a resize does, seen from the original.
    """

    original: Size
    resized: Extent
    padded: Size
    offset: Extent = (0, 0)
    flip: str = ""
    crop: Optional[Tuple[Pixels, Pixels, Pixels, Pixels]] = None

    def __post_init__(self) -> None:
        """Raise `ValueError`, which a decoder reports as its own, for what no image is."""
        for size in (self.original, self.padded):
            if not all(1 <= side <= _LONGEST_SIDE for side in size):
                raise ValueError(f"no image has {size[0]} x {size[1]} pixels")
        for part in (self.resized, *([self.crop[2:]] if self.crop else [])):
            if not all(0 < side <= _LONGEST_SIDE for side in part):
                raise ValueError(f"no part of an image has {part[0]} x {part[1]} pixels")
        for place in (*self.offset, *(self.crop or ())[:2]):
            if not 0 <= place <= _LONGEST_SIDE:
                raise ValueError(f"nothing lies {place} pixels from an edge")


class Agreement(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a sample's geometry is true: the image file, fitted by it, against what the network saw.

    >>> Agreement("verified", correlation=0.98, off=0.2).verdict
    'verified'

    verdict: 'verified'; 'not verifiable' (the picture has no structure, the file cannot be read); 'disagrees',
    where no geometry is known that agrees. correlation: of both as thumbnails, -1 to 1. off: by how many pixels
    of the input what was seen lies beside its place, where it can be seen. why: what should be known of it: what
    is wrong, or how the geometry was found where it is not the one that the framework tells.
    """

    verdict: str
    correlation: Optional[float] = None
    off: Optional[float] = None
    why: str = ""

    def __post_init__(self) -> None:
        """Raise `ValueError`, which a decoder reports as its own, for a verdict that is none."""
        if self.verdict not in ("verified", "not verifiable", "disagrees"):
            raise ValueError(f"the verdict {self.verdict!r} is none of 'verified', 'not verifiable' and 'disagrees'")


class Boxes(msgspec.Struct, frozen=True, omit_defaults=True):
    """Boxes in the detector's own form.

    form: 'xyxy' (x1, y1, x2, y2), 'cxcywha' (cx, cy, w, h, angle in radians, clockwise on the
    screen) or 'quad' (x, y of four corners). labels: indices into the run's `classes`. scores:
    empty for ground truth. frame: 'original', in pixels of the original image, or 'input', in pixels of
    the network's input, where nobody knows how the image lies in it. ('mirrored' never reaches a record:
    in pixels of the original, mirrored where the input is.)
    """

    form: str
    boxes: List[List[float]]
    labels: List[int]
    scores: List[float] = []
    frame: str = "original"

    def __post_init__(self) -> None:
        """Raise `ValueError`, which a decoder reports as its own, where the lists do not fit together."""
        if self.frame not in ("original", "input", "mirrored"):
            raise ValueError(f"boxes lie in no frame {self.frame!r}; known are 'original' and 'input'")
        numbers = {"xyxy": 4, "cxcywha": 5, "quad": 8}.get(self.form)
        if numbers is None:
            raise ValueError(f"boxes of the form {self.form!r} are unknown; known are 'xyxy', 'cxcywha' and 'quad'")
        if any(len(box) != numbers for box in self.boxes):
            raise ValueError(f"a box of the form {self.form!r} has {numbers} numbers")
        if len(self.labels) != len(self.boxes) or (self.scores and len(self.scores) != len(self.boxes)):
            raise ValueError("every box has a label, and a score or none has")
        if any(label < 0 for label in self.labels):
            raise ValueError("labels count from 0")

    def __repr__(self) -> str:
        """Short: a detector finds hundreds."""
        return f"<{counted(len(self.boxes), 'box', 'boxes')} of the form {self.form}, in pixels of the {self.frame}>"


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where in the network's raw output a detection comes from.

    >>> Source("cell", index=1043, level=0, row=8, column=19)
    Source(kind='cell', index=1043, level=0, row=8, column=19, anchor=0)

    kind: 'cell' of a level, 'query' of a decoder, 'roi' (the proposal of a two-stage detector), or 'image' where no
    detection is meant but a number that a user's own function makes of the whole output.
    index: its place among those of its level. row, column, anchor: of a cell.
    """

    kind: str
    index: int
    level: int = 0
    row: int = 0
    column: int = 0
    anchor: int = 0

    def __post_init__(self) -> None:
        """Raise `ValueError`, which a decoder reports as its own, for what no detector has."""
        if self.kind not in ("cell", "query", "roi", "image"):
            known = "'cell', 'query', 'roi' and 'image'"
            raise ValueError(f"a source of the kind {self.kind!r} is unknown; known are {known}")
        _check_counts(self.index, self.level, self.row, self.column, self.anchor)


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One data-set item: which image, how it was fed to the network, what was found and what is true.

    path: where the image was when captured. reading: how it was read, one of `featscope.store.images.READINGS`, as
    'cv2+exif'; '' where that is not known. geometry: how it lies in the input, None where that is not known.
    agreement: whether the pixels bear that out; None where there was nothing to compare. input: the input as the
    network saw it, before normalisation and without its padding, whole where there is no geometry, as a JPEG
    relative to the run. sources: for each prediction the
    raw outputs that gave it: one, several that cannot be told apart (a tie), or none where it was not
    found; empty where nobody looked. image, view: of a view that test-time augmentation made, the id
    of the image's first view and its own number. frame, time: of a film's frame, counted from 0, and
    its seconds from the start.
    """

    id: str
    path: str = ""
    batch: int = 0
    geometry: Optional[Geometry] = None
    input: str = ""
    predictions: Optional[Boxes] = None
    truth: Optional[Boxes] = None
    sources: List[List[Source]] = []
    image: str = ""
    view: int = 0
    frame: Optional[int] = None
    time: Optional[float] = None
    reading: str = ""
    agreement: Optional[Agreement] = None

    def __post_init__(self) -> None:
        """Raise `ValueError`, which a decoder reports as its own, for numbers that count nothing."""
        _check_counts(self.batch, self.view, self.frame or 0)
        if self.sources and len(self.sources) != len(self.predictions.boxes if self.predictions else ()):
            raise ValueError("every prediction has a list of sources, or none has")

    def __repr__(self) -> str:
        """Short: what it is of, not what is in it."""
        said = []
        if self.geometry is not None:
            (height, width), (rows, columns) = self.geometry.original, self.geometry.padded
            said.append(f"{height} x {width} pixels in an input of {rows} x {columns}")
        if self.predictions is not None:
            said.append(counted(len(self.predictions.boxes), "detection"))
        if self.truth is not None:
            said.append(counted(len(self.truth.boxes), "true box", "true boxes"))
        return f"<Sample {self.id}{': ' if said else ''}{', '.join(said)}>"


def _check_counts(*counts: int) -> None:
    for count in counts:
        if not 0 <= count < 1 << 63:
            raise ValueError(f"{count} counts no batch, level or place")


class Place(NamedTuple):
    """Where a map's cells lie on the network's input, in pixels: cell i at `first + stride * i`.

    >>> Place((8.0, 8.0), (0.0, 0.0), "operators").stride
    (8.0, 8.0)

    stride: between neighbouring cells, (y, x). first: the centre of the first cell, (y, x). known: 'operators'
    (followed through the network), 'measured' (on its weights), 'given' (by the user), or 'assumed' (the cells share
    the pixels: up to half a cell off).
    """

    stride: Tuple[float, float]
    first: Tuple[float, float]
    known: str = "assumed"


def assumed_place(padded: Size, cells: Size) -> Place:
    """The place of a map of which nothing is known but its size: its cells share the pixels of the input.

    >>> assumed_place((992, 512), (124, 64))
    Place(stride=(8.0, 8.0), first=(4.0, 4.0), known='assumed')
    """
    stride = (infer_stride(padded[0], cells[0]), infer_stride(padded[1], cells[1]))
    return Place(stride, (stride[0] / 2, stride[1] / 2))


def is_map(axes: Sequence[str]) -> bool:
    """Whether an array of these axes is maps of the image, each channel's rows and columns together.

    >>> is_map(("sample", "channel", "row", "column")), is_map(("sample", "token", "row", "column"))
    (True, False)
    """
    return tuple(axes[:2]) == ("sample", "channel") and tuple(axes[-2:]) == ("row", "column")


class MeasuredPlace(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the cells of a layer's maps look, measured on the weights at hand.

    >>> MeasuredPlace("neck", "", 1, (16.0, 16.0), (0.1, -0.1), (0.02, 0.03), 24, "gradient").at((16.0, 16.0))
    Place(stride=(16.0, 16.0), first=(1.6, -1.6), known='measured')

    layer, field, level: of the maps, as in `MapRecord`. stride: pixels of the input from cell to cell, (y, x).
    offset: what cell 0 looks at, (y, x) in cells from the input's corner: maps that share the input's pixels have 0.5.
    interval: half of the 95 % interval of it. count: cells, or detections, that were seen. by: 'gradient' of
    cells, or 'detections' against their source cells. refused: why it is not to be used; '' where it is.
    """

    layer: str
    field: str
    level: int
    stride: Tuple[float, float]
    offset: Tuple[float, float]
    interval: Tuple[float, float]
    count: int
    by: str
    refused: str = ""

    def __post_init__(self) -> None:
        """Raise `ValueError`, which a decoder reports as its own, for what no map has."""
        _check_counts(self.level, self.count)
        if not all(0 < step < _LONGEST_SIDE for step in self.stride):
            raise ValueError(f"no cells lie {self.stride} pixels apart")
        if not all(abs(cells) < _LONGEST_SIDE for cells in (*self.offset, *self.interval)):
            raise ValueError(f"no cell looks {self.offset} cells from its place")

    def at(self, stride: Optional[Tuple[float, float]]) -> Optional[Place]:
        """The place of a map of this layer with such a stride; None where it is refused, or of another stride."""
        if self.refused or stride is None or any(abs(a - b) > 0.01 * b for a, b in zip(stride, self.stride)):
            return None
        return Place(stride, (self.offset[0] * stride[0], self.offset[1] * stride[1]), "measured")


class MapRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stored array: where it came from, and what proves that it is whole.

    path: relative to the run. field: '' where the layer's output is one value. level: the index in the file's
    name; counts the tensors of this layer and field in this batch. call: which run of the layer in this batch
    gave it. axes: what each axis of the array is: sample, channel, row, column, time, token, window, head or
    unknown; empty in runs from before they were followed. stride, first, place: as in `Place`, of a map.
    checksum: CRC-32 of the array's bytes. reduced: the reduction over channels that was made on capture, if one
    was. channels: those that were kept, a list for each sample; empty for all. scales_checksum: CRC-32 of the
    `.scales` file beside an array that is stored as 8-bit codes.
    """

    path: str
    layer: str
    cls: str
    field: str
    level: int
    call: int
    batch: int
    samples: List[str]
    shape: List[int]
    dtype: str
    bytes: int
    checksum: int
    axes: List[str] = []
    stride: Optional[Tuple[float, float]] = None
    first: Optional[Tuple[float, float]] = None
    place: str = ""
    reduced: str = ""
    channels: List[List[int]] = []
    scales_checksum: Optional[int] = None

    def __post_init__(self) -> None:
        """Raise `ValueError`, which a decoder reports as its own, for numbers that count nothing and for no place."""
        _check_counts(self.batch, self.level)
        if self.stride is not None and not all(0 < step <= _LONGEST_SIDE for step in self.stride):
            raise ValueError(f"no cells lie {self.stride[0]} x {self.stride[1]} pixels apart")
        if self.first is not None and not all(abs(pixels) <= _LONGEST_SIDE for pixels in self.first):
            raise ValueError(f"no cell lies {self.first[0]} x {self.first[1]} pixels from the input's corner")


class Policy(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How much of what runs is stored; the default is all of it, as it is.

    >>> Policy(dtype="float16", reduce="absmean", every=10)
    Policy(dtype='float16', reduce='absmean', channels='', every=10, max_samples=0, images=[])

    dtype: float32, float16, bfloat16 or uint8 (253 levels from a channel's smallest to its largest
    value); '' keeps each map's own, bfloat16 as float32. reduce: mean, absmean, max, l2, std or
    select_max over channels: maps become (N, 1, H, W). channels: '0-15', '3,7', or 'top:16' by mean
    absolute value, of each image. every: each n-th sample of the data set. max_samples: at most so
    many; 0 for all. images: globs, of which a sample's id, file name or path matches one.
    """

    dtype: str = ""
    reduce: str = ""
    channels: str = ""
    every: int = 1
    max_samples: int = 0
    images: List[str] = []


class Opened(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a detector was opened, beside its name and its weights: what it takes to open it alike.

    >>> Opened(input_size=(640, 640), score_threshold=0.3)
    Opened(input_size=(640, 640), preprocess='', score_threshold=0.3, config_options={}, inputs={}, seed=0)

    As in `featscope.adapters.detector.Opening`. Whether a checkpoint is trusted is asked each time.
    """

    input_size: Optional[Size] = None
    preprocess: str = ""
    score_threshold: Optional[float] = None
    config_options: Dict[str, Any] = {}
    inputs: Dict[str, str] = {}
    seed: int = 0


class RunInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run is about (run.json). `finished` is '' until all is written.

    config: what `featscope capture` opened: a config's file, or 'torchvision:NAME' and the like.
    parameters: how many numbers the model has, which tells models of one class apart. names: layer ->
    the name given to its folder. ranks: processes that write the run; each but the first has a
    rank-<n>.json of its own. left_out: what was asked for and could not be stored -> why. readings: layer, or
    layer:field, whose tensors are no maps of the image -> why. opened: how the detector was opened; None where a
    user's own script did that.
    """

    format: int = FORMAT
    model: str = ""
    config: str = ""
    checkpoint: str = ""
    parameters: int = 0
    layers: List[str] = []
    names: Dict[str, str] = {}
    policy: Policy = Policy()
    ranks: int = 1
    classes: List[str] = []
    versions: Dict[str, str] = {}
    command: List[str] = []
    started: str = ""
    finished: str = ""
    left_out: Dict[str, str] = {}
    readings: Dict[str, str] = {}
    opened: Optional[Opened] = None


def _at_once() -> None:
    pass


class CapturedMap(msgspec.Struct, frozen=True):
    """What capture hands to a sink beside an array: where it came from, before it has a file.

    axes: what each axis of the array is, as in `MapRecord`. place: where a map's cells lie. ready: waits until
    the array is filled, which a copy from a GPU may not be yet. scales: (2, N, C), the value of code 0 and the
    step between codes, of an array of 8-bit codes. channels: (N, K), those that were kept.
    """

    layer: str
    cls: str
    field: str
    level: int
    call: int
    batch: int
    samples: List[str]
    folder: str
    axes: Tuple[str, ...] = ()
    place: Optional[Place] = None
    reduced: str = ""
    channels: Optional[NDArray[np.int64]] = None
    scales: Optional[NDArray[np.float32]] = None
    ready: Callable[[], None] = _at_once

    @property
    def stride(self) -> Optional[Tuple[float, float]]:
        """Pixels of the input from cell to cell, (y, x); None of what is no map."""
        return self.place.stride if self.place is not None else None


class Sink(Protocol):
    """Takes what is captured: these three methods are all that a capture needs of it.

    `featscope.store.writer.RunWriter` is one, `featscope.MemorySink` another.
    """

    def put(self, captured: CapturedMap, array: NDArray[np.generic]) -> None:
        """Take one array; it belongs to the sink from now on, and is filled once `captured.ready` returns."""

    def put_sample(self, sample: Sample, picture: Optional[Picture]) -> None:
        """Take a sample and, if at hand, its input as (H, W, 3) RGB."""

    def close(self, finished: bool) -> None:
        """Everything is handed over; `finished` is false after an exception."""


class Written(NamedTuple):
    """How much a capture handed over, and where it lies ('memory' where that is no folder).

    >>> print(Written(12, 4, 31_000_000, "runs/mine"))
    12 maps of 4 samples, 31.0 MB, in runs/mine
    """

    maps: int
    samples: int
    bytes: int
    place: str

    def __str__(self) -> str:
        return (
            f"{counted(self.maps, 'map')} of {counted(self.samples, 'sample')}, {self.bytes / 1e6:.1f} MB, "
            f"in {self.place}"
        )


def infer_stride(padded: int, cells: int) -> float:
    """Pixels of the input per cell of a map, along one axis.

    A stack of strided convolutions rounds up: 992 pixels give 8 cells at stride 128, not 8 cells of
    124 pixels. Where a power of two explains the number of cells it is the stride; otherwise the
    cells share the pixels.

    >>> infer_stride(992, 124), infer_stride(992, 8), infer_stride(518, 37)
    (8.0, 128.0, 14.0)
    """
    if cells <= 0 or padded <= 0:
        return 1.0
    stride = 1
    while stride * cells < padded:
        stride *= 2
    return float(stride) if -(-padded // stride) == cells else padded / cells

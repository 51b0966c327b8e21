"""The data types that capture, store and render exchange.

They are immutable plain values that are written as JSON. They need no torch, no framework and no open file.
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
"""Pixels as an `int` if the number is whole, so that it can slice an array; otherwise as a `float`."""

Extent = Tuple[Pixels, Pixels]
"""(height, width) or (top, left) in pixels, for an area whose edges may fall between pixels."""

Picture = NDArray[np.uint8]
"""An RGB image, (H, W, 3)."""


FORMAT = 1
"""Version of the format of a run's files. featscope reads only its own version and names any other in an error."""

_LONGEST_SIDE = 1 << 20


class Geometry(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an image became the network's input: a part of it was resized, flipped, and placed in the input.

    >>> Geometry(original=(1182, 1111), resized=(1024, 962), padded=(1024, 992)).offset
    (0, 0)

    The order and the number of the steps do not matter: any sequence of resizing, cropping, padding and flipping can
    be written in this form. For example, an image that was padded on the right and then flipped has its padding on
    the left, which is an offset. Edges may fall between pixels: the edges of a crop that was made after a resize do so
    in the original image.
    """

    original: Size
    """Size of the image file, (height, width) in pixels."""

    resized: Extent
    """Size of the image inside the input, (height, width) in pixels."""

    padded: Size
    """Size of the whole input with its padding, (height, width) in pixels."""

    offset: Extent = (0, 0)
    """Position of the image inside the input, (top, left) in pixels; a letterbox has one."""

    flip: str = ""
    """'', 'horizontal', 'vertical' or 'diagonal' (both)."""

    crop: Optional[Tuple[Pixels, Pixels, Pixels, Pixels]] = None
    """Part of the original image that was used, (top, left, height, width) in pixels; None for the whole image."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for impossible sizes; the JSON decoder reports it as a decoding error."""
        for size in (self.original, self.padded):
            if not all(1 <= side <= _LONGEST_SIDE for side in size):
                raise ValueError(f"an image cannot have {size[0]} x {size[1]} pixels")
        for part in (self.resized, *([self.crop[2:]] if self.crop else [])):
            if not all(0 < side <= _LONGEST_SIDE for side in part):
                raise ValueError(f"a part of an image cannot have {part[0]} x {part[1]} pixels")
        for place in (*self.offset, *(self.crop or ())[:2]):
            if not 0 <= place <= _LONGEST_SIDE:
                raise ValueError(f"a part of an image cannot lie {place} pixels from an edge")


class Agreement(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a sample's geometry is correct, found by comparing the transformed image file with the network's input.

    >>> Agreement("verified", correlation=0.98, off=0.2).verdict
    'verified'

    """

    verdict: str
    """'verified', 'not verifiable' (the image has no structure, or its file cannot be read), or 'disagrees' (no known
    geometry matches the pixels)."""

    correlation: Optional[float] = None
    """Correlation between the thumbnails of the image file and of the input, from -1 to 1."""

    off: Optional[float] = None
    """Distance in input pixels between the content and the position that the geometry gives it, if measurable."""

    why: str = ""
    """Explanation: what is wrong, or how the geometry was found if it is not the one that the framework reports."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for an unknown verdict; the JSON decoder reports it as a decoding error."""
        if self.verdict not in ("verified", "not verifiable", "disagrees"):
            raise ValueError(
                f"the verdict {self.verdict!r} is unknown; known are 'verified', 'not verifiable' and 'disagrees'"
            )


class Boxes(msgspec.Struct, frozen=True, omit_defaults=True):
    """Boxes in the detector's own form."""

    form: str
    """'xyxy' (x1, y1, x2, y2), 'cxcywha' (cx, cy, w, h, angle in radians, clockwise on the screen) or 'quad' (x and y
    of four corners)."""

    boxes: List[List[float]]
    """The numbers of each box, in the order that `form` states."""

    labels: List[int]
    """Class index of each box in the run's `classes`."""

    scores: List[float] = []
    """Score of each box; empty for ground truth."""

    frame: str = "original"
    """'original' for pixels of the original image, or 'input' for pixels of the network's input, which is used if the
    position of the image in the input is unknown. A third value, 'mirrored', is used only while capturing and never
    written: pixels of the original image, flipped as the input is."""

    ignored: List[str] = []
    """For ground truth: 'difficult' or 'crowd' for an object that the data set's evaluation leaves out, otherwise ''.
    The list is empty if no object is left out."""

    def __post_init__(self) -> None:
        """Raise `ValueError` if the lists do not match; the JSON decoder reports it as a decoding error."""
        if self.ignored and len(self.ignored) != len(self.boxes):
            raise ValueError("either every box must say whether it is ignored, or none")
        if set(self.ignored) - {"", "difficult", "crowd"}:
            raise ValueError("a box can be ignored as 'difficult' or 'crowd'")
        if self.frame not in ("original", "input", "mirrored"):
            raise ValueError(f"boxes have the unknown frame {self.frame!r}; known are 'original' and 'input'")
        numbers = {"xyxy": 4, "cxcywha": 5, "quad": 8}.get(self.form)
        if numbers is None:
            raise ValueError(f"boxes have the unknown form {self.form!r}; known are 'xyxy', 'cxcywha' and 'quad'")
        if set(map(len, self.boxes)) - {numbers}:
            raise ValueError(f"a box of the form {self.form!r} must have {numbers} numbers")
        if len(self.labels) != len(self.boxes) or (self.scores and len(self.scores) != len(self.boxes)):
            raise ValueError("every box must have a label, and either all boxes or none must have a score")
        if self.labels and min(self.labels) < 0:
            raise ValueError("labels must be 0 or more")

    def __repr__(self) -> str:
        """Short: a detector finds hundreds."""
        return f"<{counted(len(self.boxes), 'box', 'boxes')} of the form {self.form}, in pixels of the {self.frame}>"


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a detection comes from in the network's raw output.

    >>> Source("cell", index=1043, level=0, row=8, column=19)
    Source(kind='cell', index=1043, level=0, row=8, column=19, anchor=0)

    """

    kind: str
    """'cell' of a level, 'query' of a decoder, 'roi' (the proposal of a two-stage detector), or 'image' if the target
    is not a detection but a number that a user's own function computes from the whole output."""

    index: int
    """Index of the raw output among all those of its level."""

    level: int = 0
    """Index of the feature level."""

    row: int = 0
    """Row of the cell."""

    column: int = 0
    """Column of the cell."""

    anchor: int = 0
    """Index of the anchor at the cell."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for an unknown kind or a bad index; the JSON decoder reports it as a decoding error."""
        if self.kind not in ("cell", "query", "roi", "image"):
            known = "'cell', 'query', 'roi' and 'image'"
            raise ValueError(f"a source has the unknown kind {self.kind!r}; known are {known}")
        _check_counts(self.index, self.level, self.row, self.column, self.anchor)


class Selection(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a detector selects its detections from all its candidates, in the order of the fields.

    >>> Selection(threshold=0.05, per_level=2000, suppression="rotated", overlap=0.1, maximum=2000).labels
    'all'

    A pair is a candidate with one of its classes.
    """

    labels: str = "all"
    """'all' if each class of a candidate is a pair, or 'best' if only the class with the highest score is one."""

    threshold: float = 0.0
    """Pairs with a score above this are kept."""

    inclusive: bool = False
    """Whether pairs with exactly this score are kept too."""

    per_level: int = 0
    """At most this many pairs of a level are kept, the best ones (`nms_pre`, `topk_candidates`); 0 for all."""

    per_class: int = 0
    """At most this many pairs of a class are kept, the best ones (`topk_candidates` of torchvision's SSD); 0 for
    all."""

    smallest: float = 0.0
    """Boxes with a side of less than this many pixels are dropped; 0 for none. Pixels are those in which the detector
    compares boxes."""

    total: int = 0
    """At most this many pairs of all levels are kept before suppression (`max_nms`); 0 for all."""

    ranked_by: str = "pair"
    """What `per_level` and `total` count: 'pair', or 'candidate' if a candidate is kept or dropped with all its
    classes."""

    suppression: str = ""
    """Overlap by which a better box suppresses another: 'upright', 'rotated' (exact polygons), 'probiou' (Ultralytics'
    rotated boxes), or '' if nothing is suppressed."""

    overlap: float = 1.0
    """A box is suppressed if it overlaps a better one by more than this."""

    overlap_inclusive: bool = False
    """Whether a box is also suppressed if it overlaps a better one by exactly this."""

    by_class: bool = True
    """Whether a box suppresses only boxes of its own class."""

    by_kept: bool = True
    """Whether only a box that is not suppressed itself suppresses others. It is false for Ultralytics' rotated
    boxes."""

    class_offset: float = 0.0
    """Pixels, times the label, that the detector adds to boxes before it compares them, to keep classes apart; -1 for
    one more than the largest coordinate. They only matter because they round the boxes to fewer digits."""

    offset_up_to: int = 0
    """`class_offset` is added only if no more than this many boxes are compared; 0 for any number."""

    maximum: int = 0
    """At most this many detections of an image are kept; 0 for all."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for unknown words; the JSON decoder reports it as a decoding error."""
        for word, known in (
            (self.labels, ("all", "best")),
            (self.ranked_by, ("pair", "candidate")),
            (self.suppression, ("", "upright", "rotated", "probiou")),
        ):
            if word not in known:
                raise ValueError(f"a selection has the unknown word {word!r}; known are {', '.join(map(repr, known))}")
        _check_counts(self.per_level, self.per_class, self.total, self.offset_up_to, self.maximum)


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One item of the data set: its image, how it was fed to the network, the predictions and the ground truth."""

    id: str
    """Unique name of the sample in its run."""

    path: str = ""
    """Path of the image file when it was captured."""

    batch: int = 0
    """Number of the batch that the sample was in."""

    geometry: Optional[Geometry] = None
    """How the image lies in the input; None if unknown."""

    input: str = ""
    """Path, relative to the run, of a JPEG of the network's input before normalisation. It shows the input without its
    padding, or the whole input if the geometry is unknown."""

    predictions: Optional[Boxes] = None
    """Boxes that the detector found."""

    truth: Optional[Boxes] = None
    """Boxes of the ground truth."""

    sources: List[List[Source]] = []
    """For each prediction, the raw outputs that gave it: one, several if they cannot be told apart (a tie), or none if
    no source was found. The whole list is empty if sources were not looked for."""

    candidates: str = ""
    """Path, relative to the run, of the file with all raw outputs for this image; '' if they were not stored."""

    image: str = ""
    """For a view made by test-time augmentation: the id of the image's first view."""

    view: int = 0
    """For a view made by test-time augmentation: its number."""

    frame: Optional[int] = None
    """For a frame of a video: its number, counted from 0."""

    time: Optional[float] = None
    """For a frame of a video: seconds from the start."""

    reading: str = ""
    """How the image file was read, one of `featscope.store.images.READINGS`, for example 'cv2+exif'; '' if unknown."""

    agreement: Optional[Agreement] = None
    """Whether the pixels confirm the geometry; None if they could not be compared."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for impossible numbers; the JSON decoder reports it as a decoding error."""
        _check_counts(self.batch, self.view, self.frame or 0)
        if self.sources and len(self.sources) != len(self.predictions.boxes if self.predictions else ()):
            raise ValueError("either every prediction must have a list of sources, or none")

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
            raise ValueError(f"{count} is not a valid number of a batch, level or index")


class Place(NamedTuple):
    """Where the cells of a map lie on the network's input, in pixels: the centre of cell i is at `first + stride * i`.

    >>> Place((8.0, 8.0), (0.0, 0.0), "operators").stride
    (8.0, 8.0)

    """

    stride: Tuple[float, float]
    """Distance between neighbouring cells, (y, x)."""

    first: Tuple[float, float]
    """Centre of the first cell, (y, x)."""

    known: str = "assumed"
    """How the place is known: 'operators' (followed through the network's operations), 'measured' (with the network's
    weights), 'given' (by the user), or 'assumed' (the cells share the pixels equally; up to half a cell off)."""


def assumed_place(padded: Size, cells: Size) -> Place:
    """Return the place to assume for a map if only its size is known: its cells share the input's pixels equally.

    >>> assumed_place((992, 512), (124, 64))
    Place(stride=(8.0, 8.0), first=(4.0, 4.0), known='assumed')
    """
    stride = (infer_stride(padded[0], cells[0]), infer_stride(padded[1], cells[1]))
    return Place(stride, (stride[0] / 2, stride[1] / 2))


OBJECT = "object"
"""The axis of an array that holds, in place of a map, what the map holds in the boxes of its images."""


def is_map(axes: Sequence[str]) -> bool:
    """Whether an array with these axes holds maps of the image: (sample, channel, ..., row, column).

    >>> is_map(("sample", "channel", "row", "column")), is_map(("sample", "token", "row", "column"))
    (True, False)
    """
    return tuple(axes[:2]) == ("sample", "channel") and tuple(axes[-2:]) == ("row", "column")


class MeasuredPlace(msgspec.Struct, frozen=True, omit_defaults=True):
    """The place of a layer's maps, measured with the network's weights.

    >>> MeasuredPlace("neck", "", 1, (16.0, 16.0), (0.1, -0.1), (0.02, 0.03), 24, "gradient").at((16.0, 16.0))
    Place(stride=(16.0, 16.0), first=(1.6, -1.6), known='measured')

    """

    layer: str
    """Layer of the maps, as in `MapRecord`."""

    field: str
    """Field of the maps, as in `MapRecord`."""

    level: int
    """Level of the maps, as in `MapRecord`."""

    stride: Tuple[float, float]
    """Input pixels from cell to cell, (y, x)."""

    offset: Tuple[float, float]
    """Position that cell 0 responds to, (y, x) in cells from the corner of the input. It is 0.5 for maps whose cells
    share the input's pixels equally."""

    interval: Tuple[float, float]
    """Half the width of the 95 % confidence interval of `offset`, (y, x) in cells."""

    count: int
    """Number of cells or detections that were measured."""

    by: str
    """How it was measured: by the 'gradient' of cells, or by comparing 'detections' with their source cells."""

    refused: str = ""
    """Why the measurement must not be used; '' if it can be used."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for impossible numbers; the JSON decoder reports it as a decoding error."""
        _check_counts(self.level, self.count)
        if not all(0 < step < _LONGEST_SIDE for step in self.stride):
            raise ValueError(f"cells cannot lie {self.stride} pixels apart")
        if not all(abs(cells) < _LONGEST_SIDE for cells in (*self.offset, *self.interval)):
            raise ValueError(f"a cell cannot look at {self.offset} cells from the input's corner")

    def at(self, stride: Optional[Tuple[float, float]]) -> Optional[Place]:
        """Return the place of a map with this stride; None if it was refused or measured for another stride."""
        if self.refused or stride is None or any(abs(a - b) > 0.01 * b for a, b in zip(stride, self.stride)):
            return None
        return Place(stride, (self.offset[0] * stride[0], self.offset[1] * stride[1]), "measured")


class MapRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stored array: where it came from, and the checksums that prove that it is complete."""

    path: str
    """Path of the `.npy` file, relative to the run."""

    layer: str
    """Dotted name of the layer."""

    cls: str
    """Class of the layer's module."""

    field: str
    """Name of the tensor in the layer's output; '' if the output is a single value."""

    level: int
    """The index in the file name. It counts the tensors of this layer and field in this batch."""

    call: int
    """Which run of the layer in this batch produced the array."""

    batch: int
    """Number of the batch."""

    samples: List[str]
    """Ids of the samples, in the order of the array's first axis."""

    shape: List[int]
    """Shape of the array."""

    dtype: str
    """Data type of the array, as NumPy writes it."""

    bytes: int
    """Size of the array in bytes."""

    checksum: int
    """CRC-32 of the array's bytes."""

    axes: List[str] = []
    """Meaning of each axis: sample, channel, row, column, time, token, window, head, object or unknown. Runs that were
    made before featscope followed axes have an empty list."""

    stride: Optional[Tuple[float, float]] = None
    """As in `Place`; None if the array is not a map of the image."""

    first: Optional[Tuple[float, float]] = None
    """As in `Place`."""

    place: str = ""
    """How the place is known, as in `Place.known`."""

    reduced: str = ""
    """Reduction over channels that was applied during capture, if any."""

    channels: List[List[int]] = []
    """Channels that were kept, one list for each sample; empty if all were kept."""

    scales_checksum: Optional[int] = None
    """CRC-32 of the `.scales` file beside an array that is stored as 8-bit codes."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for impossible numbers; the JSON decoder reports it as a decoding error."""
        _check_counts(self.batch, self.level)
        if self.stride is not None and not all(0 < step <= _LONGEST_SIDE for step in self.stride):
            raise ValueError(f"cells cannot lie {self.stride[0]} x {self.stride[1]} pixels apart")
        if self.first is not None and not all(abs(pixels) <= _LONGEST_SIDE for pixels in self.first):
            raise ValueError(f"a cell cannot lie {self.first[0]} x {self.first[1]} pixels from the input's corner")


class Policy(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How much of the captured data is stored. The default stores everything unchanged.

    >>> Policy(dtype="float16", reduce="absmean", every=10).max_samples
    0

    """

    dtype: str = ""
    """float32, float16, bfloat16 or uint8 (253 levels from a channel's smallest to its largest value). '' keeps the
    type of each map, except that bfloat16 is stored as float32."""

    reduce: str = ""
    """Reduction over channels: mean, absmean, max, l2, std or select_max. Maps become (N, 1, H, W)."""

    channels: str = ""
    """'0-15', '3,7', or 'top:16' for the 16 channels of each image with the highest mean absolute value."""

    every: int = 1
    """Store every n-th sample of the data set."""

    max_samples: int = 0
    """Store at most this many samples; 0 for all."""

    images: List[str] = []
    """Store only samples whose id, file name or path matches one of these globs."""

    objects: bool = False
    """Store, in place of the maps, only what they hold in the boxes of each image (`featscope objects`)."""

    candidates: bool = False
    """Store also all raw outputs of the detector, before thresholds and suppression (`featscope misses`)."""


class Opened(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a detector was opened, in addition to its name and its weights: all that is needed to open it again.

    >>> Opened(input_size=(640, 640), score_threshold=0.3)
    Opened(input_size=(640, 640), preprocess='', score_threshold=0.3, config_options={}, inputs={}, seed=0)

    The fields are those of `featscope.adapters.detector.Opening`. Whether to trust a checkpoint is not recorded,
    because the user must decide that each time.
    """

    input_size: Optional[Size] = None
    preprocess: str = ""
    score_threshold: Optional[float] = None
    config_options: Dict[str, Any] = {}
    inputs: Dict[str, str] = {}
    seed: int = 0


class RunInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run contains and how it was made (run.json)."""

    format: int = FORMAT
    """Version of the file format."""

    model: str = ""
    """Class of the model."""

    config: str = ""
    """What `featscope capture` opened: a config file, or a name such as 'torchvision:NAME'."""

    checkpoint: str = ""
    """Path of the weights."""

    parameters: int = 0
    """Number of the model's parameters, which distinguishes models of the same class."""

    layers: List[str] = []
    """Layers that were requested."""

    names: Dict[str, str] = {}
    """Layer -> name that the user gave its folder."""

    policy: Policy = Policy()
    """How much was stored."""

    ranks: int = 1
    """Number of processes that write the run. Each process except the first has its own rank-<n>.json."""

    classes: List[str] = []
    """Class names of the detector, by label."""

    versions: Dict[str, str] = {}
    """Package -> version."""

    command: List[str] = []
    """Command line that made the run."""

    started: str = ""
    """Time at which the capture started."""

    finished: str = ""
    """Time at which everything was written; '' until then."""

    left_out: Dict[str, str] = {}
    """Layer that was requested but could not be stored -> reason."""

    readings: Dict[str, str] = {}
    """Layer, or layer:field, whose tensors are not maps of the image -> reason."""

    truth_notes: List[str] = []
    """What of the labels that were given is not in the ground truth, and why."""

    opened: Optional[Opened] = None
    """How the detector was opened; None if the user's own script opened it."""


def class_name(classes: Sequence[str], label: int) -> str:
    """Return the name of a class; its number if the name is not known.

    >>> class_name(["ship"], 0), class_name(["ship"], 7)
    ('ship', '7')
    """
    return classes[label] if label < len(classes) else str(label)


def _at_once() -> None:
    pass


class CapturedMap(msgspec.Struct, frozen=True):
    """What capture hands to a sink together with an array: where the array came from, before it has a file.

    layer, cls, field, level, call, batch, samples and reduced are the same as in `MapRecord`.
    """

    layer: str
    cls: str
    field: str
    level: int
    call: int
    batch: int
    samples: List[str]

    folder: str
    """Folder of the run that the array belongs in."""

    axes: Tuple[str, ...] = ()
    """Meaning of each axis of the array, as in `MapRecord`."""

    place: Optional[Place] = None
    """Where the cells of a map lie; None if the array is not a map of the image."""

    reduced: str = ""

    channels: Optional[NDArray[np.int64]] = None
    """Channels that were kept, (N, K); None if all were kept."""

    scales: Optional[NDArray[np.float32]] = None
    """For an array of 8-bit codes, (2, N, C): the value of code 0 and the step between codes."""

    ready: Callable[[], None] = _at_once
    """Waits until the array is filled, because a copy from a GPU may still be under way."""

    @property
    def stride(self) -> Optional[Tuple[float, float]]:
        """Input pixels from cell to cell, (y, x); None if the array is not a map of the image."""
        return self.place.stride if self.place is not None else None


class Sink(Protocol):
    """Receives what is captured. A capture needs only these three methods.

    `featscope.store.writer.RunWriter` and `featscope.MemorySink` are sinks.
    """

    def put(self, captured: CapturedMap, array: NDArray[np.generic]) -> None:
        """Take ownership of one array, which is filled once `captured.ready` returns."""

    def put_sample(self, sample: Sample, picture: Optional[Picture]) -> None:
        """Take a sample and, if available, its input as an (H, W, 3) RGB image."""

    def close(self, finished: bool) -> None:
        """Finish after everything was handed over; `finished` is false after an exception."""


class Written(NamedTuple):
    """How much a capture stored, and in which folder ('memory' if it was not stored on disk).

    >>> print(Written(12, 4, 31_000_000, "runs/mine"))
    12 maps of 4 samples, 31.0 MB, in runs/mine
    """

    maps: int
    samples: int
    bytes: int
    place: str
    candidates: int = 0
    """Bytes of the detector's raw outputs, which are not in `bytes`."""

    def __str__(self) -> str:
        raw = f", candidates, {self.candidates / 1e6:.1f} MB" if self.candidates else ""
        return (
            f"{counted(self.maps, 'map')} of {counted(self.samples, 'sample')}, {self.bytes / 1e6:.1f} MB{raw}, "
            f"in {self.place}"
        )


def infer_stride(padded: int, cells: int) -> float:
    """Infer the stride along one axis: input pixels per cell of a map.

    A stack of strided convolutions rounds up: 992 pixels give 8 cells at stride 128, not 8 cells of
    124 pixels. The stride is therefore the power of two that explains the number of cells, if there is one; otherwise
    the cells share the pixels equally.

    >>> infer_stride(992, 124), infer_stride(992, 8), infer_stride(518, 37)
    (8.0, 128.0, 14.0)
    """
    if cells <= 0 or padded <= 0:
        return 1.0
    stride = 1
    while stride * cells < padded:
        stride *= 2
    return float(stride) if -(-padded // stride) == cells else padded / cells

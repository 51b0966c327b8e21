"""Turn the outputs of an ONNX graph into arrays to store: join the rows of several runs, and apply the policy."""

from __future__ import annotations

from typing import Callable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.channels import parse_channels
from featscope.arrays.readings import MapPart, Reading, unknown
from featscope.arrays.reduce import reduce, top_channels
from featscope.errors import BadOptionError
from featscope.records import Policy, is_map

Array = NDArray[np.generic]

WEIGHTS = ("Initializer", "Constant")
"""Kinds of tensors that do not depend on images."""

_NO_ROWS = ("NonZero", "NonMaxSuppression")  # their first axis does not count images


def _not_followed(name: str, array: Array) -> Reading:
    return unknown(array.shape, "the graph was not followed")


class Values(NamedTuple):
    """The tensors of one run of the graph."""

    images: int
    """Number of images in the batch, without those that fill it up."""

    batch: int
    """Number of images that were run."""

    found: Mapping[str, object]
    """Tensor -> its value, which may be a list."""

    read: Callable[[str, Array], Reading] = _not_followed
    """Returns how a tensor is read, by its name and array."""


Read = Callable[[Array], Reading]
"""Returns how an array of one run is read."""


class Piece(NamedTuple):
    """An array to store."""

    array: Array

    part: MapPart
    """Meaning of its axes."""

    start: int
    """Index of its first sample."""

    stop: int
    """Index after its last sample."""


class Pieces(NamedTuple):
    """The arrays to store for a tensor."""

    pieces: List[Piece]

    why_not: str = ""
    """Why a part of the tensor cannot be stored; '' if all can."""

    remark: str = ""
    """A note for the user."""


def pieces_of(name: str, runs: Sequence[Values], kind: str, reads: Sequence[Read], without_batch: bool) -> Pieces:
    """Return a tensor's arrays of all runs of a batch, joined if they have one row for each image.

    >>> from featscope.arrays.readings import unknown
    >>> runs = [Values(2, 2, {"x": np.zeros((2, 4))}), Values(1, 2, {"x": np.zeros((2, 4))})]
    >>> reads = [lambda array: unknown(array.shape, "")] * 2
    >>> [piece.array.shape for piece in pieces_of("x", runs, "Relu", reads, False).pieces]
    [(3, 4)]

    reads: one for each run. without_batch: whether the graph takes single images.
    """
    given = [_listed(run.found.get(name)) for run in runs]
    why = _first_reason(given)
    kept = [_laid(values, read) for values, read in zip(given, reads)]
    ends = np.cumsum([run.images for run in runs]).tolist()
    if kind in WEIGHTS:
        return Pieces([Piece(array, part, 0, ends[-1]) for part, array in kept[0]], why)
    spans = list(zip([0, *ends], ends))
    if len({len(values) for values in kept}) != 1:
        # If the lists have different lengths, it is unknown which of their elements belong together.
        return Pieces([Piece(array, part, *span) for values, span in zip(kept, spans) for part, array in values], why)
    pieces: List[Piece] = []
    apart: List[Array] = []
    for level in zip(*kept):
        joined = _joined(level, runs, without_batch or kind in _NO_ROWS)
        if joined is not None:
            pieces.append(Piece(joined, level[0][0], 0, ends[-1]))
        else:
            pieces += [Piece(array, part, *span) for (part, array), span in zip(level, spans)]
            apart.append(level[0][1])
    remark = ""
    if apart and any(run.images < run.batch for run in runs):
        remark = (
            f"{name!r} {apart[-1].shape} does not have one row for each image; the last batch was filled up with "
            "copies of its last image, and their results are stored too"
        )
    return Pieces(pieces, why, remark)


def _first_reason(given: Sequence[Sequence[object]]) -> str:
    """Return why a part of the values cannot be stored; '' if all can."""
    return next(filter(None, (_why_not(value) for values in given for value in values or [None])), "")


Laid = Tuple[MapPart, Array]


def _laid(values: Sequence[object], read: Read) -> List[Laid]:
    """Return the arrays to store for the values of one run, by their readings."""
    arrays = [np.asarray(value) for value in values if not _why_not(value)]
    return [laid for array in arrays for laid in read(array).apply(array)]


def _joined(level: Sequence[Laid], runs: Sequence[Values], without_rows: bool) -> Optional[Array]:
    """Join a tensor of all runs, without the rows that fill up a batch; None if it does not have a row for each image.

    without_rows: whether the first axis does not count images, unless the reading says so.
    """
    part, first = level[0]
    if len(runs) == 1 and runs[0].images == runs[0].batch:
        return first
    if without_rows and part.axes[:1] != ("sample",):
        return None
    if not all(value.shape == (run.batch, *first.shape[1:]) for (_, value), run in zip(level, runs)):
        return None
    return np.concatenate([value[: run.images] for (_, value), run in zip(level, runs)])


def _listed(value: object) -> List[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _why_not(value: object) -> str:
    """Return why a value cannot be stored; '' if it can."""
    if value is None:
        return "it is empty"
    if isinstance(value, (dict, list, tuple)):
        return "it is a table, not a tensor"
    return "" if np.asarray(value).dtype.kind in "biufc" else "it holds text, not numbers"


class Thinned(NamedTuple):
    """The part of an array that a policy keeps. `reduced` and `channels` are as in `CapturedMap`."""

    array: Array
    reduced: str = ""
    channels: Optional[NDArray[np.int64]] = None

    remark: str = ""
    """A note for the user."""


def thin(piece: Piece, policy: Policy, name: str) -> Thinned:
    """Apply a policy to a tensor. Channels are selected or reduced only if the axis of channels is known."""
    array, reduced, channels, remark = piece.array, "", None, ""
    if array.ndim == 4 and array.size and (policy.channels or policy.reduce):
        if is_map(piece.part.axes):
            array, channels = _fewer_channels(array, policy, name)
            reduced = policy.reduce
        else:
            remark = (
                f"{name!r} {array.shape} is stored completely, because it is unknown which of its axes are channels"
            )
    if policy.dtype and array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = array.astype(policy.dtype)
    return Thinned(array, reduced, channels, remark)


def _fewer_channels(array: Array, policy: Policy, name: str) -> Tuple[Array, Optional[NDArray[np.int64]]]:
    """Select and reduce channels of maps (N, C, H, W). Returns the maps and the numbers of the channels."""
    channels = None
    if policy.channels:
        channels = np.array([_choose(image, policy.channels, name) for image in array], np.int64)
        array = np.stack([image[chosen] for image, chosen in zip(array, channels)])
    if policy.reduce:
        array = np.stack([np.asarray(reduce(image, policy.reduce))[None] for image in array])
    return array, channels


def _choose(image: Array, choice: str, name: str) -> List[int]:
    kind, numbers = parse_channels(choice)
    if kind == "top":
        return top_channels(image, numbers[0])
    there = [number for number in numbers if number < len(image)]
    if not there:
        raise BadOptionError(
            f"{name!r} has {len(image)} channels, but none of {choice!r}; choose others, or leave it out: -l '!{name}'"
        )
    return there

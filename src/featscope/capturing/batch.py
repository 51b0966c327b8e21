"""One batch of a capture: its samples and the names of its maps."""

from __future__ import annotations

import sys
import weakref
from collections import defaultdict
from functools import partial
from types import FrameType
from typing import DefaultDict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray

from featscope.arrays.readings import MapPart
from featscope.capturing.calls import ModelCall
from featscope.capturing.inputs import Known
from featscope.capturing.ledger import Entry
from featscope.capturing.proof import Laid
from featscope.capturing.speakers import Node
from featscope.capturing.thin import thin
from featscope.capturing.transfer import Ready, Transfer
from featscope.records import CapturedMap, Policy, Size, assumed_place, is_map
from featscope.store.files import safe_name


class Piece(NamedTuple):
    """A copy of one tensor of a layer's output. The fields are as in `CapturedMap`."""

    field: str
    part: MapPart
    array: NDArray[np.generic]
    reduced: str
    channels: Optional[NDArray[np.int64]]
    scales: Optional[NDArray[np.float32]]
    ready: Ready


class Waiting(NamedTuple):
    """The output of a module, kept until it is known whether the module speaks."""

    node: Node
    pieces: List[Piece]


class Batch:
    """A batch, from the outermost call into the model to its end.

    frame: frame of the model's method that was called, if it was not a call of the model itself. The batch lasts as
    long
        as this frame is on the stack.
    number: the number that the user gave when beginning the batch by hand.
    block: whether it lasts as long as a block in the user's code.
    model_call: the running call of the model itself.
    entry: its samples, once they are known.
    known: what the companion knows about the samples.
    input_size: (height, width) of the network's input.
    has_input: whether the network's input was found.
    used: whether a layer ran.
    ended, failed: whether the call of the model itself returned, or raised an exception.
    tries_again: whether something in the batch raised an exception and the batch continued.
    waiting: outputs of modules that may still speak.
    forward: the frame of the view that the batch is, in a call that makes several views.
    views: the batches of the views after the first one.
    """

    def __init__(self, frame: Optional[FrameType] = None, number: Optional[int] = None) -> None:
        self.frame, self.number = frame, number
        self.model_call: Optional[ModelCall] = None
        self.entry: Optional[Entry] = None
        self.known: Optional[Known] = None
        self.input_size: Optional[Size] = None
        self.has_input = False
        self.block = self.used = self.described = self.ended = self.failed = self.tries_again = False
        self.waiting: List[Waiting] = []
        self.forward: Optional[FrameType] = None
        self.views: List[Batch] = []
        self._handled = sys.exc_info()[1]
        self._inputs: DefaultDict[str, List[List[Tuple[weakref.ref[torch.Tensor], int]]]] = defaultdict(list)
        self._calls: DefaultDict[str, int] = defaultdict(int)
        self._levels: DefaultDict[str, int] = defaultdict(int)

    def forget(self) -> None:
        """Release what the calls of the batch held."""
        self.model_call = self.frame = self.forward = self._handled = None
        self._inputs.clear()

    def computes_again(self, layer: str, values: Sequence[object]) -> bool:
        """Whether a layer, after an exception in the batch, receives exactly the same tensors as before.

        A model that catches an exception and tries again runs the layers before the exception twice. Without an
        exception a repeated call is not a repetition: a layer with dropout or memory may give a different output.
        """
        tensors = [value for value in values if isinstance(value, torch.Tensor)]
        given = [(weakref.ref(tensor), _version(tensor)) for tensor in tensors]
        before = self._inputs[layer]
        if self.tries_again or sys.exc_info()[1] is not self._handled:
            for others in before:
                if (
                    given
                    and len(others) == len(given)
                    and all(ours[0]() is theirs[0]() and ours[1] == theirs[1] for ours, theirs in zip(given, others))
                ):
                    return True
        before.append(given)
        return False

    @property
    def wanted(self) -> bool:
        """Whether anything of this batch is to be stored."""
        return self.entry is None or not self.entry.samples or bool(self.entry.rows)

    def take(self, layer: str, laid: Laid, policy: Policy, copy: Transfer) -> Piece:
        """Copy the part of a layer's tensor that the policy keeps."""
        rows, size = (self.entry.rows, len(self.entry.samples)) if self.entry is not None else ([], 0)
        axes, tensor = laid.part.axes, laid.tensor
        # Regions of interest and queries do not correspond to samples of the batch, so all of them are kept.
        some = len(rows) < size and axes[:1] == ("sample",) and len(tensor) == size
        thinned = thin(tensor, policy, rows if some else None, layer, channels=is_map(axes))
        array, ready = copy(thinned.tensor, thinned.owned)
        waits = [ready]
        channels: Optional[NDArray[np.generic]] = None
        scales: Optional[NDArray[np.generic]] = None
        if thinned.channels is not None:
            channels, ready = copy(thinned.channels, True)
            waits.append(ready)
        if thinned.scales is not None:
            scales, ready = copy(thinned.scales, True)
            waits.append(ready)
        return Piece(
            laid.field,
            laid.part,
            array=array,
            reduced=thinned.reduced,
            channels=channels,  # type: ignore[arg-type]
            scales=scales,  # type: ignore[arg-type]
            ready=partial(_wait_for, waits),
        )

    def name(
        self, layer: str, cls: str, base: str, pieces: Sequence[Piece]
    ) -> Iterator[Tuple[CapturedMap, NDArray[np.generic]]]:
        """Yield the pieces of one call of a layer as named maps. `base` is the layer's folder without the field."""
        call = self._calls[layer]
        self._calls[layer] += 1
        for piece in pieces:
            folder = f"{base}.{safe_name(piece.field)}" if piece.field else base
            level = self._levels[folder]
            self._levels[folder] += 1
            place = piece.part.place
            if place is None and self.input_size is not None and is_map(piece.part.axes):
                place = assumed_place(self.input_size, (piece.array.shape[-2], piece.array.shape[-1]))
            captured = CapturedMap(
                layer=layer,
                cls=cls,
                field=piece.field,
                level=level,
                call=call,
                batch=self.entry.number if self.entry is not None else 0,
                samples=self._ids(),
                folder=folder,
                axes=piece.part.axes,
                place=place,
                reduced=piece.reduced,
                channels=piece.channels,
                scales=piece.scales,
                ready=piece.ready,
            )
            yield captured, piece.array

    def _ids(self) -> List[str]:
        """Return the ids of the kept samples; none if they are only numbers, which may still be replaced by names."""
        if self.entry is None or not self.entry.named:
            return []
        return [self.entry.samples[row].id for row in self.entry.rows]


def _version(tensor: torch.Tensor) -> int:
    """Return the number of in-place operations on a tensor."""
    return -1 if tensor.is_inference() else tensor._version


def _wait_for(waits: Sequence[Ready]) -> None:
    for ready in waits:
        ready()

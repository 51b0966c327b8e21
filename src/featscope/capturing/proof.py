"""Proves how the tensors of a model's layers are to be read: which axis is what, and where their cells lie.

The first forward of each size of input is followed, operator by operator (`featscope.capturing.following`); what was
found holds for all later ones of that size. Nothing is guessed from a shape or a name: what cannot be followed is
stored as it is and says why, unless the user says what it is (`featscope.capturing.given`).
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import DefaultDict, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch.overrides import _get_current_function_mode

from featscope.arrays.readings import MapPart, Reading, read, unknown
from featscope.capturing.calls import recomputing, unwatch, watch
from featscope.capturing.flatten import FieldTensor
from featscope.capturing.following import Follower, HiddenKernels
from featscope.capturing.given import GivenReadings
from featscope.capturing.inputs import Images
from featscope.capturing.laying import maps_of

_Key = Tuple[str, int, int]
_Form = Tuple[Tuple[int, ...], Tuple[Optional[int], ...]]

_MOST_TRIES = 3  # forwards of one form that are followed, where a layer did not run in the first


class Laid(NamedTuple):
    """A tensor as it is stored. field: its name. part: what its axes are, and where its cells lie."""

    field: str
    tensor: torch.Tensor
    part: MapPart


class Forward:
    """One forward, while it runs: the calls of its layers are counted, and it is followed if it is the first.

    form: of its input. known: what was found of it: (layer, call, place in its output) -> how it is read.
    """

    def __init__(self, form: _Form, known: Dict[_Key, Reading], follower: Optional[Follower] = None) -> None:
        self.form, self.known, self.follower = form, known, follower
        self._kernels: Optional[HiddenKernels] = None
        self._calls: DefaultDict[str, int] = defaultdict(int)
        if follower is not None:
            self._kernels = HiddenKernels(follower)
            watch(self._kernels)
            follower.__enter__()

    def next_call(self, layer: str) -> int:
        """Which of the calls of a layer this is."""
        self._calls[layer] += 1
        return self._calls[layer] - 1

    def end(self) -> None:
        """It is over."""
        if self.follower is None or self._kernels is None:
            return
        unwatch(self._kernels)
        self.follower.resting = True
        # Where somebody put another mode on top, ours stays below it and does nothing.
        if _get_current_function_mode() is self.follower:  # type: ignore[no-untyped-call]
            self.follower.__exit__(None, None, None)


class Proof:
    """Reads tensors, by what the forward at hand or an earlier one of the same form has shown.

    no_maps: the layers, or layer:field, that were read as no maps of the image -> why.
    """

    def __init__(self, given: Optional[GivenReadings] = None) -> None:
        self._given = given or GivenReadings()
        self._known: Dict[_Form, Dict[_Key, Reading]] = {}
        self._tries: DefaultDict[_Form, int] = defaultdict(int)
        self._local = threading.local()
        self.no_maps: Dict[str, str] = {}

    @property
    def forward(self) -> Optional[Forward]:
        """The forward that runs in this thread."""
        found: Optional[Forward] = getattr(self._local, "forward", None)
        return found

    def begin(self, images: Optional[Images], nested: bool) -> None:
        """A forward begins with these images; it is followed where none of their form was.

        nested: it surely ends before what is around it does, so that no mode that is active already is in the way.
        """
        self.end()
        if images is None or images.batch is None:
            return
        form = (tuple(images.batch.shape), images.axes)
        known = self._known.get(form)
        follower = None
        free = nested or _get_current_function_mode() is None  # type: ignore[no-untyped-call]
        if known is None and free and not recomputing():
            follower = Follower()
            follower.begin_at(images.batch, *images.axes)
        self._local.forward = Forward(form, {} if known is None else known, follower)

    def end(self, failed: bool = False) -> None:
        """The forward of this thread is over; one that failed has not shown all."""
        forward = self.forward
        self._local.forward = None
        if forward is not None:
            forward.end()
            if forward.follower is not None and not failed:
                self._known[forward.form] = forward.known

    def _follow_again(self, form: _Form) -> None:
        self._tries[form] += 1
        if self._tries[form] < _MOST_TRIES:
            self._known.pop(form, None)

    def lay_out(self, layer: str, tensors: Sequence[FieldTensor]) -> List[Laid]:
        """The tensors of one call of a layer: maps as (N, C, H, W), whatever their layout was, the rest as it is.

        Raises `BadOptionError` where the user said something of a tensor that does not fit it.
        """
        forward = self.forward
        call = forward.next_call(layer) if forward is not None else 0
        found = []
        for index, (field, tensor) in enumerate(tensors):
            reading = self._given.checked(layer, field, tensor, self._read(forward, (layer, call, index), tensor))
            if not reading.is_map:
                self.no_maps.setdefault(f"{layer}:{field}" if field else layer, reading.why)
            for part, laid in maps_of(reading, tensor):
                name = ".".join(one for one in (field, part.name) if one)
                found.append(Laid(name, laid, part))
        return found

    def _read(self, forward: Optional[Forward], key: _Key, tensor: torch.Tensor) -> Reading:
        shape = () if tensor.is_nested else tuple(tensor.shape)
        if forward is None:
            return unknown(shape, "the network's input was not found, so nothing was followed from it")
        if forward.follower is not None:
            forward.known[key] = read(forward.follower.trace(tensor))
        known = forward.known.get(key)
        if known is None:
            self._follow_again(forward.form)
            return unknown(shape, "it did not run in the forward that was followed")
        if known.shape != shape and (known.is_map or len(known.shape) != len(shape)):
            self._follow_again(forward.form)
            return unknown(shape, "it had another form in the forward that was followed")
        return known

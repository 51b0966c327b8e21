"""Determine how the tensors of a model's layers are read: what each axis means, and where the cells lie.

The first forward of each input size is followed operator by operator (`featscope.capturing.following`), and the result
holds for all later forwards of that size. Nothing is guessed from a shape or a name. A tensor that cannot be followed
is stored unchanged with the reason, unless the user describes its axes (`featscope.capturing.given`).
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

_MOST_TRIES = 3  # the most forwards of one input size that are followed, if a layer did not run in the first


class Laid(NamedTuple):
    """A tensor in the form in which it is stored."""

    field: str
    """Name of the field."""

    tensor: torch.Tensor

    part: MapPart
    """Meaning of its axes, and where its cells lie."""


class Forward:
    """A running forward: counts the calls of its layers, and is followed if it is the first of its input size.

    form: shape and axes of its input. known: what was found: (layer, call, index in its output) -> how it is read.
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
        """Return the number of this call of a layer, counted from 0."""
        self._calls[layer] += 1
        return self._calls[layer] - 1

    def end(self) -> None:
        """Stop following."""
        if self.follower is None or self._kernels is None:
            return
        unwatch(self._kernels)
        self.follower.resting = True
        # If another mode was entered after ours, ours must stay. It does nothing because it is resting.
        if _get_current_function_mode() is self.follower:  # type: ignore[no-untyped-call]
            self.follower.__exit__(None, None, None)


class Proof:
    """Reads tensors by what the current forward, or an earlier one with the same input size, has shown.

    no_maps: layer, or layer:field, whose tensors are not maps of the image -> the reason.
    """

    def __init__(self, given: Optional[GivenReadings] = None) -> None:
        self._given = given or GivenReadings()
        self._known: Dict[_Form, Dict[_Key, Reading]] = {}
        self._tries: DefaultDict[_Form, int] = defaultdict(int)
        self._local = threading.local()
        self.no_maps: Dict[str, str] = {}

    @property
    def forward(self) -> Optional[Forward]:
        """The running forward of this thread."""
        found: Optional[Forward] = getattr(self._local, "forward", None)
        return found

    def begin(self, images: Optional[Images], nested: bool) -> None:
        """Begin a forward with these images. It is followed if it is the first of its input size.

        nested: the forward certainly ends before the code around it, so a mode that is already active does not matter.
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
        """End the forward of this thread. The results of a forward that failed are incomplete and not kept."""
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
        """Return the tensors of one call of a layer, with maps as (N, C, H, W) and other tensors unchanged.

        Raises `BadOptionError` if the axes that the user gave do not match a tensor.
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
            return unknown(shape, "the network's input was not found, so nothing could be followed")
        if forward.follower is not None:
            forward.known[key] = read(forward.follower.trace(tensor))
        known = forward.known.get(key)
        if known is None:
            self._follow_again(forward.form)
            return unknown(shape, "it did not run in the forward that was followed")
        if known.shape != shape and (known.is_map or len(known.shape) != len(shape)):
            self._follow_again(forward.form)
            return unknown(shape, "it had a different shape in the forward that was followed")
        return known

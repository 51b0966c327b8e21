"""One batch of a capture: which of its samples are kept, and what its maps are called."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Any, DefaultDict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray

from featscope.capturing.thin import thin
from featscope.capturing.transfer import Ready, Transfer
from featscope.records import CapturedMap, Policy, Sample, infer_stride
from featscope.store.files import safe_name


class Piece(NamedTuple):
    """One tensor of a layer's output, copied; the fields as in `CapturedMap`."""

    field: str
    array: NDArray[np.generic]
    reduced: str
    channels: Optional[NDArray[np.int64]]
    scales: Optional[NDArray[np.float32]]
    ready: Ready


def _wait_for(waits: Sequence[Ready]) -> None:
    for ready in waits:
        ready()


class Batch:
    """A batch, from its beginning to the next one's.

    >>> batch = Batch(7)
    >>> batch.keep(size=2, rows=[1])
    >>> batch.wanted, [m.folder for m, _ in batch.name("neck", "FPN", "neck.fpn", [])]
    (True, [])

    number: in the files' names. samples: what is known of its samples before it runs. rows: the places of
    those that are kept. used: some layer ran.
    """

    def __init__(self, number: int, samples: Sequence[Sample] = ()) -> None:
        self.number, self.samples = number, list(samples)
        self.size = 0
        self.rows: List[int] = []
        self.input_size: Optional[Tuple[int, int]] = None
        self.used = self.described = False
        self._calls: DefaultDict[str, int] = defaultdict(int)
        self._levels: DefaultDict[str, int] = defaultdict(int)

    def keep(self, size: int, rows: List[int]) -> None:
        """Say how many samples there are, and which are kept."""
        self.size, self.rows = size, rows

    @property
    def wanted(self) -> bool:
        """Whether anything of it is to be stored."""
        return not self.size or bool(self.rows)

    def take(
        self, layer: str, tensors: Sequence[Tuple[str, torch.Tensor]], policy: Policy, copy: Transfer
    ) -> List[Piece]:
        """Copy what the policy keeps of a layer's tensors."""
        pieces = []
        for name, tensor in tensors:
            # Regions of interest are no rows of the batch: they are kept all.
            part = len(self.rows) < self.size and tensor.dim() and len(tensor) == self.size
            thinned = thin(tensor, policy, self.rows if part else None, layer)
            array, ready = copy(thinned.tensor, thinned.owned)
            waits = [ready]
            channels: Any = None
            scales: Any = None
            if thinned.channels is not None:
                channels, ready = copy(thinned.channels, True)
                waits.append(ready)
            if thinned.scales is not None:
                scales, ready = copy(thinned.scales, True)
                waits.append(ready)
            pieces.append(Piece(name, array, thinned.reduced, channels, scales, partial(_wait_for, waits)))
        return pieces

    def name(
        self, layer: str, cls: str, base: str, pieces: Sequence[Piece]
    ) -> Iterator[Tuple[CapturedMap, NDArray[np.generic]]]:
        """The pieces of one call of a layer as maps; `base` is its folder without the field."""
        call = self._calls[layer]
        self._calls[layer] += 1
        for piece in pieces:
            folder = f"{base}.{safe_name(piece.field)}" if piece.field else base
            level = self._levels[folder]
            self._levels[folder] += 1
            stride, shape = None, piece.array.shape
            if self.input_size is not None and len(shape) == 4:
                stride = (infer_stride(self.input_size[0], shape[2]), infer_stride(self.input_size[1], shape[3]))
            captured = CapturedMap(
                layer=layer,
                cls=cls,
                field=piece.field,
                level=level,
                call=call,
                batch=self.number,
                samples=[self.samples[row].id for row in self.rows] if self.samples else [],
                folder=folder,
                stride=stride,
                reduced=piece.reduced,
                channels=piece.channels,
                scales=piece.scales,
                ready=piece.ready,
            )
            yield captured, piece.array

"""Copy a tensor from its device to an array in memory of our own."""

from __future__ import annotations

import weakref
from collections import defaultdict
from typing import Callable, DefaultDict, Dict, List, Tuple

import numpy as np
import torch
from numpy.typing import NDArray

from featscope.arrays.packed import BFLOAT16

KEPT_BYTES = 256 << 20
"""The most bytes of buffers that are kept for reuse."""

Ready = Callable[[], None]


def _at_once() -> None:
    pass


class Transfer:
    """Copies tensors to arrays, so that later in-place operations on a tensor do not change its array.

    >>> array, ready = Transfer()(torch.arange(3), owned=False)
    >>> ready(); array.tolist()
    [0, 1, 2]

    A copy from the CPU is made at once. A copy from a CUDA device runs in a separate stream into pinned memory,
    parallel to the forward, and `ready` waits for it. Buffers are reused: when nobody holds an array any more, the next
    array of the same size gets its memory. So a loop over images allocates (and pins) memory only in its first batches.
    The number of buffers in use is limited by the holder of the arrays, which is the queue of the writer.
    """

    def __init__(self) -> None:
        self._free: DefaultDict[Tuple[int, bool], List[torch.Tensor]] = defaultdict(list)
        self._streams: Dict[torch.device, torch.cuda.Stream] = {}

    def __call__(self, tensor: torch.Tensor, owned: bool) -> Tuple[NDArray[np.generic], Ready]:
        """Copy a tensor. owned: its memory does not belong to the model, so nothing will change it."""
        asynchronous = self._is_asynchronous(tensor)
        size = tensor.numel() * tensor.element_size()
        buffer = self._take(size, asynchronous)
        target = buffer.view(tensor.dtype).view(tensor.shape) if size else torch.empty_like(tensor, device="cpu")
        if asynchronous and not owned:
            tensor = tensor.clone()  # a copy on the device is fast and in order with the forward's operations
        ready = self._copy(tensor, target)
        bfloat16 = target.dtype is torch.bfloat16
        root: NDArray[np.generic] = (target.view(torch.int16) if bfloat16 else target).numpy()
        # Every view keeps `root` alive, so the buffer is free when `root` is deleted.
        weakref.finalize(root, self._give_back, size, asynchronous, buffer).atexit = False
        return root.view(BFLOAT16) if bfloat16 else root, ready

    def _is_asynchronous(self, tensor: torch.Tensor) -> bool:
        return tensor.is_cuda

    def _copy(self, source: torch.Tensor, target: torch.Tensor) -> Ready:
        if not source.is_cuda:
            target.copy_(source)
            return _at_once
        stream = self._streams.get(source.device)
        if stream is None:
            stream = self._streams[source.device] = torch.cuda.Stream(source.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(source.device))
        with torch.cuda.stream(stream):
            target.copy_(source, non_blocking=True)
            source.record_stream(stream)
            event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            event.record(stream)
        ready: Ready = event.synchronize
        return ready

    def _take(self, size: int, pinned: bool) -> torch.Tensor:
        try:
            # Do not check first whether there is one, because the writer's thread may return a buffer at any time.
            return self._free[size, pinned].pop()
        except IndexError:
            return self._allocate(size, pinned)

    def _allocate(self, size: int, pinned: bool) -> torch.Tensor:
        return torch.empty(size, dtype=torch.uint8, pin_memory=pinned)

    def _give_back(self, size: int, pinned: bool, buffer: torch.Tensor) -> None:
        kept = sum(size * len(buffers) for (size, _), buffers in list(self._free.items()))
        if kept + size <= KEPT_BYTES:
            self._free[size, pinned].append(buffer)

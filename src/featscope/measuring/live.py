"""Run a forward that keeps the graph from its input to its maps, which are arranged and named as in a capture."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featscope.capturing.batch import Batch, Piece
from featscope.capturing.batches import Batches
from featscope.capturing.calls import unwatch, watch
from featscope.capturing.folders import FolderNames
from featscope.capturing.given import GivenReadings
from featscope.capturing.handover import Handover
from featscope.capturing.inputs import NoCompanion, find_images
from featscope.capturing.layers import children_of, parameters_of, select, unwrap
from featscope.capturing.ledger import Ledger
from featscope.capturing.listener import Listener
from featscope.capturing.proof import Laid, Proof
from featscope.capturing.remarks import Remarks
from featscope.capturing.session import Capture
from featscope.capturing.speakers import Speakers
from featscope.records import CapturedMap, Picture, Place, Policy, Sample, Size

_MAP = ("sample", "channel", "row", "column")


class LiveMap(NamedTuple):
    """A map (N, C, H, W) with its graph. place: the place found by following operators, or the assumed one."""

    layer: str
    field: str
    level: int
    tensor: torch.Tensor
    place: Place


class Fed:
    """Finds the first floating-point batch of images that a model or one of its parts receives, and adds a gradient."""

    def __init__(self, model: nn.Module) -> None:
        self.images: Optional[torch.Tensor] = None
        self.axes: Tuple[int, int] = (2, 3)
        self._parts = {id(model), *(id(child) for _, child in children_of(model))}

    @property
    def size(self) -> Optional[Size]:
        """Size of the input, (height, width)."""
        if self.images is None:
            return None
        return int(self.images.shape[self.axes[0]]), int(self.images.shape[self.axes[1]])

    def begin(self, module: nn.Module, arguments: Tuple[object, ...], named: Dict[str, object]) -> None:
        """Notice that a module is called (`featscope.capturing.calls`)."""
        if self.images is None and id(module) in self._parts:
            found = find_images([*arguments, *named.values()])
            if found is None or found.batch is None or found.batch.dim() != 4 or not found.batch.is_floating_point():
                return
            self.images = found.batch.requires_grad_(True) if found.batch.is_leaf else found.batch
            self.axes = found.axes[:2]


class _LiveHandover(Handover):
    """Keeps tensors with their graph instead of copying them to the CPU."""

    def __init__(self, sink: _LiveSink, folders: FolderNames, ledger: Ledger, remarks: Remarks) -> None:
        super().__init__(sink, folders, Policy(), ledger, remarks)
        self._live = sink

    def take(self, batch: Batch, asked: str, layer: str, tensors: Sequence[Laid]) -> List[Piece]:
        batch.used = True
        self.stored.add(asked)
        pieces = []
        for laid in tensors:
            if laid.part.axes != _MAP or not laid.tensor.is_floating_point():
                tensor, shape = None, tuple(laid.tensor.shape)
            else:
                tensor, shape = (
                    laid.tensor.clone(),
                    tuple(laid.tensor.shape),
                )  # a later in-place operation must not change it
            mark: NDArray[np.generic] = np.broadcast_to(np.zeros(1, np.float32), shape)
            self._live.tensors[id(mark)] = tensor
            pieces.append(
                Piece(laid.field, laid.part, array=mark, reduced="", channels=None, scales=None, ready=lambda: None)
            )
        return pieces


class _LiveSink:
    """Receives the names of maps, and finds the tensor of each."""

    def __init__(self) -> None:
        self.tensors: Dict[int, Optional[torch.Tensor]] = {}
        self.maps: List[LiveMap] = []

    def put(self, captured: CapturedMap, array: NDArray[np.generic]) -> None:
        tensor = self.tensors.pop(id(array), None)
        if tensor is not None and captured.place is not None:
            self.maps.append(LiveMap(captured.layer, captured.field, captured.level, tensor, captured.place))

    def put_sample(self, sample: Sample, picture: Optional[Picture]) -> None:
        pass

    def close(self, finished: bool) -> None:
        self.tensors.clear()


class Live:
    """A forward of a model with gradients from its maps to its input.

    >>> with live(model, ["neck"]) as forward:                              # doctest: +SKIP
    ...     detector.detect([item])
    >>> forward.maps[0].tensor.shape, forward.fed.size                      # doctest: +SKIP
    (torch.Size([1, 64, 128, 128]), (1024, 1024))
    """

    def __init__(
        self, model: nn.Module, layers: Sequence[str], names: Mapping[str, str], axes: Mapping[str, str]
    ) -> None:
        inner = unwrap(model)
        self.fed = Fed(inner)
        chosen = select(model, layers)
        self._sink = _LiveSink()
        remarks, ledger, proof = Remarks("raise"), Ledger(), Proof(GivenReadings(axes))
        speakers = Speakers(inner, chosen)
        folders = FolderNames(inner, [layer.name for layer in chosen], names)
        handover = _LiveHandover(self._sink, folders, ledger, remarks)
        companion = NoCompanion()
        batches = Batches(companion, ledger, handover, proof, remarks)
        listener = Listener(
            model,
            chosen,
            speakers=speakers,
            batches=batches,
            handover=handover,
            proof=proof,
            inputs=(),
            remarks=remarks,
        )
        self.capture = Capture(listener, batches, handover, companion, ledger, remarks=remarks, asked=False)

    @property
    def maps(self) -> Sequence[LiveMap]:
        """All maps of the forward, after it has ended."""
        return self._sink.maps


@contextmanager
def live(
    model: nn.Module,
    layers: Sequence[str],
    names: Optional[Mapping[str, str]] = None,
    axes: Optional[Mapping[str, str]] = None,
) -> Iterator[Live]:
    """Run one forward of a model in a block, and keep its graph from the input to the maps.

    layers, names, axes: as in `featscope.capture`. Weights get no gradients, and the model is restored afterwards.
    """
    forward = Live(model, layers, names or {}, axes or {})
    frozen = [parameter for parameter in parameters_of(unwrap(model)) if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    watch(forward.fed)
    try:
        with torch.enable_grad(), forward.capture:
            forward.capture.start_batch(0, ["live"])
            yield forward
            forward.capture.end_batch()
    finally:
        unwatch(forward.fed)
        for parameter in frozen:
            parameter.requires_grad_(True)

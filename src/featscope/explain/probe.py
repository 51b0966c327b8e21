"""A layer seen from inside a forward: what it gives is kept with its gradient, or changed on the way."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Callable, List, Optional, Sequence, Type

import torch
from torch import nn
from torch.utils._pytree import tree_map
from torch.utils.hooks import RemovableHandle

from featscope.arrays.readings import Reading, read
from featscope.capturing.following import Followed
from featscope.capturing.layers import select
from featscope.capturing.laying import maps_of
from featscope.errors import CaptureError
from featscope.records import Place

Tensor = torch.Tensor
Change = Callable[[Tensor], Tensor]

_MAP = ("sample", "channel", "row", "column")


class Probe:
    """Keeps the maps that one layer gives, while a block runs.

    >>> with Probe(model, "neck") as probe, torch.enable_grad():               # doctest: +SKIP
    ...     score = model(image).max()
    >>> gradients = torch.autograd.grad(score, probe.kept)                     # doctest: +SKIP

    Nothing before the layer is part of the graph, and no weight gets a gradient, which is what makes one
    backward cheap. What goes on is a copy: a later in-place operation does not change what is kept.

    layer: a name, a glob, or several by comma, each the next level. change: applied to each map on its way
    on, (N, C, H, W) to the same.

    Raises `UnknownNameError` for a layer that the model does not have.
    """

    def __init__(self, model: nn.Module, layer: str, change: Optional[Change] = None, gradients: bool = True) -> None:
        self._model, self._layer, self._change, self._gradients = model, layer, change, gradients
        self._choices = select(model, layer.split(","))
        self._followed = Followed(model)
        self._readings: List[Reading] = []
        self._handles: List[RemovableHandle] = []
        self._frozen: List[nn.Parameter] = []
        self._running = 0
        self.kept: List[Tensor] = []

    def __enter__(self) -> Probe:
        if self._change is None:
            self._followed.__enter__()
        for parameter in self._model.parameters():
            if parameter.requires_grad and self._gradients:
                parameter.requires_grad_(False)
                self._frozen.append(parameter)
        for choice in self._choices:
            # A ModuleList stands for the layers below it that run; of nested ones the outermost.
            for module in choice.module.modules():
                self._handles.append(module.register_forward_pre_hook(self._before))
                self._handles.append(module.register_forward_hook(self._after))
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self._change is None:
            self._followed.__exit__(kind, error, trace)
        for handle in self._handles:
            handle.remove()
        for parameter in self._frozen:
            parameter.requires_grad_(True)

    def _before(self, _module: nn.Module, _inputs: Any) -> None:
        self._running += 1

    def _after(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        self._running -= 1
        return None if self._running else tree_map(self._fork, output)

    def _fork(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.dim() < 3:
            return value
        if self._change is not None:
            return self._change(value) if value.dim() == 4 else value
        self._readings.append(read(self._followed.follower.trace(value)))
        if not self._gradients:
            self.kept.append(value.detach().clone())
            return value
        kept = value if value.requires_grad else value.detach().requires_grad_(True)
        self.kept.append(kept)
        return kept.clone()

    def maps(self, tensors: Sequence[Optional[Tensor]], row: int) -> List[Optional[Tensor]]:
        """One image's maps (C, H, W) of tensors like `kept`: tokens laid out, of several levels one after another."""
        found: List[Optional[Tensor]] = []
        for kept, tensor, reading in zip(self.kept, tensors, self._readings):
            laid = maps_of(reading, kept if tensor is None else tensor) if reading.is_map else []
            maps = [map_ for part, map_ in laid if part.axes == _MAP]
            found += [None if tensor is None or row >= len(one) else one[row].detach().float() for one in maps]
        return found

    @property
    def places(self) -> List[Optional[Place]]:
        """Where the cells of each of these maps lie, where that was followed."""
        return [part.place for reading in self._readings for part in reading.parts if part.axes == _MAP]

    def check(self) -> None:
        """Raise `CaptureError` where the layer gave no map."""
        if self.kept and not any(reading.is_map for reading in self._readings):
            raise CaptureError(
                f"layer {self._layer!r} gave no map of the image ({self._readings[0].why}), so nothing can be shown at "
                "it; see how each layer is read: featscope layers MODEL"
            )
        if not self.kept:
            raise CaptureError(
                f"layer {self._layer!r} did not run or gave no map, so nothing can be explained at it; "
                "see what runs: featscope layers MODEL"
            )

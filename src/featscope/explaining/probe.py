"""Access a layer during a forward: keep its output with the gradient, or change it."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple, Type

import torch
from torch import nn
from torch.utils._pytree import tree_map
from torch.utils.hooks import RemovableHandle

from featscope.arrays.readings import MapPart, Reading, read
from featscope.capturing.following import Followed
from featscope.capturing.layers import modules_of, select
from featscope.capturing.laying import maps_of
from featscope.capturing.speakers import Node, Speakers, Verdict
from featscope.errors import BadOptionError, CaptureError
from featscope.records import Place

Tensor = torch.Tensor

Change = Callable[[int, Tensor], Tensor]
"""Index of a tensor in a layer's output, and the tensor -> its replacement."""

_MAP = ("sample", "channel", "row", "column")


class Probe:
    """Keeps the maps of one layer while a block runs.

    >>> with Probe(model, "neck") as probe, torch.enable_grad():               # doctest: +SKIP
    ...     score = model(image).max()
    >>> gradients = torch.autograd.grad(score, probe.kept)                     # doctest: +SKIP

    Nothing before the layer is part of the graph, and no weight gets a gradient, so a backward is cheap. The model
    continues with a copy, so that later in-place operations do not change the kept tensor. The module that speaks for
    the layer is found as in a capture (`featscope.capturing.speakers`), so an activation object that several layers
    share only counts in the layer in which it runs.

    layer: a name, a glob, or several separated by commas, each of which is the next level. gradients: keep the maps
    with their gradients.

    Raises `UnknownNameError` for a layer that the model does not have.
    """

    def __init__(self, model: nn.Module, layer: str, gradients: bool = True) -> None:
        self._model, self._layer, self._gradients = model, layer, gradients
        choices = select(model, layer.split(","))
        for choice in choices:
            if choice.attribute:
                whole = choice.name.rpartition(".")[0]
                raise BadOptionError(
                    f"{choice.name!r} is an attribute that {whole!r} sets, not a layer; explain the layer: -l {whole}"
                )
        self._speakers = Speakers(model, choices)
        self._listening = _Listening(model, self._speakers, self._keep)
        self._followed = Followed(model)
        self._frozen: List[nn.Parameter] = []
        self._found: List[_Kept] = []

    def __enter__(self) -> Probe:
        self._followed.__enter__()
        for parameter in self._model.parameters():
            if parameter.requires_grad and self._gradients:
                parameter.requires_grad_(False)
                self._frozen.append(parameter)
        self._listening.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._listening.stop()
        self._followed.__exit__(kind, error, trace)
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        waiting = [one for one in self._found if one.waits]
        spoke = dict(zip(map(id, waiting), self._speakers.settle([one.node for one in waiting])))
        self._found = [one for one in self._found if spoke.get(id(one), True)]

    def _keep(self, node: Node, waits: bool, value: Tensor) -> Tensor:
        """Keep a tensor of the layer's output. Returns what the model continues with."""
        reading = read(self._followed.follower.trace(value))
        if not self._gradients:
            self._found.append(_Kept(node, waits, value.detach().clone(), reading))
            return value
        kept = value if value.requires_grad else value.detach().requires_grad_(True)
        self._found.append(_Kept(node, waits, kept, reading))
        return kept.clone()

    @property
    def kept(self) -> List[Tensor]:
        """The tensors of the layer's output, in order."""
        return [one.tensor for one in self._found]

    def maps(self, tensors: Sequence[Optional[Tensor]], row: int) -> List[Optional[Tensor]]:
        """Return one image's maps (C, H, W) from tensors like `kept`, with tokens arranged as maps, for all levels."""
        found: List[Optional[Tensor]] = []
        for kept, tensor in zip(self._found, tensors):
            laid = maps_of(kept.reading, kept.tensor if tensor is None else tensor) if kept.reading.is_map else []
            maps = [map_ for part, map_ in laid if part.axes == _MAP]
            found += [None if tensor is None or row >= len(one) else one[row].detach().float() for one in maps]
        return found

    @property
    def places(self) -> List[Optional[Place]]:
        """Where the cells of each map lie; None if that could not be followed."""
        return [part.place for kept in self._found for part in kept.parts]

    def check(self) -> None:
        """Raise `CaptureError` if the layer's output does not contain a map."""
        if not self._found:
            raise CaptureError(
                f"layer {self._layer!r} did not run or did not give a map, so nothing can be explained at it; "
                "to see which layers run: featscope layers MODEL"
            )
        if not any(kept.reading.is_map for kept in self._found):
            raise CaptureError(
                f"layer {self._layer!r} did not give a map of the image ({self._found[0].reading.why}), so nothing can "
                "be shown at it; to see how each layer is read: featscope layers MODEL"
            )

    def channel_of(self, level: int) -> ChannelAxis:
        """Return where the channels of a map lie in the layer's output.

        Raises `CaptureError` if several maps share these channels.
        """
        numbers = [number for number, kept in enumerate(self._found) for _ in kept.parts]
        kept = self._found[numbers[level]]
        axes = kept.reading.axes
        if len(kept.parts) > 1 or axes.count("channel") != 1:
            raise CaptureError(
                f"the channels of layer {self._layer!r} cannot be removed one by one, because its tensor contains "
                "several maps; choose another layer, or a method by gradient"
            )
        sample = axes.index("sample") if "sample" in axes else None
        return ChannelAxis(numbers[level], axes.index("channel"), sample)

    def changing(self, change: Change) -> _Listening:
        """Change the layer's output in a block."""
        count = iter(range(1 << 62))
        return _Listening(self._model, self._speakers, lambda _node, _waits, value: change(next(count), value))


class ChannelAxis(NamedTuple):
    """Where the channels of a map lie in a layer's output."""

    tensor: int
    """Index of the tensor in the layer's output."""

    axis: int
    """Axis of the channels."""

    sample: Optional[int]
    """Axis of the samples; None if windows of all samples lie along one axis."""


class _Kept(NamedTuple):
    """A tensor of a module's output. waits: whether the layer itself may still run."""

    node: Node
    waits: bool
    tensor: Tensor
    reading: Reading

    @property
    def parts(self) -> List[MapPart]:
        """The maps of the image in the tensor."""
        return [part for part in self.reading.parts if part.axes == _MAP]


class _Listening:
    """Hooks on the modules that may speak for a layer. Their output passes through a function.

    A probe must change the output of a module, which `featscope.capturing.calls` cannot do, so hooks are needed here.
    """

    def __init__(self, model: nn.Module, speakers: Speakers, take: Callable[[Node, bool, Tensor], Tensor]) -> None:
        self._model, self._speakers, self._take = model, speakers, take
        self._handles: List[RemovableHandle] = []
        self._running: List[Tuple[str, Sequence[Node]]] = []
        self._inside: Counter[str] = Counter()

    def start(self) -> None:
        """Add the hooks."""
        watched = set(self._speakers.watched())
        for _, module in modules_of(self._model, shared=False):
            if id(module) in watched:
                self._handles.append(module.register_forward_pre_hook(self._before))
                self._handles.append(module.register_forward_hook(self._after))

    def stop(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> _Listening:
        self.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.stop()

    def _before(self, module: nn.Module, _inputs: object) -> None:
        name = self._speakers.name_now(id(module), [running for running, _ in self._running])
        nodes = self._speakers.nodes(id(module), name)
        self._running.append((name, nodes))
        self._inside.update(node.asked for node in nodes)

    def _after(self, _module: nn.Module, _inputs: object, output: object) -> object:
        _, nodes = self._running.pop()
        self._inside.subtract(node.asked for node in nodes)
        for node in nodes:
            if self._inside[node.asked]:
                continue  # a module around it speaks for it
            verdict = self._speakers.verdict(node)
            if verdict is not Verdict.SILENT:
                return tree_map(lambda value: self._pass(node, verdict is Verdict.WAITS, value), output)  # noqa: B023
        return None

    def _pass(self, node: Node, waits: bool, value: object) -> object:
        if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.dim() < 3:
            return value
        return self._take(node, waits, value)

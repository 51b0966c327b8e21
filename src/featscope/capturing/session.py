"""The capture itself: hooks on the chosen layers, for as long as a block lasts."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any, DefaultDict, Dict, List, Mapping, Optional, Sequence, Set, Tuple, Type, Union

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.hooks import RemovableHandle

from featscope.capturing.flatten import flatten
from featscope.capturing.folders import FolderNames
from featscope.capturing.memory import MemorySink
from featscope.capturing.names import field_names
from featscope.capturing.select import Choice, select, unwrap
from featscope.capturing.transfer import to_array
from featscope.errors import CaptureError
from featscope.records import CapturedMap, RunInfo, Sample, Sink, infer_stride
from featscope.store.files import safe_name
from featscope.store.writer import RunWriter

# Module state, because `tap` is called from deep inside a model that knows nothing of the capture.
_active: List[Capture] = []


def capture(
    model: nn.Module,
    layers: Optional[Sequence[str]] = None,
    to: Union[str, Path, Sink, None] = None,
    names: Optional[Mapping[str, str]] = None,
    info: Optional[RunInfo] = None,
    rank: int = 0,
    world_size: int = 1,
) -> Capture:
    """Capture the outputs of a model's layers while a block runs.

    >>> with capture(model, ["backbone", "neck", "bbox_head_*"], to="runs/mine"):  # doctest: +SKIP
    ...     for image in images:
    ...         model(image)

    layers: names and globs (`featscope layers` lists them), '!name' excludes; None takes every
    top-level part. to: a folder for a new run, or a `Sink`; None keeps the maps in memory. names:
    puts another name in place of `<layer>.<class>` of a folder. Each call of the model is a batch.
    rank, world_size: with several processes on one folder, each counts its own batches.

    The model is unchanged afterwards, also after an exception. Raises `UnknownNameError` for a name
    the model does not have, `CaptureError` where the chosen layers did not run.
    """
    layers = [layers] if isinstance(layers, str) else layers
    choices = select(unwrap(model), layers)
    folders = FolderNames(unwrap(model), [choice.name for choice in choices], names or {})
    sink: Any = to
    if to is None:
        sink = MemorySink()
    elif isinstance(to, (str, Path)):
        info = info or RunInfo(model=type(model).__name__)
        sink = RunWriter(to, msgspec.structs.replace(info, layers=[c.name for c in choices]), rank)
    asked = any(not pattern.startswith("!") for pattern in layers or ())
    return Capture(model, choices, sink, folders, asked, world_size, rank)


def tap(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Capture a tensor that is no module's output; put it in a forward, it returns its argument.

    >>> x = torch.zeros(1, 3, 8, 8)
    >>> tap("attention", x) is x
    True

    Outside of a capture it does nothing.
    """
    for session in _active:
        session._take_tap(name, tensor)
    return tensor


class Capture:
    """A capture in progress; `featscope.capture` makes it. See there."""

    def __init__(
        self,
        model: nn.Module,
        choices: Sequence[Choice],
        sink: Sink,
        folders: FolderNames,
        asked: bool,
        batch_step: int = 1,
        first_batch: int = 0,
    ) -> None:
        self.sink = sink
        self.batch = self._last = first_batch
        self._model, self._choices, self._asked = unwrap(model), list(choices), asked
        self._compiled = _is_compiled(model)
        self._step = batch_step
        self._handles: List[RemovableHandle] = []
        self._expanding: Dict[str, List[RemovableHandle]] = {}
        self._running: DefaultDict[str, int] = defaultdict(int)
        self._calls: DefaultDict[str, int] = defaultdict(int)
        self._levels: DefaultDict[str, int] = defaultdict(int)
        self._ran: Set[str] = set()
        self._held: List[Tuple[str, str, nn.Module, List[Tuple[str, NDArray[np.generic]]]]] = []
        self._stand_ins: Dict[str, Set[str]] = {}
        self._folders = folders
        self._sample_ids: List[str] = []
        self._input_size: Optional[Tuple[int, int]] = None
        self._in_forward = False
        self._batch_used = False

    def __enter__(self) -> Capture:
        try:
            self._attach()
        except BaseException:
            self._detach()
            self.sink.close(False)
            raise
        _active.append(self)
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        _active.remove(self)
        self._finish_batch()
        self._detach()
        missing = [] if kind else self._never_ran()
        try:
            self.sink.close(kind is None and not missing)
        except Exception:
            # The block's own error is the news; one of the sink that follows from it is not.
            if kind is None:
                raise
        if missing:
            raise CaptureError(self._explain(missing))

    def describe(
        self, samples: Sequence[Sample], pictures: Optional[Sequence[Optional[NDArray[np.uint8]]]] = None
    ) -> None:
        """Say which samples the batch held that the model ran on last.

        pictures: each sample's input, (H, W, 3) uint8 RGB. Samples in the order of the batch; ids
        given to `start_batch` before must be the same.
        """
        for sample, picture in zip(samples, pictures or [None] * len(samples)):
            self.sink.put_sample(msgspec.structs.replace(sample, batch=self._last), picture)

    def start_batch(self, number: int, sample_ids: Sequence[str] = ()) -> None:
        """Begin a batch by hand: its number and the ids of its samples."""
        self._finish_batch()
        self.batch = self._last = number
        self._sample_ids = list(sample_ids)

    # Hooks

    def _attach(self) -> None:
        self._handles.append(self._model.register_forward_pre_hook(self._before_model, with_kwargs=True))
        self._handles.append(self._model.register_forward_hook(self._after_model))
        for choice in self._choices:
            for module in choice.module.modules():
                if isinstance(module, torch.jit.ScriptModule):
                    raise CaptureError(
                        f"layer {choice.name!r} is scripted (torch.jit), and scripted models skip hooks; "
                        "capture the model before torch.jit.script"
                    )
            if choice.attribute:
                self._handles.append(choice.module.register_forward_hook(self._attribute_hook(choice)))
                continue
            self._watch(choice.name, choice.name, choice.module, self._handles)
            below = self._expanding.setdefault(choice.name, [])
            for path, module in choice.module.named_modules(prefix=choice.name):
                if path != choice.name:
                    self._watch(choice.name, path, module, below)

    def _watch(self, asked: str, path: str, module: nn.Module, handles: List[RemovableHandle]) -> None:
        """Take a module's output unless a module above it, up to the one asked for, is running.

        So a ModuleList, or a head whose `predict` is called in place of its forward, stands for the
        nearest layers below it that run.
        """

        def before(_module: nn.Module, _inputs: Any) -> None:
            self._running[asked] += 1

        def after(module: nn.Module, _inputs: Any, output: Any) -> None:
            self._running[asked] -= 1
            if self._running[asked]:
                return
            self._ran.add(asked)
            if path == asked:
                self._settle(asked)
                self._store(path, module, self._name_tensors(module, output))
            else:
                self._stand_in(asked, path, module, output)

        handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(after))

    def _stand_in(self, asked: str, path: str, module: nn.Module, output: Any) -> None:
        """Take a layer below one that has not run so far.

        In the first batch it is kept apart until the forward ends: the layer asked for, or one
        between, may still run, and then speaks for all below it (S2ANet calls the alignment module
        of its refine head before the head itself).
        """
        known = self._stand_ins.get(asked)
        if known is None:
            arrays = [(field, to_array(tensor)) for field, tensor in self._name_tensors(module, output)]
            self._held.append((asked, path, module, arrays))
        elif not any(path.startswith(other + ".") for other in known):
            known.add(path)
            self._store(path, module, self._name_tensors(module, output))

    def _release_held(self) -> None:
        """The first batch is over: store what was kept apart and has nothing above it that ran."""
        for asked, path, module, arrays in self._held:
            known = self._stand_ins.setdefault(asked, {p for a, p, _, _ in self._held if a == asked})
            if not any(path.startswith(other + ".") for other in known):
                self._store(path, module, arrays)
        self._held.clear()

    def _settle(self, asked: str) -> None:
        """The layer runs by itself: those below it need no watching."""
        for handle in self._expanding.pop(asked, []):
            handle.remove()
        self._held = [held for held in self._held if held[0] != asked]

    def _attribute_hook(self, choice: Choice) -> Any:
        def after(module: nn.Module, _inputs: Any, _output: Any) -> None:
            self._ran.add(choice.name)
            if not hasattr(module, choice.attribute):
                raise CaptureError(f"{choice.name!r} was not set by the forward of its layer")
            self._store(choice.name, module, flatten(getattr(module, choice.attribute)))

        return after

    def _detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for asked in list(self._expanding):
            self._settle(asked)

    # Batches

    def _before_model(self, _module: nn.Module, inputs: Tuple[Any, ...], named: Dict[str, Any]) -> None:
        if self._in_forward:  # the forward before this one failed, and its error was caught
            self._finish_batch()
        self._in_forward = True
        self._last = self.batch
        self._input_size = _image_size([*inputs, *named.values()])

    def _after_model(self, _module: nn.Module, _inputs: Any, _output: Any) -> None:
        if not self._ran:
            raise CaptureError(self._explain([choice.name for choice in self._choices]))
        self._in_forward = False
        self._finish_batch()

    def _finish_batch(self) -> None:
        if self._in_forward:  # it failed: counts are left over, and which layers run is not known yet
            self._running.clear()
            self._held.clear()
            self._in_forward = False
        self._release_held()
        if self._batch_used:
            self.batch += self._step
        self._batch_used = False
        self._calls.clear()
        self._levels.clear()
        self._input_size = None
        self._sample_ids = []

    # Maps

    def _take_tap(self, name: str, tensor: torch.Tensor) -> None:
        self._store(name, None, [("", tensor)])

    def _name_tensors(self, module: nn.Module, output: Any) -> List[Tuple[str, torch.Tensor]]:
        count = len(output) if isinstance(output, (tuple, list)) else 1
        return flatten(output, field_names(module, count) if count > 1 else None)

    def _store(
        self,
        layer: str,
        module: Optional[nn.Module],
        values: Sequence[Tuple[str, Union[torch.Tensor, NDArray[np.generic]]]],
    ) -> None:
        """Hand a layer's values to the sink; without a module they are a tap's."""
        self._batch_used = True
        cls = type(module).__name__ if module is not None else "tap"
        call = self._calls[layer]
        self._calls[layer] += 1
        base = self._folders.of(layer, cls)
        for field, value in values:
            folder = f"{base}.{safe_name(field)}" if field else base
            level = self._levels[folder]
            self._levels[folder] += 1
            stride = None
            if self._input_size is not None and len(value.shape) == 4:
                height, width = self._input_size
                stride = (infer_stride(height, value.shape[2]), infer_stride(width, value.shape[3]))
            captured = CapturedMap(
                layer=layer,
                cls=cls,
                field=field,
                level=level,
                call=call,
                batch=self.batch,
                samples=self._sample_ids,
                folder=folder,
                stride=stride,
            )
            self.sink.put(captured, to_array(value) if isinstance(value, torch.Tensor) else value)

    # Errors

    def _never_ran(self) -> List[str]:
        if not self._asked and self._ran:
            return []
        return [choice.name for choice in self._choices if choice.name not in self._ran]

    def _explain(self, missing: Sequence[str]) -> str:
        fact = f"{', '.join(map(repr, missing[:5]))} did not run, so there is nothing to capture"
        if self._compiled:
            return (
                f"{fact}: the model is compiled (torch.compile), and compiled code skips hooks; "
                "call torch.compiler.reset() before the capture, or capture the model before it is compiled"
            )
        return f"{fact}; see what runs: featscope layers MODEL"


def _image_size(arguments: Sequence[Any]) -> Optional[Tuple[int, int]]:
    """(height, width) of the first batch of images among a forward's arguments."""
    for tensor in arguments:
        if isinstance(tensor, torch.Tensor) and tensor.dim() == 4:
            return int(tensor.shape[2]), int(tensor.shape[3])
    return None


def _is_compiled(model: nn.Module) -> bool:
    return any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )

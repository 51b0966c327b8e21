"""The capture itself: for as long as a block lasts, batch after batch."""

from __future__ import annotations

import warnings
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any, DefaultDict, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, Union

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.hooks import RemovableHandle

from featscope.capturing.estimate import Footprint, refuse_what_does_not_fit
from featscope.capturing.folders import FolderNames
from featscope.capturing.memory import MemorySink
from featscope.capturing.policy import SampleFilter, make_policy, thin
from featscope.capturing.ranks import rank_and_world_size
from featscope.capturing.select import Choice, select, unwrap
from featscope.capturing.transfer import Ready, Transfer
from featscope.capturing.watch import LayerWatch
from featscope.errors import BadOptionError, BadRunError, CaptureError, OutputError
from featscope.records import CapturedMap, Policy, RunInfo, Sample, Sink, infer_stride
from featscope.store.files import safe_name
from featscope.store.writer import RunWriter

# Module state, because `tap` is called from deep inside a model that knows nothing of the capture.
_active: List[Capture] = []


def capture(
    model: nn.Module,
    layers: Optional[Sequence[str]] = None,
    to: Union[str, Path, Sink, None] = None,
    names: Optional[Mapping[str, str]] = None,
    policy: Union[Policy, Mapping[str, Any], None] = None,
    resume: bool = False,
    on_error: str = "raise",
    dataset_size: Optional[int] = None,
    info: Optional[RunInfo] = None,
    rank: Optional[int] = None,
    world_size: Optional[int] = None,
) -> Capture:
    """Capture the outputs of a model's layers while a block runs.

    >>> with capture(model, ["backbone", "neck", "bbox_head_*"], to="runs/mine"):  # doctest: +SKIP
    ...     for image in images:
    ...         model(image)

    layers: names and globs (`featscope layers` lists them), '!name' excludes; None takes every
    top-level part. to: a folder for a new run, or a `Sink`; None keeps the maps in memory. names:
    puts another name in place of `<layer>.<class>` of a folder. Each call of the model is a batch.
    policy: how much is stored, a `Policy` or its fields as a dict: {'dtype': 'float16', 'every': 10}.
    resume: go on with the run in `to`, if there is one; run the same loop from its start, and what is
    stored already is not stored again. on_error: 'raise', or 'warn' to let the model run on without
    capture when the disk fails. dataset_size: samples of the data set over all ranks; with it the run is
    refused if the disk has no room for it, and what a distributed sampler repeats is left out. rank,
    world_size: by default those of torch.distributed or torchrun.

    The model is unchanged afterwards, also after an exception. Raises `UnknownNameError` for a name
    the model does not have, `CaptureError` where the chosen layers did not run, `BadRunError` where the
    folder holds another run, `OutputError` where nothing can be written.
    """
    if on_error not in ("raise", "warn"):
        raise BadOptionError(f"on_error={on_error!r} means nothing; type 'raise' or 'warn'")
    layers = [layers] if isinstance(layers, str) else layers
    inner = unwrap(model)
    choices = select(inner, layers)
    folders = FolderNames(inner, [choice.name for choice in choices], names or {})
    policy = make_policy(policy)
    if rank is None or world_size is None:
        rank, world_size = rank_and_world_size()
    samples = SampleFilter(policy, dataset_size, rank, world_size)
    sink: Any = to
    if to is None:
        sink = MemorySink()
    elif isinstance(to, (str, Path)):
        info = msgspec.structs.replace(
            info or RunInfo(model=type(inner).__name__),
            parameters=sum(p.numel() for p in inner.parameters() if not isinstance(p, nn.UninitializedParameter)),
            layers=[choice.name for choice in choices],
            names=dict(names or {}),
            policy=policy,
            ranks=world_size,
        )
        sink = RunWriter(to, info, rank, resume=resume)
    asked = any(not pattern.startswith("!") for pattern in layers or ())
    return Capture(model, choices, sink, folders, policy, samples, on_error, asked, rank, world_size)


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


class _Piece(NamedTuple):
    """One tensor of a layer's output, copied; the fields as in `CapturedMap`."""

    field: str
    array: NDArray[np.generic]
    reduced: str
    channels: Optional[NDArray[np.int64]]
    scales: Optional[NDArray[np.float32]]
    ready: Ready


class Capture:
    """A capture in progress; `featscope.capture` makes it. See there."""

    def __init__(
        self,
        model: nn.Module,
        choices: Sequence[Choice],
        sink: Sink,
        folders: FolderNames,
        policy: Policy,
        samples: SampleFilter,
        on_error: str,
        asked: bool,
        rank: int,
        world_size: int,
    ) -> None:
        self.sink = sink
        self.batch = self._last = rank
        self._model, self._choices, self._folders = unwrap(model), list(choices), folders
        self._policy, self._samples, self._on_error, self._asked = policy, samples, on_error, asked
        self._world_size = world_size
        self._compiled = _is_compiled(model)
        self._transfer = Transfer()
        if self._compiled and hasattr(torch, "compiler"):  # compiled code traces hooks: what copies stays out of it
            self._take = torch.compiler.disable(self._take)  # type: ignore[method-assign, no-untyped-call]
            self._store = torch.compiler.disable(self._store)  # type: ignore[method-assign, no-untyped-call]
        self._watch = LayerWatch(choices, self._take, self._store)
        self._handles: List[RemovableHandle] = []
        self._already: Mapping[int, Sequence[str]] = getattr(sink, "stored", {})
        self._footprint: Optional[Footprint] = Footprint() if samples.kept() is not None else None
        self._calls: DefaultDict[str, int] = defaultdict(int)
        self._levels: DefaultDict[str, int] = defaultdict(int)
        self._sample_ids: List[str] = []
        self._begun: List[Sample] = []
        self._undescribed: List[Sample] = []
        self._rows: Optional[List[int]] = None
        self._last_rows: List[int] = []
        self._size = 0
        self._input_size: Optional[Tuple[int, int]] = None
        self._in_forward = self._batch_used = self._ever_ran = self._stopped = False

    def __enter__(self) -> Capture:
        try:
            self._handles.append(self._model.register_forward_pre_hook(self._before_model, with_kwargs=True))
            self._handles.append(self._model.register_forward_hook(self._after_model))
            self._watch.attach()
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
        failure = error
        try:
            self._finish_batch()
            self._describe_by_name()
        except OutputError as refused:
            failure = failure or refused
        self._detach()
        missing = [] if kind or failure else self._never_ran()
        try:
            self.sink.close(not (kind or failure or missing or self._stopped))
        except Exception as late:  # noqa: BLE001 (raised again, or less than what came first)
            # The block's own error is the news; one of the sink that follows from it is not.
            if not (kind or failure or self._stopped):
                self._report(late)
        if kind is None and failure is not None:
            raise failure
        if missing:
            raise CaptureError(self._explain(missing))

    @property
    def wanted(self) -> bool:
        """Whether the batch that `start_batch` began has samples to store; if not, its forward can be left out."""
        return self._rows is None or bool(self._rows)

    def start_batch(self, number: int, sample_ids: Sequence[str] = (), paths: Sequence[str] = ()) -> None:
        """Begin a batch by hand: its number, and the ids and files of its samples."""
        self._finish_batch()
        self._describe_by_name()
        self.batch = self._last = number
        if sample_ids:
            paths = paths or [""] * len(sample_ids)
            self._choose_samples(len(sample_ids), list(zip(sample_ids, paths)), list(sample_ids))
            self._begun = [Sample(id=name, path=path) for name, path in zip(sample_ids, paths)]

    def describe(
        self, samples: Sequence[Sample], pictures: Optional[Sequence[Optional[NDArray[np.uint8]]]] = None
    ) -> None:
        """Say which samples the batch held that the model ran on last.

        pictures: each sample's input, (H, W, 3) uint8 RGB. Samples in the order of the batch; ids
        given to `start_batch` before must be the same. Those that the policy leaves out are left out.
        """
        self._undescribed = []
        pictures = pictures or [None] * len(samples)
        for row in self._last_rows:
            if row < len(samples) and not self._stopped:
                sample = msgspec.structs.replace(samples[row], batch=self._last)
                try:
                    self.sink.put_sample(sample, pictures[row])
                except OutputError as error:
                    self._report(error)

    def _describe_by_name(self) -> None:
        """Nobody described the last batch: what `start_batch` knew of its samples is better than nothing."""
        if self._undescribed:
            self.describe(self._undescribed)

    # Batches

    def _before_model(self, _module: nn.Module, inputs: Tuple[Any, ...], named: Dict[str, Any]) -> None:
        if self._in_forward:  # the forward before this one failed, and its error was caught
            self._finish_batch()
        self._describe_by_name()
        self._in_forward = True
        self._last = self.batch
        images = image_batch([*inputs, *named.values()])
        self._input_size = images and (images[1], images[2])
        if not self._size:
            self._choose_samples(images[0] if images else 1, [], [])

    def _after_model(self, _module: nn.Module, _inputs: Any, _output: Any) -> None:
        if not self._watch.ran and not self._stopped:
            raise CaptureError(self._explain([choice.name for choice in self._choices]))
        self._ever_ran = True
        self._in_forward = False
        self._undescribed, self._begun = self._begun, []
        self._finish_batch()

    def _choose_samples(self, size: int, names: Sequence[Sequence[str]], ids: List[str]) -> None:
        rows = self._samples.rows(size, names)
        self._size = size
        self._sample_ids = [ids[row] for row in rows] if ids else []
        if self.batch in self._already:
            stored = list(self._already[self.batch])
            if stored and self._sample_ids and stored != self._sample_ids:
                raise BadRunError(
                    f"batch {self.batch} of the run holds {', '.join(stored)}, now {', '.join(self._sample_ids)}: "
                    "the images are others; resume with those that the run was started with"
                )
            rows = []
        self._rows = rows if len(rows) < size else None
        self._last_rows = rows

    def _finish_batch(self) -> None:
        failed, self._in_forward = self._in_forward, False
        self._watch.end_batch(failed)
        if self._footprint is not None and self._footprint.maps and not failed:
            self._check_room(self._footprint)
        if self._batch_used:
            self.batch += self._world_size
        self._batch_used = False
        self._calls.clear()
        self._levels.clear()
        self._input_size = None
        self._sample_ids = []
        self._rows, self._size = None, 0

    def _check_room(self, footprint: Footprint) -> None:
        """After the first batch: would the disk hold all of them?"""
        self._footprint = None
        kept, sink = self._samples.kept(), self.sink
        if kept is None or not isinstance(sink, RunWriter):
            return
        stored = sum(len(names) or 1 for names in self._already.values()) + len(self._last_rows)
        left = max(0, kept - stored * self._world_size)
        try:
            refuse_what_does_not_fit(footprint, max(1, len(self._last_rows)), left, sink.folder, sink.waiting)
        except OutputError as error:
            if not self._already:
                sink.discard()
            self._report(error)

    # Maps

    def _take_tap(self, name: str, tensor: torch.Tensor) -> None:
        self._store(name, "tap", self._take(name, [("", tensor)]))

    def _take(self, layer: str, tensors: Sequence[Tuple[str, torch.Tensor]]) -> List[_Piece]:
        self._batch_used = True
        if self._stopped or not self.wanted:
            return []
        pieces = []
        for name, tensor in tensors:
            # Regions of interest are no rows of the batch: they are kept all.
            rows = self._rows if tensor.dim() and len(tensor) == self._size else None
            thinned = thin(tensor, self._policy, rows, layer)
            array, ready = self._transfer(thinned.tensor, thinned.owned)
            # What is small goes last: on one stream, it is there when the array is.
            channels = scales = None
            if thinned.channels is not None:
                channels, ready = self._transfer(thinned.channels, True)
            if thinned.scales is not None:
                scales, ready = self._transfer(thinned.scales, True)
            pieces.append(_Piece(name, array, thinned.reduced, channels, scales, ready))  # type: ignore[arg-type]
        return pieces

    def _store(self, layer: str, cls: str, pieces: Sequence[_Piece]) -> None:
        """Hand what was taken of a layer to the sink."""
        call = self._calls[layer]
        self._calls[layer] += 1
        base = self._folders.of(layer, cls)
        for piece in pieces:
            folder = f"{base}.{safe_name(piece.field)}" if piece.field else base
            level = self._levels[folder]
            self._levels[folder] += 1
            stride = None
            shape = piece.array.shape
            if self._input_size is not None and len(shape) == 4:
                height, width = self._input_size
                stride = (infer_stride(height, shape[2]), infer_stride(width, shape[3]))
            captured = CapturedMap(
                layer=layer,
                cls=cls,
                field=piece.field,
                level=level,
                call=call,
                batch=self.batch,
                samples=self._sample_ids,
                folder=folder,
                stride=stride,
                reduced=piece.reduced,
                channels=piece.channels,
                scales=piece.scales,
                ready=piece.ready,
            )
            if self._footprint is not None:
                self._footprint.add(captured, piece.array)
            if not self._stopped:
                try:
                    self.sink.put(captured, piece.array)
                except OutputError as error:
                    self._report(error)

    # Errors

    def _report(self, error: Exception) -> None:
        """Raise an error, or warn of it and let the model go on without capture."""
        if self._on_error == "raise" or not isinstance(error, OutputError):
            raise error
        self._stopped = True
        self._watch.detach()
        warnings.warn(
            f"featscope stopped capturing, the model goes on: {error}; the run is readable and unfinished, "
            "resume it when that is mended",
            RuntimeWarning,
            stacklevel=2,
        )

    def _detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._watch.detach()

    def _never_ran(self) -> List[str]:
        ran = self._watch.ran
        if self._stopped or (not self._asked and ran) or (self._already and not self._ever_ran):
            return []
        return [choice.name for choice in self._choices if choice.name not in ran]

    def _explain(self, missing: Sequence[str]) -> str:
        fact = f"{', '.join(map(repr, missing[:5]))} did not run, so there is nothing to capture"
        if self._compiled:
            return (
                f"{fact}: the model is compiled (torch.compile), and compiled code skips hooks; "
                "call torch.compiler.reset() before the capture, or capture the model before it is compiled"
            )
        return f"{fact}; see what runs: featscope layers MODEL"


def image_batch(arguments: Sequence[Any]) -> Optional[Tuple[int, int, int]]:
    """(number, height, width) of the first batch of images among a forward's arguments."""
    for tensor in arguments:
        if isinstance(tensor, torch.Tensor) and tensor.dim() == 4:
            return int(tensor.shape[0]), int(tensor.shape[2]), int(tensor.shape[3])
    return None


def _is_compiled(model: nn.Module) -> bool:
    return any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )

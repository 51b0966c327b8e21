"""The capture itself: for as long as a block lasts, batch after batch."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type, Union

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.hooks import RemovableHandle

from featscope.capturing.batch import Batch, Piece
from featscope.capturing.estimate import Footprint, refuse_what_does_not_fit
from featscope.capturing.folders import FolderNames
from featscope.capturing.memory import MemorySink
from featscope.capturing.policy import SampleFilter, make_policy
from featscope.capturing.ranks import rank_and_world_size
from featscope.capturing.select import Choice, select, unwrap
from featscope.capturing.tokens import TokenGrids
from featscope.capturing.transfer import Transfer
from featscope.capturing.watch import LayerWatch
from featscope.errors import BadOptionError, BadRunError, CaptureError, OutputError
from featscope.records import Policy, RunInfo, Sample, Sink
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
        self._model, self._choices, self._folders = unwrap(model), list(choices), folders
        self._policy, self._samples, self._on_error, self._asked = policy, samples, on_error, asked
        self._world_size = world_size
        self._compiled = _is_compiled(model)
        self._transfer = Transfer()
        if self._compiled and hasattr(torch, "compiler"):  # compiled code traces hooks: what copies stays out of it
            self._take = torch.compiler.disable(self._take)  # type: ignore[method-assign, no-untyped-call]
            self._store = torch.compiler.disable(self._store)  # type: ignore[method-assign, no-untyped-call]
        self._watch = LayerWatch(choices, self._take, self._store)
        self._tokens = TokenGrids(self._model)
        self._handles: List[RemovableHandle] = []
        self._already: Mapping[int, Sequence[str]] = getattr(sink, "stored", {})
        self._footprint: Optional[Footprint] = Footprint() if samples.kept() is not None else None
        self._batch = self._ran_last = Batch(rank)
        self._in_forward = self._ever_ran = self._stopped = False

    def __enter__(self) -> Capture:
        try:
            self._handles.append(self._model.register_forward_pre_hook(self._before_model, with_kwargs=True))
            self._handles.append(self._model.register_forward_hook(self._after_model))
            self._watch.attach()
            for child in self._model.children():
                if isinstance(child, torch.jit.ScriptModule):  # takes no hooks
                    continue
                self._handles.append(child.register_forward_pre_hook(self._before_child))
            if not self._compiled:
                self._tokens.attach()
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
        return self._batch.wanted

    @property
    def samples(self) -> Sequence[Sample]:
        """What is known of the samples of the batch that the model ran on last, or is about to."""
        return self._ran_last.samples

    def start_batch(self, number: int, sample_ids: Sequence[str] = (), paths: Sequence[str] = ()) -> None:
        """Begin a batch by hand: its number, and the ids and files of its samples."""
        self._finish_batch()
        self._describe_by_name()
        paths = paths or [""] * len(sample_ids)
        samples = [Sample(id=name, path=path) for name, path in zip(sample_ids, paths)]
        self._batch = self._ran_last = Batch(number, samples)
        if samples:
            self._choose_samples(len(samples))

    def describe(
        self, samples: Sequence[Sample], pictures: Optional[Sequence[Optional[NDArray[np.uint8]]]] = None
    ) -> None:
        """Say which samples the batch held that the model ran on last.

        pictures: each sample's input, (H, W, 3) uint8 RGB. Samples in the order of the batch; ids
        given to `start_batch` before must be the same. Those that the policy leaves out are left out.
        """
        batch = self._ran_last
        batch.described = True
        pictures = pictures or [None] * len(samples)
        for row in batch.rows if batch.size else range(len(samples)):
            if row < len(samples) and not self._stopped:
                sample = msgspec.structs.replace(samples[row], batch=batch.number)
                try:
                    self.sink.put_sample(sample, pictures[row])
                except OutputError as error:
                    self._report(error)

    def _describe_by_name(self) -> None:
        """Nobody described the last batch: what `start_batch` knew of its samples is better than nothing."""
        batch = self._ran_last
        if batch.used and not batch.described:
            self.describe(batch.samples)

    # Batches

    def _before_model(self, _module: nn.Module, inputs: Tuple[Any, ...], named: Dict[str, Any]) -> None:
        if self._in_forward:  # the forward before this one failed, and its error was caught
            self._finish_batch()
        if self._ran_last is not self._batch:
            self._describe_by_name()
        self._in_forward = True
        self._tokens.start_forward()
        self._ran_last = self._batch
        images = image_batch([*inputs, *named.values()])
        self._batch.input_size = images and (images[1], images[2])
        if not self._batch.size:
            self._choose_samples(images[0] if images else 1)

    def _before_child(self, _module: nn.Module, inputs: Tuple[Any, ...]) -> None:
        """A model that makes its own batch of a list of images, as torchvision's, hands it to one of its parts."""
        if self._batch.input_size is None and self._in_forward:
            images = image_batch([value for value in inputs if isinstance(value, torch.Tensor)][:1])
            self._batch.input_size = images and (images[1], images[2])

    def _after_model(self, _module: nn.Module, _inputs: Any, _output: Any) -> None:
        if not self._watch.ran and not self._stopped:
            raise CaptureError(self._explain([choice.name for choice in self._choices]))
        self._ever_ran = True
        self._in_forward = False
        self._finish_batch()

    def _choose_samples(self, size: int) -> None:
        """Which samples of the batch are kept: those of the policy, unless the run has the batch already."""
        batch = self._batch
        rows = self._samples.rows(size, [(sample.id, sample.path) for sample in batch.samples])
        if batch.number in self._already:
            before = list(self._already[batch.number])
            ids = [batch.samples[row].id for row in rows] if batch.samples else []
            if before and ids and before != ids:
                raise BadRunError(
                    f"batch {batch.number} of the run holds {', '.join(before)}, now {', '.join(ids)}: "
                    "the images are others; resume with those that the run was started with"
                )
            rows = []
        batch.keep(size, rows)

    def _finish_batch(self) -> None:
        failed, self._in_forward = self._in_forward, False
        self._watch.end_batch(failed)
        batch = self._batch
        if self._footprint is not None and self._footprint.maps and not (failed or self._stopped):
            self._check_room(self._footprint, len(batch.rows))
        if batch.used:
            self._batch = Batch(batch.number + self._world_size)

    def _check_room(self, footprint: Footprint, samples: int) -> None:
        """After the first batch, of so many samples: would the disk hold all of them?"""
        self._footprint = None
        kept, sink = self._samples.kept(), self.sink
        if kept is None or not isinstance(sink, RunWriter):
            return
        stored = sum(len(names) or 1 for names in self._already.values()) + samples
        left = max(0, kept - stored * self._world_size)
        try:
            refuse_what_does_not_fit(footprint, max(1, samples), left, sink.folder, sink.waiting)
        except OutputError as error:
            if not self._already:
                sink.discard()
            self._report(error)

    # Maps

    def _take_tap(self, name: str, tensor: torch.Tensor) -> None:
        self._store(name, "tap", self._take(name, [("", tensor)]))

    def _take(self, layer: str, tensors: Sequence[Tuple[str, torch.Tensor]]) -> List[Piece]:
        self._batch.used = True
        if self._stopped or not self._batch.wanted:
            return []
        return self._batch.take(layer, self._tokens.lay_out(layer, tensors), self._policy, self._transfer)

    def _store(self, layer: str, cls: str, pieces: Sequence[Piece]) -> None:
        """Hand what was taken of a layer to the sink."""
        for captured, array in self._batch.name(layer, cls, self._folders.of(layer, cls), pieces):
            if self._footprint is not None:
                self._footprint.add(captured, array)
            if not self._stopped:
                try:
                    self.sink.put(captured, array)
                except OutputError as error:
                    self._report(error)

    # Errors

    def _report(self, error: Exception) -> None:
        """Raise an error, or warn of it and let the model go on without capture."""
        if self._on_error == "raise" or not isinstance(error, OutputError):
            raise error
        self._stopped = True
        self._watch.detach()
        self._tokens.detach()
        warnings.warn(
            f"featscope stopped capturing, the model goes on: {error}; what was stored until then is readable, "
            "and can be resumed when that is mended",
            RuntimeWarning,
            stacklevel=2,
        )

    def _detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._watch.detach()
        self._tokens.detach()

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

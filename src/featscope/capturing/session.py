"""The capture itself: for as long as a block lasts, batch after batch.

The way of one tensor: `calls` sees its module run -> `Capture.begin` finds the batch -> `Capture.heard` asks the
`Speakers` whether the module speaks -> `Batch.take` copies -> `Capture._store` names the maps and hands them to the
sink.
"""

from __future__ import annotations

import threading
import warnings
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Callable, DefaultDict, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Type, Union

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featscope.capturing.batch import Batch, Piece, Waiting
from featscope.capturing.calls import (
    Methods,
    ModelCall,
    call_of,
    in_warm_up,
    is_copy,
    is_running,
    recomputing,
    unwatch,
    watch,
)
from featscope.capturing.estimate import Footprint, refuse_what_does_not_fit
from featscope.capturing.flatten import flatten
from featscope.capturing.folders import FolderNames
from featscope.capturing.grids import TokenGrids
from featscope.capturing.inputs import Companion, Known, PlainImages, find_images
from featscope.capturing.layers import Layer, children_of, count_parameters, is_compiled, modules_of, select, unwrap
from featscope.capturing.ledger import Ledger
from featscope.capturing.memory import MemorySink
from featscope.capturing.names import field_names
from featscope.capturing.policy import make_policy
from featscope.capturing.ranks import rank_and_world_size
from featscope.capturing.speakers import Node, Speakers, Verdict
from featscope.capturing.thin import why_not
from featscope.capturing.transfer import Transfer
from featscope.errors import BadOptionError, CaptureError, FeatscopeError, OutputError
from featscope.records import Policy, RunInfo, Sample, Sink, Written
from featscope.store.writer import RunWriter

Named = List[Tuple[str, torch.Tensor]]

_CAN_REST = hasattr(getattr(torch, "compiler", None), "set_stance")
"""Whether this torch can run a compiled model as it was written."""

# Module state, because `tap` is called from deep inside a model that knows nothing of the capture.
_active: List[Capture] = []


def capture(
    model: nn.Module,
    layers: Optional[Sequence[str]] = None,
    to: Union[str, Path, Sink, None] = None,
    names: Optional[Mapping[str, str]] = None,
    policy: Union[Policy, Mapping[str, object], None] = None,
    resume: bool = False,
    on_error: str = "raise",
    dataset_size: Optional[int] = None,
    info: Optional[RunInfo] = None,
    rank: Optional[int] = None,
    world_size: Optional[int] = None,
    companion: Optional[Companion] = None,
    inputs: Sequence[LayerInput] = (),
) -> Capture:
    """Capture the outputs of a model's layers while a block runs.

    >>> with capture(model, ["backbone", "neck", "bbox_head_*"], to="runs/mine"):  # doctest: +SKIP
    ...     for image in images:
    ...         model(image)

    layers: names and globs (`featscope layers` lists them), '!name' excludes, '' is the model's own output; None
    takes every top-level part. to: a folder for a new run, or a `Sink`; None keeps the maps in memory. names:
    puts another name in place of `<layer>.<class>` of a folder. policy: how much is stored, a `Policy` or its
    fields as a dict: {'dtype': 'float16', 'every': 10}. resume: go on with the run in `to`, if there is one; run
    the same loop from its start, and what is stored already is not stored again. on_error: 'raise', or 'warn' to
    let the model run on where the capture fails. dataset_size: samples of the data set over all ranks; with it
    the run is refused if the disk has no room for it, and what a distributed sampler repeats is left out. rank,
    world_size: by default those of torch.distributed or torchrun. companion: says what is known of the images;
    by default they are numbered. inputs: of layers, to be stored beside the outputs.

    A batch is one outermost call into the model, whichever method that is (`model(x)`, `forward_features`,
    `validation_step`); where parts of the model are called one by one, say where it begins and ends:

    >>> with capture(model) as session, session.batch(["harbour"]):                # doctest: +SKIP
    ...     model.neck(model.backbone(image))

    The model is never changed: a copy or a checkpoint that is made meanwhile is as without the capture. What
    torch.compile made of it rests meanwhile (torch 2.6 and newer). Raises `UnknownNameError` for a name the model
    does not have, `CaptureError` where a layer that was asked for did not run or gave nothing that can be stored,
    `BadRunError` where the folder holds another run, `OutputError` where nothing can be written.
    """
    if on_error not in ("raise", "warn"):
        raise BadOptionError(f"on_error={on_error!r} means nothing; type 'raise' or 'warn'")
    layers = [layers] if isinstance(layers, str) else layers
    chosen = select(model, layers)
    inner = unwrap(model)
    speakers = Speakers(inner, chosen)
    folders = FolderNames(inner, [layer.name for layer in chosen], names or {})
    policy = make_policy(policy)
    if rank is None or world_size is None:
        rank, world_size = rank_and_world_size()
    Ledger(policy, dataset_size, rank, world_size)  # what means nothing is refused before anything is written
    sink: Sink
    if to is None:
        sink = MemorySink()
    elif isinstance(to, (str, Path)):
        info = msgspec.structs.replace(
            info or RunInfo(model=type(inner).__name__),
            parameters=count_parameters(inner),
            layers=[layer.name for layer in chosen],
            names=dict(names or {}),
            policy=policy,
            ranks=world_size,
        )
        sink = RunWriter(to, info, rank, resume=resume)
    else:
        sink = to
    stored = sink.stored if isinstance(sink, RunWriter) else {}
    return Capture(
        model,
        chosen,
        speakers,
        sink,
        folders,
        policy,
        Ledger(policy, dataset_size, rank, world_size, stored),
        companion or PlainImages(pictures=isinstance(sink, RunWriter)),
        on_error,
        asked=any(not pattern.startswith("!") for pattern in layers or ()),
        inputs=inputs,
    )


def tap(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Capture a tensor that is no module's output; put it in a forward, it returns its argument.

    >>> x = torch.zeros(1, 3, 8, 8)
    >>> tap("attention", x) is x
    True

    Outside of a capture it does nothing.
    """
    for session in _active:
        session.tapped(name, tensor)
    return tensor


class LayerInput(NamedTuple):
    """Something that goes into a layer and is to be stored too, as `name`.

    pick: finds it among the arguments of a call of `module`; None where a call does not have it.
    """

    name: str
    module: nn.Module
    pick: Callable[[ModelCall], Optional[torch.Tensor]]


class _Thread:
    """What runs in one thread: the names of the watched modules, outermost first, and the batch that they are of.

    last: the batch at hand, or the one before, which can still be described.
    """

    def __init__(self) -> None:
        self.running: List[str] = []
        self.inside: DefaultDict[str, int] = defaultdict(int)  # asked layer -> modules of it that run
        self.batch: Optional[Batch] = None
        self.last = Batch()


class _Running:
    """A watched module's call, until its end."""

    def __init__(
        self,
        session: Capture,
        thread: _Thread,
        batch: Batch,
        module: nn.Module,
        name: str,
        nodes: Sequence[Node],
        again: bool,
    ) -> None:
        self._session, self._thread, self._batch = session, thread, batch
        self._module, self._name, self._nodes, self._again = module, name, nodes, again
        thread.running.append(name)
        for node in nodes:
            thread.inside[node.asked] += 1

    def end(self, output: object) -> None:
        """The module gave an output."""
        speaking = self._leave()
        if not self._again:
            self._session.heard(self._batch, self._module, speaking, output)
        if not self._name and "" not in self._thread.running:
            self._session.model_ended(self._thread, self._batch, output)

    def fail(self) -> None:
        """The module raised: it gave nothing, and what comes next in this batch may be another try."""
        self._leave()
        self._batch.tries_again = True
        if not self._name and "" not in self._thread.running:
            self._session.model_failed(self._thread, self._batch)

    def _leave(self) -> List[Node]:
        """Take the call off the thread's list; returns the nodes that nothing around them speaks for."""
        self._thread.running.pop()
        for node in self._nodes:
            self._thread.inside[node.asked] -= 1
        return [node for node in self._nodes if node.attribute or not self._thread.inside[node.asked]]


class Capture:
    """A capture in progress; `featscope.capture` makes it. See there.

    failures: what was asked for and could not be done, where `on_error='warn'` lets the model go on.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        speakers: Speakers,
        sink: Sink,
        folders: FolderNames,
        policy: Policy,
        ledger: Ledger,
        companion: Companion,
        on_error: str,
        asked: bool,
        inputs: Sequence[LayerInput] = (),
    ) -> None:
        self._sink, self._wrapped, self._model = sink, model, unwrap(model)
        self._layers, self._speakers, self._folders = list(layers), speakers, folders
        self._policy, self._ledger, self._companion = policy, ledger, companion
        self._on_error, self._asked, self._inputs = on_error, asked, list(inputs)
        self._transfer = Transfer()
        self._lock = threading.RLock()  # several threads may run the model
        self._local = threading.local()
        self._threads: List[_Thread] = []
        self._home = 0
        self._by_hand: Optional[Batch] = None
        self._maps = self._samples = self._bytes = 0
        self._stored: Set[str] = set()  # layers of which a map was stored
        self._refused: Dict[str, str] = {}  # layers whose output, or a part of it, could not be -> why
        self._footprint: Optional[Footprint] = Footprint() if ledger.kept() is not None else None
        self._ever_ran = self._stopped = False
        self._own_remarks: List[str] = []
        self.failures: List[str] = []
        self._orphans: Set[str] = set()
        self._entered = ExitStack()
        self._look_at_model()

    def _look_at_model(self) -> None:
        """Note the modules to watch."""
        self._methods = Methods(self._model)
        self._children = {id(child): name for name, child in children_of(self._model)}
        self._given = {id(one.module): one for one in self._inputs}
        watched = {*self._speakers.watched(), *self._children, *self._given}
        self._modules = {id(module): module for _, module in modules_of(self._model) if id(module) in watched}
        # A replica that DataParallel makes shares the dict of hooks with its original.
        self._replicas = {id(module._forward_hooks): id(module) for module in self._modules.values()}
        self._not_copies: Set[int] = set()
        self._grids = TokenGrids(self._model)

    # The session

    def __enter__(self) -> Capture:
        try:
            if is_compiled(self._wrapped) and _CAN_REST:
                self._entered.enter_context(torch.compiler.set_stance("force_eager"))
                self._remark("the model is compiled (torch.compile); while it is captured it runs as written")
            watch(self)
            self._entered.callback(unwatch, self)
            self._grids.attach()
            self._entered.callback(self._detach_grids)
        except BaseException:
            self._entered.close()
            self.sink.close(False)
            raise
        self._home = threading.get_ident()
        _active.append(self)
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._entered.close()
        self._companion.close()
        _active.remove(self)
        failure = error
        try:
            self.end_batch()
            for thread in self._threads:
                self._finish(thread)
                self._describe_by_name(thread.last)
        except (OutputError, CaptureError) as refused:
            failure = failure or refused
        left_out = {} if kind or failure else self._left_out()
        try:
            if isinstance(self.sink, RunWriter):
                self.sink.left_out = {**self._refused, **left_out}
            self.sink.close(not (kind or failure or left_out or self._stopped))
        except Exception as late:  # noqa: BLE001 (raised again, or less than what came first)
            # The block's own error is the news; one of the sink that follows from it is not.
            if not (kind or failure or self._stopped):
                self._report(late)
        for remark in self._ledger.remarks:
            self._remark(remark)
        for second, first in self._speakers.same.items():
            self._remark(f"{second!r} and {first!r} are one module; all its calls are stored under {first!r}")
        if kind is None and failure is not None:
            raise failure
        if left_out:
            self._report(CaptureError(self._explain(left_out)))

    def close(self, failed: bool = False) -> None:
        """End a capture that was not begun by `with`; after a failure its run stays unfinished."""
        self.__exit__(RuntimeError if failed else None, None, None)

    @property
    def sink(self) -> Sink:
        """Where the maps go."""
        return self._sink

    @property
    def wanted(self) -> bool:
        """Whether the batch that `start_batch` began has samples to store; if not, its forward can be left out."""
        return self._at_hand.wanted

    @property
    def samples(self) -> Sequence[Sample]:
        """What is known of the samples of the batch at hand, or of the last one."""
        entry = self._at_hand.entry
        return entry.samples if entry is not None else ()

    @property
    def written(self) -> Written:
        """How much was handed to the sink; of a run, how much lies in its folder."""
        if isinstance(self.sink, RunWriter):
            return self.sink.written
        return Written(self._maps, self._samples, self._bytes, "memory")

    @property
    def remarks(self) -> Sequence[str]:
        """What should be known of the capture, each said once."""
        return self._own_remarks

    @property
    def left_out(self) -> Mapping[str, str]:
        """Layers whose output, or a part of it, could not be stored -> why."""
        return dict(self._refused)

    @contextmanager
    def batch(
        self, sample_ids: Sequence[str] = (), paths: Sequence[str] = (), number: Optional[int] = None
    ) -> Iterator[Capture]:
        """A batch that lasts as long as a block, however the parts of the model are called in it.

        >>> model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        >>> with capture(model) as session, session.batch(["harbour"]):
        ...     _ = model[1](model[0](torch.zeros(1, 3, 8, 8)))
        >>> [sample.id for sample in session.sink.samples]
        ['harbour']

        sample_ids, paths: of its samples, in order. number: in the files' names; the next by default.
        """
        self._start(sample_ids, paths, number).block = True
        try:
            yield self
        finally:
            self.end_batch()

    def start_batch(self, number: int, sample_ids: Sequence[str] = (), paths: Sequence[str] = ()) -> None:
        """Begin a batch by hand: its number, and the ids and files of its samples.

        It ends with the model's own call, with `end_batch`, or where the next begins.
        """
        self._start(sample_ids, paths, number)

    def _start(self, sample_ids: Sequence[str], paths: Sequence[str], number: Optional[int]) -> Batch:
        thread = self._thread()
        self.end_batch()
        self._finish(thread)
        self._describe_by_name(thread.last)
        batch = self._by_hand = thread.last = Batch(number=number)
        if sample_ids:
            samples = [Sample(name, path) for name, path in zip(sample_ids, paths or [""] * len(sample_ids))]
            batch.entry = self._ledger.enter(samples, number)
        return batch

    def end_batch(self) -> None:
        """The batch that was begun by hand is over."""
        batch, self._by_hand = self._by_hand, None
        if batch is not None:
            self._settle(batch)

    def describe(
        self, samples: Sequence[Sample], pictures: Optional[Sequence[Optional[NDArray[np.uint8]]]] = None
    ) -> None:
        """Say which samples the batch held that the model ran on last.

        pictures: each sample's input, (H, W, 3) uint8 RGB. Samples in the order of the batch; they keep the ids
        that they were begun with. Those that the policy leaves out are left out.
        """
        self._describe(self._at_hand, samples, pictures or ())

    # Which batch a call belongs to

    def begin(
        self, module: nn.Module, arguments: Tuple[object, ...], named: Dict[str, object]
    ) -> Optional[_Running]:
        """A module of some model is called (`featscope.capturing.calls`)."""
        key = id(module)
        if key not in self._modules:
            key = self._stands_for(module)
            if not key:
                return None
        if self._stopped or recomputing() or self._is_anothers():
            return None
        thread = self._thread()
        name = self._speakers.name_now(key, thread.running)
        nodes = self._speakers.nodes(key, name)
        batch = self._batch_of(thread, name, bool(nodes), ModelCall("", arguments, named))
        if batch is None:
            return None
        again = bool(nodes) and batch.computes_again(name, [*arguments, *named.values()])
        if key in self._given and not again:
            self._take_input(batch, self._given[key], ModelCall("", arguments, named))
        return _Running(self, thread, batch, module, name, nodes, again)

    def _stands_for(self, module: nn.Module) -> int:
        """The id of the watched module that another one is a replica of, or whose copy runs in its place; 0 for none."""
        if vars(module).get("_is_replica"):
            return self._replicas.get(id(vars(module).get("_forward_hooks")), 0)
        if self._ever_ran or type(module) is not type(self._model) or id(module) in self._not_copies:
            return 0
        if self._thread().running or not is_copy(module, self._model):
            self._not_copies.add(id(module))
            return 0
        # Ultralytics predicts with a copy, in which norms are merged into convolutions.
        self._remark("what ran is a copy of the model; its maps are stored")
        self._model = module
        there = dict(modules_of(module))
        self._layers = [layer._replace(module=there[layer.name]) for layer in self._layers if layer.name in there]
        self._speakers = Speakers(module, self._layers)
        self._grids.detach()
        self._look_at_model()
        self._grids.attach()
        return id(module)

    def _is_anothers(self) -> bool:
        """Whether this thread has a capture of its own of the same model: then its calls are not for this one."""
        here = threading.get_ident()
        if here == self._home:
            return False
        return any(other._home == here and other._model is self._model for other in _active)

    def _thread(self) -> _Thread:
        thread: Optional[_Thread] = getattr(self._local, "thread", None)
        if thread is None:
            thread = self._local.thread = _Thread()
            with self._lock:
                self._threads.append(thread)
        return thread

    def _batch_of(self, thread: _Thread, name: str, speaks: bool, call: ModelCall) -> Optional[Batch]:
        """The batch that a module's call is part of: that of the outermost call into the model."""
        batch = self._by_hand or (thread.batch if thread.running else None)
        if batch is None:
            frame = self._methods.outermost()
            if in_warm_up() or (name and not speaks and frame is None):
                return None
            if frame is None and name:
                self._orphan(name)
                return None
            batch = self._open(thread, call, frame)
        if not name and "" not in thread.running:
            self._model_began(batch, call)
        elif batch.input_size is None and name and "." not in name:
            # A model that makes its own batch of a list of images, as torchvision's, hands it to one of its parts.
            images = find_images([value for value in call.values if isinstance(value, torch.Tensor)][:1])
            batch.input_size = images.size if images is not None and images.each else None
        return batch

    def _open(self, thread: _Thread, call: ModelCall, frame: Optional[FrameType]) -> Batch:
        """The batch of an outermost call: the one that its method began already, or a new one."""
        if thread.batch is not None and thread.batch.frame is not None and is_running(thread.batch.frame):
            return thread.batch
        self._finish(thread)
        self._describe_by_name(thread.last)
        batch = thread.last = thread.batch = Batch(call_of(frame) if frame is not None else call, frame)
        if frame is not None and batch.call is not None:
            self._enter_samples(batch, batch.call)
        return batch

    def _model_began(self, batch: Batch, call: ModelCall) -> None:
        """The model itself is called, by whoever."""
        self._grids.start_forward()
        batch.model_call = call
        images = find_images(call.values)
        batch.input_size = images.size if images is not None else None
        if batch.entry is None or batch.known is None:
            self._enter_samples(batch, call)

    def _enter_samples(self, batch: Batch, call: ModelCall) -> None:
        """Ask the companion which samples a batch has, and enter them."""
        known = self._companion.before(call)
        if known is None:
            return
        batch.known = known
        if batch.entry is None:
            with self._lock:
                batch.entry = self._ledger.enter(known.samples, batch.number)

    def model_ended(self, thread: _Thread, batch: Batch, output: object) -> None:
        """The outermost call of the model itself is over."""
        self._ever_ran = True
        call, batch.model_call = batch.model_call, None
        if call is not None and batch.known is not None and not batch.described and not batch.ended:
            batch.known = self._companion.after(call, batch.known, output) or batch.known
        batch.ended = True
        batch.failed = False
        if batch is self._by_hand and not batch.block:
            self.end_batch()
        elif batch.frame is None and batch is thread.batch:
            self._finish(thread)
        if not self._speakers.ran and not self._stopped and self._layers:
            self._report(CaptureError(self._explain({layer.name: "" for layer in self._layers})))

    def model_failed(self, thread: _Thread, batch: Batch) -> None:
        """The outermost call of the model itself raised. What is around it may catch that and try again."""
        batch.failed = True  # a forward that failed does not tell which layers run
        batch.waiting.clear()
        if batch.frame is None and batch is thread.batch:
            self._finish(thread)

    def _orphan(self, name: str) -> None:
        """A layer runs outside of any call into the model: nobody knows of which batch."""
        if name in self._orphans:
            return
        self._orphans.add(name)
        self._report(
            CaptureError(
                f"the layer {name!r} ran by itself, outside of any call into the model, so its batch is not known; "
                "say where a batch begins and ends: with session.batch(['its image']):"
            )
        )

    def _finish(self, thread: _Thread) -> None:
        batch, thread.batch = thread.batch, None
        if batch is not None:
            self._settle(batch)

    def _settle(self, batch: Batch) -> None:
        """A batch is over: those that waited speak or not."""
        waiting, batch.waiting = batch.waiting, []
        batch.forget()
        if not batch.failed:
            with self._lock:
                speaks = self._speakers.settle([one.node for one in waiting])
            for one, speaking in zip(waiting, speaks):
                if speaking:
                    self._store(batch, one.node, one.pieces)
        if self._footprint is not None and self._footprint.maps and not (batch.failed or self._stopped):
            self._check_room(self._footprint, len(batch.entry.rows) if batch.entry is not None else 1)

    # Samples

    @property
    def _at_hand(self) -> Batch:
        return self._by_hand or self._thread().last

    def _describe(
        self, batch: Batch, samples: Sequence[Sample], pictures: Sequence[Optional[NDArray[np.uint8]]]
    ) -> None:
        batch.described = True
        entry = batch.entry
        if entry is None:
            entry = batch.entry = self._ledger.enter([Sample("") for _ in samples], batch.number)
        with self._lock:
            samples = self._ledger.named(samples, entry) if entry.samples else list(samples)
        for row in entry.rows if entry.samples else range(len(samples)):
            if row < len(samples) and not self._stopped:
                self._samples += 1
                picture = pictures[row] if row < len(pictures) else None
                try:
                    self.sink.put_sample(msgspec.structs.replace(samples[row], batch=entry.number), picture)
                except OutputError as error:
                    self._report(error)

    def _describe_by_name(self, batch: Batch) -> None:
        """Nobody described a batch: what its companion knows of its samples, or who began it, is better than nothing."""
        if batch.used and not batch.described:
            known = batch.known or Known(batch.entry.samples if batch.entry is not None else ())
            self._describe(batch, known.samples, known.pictures)

    # Maps

    def heard(self, batch: Batch, module: nn.Module, nodes: Sequence[Node], output: object) -> None:
        """A watched module gave an output, and nothing around it speaks for these nodes of it."""
        for node in nodes:
            with self._lock:
                verdict = self._speakers.verdict(node)
            if verdict is Verdict.SILENT:
                continue
            pieces = self._take(batch, node.asked, node.path, _tensors_of(node, module, output))
            if verdict is Verdict.WAITS:
                batch.waiting.append(Waiting(node, pieces))
            else:
                self._store(batch, node, pieces)

    def tapped(self, name: str, tensor: torch.Tensor) -> None:
        """`tap` was called."""
        batch = self._by_hand or self._thread().batch
        if batch is None or self._stopped or recomputing() or self._is_anothers():
            return
        node = Node(name, name, self._model)
        self._hand_over(batch, node, "tap", self._take(batch, name, name, [("", tensor)]))

    def _take_input(self, batch: Batch, given: LayerInput, call: ModelCall) -> None:
        tensor = given.pick(call)
        if tensor is not None:
            node = Node(given.name, given.name, given.module)
            self._hand_over(batch, node, "input", self._take(batch, given.name, given.name, [("", tensor)]))

    def _take(self, batch: Batch, asked: str, layer: str, tensors: Named) -> List[Piece]:
        """Copy a layer's tensors now, before a later operation in place changes them."""
        batch.used = True
        if batch.entry is None:
            with self._lock:
                batch.entry = self._ledger.enter([Sample("")], batch.number)  # no images to be seen: one sample, stored whole
        if self._stopped or not batch.wanted:
            self._stored.add(asked)
            return []
        pieces: List[Piece] = []
        for field, tensor in self._grids.lay_out(layer, tensors):
            why = why_not(tensor)
            try:
                pieces += [] if why else batch.take(layer, [(field, tensor)], self._policy, self._transfer)
            except FeatscopeError:
                raise
            except Exception as error:  # noqa: BLE001 (whatever a tensor may be: the user's model goes on)
                why = (str(error).splitlines() or [type(error).__name__])[0][:200]
            if why:
                self._refuse(layer, f"{field}: {why}" if field else why)
        if not tensors:
            self._refused.setdefault(asked, "its output holds no tensor")
        if pieces:
            self._stored.add(asked)
        return pieces

    def _refuse(self, layer: str, why: str) -> None:
        """Say once that an output cannot be stored; the rest is."""
        if layer not in self._refused:
            self._refused[layer] = why
            self._remark(f"the output of {layer!r} cannot be stored: {why}")

    def _store(self, batch: Batch, node: Node, pieces: Sequence[Piece]) -> None:
        self._hand_over(batch, node, type(node.module).__name__, pieces)

    def _hand_over(self, batch: Batch, node: Node, cls: str, pieces: Sequence[Piece]) -> None:
        """Name what was taken of a layer, and give it to the sink."""
        with self._lock:
            for captured, array in batch.name(node.path, cls, self._folders.of(node.path, cls), pieces):
                if self._footprint is not None:
                    self._footprint.add(captured, array)
                if self._stopped:
                    return
                self._maps += 1
                self._bytes += array.nbytes
                try:
                    self.sink.put(captured, array)
                except OutputError as error:
                    self._report(error)

    def _check_room(self, footprint: Footprint, samples: int) -> None:
        """After the first batch, of so many samples: would the disk hold all of them?"""
        self._footprint = None
        if not isinstance(self.sink, RunWriter):
            return
        left = self._ledger.left(samples)
        try:
            refuse_what_does_not_fit(footprint, max(1, samples), left, self.sink.folder, self.sink.waiting)
        except OutputError as error:
            if not self.sink.stored:
                self.sink.discard()
                self._stopped = True
            self._report(error)

    # Errors

    def _report(self, error: Exception) -> None:
        """Raise an error, or warn of it and let the model go on: without capture, where the disk failed."""
        if self._on_error == "raise" or not isinstance(error, (OutputError, CaptureError)):
            raise error
        if isinstance(error, CaptureError):
            self.failures.append(str(error))
            warnings.warn(f"featscope: {error}", RuntimeWarning, stacklevel=2)
            return
        self._stopped = True
        self._detach_grids()
        unwatch(self)
        warnings.warn(
            f"featscope stopped capturing, the model goes on: {error}; what was stored until then is readable, "
            "and can be resumed when that is mended",
            RuntimeWarning,
            stacklevel=2,
        )

    def _remark(self, text: str) -> None:
        if text not in self._own_remarks:
            self._own_remarks.append(text)
            warnings.warn(f"featscope: {text}", RuntimeWarning, stacklevel=2)

    def _detach_grids(self) -> None:
        self._grids.detach()

    def _left_out(self) -> Dict[str, str]:
        """The layers that were asked for and have no map -> why; '' for those that never ran."""
        if self._stopped:
            return {}
        found = {name: "" for name in self._never_ran()}
        if self._asked or not self._stored:
            for layer in self._layers:
                name = self._speakers.same.get(layer.name, layer.name)
                if name in self._speakers.ran and name not in self._stored:
                    found[layer.name] = self._refused.get(name) or self._refused_below(name)
        return found

    def _never_ran(self) -> List[str]:
        if (not self._asked and self._speakers.ran) or (self._ledger.resumes and not self._ever_ran):
            return []
        return self._speakers.never_ran()

    def _refused_below(self, name: str) -> str:
        return next(
            (why for layer, why in self._refused.items() if layer.startswith(name)), "its output holds no tensor"
        )

    def _explain(self, left_out: Mapping[str, str]) -> str:
        silent = [name for name, why in left_out.items() if not why]
        texts = [f"{name!r} gave nothing that can be stored ({why})" for name, why in left_out.items() if why][:5]
        if silent:
            texts.insert(0, f"{', '.join(map(repr, silent[:5]))} did not run, so there is nothing to capture")
        text = "; ".join(texts)
        if silent and is_compiled(self._wrapped):
            return (
                f"{text}: the model is compiled (torch.compile), and compiled code cannot be watched; "
                "capture the model before it is compiled"
            )
        return f"{text}; see what runs: featscope layers MODEL"


def _tensors_of(node: Node, module: nn.Module, output: object) -> Named:
    """The tensors of a module's output by their fields, or those that its forward keeps as an attribute."""
    if node.attribute:
        if not hasattr(module, node.attribute):
            raise CaptureError(f"{node.asked!r} was not set by the forward of its layer")
        return flatten(getattr(module, node.attribute))
    count = len(output) if isinstance(output, (tuple, list)) else 1
    return flatten(output, field_names(node.module, count) if count > 1 else None)

"""The capture itself: for as long as a block lasts, batch after batch.

The way of one tensor: `calls` sees its module run -> `Capture.begin` -> `Batches.find` says of which batch ->
`Capture.ended` asks the `Speakers` whether the module speaks -> `Handover.take` copies -> `Handover.put` names the
map and gives it to the sink.
"""

from __future__ import annotations

import sys
import threading
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Type, Union

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featscope.capturing.batch import Batch, Waiting
from featscope.capturing.batches import Batches, ThreadCalls
from featscope.capturing.calls import ModelCall, is_copy, recomputing, unwatch, watch
from featscope.capturing.flatten import flatten
from featscope.capturing.folders import FolderNames
from featscope.capturing.grids import TokenGrids
from featscope.capturing.handover import Handover
from featscope.capturing.inputs import Companion, PlainImages
from featscope.capturing.layers import Layer, children_of, count_parameters, is_compiled, modules_of, select, unwrap
from featscope.capturing.ledger import Ledger
from featscope.capturing.memory import MemorySink
from featscope.capturing.names import field_names
from featscope.capturing.policy import make_policy
from featscope.capturing.ranks import rank_and_world_size
from featscope.capturing.remarks import Remarks, first_line
from featscope.capturing.speakers import Node, Speakers, Verdict
from featscope.errors import BadOptionError, CaptureError, FeatscopeError, OutputError
from featscope.records import Policy, RunInfo, Sample, Sink, Written
from featscope.store.writer import RunWriter

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
    let the model run on where the capture fails, or 'disk' to do so unless it is the disk that fails. dataset_size:
    samples of the data set over all ranks; with it the run is refused if the disk has no room for it, and what a
    distributed sampler repeats is left out. rank, world_size: by default those of torch.distributed or torchrun.
    companion: says what is known of the images; by default they are numbered. inputs: of layers, to be stored beside
    the outputs.

    A batch is one outermost call into the model, whichever method that is (`model(x)`, `forward_features`,
    `validation_step`); where parts of the model are called one by one, say where it begins and ends:

    >>> with capture(model) as session, session.batch(["harbour"]):                # doctest: +SKIP
    ...     model.neck(model.backbone(image))

    The model is never changed: a copy or a checkpoint that is made meanwhile is as without the capture. What
    torch.compile made of it rests meanwhile (torch 2.6 and newer). Raises `UnknownNameError` for a name the model
    does not have, `CaptureError` where a layer that was asked for did not run or gave nothing that can be stored,
    `BadRunError` where the folder holds another run, `OutputError` where nothing can be written.
    """
    if on_error not in ("raise", "warn", "disk"):
        raise BadOptionError(f"on_error={on_error!r} means nothing; type 'raise', 'warn' or 'disk'")
    layers = [layers] if isinstance(layers, str) else layers
    chosen = select(model, layers)
    inner = unwrap(model)
    folders = FolderNames(inner, [layer.name for layer in chosen], names or {})
    policy = make_policy(policy)
    if rank is None or world_size is None:
        rank, world_size = rank_and_world_size()
    Speakers(inner, chosen)  # what cannot be watched, or means nothing, is refused before any file is written
    Ledger(policy, dataset_size, rank, world_size)
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


class Capture:
    """A capture in progress; `featscope.capture` makes it. See there.

    failures: what was asked for and could not be done, where `on_error='warn'` lets the model go on.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        sink: Sink,
        folders: FolderNames,
        policy: Policy,
        ledger: Ledger,
        companion: Companion,
        on_error: str,
        asked: bool,
        inputs: Sequence[LayerInput] = (),
    ) -> None:
        self.failures: List[str] = []
        self._wrapped, self._layers, self._inputs = model, list(layers), list(inputs)
        self._ledger, self._companion = ledger, companion
        self._on_error, self._asked = on_error, asked
        self._remarks = Remarks()
        self._handover = Handover(sink, folders, policy, ledger, self._remarks)
        self._lock = threading.RLock()
        self._home = 0
        self._ever_ran = False
        self._entered = ExitStack()
        self._model = unwrap(model)
        self._original: Optional[nn.Module] = None  # where a copy of it runs
        self._speakers = Speakers(self._model, self._layers)
        self._batches = Batches(self._model, ledger, companion, self._speakers, self._handover, self._remarks)
        self._watch_modules()

    def _watch_modules(self) -> None:
        """Note which modules of the model to watch."""
        self._given = {id(one.module): one for one in self._inputs}
        watched = {*self._speakers.watched(), *(id(child) for _, child in children_of(self._model)), *self._given}
        self._modules = {id(module): module for _, module in modules_of(self._model) if id(module) in watched}
        # A replica that DataParallel makes shares the dict of hooks with its original.
        self._replicas = {id(module._forward_hooks): id(module) for module in self._modules.values()}
        self._not_copies: Set[int] = set()
        self._grids = TokenGrids(self._model)

    # The session

    def __enter__(self) -> Capture:
        try:
            if is_compiled(self._wrapped):
                self._remarks.say("the model is compiled (torch.compile); while it is captured it runs as written")
            if _CAN_REST and "torch._dynamo" in sys.modules:  # a function around the model may be compiled too
                self._entered.enter_context(torch.compiler.set_stance("force_eager"))
            watch(self)
            self._entered.callback(self._stop_watching)
            self._grids.attach()
        except BaseException:
            self._entered.close()
            self.sink.close(False)
            raise
        self._home = threading.get_ident()
        _active.append(self)
        return self

    def _stop_watching(self) -> None:
        unwatch(self)
        self._grids.detach()

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._entered.close()
        _active.remove(self)
        failure = error
        try:
            self._batches.end_all()
        except FeatscopeError as refused:
            failure = failure or refused
        self._companion.close()
        failed = bool(kind or failure or self._handover.stopped)
        left_out = {} if failed else self._left_out()
        self._say_what_is_told_apart()
        try:
            if isinstance(self.sink, RunWriter):
                self.sink.left_out = {**self._handover.refused, **left_out}
            self.sink.close(not (failed or left_out))
        except Exception as late:  # noqa: BLE001 (raised again, or less than what came first)
            # The block's own error is the news; one of the sink that follows from it is not.
            if not failed:
                self._report(late)
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
        return self._handover.sink

    @property
    def wanted(self) -> bool:
        """Whether the batch that `start_batch` began has samples to store; if not, its forward can be left out."""
        return self._batches.at_hand.wanted

    @property
    def samples(self) -> Sequence[Sample]:
        """What is known of the samples of the batch at hand, or of the last one."""
        entry = self._batches.at_hand.entry
        return entry.samples if entry is not None else ()

    @property
    def written(self) -> Written:
        """How much was handed to the sink; of a run, how much lies in its folder."""
        return self._handover.written

    @property
    def remarks(self) -> Sequence[str]:
        """What should be known of the capture, each said once."""
        return self._remarks.said

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
        self._batches.start(_samples(sample_ids, paths), number, block=True)
        try:
            yield self
        finally:
            self.end_batch()

    def start_batch(self, number: int, sample_ids: Sequence[str] = (), paths: Sequence[str] = ()) -> None:
        """Begin a batch by hand: its number, and the ids and files of its samples.

        It ends with the model's own call, with `end_batch`, or where the next begins.
        """
        with self._reporting():
            self._batches.start(_samples(sample_ids, paths), number)

    def end_batch(self) -> None:
        """The batch that was begun by hand is over."""
        with self._reporting():
            self._batches.end_by_hand()

    def describe(
        self, samples: Sequence[Sample], pictures: Optional[Sequence[Optional[NDArray[np.uint8]]]] = None
    ) -> None:
        """Say which samples the batch held that the model ran on last.

        pictures: each sample's input, (H, W, 3) uint8 RGB. Samples in the order of the batch; they keep the ids
        that they were begun with. Those that the policy leaves out are left out.
        """
        with self._reporting():
            self._batches.describe(self._batches.at_hand, samples, pictures or ())

    # Calls

    def begin(
        self, module: nn.Module, arguments: Tuple[object, ...], named: Dict[str, object]
    ) -> Optional[WatchedCall]:
        """A module of some model is called (`featscope.capturing.calls`)."""
        key = id(module)
        if key not in self._modules:
            if self._ever_ran and "_is_replica" not in module.__dict__ and module is not self._original:
                return None  # fast, as this is asked of every module of the process
            key = self._stands_for(module)
        if not key or self._handover.stopped or recomputing() or self._is_anothers():
            return None
        thread, call = self._batches.thread, ModelCall("", arguments, named)
        name = self._speakers.name_now(key, thread.running)
        nodes = self._speakers.nodes(key, name)
        try:
            batch = self._batches.find(thread, name, nodes[0].asked if nodes else None, call)
            if batch is None:
                return None
            if thread.laid is not batch:
                thread.laid = batch
                self._grids.start_forward()
            again = bool(nodes) and batch.computes_again(name, call.values)
            if key in self._given and not again:
                self._hear_input(batch, self._given[key], call)
        except (OutputError, CaptureError) as error:
            self._report(error)
            return None
        return WatchedCall(self, thread, batch, module, name, nodes, again)

    def _stands_for(self, module: nn.Module) -> int:
        """The id of the watched module of which another one is a replica, or a copy that runs in its place; or 0."""
        if vars(module).get("_is_replica"):
            return self._replicas.get(id(vars(module).get("_forward_hooks")), 0)
        if module is self._original:
            self._original = None
            self._remarks.say(
                "a copy of the model ran before the model itself; from here on the model's own maps are stored"
            )
            self._turn_to(module)
            return id(module)
        if self._ever_ran or type(module) is not type(self._model) or id(module) in self._not_copies:
            return 0
        if self._batches.thread.running or not is_copy(module, self._model):
            self._not_copies.add(id(module))
            return 0
        # Ultralytics predicts with a copy, in which norms are merged into convolutions.
        self._remarks.say("what ran is a copy of the model; its maps are stored")
        self._original = self._model
        self._turn_to(module)
        return id(module)

    def _turn_to(self, model: nn.Module) -> None:
        """Watch another model of the same layers from now on."""
        there = dict(modules_of(model))
        ran = self._speakers.ran
        self._grids.detach()
        self._model = model
        self._layers = [layer._replace(module=there.get(layer.name, layer.module)) for layer in self._layers]
        self._speakers = Speakers(model, self._layers)
        self._speakers.ran |= ran
        self._batches.look_at(model, self._speakers)
        self._watch_modules()
        self._grids.attach()

    def _is_anothers(self) -> bool:
        """Whether this thread has a capture of its own of the same model: then its calls are not for this one."""
        here = threading.get_ident()
        if here == self._home:
            return False
        return any(other._home == here and other._model is self._model for other in _active)

    def ended(self, call: WatchedCall, nodes: Sequence[Node], output: object) -> None:
        """A watched module gave an output, and nothing around it speaks for these nodes of it."""
        try:
            for node in nodes:
                self._hear(call.batch, node, call.module, output)
            if call.is_models_own:
                self._ever_ran = True
                self._batches.model_ended(call.thread, call.batch, output)
                if not self._speakers.ran and self._layers:
                    raise CaptureError(self._explain({layer.name: "" for layer in self._layers}))
        except (OutputError, CaptureError) as error:
            self._report(error)

    def failed(self, call: WatchedCall) -> None:
        """A watched module raised."""
        call.batch.tries_again = True
        if call.is_models_own:
            with self._reporting():
                self._batches.model_failed(call.thread, call.batch)

    def _hear(self, batch: Batch, node: Node, module: nn.Module, output: object) -> None:
        with self._lock:
            verdict = self._speakers.verdict(node)
        if verdict is Verdict.SILENT:
            return
        try:
            tensors = self._grids.lay_out(node.path, _tensors_of(node, module, output))
        except FeatscopeError:
            raise
        except Exception as error:  # noqa: BLE001 (an output may be anything: it is the user's)
            self._handover.refuse(node.path, first_line(error))
            return
        pieces = self._handover.take(batch, node.asked, node.path, tensors)
        if verdict is Verdict.WAITS:
            batch.waiting.append(Waiting(node, pieces))
        else:
            self._handover.put(batch, node.path, type(node.module).__name__, pieces)

    def _hear_input(self, batch: Batch, given: LayerInput, call: ModelCall) -> None:
        tensor = given.pick(call)
        if tensor is not None:
            pieces = self._handover.take(batch, given.name, given.name, [("", tensor)])
            self._handover.put(batch, given.name, "input", pieces)

    def tapped(self, name: str, tensor: torch.Tensor) -> None:
        """`tap` was called."""
        batch = self._batches.by_hand or self._batches.thread.batch
        if batch is not None and not (recomputing() or self._is_anothers()):
            with self._reporting():
                self._handover.put(batch, name, "tap", self._handover.take(batch, name, name, [("", tensor)]))

    # Errors

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """What goes wrong in the block is raised, or warned of."""
        try:
            yield
        except (OutputError, CaptureError) as error:
            self._report(error)

    def _report(self, error: Exception) -> None:
        """Raise an error, or warn of it and let the model go on: without capture, where the disk failed."""
        never = {"raise": (), "disk": (CaptureError,), "warn": (OutputError, CaptureError)}[self._on_error]
        if not isinstance(error, never):
            raise error
        if isinstance(error, CaptureError):
            if str(error) not in self.failures:
                self.failures.append(str(error))
                warnings.warn(f"featscope: {error}", RuntimeWarning, stacklevel=2)
            return
        self._handover.stopped = True
        self._stop_watching()
        warnings.warn(
            f"featscope stopped capturing, the model goes on: {error}; what was stored until then is readable, "
            "and can be resumed when that is mended",
            RuntimeWarning,
            stacklevel=2,
        )

    def _say_what_is_told_apart(self) -> None:
        for remark in self._ledger.remarks:
            self._remarks.say(remark)
        for second, first in self._speakers.same.items():
            self._remarks.say(f"{second!r} and {first!r} are one module; all its calls are stored under {first!r}")

    def _left_out(self) -> Dict[str, str]:
        """The layers that were asked for and have no map -> why; '' for those that never ran."""
        speakers, handover = self._speakers, self._handover
        if self._ledger.resumes and not self._ever_ran:
            return {}
        found = {name: "" for name in speakers.never_ran()} if self._asked or not speakers.ran else {}
        if self._asked or not handover.stored:
            for name in (speakers.same.get(layer.name, layer.name) for layer in self._layers):
                if name in speakers.ran and name not in handover.stored:
                    refused = [why for layer, why in handover.refused.items() if layer.startswith(name)]
                    found[name] = refused[0] if refused else "its output holds no tensor"
        return found

    def _explain(self, left_out: Mapping[str, str]) -> str:
        silent = [repr(name) for name, why in left_out.items() if not why]
        texts = [f"{name!r} gave nothing that can be stored ({why})" for name, why in left_out.items() if why][:5]
        if silent:
            texts.insert(0, f"{', '.join(silent[:5])} did not run, so there is nothing to capture")
        if silent and is_compiled(self._wrapped):
            return (
                f"{'; '.join(texts)}: the model is compiled (torch.compile), and compiled code cannot be watched; "
                "capture the model before it is compiled"
            )
        return f"{'; '.join(texts)}; see what runs: featscope layers MODEL"


class WatchedCall:
    """A watched module's call, until its end."""

    def __init__(
        self,
        session: Capture,
        thread: ThreadCalls,
        batch: Batch,
        module: nn.Module,
        name: str,
        nodes: Sequence[Node],
        again: bool,
    ) -> None:
        self.thread, self.batch, self.module = thread, batch, module
        self._session, self._nodes, self._again = session, nodes, again
        #: Whether it is the outermost call of the model itself, and no method.
        self.is_models_own = not name and "" not in thread.running
        thread.running.append(name)
        for node in nodes:
            thread.inside[node.asked] += 1

    def end(self, output: object) -> None:
        """The module gave an output."""
        speaking = self._leave()
        self._session.ended(self, [] if self._again else speaking, output)

    def fail(self) -> None:
        """The module raised: it gave nothing, and what comes next in its batch may be another try."""
        self._leave()
        self._session.failed(self)

    def _leave(self) -> List[Node]:
        """Take the call off the thread's list; returns the nodes that nothing around it speaks for."""
        self.thread.running.pop()
        for node in self._nodes:
            self.thread.inside[node.asked] -= 1
        return [node for node in self._nodes if node.attribute or not self.thread.inside[node.asked]]


def _samples(ids: Sequence[str], paths: Sequence[str]) -> List[Sample]:
    return [Sample(name, path) for name, path in zip(ids, paths or [""] * len(ids))]


def _tensors_of(node: Node, module: nn.Module, output: object) -> Sequence[Tuple[str, torch.Tensor]]:
    """The tensors of a module's output by their fields, or those that its forward keeps as an attribute."""
    if node.attribute:
        if not hasattr(module, node.attribute):
            raise CaptureError(f"{node.asked!r} was not set by the forward of its layer")
        return flatten(getattr(module, node.attribute))
    count = len(output) if isinstance(output, (tuple, list)) else 1
    return flatten(output, field_names(node.module, count) if count > 1 else None)

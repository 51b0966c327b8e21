"""Watch a model's modules: decide which calls matter, and pass their outputs on."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

import torch
from torch import nn

from featscope.capturing.batch import Batch, Waiting
from featscope.capturing.batches import Batches, ThreadCalls
from featscope.capturing.calls import Methods, ModelCall, is_copy, recomputing, unwatch, watch
from featscope.capturing.compiling import as_written
from featscope.capturing.flatten import flatten
from featscope.capturing.handover import Handover
from featscope.capturing.layers import Layer, children_of, is_compiled, modules_of, unwrap
from featscope.capturing.names import field_names
from featscope.capturing.proof import Proof
from featscope.capturing.remarks import Remarks
from featscope.capturing.speakers import Node, Speakers, Verdict
from featscope.errors import CaptureError, FeatscopeError, first_line

# Module state, because `tap` is called from deep inside a model that knows nothing of the capture.
_active: List[Listener] = []


def tap(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Capture a tensor that is not the output of a module. Call it in a forward; it returns its argument.

    >>> x = torch.zeros(1, 3, 8, 8)
    >>> tap("attention", x) is x
    True

    It does nothing unless a capture is running.
    """
    for listener in _active:
        listener.tapped(name, tensor)
    return tensor


class LayerInput(NamedTuple):
    """An input of a layer that is stored too."""

    name: str
    """Name that the input is stored under."""

    module: nn.Module

    pick: Callable[[ModelCall], Optional[torch.Tensor]]
    """Finds the input among the arguments of a call of `module`; returns None if the call does not have it."""


class Listener:
    """Watches a model's modules, and passes on the outputs of those that speak.

    proof: decides how tensors are read. speakers: decides which modules speak. never_heard: whether no call of the
    model itself has ended yet.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        speakers: Speakers,
        batches: Batches,
        handover: Handover,
        proof: Proof,
        *,
        inputs: Sequence[LayerInput],
        remarks: Remarks,
    ) -> None:
        self.layers, self.speakers = list(layers), speakers
        self.never_heard = True
        self.compiled = is_compiled(model)
        self._model = unwrap(model)
        self._original: Optional[nn.Module] = None  # set while a copy of the model runs in its place
        self._batches, self._handover, self.proof = batches, handover, proof
        self._remarks, self._inputs = remarks, list(inputs)
        self._lock = threading.RLock()
        self._home = 0
        self._entered = ExitStack()
        self._look_at_model()

    def _look_at_model(self) -> None:
        """Decide which modules of the model to watch."""
        self._given = {id(one.module): one for one in self._inputs}
        watched = {*self.speakers.watched(), *(id(child) for _, child in children_of(self._model)), *self._given}
        self._modules = {id(module): module for _, module in modules_of(self._model) if id(module) in watched}
        # A replica made by DataParallel shares its dict of hooks with the original module.
        self._replicas = {id(module._forward_hooks): id(module) for module in self._modules.values()}
        self._not_copies: Set[int] = set()
        self._batches.look_at(Methods(self._model), self.speakers)

    def start(self) -> None:
        """Start to listen. Calls in this thread belong to this listener."""
        if self.compiled:
            self._remarks.say("the model is compiled (torch.compile); during the capture it runs uncompiled")
        try:
            self._entered.callback(as_written.release)
            as_written.hold()
            self._home = threading.get_ident()
            watch(self)
        except BaseException:
            self.stop()
            raise
        _active.append(self)

    def stop(self) -> None:
        """Stop listening."""
        if self in _active:
            _active.remove(self)
        unwatch(self)
        self._entered.close()

    def begin(
        self, module: nn.Module, arguments: Tuple[object, ...], named: Dict[str, object]
    ) -> Optional[WatchedCall]:
        """Notice that a module of any model is called (`featscope.capturing.calls`)."""
        key = id(module)
        if key not in self._modules:
            if not self.never_heard and "_is_replica" not in module.__dict__ and module is not self._original:
                return None  # this must be fast, because it runs for every module in the process
            key = self._stands_for(module)
        if not key or self._remarks.stopped or recomputing() or self._is_anothers():
            return None
        thread, call = self._batches.thread, ModelCall("", arguments, named)
        name = self.speakers.name_now(key, thread.running)
        nodes = self.speakers.nodes(key, name)
        try:
            batch = self._batches.find(thread, name, nodes[0].asked if nodes else None, call)
            if batch is None:
                return None
            again = bool(nodes) and batch.computes_again(name, call.values)
            if key in self._given and not again:
                self._hear_input(batch, self._given[key], call)
        except FeatscopeError as error:
            self._remarks.report(error)
            return None
        return WatchedCall(self, thread, batch, module, name=name, nodes=nodes, again=again)

    def _stands_for(self, module: nn.Module) -> int:
        """Return the id of the watched module that this module is a replica or a running copy of; 0 if none."""
        if vars(module).get("_is_replica"):
            return self._replicas.get(id(vars(module).get("_forward_hooks")), 0)
        if module is self._original:
            self._original = None
            self._remarks.say("a copy of the model ran first; from now on the maps of the model itself are stored")
            self._turn_to(module)
            return id(module)
        if not self.never_heard or type(module) is not type(self._model) or id(module) in self._not_copies:
            return 0
        if self._batches.thread.running or not is_copy(module, self._model):
            self._not_copies.add(id(module))
            return 0
        # Ultralytics predicts with a copy of the model in which norms are fused into convolutions.
        self._remarks.say("a copy of the model ran in its place; the maps of the copy are stored")
        self._original = self._model
        self._turn_to(module)
        return id(module)

    def _turn_to(self, model: nn.Module) -> None:
        """Watch another model with the same layers from now on."""
        there = dict(modules_of(model))
        ran = self.speakers.ran
        self._model = model
        self.layers = [layer._replace(module=there.get(layer.name, layer.module)) for layer in self.layers]
        self.speakers = Speakers(model, self.layers)
        self.speakers.ran |= ran
        self._look_at_model()

    def _is_anothers(self) -> bool:
        """Whether another capture of the same model was started in this thread, so that calls here belong to it."""
        here = threading.get_ident()
        if here == self._home:
            return False
        return any(other._home == here and other._model is self._model for other in _active)

    def ended(self, call: WatchedCall, nodes: Sequence[Node], output: object) -> None:
        """Handle the output of a watched module, for those of its nodes that no running module speaks for."""
        try:
            for node in nodes:
                self._hear(call.batch, node, call.module, output)
            if call.is_models_own:
                self.never_heard = False
                self._batches.model_ended(call.thread, call.batch, output)
                if not self.speakers.ran and self.layers:
                    raise CaptureError(self.explain({layer.name: "" for layer in self.layers}))
        except FeatscopeError as error:
            self._remarks.report(error)

    def failed(self, call: WatchedCall) -> None:
        """Handle the exception of a watched module."""
        call.batch.tries_again = True
        if call.is_models_own:
            with self._remarks.reporting():
                self._batches.model_failed(call.thread, call.batch)

    def _hear(self, batch: Batch, node: Node, module: nn.Module, output: object) -> None:
        with self._lock:
            verdict = self.speakers.verdict(node)
        if verdict is Verdict.SILENT:
            return
        try:
            found = _tensors_of(node, module, output) if batch.wanted else []
            tensors = self.proof.lay_out(node.path, found)
        except FeatscopeError:
            raise
        except Exception as error:  # noqa: BLE001 (the output is the user's object and may behave in any way)
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
            pieces = self._handover.take(batch, given.name, given.name, self.proof.lay_out(given.name, [("", tensor)]))
            self._handover.put(batch, given.name, "input", pieces)

    def explain(self, left_out: Mapping[str, str]) -> str:
        """Return the error message for layers without maps: those that never ran, and the reasons for the others."""
        silent = [repr(name) for name, why in left_out.items() if not why]
        texts = [f"{name!r} gave nothing that can be stored ({why})" for name, why in left_out.items() if why][:5]
        if silent:
            texts.insert(0, f"{', '.join(silent[:5])} did not run, so there is nothing to capture")
        if silent and self.compiled:
            return (
                f"{'; '.join(texts)}: the model is compiled (torch.compile), and featscope cannot watch compiled code; "
                "capture the model before it is compiled"
            )
        return f"{'; '.join(texts)}; to see which layers run: featscope layers MODEL"

    def tapped(self, name: str, tensor: torch.Tensor) -> None:
        """Store a tensor that was passed to `tap`."""
        batch = self._batches.by_hand or self._batches.thread.batch
        if batch is not None and not (recomputing() or self._is_anothers()):
            with self._remarks.reporting():
                laid = self.proof.lay_out(name, [("", tensor)])
                self._handover.put(batch, name, "tap", self._handover.take(batch, name, name, laid))


class WatchedCall:
    """The call of a watched module, while it runs."""

    def __init__(
        self,
        listener: Listener,
        thread: ThreadCalls,
        batch: Batch,
        module: nn.Module,
        *,
        name: str,
        nodes: Sequence[Node],
        again: bool,
    ) -> None:
        self.thread, self.batch, self.module = thread, batch, module
        self._listener, self._nodes, self._again = listener, nodes, again
        #: Whether it is the outermost call of the model itself, not of a method.
        self.is_models_own = not name and "" not in thread.running
        thread.running.append(name)
        for node in nodes:
            thread.inside[node.asked] += 1

    def end(self, output: object) -> None:
        """Handle the module's output."""
        speaking = self._leave()
        self._listener.ended(self, [] if self._again else speaking, output)

    def fail(self) -> None:
        """Handle the module's exception. The following calls in the batch may be another attempt."""
        self._leave()
        self._listener.failed(self)

    def _leave(self) -> List[Node]:
        """Remove the call from the thread's list. Returns the nodes that no running module speaks for."""
        self.thread.running.pop()
        for node in self._nodes:
            self.thread.inside[node.asked] -= 1
        return [node for node in self._nodes if node.attribute or not self.thread.inside[node.asked]]


def _tensors_of(node: Node, module: nn.Module, output: object) -> Sequence[Tuple[str, torch.Tensor]]:
    """Return the tensors of a module's output by field, or those that its forward kept as an attribute."""
    if node.attribute:
        if not hasattr(module, node.attribute):
            raise CaptureError(f"{node.asked!r} was not set by the forward of its layer")
        return flatten(getattr(module, node.attribute))
    count = len(output) if isinstance(output, (tuple, list)) else 1
    return flatten(output, field_names(node.module, count) if count > 1 else None)

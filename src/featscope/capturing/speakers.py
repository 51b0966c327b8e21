"""Which of the layers that were asked for, and of those below them, speak."""

from __future__ import annotations

from collections import defaultdict
from enum import Enum
from typing import DefaultDict, Dict, List, NamedTuple, Sequence, Set

from torch import nn

from featscope.capturing.layers import Layer, modules_of, scripted_part
from featscope.errors import CaptureError


class Node(NamedTuple):
    """A module that may speak for a layer that was asked for: by itself, or in its place.

    asked: the layer. path, module: this module's own. attribute: as in `Layer`.
    """

    asked: str
    path: str
    module: nn.Module
    attribute: str = ""


class Verdict(Enum):
    """What becomes of a module's output."""

    SPEAKS = "it is stored"
    WAITS = "it is kept apart until the batch's end, as a layer above it may still run"
    SILENT = "another layer speaks for it"


class Speakers:
    """The modules to watch, and which of them speak.

    A layer that runs speaks for all below it. One that never runs itself (a ModuleList; MMDetection's `roi_head`,
    whose `predict` is called instead) is spoken for by its nearest descendants that run. Which those are is known
    after its first batch; until then what they give waits: S2ANet calls its alignment module before the head that
    holds it.

    ran: the layers that ran, or were spoken for. same: layers that are another one under a second name -> its first.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer]) -> None:
        self.ran: Set[str] = set()
        self.same: Dict[str, str] = {}
        self._names: DefaultDict[int, List[str]] = defaultdict(list)
        self._nodes: DefaultDict[int, List[Node]] = defaultdict(list)
        self._asked: Dict[str, None] = {}  # in order
        self._itself: Set[str] = set()
        self._stand_ins: Dict[str, Set[str]] = {}
        modules = dict(modules_of(model))
        for name, module in modules_of(model):
            self._names[id(module)].append(name)
        for layer in layers:
            self._watch(layer)
        for key in [key for key in self._nodes if len(self._names[key]) > 1]:
            for name in self._names[key]:  # what tells the names of a shared module apart is which part runs around it
                while name:
                    name = name.rpartition(".")[0]
                    self._nodes.setdefault(id(modules[name]), [])
        self._nodes.setdefault(id(model), [])

    def _watch(self, layer: Layer) -> None:
        if scripted_part(layer.module):
            raise CaptureError(
                f"layer {layer.name!r} is scripted (torch.jit), and scripted models cannot be watched; "
                "capture the model before torch.jit.script"
            )
        if layer.attribute:
            self._nodes[id(layer.module)].append(Node(layer.name, layer.name, layer.module, layer.attribute))
            return
        twin = next(
            (
                node.asked
                for node in self._nodes[id(layer.module)]
                if not node.attribute and node.path == node.asked and _parent(node.path) == _parent(layer.name)
            ),
            None,
        )
        if twin is not None:
            self.same[layer.name] = twin
            return
        self._asked[layer.name] = None
        for path, module in modules_of(layer.module, layer.name):
            if path == layer.name or layer.name:  # the model itself is asked for as it is, without its parts
                self._nodes[id(module)].append(Node(layer.name, path, layer.module if path == layer.name else module))

    def watched(self) -> List[int]:
        """The ids of the modules whose calls matter."""
        return list(self._nodes)

    def name_now(self, module: int, running: Sequence[str]) -> str:
        """The name under which a module is called: of several (one activation object in all layers) that whose
        nearest part runs. running: the names of the watched modules around it, outermost first.
        """
        names = self._names[module]
        if len(names) == 1:
            return names[0]
        for outer in reversed(running):
            inside = [name for name in names if not outer or name.startswith(outer + ".")]
            if inside:
                nearest = min(name.count(".") for name in inside)
                inside = [name for name in inside if name.count(".") == nearest]
                return next((name for name in inside if name in self._asked), inside[0])
        return names[0]

    def nodes(self, module: int, name: str) -> Sequence[Node]:
        """What a module that is called under a name may speak for."""
        return [node for node in self._nodes.get(module, ()) if node.attribute or node.path == name]

    def verdict(self, node: Node) -> Verdict:
        """Whether a module speaks that has run while nothing above it, up to the layer asked for, was running."""
        self.ran.add(node.asked)
        if node.attribute:
            return Verdict.SPEAKS
        if node.path == node.asked:
            self._speaks_itself(node.asked)
            return Verdict.SPEAKS
        if node.path in self._asked or node.asked in self._itself:
            return Verdict.SILENT
        known = self._stand_ins.get(node.asked)
        if known is None:
            return Verdict.WAITS
        if any(node.path.startswith(other + ".") for other in known):
            return Verdict.SILENT
        known.add(node.path)
        return Verdict.SPEAKS

    def settle(self, waiting: Sequence[Node]) -> List[bool]:
        """At the end of a batch: which of those that waited speak, from now on without waiting."""
        ran: DefaultDict[str, Set[str]] = defaultdict(set)
        for node in waiting:
            if node.asked not in self._itself:
                ran[node.asked].add(node.path)
        for asked, paths in ran.items():
            self._stand_ins.setdefault(asked, paths)
        return [
            node.asked not in self._itself
            and not any(node.path.startswith(other + ".") for other in self._stand_ins[node.asked])
            for node in waiting
        ]

    def never_ran(self) -> List[str]:
        """The layers that were asked for and neither ran nor were spoken for."""
        return [name for name in self._everything() if self.same.get(name, name) not in self.ran]

    def _everything(self) -> List[str]:
        attributes = {node.asked for nodes in self._nodes.values() for node in nodes if node.attribute}
        return [*self._asked, *self.same, *attributes]

    def _speaks_itself(self, asked: str) -> None:
        """The layer runs by itself: of those below it nothing is needed any more."""
        if asked not in self._itself:
            self._itself.add(asked)
            for key, nodes in list(self._nodes.items()):
                self._nodes[key] = [node for node in nodes if node.asked != asked or node.path == asked]


def _parent(name: str) -> str:
    return name.rpartition(".")[0]

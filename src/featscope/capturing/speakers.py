"""Decide which modules speak for the requested layers: which outputs are stored."""

from __future__ import annotations

from collections import defaultdict
from enum import Enum
from typing import DefaultDict, Dict, List, NamedTuple, Sequence, Set

from torch import nn

from featscope.capturing.layers import Layer, modules_of, scripted_part
from featscope.errors import CaptureError


class Node(NamedTuple):
    """A module that may speak for a requested layer: the layer itself, or one of its parts.

    asked: the requested layer. path, module: the module and its name. attribute: as in `Layer`.
    """

    asked: str
    path: str
    module: nn.Module
    attribute: str = ""


class Verdict(Enum):
    """What happens to the output of a module."""

    SPEAKS = "it is stored"
    WAITS = "it is kept until the batch ends, because a layer above it may still run"
    SILENT = "another layer speaks for it"


class Speakers:
    """The modules to watch, and the decision which of them speak.

    A layer that runs speaks for itself and all its parts. A layer that never runs itself is replaced by its nearest
    parts that run. Examples are a ModuleList, and MMDetection's `roi_head`, whose `predict` is called instead. Which
    parts these are is known after the first batch. Until then their outputs wait, because a module above them may run
    later: S2ANet calls its alignment module before the head that contains it.

    ran: the layers that ran or were replaced. same: layers that are a second name of another one -> the first name.
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
            for name in self._names[key]:  # the part that calls a shared module tells which of its names is meant
                while name:
                    name = name.rpartition(".")[0]
                    self._nodes.setdefault(id(modules[name]), [])
        self._nodes.setdefault(id(model), [])

    def _watch(self, layer: Layer) -> None:
        if scripted_part(layer.module):
            raise CaptureError(
                f"layer {layer.name!r} is scripted (torch.jit), and featscope cannot watch scripted models; "
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
            if path == layer.name or layer.name:  # the model itself is never replaced by its parts
                self._nodes[id(module)].append(Node(layer.name, path, layer.module if path == layer.name else module))

    def watched(self) -> List[int]:
        """Return the ids of the modules whose calls matter."""
        return list(self._nodes)

    def name_now(self, module: int, running: Sequence[str]) -> str:
        """Return the name under which a module is called.

        A module with several names, such as one activation object for all layers, has the name whose nearest part is
        running. running: the names of the watched modules around it, outermost first.
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
        """Return the nodes that a module called under this name may speak for."""
        return [node for node in self._nodes.get(module, ()) if node.attribute or node.path == name]

    def verdict(self, node: Node) -> Verdict:
        """Decide whether a module speaks. It ran while no module above it, up to the requested layer, was running."""
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
        """At the end of a batch, decide which waiting nodes speak. They need not wait in later batches."""
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
        """Return the requested layers that neither ran nor were replaced by parts."""
        return [name for name in self._everything() if self.same.get(name, name) not in self.ran]

    def _everything(self) -> List[str]:
        attributes = {node.asked for nodes in self._nodes.values() for node in nodes if node.attribute}
        return [*self._asked, *self.same, *attributes]

    def _speaks_itself(self, asked: str) -> None:
        """Note that a layer runs itself, so that its parts need not be watched any more."""
        if asked not in self._itself:
            self._itself.add(asked)
            for key, nodes in list(self._nodes.items()):
                self._nodes[key] = [node for node in nodes if node.asked != asked or node.path == asked]


def _parent(name: str) -> str:
    return name.rpartition(".")[0]

"""Hooks on the chosen layers: which of them, and of those below them, speak."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Callable, DefaultDict, Dict, List, Sequence, Set, Tuple

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from featscope.capturing.flatten import flatten
from featscope.capturing.names import field_names
from featscope.capturing.select import Choice
from featscope.errors import CaptureError

Named = List[Tuple[str, torch.Tensor]]


class LayerWatch:
    """Watches layers run, and passes on what each gives.

    take: called in the hook with a layer's path and its tensors by field; copies them, and returns what
    it copied. store: called with the path, the class and what `take` returned, once it is known that
    this layer speaks: at once, or for stand-ins of the first batch at its end.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        take: Callable[[str, Named], Any],
        store: Callable[[str, str, Any], None],
    ) -> None:
        self.ran: Set[str] = set()
        self._choices, self._take, self._store = choices, take, store
        self._handles: List[RemovableHandle] = []
        self._expanding: Dict[str, List[RemovableHandle]] = {}
        self._running: DefaultDict[str, int] = defaultdict(int)
        self._held: List[Tuple[str, str, str, Any]] = []
        self._stand_ins: Dict[str, Set[str]] = {}

    def attach(self) -> None:
        """Put the hooks on the layers."""
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

    def detach(self) -> None:
        """Take all hooks off again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for handles in self._expanding.values():
            for handle in handles:
                handle.remove()
        self._expanding.clear()

    def end_batch(self, failed: bool) -> None:
        """A forward is over. One that failed leaves counts behind, and does not tell which layers run."""
        if failed:
            self._running.clear()
            self._held.clear()
        for asked, path, cls, taken in self._held:
            known = self._stand_ins.setdefault(asked, {p for a, p, _, _ in self._held if a == asked})
            if not any(path.startswith(other + ".") for other in known):
                self._store(path, cls, taken)
        self._held.clear()

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
            self.ran.add(asked)
            if path == asked:
                self._settle(asked)
            elif asked in self._stand_ins:
                known = self._stand_ins[asked]
                if any(path.startswith(other + ".") for other in known):
                    return
                known.add(path)
            taken = self._take(path, _name_tensors(module, output))
            cls = type(module).__name__
            if path == asked or asked in self._stand_ins:
                self._store(path, cls, taken)
            else:
                # The layer asked for, or one between, may still run, and then speaks for all below it
                # (S2ANet calls the alignment module of its refine head before the head itself).
                self._held.append((asked, path, cls, taken))

        handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(after))

    def _settle(self, asked: str) -> None:
        """The layer runs by itself: those below it need no watching."""
        for handle in self._expanding.pop(asked, []):
            handle.remove()
        self._held = [held for held in self._held if held[0] != asked]

    def _attribute_hook(self, choice: Choice) -> Any:
        def after(module: nn.Module, _inputs: Any, _output: Any) -> None:
            self.ran.add(choice.name)
            if not hasattr(module, choice.attribute):
                raise CaptureError(f"{choice.name!r} was not set by the forward of its layer")
            taken = self._take(choice.name, flatten(getattr(module, choice.attribute)))
            self._store(choice.name, type(module).__name__, taken)

        return after


def _name_tensors(module: nn.Module, output: Any) -> Named:
    count = len(output) if isinstance(output, (tuple, list)) else 1
    return flatten(output, field_names(module, count) if count > 1 else None)

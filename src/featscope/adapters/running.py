"""Capture a user's own script while it runs, without editing it. Its model is found when the model first runs.

`featscope run` starts the script. This module finds the model and captures it. It does not import torch before the
script does.
"""

from __future__ import annotations

import os
import sys
import threading
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Type

from featscope.adapters.detector import features_only
from featscope.capturing.policy import make_policy
from featscope.errors import FeatscopeError
from featscope.measuring.detections import keep_places_of_heads
from featscope.records import Written
from featscope.store.writer import info_name, run_is_there

if TYPE_CHECKING:
    from torch import nn

    from featscope.capturing.calls import RunningCall
    from featscope.capturing.session import Capture

_HOME = "torch"


class ScriptCapture:
    """Waits for the first outermost call of a model that has the requested layers, and captures the model.

    >>> with ScriptCapture(Path("runs/mine"), ["neck"]) as capture:               # doctest: +SKIP
    ...     runpy.run_path("test.py", run_name="__main__")
    >>> print(capture.written)                                                    # doctest: +SKIP
    12 maps of 4 samples, 31.0 MB, in runs/mine

    Without layers, the first model with weights is captured. Calls inside a model's `__init__`, where some models test
    themselves, and in a warm-up do not count. options: as in `featscope.capture`.
    """

    def __init__(self, output: Path, layers: Optional[Sequence[str]], provenance: bool = True, **options: Any) -> None:
        self.output, self.layers, self.provenance, self.options = output, list(layers or ()), provenance, options
        self.written: Optional[Written] = None
        self.rank = 0
        self.missed: Optional[FeatscopeError] = None
        self.failures: List[str] = []
        self.remarks: List[str] = []
        self._session: Optional[Capture] = None
        self._restore: Callable[[], None] = lambda: None
        self._calling = threading.local()

    def __enter__(self) -> ScriptCapture:
        # Check this before the script does any work. With several ranks another one may already have begun the run.
        if "RANK" not in os.environ and not self.options.get("resume") and (self.output / info_name(0)).exists():
            raise run_is_there(self.output)
        if _HOME in sys.modules:
            self._watch(sys.modules[_HOME])
        else:
            waiting = _AfterImport(_HOME, self._watch)
            sys.meta_path.insert(0, waiting)
            self._restore = waiting.remove
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._restore()
        if self._session is not None:
            finished = kind is None or (kind is SystemExit and isinstance(error, SystemExit) and not error.code)
            session, self._session = self._session, None
            session.close(failed=not finished)
            self.written = session.written
            self.failures, self.remarks = list(session.failures), list(session.remarks)
            if finished:
                keep_places_of_heads(self.output)

    def _watch(self, _torch: ModuleType) -> None:
        """Watch the outermost call of every module until the model is found."""
        from featscope.capturing.calls import unwatch, watch

        watch(self)
        self._restore = lambda: unwatch(self)

    def begin(
        self, module: nn.Module, arguments: Tuple[object, ...], named: Dict[str, object]
    ) -> Optional[RunningCall]:
        """Notice that a module is called (`featscope.capturing.calls`)."""
        from featscope.capturing.calls import recomputing
        from featscope.capturing.layers import parameters_of

        if recomputing():
            return None
        # Skip modules without weights, such as a wrapper that calls the model in another way.
        if getattr(self._calling, "inside", False) or next(parameters_of(module), None) is None:
            return None
        session = self._session_of(module)
        return _Outermost(self._calling) if session is None else session.listener.begin(module, arguments, named)

    def _session_of(self, module: nn.Module) -> Optional[Capture]:
        """Start the capture if the called module belongs to the model with the requested layers."""
        from featscope.adapters.companions import accompany
        from featscope.capturing.calls import in_warm_up, stack
        from featscope.capturing.layers import has_layers, unwrap
        from featscope.capturing.ranks import rank_and_world_size
        from featscope.capturing.start import capture

        frames = stack()
        if in_warm_up() or any(_makes_a_model(f) for f in frames):
            return None
        owners = [f.f_locals["self"] for f in frames if "self" in f.f_locals]
        trace = self.provenance or make_policy(self.options.get("policy")).candidates
        found = accompany(unwrap(_outermost(module, owners)), owners, trace)
        self.missed = has_layers(found.model, self.layers) if self.layers else None
        if self.missed is not None:
            return None
        self._restore()
        self.rank, _ = rank_and_world_size()
        self._session = capture(
            found.model,
            features_only(self.layers, found.not_features),
            self.output,
            info=found.info,
            companion=found.companion,
            dataset_size=found.dataset_size,
            **self.options,
        )
        return self._session.__enter__()


class _Outermost:
    """The call of another model. Calls inside it are ignored."""

    def __init__(self, calling: threading.local) -> None:
        self._calling = calling
        calling.inside = True

    def end(self, output: object) -> None:
        """Stop ignoring calls."""
        self._calling.inside = False

    def fail(self) -> None:
        """Stop ignoring calls."""
        self._calling.inside = False


def _outermost(module: nn.Module, owners: Sequence[object]) -> nn.Module:
    """Return the model that contains a module, if one of its methods runs (`forward_features`), else the module."""
    from torch import nn

    from featscope.capturing.layers import modules_of

    for owner in reversed(owners):
        if isinstance(owner, nn.Module) and any(part is module for _, part in modules_of(owner)):
            return owner
    return module


def _makes_a_model(frame: FrameType) -> bool:
    if frame.f_code.co_name != "__init__":
        return False
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(frame.f_locals.get("self"), torch.nn.Module)


class _AfterImport(MetaPathFinder, Loader):
    """Calls a function with a module as soon as any code has imported the module."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self._name, self._then = name, then
        self._loader: Loader

    def find_spec(
        self, name: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        if name != self._name:
            return None
        self.remove()
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def remove(self) -> None:
        """Stop waiting."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def create_module(self, spec: ModuleSpec) -> Optional[ModuleType]:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:  # restore the module's own loader
            module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._then(module)


def _without_python(command: Sequence[str]) -> List[str]:
    rest = list(command)
    if rest and Path(rest[0]).name.startswith("python"):
        rest.pop(0)
        while rest and rest[0] in ("-u", "-B", "-s"):  # options that do not affect the results of a script
            rest.pop(0)
    return rest


def parse_command(command: Sequence[str]) -> Tuple[List[str], Callable[[], Mapping[str, object]]]:
    """Parse `python SCRIPT ...`, `python -m MODULE ...` or `SCRIPT ...`: return `sys.argv` and a function that runs it.

    Raises `BadOptionError` if this is not a Python script.
    """
    import runpy
    import shutil

    from featscope.errors import BadOptionError

    rest = _without_python(command)
    if rest[:1] == ["torchrun"] or rest[:2] == ["-m", "torch.distributed.run"]:
        raise BadOptionError(
            "torchrun starts several processes, so it must start featscope: "
            "torchrun --nproc_per_node 2 -m featscope run -o RUN -- SCRIPT ..."
        )
    if rest[:1] == ["-m"] and len(rest) > 1:
        module = rest[1]

        def run_module() -> Mapping[str, object]:
            sys.path.insert(0, "")
            return runpy.run_module(module, run_name="__main__", alter_sys=True)

        return [module, *rest[2:]], run_module
    if not rest or rest[0].startswith("-"):
        raise BadOptionError(
            f"{' '.join(command) or 'nothing'} is not a script; type featscope run -o RUN -- python SCRIPT ARGUMENTS"
        )
    script = rest[0] if Path(rest[0]).is_file() else (shutil.which(rest[0]) or rest[0])
    if not Path(script).is_file():
        raise BadOptionError(f"the script {rest[0]} does not exist")

    def run_script() -> Mapping[str, object]:
        sys.path.insert(0, str(Path(script).resolve().parent))
        return runpy.run_path(script, run_name="__main__")

    return [script, *rest[1:]], run_script

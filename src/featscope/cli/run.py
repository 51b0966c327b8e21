"""`featscope run`: run a script of the user, and capture its model."""

from __future__ import annotations

import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

import typer

from featscope.cli import models, options
from featscope.errors import FeatscopeError

if TYPE_CHECKING:
    from featscope.adapters.running import ScriptCapture

_STOPPED = 130  # the exit code that shells give to a command ended by Ctrl-C


def run(
    command: List[str] = options.argument("-- SCRIPT ARGUMENTS", "The command to run: python tools/test.py ..."),
    output: Path = options.new_run(),
    layers: Optional[List[str]] = options.layer(shown="every top-level part", complete=None),
    dtype: str = options.dtype(),
    reduce: str = options.reduce(),
    channels: str = options.channels(),
    every: int = options.every(),
    max_samples: int = options.max_samples(),
    objects: bool = options.objects(),
    candidates: bool = options.candidates(),
    axes: Optional[List[str]] = options.axes(),
    grids: Optional[List[str]] = options.grids(),
    provenance: bool = options.provenance(
        help="Find the raw output that each detection came from (OpenMMLab, Ultralytics)."
    ),
    resume: bool = options.resume(),
) -> None:
    """Run any Python script and capture the first model in it that has the layers.

    Nothing is edited: output, results and exit code are the script's own.

    Examples:
      featscope run -o runs/test -- python tools/test.py config.py weights.pth
      featscope run -o runs/mine -l backbone -l neck -- python predict.py photos
      featscope run -o runs/yolo -- yolo predict model=best.pt source=photos
      featscope run -o runs/mod -- python -m my.package.test
      torchrun --nproc_per_node 2 -m featscope run -o runs/two -- \\
        tools/test.py config.py --launcher pytorch
    """
    from featscope.adapters.running import ScriptCapture, parse_command
    from featscope.capturing.policy import make_policy
    from featscope.cli.console import complain, remark, unfinished

    arguments, start = parse_command(command)
    policy = {"dtype": dtype, "reduce": reduce, "channels": channels, "every": every, "max_samples": max_samples}
    policy.update(objects=objects, candidates=candidates)
    # The script's own results matter more than the maps, so a full disk ends the capture but not the script.
    asked: Dict[str, Any] = {"policy": make_policy(policy), "resume": resume, "on_error": "warn"}
    asked["axes"] = models.given_axes(axes, grids)
    capture = ScriptCapture(output, layers, provenance, **asked)
    code = _run_script(capture, arguments, start)
    if capture.written is not None:
        ending = f"; the script ended with {code}, so the run is unfinished" if code else ""
        typer.echo(f"featscope: {capture.written}{ending}; {models.next_step(output, objects)}", err=True)
        for text in capture.remarks:
            remark(text)
        failures = [*capture.failures, *([] if code else unfinished(output, capture.rank))]
    elif capture.missed is not None:
        failures = [f"the script did not run a model with these layers: {capture.missed}"]
    else:
        remark("the script did not run a PyTorch model with weights, so nothing was captured")
        code, failures = code or 1, []
    for failure in failures:
        complain(failure)
    raise typer.Exit(code or (1 if failures else 0))


def _run_script(capture: ScriptCapture, arguments: List[str], start: Callable[[], object]) -> int:
    """Run a script under a capture, and return its exit code."""
    saved, sys.argv = sys.argv, arguments
    code: object = 0
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # the script receives Ctrl-C as usual
    try:
        with capture:
            start()
    except SystemExit as left:
        code = left.code
    except FeatscopeError:  # of featscope, for example if the run already exists: one line, not a traceback
        raise
    except BaseException as error:  # noqa: BLE001 (an error of the script, shown as Python shows it)
        code = _STOPPED if isinstance(error, KeyboardInterrupt) else 1
        if code != _STOPPED:
            _show(error)
    finally:
        signal.signal(signal.SIGINT, ours)
        sys.argv = saved
    if code is None or isinstance(code, int):
        return code or 0
    typer.echo(code, err=True)  # sys.exit("why")
    return 1


def _show(error: BaseException) -> None:
    """Print the script's own traceback, without the frames that started the script."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def _is_ours(name: str) -> bool:
    return (
        name.startswith("<frozen") or Path(name).name == "runpy.py" or Path(__file__).parents[1] in Path(name).parents
    )

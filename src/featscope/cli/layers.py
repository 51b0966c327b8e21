"""`featscope layers`: what can be captured."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple

import typer

from featscope.errors import BadOptionError


def run(
    model: str = typer.Argument(
        ..., metavar="MODEL", help="A config (.py) of MMDetection or MMRotate, 'demo', or module.path:factory."
    ),
    depth: int = typer.Option(2, min=1, help="Parts of a name that are shown: 1 for backbone, 2 for backbone.layer1."),
    below: str = typer.Option("", help="Show only this layer and what lies below it, at any depth."),
    image: Optional[Path] = typer.Option(None, help="Run on this image; noise of 1024 x 1024 otherwise."),
    input_size: str = typer.Option("1,3,512,512", help="Shape of the input of module.path:factory."),
) -> None:
    """List a model's layers after one forward: outputs, shapes, strides, calls, and what to type.

    \b
    Examples:
      featscope layers demo
      featscope layers s2anet-le135_r50_fpn_1x_dota.py
      featscope layers config.py --below bbox_head_refine
      featscope layers torchvision.models:resnet18
    """
    from rich.console import Console
    from rich.table import Table

    from featscope.capturing.tree import report

    network, forward = _model(model, image, input_size)
    found = report(network, forward)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("--layers", "class", "calls", "field", "shape", "stride"):
        table.add_column(heading, justify="right" if heading in ("calls", "stride") else "left", no_wrap=True)
    shown = 0
    for layer in found.layers:
        if below and layer.name != below and not layer.name.startswith(below + "."):
            continue
        if not below and layer.name.count(".") >= depth:
            continue
        shown += 1
        first = True
        for field, shapes in layer.outputs.items() or [("", [])]:
            for level, shape in enumerate(shapes or [()]):
                stride = found.stride(shape)
                table.add_row(
                    layer.name if first else "",
                    layer.cls if first else "",
                    str(layer.calls) if first else "",
                    field if level == 0 else "",
                    " x ".join(map(str, shape)) or "no tensor",
                    f"{stride:g}" if stride else "",
                )
                first = False
    if not shown:
        from featscope.errors import unknown_name

        raise unknown_name("layer", below, [layer.name for layer in found.layers], f"featscope layers {model}")
    console = Console(width=200 if not Console().is_terminal else None)
    console.print(table)
    hidden = len(found.layers) - shown
    typer.echo(
        f"{shown} of {len(found.layers)} layers that run"
        + (f"; {hidden} more: --depth 9, or --below NAME" if hidden else "")
        + (f"; {len(found.silent)} never run by themselves, as {found.silent[0]}" if found.silent else "")
    )
    typer.echo("Without --layers every top-level part is captured; globs work: --layers 'backbone.layer*'")


def _model(name: str, image: Optional[Path], input_size: str) -> Tuple[Any, Callable[[], Any]]:
    """The model of a name, and a call that runs it once."""
    if name == "demo":
        from featscope.demo.capture import one_forward

        return one_forward(image)
    if name.endswith(".py"):
        from featscope.adapters.mmdet import one_forward as one_mm_forward
        from featscope.adapters.mmdet import read_config

        return one_mm_forward(read_config(name), image)
    if ":" in name:
        return _factory(name, input_size)
    raise BadOptionError(f"{name!r} is no model; type a config (.py), 'demo', or module.path:factory")


def _factory(name: str, input_size: str) -> Tuple[Any, Callable[[], Any]]:
    import sys
    from importlib import import_module

    import torch

    module, _, factory = name.partition(":")
    sys.path.insert(0, "")  # as `python -m` does: the user's own module lies where the user is
    try:
        model = getattr(import_module(module), factory)()
    except (ImportError, AttributeError) as error:
        raise BadOptionError(f"{name!r} cannot be loaded: {error}; type module.path:factory") from None
    try:
        shape: List[int] = [int(n) for n in input_size.split(",")]
    except ValueError:
        raise BadOptionError(f"{input_size!r} is no shape; type --input-size 1,3,512,512") from None

    def run_once() -> Any:
        with torch.no_grad():
            return model.eval()(torch.zeros(shape))

    return model, run_once

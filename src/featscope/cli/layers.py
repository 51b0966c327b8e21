"""`featscope layers`: what can be captured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Tuple

import typer

from featscope.cli import models

if TYPE_CHECKING:
    from featscope.capturing.reports import TensorReport

_NOISE = {"mmdet": (1024, 1024), "pytorch": (512, 512), "demo": (464, 640)}


def run(
    model: str = typer.Argument(..., metavar="MODEL", help=models.MODEL),
    depth: int = typer.Option(2, min=1, help="Parts of a name that are shown: 1 for backbone, 2 for backbone.layer1."),
    below: str = typer.Option("", help="Show only this layer and what lies below it, at any depth."),
    image: Optional[Path] = typer.Option(None, "--image", "-i", help="Run on this image; on noise otherwise."),
    input_size: str = models.input_size,
    preprocess: str = models.preprocess,
    inputs: Optional[List[str]] = models.inputs,
    axes: Optional[List[str]] = models.axes,
    grids: Optional[List[str]] = models.grids,
    cfg_options: Optional[List[str]] = models.cfg_options,
    trust_checkpoint: bool = models.trust_checkpoint,
) -> None:
    """List a model's layers after one forward: outputs, their axes, strides, calls, and what to type.

    \b
    Weights play no part: they are random. Examples:
      featscope layers demo
      featscope layers s2anet-le135_r50_fpn_1x_dota.py
      featscope layers config.py --below bbox_head_refine
      featscope layers torchvision:fasterrcnn_resnet50_fpn --below roi_heads
      featscope layers ultralytics:yolo11n-obb.yaml --depth 3
      featscope layers transformers:folder/of/detr
      featscope layers timm:vit_base_patch16_224
      featscope layers yolox.onnx
      featscope layers torchvision.models:resnet18 --input-size 224
    """
    import numpy as np
    from rich.console import Console

    from featscope.adapters.detector import RANDOM
    from featscope.adapters.images import list_images, without_gradients
    from featscope.adapters.opening import split_name
    from featscope.capturing.reports import TensorReport
    from featscope.cli.console import Table, say

    adapter, target = split_name(model)
    own = adapter == "onnx" or target.endswith(".pt")
    detector = models.open_named(
        model,
        "" if own else RANDOM,
        size=input_size,
        preprocess=preprocess,
        trusted=trust_checkpoint,
        config=cfg_options,
        inputs=inputs,
    )
    noise = np.random.default_rng(0).integers(0, 256, (*_NOISE.get(adapter, (640, 640)), 3), dtype=np.uint8)
    with without_gradients():
        found = detector.report(
            detector.prepare(list_images([image])[0] if image else noise, "noise"), models.given_axes(axes, grids)
        )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("--layers", "class", "calls", "field", "shape", "axes", "stride", "first cell"):
        table.add_column(heading, justify="right" if heading in ("calls", "stride") else "left", no_wrap=True)
    shown = 0
    refused: Dict[str, str] = {}  # why -> a layer
    for layer in found.layers:
        if below and layer.name != below and not layer.name.startswith(below + "."):
            continue
        if not below and layer.name.count(".") >= depth:
            continue
        shown += 1
        names = [layer.name, layer.cls, str(layer.calls)]
        for field, tensors in layer.outputs.items() or [("", [])]:
            for level, tensor in enumerate(tensors or [TensorReport(())]):
                if tensor.shape and not tensor.grids:
                    refused.setdefault(tensor.why, layer.name)
                table.add_row(*names, field if level == 0 else "", *_columns(tensor))
                names = ["", "", ""]
    if not shown:
        from featscope.errors import unknown_name

        raise unknown_name("layer", below, [layer.name for layer in found.layers], f"featscope layers {model}")
    console = Console(width=200 if not Console().is_terminal else None)
    console.print(table)
    hidden = len(found.layers) - shown
    say(
        f"{shown} of {len(found.layers)} layers that run"
        + (f"; {hidden} more: --depth 9, or --below NAME" if hidden else "")
        + (f"; {len(found.silent)} never run by themselves, as {found.silent[0]}" if found.silent else "")
    )
    for why, name in refused.items():
        say(f"{name} is not a map of the image: {why}")
    if refused:
        say(
            "Layers that are not maps are stored as they are. If you know their axes, say so: "
            "--axes 'layers.*=NHWC', --grid 'blocks.*=14x14+1'"
        )
    say("Without --layers every top-level part is captured; globs work: --layers 'backbone.layer*'")


def _columns(tensor: TensorReport) -> List[str]:
    """The columns of a table that say how a tensor is read."""
    shape = " x ".join(map(str, tensor.shape)) or "no tensor"
    axes = ", ".join(tensor.axes) if tensor.grids else "no map" if tensor.shape else ""
    if tensor.grids and "row" not in tensor.axes:
        axes += " -> " + ", ".join(f"{rows} x {columns}" for (rows, columns), _ in tensor.grids)
    places = [place for _, place in tensor.grids]
    strides = list(dict.fromkeys(_numbers(place.stride) for place in places))
    firsts = list(dict.fromkeys(f"{_numbers(place.first)} ({place.known})" for place in places))
    return [shape, axes, ", ".join(strides), ", ".join(firsts)]


def _numbers(pair: Tuple[float, float]) -> str:
    y, x = (f"{round(value, 2):g}" for value in pair)
    return y if y == x else f"{y}, {x}"

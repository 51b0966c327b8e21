"""`featscope layers`: what can be captured."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

import typer

from featscope.cli import models

_NOISE = {"mmdet": (1024, 1024), "pytorch": (512, 512), "demo": (464, 640)}


def run(
    model: str = typer.Argument(..., metavar="MODEL", help=models.MODEL),
    depth: int = typer.Option(2, min=1, help="Parts of a name that are shown: 1 for backbone, 2 for backbone.layer1."),
    below: str = typer.Option("", help="Show only this layer and what lies below it, at any depth."),
    image: Optional[Path] = typer.Option(None, "--image", "-i", help="Run on this image; on noise otherwise."),
    input_size: str = models.input_size,
    preprocess: str = models.preprocess,
    inputs: Optional[List[str]] = models.inputs,
    cfg_options: Optional[List[str]] = models.cfg_options,
    trust_checkpoint: bool = models.trust_checkpoint,
) -> None:
    """List a model's layers after one forward: outputs, shapes, strides, calls, and what to type.

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
    from rich.table import Table

    from featscope.adapters.detector import RANDOM
    from featscope.adapters.images import list_images, without_gradients
    from featscope.adapters.opening import split_name

    adapter, target = split_name(model)
    own = adapter == "onnx" or target.endswith(".pt")
    detector = models.open_named(
        model,
        "" if own else RANDOM,
        input_size,
        preprocess,
        trusted=trust_checkpoint,
        config=cfg_options,
        inputs=inputs,
    )
    noise = np.random.default_rng(0).integers(0, 256, (*_NOISE.get(adapter, (640, 640)), 3), dtype=np.uint8)
    with without_gradients():
        found = detector.report(detector.prepare(list_images([image])[0] if image else noise, "noise"))
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
                stride = found.stride(shape) if layer.is_map else None
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

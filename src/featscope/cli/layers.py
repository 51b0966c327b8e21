"""`featscope layers`: what can be captured."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Tuple

from featscope.cli import models, options
from featscope.cli.options import own
from featscope.errors import BadOptionError
from featscope.words import counted


def run(
    model: str = models.model,
    layers: Optional[List[str]] = options.layer(
        help="List only this layer and its parts, at any depth: its name, or a glob. Repeat it for more.", complete=None
    ),
    depth: int = own(
        "--depth",
        panel=options.WHAT,
        help="Parts of a name that are listed: 1 for backbone, 2 for backbone.layer1.",
        default=2,
        metavar="N",
        min=1,
    ),
    images: Optional[List[Path]] = options.image(help="Run the model on this image.", shown="noise"),
    input_size: str = options.input_size(),
    preprocess: str = options.preprocess(),
    inputs: Optional[List[str]] = options.inputs(),
    cfg_options: Optional[List[str]] = options.cfg_options(),
    trust_checkpoint: bool = options.trust_checkpoint(),
    axes: Optional[List[str]] = options.axes(),
    grids: Optional[List[str]] = options.grids(),
) -> None:
    """List a model's layers after one forward: outputs, axes, strides, calls.

    The weights are random: they do not matter here.

    Examples:
      featscope layers demo
      featscope layers s2anet-le135_r50_fpn_1x_dota.py
      featscope layers config.py -l bbox_head_refine
      featscope layers torchvision:fasterrcnn_resnet50_fpn -l roi_heads
      featscope layers ultralytics:yolo11n-obb.yaml --depth 3
      featscope layers transformers:folder/of/detr
      featscope layers timm:vit_base_patch16_224
      featscope layers yolox.onnx
      featscope layers torchvision.models:resnet18 --input-size 224
    """
    from featscope.adapters.by_name import layer_rows, layers_among, report_layers
    from featscope.cli.console import new_table, say, show

    named = models.images_of(images)
    if len(named) > 1:
        raise BadOptionError(f"layers runs the model on one image, and -i names {len(named)}; name one")
    opening = models.opening(
        input_size=input_size,
        preprocess=preprocess,
        trusted=trust_checkpoint,
        config=cfg_options,
        inputs=inputs,
    )
    found = report_layers(model, named[0] if named else None, axes=models.given_axes(axes, grids), **opening)
    headings = ("--layer", "class", "calls", "field", "shape", "axes", "stride", "first cell")
    table = new_table(*headings, right=["calls", "stride"], folded=["--layer", "class", "axes", "first cell"])
    refused: Dict[str, Tuple[str, int]] = {}  # why -> a layer and how many axes it has
    chosen = layers_among(found, layers or (), depth)
    for layer in chosen:
        for number, row in enumerate(layer_rows(layer)):
            if row.tensor.shape and not row.tensor.grids:
                refused.setdefault(row.tensor.why, (layer.name, len(row.tensor.shape)))
            names = [row.layer, row.cls, row.calls] if number == 0 else [""] * 3
            table.add_row(*names, row.field if row.level == 0 else "", row.shape, row.axes, row.stride, row.first)
    show(table)
    hidden = len(found.layers) - len(chosen)
    say(
        f"{len(chosen)} of {counted(len(found.layers), 'layer')} that run"
        + (f"; {hidden} more: --depth 9, or -l NAME" if hidden else "")
        + (f"; {len(found.silent)} never run by themselves, as {found.silent[0]}" if found.silent else "")
    )
    for why, (name, _) in refused.items():
        say(f"{name} is not a map of the image: {why}")
    if refused:
        forms = {3: "--grid '{}=14x14+1'", 4: "--axes '{}=NHWC'"}
        hints = dict((axes, forms[axes].format(name)) for name, axes in refused.values() if axes in forms)
        hint = f" If you know their axes, say so, for example {' or '.join(hints.values())}." if hints else ""
        say(f"Layers that are not maps are stored as they are.{hint}")
    say("capture stores every top-level part, or those that you name: -l neck -l 'backbone.layer*'")

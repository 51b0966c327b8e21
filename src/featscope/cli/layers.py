"""`featscope layers`: list the layers that can be captured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

from featscope.cli import models, options
from featscope.cli.options import own
from featscope.errors import BadOptionError
from featscope.words import counted

if TYPE_CHECKING:
    from featscope.capturing.reports import TensorReport


def run(
    model: str = models.model,
    layers: Optional[List[str]] = options.layer(
        help="List only this layer and its parts, at any depth: its name, or a glob. Repeat it for more.", complete=None
    ),
    depth: int = own(
        "--depth",
        panel=options.WHAT,
        help="How many parts of a name to list: 1 for backbone, 2 for backbone.layer1.",
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

    The weights are random, because they do not matter here.

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
        raise BadOptionError(f"layers runs the model on one image, but -i gives {len(named)}; give one")
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
    chosen = layers_among(found, layers or (), depth)
    for layer in chosen:
        for number, row in enumerate(layer_rows(layer)):
            names = [row.layer, row.cls, row.calls] if number == 0 else [""] * 3
            table.add_row(*names, row.field if row.level == 0 else "", row.shape, row.axes, row.stride, row.first)
    show(table)
    hidden = len(found.layers) - len(chosen)
    say(
        f"{len(chosen)} of {counted(len(found.layers), 'layer')} that run"
        + (f"; {hidden} more: --depth 9, or -l NAME" if hidden else "")
        + (f"; not run by themselves: {len(found.silent)}, such as {found.silent[0]}" if found.silent else "")
    )
    _tell_refused([(layer.name, row.tensor) for layer in chosen for row in layer_rows(layer)])
    say("capture stores every top-level part, or the layers that you name: -l neck -l 'backbone.layer*'")


def _tell_refused(tensors: Sequence[Tuple[str, TensorReport]]) -> None:
    """Print why some tensors are not maps, a layer for each reason, and how to say what their axes are.

    tensors: pairs of a layer's name and a tensor of its output.
    """
    from featscope.cli.console import say

    refused: Dict[str, Tuple[str, int]] = {}  # why -> a layer and the number of its axes
    for name, tensor in tensors:
        if tensor.shape and not tensor.grids:
            refused.setdefault(tensor.why, (name, len(tensor.shape)))
    if not refused:
        return
    for why, (name, _) in refused.items():
        say(f"{name} is not a map of the image: {why}")
    forms = {3: "--grid '{}=14x14+1'", 4: "--axes '{}=NHWC'"}
    hints = dict((axes, forms[axes].format(name)) for name, axes in refused.values() if axes in forms)
    hint = f" If you know their axes, say so, for example {' or '.join(hints.values())}." if hints else ""
    say(f"Layers that are not maps are stored as they are.{hint}")

"""`featscope layers`: what can be captured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Tuple

from featscope.cli import models, options
from featscope.cli.options import own
from featscope.errors import BadOptionError
from featscope.words import counted

if TYPE_CHECKING:
    from featscope.capturing.reports import TensorReport

_NOISE = {"mmdet": (1024, 1024), "pytorch": (512, 512), "demo": (464, 640)}


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
    import numpy as np

    from featscope.adapters.detector import RANDOM
    from featscope.adapters.images import without_gradients
    from featscope.adapters.opening import split_name
    from featscope.capturing.reports import TensorReport
    from featscope.cli.console import new_table, say, show
    from featscope.errors import unknown_name
    from featscope.store.globs import choose_names, lies_below

    adapter, target = split_name(model)
    named = models.images_of(images)
    if len(named) > 1:
        raise BadOptionError(f"layers runs the model on one image, and -i names {len(named)}; name one")
    own = adapter == "onnx" or target.endswith(".pt")
    detector = models.open_named(
        model,
        "" if own else RANDOM,
        input_size=input_size,
        preprocess=preprocess,
        trusted=trust_checkpoint,
        config=cfg_options,
        inputs=inputs,
    )
    noise = np.random.default_rng(0).integers(0, 256, (*_NOISE.get(adapter, (640, 640)), 3), dtype=np.uint8)
    with without_gradients():
        found = detector.report(detector.prepare(named[0] if named else noise, "noise"), models.given_axes(axes, grids))
    known = [layer.name for layer in found.layers]
    chosen = choose_names(known, layers or ())
    for pattern in chosen.missing:
        raise unknown_name("layer", pattern, known, f"featscope layers {model} --depth 99")
    includes = [pattern for pattern in layers or () if not pattern.startswith("!")]
    headings = ("--layer", "class", "calls", "field", "shape", "axes", "stride", "first cell")
    table = new_table(*headings, right=["calls", "stride"], folded=["--layer", "class", "axes", "first cell"])
    shown = 0
    refused: Dict[str, str] = {}  # why -> a layer
    for layer in found.layers:
        part = any(lies_below(layer.name, pattern) for pattern in includes)
        if layer.name not in chosen.names and not part:
            continue
        if not includes and layer.name.count(".") >= depth:
            continue
        shown += 1
        names = [layer.name, layer.cls, str(layer.calls)]
        for field, tensors in layer.outputs.items() or [("", [])]:
            for level, tensor in enumerate(tensors or [TensorReport(())]):
                if tensor.shape and not tensor.grids:
                    refused.setdefault(tensor.why, layer.name)
                table.add_row(*names, field if level == 0 else "", *_columns(tensor))
                names = ["", "", ""]
    show(table)
    hidden = len(found.layers) - shown
    say(
        f"{shown} of {counted(len(found.layers), 'layer')} that run"
        + (f"; {hidden} more: --depth 9, or -l NAME" if hidden else "")
        + (f"; {len(found.silent)} never run by themselves, as {found.silent[0]}" if found.silent else "")
    )
    for why, name in refused.items():
        say(f"{name} is not a map of the image: {why}")
    if refused:
        say(
            "Layers that are not maps are stored as they are. If you know their axes, say so: "
            "--axes 'layers.*=NHWC', --grid 'blocks.*=14x14+1'"
        )
    say("capture stores every top-level part, or those that you name: -l neck -l 'backbone.layer*'")


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

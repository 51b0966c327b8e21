"""`featscope layers`: what can be captured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator, List, Optional, Sequence, Tuple

from featscope.cli import models, options
from featscope.cli.options import own
from featscope.errors import BadOptionError
from featscope.words import counted

if TYPE_CHECKING:
    from featscope.capturing.reports import LayerReport, TensorReport

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
    from featscope.cli.console import new_table, say, show

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
    listed = _listed(found.layers, layers or (), depth, model)
    headings = ("--layer", "class", "calls", "field", "shape", "axes", "stride", "first cell")
    table = new_table(*headings, right=["calls", "stride"], folded=["--layer", "class", "axes", "first cell"])
    for row in (row for layer in listed for row in _rows(layer)):
        table.add_row(*row)
    show(table)
    hidden = len(found.layers) - len(listed)
    say(
        f"{len(listed)} of {counted(len(found.layers), 'layer')} that run"
        + (f"; {hidden} more: --depth 9, or -l NAME" if hidden else "")
        + (f"; {len(found.silent)} never run by themselves, as {found.silent[0]}" if found.silent else "")
    )
    refused = _refused(listed)
    for why, name in refused.items():
        say(f"{name} is not a map of the image: {why}")
    if refused:
        say(
            "Layers that are not maps are stored as they are. If you know their axes, say so: "
            "--axes 'layers.*=NHWC', --grid 'blocks.*=14x14+1'"
        )
    say("capture stores every top-level part, or those that you name: -l neck -l 'backbone.layer*'")


def _listed(all_layers: Sequence[LayerReport], patterns: Sequence[str], depth: int, model: str) -> List[LayerReport]:
    """The layers that were asked for and their parts; without patterns those with names of at most `depth` parts."""
    from featscope.errors import unknown_name
    from featscope.store.globs import choose_names, lies_below

    known = [layer.name for layer in all_layers]
    chosen = choose_names(known, patterns)
    for pattern in chosen.missing:
        raise unknown_name("layer", pattern, known, f"featscope layers {model} --depth 99")
    includes = [pattern for pattern in patterns if not pattern.startswith("!")]
    if not includes:
        return [one for one in all_layers if one.name in chosen.names and one.name.count(".") < depth]
    return [
        one
        for one in all_layers
        if one.name in chosen.names or any(lies_below(one.name, pattern) for pattern in includes)
    ]


def _rows(layer: LayerReport) -> Iterator[List[str]]:
    """The rows of the table for one layer: one a tensor, with the layer's name in the first only."""
    from featscope.capturing.reports import TensorReport

    names = [layer.name, layer.cls, str(layer.calls)]
    for field, tensors in layer.outputs.items() or [("", [])]:
        for level, tensor in enumerate(tensors or [TensorReport(())]):
            yield [*names, field if level == 0 else "", *_columns(tensor)]
            names = ["", "", ""]


def _refused(layers: Sequence[LayerReport]) -> Dict[str, str]:
    """Each reason why a tensor is not a map, with the first layer that it holds for."""
    found: Dict[str, str] = {}
    for layer in layers:
        for tensor in (tensor for tensors in layer.outputs.values() for tensor in tensors):
            if tensor.shape and not tensor.grids:
                found.setdefault(tensor.why, layer.name)
    return found


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

"""What the commands that open a detector share: how a user names and fits one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import typer

from featscope.errors import BadOptionError

MODEL = "A config (.py) of MMDetection or MMRotate, ADAPTER:NAME, module.path:factory, a .onnx file, or 'demo'."
CHECKPOINT = "Its weights, or 'random'. Not needed where the model has its own."

input_size = typer.Option(
    "", "--input-size", metavar="SIZE", help="Fit images to this size: 640, or 512,864 (height, width)."
)
preprocess = typer.Option(
    "",
    "--preprocess",
    metavar="KEY=VALUE,...",
    help="How images are fed to .onnx, timm and module.path:factory: fit=stretch|letterbox|corner, pad=114, "
    "colour=rgb|bgr|grey, range=1|255, mean=a/b/c, std=a/b/c, layout=nchw|nhwc, reading=pillow|pillow+exif|cv2+exif. A module.path:factory whose model takes "
    "no plain batch: input=KEY feeds {KEY: batch}, input=list a list of images, input=list:KEY a list of {KEY: image}.",
)
inputs = typer.Option(
    None,
    "--input",
    metavar="NAME=VALUE",
    help="What goes into another input of a .onnx: a number, a list 1,2,3, or a .npy file; once for each.",
)
axes = typer.Option(
    None,
    "--axes",
    metavar="LAYER=NHWC",
    help="What the axes of a layer are that could not be followed from the image: N sample, C channel, H row, W column, "
    "T time; once for each layer or glob.",
)
grids = typer.Option(
    None,
    "--grid",
    metavar="LAYER=16x24+5",
    help="Rows x columns of a layer's tokens that could not be followed, and how many tokens stand before them.",
)
score_threshold = typer.Option(
    None, "--score-threshold", min=0.0, max=1.0, help="Of detections; the model's own otherwise."
)
trust_checkpoint = typer.Option(
    False, help="Unpickle a checkpoint that holds more than weights. Only for files whose source you trust."
)
cfg_options = typer.Option(
    None, "--cfg-options", metavar="KEY=VALUE", help="Change the config, as in OpenMMLab's own tools."
)


def opening(
    size: str = "",
    preprocess: str = "",
    threshold: Optional[float] = None,
    trusted: bool = False,
    config: Optional[List[str]] = None,
    inputs: Optional[List[str]] = None,
) -> Dict[str, Any]:
    """What a user typed of how to open a detector, as fields of `featscope.adapters.detector.Opening`."""
    return {
        "input_size": parse_size(size),
        "preprocess": preprocess,
        "score_threshold": threshold,
        "trusted": trusted,
        "config_options": config_options(config or []),
        "inputs": pairs(inputs or [], "--input"),
    }


def open_named(model: str, checkpoint: str, **options: Any) -> Any:
    """The detector that a user named; options: of `opening`."""
    from featscope.adapters.opening import open_detector

    return open_detector(model, checkpoint, **opening(**options))


def function_named(text: str, option: str) -> Any:
    """The function that a user named as module.path:function."""
    from featscope.adapters.opening import import_named

    function = import_named(text, f"{option} module.path:function")
    if not callable(function):
        raise BadOptionError(f"{text!r} is a {type(function).__name__}; type {option} module.path:function")
    return function


def parse_size(text: str) -> Optional[Tuple[int, int]]:
    """'640' or '512,864' as (height, width)."""
    if not text:
        return None
    try:
        sides = [int(side) for side in text.replace("x", ",").split(",")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise BadOptionError(f"{text!r} is no size; type --input-size 640, or --input-size 512,864 (height, width)")
    return sides[0], sides[-1]


def pairs(texts: List[str], option: str) -> Dict[str, str]:
    """KEY=VALUE texts as a dict."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise BadOptionError(f"{text!r} is no KEY=VALUE; type {option} KEY=VALUE")
        found[key] = value
    return found


def given_axes(axes: Optional[List[str]], grids: Optional[List[str]]) -> Dict[str, str]:
    """What the user says of layers whose axes could not be followed, as `axes` of `featscope.capture`."""
    return {**pairs(axes or [], "--axes"), **pairs(grids or [], "--grid")}


def config_options(texts: List[str]) -> Dict[str, object]:
    """KEY=VALUE pairs, values read as MMEngine's own tools read them."""
    from argparse import ArgumentParser

    if not pairs(texts, "--cfg-options"):
        return {}
    from mmengine.config import DictAction

    parser = ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    options: Dict[str, object] = parser.parse_args(["--cfg-options", *texts]).cfg_options
    return options


def images_of(paths: Optional[List[Path]]) -> List[Path]:
    """The images that were named."""
    from featscope.adapters.images import list_images

    return list_images(paths) if paths else []

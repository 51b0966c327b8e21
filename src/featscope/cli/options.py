"""The table of the options that several commands share. An option of only one command is declared there by `own`.

A name has the same meaning and the same short form in every command. Values are checked before anything runs, by the
functions that the library itself uses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Callable, Optional, Tuple

import typer

from featscope.cli import checks, completion
from featscope.cli.console import literal

WHAT, MODEL, HOW_MUCH, DRAWING, RARE = "What", "Model", "How much", "Drawing", "Rare"
"""The panels of the help."""


@dataclass(frozen=True)
class Option:
    """An option that several commands have. Call it to declare it in one of them.

    names: as they are typed, the long one first. shown: text of the default if the value explains nothing by itself.
    check: raises a `FeatscopeError` for an invalid value; it is called with each value that was typed. complete:
    returns the words that can be typed.
    """

    names: Tuple[str, ...]
    panel: str
    help: str
    default: Any = None
    metavar: Optional[str] = None
    shown: str = ""
    check: Optional[Callable[[Any], object]] = None
    complete: Optional[completion.Complete] = None
    min: Optional[float] = None
    max: Optional[float] = None

    @property
    def flag(self) -> bool:
        """Whether the option takes no value."""
        return isinstance(self.default, bool) or "/" in self.names[0]

    def __call__(self, **own: Any) -> Any:
        """Return the option for one command. own: fields that differ there, such as the default or the help."""
        row = replace(self, **own)
        says_itself = row.default not in (None, "", False, ...)
        return typer.Option(
            row.default,
            *row.names,
            metavar=" " if row.flag else row.metavar,  # otherwise typer shows <bool> for a flag
            help=literal(row.help),
            rich_help_panel=row.panel,
            show_default=row.shown or says_itself,
            callback=row.check and _checked(row.check),
            autocompletion=row.complete,
            min=row.min,
            max=row.max,
        )


def _checked(check: Callable[[Any], object]) -> Callable[..., Any]:
    def callback(context: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
        if not context.resilient_parsing:
            for one in value if isinstance(value, (list, tuple)) else [value]:
                if one not in (None, ""):
                    check(one)
        return [] if value is None and getattr(param, "multiple", False) else value  # typer 0.12 needs a list

    return callback


def own(*names: str, panel: str, help: str, default: Any = None, **more: Any) -> Any:
    """Declare an option of only one command. more: other fields of `Option`."""
    return Option(names, panel, help, default, **more)()


def argument(metavar: str, help: str, default: Any = ..., complete: Optional[completion.Complete] = None) -> Any:
    """Declare an argument of a command."""
    return typer.Argument(default, metavar=metavar, help=literal(help), show_default=False, autocompletion=complete)


# Arguments

_NPY = "A run, or a folder with subfolders of .npy files."

run = argument("RUN", _NPY)
run_or_folder = argument("RUN_OR_FOLDER", _NPY)
runs_or_folder = argument("RUN_OR_FOLDER", "A run, or several to compare; or a folder with subfolders of .npy files.")
other_run = argument("OTHER", "A second run to compare with the first.", None)

# What

layer = Option(
    ("--layer", "-l"),
    WHAT,
    "Only this layer: its name, or a glob ('backbone.*', '**.conv'); '!name' leaves one out. Repeat it for more.",
    metavar="LAYER",
    shown="all",
    complete=completion.layers,
)
level = Option(
    ("--level",), WHAT, "Only this level: 0 is the first, P3 in many detectors.", metavar="N", shown="all", min=0
)
sample = Option(
    ("--sample",),
    WHAT,
    "Only this sample: its id, or a glob ('P07*').",
    metavar="ID",
    shown="all",
    complete=completion.samples,
)
only = Option(
    ("--only",),
    WHAT,
    "Only these folders, or files of them: 'neck*', '*/batch_0_layer_0.npy'. Repeat it for more.",
    metavar="GLOB",
    shown="all",
)
truth = Option(
    ("--annotations",),
    WHAT,
    "The ground truth: COCO's annotations.json, a folder of DOTA's labelTxt, or a folder of YOLO's labels.",
    metavar="PATH",
    shown="the run's own",
)
iou = Option(
    ("--iou",), WHAT, "A detection hits an object from this overlap (IoU) on.", 0.5, metavar="IOU", min=0.01, max=1
)
score = Option(
    ("--score",),
    WHAT,
    "Count detections with at least this score.",
    metavar="SCORE",
    shown="that with the best F1",
    min=0,
    max=1,
)
rule = Option(
    ("--rule",),
    WHAT,
    "How detections are matched to objects: voc (also DOTA's) or coco.",
    "voc",
    metavar="RULE",
    check=checks.matching_rule,
    complete=completion.matching_rules,
)
pictures = Option(
    ("--pictures",),
    WHAT,
    "Draw pictures of what was found into this folder.",
    metavar="DIR",
    shown="none",
)
image = Option(
    ("--image", "-i"), WHAT, "An image, or a folder of images. Repeat it for more.", metavar="IMAGE", shown="none"
)
output = Option(("--output", "-o"), WHAT, "The folder to write to.", metavar="DIR")
new_run = Option(("--output", "-o"), WHAT, "The folder of the new run.", ..., metavar="RUN")

# Model

input_size = Option(
    ("--input-size",),
    MODEL,
    "Fit images to this size: 640, or 512,864 (height, width).",
    "",
    metavar="SIZE",
    shown="the model's own",
    check=checks.size,
)
preprocess = Option(
    ("--preprocess",),
    MODEL,
    "How to feed images to .onnx, timm and module.path:factory models, separated by commas: fit=stretch, letterbox or "
    "corner; pad=114; colour=rgb, bgr or grey; range=1 or 255; mean=a/b/c; std=a/b/c; layout=nchw or nhwc; "
    "reading=pillow, pillow+exif or cv2+exif. If the model of a factory does not take a batch: input=KEY feeds "
    "{KEY: batch}, input=list a list of images, input=list:KEY a list of {KEY: image}.",
    "",
    metavar="KEY=VALUE",
    shown="the model's own",
    check=checks.preprocess,
)
inputs = Option(
    ("--input",),
    MODEL,
    "Set another input of an .onnx model: a number, a list 1,2,3, or a .npy file. Repeat it for more.",
    metavar="NAME=VALUE",
    shown="none",
    check=checks.pair("--input"),
)
score_threshold = Option(
    ("--score-threshold",),
    MODEL,
    "Leave out detections below this score.",
    metavar="SCORE",
    shown="the model's own",
    min=0,
    max=1,
)
cfg_options = Option(
    ("--cfg-options",),
    MODEL,
    "Change the config, as in OpenMMLab's own tools. Repeat it for more.",
    metavar="KEY=VALUE",
    shown="none",
    check=checks.pair("--cfg-options"),
)
trust_checkpoint = Option(
    ("--trust-checkpoint",),
    MODEL,
    "Unpickle a checkpoint that holds more than weights. Only do this if you trust the file.",
    False,
)

# How much

batch_size = Option(("--batch-size",), HOW_MUCH, "Images in one forward.", 1, metavar="N", min=1)
dtype = Option(
    ("--dtype",),
    HOW_MUCH,
    "Store float32, float16, bfloat16 or uint8 (253 levels per channel).",
    "",
    metavar="DTYPE",
    shown="as the model gives it",
    check=checks.dtype,
    complete=completion.dtypes,
)
every = Option(("--every",), HOW_MUCH, "Store every n-th sample.", 1, metavar="N", min=1)
max_samples = Option(("--max-samples",), HOW_MUCH, "Store at most N samples.", 0, metavar="N", shown="all", min=0)
channels = Option(
    ("--channels", "-c"),
    HOW_MUCH,
    "Only these channels: all, top:16 (the strongest), 0-15, or 3,7.",
    "all",
    metavar="CHANNELS",
    check=checks.kept_channels,
    complete=completion.channels,
)
reduce = Option(
    ("--reduce", "-r"),
    HOW_MUCH,
    "Reduce the channels to one: mean, absmean, max, l2, std or select_max.",
    "",
    metavar="HOW",
    shown="all channels",
    check=checks.kept_reduction,
    complete=completion.reductions,
)

objects = Option(
    ("--objects",),
    HOW_MUCH,
    "Store, in place of the maps, only what they hold in the box of each object (featscope objects).",
    False,
)

candidates = Option(
    ("--candidates/--no-candidates",),
    HOW_MUCH,
    "Store all raw outputs of the detector too, before thresholds and suppression (for featscope misses).",
    default=False,
)

# Drawing

value_range = Option(
    ("--range",),
    DRAWING,
    "Values that the colours span: map, layer, run, symmetric, percentile:1:99, or 0:1.",
    metavar="RANGE",
    check=checks.value_range,
    complete=completion.ranges,
)
colormap = Option(
    ("--colormap",),
    DRAWING,
    "A colour map: jet, or a name in the cmap catalogue.",
    metavar="NAME",
    check=checks.colormap,
    complete=completion.colormaps,
)
style = Option(("--style",), DRAWING, "A named look.", "featscope", metavar="NAME", complete=completion.styles)
panel = Option(
    ("--panel/--no-panel",), DRAWING, "Draw the levels of a layer side by side, in one picture.", default=False
)
picture_format = Option(
    ("--format",),
    DRAWING,
    "The format of the pictures: png, webp or jpg.",
    "png",
    metavar="FORMAT",
    check=checks.picture_format,
    complete=completion.picture_formats,
)

# Rare

axes = Option(
    ("--axes",),
    RARE,
    "The axes of a layer, if they could not be followed from the image, one letter for each: N sample, C channel, "
    "H row, W column, T time. Repeat it for more.",
    metavar="LAYER=NHWC",
    shown="as followed",
    check=checks.axes("--axes"),
)
grids = Option(
    ("--grid",),
    RARE,
    "Rows x columns of a layer's tokens, if they could not be followed, + the number of tokens before them. Repeat it "
    "for more.",
    metavar="LAYER=16x24+5",
    shown="as followed",
    check=checks.axes("--grid"),
)
provenance = Option(("--provenance/--no-provenance",), RARE, "Find the raw output that each detection came from.", True)
resume = Option(("--resume",), RARE, "Continue a run that was stopped or killed.", False)
executor = Option(
    ("--executor",),
    RARE,
    "Where to draw: processes (all cores), processes:4, serial, or dask://HOST:PORT.",
    "processes",
    metavar="WHERE",
    check=checks.executor,
    complete=completion.executors,
)

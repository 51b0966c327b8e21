"""`featscope capture`: a detector's feature maps, as a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import typer

from featscope.cli import models
from featscope.errors import BadOptionError

if TYPE_CHECKING:
    from featscope.adapters.images import Estimate


def run(
    model: str = typer.Argument(..., metavar="MODEL", help=models.MODEL),
    checkpoint: str = typer.Argument("", metavar="[CHECKPOINT]", help=models.CHECKPOINT),
    output: Path = typer.Option(..., "-o", "--output", metavar="RUN", help="Folder of the new run."),
    layers: Optional[List[str]] = typer.Option(
        None, "--layers", "-l", help="Name or glob of a layer, '!name' to leave one out; give it once for each."
    ),
    images: Optional[List[Path]] = typer.Option(
        None, "--images", "-i", help="An image or a folder of images; a config without them runs its test set."
    ),
    batch_size: int = typer.Option(1, min=1, help="Images of one forward."),
    names: Optional[List[str]] = typer.Option(
        None, "--name", metavar="LAYER=FOLDER", help="Another name for a layer's folder."
    ),
    cfg_options: Optional[List[str]] = models.cfg_options,
    input_size: str = models.input_size,
    preprocess: str = models.preprocess,
    inputs: Optional[List[str]] = models.inputs,
    axes: Optional[List[str]] = models.axes,
    grids: Optional[List[str]] = models.grids,
    score_threshold: Optional[float] = models.score_threshold,
    trust_checkpoint: bool = models.trust_checkpoint,
    provenance: bool = typer.Option(True, help="Find which raw output gave each detection."),
    dtype: str = typer.Option("", help="Store as float32, float16, bfloat16 or uint8 (253 levels a channel)."),
    reduce: str = typer.Option(
        "", "-r", "--reduce", help="Store mean, absmean, max, l2, std or select_max of the channels."
    ),
    channels: str = typer.Option("", "-c", "--channels", help="Store these channels only: 0-15, 3,7 or top:16."),
    every: int = typer.Option(1, min=1, help="Store every n-th sample."),
    max_samples: int = typer.Option(0, min=0, help="Store at most so many samples."),
    sample: Optional[List[str]] = typer.Option(
        None, "--sample", metavar="GLOB", help="Store samples whose id or file matches."
    ),
    resume: bool = typer.Option(False, "--resume", help="Go on with a run that was stopped or killed."),
    on_error: str = typer.Option("raise", help="'warn' lets the model run on without capture when the disk fails."),
    estimate: bool = typer.Option(
        False, "--estimate", help="Only say how many bytes and minutes the run will take, from one forward."
    ),
) -> None:
    """Run a detector's test loop, or images, and store the feature maps of its layers.

    \b
    Nothing in the config or the model is edited. Examples:
      featscope capture s2anet.py s2anet.pth -o runs/s2anet
      featscope capture s2anet.py s2anet.pth -i photos/ -o runs/photos
      featscope capture s2anet.py s2anet.pth -l neck -l 'bbox_head_*' -o runs/heads
      featscope capture s2anet.py random --cfg-options test_dataloader.batch_size=2 -o runs/random
    \b
    Any other detector:
      featscope capture torchvision:retinanet_resnet50_fpn weights.pth -i photos/ -o runs/retina
      featscope capture ultralytics:yolo11n-obb.yaml random -i harbour.png -l 'model.[4-9]' -o runs/yolo
      featscope capture ultralytics:best.pt --trust-checkpoint -i photos/ -o runs/best
      featscope capture transformers:folder/of/detr -i photos/ -o runs/detr
      featscope capture timm:resnet50 random -i photo.jpg -o runs/resnet
      featscope capture yolox.onnx -l '/backbone/*' -i photo.jpg -o runs/onnx
      featscope capture my.package:make_model weights.pth -i photo.jpg -o runs/mine
    \b
    A whole test set in little room, a look at what it takes, and the rest of a run that was killed:
      featscope capture s2anet.py s2anet.pth -o runs/all --reduce absmean --dtype float16 --estimate
      featscope capture s2anet.py s2anet.pth -o runs/all --reduce absmean --dtype float16
      featscope capture s2anet.py s2anet.pth -o runs/all --reduce absmean --dtype float16 --resume
      featscope capture s2anet.py s2anet.pth -o runs/few --every 50 --channels top:16
    """
    from featscope.adapters.opening import split_name
    from featscope.capturing.policy import make_policy
    from featscope.cli.console import finish, progress, unfinished

    policy = make_policy(
        {
            "dtype": dtype,
            "reduce": reduce,
            "channels": channels,
            "every": every,
            "max_samples": max_samples,
            "images": sample or [],
        }
    )
    found = models.images_of(images)
    adapter, target = split_name(model)
    if not found and adapter != "mmdet":
        raise BadOptionError(f"{model} comes without a test set: name images, -i photo.jpg or -i folder")
    renamed = models.pairs(names or [], "--name")
    options: Dict[str, Any] = {"names": renamed, "policy": policy, "resume": resume, "on_error": on_error}
    options["axes"] = models.given_axes(axes, grids)
    if not found and not estimate:
        from featscope.adapters.mm.detector import capture_test_loop, read_config

        config = read_config(target, models.config_options(cfg_options or []))
        made = capture_test_loop(
            config, checkpoint, output, layers or None, trust_checkpoint, provenance=provenance, **options
        )
        finish(f"{made.written}; draw them: featscope heat {output}", made.failed + unfinished(output), made.remarks)
        return
    detector = models.open_named(
        model,
        checkpoint,
        size=input_size,
        preprocess=preprocess,
        threshold=score_threshold,
        trusted=trust_checkpoint,
        config=cfg_options,
        inputs=inputs,
    )
    from featscope.adapters.images import capture_images, estimate_run, named_images

    if estimate:
        samples = named_images(found) if found else detector.test_set()
        _tell(estimate_run(detector, samples, layers or None, policy, renamed), output)
        return
    with progress("images", len(found)) as done:
        made = capture_images(detector, found, output, layers or None, batch_size, provenance, done, **options)
    finish(f"{made.written}; draw them: featscope heat {output}", made.failed + unfinished(output), made.remarks)


def _tell(found: Estimate, output: Path) -> None:
    import shutil

    from rich.console import Console

    from featscope.capturing.estimate import disk_rate, refuse_what_does_not_fit
    from featscope.cli.console import Table, closing
    from featscope.store.files import size_text

    existing = next(parent for parent in (output, *output.absolute().parents) if parent.is_dir())
    rate = disk_rate(existing)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("folder", "maps a sample", "a sample", "the run"):
        table.add_column(heading, justify="left" if heading == "folder" else "right", no_wrap=True)
    for folder, (count, size) in found.footprint.by_folder().items():
        table.add_row(folder, str(count), size_text(size), size_text(size * found.samples))
    Console(width=160 if not Console().is_terminal else None).print(table)
    whole = found.footprint.bytes * found.samples
    minutes = found.samples * max(found.seconds, found.footprint.bytes / rate) / 60
    closing(
        f"{found.samples} of {found.of} samples: {size_text(whole)}, about {minutes:.1f} minutes "
        f"({found.seconds:.2f} s a forward here, {rate / 1e6:.0f} MB/s to the disk); "
        f"{existing} has {size_text(shutil.disk_usage(existing).free)} free"
    )
    refuse_what_does_not_fit(found.footprint, 1, found.samples, existing, 0)

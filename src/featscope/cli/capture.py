"""`featscope capture`: store the feature maps of a detector in a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from featscope.cli import checks, completion, models, options
from featscope.cli.options import own
from featscope.errors import BadOptionError
from featscope.words import counted

if TYPE_CHECKING:
    from featscope.adapters.feeding import Estimate


def run(
    model: str = models.model,
    checkpoint: str = models.checkpoint,
    output: Path = options.new_run(),
    layers: Optional[List[str]] = options.layer(shown="every top-level part"),
    images: Optional[List[Path]] = options.image(shown="the config's test set"),
    sample: Optional[List[str]] = options.sample(
        help="Store only this sample: its id or file, or a glob ('P07*'). Repeat it for more.", complete=None
    ),
    annotations: Optional[Path] = options.truth(
        help="The ground truth of the images given by -i: COCO's .json, a folder of DOTA's labelTxt, or of YOLO's .txt.",
        shown="none; a test set has its own",
    ),
    input_size: str = options.input_size(),
    preprocess: str = options.preprocess(),
    inputs: Optional[List[str]] = options.inputs(),
    score_threshold: Optional[float] = options.score_threshold(),
    cfg_options: Optional[List[str]] = options.cfg_options(),
    trust_checkpoint: bool = options.trust_checkpoint(),
    dtype: str = options.dtype(),
    reduce: str = options.reduce(),
    channels: str = options.channels(),
    every: int = options.every(),
    max_samples: int = options.max_samples(),
    objects: bool = options.objects(),
    candidates: bool = options.candidates(),
    batch_size: int = options.batch_size(),
    estimate: bool = own(
        "--estimate",
        panel=options.HOW_MUCH,
        help="Only estimate how many bytes and minutes the run will take, from one forward.",
        default=False,
    ),
    names: Optional[List[str]] = own(
        "--name",
        panel=options.RARE,
        help="Give a layer's folder another name. Repeat it for more.",
        metavar="LAYER=FOLDER",
        shown="LAYER.class",
        check=checks.pair("--name"),
    ),
    axes: Optional[List[str]] = options.axes(),
    grids: Optional[List[str]] = options.grids(),
    provenance: bool = options.provenance(),
    resume: bool = options.resume(),
    on_error: str = own(
        "--on-error",
        panel=options.RARE,
        help="What to do if the disk fails: raise ends the command; warn lets the model go on without capture.",
        default="raise",
        metavar="WHAT",
        check=checks.on_error,
        complete=completion.on_error,
    ),
) -> None:
    """Run a detector's test loop, or images, and store the feature maps of its layers.

    Nothing in the config or the model is edited.

    Examples:
      featscope capture s2anet.py s2anet.pth -o runs/s2anet
      featscope capture s2anet.py s2anet.pth -i photos/ -o runs/photos
      featscope capture s2anet.py s2anet.pth -i photos/ --annotations labelTxt/ \\
        -o runs/labelled
      featscope capture s2anet.py s2anet.pth -l neck -l 'bbox_head_*' -o runs/some
      featscope capture s2anet.py random --cfg-options model.neck.num_outs=4 \\
        -o runs/random

    Any other detector:
      featscope capture torchvision:retinanet_resnet50_fpn weights.pth \\
        -i photos/ -o runs/retina
      featscope capture ultralytics:yolo11n-obb.yaml random -i harbour.png \\
        -l 'model.[4-9]' -o runs/yolo
      featscope capture ultralytics:best.pt --trust-checkpoint \\
        -i photos/ -o runs/best
      featscope capture transformers:folder/of/detr -i photos/ -o runs/detr
      featscope capture timm:resnet50 random -i photo.jpg -o runs/resnet
      featscope capture yolox.onnx -l '/backbone/*' -i photo.jpg -o runs/onnx
      featscope capture my.package:make_model weights.pth \\
        -i photo.jpg -o runs/mine

    A whole test set in little space: estimate the run, start it, and resume it
    if it was killed; or store fewer samples and channels:
      featscope capture s2anet.py s2anet.pth -o runs/all -r absmean --estimate
      featscope capture s2anet.py s2anet.pth -o runs/all -r absmean
      featscope capture s2anet.py s2anet.pth -o runs/all -r absmean --resume
      featscope capture s2anet.py s2anet.pth -o runs/few --every 50 -c top:16
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
            "objects": objects,
            "candidates": candidates,
        }
    )
    found = models.images_of(images)
    adapter, target = split_name(model)
    if not found and adapter != "mmdet":
        raise BadOptionError(f"{model} has no test set; give images: -i photo.jpg or -i folder")
    if not found and annotations is not None:
        raise BadOptionError(f"the test set of {model} has its own ground truth; --annotations needs images: -i folder")
    renamed = checks.pairs(names, "--name")
    asked: Dict[str, Any] = {"names": renamed, "policy": policy, "resume": resume, "on_error": on_error}
    asked["axes"] = models.given_axes(axes, grids)
    if not found and not estimate:
        from featscope.adapters.mm.detector import capture_test_loop, read_config

        config = read_config(target, models.config_options(cfg_options))
        made = capture_test_loop(
            config, checkpoint, output, layers or None, trust_checkpoint, provenance=provenance, **asked
        )
        finish(f"{made.written}; {models.next_step(output, objects)}", made.failed + unfinished(output), made.remarks)
        return
    detector = models.open_named(
        model,
        checkpoint,
        input_size=input_size,
        preprocess=preprocess,
        threshold=score_threshold,
        trusted=trust_checkpoint,
        config=cfg_options,
        inputs=inputs,
    )
    from featscope.adapters.feeding import capture_images, estimate_run, named_images

    if estimate:
        samples = named_images(found) if found else detector.test_set()
        _tell(estimate_run(detector, samples, layers or None, policy, renamed), output)
        return
    with progress("images", len(found)) as done:
        made = capture_images(
            detector,
            found,
            output=output,
            layers=layers or None,
            batch_size=batch_size,
            provenance=provenance,
            done=done,
            truth=annotations,
            **asked,
        )
    finish(f"{made.written}; {models.next_step(output, objects)}", made.failed + unfinished(output), made.remarks)


def _tell(found: Estimate, output: Path) -> None:
    """Print the estimated size and duration. Raises `OutputError` if the run does not fit on the disk."""
    import shutil

    from featscope.capturing.estimate import disk_rate, refuse_what_does_not_fit
    from featscope.cli.console import closing, new_table, show
    from featscope.store.files import size_text

    existing = next(parent for parent in (output, *output.absolute().parents) if parent.is_dir())
    rate = disk_rate(existing)
    numbers = ("maps per sample", "size per sample", "size of the run")
    table = new_table("folder", *numbers, right=numbers, folded=["folder"])
    for folder, (count, size) in found.footprint.by_folder().items():
        table.add_row(folder, str(count), size_text(size), size_text(size * found.samples))
    show(table)
    whole = found.footprint.bytes * found.samples
    minutes = found.samples * max(found.seconds, found.footprint.bytes / rate) / 60
    closing(
        f"{found.samples} of {counted(found.of, 'sample')}: {size_text(whole)}, about {minutes:.1f} minutes "
        f"({found.seconds:.2f} s per forward here, {rate / 1e6:.0f} MB/s to the disk); "
        f"{existing} has {size_text(shutil.disk_usage(existing).free)} free"
    )
    refuse_what_does_not_fit(found.footprint, 1, found.samples, existing, 0)

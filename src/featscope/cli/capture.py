"""`featscope capture`: a detector's feature maps, as a run."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional

import typer

from featscope.errors import BadOptionError


def run(
    config: str = typer.Argument(..., metavar="CONFIG", help="A config of MMDetection or MMRotate."),
    checkpoint: str = typer.Argument(..., metavar="CHECKPOINT", help="Its weights (.pth), or 'random'."),
    output: Path = typer.Option(..., "-o", "--output", metavar="RUN", help="Folder of the new run."),
    layers: Optional[List[str]] = typer.Option(
        None, "--layers", "-l", help="Name or glob of a layer, '!name' to leave one out; give it once for each."
    ),
    images: Optional[List[Path]] = typer.Option(
        None, "--images", "-i", help="An image or a folder of images in place of the config's test set."
    ),
    names: Optional[List[str]] = typer.Option(
        None, "--name", metavar="LAYER=FOLDER", help="Another name for a layer's folder."
    ),
    cfg_options: Optional[List[str]] = typer.Option(
        None, "--cfg-options", metavar="KEY=VALUE", help="Change the config, as in the framework's own tools."
    ),
    trust_checkpoint: bool = typer.Option(
        False, help="Unpickle a checkpoint that holds more than weights. Only for files whose source you trust."
    ),
) -> None:
    """Run a detector's test loop, or images, and store the feature maps of its layers.

    \b
    Nothing in the config or the model is edited. Examples:
      featscope capture s2anet.py s2anet.pth -o runs/s2anet
      featscope capture s2anet.py s2anet.pth -i photos/ -o runs/photos
      featscope capture s2anet.py s2anet.pth -l neck -l 'bbox_head_*' -o runs/heads
      featscope capture s2anet.py random --cfg-options test_dataloader.batch_size=2 -o runs/random
    """
    from featscope.adapters.mmdet import capture_images, capture_test_loop, list_images, read_config
    from featscope.cli.console import finish, progress

    found = list_images(images) if images else []
    cfg = read_config(config, _config_options(cfg_options or []))
    renamed = _pairs(names or [], "--name")
    if not images:
        summary = capture_test_loop(cfg, checkpoint, output, layers or None, renamed, trust_checkpoint)
        finish(f"{summary}; draw them: featscope heat {output}", [])
        return
    with progress("images", len(found)) as done:
        summary, failed = capture_images(
            cfg, checkpoint, found, output, layers or None, renamed, trust_checkpoint, done
        )
    finish(f"{summary}; draw them: featscope heat {output}", failed)


def _pairs(texts: List[str], option: str) -> Dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise BadOptionError(f"{text!r} is no KEY=VALUE; type {option} KEY=VALUE")
        pairs[key] = value
    return pairs


def _config_options(texts: List[str]) -> Dict[str, object]:
    """KEY=VALUE pairs, values read as MMEngine's own tools read them."""
    from argparse import ArgumentParser

    pairs = _pairs(texts, "--cfg-options")
    if not pairs:
        return {}
    from mmengine.config import DictAction

    parser = ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    options: Dict[str, object] = parser.parse_args(["--cfg-options", *texts]).cfg_options
    return options

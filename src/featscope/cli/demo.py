"""`featscope demo`: capture and draw everything with the built-in detector."""

from __future__ import annotations

import math
from pathlib import Path
from typing import List, Optional

import typer

from featscope.cli import options
from featscope.cli.options import own
from featscope.errors import BadOptionError, MissingPackageError
from featscope.words import counted


def run(
    output: Path = options.output(default=Path("featscope-demo"), help="The folder of the run, pictures and page."),
    images: Optional[List[Path]] = options.image(
        help="Your own aerial image, or a folder of them. Repeat it for more.", shown="three drawn scenes"
    ),
    evaluate: int = own(
        "--evaluate",
        panel=options.WHAT,
        help="Only print the detector's mAP at IoU 0.5 on N fresh scenes.",
        default=0,
        metavar="N",
        shown="off",
        min=0,
    ),
) -> None:
    """Detect ships, planes and vehicles, capture every part of the detector, and draw it all.

    The only framework it needs is torch.

    Examples:
      featscope demo
      featscope demo -i harbour.png -o runs/harbour
      featscope demo --evaluate 200
    """
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(f"the demo needs {error.name}: pip install 'featscope[demo]'") from None
    if evaluate:
        _evaluate(evaluate)
    else:
        _draw(output, images or [])


def _evaluate(scenes: int) -> None:
    from featscope.cli.console import closing, progress
    from featscope.demo.evaluation import evaluate

    with progress("scenes", scenes) as done:
        results = evaluate(scenes, done)
    for name, precision in results:
        typer.echo(f"{name:8} AP50 {precision:.3f}")
    known = [precision for _, precision in results if not math.isnan(precision)]
    closing(f"mAP50 {sum(known) / len(known):.3f} on {counted(scenes, 'fresh scene')}")


def _draw(output: Path, images: List[Path]) -> None:
    from featscope.adapters.feeding import capture_images, list_images
    from featscope.adapters.opening import open_detector
    from featscope.cli.console import finish, progress
    from featscope.demo.scenes import DEMO_SEEDS, draw_scene
    from featscope.records import Boxes
    from featscope.render.heat_plan import HeatOptions, plan_heat
    from featscope.render.jobs import Outcome, run_jobs
    from featscope.render.mosaic_plan import MosaicOptions, plan_mosaics
    from featscope.render.png import encode_rgb
    from featscope.store.files import make_folder, size_text, write_atomic
    from featscope.store.reader import open_run
    from featscope.viewer.answers import Viewer
    from featscope.viewer.report import Frozen, write_report

    runs = output / "run"
    if runs.exists():
        raise BadOptionError(f"{runs} already exists; choose another folder with -o, or remove it: rm -r {output}")
    found = list_images(images)
    truth = {}
    if not images:
        make_folder(output / "scenes")
        for seed in DEMO_SEEDS:
            scene, path = draw_scene(seed), output / "scenes" / f"scene_{seed}.png"
            write_atomic(path, encode_rgb(scene.image))
            truth[path] = Boxes("cxcywha", scene.boxes.tolist(), scene.labels.tolist())
    found = found or list(truth)
    made = capture_images(open_detector("demo"), found, runs, None, truth=truth)
    run_opened = open_run(runs)
    maps = run_opened.maps
    outcome = Outcome()
    with progress("maps", 2 * len(maps)) as done:
        heat = plan_heat(run_opened, maps, HeatOptions(predictions=True))
        outcome.add(run_jobs(maps, heat, runs / "heat", done))
        mosaics = plan_mosaics(run_opened, maps, MosaicOptions(channels="top:16", columns=4))
        outcome.add(run_jobs(maps, mosaics, runs / "render", done))
    frozen = Frozen(Viewer([runs]))
    report = write_report(frozen, output / "report.html")
    finish(
        f"{counted(len(maps), 'map')} of {counted(len(run_opened.samples), 'image')} and "
        f"{counted(outcome.pictures, 'picture')}, "
        f"{size_text(outcome.bytes)}, in {output}; open {report.page}",
        [*made.failed, *outcome.errors, *frozen.errors],
        [*made.remarks, *outcome.remarks],
    )

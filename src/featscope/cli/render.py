"""`featscope render`: every map as a picture of its channels."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

import typer


def run(
    folder: Path = typer.Argument(..., metavar="RUN_OR_FOLDER", help="A run, or a folder of subfolders of .npy files."),
    output: Optional[Path] = typer.Option(None, "-o", "--output", metavar="DIR", help="Default: RUN/render."),
    only: Optional[List[str]] = typer.Option(
        None,
        "--only",
        metavar="GLOB",
        help="Draw only these folders, or folder/file: 'neck*', '*/batch_0_layer_0.npy'.",
    ),
    channels: str = typer.Option("all", "-c", "--channels", help="all, top:20, 0-15, or 3,7,12."),
    single: bool = typer.Option(False, help="One picture a channel in place of a mosaic."),
    scale: int = typer.Option(1, min=1, max=64, help="Pixels a cell."),
    columns: Optional[int] = typer.Option(None, min=1, help="Tiles side by side. Default: about as wide as high."),
    gap: int = typer.Option(1, min=0, help="Pixels between tiles."),
    value_range: str = typer.Option(
        "channel",
        "--range",
        help="Values the colours span: channel, map, layer, run, symmetric, percentile:1:99, 0:1.",
    ),
    colormap: str = typer.Option("viridis", help="A colour map of the cmap catalogue, or jet."),
    titles: bool = typer.Option(False, help="Write folder, file and shape above each mosaic."),
    numbers: bool = typer.Option(False, help="Write its channel into each tile."),
    picture_format: str = typer.Option("png", "--format", help="Of the pictures: png, webp or jpg."),
    style: str = typer.Option("featscope", help="featscope, or mmengine_topk: the 20 channels of draw_featmap."),
    sample: Optional[str] = typer.Option(
        None, "--sample", metavar="ID", help="Draw only this sample's maps; or a glob."
    ),
    executor: str = typer.Option(
        "processes", "--executor", help="processes (all cores), processes:4, serial, or dask://HOST:PORT."
    ),
) -> None:
    """Draw every map as PNG: a mosaic of its channels, or single channels.

    \b
    Pictures that are up to date are not drawn again. Examples:
      featscope render runs/s2anet
      featscope render runs/s2anet --only 'neck*' --channels top:20 --columns 5 --numbers --titles
      featscope render folder_of_npy -o pictures --scale 4
      featscope render runs/s2anet --single --channels 0-3
    """
    from featscope.cli.console import finish, foretell, no_maps_remarks, pictures_line, progress
    from featscope.errors import unknown_name
    from featscope.render.jobs import Form, choose_maps, output_folder, run_jobs
    from featscope.render.mosaic_plan import MosaicOptions, plan_mosaics
    from featscope.scale.executors import executor_named
    from featscope.store.reader import open_run

    if style not in ("featscope", "mmengine_topk"):
        raise unknown_name("style", style, ["featscope", "mmengine_topk"], "featscope render --help")
    if style == "mmengine_topk":
        channels, columns, colormap, gap = "sum:20", 5, "jet", 0
    options = MosaicOptions(
        channels=channels,
        colormap=colormap,
        range=value_range,
        columns=columns,
        scale=scale,
        gap=gap,
        titles=titles,
        numbers=numbers,
        single=single,
        form=Form(picture_format),
    )
    run_on = executor_named(executor)
    if executor.startswith("dask"):  # its workers run in other folders
        folder, output = folder.absolute(), output and output.absolute()
    opened = open_run(folder)
    maps = choose_maps(opened, only or (), sample)
    draw = plan_mosaics(opened, maps, options, run_on)
    target = output_folder(opened, "render", output)
    foretell(maps, draw, target)
    with progress("maps", len(maps)) as done:
        outcome = run_jobs(maps, draw, target, done, run_on)
    outcome.remarks += no_maps_remarks(outcome.no_maps, opened.info.readings if opened.info else {})
    if outcome.nan or outcome.inf:
        outcome.remarks.append(f"{outcome.nan} cells are NaN (magenta), {outcome.inf} infinite (green)")
    finish(
        pictures_line(outcome.pictures, outcome.skipped, outcome.bytes, len(maps) - len(outcome.no_maps), target),
        [str(problem) for problem in opened.problems] + outcome.errors,
        outcome.remarks,
    )

"""`featscope heat`: every map as a heat map, alone and over its image."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

import typer


def run(
    folder: Path = typer.Argument(..., metavar="RUN_OR_FOLDER", help="A run, or a folder of subfolders of .npy files."),
    output: Optional[Path] = typer.Option(None, "-o", "--output", metavar="DIR", help="Default: RUN/heat."),
    only: Optional[List[str]] = typer.Option(
        None,
        "--only",
        metavar="GLOB",
        help="Draw only these folders, or folder/file: 'neck*', '*/batch_0_layer_0.npy'.",
    ),
    reduce: Optional[str] = typer.Option(
        None,
        "-r",
        "--reduce",
        help="auto, contrast, mean, absmean, max, l2, std, pc1, pca (three as RGB), select_max, or channel:N. auto "
        "(the default) suits the layer: the highest class score, the contrast of features, signed boxes.",
    ),
    value_range: Optional[str] = typer.Option(
        None,
        "--range",
        help="Values that the colours span: auto, map, layer, run, symmetric, symmetric:99, percentile:1:99, or 0:1. "
        "auto: percentiles of the cells on the image.",
    ),
    colormap: Optional[str] = typer.Option(
        None, help="A colour map of the cmap catalogue, jet, or auto: turbo, for signed values RdBu_r."
    ),
    style: str = typer.Option(
        "featscope", help="featscope (suits each layer), jet (mean, min-max, jet), mmengine_mean, mmengine_max."
    ),
    alpha: Optional[float] = typer.Option(None, min=0, max=1, help="Weight of the colours over the image."),
    smooth: Optional[bool] = typer.Option(None, help="Blend between cells, or show each as a rectangle."),
    overlay: bool = typer.Option(True, help="Draw each map over its image."),
    alone: bool = typer.Option(True, help="Draw each map by itself."),
    boxes: bool = typer.Option(False, help="Draw the detections, also rotated ones."),
    truth: bool = typer.Option(False, help="Draw the ground truth, in white."),
    min_score: float = typer.Option(0.3, min=0, max=1, help="Leave out detections below this score."),
    legend: Optional[bool] = typer.Option(None, help="Draw a title above each map and its scale below."),
    colorbar: Optional[bool] = typer.Option(None, hidden=True),
    panel: bool = typer.Option(False, "--panel", help="Draw the levels of a layer side by side, in one picture."),
    labels: str = typer.Option(
        "score",
        "--labels",
        help="What is written at boxes: score (with the class), class, none, or all (labels may overlap).",
    ),
    basis: str = typer.Option(
        "layer",
        "--basis",
        help="Principal components are shared by map, layer or run, or are those of a FILE (basis.npz).",
    ),
    picture_format: str = typer.Option("png", "--format", help="Of the pictures: png, webp or jpg."),
    max_size: int = typer.Option(
        0,
        "--max-size",
        min=0,
        help="Longest side of a picture in pixels, without its legend. 0: as large as the image.",
    ),
    image: Optional[Path] = typer.Option(
        None, help="Lie all maps over this image; for maps without a record of theirs."
    ),
    place: str = typer.Option(
        "measured",
        "--place",
        help="Where cells lie: as measured (featscope place RUN) where that is known, else by the operators; "
        "operators; or assumed: the map is stretched over the image, as by the styles jet and mmengine_*.",
    ),
    reading: str = typer.Option(
        "", help="How --image is read, where the run does not say it: cv2+exif, cv2, pillow, pillow+exif, ..."
    ),
    sample: Optional[str] = typer.Option(
        None, "--sample", metavar="ID", help="Draw only this sample's maps; or a glob."
    ),
    executor: str = typer.Option(
        "processes", "--executor", help="processes (all cores), processes:4, serial, or dask://HOST:PORT."
    ),
) -> None:
    """Draw every map as a heat map: reduce over channels, normalise, colour, place on the image.

    \b
    Padding, resize, letterbox and flip are undone: a cell lies where it looked. Pictures that are up
    to date are not drawn again. Examples:
      featscope heat runs/s2anet
      featscope heat runs/s2anet --only 'bbox_head_refine*cls_scores' -r max --boxes --truth
      featscope heat runs/s2anet -r pca --no-alone --panel
      featscope heat runs/s2anet --format webp --max-size 1024
      featscope heat runs/s2anet --range layer --colormap viridis
      featscope heat runs/s2anet --sample P0706 --place assumed
      featscope heat runs/large --executor dask://10.0.0.5:8786
      featscope heat runs/s2anet --sample P0706 --image elsewhere/P0706.png
      featscope heat folder_of_npy -o pictures --image photo.jpg --style jet
    """
    from featscope.cli.console import finish, foretell, no_maps_remarks, pictures_line, progress, remark
    from featscope.errors import unknown_name
    from featscope.render.bases import write_bases
    from featscope.render.heat import style_named
    from featscope.render.heat_plan import HeatOptions, plan_heat
    from featscope.render.jobs import Form, choose_maps, output_folder, run_jobs
    from featscope.render.panels import run_panels
    from featscope.scale.executors import executor_named
    from featscope.store.images import READINGS
    from featscope.store.reader import open_run

    if colorbar is not None:
        remark("--colorbar is now --legend")
        legend = colorbar if legend is None else legend
    chosen = style_named(
        style, reduce=reduce, range=value_range, colormap=colormap, alpha=alpha, smooth=smooth, legend=legend
    )
    if reading and reading not in READINGS:
        raise unknown_name("reading", reading, READINGS, "featscope heat --help")
    options = HeatOptions(
        style=chosen,
        overlay=overlay,
        alone=alone,
        predictions=boxes,
        truth=truth,
        min_score=min_score,
        image=image,
        place=place,
        reading=reading,
        basis=basis,
        labels=labels,
        form=Form(picture_format, max_size),
    )
    run_on = executor_named(executor)
    if executor.startswith("dask"):  # its workers run in other folders
        folder, output = folder.absolute(), output and output.absolute()
    opened = open_run(folder)
    maps = choose_maps(opened, only or (), sample)
    draw = plan_heat(opened, maps, options, run_on)
    target = output_folder(opened, "heat", output)
    if draw.bases and not Path(basis).is_file():
        write_bases(draw.bases, target / "basis.npz")
    foretell(maps, draw, target)
    with progress("maps", len(maps)) as done:
        outcome = (run_panels if panel else run_jobs)(maps, draw, target, done, run_on)
    outcome.remarks += no_maps_remarks(outcome.no_maps, opened.info.readings if opened.info else {})
    if outcome.nan or outcome.inf:
        outcome.remarks.append(f"{outcome.nan} cells are NaN (magenta), {outcome.inf} infinite (green)")
    if outcome.constant:
        outcome.remarks.append(f"{outcome.constant} maps are constant: one colour is all they have")
    finish(
        pictures_line(outcome.pictures, outcome.skipped, outcome.bytes, len(maps) - len(outcome.no_maps), target),
        [str(problem) for problem in opened.problems] + outcome.errors,
        outcome.remarks,
    )

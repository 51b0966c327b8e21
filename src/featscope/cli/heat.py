"""`featscope heat`: draw every map as a heat map, alone and over its image."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

from featscope.cli import checks, completion, options
from featscope.cli.options import own


def run(
    folder: Path = options.run_or_folder,
    output: Optional[Path] = options.output(shown="RUN/heat"),
    layers: Optional[List[str]] = options.layer(),
    level: Optional[int] = options.level(),
    sample: Optional[str] = options.sample(),
    only: Optional[List[str]] = options.only(),
    under: Optional[Path] = own(
        "--under",
        panel=options.WHAT,
        help="Draw all maps over this photo if the run does not record their image.",
        metavar="PHOTO",
        shown="the map's image",
    ),
    reduce: Optional[str] = options.reduce(
        default=None,
        panel=options.DRAWING,
        help="Reduce the channels to one: auto, contrast, mean, absmean, max, l2, std, pc1, pca (three, as RGB), "
        "select_max, or channel:N. auto depends on the layer: the highest class score, the contrast of features, or "
        "the signed values of boxes.",
        shown="auto",
        check=checks.or_auto(checks.reduction),
    ),
    value_range: Optional[str] = options.value_range(
        help="Values that the colours span: auto, map, layer, run, symmetric, symmetric:99, percentile:1:99, or 0:1. "
        "auto: percentiles of the cells on the image.",
        shown="auto",
        check=checks.or_auto(checks.value_range),
    ),
    colormap: Optional[str] = options.colormap(
        help="A colour map: jet, a name in the cmap catalogue, or auto (turbo; RdBu_r for signed values).",
        shown="auto",
        check=checks.or_auto(checks.colormap),
    ),
    style: str = options.style(
        help="A named look: featscope (depends on the layer), jet (mean, min-max, jet), mmengine_mean or mmengine_max.",
        check=checks.heat_style,
    ),
    basis: str = own(
        "--basis",
        panel=options.DRAWING,
        help="Share the principal components within each map, layer or run, or take them from a FILE (basis.npz).",
        default="layer",
        metavar="BASIS",
        check=checks.basis,
    ),
    alpha: Optional[float] = own(
        "--alpha",
        panel=options.DRAWING,
        help="Weight of the colours over the image.",
        metavar="SHARE",
        shown="the style's",
        min=0,
        max=1,
    ),
    smooth: Optional[bool] = own(
        "--smooth/--no-smooth",
        panel=options.DRAWING,
        help="Interpolate between cells, or draw each cell as a rectangle.",
        shown="smooth",
    ),
    overlay: bool = own(
        "--overlay/--no-overlay", panel=options.DRAWING, help="Draw each map over its image.", default=True
    ),
    alone: bool = own("--alone/--no-alone", panel=options.DRAWING, help="Draw each map by itself.", default=True),
    boxes: bool = own(
        "--boxes/--no-boxes", panel=options.DRAWING, help="Draw the detections, including rotated ones.", default=False
    ),
    truth: bool = own(
        "--truth/--no-truth", panel=options.DRAWING, help="Draw the ground truth, in white.", default=False
    ),
    min_score: float = own(
        "--min-score",
        panel=options.DRAWING,
        help="Leave out detections below this score.",
        default=0.3,
        metavar="SCORE",
        min=0,
        max=1,
    ),
    labels: str = own(
        "--labels",
        panel=options.DRAWING,
        help="What to write at boxes: score (with the class), class, none, or all (labels may overlap).",
        default="score",
        metavar="WHAT",
        check=checks.labels,
        complete=completion.labels,
    ),
    legend: Optional[bool] = own(
        "--legend/--no-legend",
        panel=options.DRAWING,
        help="Draw a title above each map and its scale below.",
        shown="the style's",
    ),
    panel: bool = options.panel(),
    picture_format: str = options.picture_format(),
    max_size: int = own(
        "--max-size",
        panel=options.DRAWING,
        help="Limit the longer side of a picture, without its legend, to this number of pixels.",
        default=0,
        metavar="PIXELS",
        shown="as large as the image",
        min=0,
    ),
    place: str = own(
        "--place",
        panel=options.RARE,
        help="Where cells lie: measured (by featscope place RUN; operators where nothing was measured), operators, or "
        "assumed (the map is stretched over the image, as in the styles jet and mmengine_*).",
        default="measured",
        metavar="HOW",
        check=checks.place,
        complete=completion.places,
    ),
    reading: str = own(
        "--reading",
        panel=options.RARE,
        help="How to read the photo of --under if the run does not record it: cv2+exif, cv2, pillow, pillow+exif, ...",
        default="",
        metavar="HOW",
        shown="the run's",
        check=checks.reading,
        complete=completion.readings,
    ),
    executor: str = options.executor(),
) -> None:
    """Draw every map as a heat map: reduce the channels, normalise, colour, place on the image.

    Padding, resize, letterbox and flip are undone, so each cell is drawn where it looks.
    Pictures that are up to date are not drawn again.

    Examples:
      featscope heat runs/s2anet
      featscope heat runs/s2anet -l 'bbox_head_refine.*' --boxes --truth
      featscope heat runs/s2anet -l neck -r pca --no-alone --panel
      featscope heat runs/s2anet --format webp --max-size 1024
      featscope heat runs/s2anet --range layer --colormap viridis
      featscope heat runs/s2anet --sample P0706 --place assumed
      featscope heat runs/large --executor dask://10.0.0.5:8786
      featscope heat runs/s2anet --sample P0706 --under elsewhere/P0706.png
      featscope heat folder_of_npy -o pictures --under photo.jpg --style jet
    """
    from featscope.cli.console import tell_pictures, watched
    from featscope.render.drawing import draw_run

    drawn = draw_run(
        folder,
        output,
        layers=layers or (),
        level=level,
        sample=sample,
        only=only or (),
        under=under,
        style=style,
        reduce=reduce,
        range=value_range,
        colormap=colormap,
        alpha=alpha,
        smooth=smooth,
        legend=legend,
        basis=basis,
        overlay=overlay,
        alone=alone,
        boxes=boxes,
        truth=truth,
        min_score=min_score,
        labels=labels,
        panel=panel,
        format=picture_format,
        max_size=max_size,
        place=place,
        reading=reading,
        executor=executor,
        watch=watched,
    )
    tell_pictures(drawn)

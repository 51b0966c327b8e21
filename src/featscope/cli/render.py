"""`featscope render`: draw every map as a picture of its channels."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

from featscope.cli import checks, options
from featscope.cli.options import own


def run(
    folder: Path = options.run_or_folder,
    output: Optional[Path] = options.output(shown="RUN/render"),
    layers: Optional[List[str]] = options.layer(),
    level: Optional[int] = options.level(),
    sample: Optional[str] = options.sample(),
    only: Optional[List[str]] = options.only(),
    channels: str = options.channels(
        panel=options.WHAT,
        check=checks.channels,
    ),
    value_range: str = options.value_range(
        default="channel",
        help="Values that the colours span: channel, map, layer, run, symmetric, percentile:1:99, or 0:1.",
        check=checks.mosaic_range,
    ),
    colormap: str = options.colormap(default="viridis"),
    picture_format: str = options.picture_format(),
    style: str = options.style(
        help="A named look: featscope, or mmengine_topk, the 20 channels of draw_featmap.", check=checks.mosaic_style
    ),
    single: bool = own(
        "--single/--no-single",
        panel=options.DRAWING,
        help="Draw one picture of each channel instead of a mosaic.",
        default=False,
    ),
    scale: Optional[int] = own(
        "--scale",
        panel=options.DRAWING,
        help="Pixels per cell.",
        metavar="N",
        shown="large enough to see",
        min=1,
        max=64,
    ),
    columns: Optional[int] = own(
        "--columns",
        panel=options.DRAWING,
        help="Tiles per row.",
        metavar="N",
        shown="about as wide as it is high",
        min=1,
    ),
    gap: Optional[int] = own(
        "--gap",
        panel=options.DRAWING,
        help="Pixels between tiles.",
        metavar="N",
        shown="1 to 4, depending on the scale",
        min=0,
    ),
    titles: Optional[bool] = own(
        "--titles/--no-titles",
        panel=options.DRAWING,
        help="Write layer, image and shape above each mosaic, and its value range below it.",
        shown="titles",
    ),
    numbers: bool = own(
        "--numbers/--no-numbers",
        panel=options.DRAWING,
        help="Write the channel's number above each tile.",
        default=False,
    ),
    executor: str = options.executor(),
) -> None:
    """Draw every map as a mosaic of its channels, or as single channels.

    Pictures that are up to date are not drawn again.

    Examples:
      featscope render runs/s2anet
      featscope render runs/s2anet -l neck -c top:20 --columns 5 --numbers
      featscope render runs/s2anet --only 'neck*' --sample P0706 --no-titles
      featscope render folder_of_npy -o pictures --scale 4
      featscope render runs/s2anet --single -c 0-3
    """
    from featscope.cli.console import tell_pictures, watched
    from featscope.render.drawing import draw_mosaics

    drawn = draw_mosaics(
        folder,
        output,
        layers=layers or (),
        level=level,
        sample=sample,
        only=only or (),
        style=style,
        channels=channels,
        colormap=colormap,
        range=value_range,
        columns=columns,
        scale=scale,
        gap=gap,
        titles=titles,
        numbers=numbers,
        single=single,
        format=picture_format,
        executor=executor,
        watch=watched,
    )
    tell_pictures(drawn)

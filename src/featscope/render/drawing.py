"""Draw a run, or any folder of arrays, with one call, like `featscope heat` and `featscope render`."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Callable, ContextManager, Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from featscope.errors import BadOptionError, BadRunError, FeatscopeWarning, check_name
from featscope.render.bases import write_bases
from featscope.render.heat import HeatStyle, style_named
from featscope.render.heat_plan import HeatOptions, plan_heat
from featscope.render.jobs import Form, Outcome, Plan, output_folder, run_jobs
from featscope.render.mosaic_plan import MOSAIC_STYLES, MosaicOptions, plan_mosaics
from featscope.render.panels import run_panels
from featscope.render.pictures import Pictures, no_maps_remarks, values_remarks
from featscope.scale.executor import Executor
from featscope.scale.parallel import executor_named
from featscope.store.files import natural_key
from featscope.store.maps import MapFile
from featscope.store.reader import Run, open_run

Names = Union[str, Sequence[str]]
"""One name or glob, or several."""


class Drawing(NamedTuple):
    """What is about to be drawn."""

    run: Run

    maps: Sequence[MapFile]
    """The chosen maps of the run."""

    plan: Plan
    """How each map is drawn."""

    folder: Path
    """The folder of the pictures."""


Watch = Callable[[Drawing], ContextManager[Callable[[], None]]]
"""Watches a drawing, for example to show progress. It is called before the drawing begins and returns a context manager
in which the drawing runs. The value of the context is called after each map file."""


def draw_run(
    run: Union[Run, str, Path],
    to: Union[str, Path, None] = None,
    *,
    layers: Names = (),
    level: Optional[int] = None,
    sample: Optional[str] = None,
    only: Names = (),
    style: Union[str, HeatStyle] = "featscope",
    reduce: Optional[str] = None,
    range: Optional[str] = None,
    colormap: Optional[str] = None,
    alpha: Optional[float] = None,
    smooth: Optional[bool] = None,
    legend: Optional[bool] = None,
    basis: str = "layer",
    under: Union[str, Path, None] = None,
    overlay: bool = True,
    alone: bool = True,
    boxes: bool = False,
    truth: bool = False,
    min_score: float = 0.3,
    labels: str = "score",
    panel: bool = False,
    format: str = "png",
    max_size: int = 0,
    place: str = "measured",
    reading: str = "",
    executor: Union[str, Executor] = "serial",
    watch: Optional[Watch] = None,
) -> Pictures:
    """Draw the maps of a run, or of a folder of `.npy` files, as heat maps, like `featscope heat`.

    >>> drawn = featscope.draw_run("runs/fpn", "pictures", layers="neck", sample="harbour", boxes=True)
    >>> drawn.count, drawn.maps, drawn.errors, str(drawn.first[0])
    (4, 2, [], 'pictures/neck.fpn/harbour_level0.png')

    run: the folder of a run, or an opened run. to: the folder of the pictures, by default RUN/heat. layers, level,
    sample, only: which maps to draw, as in `Run.select`. style: a `HeatStyle` or the name of one; reduce, range,
    colormap, alpha, smooth and legend change it. boxes, truth: draw the detections and the ground truth. under: a photo
    to draw all maps over. panel: draw the levels of a layer side by side. format: png, webp or jpg. max_size: the most
    pixels of a picture's longer side; 0 keeps the size of the image. executor: 'serial', 'processes' (all cores; a
    script then needs `if __name__ == "__main__":`), 'processes:4', 'dask://HOST:PORT', or a function as in
    `featscope.scale`. watch: watches the drawing (see `Watch`); with it, errors do not cause a warning. All other
    parameters are the options of `featscope heat`.

    Pictures that are up to date are not drawn again. If a map cannot be drawn, the others are drawn anyway; the error
    is listed in `Pictures.errors`, and a warning is given. Raises a `FeatscopeError` for invalid options before
    anything is drawn.
    """
    changes = {
        "reduce": reduce,
        "range": range,
        "colormap": colormap,
        "alpha": alpha,
        "smooth": smooth,
        "legend": legend,
    }
    options = HeatOptions(
        style=_styled(style, changes),
        overlay=overlay,
        alone=alone,
        predictions=boxes,
        truth=truth,
        min_score=min_score,
        image=None if under is None else Path(under),
        place=place,
        reading=reading,
        basis=basis,
        labels=labels,
        form=Form(format, max_size),
    )
    _at_least("max_size", max_size, 0)
    run_on, opened, folder = _where(executor, run, to)
    maps = opened.choose(_names(only), _names(layers), level, sample)
    plan = plan_heat(opened, maps, options, run_on)
    drawing = Drawing(opened, maps, plan, output_folder(opened, "heat", folder))
    if plan.bases and not Path(basis).is_file():
        write_bases(plan.bases, drawing.folder / "basis.npz")
    draw = run_panels if panel else run_jobs
    return _drawn(drawing, lambda done: draw(maps, plan, drawing.folder, done, run_on), watch)


def draw_mosaics(
    run: Union[Run, str, Path],
    to: Union[str, Path, None] = None,
    *,
    layers: Names = (),
    level: Optional[int] = None,
    sample: Optional[str] = None,
    only: Names = (),
    style: str = "featscope",
    channels: str = "all",
    colormap: str = "viridis",
    range: str = "channel",
    columns: Optional[int] = None,
    scale: Optional[int] = None,
    gap: Optional[int] = None,
    titles: Optional[bool] = None,
    numbers: bool = False,
    single: bool = False,
    format: str = "png",
    executor: Union[str, Executor] = "serial",
    watch: Optional[Watch] = None,
) -> Pictures:
    """Draw the channels of a run's maps, or of a folder of `.npy` files, side by side, like `featscope render`.

    >>> featscope.draw_mosaics("runs/fpn", layers="neck", channels="top:4", columns=2, numbers=True)
    <2 pictures of 2 maps, 0.0 MB, in runs/fpn/render>

    to: the folder of the pictures, by default RUN/render. single: draw a picture of each channel in place of a mosaic.
    style: featscope, or mmengine_topk, which sets channels, columns, colormap and gap, and has no titles by default.
    All other parameters are those of `draw_mosaic` and `draw_run`.
    """
    check_name("style", style, MOSAIC_STYLES, "featscope render --help")
    for name, value, least in (("columns", columns, 1), ("scale", scale, 1), ("gap", gap, 0)):
        _at_least(name, least if value is None else value, least)
    own = style == "featscope"
    options = MosaicOptions(
        channels=channels,
        colormap=colormap,
        range=range,
        columns=columns,
        scale=scale if own else scale or 1,
        gap=gap,
        titles=own if titles is None else titles,
        numbers=numbers,
        single=single,
        form=Form(format),
    )
    options = replace(options, **MOSAIC_STYLES[style])  # type: ignore[arg-type]
    run_on, opened, folder = _where(executor, run, to)
    maps = opened.choose(_names(only), _names(layers), level, sample)
    plan = plan_mosaics(opened, maps, options, run_on)
    drawing = Drawing(opened, maps, plan, output_folder(opened, "render", folder))
    return _drawn(drawing, lambda done: run_jobs(maps, plan, drawing.folder, done, run_on), watch)


def _styled(style: Union[str, HeatStyle], changes: Mapping[str, object]) -> HeatStyle:
    """Return a style, given as such or by name, with changes applied; None changes nothing."""
    given = {name: value for name, value in changes.items() if value is not None}
    return style_named(style, **given) if isinstance(style, str) else replace(style, **given)  # type: ignore[arg-type]


def _at_least(name: str, value: float, least: float) -> None:
    """Raise `BadOptionError` if an option's number is too small."""
    if not value >= least:
        raise BadOptionError(f"{name}={value!r} is out of range; give a number of at least {least}")


def _names(given: Names) -> Sequence[str]:
    return [given] if isinstance(given, str) else given


def _where(
    executor: Union[str, Executor], run: Union[Run, str, Path], to: Union[str, Path, None]
) -> Tuple[Executor, Run, Optional[Path]]:
    """Return the executor, the opened run and the folder of the pictures. All workers can find the paths.

    Raises `BadRunError` for a run that stores objects in place of maps.
    """
    folder = None if to is None else Path(to)
    if isinstance(executor, str) and executor.startswith("dask"):  # its workers have other working folders
        run = Path(run.folder if isinstance(run, Run) else run).absolute()
        folder = None if folder is None else folder.absolute()
    run_on = executor_named(executor) if isinstance(executor, str) else executor
    opened = run if isinstance(run, Run) else open_run(run)
    refuse_objects(opened)
    return run_on, opened, folder


def refuse_objects(run: Run) -> None:
    """Raise `BadRunError` for a run that stores objects in place of maps."""
    if run.info is not None and run.info.policy.objects:
        raise BadRunError(
            f"{run.folder} stores objects in place of maps, so there is nothing to draw; list them: featscope "
            f"objects {run.folder}, or capture without --objects"
        )


@contextmanager
def _unwatched(drawing: Drawing) -> Iterator[Callable[[], None]]:
    yield lambda: None


def _drawn(drawing: Drawing, draw: Callable[[Callable[[], None]], Outcome], watch: Optional[Watch]) -> Pictures:
    """Draw, watched by `watch`, and collect the results."""
    with (watch or _unwatched)(drawing) as done:
        outcome = draw(done)
    info = drawing.run.info
    remarks = [
        *outcome.remarks,
        *no_maps_remarks(outcome.no_maps, info.readings if info is not None else {}),
        *values_remarks(outcome.nan, outcome.inf, outcome.constant),
    ]
    errors = [*map(str, drawing.run.problems), *outcome.errors]
    pictures = Pictures(
        folder=drawing.folder,
        maps=len(drawing.maps) - len(outcome.no_maps),
        count=outcome.pictures,
        skipped=outcome.skipped,
        bytes=outcome.bytes,
        errors=errors,
        remarks=list(dict.fromkeys(remarks)),
        first=sorted(outcome.first, key=lambda path: natural_key(str(path))),
    )
    if errors and watch is None:
        more = f" (and {len(errors) - 1} more: see errors)" if len(errors) > 1 else ""
        warnings.warn(f"featscope: {errors[0]}{more}", FeatscopeWarning, stacklevel=3)
    return pictures

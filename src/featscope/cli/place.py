"""`featscope place`: measure where the cells of a run's maps look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

from featscope.cli import models, options
from featscope.cli.options import own
from featscope.errors import BadOptionError, BadRunError, FeatscopeError
from featscope.words import counted

if TYPE_CHECKING:
    from featscope.records import MeasuredPlace, Place
    from featscope.store.places import Key
    from featscope.store.reader import Run


def run(
    folder: Path = options.argument("RUN", "A run."),
    checkpoint: str = options.argument("CHECKPOINT", "The weights, if they have moved since the capture.", ""),
    layers: Optional[List[str]] = options.layer(),
    images: Optional[List[Path]] = options.image(
        help="Measure on an image, or a folder of images. Repeat it for more.", shown="the run's own"
    ),
    input_size: str = options.input_size(),
    inputs: Optional[List[str]] = options.inputs(),
    cfg_options: Optional[List[str]] = options.cfg_options(),
    trust_checkpoint: bool = options.trust_checkpoint(),
    most: int = own(
        "--most", panel=options.HOW_MUCH, help="Run the model on at most N images.", default=6, metavar="N", min=1
    ),
    cells: int = own(
        "--cells",
        panel=options.HOW_MUCH,
        help="Measure N cells of each map and image.",
        default=6,
        metavar="N",
        min=1,
    ),
    axes: Optional[List[str]] = options.axes(),
    grids: Optional[List[str]] = options.grids(),
) -> None:
    """Measure where the cells of each map look with the run's weights, and store it in the run.

    Which pixels a cell stands for depends on the operators and on the training.
    Heads are measured by the run's own detections against their source cells;
    the model does not run for this. Other layers are measured by the gradient of
    their cells at the input. `heat` and `explain` use what is certain enough.
    The arrays and manifests are not changed.

    Examples:
      featscope place runs/s2anet
      featscope place runs/s2anet -i photos/ --most 12
      featscope place runs/s2anet -l neck -l 'bbox_head_*'
      featscope heat runs/s2anet --boxes
      featscope heat runs/s2anet --boxes --place assumed
    """
    from featscope.cli.console import finish
    from featscope.measuring.detections import measure_detections
    from featscope.store.places import PLACES, write_places
    from featscope.store.reader import open_run

    opened = open_run(folder)
    if opened.info is None:
        raise BadRunError(f"{folder} has no manifest, so the model of its maps is unknown; give a run")
    drawn = _drawn(opened, layers or ())
    errors: List[str] = [str(problem) for problem in opened.problems]
    remarks: List[str] = []
    found: Dict[Key, MeasuredPlace] = {
        key: place for place in measure_detections(opened) for key in [_key(place)] if key in drawn
    }
    given = models.given_axes(axes, grids)
    missing = {key for key in drawn if key not in found or found[key].refused}
    if missing:
        try:
            detector, named = _open(
                opened,
                checkpoint,
                images,
                dict(input_size=input_size, config=cfg_options, trusted=trust_checkpoint, inputs=inputs),
            )
            for place in _by_gradient(
                detector, opened, named=named, missing=missing, numbers=(most, cells), given=given, errors=errors
            ):
                if _key(place) not in found or not place.refused:
                    found[_key(place)] = place
        except FeatscopeError as error:
            remarks.append(f"only heads were measured, by their detections: {error}")
    _tell(drawn, found)
    if not found:
        why = remarks or ["no map has a gradient at the input"]
        finish(f"nothing was measured; {folder} was not changed", [*errors, *why])
        return
    write_places(folder, opened.info.started, list({**opened.places, **found}.values()))
    kept = sum(not place.refused for place in found.values())
    finish(
        f"{kept} of {counted(len(drawn), 'place')} measured and kept, in {folder / PLACES}; "
        f"draw them: featscope heat {folder}",
        errors,
        remarks,
    )


def _key(place: MeasuredPlace) -> Key:
    return place.layer, place.field, place.level


def _drawn(run: Run, layers: Sequence[str]) -> Dict[Key, Place]:
    """Return where the maps of a run are drawn without measuring: layer, field, level -> place.

    Raises `BadRunError` if there is no map of an image.
    """
    found: Dict[Key, Place] = {}
    for map_file in run.choose(layers=layers):
        record, place = map_file.record, map_file.place("operators") if map_file.is_map else None
        if record is None or place is None:
            continue
        found.setdefault((record.layer, record.field, record.level), place)
    if not found:
        these = f"the layers {' '.join(layers)} of {run.folder}" if layers else str(run.folder)
        raise BadRunError(f"there is no map of an image in {these}, so there is no place to measure")
    return found


def _open(
    run: Run, checkpoint: str, images: Optional[List[Path]], options: Dict[str, Any]
) -> Tuple[Any, List[Tuple[str, Path]]]:
    """Open the detector of a run, and return it with the images to measure on.

    Raises `BadOptionError` if there is no image, or if the detector has no gradients.
    """
    from featscope.adapters.feeding import named_images
    from featscope.adapters.reopening import images_of_run, reopen

    named = [(sample.id, path) for sample, path in images_of_run(run) if path.is_file()]
    if images:
        named = named_images(models.images_of(images))
    if not named:
        raise BadOptionError(
            f"the images of {run.folder} are gone; name others: featscope place {run.folder} -i photos"
        )
    instead = "capture it by name (featscope capture MODEL), or measure only its heads"
    detector = reopen(run, checkpoint, instead, **models.opening(**options))
    if not hasattr(detector.model, "named_modules"):
        raise BadOptionError(f"{detector.info.model} runs without PyTorch, so there is no gradient to measure with")
    return detector, named


def _by_gradient(
    detector: Any,
    run: Run,
    named: Sequence[Tuple[str, Path]],
    missing: Any,
    numbers: Tuple[int, int],
    given: Dict[str, str],
    errors: List[str],
) -> List[MeasuredPlace]:
    """Measure the missing places by gradients. An image that cannot be read is an error, and the others go on.

    numbers: the most images, and the cells of each map and image. given: axes that the user gave.
    """
    from featscope.cli.console import progress
    from featscope.errors import BadImageError
    from featscope.measuring.gradients import Seen
    from featscope.records import RunInfo

    most, cells = numbers
    step = max(1, len(named) // most)
    chosen = named[::step][:most]
    info = run.info or RunInfo()
    layers = [layer for layer in info.layers if layer not in info.left_out]
    seen = Seen(detector, layers, names=info.names, axes=given, cells=cells, wanted=missing.__contains__)
    with progress("images", len(chosen)) as done:
        for name, path in chosen:
            try:
                seen.add(detector.prepare(path, name))
            except BadImageError as error:
                errors.append(str(error))
            done()
    return seen.places()


def _tell(drawn: Dict[Key, Place], found: Dict[Key, MeasuredPlace]) -> None:
    """Print the measured places, beside those where the maps were drawn before."""
    from featscope.cli.console import new_table, show

    headings = ("layer", "field", "level", "stride", "drawn at", "looks at (y, x, in cells)", "seen", "")
    table = new_table(*headings, right=["level", "stride", "seen"], folded=["layer", ""])
    for key, place in drawn.items():
        layer, field, level = key
        y, x = (first / step for first, step in zip(place.first, place.stride))
        before = f"{y:+.2f} {x:+.2f} ({place.known})"
        stride = " ".join(dict.fromkeys(f"{step:g}" for step in place.stride))
        row = [layer, field, str(level), stride, before]
        one = found.get(key)
        if one is None:
            table.add_row(*row, "", "0", "not measured: no gradient reached it")
            continue
        looks = ", ".join(f"{at:+.2f} ± {half:.2f}" for at, half in zip(one.offset, one.interval))
        what = "cell" if one.by == "gradient" else "detection"
        table.add_row(*row, looks, counted(one.count, what), "kept" if not one.refused else f"not used: {one.refused}")
    show(table)

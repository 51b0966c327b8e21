"""What the shell offers when the tab key is pressed. To be quick, nothing here imports torch."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterable, List, Optional

import typer

if TYPE_CHECKING:
    from featscope.store.reader import Run

Complete = Callable[[typer.Context, str], List[str]]

_MOST = 200  # the most words that are offered


def _begin_with(incomplete: str, names: Iterable[str]) -> List[str]:
    return list(islice((name for name in names if name.startswith(incomplete)), _MOST))


def _run(context: typer.Context) -> Optional[Run]:
    """Return the run that was typed; None if nothing typed is a run."""
    from featscope.store.reader import open_run

    # While an option still lacks its value, Click does not assign arguments to their names.
    typed = [context.params.get("folder"), context.params.get("source"), *context.args]
    for folder in (Path(one) for one in typed if one):
        if (folder / "run.json").is_file():
            with suppress(Exception):  # a run that cannot be read completes nothing
                return open_run(folder)
    return None


def layers(context: typer.Context, incomplete: str) -> List[str]:
    """Complete the layers of the run that was typed."""
    run = _run(context)
    return _begin_with(incomplete, run.index.layers() if run is not None and run.index is not None else ())


def samples(context: typer.Context, incomplete: str) -> List[str]:
    """Complete the samples of the run that was typed."""
    run = _run(context)
    return _begin_with(incomplete, run.samples if run is not None else ())


def dtypes(context: typer.Context, incomplete: str) -> List[str]:
    """Complete the data types in which maps can be stored."""
    from featscope.capturing.policy import DTYPES

    return _begin_with(incomplete, DTYPES)


def reductions(context: typer.Context, incomplete: str) -> List[str]:
    """Complete the reductions that the command knows."""
    from featscope.arrays.reduce import REDUCTIONS as DRAWN
    from featscope.capturing.policy import REDUCTIONS as KEPT

    return _begin_with(incomplete, KEPT if context.info_name in ("capture", "run") else ["auto", *DRAWN, "channel:0"])


def channels(context: typer.Context, incomplete: str) -> List[str]:
    """Complete ways to choose channels."""
    return _begin_with(incomplete, ("all", "top:16", "0-15"))


def ranges(context: typer.Context, incomplete: str) -> List[str]:
    """Complete the value ranges that the command knows."""
    from featscope.arrays.normalise import RANGES

    return _begin_with(incomplete, ("channel" if context.info_name == "render" else "auto", *RANGES))


def colormaps(context: typer.Context, incomplete: str) -> List[str]:
    """Complete the names of colour maps."""
    import cmap

    from featscope.render.colour import OWN_MAPS

    return _begin_with(incomplete, sorted({*OWN_MAPS, *(key.rpartition(":")[2] for key in cmap.Catalog())}))


def styles(context: typer.Context, incomplete: str) -> List[str]:
    """Complete the styles that the command knows."""
    from featscope.render.heat import STYLES
    from featscope.render.mosaic_plan import MOSAIC_STYLES

    return _begin_with(incomplete, MOSAIC_STYLES if context.info_name == "render" else STYLES)


def labels(context: typer.Context, incomplete: str) -> List[str]:
    """Complete what can be written at boxes."""
    from featscope.render.boxes import LABELS

    return _begin_with(incomplete, LABELS)


def picture_formats(context: typer.Context, incomplete: str) -> List[str]:
    """Complete the formats of pictures."""
    from featscope.render.files import FORMATS

    return _begin_with(incomplete, FORMATS)


def matching_rules(context: typer.Context, incomplete: str) -> List[str]:
    """Complete the rules that match detections to objects."""
    from featscope.analysis.evaluation import RULES

    return _begin_with(incomplete, RULES)


def places(context: typer.Context, incomplete: str) -> List[str]:
    """Complete the ways to place cells."""
    from featscope.store.places import PLACES_KNOWN

    return _begin_with(incomplete, PLACES_KNOWN)


def readings(context: typer.Context, incomplete: str) -> List[str]:
    """Complete the ways to read an image file."""
    from featscope.store.images import READINGS

    return _begin_with(incomplete, READINGS)


def executors(context: typer.Context, incomplete: str) -> List[str]:
    """Complete the executors."""
    from featscope.scale.parallel import EXECUTORS

    return _begin_with(incomplete, EXECUTORS)


def methods(context: typer.Context, incomplete: str) -> List[str]:
    """Complete the methods of explanation."""
    from featscope.explaining.methods import ALL, METHODS

    return _begin_with(incomplete, [*METHODS, ALL])


def sides(context: typer.Context, incomplete: str) -> List[str]:
    """Complete the numbers of a box."""
    from featscope.explaining.targets import SIDES

    return _begin_with(incomplete, (name for names in SIDES.values() for name in names))


def on_error(context: typer.Context, incomplete: str) -> List[str]:
    """Complete what can be done about an error."""
    from featscope.capturing.remarks import ON_ERROR

    return _begin_with(incomplete, ON_ERROR)


def models(context: typer.Context, incomplete: str) -> List[str]:
    """Complete the adapters, with which the names of models begin."""
    from featscope.adapters.frameworks import framework_names

    names = [f"{name}:" for name in framework_names() if name not in ("demo", "mmdet", "onnx", "pytorch")]
    return _begin_with(incomplete, ["demo", *names])

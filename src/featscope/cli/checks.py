"""Checks of the values that options receive. They use the library's own functions and run before anything else.

Each check raises a `FeatscopeError` that says what to type. A check imports its module only when it is called, so that
the command line starts quickly.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Tuple

from featscope.errors import BadOptionError, check_name


def size(text: str) -> Optional[Tuple[int, int]]:
    """Parse '640' or '512,864' as (height, width). Returns None for ''.

    >>> size("640"), size("512,864")
    ((640, 640), (512, 864))
    """
    if not text:
        return None
    try:
        sides = [int(side) for side in text.replace("x", ",").split(",")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise BadOptionError(f"{text!r} is not a size; type --input-size 640, or --input-size 512,864 (height, width)")
    return sides[0], sides[-1]


def pairs(texts: Optional[List[str]], option: str) -> Dict[str, str]:
    """Parse KEY=VALUE texts as a dict. Raises `BadOptionError` if one of them has another form.

    >>> pairs(["a=1", "b=x=y"], "--input")
    {'a': '1', 'b': 'x=y'}
    """
    found = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise BadOptionError(f"{text!r} is not KEY=VALUE; type {option} KEY=VALUE")
        found[key] = value
    return found


def pair(option: str) -> Callable[[str], object]:
    """Return the check of an option that takes KEY=VALUE."""
    return lambda text: pairs([text], option)


def axes(option: str) -> Callable[[str], object]:
    """Return the check of --axes or --grid."""

    def check(text: str) -> None:
        from featscope.capturing.given import GivenReadings

        GivenReadings(pairs([text], option))

    return check


def preprocess(text: str) -> None:
    """Check --preprocess except for input=..., which the adapter checks."""
    from featscope.adapters.preprocessing import Preprocessing

    parts = [part for part in text.split(",") if not part.strip().startswith("input=")]
    Preprocessing().changed(",".join(parts))


def dtype(text: str) -> None:
    """Check --dtype."""
    from featscope.capturing.policy import make_policy

    make_policy({"dtype": text})


def kept_reduction(text: str) -> None:
    """Check --reduce of a capture, which is computed while the model runs."""
    from featscope.capturing.policy import make_policy

    make_policy({"reduce": text})


def kept_channels(text: str) -> None:
    """Check --channels of a capture, which chooses the channels to store."""
    from featscope.capturing.policy import make_policy

    make_policy({"channels": text})


def on_error(text: str) -> None:
    """Check --on-error."""
    from featscope.capturing.remarks import check_on_error

    check_on_error(text)


def or_auto(check: Callable[[str], object]) -> Callable[[str], object]:
    """Return a check that also accepts `auto`."""
    return lambda text: None if text == "auto" else check(text)


def reduction(text: str) -> None:
    """Check --reduce of a drawing."""
    from featscope.arrays.reduce import parse_reduction

    parse_reduction(text)


def page_reduction(text: str) -> None:
    """Check --reduce of a report: values that the viewer's page can show."""
    from featscope.viewer.run_answers import REDUCTIONS

    check_name("reduction", text, [name for name in REDUCTIONS if name != "channel"], "featscope report --help")


def channels(text: str) -> None:
    """Check --channels of a drawing."""
    from featscope.arrays.channels import parse_channels

    parse_channels(text)


def value_range(text: str) -> None:
    """Check --range."""
    from featscope.arrays.normalise import parse_range

    parse_range(text)


def mosaic_range(text: str) -> None:
    """Check --range of a mosaic, in which each channel may have its own range."""
    if text != "channel":
        value_range(text)


def colormap(text: str) -> None:
    """Check --colormap."""
    from featscope.render.colour import palette

    palette(text)


def basis(text: str) -> None:
    """Check --basis."""
    from featscope.render.bases import check_basis

    check_basis(text)


def labels(text: str) -> None:
    """Check --labels."""
    from featscope.render.boxes import LABELS

    check_name("kind of label", text, LABELS, "featscope heat --help")


def picture_format(text: str) -> None:
    """Check --format."""
    from featscope.render.files import check_format

    check_format(text)


def heat_style(text: str) -> None:
    """Check --style of heat maps."""
    from featscope.render.heat import style_named

    style_named(text)


def mosaic_style(text: str) -> None:
    """Check --style of mosaics."""
    from featscope.render.mosaic_plan import MOSAIC_STYLES

    check_name("style", text, MOSAIC_STYLES, "featscope render --help")


def place(text: str) -> None:
    """Check --place."""
    from featscope.store.places import PLACES_KNOWN

    check_name("place", text, PLACES_KNOWN, "featscope heat --help")


def matching_rule(text: str) -> None:
    """Check --rule."""
    from featscope.analysis.evaluation import RULES

    check_name("rule", text, RULES, "featscope misses --help")


def reading(text: str) -> None:
    """Check --reading."""
    from featscope.store.images import READINGS

    check_name("reading", text, READINGS, "featscope heat --help")


def executor(text: str) -> None:
    """Check --executor."""
    from featscope.scale.parallel import executor_named

    executor_named(text)


def method(text: str) -> None:
    """Check --method."""
    from featscope.explaining.methods import methods_named

    methods_named([text])


def side(text: str) -> None:
    """Check --side."""
    from featscope.explaining.targets import SIDES

    check_name("side", text, [name for names in SIDES.values() for name in names], "featscope explain --help")


def row_file(path: object) -> None:
    """Check the name of a file of rows: its suffix is its format."""
    from featscope.store.row_files import check_suffix

    check_suffix(str(path))


def plot_file(path: object) -> None:
    """Check the name of a file of a plot: its suffix is its format."""
    from featscope.render.plots import check_plot_file

    check_plot_file(str(path))

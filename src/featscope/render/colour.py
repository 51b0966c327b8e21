"""Colour maps: 256 colours for 256 indices.

All colour maps of the `cmap` package are available by name. To add another one, add a row to `OWN_MAPS`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Callable, Dict, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.normalise import INF_INDEX, NAN_INDEX
from featscope.errors import unknown_name

Palette = NDArray[np.uint8]
Colour = Tuple[int, int, int]

NAN_COLOUR: Colour = (255, 0, 255)
INF_COLOUR: Colour = (0, 255, 0)


def _jet(levels: int) -> Palette:
    """Return the jet of MATLAB and OpenCV. matplotlib's jet has its breakpoints elsewhere."""
    x = np.linspace(0, 1, levels)[:, None]
    centres = np.array([[0.75, 0.5, 0.25]])
    return np.rint(np.clip(1.5 - 4 * np.abs(x - centres), 0, 1) * 255).astype(np.uint8)


OWN_MAPS: Dict[str, Callable[[int], Palette]] = {
    "jet": _jet,
}
"""Colour maps that take precedence over those of `cmap`."""


@lru_cache(maxsize=64)
def palette(name: str, levels: int = 256, marks: bool = False) -> Palette:
    """Return a colour map as a table (256, 3) of RGB bytes; the indices below `levels` span the map.

    >>> palette("gray")[[0, 128, 255]].tolist()
    [[0, 0, 0], [128, 128, 128], [255, 255, 255]]

    marks: reserve the last two indices for infinity and NaN. Raises `UnknownNameError` if there is no such colour map.
    """
    table = np.zeros((256, 3), np.uint8)
    if name in OWN_MAPS:
        table[:levels] = OWN_MAPS[name](levels)
    else:
        table[:levels] = _from_cmap(name, levels)
    if marks:
        table[INF_INDEX], table[NAN_INDEX] = INF_COLOUR, NAN_COLOUR
    table.flags.writeable = False
    return table


def _from_cmap(name: str, levels: int) -> Palette:
    import cmap

    try:
        colours = cmap.Colormap(name).lut(levels)
    except (ValueError, TypeError, KeyError, IndexError):
        short = {key.rpartition(":")[2] for key in cmap.Catalog()}
        raise unknown_name(
            "colour map",
            name,
            [*OWN_MAPS, *sorted(short)],
            "https://cmap-docs.readthedocs.io/en/stable/catalog/",
        ) from None
    return np.rint(np.asarray(colours)[:, :3] * 255).astype(np.uint8)


CLASS_COLOURS: Tuple[Colour, ...] = (
    (255, 214, 10), (0, 224, 255), (255, 110, 64), (124, 255, 78), (255, 120, 220), (150, 160, 255),
    (64, 156, 255), (0, 200, 150), (255, 170, 120), (200, 255, 220), (220, 180, 255), (160, 220, 255),
)  # fmt: skip
"""Colours of boxes, by class. They are bright, to stand out against any colour map. White is for the ground truth."""

"""Plots as files: the suffix of a file's name says whether it is PNG or SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, NamedTuple, Union

from featscope.errors import BadOptionError
from featscope.render.canvas import Canvas
from featscope.render.painter import paint
from featscope.render.png import encode_rgb
from featscope.render.svg import to_svg
from featscope.store.files import make_folder, write_atomic

PLOTS = (".png", ".svg")
"""The suffixes of files of plots."""


class Plot(NamedTuple):
    """A plot. A notebook shows it.

    >>> from featscope.render.fonts import font_of
    >>> canvas = Canvas(120, 40)
    >>> canvas.text((5, 5), "neck", font_of(14))
    >>> plot = Plot(canvas, {"title": "neck"})
    >>> plot
    <plot 'neck', 120 x 40 pixels>
    >>> plot.save("plots/neck.svg").name
    'neck.svg'
    """

    canvas: Canvas

    about: Dict[str, str]
    """What the file says of itself: its `title`, and more by name."""

    def png(self) -> bytes:
        """Return the plot as a PNG file."""
        return encode_rgb(paint(self.canvas), {**self.about, "Software": "featscope"})

    def svg(self) -> bytes:
        """Return the plot as an SVG file, in which texts are texts."""
        return to_svg(self.canvas, self.about)

    def save(self, path: Union[str, Path]) -> Path:
        """Write the plot to a file, as PNG or SVG by its suffix, and return the path.

        The folder is made if necessary. An existing file is replaced atomically. Raises `BadOptionError` for another
        suffix.
        """
        path = Path(path)
        made = self.png() if check_plot_file(path) == ".png" else self.svg()
        make_folder(path.parent)
        write_atomic(path, made, shared=True)
        return path

    def __repr__(self) -> str:
        return f"<plot {self.about.get('title', '')!r}, {self.canvas.width} x {self.canvas.height} pixels>"

    def _repr_png_(self) -> bytes:
        return self.png()


def check_plot_file(path: Union[str, Path]) -> str:
    """Return the suffix of a plot's file. Raises `BadOptionError` if plots are not written in its format.

    >>> check_plot_file("likeness.SVG")
    '.svg'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in PLOTS:
        raise BadOptionError(
            f"{str(path)!r} does not say in which format to draw; type a name that ends in {' or '.join(PLOTS)}"
        )
    return suffix

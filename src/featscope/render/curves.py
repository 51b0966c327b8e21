"""Draw small charts of curves, to show what a table cannot."""

from __future__ import annotations

from typing import Mapping, NamedTuple, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from featscope.render.colour import CLASS_COLOURS, Colour
from featscope.render.png import encode_rgb

_WIDE, _HIGH = 520, 360  # pixels of a chart
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 44, 56  # pixels of its margins
_INK, _GREY, _LINE = (30, 30, 30), (110, 110, 110), (225, 225, 225)


class Panel(NamedTuple):
    """One chart."""

    title: str

    curves: Mapping[str, Sequence[float]]
    """Curves by name. Each has a value in [0, 1] for every label."""


def draw_curves(panels: Sequence[Panel], labels: Sequence[str], axis: str) -> bytes:
    """Draw charts side by side with one legend, and return a PNG.

    >>> draw_curves([Panel("deletion", {"odam": [1.0, 0.4, 0.1]})], ["0", "1 %", "100 %"], "deleted")[1:4]
    b'PNG'

    labels: labels of the points, which are evenly spaced. axis: title of the horizontal axis.
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel.curves))
    font, small = ImageFont.load_default(16), ImageFont.load_default(13)
    probe = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    legend = 50 + int(max((probe.textlength(name, font=small) for name in names), default=0))
    picture = Image.new("RGB", (_WIDE * len(panels) + legend, _HIGH), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    colours = {name: CLASS_COLOURS[index % len(CLASS_COLOURS)] for index, name in enumerate(names)}
    for number, panel in enumerate(panels):
        left, right = number * _WIDE + _LEFT, (number + 1) * _WIDE - _RIGHT
        top, bottom = _TOP, _HIGH - _BOTTOM
        draw.text(((left + right) / 2, 20), panel.title, fill=_INK, font=font, anchor="mm")
        for value in (0.0, 0.25, 0.5, 0.75, 1.0):
            y = bottom - value * (bottom - top)
            draw.line([left, y, right, y], fill=_LINE)
            draw.text((left - 8, y), f"{value:g}", fill=_GREY, font=small, anchor="rm")
        places = np.linspace(left, right, max(2, len(labels)))
        for x, label in zip(places, labels):
            draw.line([x, bottom, x, bottom + 4], fill=_GREY)
            draw.text((x, bottom + 14), label, fill=_GREY, font=small, anchor="mm")
        draw.text(((left + right) / 2, _HIGH - 16), axis, fill=_GREY, font=small, anchor="mm")
        for name, values in panel.curves.items():
            points = [(float(x), bottom - float(v) * (bottom - top)) for x, v in zip(places, values)]
            draw.line(points, fill=_darker(colours[name]), width=3, joint="curve")
    for index, name in enumerate(names):
        y = _TOP + 10 + 24 * index
        x = _WIDE * len(panels)
        draw.line([x, y, x + 24, y], fill=_darker(colours[name]), width=4)
        draw.text((x + 32, y), name, fill=_INK, font=small, anchor="lm")
    return encode_rgb(np.asarray(picture))


def _darker(colour: Colour) -> Colour:
    """Return a darker colour for a white background; the colours of classes are made for dark photos."""
    red, green, blue = (int(part * 0.75) for part in colour)
    return red, green, blue

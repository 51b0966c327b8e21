"""Write a canvas as SVG: plain text without references, so that the file stands alone and may lie in any page.

Texts stay texts, in the reader's own font. Each is as wide as the one in the PNG, so that nothing overlaps.
"""

from __future__ import annotations

import base64
from functools import singledispatch
from typing import Iterator, List, Mapping, Sequence, Tuple
from xml.sax.saxutils import escape

from featscope.render.canvas import HATCH, Box, Canvas, Mark, Picture, Polygon, Rectangle, Text, hatch_colour
from featscope.render.colour import Colour
from featscope.render.fonts import baseline, size_of
from featscope.render.png import encode_rgb
from featscope.render.texts import length, printable


def to_svg(canvas: Canvas, about: Mapping[str, str]) -> bytes:
    """Write a canvas as an SVG file. about: what the file says of itself; `title` is its title.

    >>> canvas = Canvas(6, 4)
    >>> canvas.rectangle((1, 1, 3, 3), (200, 0, 0))
    >>> print(to_svg(canvas, {"title": "a < b"}).decode())  # doctest: +ELLIPSIS
    <svg ... width="6" height="4" viewBox="0 0 6 4" ...>
    <title>a &lt; b</title>
    <rect x="0" y="0" width="6" height="4" fill="#ffffff"/>
    <rect x="1" y="1" width="2" height="2" fill="#c80000"/>
    </svg>
    <BLANKLINE>
    """
    width, height = canvas.width, canvas.height
    rest = "\n".join(f"{name}: {_clean(text)}" for name, text in about.items() if name != "title" and text)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" shape-rendering="crispEdges" xml:space="preserve" role="img">',
        *([f"<title>{_clean(about['title'])}</title>"] if about.get("title") else []),
        *([f"<desc>{rest}</desc>"] if rest else []),
        _rect((0, 0, width, height), (255, 255, 255)),
    ]
    for mark in canvas.marks:
        lines += _lines(mark)
    return ("\n".join(lines) + "\n</svg>\n").encode()


@singledispatch
def _lines(mark: Mark) -> List[str]:
    raise TypeError(f"{type(mark).__name__} is no mark of a canvas")


@_lines.register
def _(mark: Rectangle) -> List[str]:
    lines = [_rect(mark.box, mark.colour)]
    if mark.hatched:
        path = "".join(_path(band) for band in _bands(mark.box))
        lines.append(f'<path d="{path}" fill="{_hex(hatch_colour(mark.colour))}" shape-rendering="auto"/>')
    return lines


@_lines.register
def _(mark: Polygon) -> List[str]:
    return [f'<path d="{_path(mark.points)}" fill="{_hex(mark.colour)}" shape-rendering="auto"/>']


@_lines.register
def _(mark: Picture) -> List[str]:
    data = base64.b64encode(encode_rgb(mark.pixels)).decode()
    return [f'<image {_place(mark.box)} preserveAspectRatio="none" href="data:image/png;base64,{data}"/>']


@_lines.register
def _(mark: Text) -> List[str]:
    if not mark.text.strip():
        return []
    below = baseline(mark.font, mark.anchor[1])
    across, down = mark.at
    place = f'x="{_number(across)}" y="{_number(down + below)}"'
    if mark.upright:
        place = f'transform="translate({_number(across + below)} {_number(down)}) rotate(-90)"'
    anchor = {"l": "", "m": ' text-anchor="middle"', "r": ' text-anchor="end"'}[mark.anchor[0]]
    room = f'textLength="{_number(length(mark.text, mark.font))}" lengthAdjust="spacingAndGlyphs"'
    look = f'font-size="{_number(size_of(mark.font))}" fill="{_hex(mark.colour)}"{anchor} {room}'
    return [f"<text {place} {look}>{_clean(mark.text)}</text>"]


def _bands(box: Box) -> Iterator[Sequence[Tuple[float, float]]]:
    """Yield the lines of a hatching, each as the corners of what lies of it in the box."""
    left, top, right, bottom = box
    step, wide = HATCH
    across, down = right - left, bottom - top
    for start in range(0, int(across + down), step):
        end = min(start + wide, across + down)
        corners = [
            (max(0.0, start - down), min(start, down)),
            (min(start, across), max(0.0, start - across)),
            *([(across, 0.0)] if start < across < end else []),
            (min(end, across), max(0.0, end - across)),
            (max(0.0, end - down), min(end, down)),
            *([(0.0, down)] if start < down < end else []),
        ]
        yield [(left + x, top + y) for x, y in corners]


def _path(points: Sequence[Tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points) + "Z"


def _rect(box: Box, colour: Colour) -> str:
    return f'<rect {_place(box)} fill="{_hex(colour)}"/>'


def _place(box: Box) -> str:
    left, top, right, bottom = box
    sides = {"x": left, "y": top, "width": max(0.0, right - left), "height": max(0.0, bottom - top)}
    return " ".join(f'{name}="{_number(value)}"' for name, value in sides.items())


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _number(value: float) -> str:
    """Write a length to a hundredth of a pixel.

    >>> _number(2.0), _number(1 / 3), _number(-0.001)
    ('2', '0.33', '0')
    """
    return f"{round(float(value), 2) + 0.0:g}" if abs(value) < 1e5 else f"{value:.0f}"


def _clean(text: str) -> str:
    """Escape a text. Quotes are escaped too, so that it may stand anywhere.

    >>> _clean("a < 'b' & c")
    'a &lt; &#39;b&#39; &amp; c'
    """
    return escape(printable(text), {'"': "&quot;", "'": "&#39;"})

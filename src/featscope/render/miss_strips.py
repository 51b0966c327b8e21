"""Draw one missed object: the image around it, and the same place on the maps of all levels."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from featscope.records import Geometry, Place, Size
from featscope.render.caption import Caption, tick_text, under_title
from featscope.render.crops import Window, window_around
from featscope.render.fonts import font_of, readable
from featscope.render.heat import HeatStyle, draw_heat, seen_ramp
from featscope.render.keys import KeyEntry, key_of
from featscope.render.layout import in_line, stacked, with_margin
from featscope.render.outlines import Outline, Pen, draw_outlines, pen_sample
from featscope.render.painter import paint
from featscope.render.png import encode_rgb
from featscope.render.texts import fitted

_MAP = 168  # pixels of a map's side
_GAP = 10  # pixels between two maps
_IMAGE = 2 * _MAP + _GAP
_IN_A_ROW = 5  # maps
_LETTERS = 14
_SMALL = 13
_HEAD = 2 * _LETTERS + 12  # pixels above the maps of a layer: its name, its scale
_FOOT = 3 * _SMALL + 18  # pixels below a map: its level, what it holds
_MARGIN = 14
_ON_MAPS = 1.6  # pixels of the outline of the object
_WHITE, _INK, _PALE = (255, 255, 255), (24, 24, 24), (96, 96, 96)
_GROUND = 150  # grey in place of an image that is not there


class MarkedBox(NamedTuple):
    """A box on the image."""

    corners: NDArray[np.floating]
    """(4, 2), x and y in pixels of the original image."""

    pen: Pen
    words: str
    """What it is; boxes with the same pen and words share an entry of the key."""


class MapAt(NamedTuple):
    """A map of one level."""

    values: NDArray[np.floating]
    """As they are drawn, (H, W)."""

    place: Optional[Place]
    """Where its cells lie; None to assume that they share the pixels of the input."""

    title: str
    words: str = ""
    """What it holds of the object, in at most two lines."""


class LayerAt(NamedTuple):
    """The maps of one layer, on one scale."""

    name: str
    style: HeatStyle
    """How the values are drawn, with nothing left to choose."""

    scale: Tuple[float, float]
    maps: Sequence[MapAt]


class MissScene(NamedTuple):
    """What is drawn of one missed object."""

    title: str
    words: str
    size: Size
    """Of the original image, (height, width)."""

    image: Optional[NDArray[np.uint8]]
    """The original image, (H, W, 3); None if it is gone."""

    geometry: Optional[Geometry]
    """How the image lies in the input; without it no maps are drawn."""

    box: MarkedBox
    """The object."""

    near: Sequence[MarkedBox] = ()
    """Boxes that matter, which the window shows if they are not too far away."""

    others: Sequence[MarkedBox] = ()
    """Boxes that are drawn where they lie in the window."""

    layers: Sequence[LayerAt] = ()
    remarks: Sequence[str] = ()
    """What is missing in the picture, and why."""


def draw_miss(scene: MissScene, text: Optional[Mapping[str, str]] = None) -> bytes:
    """Draw one missed object as a PNG.

    >>> from featscope.render.outlines import TRUE
    >>> box = MarkedBox(np.array([[4.0, 4.0], [20.0, 4.0], [20.0, 9.0], [4.0, 9.0]]), TRUE, "the object: ship")
    >>> draw_miss(MissScene("Ship, missed", "scene 1", (90, 120), None, None, box))[1:4]
    b'PNG'

    At the left lies the image around the object with the boxes and their key, at the right the same place on all maps,
    drawn as `featscope heat` does: the same colours over the image in grey, in the same place. All maps of a layer
    have one scale. text: added to the text in the PNG file.
    """
    window = window_around(scene.box.corners, [one.corners for one in scene.near], scene.size, _IMAGE)
    boxes = [*scene.near, scene.box, *scene.others]
    columns = [_image_column(scene, window, boxes)]
    rows = _rows(scene.layers) if scene.geometry is not None else []
    if rows:
        columns.append(stacked([_draw_row(row, scene, window) for row in rows], _GAP))
    body = in_line(columns, 2 * _GAP)
    drawn = under_title(with_margin(body, _MARGIN, _MARGIN), Caption(scene.title, scene.words), letters=18)
    return encode_rgb(drawn, {"title": scene.title, "words": scene.words, "Software": "featscope", **(text or {})})


def _image_column(scene: MissScene, window: Window, boxes: Sequence[MarkedBox]) -> NDArray[np.uint8]:
    """Draw the image with all boxes, and below it the key."""
    ground = _cut(scene, window)
    picture = draw_outlines(ground, [_outline(one, window) for one in boxes])
    entries: List[KeyEntry] = []
    for one in (scene.box, *scene.near, *scene.others):
        entry = KeyEntry(one.words, pen_sample(one.pen))
        visible = np.ptp(window.moved(one.corners).clip(0, window.shown), axis=0).min() > 0
        if all(entry.words != known.words for known in entries) and visible:
            entries.append(entry)
    across = f"the window is {window.side} x {window.side} pixels of the image"
    entries += [KeyEntry(one) for one in (across, *scene.remarks)]
    return stacked([picture, paint(key_of(entries, _IMAGE, _LETTERS))], _GAP)


def _cut(scene: MissScene, window: Window) -> NDArray[np.uint8]:
    if scene.image is not None:
        return window.cut(scene.image)
    return np.full((window.shown, window.shown, 3), _GROUND, np.uint8)


def _outline(box: MarkedBox, window: Window) -> Outline:
    return window.moved(box.corners) - 0.5, box.pen


def _rows(layers: Sequence[LayerAt]) -> List[List[LayerAt]]:
    """Arrange layers in rows. Small ones share a row; one with many levels takes several."""
    rows: List[List[LayerAt]] = []
    for layer in layers:
        for start in range(0, len(layer.maps), _IN_A_ROW):
            part = layer._replace(maps=layer.maps[start : start + _IN_A_ROW])
            if rows and sum(len(one.maps) for one in rows[-1]) + len(part.maps) <= _IN_A_ROW:
                rows[-1].append(part)
            else:
                rows.append([part])
    return rows


def _draw_row(row: Sequence[LayerAt], scene: MissScene, window: Window) -> NDArray[np.uint8]:
    return in_line([_draw_layer(layer, scene, window) for layer in row], _GAP)


def _draw_layer(layer: LayerAt, scene: MissScene, window: Window) -> NDArray[np.uint8]:
    """Draw the maps of a layer side by side, with the name and the scale above them."""
    width = len(layer.maps) * (_MAP + _GAP) - _GAP
    picture = Image.new("RGB", (width, _HEAD + _MAP + _FOOT), _WHITE)
    draw, large, small = ImageDraw.Draw(picture), font_of(_LETTERS, layer.name), font_of(_SMALL)
    draw.text((0, 0), readable(fitted(layer.name, large, width)), fill=_INK, font=large)
    _draw_scale(picture, layer, _LETTERS + 8)
    small_window = window._replace(shown=_MAP)
    ground = _cut(scene, small_window)
    for number, one in enumerate(layer.maps):
        left = number * (_MAP + _GAP)
        drawn = _draw_map(one, layer, scene, small_window, ground)
        picture.paste(Image.fromarray(drawn), (left, _HEAD))
        for line, text in enumerate((one.title, *one.words.split("\n"))):
            at = (left, _HEAD + _MAP + 4 + line * (_SMALL + 4))
            draw.text(at, readable(fitted(text, small, _MAP)), fill=_PALE if line else _INK, font=small)
    return np.asarray(picture)


def _draw_scale(picture: Image.Image, layer: LayerAt, top: int) -> None:
    """Draw the colours of a layer with the values at both ends."""
    font, draw = font_of(_SMALL - 1), ImageDraw.Draw(picture)
    low, high = layer.scale
    ends = [tick_text(value, low, high) for value in (low, high)]
    widths = [font.getlength(text) for text in ends]
    left, right = round(widths[0]) + 6, _MAP - round(widths[1]) - 6
    ramp = seen_ramp(layer.style)[np.linspace(0, 255, max(8, right - left)).round().astype(int)]
    picture.paste(Image.fromarray(np.broadcast_to(ramp, (10, *ramp.shape)).copy()), (left, top))
    draw.text((0, top + 5), ends[0], fill=_PALE, font=font, anchor="lm")
    draw.text((_MAP, top + 5), ends[1], fill=_PALE, font=font, anchor="rm")


def _draw_map(
    one: MapAt, layer: LayerAt, scene: MissScene, window: Window, ground: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Draw the window on a map, with the outline of the object."""
    geometry = window.geometry(scene.geometry) if scene.geometry is not None else None
    if geometry is None:
        return np.full((window.shown, window.shown, 3), _GROUND, np.uint8)
    drawn = draw_heat(
        one.values[None],
        replace(layer.style, reduce="channel:0", legend=False),
        image=ground,
        geometry=geometry,
        stride=one.place.stride if one.place is not None else None,
        first=one.place.first if one.place is not None else None,
        value_range=layer.scale,
    )
    picture = np.asarray(Image.open(io.BytesIO(drawn.png)).convert("RGB"))
    thin = scene.box._replace(pen=scene.box.pen._replace(width=_ON_MAPS))
    return draw_outlines(picture, [_outline(thin, window)])

"""Heat maps: reduce, normalise, colour, place, and lay over the image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from featscope.arrays.frames import in_whole_pixels
from featscope.arrays.normalise import Quantised, bounds, quantise, scale_of
from featscope.arrays.reduce import reduce
from featscope.errors import BadArrayError, BadImageError, unknown_name
from featscope.records import Boxes, Geometry, Size
from featscope.render.boxes import LARGEST_LETTERS, draw_boxes
from featscope.render.colour import palette
from featscope.render.geometry import place, place_indices, refuse_huge
from featscope.render.png import encode_indexed, encode_rgb


@dataclass(frozen=True)
class HeatStyle:
    """How a heat map looks.

    reduce: a reduction (`featscope.arrays.reduce`). range: whose values span the colours
    (`featscope.arrays.normalise.RANGES`). colormap: a name of the cmap catalogue. alpha: weight of
    the colours over the image. smooth: blend between cells. resize: what is
    resized - the 8-bit `indices` (fastest), the `values` after their range is known, or the values
    `before_range`, as mmengine does, where peaks between cells lose height. fade: low values let the image
    through, so that it is dimmed nowhere. stretched: the map fills the image, wherever its cells look.
    """

    reduce: str = "mean"
    range: str = "map"
    colormap: str = "turbo"
    alpha: float = 0.5
    smooth: bool = True
    resize: str = "indices"
    colorbar: bool = False
    fade: bool = False
    stretched: bool = False


STYLES: Dict[str, HeatStyle] = {
    "featscope": HeatStyle(),
    "jet": HeatStyle(colormap="jet", resize="values", stretched=True),
    "mmengine_mean": HeatStyle(colormap="jet", resize="before_range", stretched=True),
    "mmengine_max": HeatStyle(reduce="select_max", colormap="jet", resize="before_range", stretched=True),
}
"""Named looks. `jet` is that of the script everybody copies (mean over channels, min-max, jet);
`mmengine_*` are mmengine's `draw_featmap` with squeeze_mean and select_max."""


_FADE = np.minimum(np.arange(256) * 3, 255).astype(np.uint8)
"""Weight of a colour by its index: full from a third of the range on."""


class HeatPicture(NamedTuple):
    """png: the file. values: what was drawn, with its range and what was no number in it."""

    png: bytes
    values: Quantised


def draw_heat(
    feature_map: NDArray[np.generic],
    style: HeatStyle = STYLES["featscope"],
    size: Optional[Size] = None,
    image: Optional[NDArray[np.uint8]] = None,
    geometry: Optional[Geometry] = None,
    stride: Optional[Tuple[float, float]] = None,
    first: Optional[Tuple[float, float]] = None,
    value_range: Optional[Tuple[float, float]] = None,
    boxes: Sequence[Tuple[Boxes, Optional[str]]] = (),
    classes: Sequence[str] = (),
    min_score: float = 0.3,
    text: Optional[Mapping[str, str]] = None,
) -> HeatPicture:
    """Draw one feature map as a heat map.

    >>> picture = draw_heat(np.random.rand(256, 128, 124), size=(1024, 992))
    >>> picture.png[1:4]
    b'PNG'

    feature_map: (C, H, W). size: (height, width) of the picture; by default the image's, else the
    original's of the geometry, else the map's own. image: (H, W, 3) uint8 RGB to lie under the map.
    geometry, stride, first: where the map's cells lie on the image (`featscope.records.Place`); without a geometry
    the map is stretched over the whole of it, so it must be what the network saw. value_range: overrides the style's.
    boxes: each with a colour, or None for one by class; in pixels of the picture.

    Raises `BadImageError` where image and geometry are of different sizes, or where there is no geometry and the
    map cannot be one of the whole image.
    """
    if image is not None and geometry is not None and image.shape[:2] != tuple(geometry.original):
        raise BadImageError(
            f"the image is {image.shape[0]} x {image.shape[1]}, its record says "
            f"{geometry.original[0]} x {geometry.original[1]} (height x width); give the image that was captured"
        )
    heat = reduce(feature_map, style.reduce)
    if image is not None and geometry is None:
        _refuse_other_shape((heat.shape[0], heat.shape[1]), (image.shape[0], image.shape[1]))
    if size is None:
        size = _default_size(heat, image, geometry)
    refuse_huge(size)
    if heat.ndim == 3:
        parts = [quantise(heat[..., i], *(value_range or bounds(heat[..., i], style.range))) for i in range(3)]
        planes = [place_indices(p.indices, False, size, geometry, stride, style.smooth, first) for p in parts]
        picture = _over_image(Image.fromarray(np.stack(planes, -1)), style, image, geometry)
        for some, colour in boxes:
            draw_boxes(picture, some, classes, min_score, colour)
        return HeatPicture(encode_rgb(np.asarray(picture), dict(text or {}, **_notes(style, parts[0]))), parts[0])
    limits = value_range or (None if style.resize == "before_range" else bounds(heat, style.range))
    if style.resize != "indices":
        if not np.isfinite(heat).all():
            raise BadArrayError("this style blends values, and the map has NaN or infinity; use --style featscope")
        # Pillow blends in single precision: what has no room in it is brought near one, and its range too.
        exponent = scale_of(*bounds(heat, "map"))
        heat = np.ldexp(heat, -exponent).astype(np.float32)
        heat = np.asarray(place(heat, size, geometry, stride, style.smooth, first)).astype(np.float64)
        heat = np.ldexp(heat, exponent)
    low, high = limits or bounds(heat, style.range)
    values = quantise(heat, low, high)
    marked = values.nan + values.inf > 0
    colours = palette(style.colormap, 254 if marked else 256, marked)
    placed = values.indices
    if style.resize == "indices":
        placed = place_indices(placed, marked, size, geometry, stride, style.smooth, first)
    note = dict(text or {}, **_notes(style, values))
    if image is None and not boxes and not style.colorbar:
        return HeatPicture(encode_indexed(placed, colours, note), values)
    indexed = Image.fromarray(placed)
    indexed.putpalette(colours.tobytes())
    weight = Image.fromarray(_FADE[placed]) if style.fade else None
    picture = _over_image(indexed.convert("RGB"), style, image, geometry, weight)
    for some, colour in boxes:
        draw_boxes(picture, some, classes, min_score, colour)
    if style.colorbar:
        picture = _with_colorbar(picture, style, values)
    return HeatPicture(encode_rgb(np.asarray(picture), note), values)


def _refuse_other_shape(cells: Size, image: Size) -> None:
    """Raise `BadImageError` where square cells cannot cover an image: some would be drawn half a cell away or more.

    The network saw another picture then: padded, as in a letterbox, or cut.
    """
    (rows, columns), (height, width) = cells, image
    off = min(abs(rows - columns * height / width), abs(columns - rows * width / height))
    if off > 0.5 and cells != (1, 1):
        raise BadImageError(
            f"a map of {rows} x {columns} cells cannot be of the whole of an image of {height} x {width} "
            "(height x width): the network saw it padded, cut or stretched; say how, "
            f"geometry=Geometry(original=({height}, {width}), resized=..., padded=...), "
            "or give the picture that the network saw: image=..."
        )


def _default_size(heat: NDArray[np.floating], image: Optional[NDArray[np.uint8]], geometry: Optional[Geometry]) -> Size:
    if image is not None:
        return image.shape[0], image.shape[1]
    return geometry.original if geometry is not None else (heat.shape[0], heat.shape[1])


def _notes(style: HeatStyle, values: Quantised) -> Dict[str, str]:
    notes = {
        "reduce": style.reduce,
        "range": f"{values.low:.6g} {values.high:.6g}",
        "colormap": style.colormap,
        "Software": "featscope",
    }
    if values.nan or values.inf:
        notes["not finite"] = f"{values.nan} NaN, {values.inf} infinite"
    if values.constant:
        notes["constant"] = f"{values.low:.6g}"
    return notes


def _over_image(
    coloured: Image.Image,
    style: HeatStyle,
    image: Optional[NDArray[np.uint8]],
    geometry: Optional[Geometry],
    weight: Optional[Image.Image] = None,
) -> Image.Image:
    if image is None:
        return coloured
    ground = Image.fromarray(image)
    if weight is not None:
        blended = Image.composite(coloured, ground, weight.point(lambda value: round(value * style.alpha)))
    else:
        blended = Image.blend(ground, coloured, style.alpha)
    if geometry is not None and geometry.crop:  # the network did not see what lies outside
        top, left, height, width = map(round, in_whole_pixels(geometry).crop or ())
        part = (left, top, left + width, top + height)
        ground = ground.copy()
        ground.paste(blended.crop(part), part[:2])
        return ground
    return blended


def _with_colorbar(picture: Image.Image, style: HeatStyle, values: Quantised) -> Image.Image:
    """The picture with its scale at the right: ends and middle of the value range."""
    unit = min(max(10, round(max(picture.size) / 60)), LARGEST_LETTERS)
    font = ImageFont.load_default(unit)
    ticks = [values.low] if values.constant else [values.high, values.high / 2 + values.low / 2, values.low]
    texts = [f"{tick:.3g}" for tick in ticks]
    probe = ImageDraw.Draw(picture)
    room = max(int(probe.textlength(text, font=font)) for text in texts)
    pad = unit // 2
    width = picture.width + 3 * pad + 2 * unit + room
    refuse_huge((picture.height, width))
    wide = Image.new("RGB", (width, picture.height), (255, 255, 255))
    wide.paste(picture, (0, 0))
    left, top, bottom = picture.width + pad + pad // 2, unit, max(unit + 1, picture.height - unit)
    if values.constant:
        ramp = np.full((bottom - top, 1), 128, np.uint8)
    else:
        ramp = np.linspace(255, 0, bottom - top).astype(np.uint8)[:, None]
    scale = palette(style.colormap)[np.repeat(ramp, unit, 1)]
    wide.paste(Image.fromarray(scale), (left, top))
    draw = ImageDraw.Draw(wide)
    draw.rectangle([left - 1, top - 1, left + unit, bottom], outline=(120, 120, 120))
    for index, text in enumerate(texts):
        y = (top + bottom) / 2 if len(texts) == 1 else top + (bottom - top) * index / 2
        draw.line([left + unit, y, left + unit + 3, y], fill=(60, 60, 60))
        draw.text((left + unit + pad, y), text, fill=(20, 20, 20), font=font, anchor="lm")
    return wide


def style_named(name: str, **changes: object) -> HeatStyle:
    """A style of `STYLES`, with the given fields changed; None changes nothing."""
    if name not in STYLES:
        raise unknown_name("style", name, STYLES, "featscope heat --help")
    return replace(STYLES[name], **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]

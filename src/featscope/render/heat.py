"""Draw heat maps: reduce, normalise, colour, place, and blend with the image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featscope.arrays.basis import COMPONENTS as COUNT
from featscope.arrays.basis import Basis
from featscope.arrays.frames import in_whole_pixels
from featscope.arrays.geometry import cells_inside, place, place_indices, refuse_huge
from featscope.arrays.handed import MapLike, PictureLike, as_map, as_picture
from featscope.arrays.normalise import (
    INF_INDEX,
    Quantised,
    bounds,
    finite_bounds,
    quantise,
    scale_of,
    shares_beyond,
)
from featscope.arrays.reduce import AS_THE_MAP, BOTH, EVERYWHERE, Cells, are_components, as_floats, reduce, signs_of
from featscope.errors import BadArrayError, BadImageError, unknown_name
from featscope.records import Boxes, Geometry, Size
from featscope.render.boxes import draw_boxes
from featscope.render.caption import GREYS, Caption, frame, framed, framed_indices, under_title
from featscope.render.colour import palette
from featscope.render.png import encode_indexed, encode_rgb
from featscope.render.results import png_words, save_picture

Bounds = Tuple[float, float]

AUTO = "auto"
"""As a reduction, a range or a colour map: choose what suits the map."""

SEQUENTIAL, DIVERGING = "turbo", "colorbrewer:RdBu_r"
"""The default colour maps for values of one sign and of both signs."""


@dataclass(frozen=True)
class HeatStyle:
    """How a heat map looks."""

    reduce: str = "mean"
    """A reduction (`featscope.arrays.reduce`), or `auto`."""

    range: str = "map"
    """The value range that the colours span (`featscope.arrays.normalise.RANGES`), or `auto`."""

    colormap: str = SEQUENTIAL
    """A name in the cmap catalogue, or `auto`."""

    alpha: float = 0.5
    """Weight of the colours over the image, 0 to 1."""

    smooth: bool = True
    """Whether to interpolate between cells."""

    resize: str = "indices"
    """What is resized: the 8-bit `indices` (fastest), the `values` after their range is computed, or the values
    `before_range`, as mmengine does. In the last case, peaks between pixels lose height before the range is known."""

    legend: bool = False
    """Whether pictures of a run have a title and a scale."""

    fade: bool = False
    """Whether weak values are transparent, so that the image is visible there."""

    grey: bool = False
    """Whether the image is drawn in grey, so that every colour belongs to the map."""

    stretched: bool = False
    """Whether the map is stretched over the whole input, even if the true place of its cells is known."""

    zero: bool = False
    """Whether zero is in the middle of the range."""

    def with_auto(self, reduce: str, value_range: str = "", signed: bool = False) -> HeatStyle:
        """Return the style with each `auto` replaced.

        reduce: in place of an automatic reduction. value_range: in place of an automatic range, if the values are not
        signed; by default the one for the reduction. signed: the reduced values have both signs.
        """
        zero = signed and (self.range == AUTO or self.range.startswith("symmetric")) and self.colormap == AUTO
        automatic = {
            "reduce": reduce,
            "range": "symmetric:99" if signed else value_range or _RANGES.get(reduce, "percentile:1:99"),
            "colormap": DIVERGING if zero else SEQUENTIAL,
        }
        chosen = {name: value for name, value in automatic.items() if getattr(self, name) == AUTO}
        return replace(self, zero=self.zero or zero, **chosen)  # type: ignore[arg-type]

    def for_array(self, feature_map: NDArray[np.generic]) -> HeatStyle:
        """Return the style with each `auto` replaced by what suits the values of one map (C, H, W)."""
        if AUTO not in (self.reduce, self.range, self.colormap):
            return self
        how = self.reduce if self.reduce != AUTO else "contrast" if len(feature_map) > 1 else "mean"
        signs = signs_of(how)
        signed = signs == BOTH or (signs == AS_THE_MAP and two_signs(*finite_bounds(as_floats(feature_map))))
        return self.with_auto(how, signed=signed)


_RANGES = {"contrast": "percentile:50:99", "scores": "percentile:50:99.9"}
"""The automatic value ranges of some reductions; they begin at the median. Every cell has some score, and some distance
from the mean cell, which grows with the number of channels. What most cells have is therefore background."""


def two_signs(low: float, high: float) -> bool:
    """Whether values from `low` to `high` count as signed.

    Those of a SiLU or a GELU, which go a little below zero, do. Negative values are ignored if they are smaller than
    1 % of the largest value.
    """
    return low < -0.01 * max(high, -low) and high > 0


STYLES: Dict[str, HeatStyle] = {
    "featscope": HeatStyle(AUTO, AUTO, AUTO, alpha=0.7, legend=True, fade=True, grey=True),
    "jet": HeatStyle(colormap="jet", resize="values", stretched=True),
    "mmengine_mean": HeatStyle(colormap="jet", resize="before_range", stretched=True),
    "mmengine_max": HeatStyle(reduce="select_max", colormap="jet", resize="before_range", stretched=True),
}
"""Named styles. `featscope` adapts to the map. `jet` is the style of the script that everybody copies (mean over
channels, min-max, jet). `mmengine_mean` and `mmengine_max` are mmengine's `draw_featmap` with squeeze_mean and with
select_max."""

_FADE = np.minimum(np.arange(256) * 3, 255).astype(np.uint8)
"""Weight of a colour by its index. It is full above the lowest third of the range."""

_FADE_FROM_ZERO = np.minimum(np.abs(np.arange(256) - 127.5) * 2 * 1.6, 255).astype(np.uint8)
"""The same for ranges with zero in the middle."""

_TALLEST = 20  # the largest ratio of height to width of a picture with a frame

_GROUND = 150
"""The grey under the colours of a scale. It stands for the image under the map."""


class HeatPicture(NamedTuple):
    """A drawn heat map. A notebook shows it as a picture.

    >>> picture = draw_heat(np.arange(12.0).reshape(3, 2, 2), "jet", size=(64, 64))
    >>> picture
    <heat map of 64 x 64 pixels; values from 4 to 7>
    """

    png: bytes
    """The content of the PNG file."""

    values: Quantised
    """The drawn values as indices, their range, and the numbers of NaN and infinite cells."""

    clipped: float = 0.0
    """The share of cells on the image whose values are outside the range."""

    def save(self, path: Union[str, Path]) -> Path:
        """Write the picture to a file and return its path. The suffix chooses PNG, WebP or JPEG."""
        return save_picture(self.png, path)

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return f"<heat map of {png_words(self.png)}; values from {self.values.low:.4g} to {self.values.high:.4g}>"


def draw_heat(
    feature_map: MapLike,
    style: Union[str, HeatStyle] = "featscope",
    size: Optional[Size] = None,
    image: Optional[PictureLike] = None,
    geometry: Optional[Geometry] = None,
    stride: Optional[Tuple[float, float]] = None,
    first: Optional[Tuple[float, float]] = None,
    value_range: Optional[Tuple[float, float]] = None,
    boxes: Union[Boxes, Sequence[Tuple[Boxes, Optional[str]]]] = (),
    classes: Sequence[str] = (),
    min_score: float = 0.3,
    text: Optional[Mapping[str, str]] = None,
    caption: Optional[Caption] = None,
    basis: Optional[Basis] = None,
    labels: str = "score",
) -> HeatPicture:
    """Draw one feature map as a heat map.

    >>> picture = draw_heat(np.random.rand(256, 128, 124), size=(1024, 992))
    >>> picture.png[1:4]
    b'PNG'
    >>> picture.save("heat.png")                                                # doctest: +SKIP
    PosixPath('heat.png')

    Over a photo that was resized to 512 x 496 and padded to 512 x 512, by a layer of stride 8:

    >>> photo = np.zeros((1182, 1145, 3), np.uint8)
    >>> geometry = Geometry(original=(1182, 1145), resized=(512, 496), padded=(512, 512))
    >>> draw_heat(np.random.rand(256, 64, 64), "jet", image=photo, geometry=geometry, stride=(8, 8)).png[1:4]
    b'PNG'

    feature_map: (C, H, W), (H, W) or (1, C, H, W), an array or a tensor. style: a `HeatStyle`, or the name of one in
    `STYLES`: featscope, jet, mmengine_mean, mmengine_max. size: (height, width) of the picture without its frame; by
    default that of the image, else of the original image in the geometry, else of the map. image: the image under the
    map, (H, W, 3) uint8 RGB or a Pillow image. geometry, stride, first: where the map's cells lie on the image
    (`featscope.records.Place`); without a geometry, the map is stretched over the whole image, which must then be what
    the network saw. value_range: overrides the range of the style. boxes: boxes in pixels of the picture, or a list of
    pairs of boxes and their colour; None as the colour gives each class its own. classes: names of the classes.
    min_score: boxes with a lower score are left out. labels: what is written at the boxes
    (`featscope.render.boxes.LABELS`). text: added to the text in the PNG file. caption: the text above the map; with
    it, the scale is drawn below. basis: basis for principal components; by default it is computed from the map.

    Raises `BadArrayError` if the array is not a single map (from a batch, choose one: `maps[0]`). Raises
    `BadImageError` if the image has a different size than the geometry says, or if there is no geometry and the shape
    of the map does not fit the whole image.
    """
    feature_map = as_map(feature_map)
    image = None if image is None else as_picture(image)
    if image is not None and geometry is not None and image.shape[:2] != tuple(geometry.original):
        raise BadImageError(
            f"the image is {image.shape[0]} x {image.shape[1]}, but its record says "
            f"{geometry.original[0]} x {geometry.original[1]} (height x width); give the image that was captured"
        )
    style = (style_named(style) if isinstance(style, str) else style).for_array(feature_map)
    inside = cells_inside((feature_map.shape[1], feature_map.shape[2]), geometry, stride, first)
    heat = reduce(feature_map, style.reduce, inside, basis)
    if ":" not in style.range:  # the range then spans all values, also those on the padding
        inside = EVERYWHERE
    if image is not None and geometry is None:
        _refuse_other_shape((heat.shape[0], heat.shape[1]), (image.shape[0], image.shape[1]))
    size = size or _default_size(heat, image, geometry)
    refuse_huge(size)
    if size[0] > _TALLEST * size[1]:
        caption = None  # the frame of a narrow strip would be unreadable
    boxes = [(boxes, None)] if isinstance(boxes, Boxes) else boxes
    canvas = _Canvas(
        size,
        geometry,
        stride=stride,
        first=first,
        image=image,
        boxes=boxes,
        classes=classes,
        min_score=min_score,
        labels=labels,
    )
    scales: List[Optional[Bounds]] = [value_range] * COUNT
    if value_range is None and basis is not None and style.zero and are_components(style.reduce):
        scales = [basis.scale(i) for i in range(COUNT)]  # all maps share the basis, so they also share its scale
    if heat.ndim == 3:
        return _draw_colours(heat, style, canvas=canvas, scales=scales, inside=inside, caption=caption, text=text or {})
    return _draw_values(heat, style, canvas=canvas, scale=scales[0], inside=inside, caption=caption, text=text or {})


@dataclass(frozen=True)
class _Canvas:
    """What a heat map is drawn on: the place of its cells, the image under it and the boxes on top."""

    size: Size
    geometry: Optional[Geometry]
    stride: Optional[Bounds]
    first: Optional[Bounds]
    image: Optional[NDArray[np.uint8]]
    boxes: Sequence[Tuple[Boxes, Optional[str]]]
    classes: Sequence[str]
    min_score: float
    labels: str

    def lay(self, indices: NDArray[np.uint8], marked: bool, smooth: bool) -> NDArray[np.uint8]:
        """Resize indices and place them on the picture."""
        return place_indices(indices, marked, self.size, self.geometry, self.stride, smooth=smooth, first=self.first)

    def lay_values(self, heat: NDArray[np.floating], smooth: bool) -> NDArray[np.floating]:
        """Resize values, interpolated between cells, and place them on the picture."""
        if not np.isfinite(heat).all():
            raise BadArrayError("this style blends values, but the map contains NaN or infinity; use --style featscope")
        # Pillow blends in single precision, so scale extremely large or small values to about 1, and back afterwards.
        exponent = scale_of(*bounds(heat, "map"))
        heat = np.ldexp(heat, -exponent).astype(np.float32)
        placed = place(heat, self.size, self.geometry, self.stride, smooth=smooth, first=self.first)
        return np.ldexp(np.asarray(placed).astype(np.float64), exponent)

    def compose(
        self, coloured: Image.Image, style: HeatStyle, weight: Optional[Image.Image] = None
    ) -> NDArray[np.uint8]:
        """Blend the coloured map with the image, and draw the boxes."""
        picture = _over_image(coloured, style, self.image, self.geometry, weight)
        for some, colour in self.boxes:
            draw_boxes(picture, some, classes=self.classes, min_score=self.min_score, colour=colour, labels=self.labels)
        return np.asarray(picture)


def _draw_colours(
    heat: NDArray[np.floating],
    style: HeatStyle,
    canvas: _Canvas,
    scales: Sequence[Optional[Bounds]],
    inside: Cells,
    caption: Optional[Caption],
    text: Mapping[str, str],
) -> HeatPicture:
    """Draw a map with three values per cell, (H, W, 3), as red, green and blue."""
    parts = [
        quantise(heat[..., i], *(scale or bounds(heat[(*inside, i)], style.range))) for i, scale in enumerate(scales)
    ]
    coloured = Image.fromarray(np.stack([canvas.lay(part.indices, False, style.smooth) for part in parts], -1))
    drawn = canvas.compose(coloured, style)
    if caption is not None:
        drawn = under_title(drawn, caption)
    return HeatPicture(encode_rgb(drawn, dict(text, **_notes(style, parts[0]))), parts[0])


def _draw_values(
    heat: NDArray[np.floating],
    style: HeatStyle,
    canvas: _Canvas,
    scale: Optional[Bounds],
    inside: Cells,
    caption: Optional[Caption],
    text: Mapping[str, str],
) -> HeatPicture:
    """Draw a map with one value per cell, (H, W), with a colour map."""
    if scale is None and style.resize != "before_range":
        scale = bounds(heat[inside], style.range)
    if style.resize != "indices":
        heat, inside = canvas.lay_values(heat, style.smooth), EVERYWHERE
    low, high = scale or bounds(heat, style.range)
    values = quantise(heat, low, high, 256 if caption is None else INF_INDEX - GREYS)
    beyond = shares_beyond(heat[inside], low, high)
    clipped = sum(beyond)
    marked = values.nan + values.inf > 0
    levels = INF_INDEX - GREYS if caption is not None else INF_INDEX if marked else 256
    colours = palette(style.colormap, levels, marked or caption is not None)
    placed = canvas.lay(values.indices, marked, style.smooth) if style.resize == "indices" else values.indices
    note = dict(text, **_notes(style, values))
    if clipped:
        note["outside of the range"] = f"{clipped:.4f} of the cells"
    around = None if caption is None else frame(placed.shape[1], caption, values, beyond)
    if canvas.image is None and not canvas.boxes:
        if around is not None:
            placed, colours = framed_indices(placed, around, levels, colours)
        return HeatPicture(encode_indexed(placed, colours, note), values, clipped)
    indexed = Image.fromarray(placed)
    indexed.putpalette(colours.tobytes())
    weights = opacity(style, levels)
    faded = Image.fromarray(placed).point(weights.tolist()) if style.fade else None
    drawn = canvas.compose(indexed.convert("RGB"), style, faded)
    if around is not None:
        ramp = colours[:levels] if canvas.image is None else seen_ramp(style, levels)
        drawn = framed(drawn, around, ramp)
    return HeatPicture(encode_rgb(drawn, note), values, clipped)


def opacity(style: HeatStyle, levels: int) -> NDArray[np.uint8]:
    """Return the weight of each index's colour over an image, 0 to 255.

    With `fade`, the colours of weak values have low weights. The colours of NaN and infinity are never faded.
    """
    weights = np.full(256, 255, np.uint8)
    if style.fade:
        curve = _FADE_FROM_ZERO if style.zero else _FADE
        weights[:levels] = curve[np.linspace(0, 255, levels).round().astype(int)]
    return (weights * style.alpha).round().astype(np.uint8)


def seen_ramp(style: HeatStyle, levels: int = 256) -> NDArray[np.uint8]:
    """Return the colours of a style as they look over a grey image, from the first to the last: (levels, 3)."""
    share = (opacity(style, levels)[:levels] / 255)[:, None]
    colours = palette(style.colormap, levels)[:levels]
    seen: NDArray[np.uint8] = (colours * share + _GROUND * (1 - share)).round().astype(np.uint8)
    return seen


def _refuse_other_shape(cells: Size, image: Size) -> None:
    """Raise `BadImageError` if square cells cannot cover an image, so that some would be off by more than half a cell.

    The network then saw a different picture, for example padded as in a letterbox, or cropped.
    """
    (rows, columns), (height, width) = cells, image
    off = min(abs(rows - columns * height / width), abs(columns - rows * width / height))
    if off > 0.5 and cells != (1, 1):
        raise BadImageError(
            f"a map of {rows} x {columns} cells cannot cover a whole image of {height} x {width} "
            "(height x width), so the network saw the image padded, cropped or stretched; say how: "
            f"geometry=Geometry(original=({height}, {width}), resized=..., padded=...), "
            "or give what the network saw: image=..."
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
    if style.grey:
        ground = ground.convert("L").convert("RGB")
    seen = None
    if geometry is not None and geometry.crop:  # the network did not see anything outside the crop
        top, left, height, width = map(round, in_whole_pixels(geometry).crop or ())
        seen = (left, top, left + width, top + height)
    whole = ground
    if seen is not None:
        ground, coloured, weight = ground.crop(seen), coloured.crop(seen), weight and weight.crop(seen)
    if weight is not None:
        ground.paste(coloured, None, weight)
    else:
        ground = Image.blend(ground, coloured, style.alpha)
    if seen is not None:
        whole.paste(ground, seen[:2])
        return whole
    return ground


def style_named(name: str, **changes: object) -> HeatStyle:
    """Return a style in `STYLES` with the given fields changed; None changes nothing. Raises `UnknownNameError`."""
    if name not in STYLES:
        raise unknown_name("style", name, STYLES, "featscope heat --help")
    return replace(STYLES[name], **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]

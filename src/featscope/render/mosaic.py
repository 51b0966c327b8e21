"""Mosaics: the channels of a feature map side by side."""

from __future__ import annotations

import math
from pathlib import Path
from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from featscope.arrays.channels import choose_channels
from featscope.arrays.handed import MapLike, as_map
from featscope.arrays.normalise import bounds, finite_bounds, quantise
from featscope.arrays.reduce import as_floats
from featscope.render.colour import palette
from featscope.render.png import encode_indexed
from featscope.render.results import png_words, save_picture
from featscope.words import counted

# Indices above the values': the gap between tiles is white like the numbers, their rim is dark.
_LEVELS, _WHITE, _DARK = 252, 252, 253


class Mosaic(NamedTuple):
    """A mosaic that was drawn; a notebook shows it.

    >>> draw_mosaic(np.zeros((6, 8, 8)), columns=3)
    <mosaic of 6 channels, 17 x 26 pixels>

    png: the file. channels: what its tiles show, in order. nan, inf: cells that are no number.
    """

    png: bytes
    channels: List[int]
    nan: int
    inf: int

    def save(self, path: Union[str, Path]) -> Path:
        """Write it to a file, as PNG, WebP or JPEG by the name, and return the file."""
        return save_picture(self.png, path)

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return f"<mosaic of {counted(len(self.channels), 'channel')}, {png_words(self.png)}>"


def draw_mosaic(
    feature_map: MapLike,
    channels: str = "all",
    colormap: str = "viridis",
    value_range: str = "channel",
    shared: Optional[Tuple[float, float]] = None,
    columns: Optional[int] = None,
    scale: int = 1,
    gap: int = 1,
    title: str = "",
    numbers: bool = False,
    text: Optional[Mapping[str, str]] = None,
) -> Mosaic:
    """Draw channels of a feature map as tiles of one picture.

    >>> strong = np.arange(8.0).reshape(8, 1, 1) * np.random.rand(8, 16, 16)
    >>> mosaic = draw_mosaic(strong, "top:2", columns=2, scale=4, numbers=True)
    >>> sorted(mosaic.channels)
    [6, 7]

    feature_map: (C, H, W), (H, W) or (1, C, H, W), an array or a tensor. channels: `all`, `top:20` (the strongest),
    `0-15`, `3,7`. value_range: `channel` gives each tile its own range; otherwise one of
    `featscope.arrays.normalise.RANGES` over the chosen channels, or `shared`, a range given from
    outside. scale: pixels per cell. numbers: write each tile's channel into it. Raises `BadArrayError` for what is not
    one map (of a batch, choose one: `maps[0]`).
    """
    feature_map = as_map(feature_map)
    chosen = choose_channels(feature_map, channels)
    tiles = as_floats(feature_map[chosen] if len(chosen) < len(feature_map) or channels != "all" else feature_map)
    indices, nan, inf = _quantise_tiles(tiles, value_range, shared)
    if scale > 1:
        indices = indices.repeat(scale, 1).repeat(scale, 2)
    if columns is None:
        # About as wide as high, a little wider: pages and screens are.
        aspect = indices.shape[1] / indices.shape[2]
        columns = max(1, round(math.sqrt(len(chosen) * aspect * 1.3)))
    canvas, corners = _arrange(indices, min(columns, len(chosen)), gap)
    if numbers:
        _write_numbers(canvas, corners, chosen)
    if title:
        canvas = _with_title(canvas, title)
    colours = palette(colormap, _LEVELS, True).copy()
    colours[_WHITE], colours[_DARK] = (255, 255, 255), (24, 24, 28)
    note = dict(text or {}, channels=",".join(map(str, chosen)), colormap=colormap, Software="featscope")
    return Mosaic(encode_indexed(canvas, colours, note), chosen, nan, inf)


def _quantise_tiles(
    tiles: NDArray[np.floating], value_range: str, shared: Optional[Tuple[float, float]]
) -> Tuple[NDArray[np.uint8], int, int]:
    if shared is not None or value_range != "channel":
        low, high = shared if shared is not None else bounds(tiles, value_range)
        values = quantise(tiles, low, high, _LEVELS)
        return values.indices, values.nan, values.inf
    parts = [quantise(tile, *finite_bounds(tile), _LEVELS) for tile in tiles]
    return (
        np.stack([part.indices for part in parts]),
        sum(part.nan for part in parts),
        sum(part.inf for part in parts),
    )


def _arrange(indices: NDArray[np.uint8], columns: int, gap: int) -> Tuple[NDArray[np.uint8], List[Tuple[int, int]]]:
    count, height, width = indices.shape
    rows = -(-count // columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), _WHITE, np.uint8)
    corners = []
    for i, tile in enumerate(indices):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = tile
        corners.append((left, top))
    return canvas, corners


def _write_numbers(canvas: NDArray[np.uint8], corners: Sequence[Tuple[int, int]], chosen: Sequence[int]) -> None:
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    draw.fontmode = "1"  # whole pixels: a blend of two indices would be a third colour
    font = ImageFont.load_default(11)
    for (left, top), channel in zip(corners, chosen):
        _, _, right, bottom = draw.textbbox((left + 2, top), str(channel), font)
        draw.rectangle([left, top, right + 1, bottom + 1], fill=_DARK)
        draw.text((left + 2, top), str(channel), _WHITE, font)
    canvas[:] = np.asarray(picture)


def _with_title(canvas: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    font = ImageFont.load_default(13)
    title = " ".join(title.split("\n"))  # a name may hold an end of line, and a title has one line
    length = ImageDraw.Draw(Image.new("L", (1, 1))).textlength(title, font=font)
    header = Image.new("L", (max(canvas.shape[1], math.ceil(length) + 8), 20), _WHITE)
    draw = ImageDraw.Draw(header)
    draw.fontmode = "1"
    draw.text((4, 2), title, _DARK, font)
    body = np.full((canvas.shape[0], header.width), _WHITE, np.uint8)
    body[:, : canvas.shape[1]] = canvas
    return np.vstack([np.asarray(header), body])


def draw_channel(
    channel: NDArray[np.generic],
    colormap: str = "viridis",
    value_range: Tuple[float, float] = (0.0, 0.0),
    scale: int = 1,
    text: Optional[Mapping[str, str]] = None,
) -> Mosaic:
    """Draw a single channel (H, W) as a picture of its own, all 256 colours used."""
    values = quantise(as_floats(channel), *value_range)
    marked = values.nan + values.inf > 0
    indices = values.indices.repeat(scale, 0).repeat(scale, 1) if scale > 1 else values.indices
    note = dict(text or {}, range=f"{values.low:.6g} {values.high:.6g}", colormap=colormap, Software="featscope")
    colours = palette(colormap, 254 if marked else 256, marked)
    return Mosaic(encode_indexed(indices, colours, note), [], values.nan, values.inf)

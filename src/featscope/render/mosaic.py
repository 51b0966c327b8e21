"""Draw mosaics: the channels of a feature map side by side."""

from __future__ import annotations

import math
from pathlib import Path
from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from featscope.arrays.channels import choose_channels
from featscope.arrays.geometry import refuse_huge
from featscope.arrays.handed import MapLike, as_map
from featscope.arrays.normalise import INF_INDEX, Quantised, bounds, finite_bounds, quantise, shares_beyond
from featscope.arrays.reduce import as_floats
from featscope.render.caption import GREYS, Caption, frame, framed_indices, grey_indices, with_greys
from featscope.render.colour import palette
from featscope.render.fonts import font_of
from featscope.render.png import encode_indexed
from featscope.render.results import png_words, save_picture
from featscope.words import counted

_LEVELS = INF_INDEX - GREYS  # number of indices for values; the greys for letters and gaps follow, white first
_ONLY_TILES = INF_INDEX - 2  # the same for a mosaic without text, which needs only white
_SMALLEST_TILE = 48  # pixels of the longer side; a smaller tile shows too little
_SMALLEST = 512  # pixels of the longer side of a mosaic; tiles are enlarged up to it
_WIDEST_GAP = 4  # pixels
_LETTERS = 12  # pixels
_WIDER = 1.3  # ideal ratio of width to height, similar to pages and screens
_EMPTY = 0.25  # cost of a last row without tiles; a mosaic that is e times too wide costs 1


class Mosaic(NamedTuple):
    """A drawn mosaic. A notebook shows it as a picture.

    >>> draw_mosaic(np.zeros((6, 8, 8)), columns=3, scale=1)
    <mosaic of 6 channels, 17 x 26 pixels>
    """

    png: bytes
    """The content of the PNG file."""

    channels: List[int]
    """The channels that the tiles show, in order."""

    nan: int
    """Number of cells that are NaN."""

    inf: int
    """Number of cells that are infinite."""

    def save(self, path: Union[str, Path]) -> Path:
        """Write the picture to a file and return its path. The suffix chooses PNG, WebP or JPEG."""
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
    scale: Optional[int] = None,
    gap: Optional[int] = None,
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
    `0-15`, `3,7`. value_range: `channel` gives each tile its own range; otherwise the chosen channels share one of
    `featscope.arrays.normalise.RANGES`. shared: a range for all tiles in place of value_range. columns: tiles per row;
    by default chosen so that the mosaic is a little wider than high. scale: pixels per cell; by default enough to make
    the tiles visible. gap: pixels between tiles; by default 1, or more if cells are large. title: text above the tiles;
    with it, the colour scale is drawn below them. numbers: write the number of the channel above each tile. text: added
    to the text in the PNG file.

    Raises `BadArrayError` if the array is not a single map (from a batch, choose one: `maps[0]`).
    """
    feature_map = as_map(feature_map)
    chosen = choose_channels(feature_map, channels)
    tiles = as_floats(feature_map[chosen] if len(chosen) < len(feature_map) or channels != "all" else feature_map)
    if len(chosen) == 1 and value_range == "channel":
        value_range = "map"  # gives the same picture, but with numbers at the scale
    levels = _LEVELS if title or numbers else _ONLY_TILES
    values, beyond, constant = _quantise_tiles(tiles, value_range, shared, levels)
    count, height, width = tiles.shape
    columns = min(columns, count) if columns is not None else columns_of(count, height / width)
    if scale is None:
        scale = scale_of(height, width, columns, -(-count // columns))
    gap = min(scale, _WIDEST_GAP) if gap is None else gap
    canvas = _arrange(values.indices, levels, columns, scale=scale, gap=gap, numbers=chosen if numbers else ())
    colours = palette(colormap, levels, True)
    if title:
        own = value_range == "channel" and shared is None
        caption = _caption(title, len(feature_map), count, constant, own)
        around = frame(canvas.shape[1], caption, values, beyond)
        canvas, colours = framed_indices(canvas, around, levels, colours)
    note = dict(text or {}, channels=",".join(map(str, chosen)), colormap=colormap, Software="featscope")
    return Mosaic(encode_indexed(canvas, with_greys(colours, levels), note), chosen, values.nan, values.inf)


def columns_of(count: int, aspect: float) -> int:
    """Return the number of tiles per row.

    The mosaic should be a little wider than high, and its last row should be full or nearly full. It never is a single
    tile if that can be avoided.


    >>> [columns_of(count, 1.0) for count in (1, 3, 7, 10, 64, 256, 1000)]
    [1, 3, 4, 4, 8, 16, 36]

    aspect: height of a tile divided by its width.
    """
    ideal = math.sqrt(count * aspect * _WIDER)

    def cost(columns: int) -> Tuple[bool, float]:
        last = count % columns or columns
        lonely = last == 1 and 1 < columns < count
        return lonely, abs(math.log(columns / ideal)) + _EMPTY * (columns - last) / columns

    return min(range(1, min(count, math.ceil(3 * ideal)) + 1), key=cost)


def scale_of(height: int, width: int, columns: int = 1, rows: int = 1) -> int:
    """Return the number of pixels per cell that makes the tiles and the mosaic large enough to look at.

    >>> scale_of(128, 124, 16, 16), scale_of(8, 8, 16, 16), scale_of(8, 8)
    (1, 6, 64)
    """
    return max(1, math.ceil(_SMALLEST_TILE / max(height, width)), _SMALLEST // max(height * rows, width * columns))


def _quantise_tiles(
    tiles: NDArray[np.floating], value_range: str, shared: Optional[Tuple[float, float]], levels: int
) -> Tuple[Quantised, Tuple[float, float], int]:
    """Quantise tiles over their common range, or each over its own.

    Returns the indices (C, H, W), the shares of cells below and above the range, and the number of constant tiles.
    """
    ends = [finite_bounds(tile) for tile in tiles]
    constant = sum(low == high for low, high in ends)
    if shared is not None or value_range != "channel":
        low, high = shared if shared is not None else bounds(tiles, value_range)
        return quantise(tiles, low, high, levels), shares_beyond(tiles, low, high), constant
    parts = [quantise(tile, *span, levels) for tile, span in zip(tiles, ends)]
    nan, inf = sum(part.nan for part in parts), sum(part.inf for part in parts)
    values = Quantised(np.stack([part.indices for part in parts]), 0.0, high=1.0, nan=nan, inf=inf, constant=False)
    return values, (0.0, 0.0), constant


def _caption(title: str, of: int, count: int, constant: int, own: bool) -> Caption:
    """Return the text above the tiles: what they show, and which range their colours span."""
    which = counted(count, "channel") if count == of else f"{count} of {counted(of, 'channel')}"
    words = which
    if count > 1:
        words += ", each over its own range of values" if own else ", one range for all"
    if constant:
        words += f"; {constant} of one value in all cells"
    return Caption(title, words, ("lowest value of the channel", "highest") if own else None)


def _arrange(
    indices: NDArray[np.uint8], levels: int, columns: int, scale: int, gap: int, numbers: Sequence[int]
) -> NDArray[np.uint8]:
    """Arrange tiles on a white canvas; white is the index `levels`. numbers: written above the tiles."""
    count, height, width = indices.shape
    height, width = height * scale, width * scale
    font = font_of(_LETTERS)
    cell = max([width, *(math.ceil(font.getlength(str(number))) + 3 for number in numbers)])
    above = _LETTERS + 2 if numbers else 0
    rows = -(-count // columns)
    size = (rows * (above + height + gap) - gap, columns * (cell + gap) - gap)
    refuse_huge(size)
    canvas = np.full(size, levels, np.uint8)
    for row in range(rows):
        top = row * (above + height + gap)
        for column, place in enumerate(range(row * columns, min(count, (row + 1) * columns))):
            left = column * (cell + gap) + (cell - width) // 2
            tile = indices[place]
            if scale > 1:
                tile = tile.repeat(scale, 0).repeat(scale, 1)
            canvas[top + above : top + above + height, left : left + width] = tile
        if numbers:
            strip = Image.new("L", (size[1], above), 255)
            draw = ImageDraw.Draw(strip)
            for column, number in enumerate(numbers[row * columns : (row + 1) * columns]):
                middle = column * (cell + gap) + cell // 2
                draw.text((middle, above - 2), str(number), fill=0, font=font, anchor="ms")
            canvas[top : top + above] = grey_indices(np.asarray(strip), levels)
    return canvas


def draw_channel(
    channel: NDArray[np.generic],
    colormap: str = "viridis",
    value_range: Tuple[float, float] = (0.0, 0.0),
    scale: Optional[int] = None,
    text: Optional[Mapping[str, str]] = None,
    title: str = "",
) -> Mosaic:
    """Draw a single channel (H, W) as a separate picture.

    Without a title, the picture uses all 256 colours, or 254 if some cells are NaN or infinite.
    """
    array = as_floats(channel)
    levels = _LEVELS if title else 256
    values = quantise(array, *value_range, levels)
    marked = values.nan + values.inf > 0
    scale = scale_of(*array.shape) if scale is None else scale
    indices = values.indices.repeat(scale, 0).repeat(scale, 1) if scale > 1 else values.indices
    refuse_huge((indices.shape[0], indices.shape[1]))
    note = dict(text or {}, range=f"{values.low:.6g} {values.high:.6g}", colormap=colormap, Software="featscope")
    colours = palette(colormap, levels if title else INF_INDEX if marked else 256, marked or bool(title))
    if title:
        around = frame(indices.shape[1], Caption(title, "one channel"), values, shares_beyond(array, *value_range))
        indices, colours = framed_indices(indices, around, levels, colours)
    return Mosaic(encode_indexed(indices, colours, note), [], values.nan, values.inf)

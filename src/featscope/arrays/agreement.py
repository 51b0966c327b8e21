"""Check whether a geometry is correct by comparing thumbnails of the original image and of the network's input.

The original is averaged over exactly the area that each pixel of the input's thumbnail covers, so that differences in
scale and size do not matter. Only the structure is compared. Broad shading is removed first, because a mirrored image
has the same shading.
"""

from __future__ import annotations

import functools
from typing import NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featscope.arrays.frames import Axis, axes_of
from featscope.records import Geometry, Picture, Size

Grey = NDArray[np.float32]

SIDE = 104
"""The most pixels on a thumbnail's longer side."""
AGREES = 0.75
"""Two thumbnails with at least this correlation show the same. Correlations are above 0.9 for the same picture, decoded
and resized by different programs, and below 0.5 for a picture compared with itself after flipping or after moving it by
a few pixels."""
FLAT = 0.5
"""Weaker structure (in grey levels, 0 to 255) is compression noise."""
_WIDE = 9  # pixels of a thumbnail; wider structures are shading
_LEAST = 4  # the least pixels on a side of a thumbnail to compare
_LEAST_BESIDE = 20  # the least pixels of a thumbnail beside the image to judge the padding by
_STEP = 3  # grey levels between neighbours that count as a difference
_BUSY = 0.2  # padding has one or two colours, so fewer neighbours than this share differ
_LEAST_MOVED = 1.0  # pixels of the input; a smaller shift is always accepted


class Thumbnail(NamedTuple):
    """A small grey version of a picture."""

    grey: Grey

    size: Size
    """Size of the full picture, (height, width)."""

    step: int
    """Pixels of the full picture per pixel of the thumbnail, along each axis."""


def thumbnail(picture: Picture, side: int = SIDE) -> Thumbnail:
    """Make the thumbnail of a picture (H, W, 3) by averaging.

    >>> thumbnail(np.zeros((600, 1000, 3), np.uint8))[1:]
    ((600, 1000), 10)
    """
    height, width = picture.shape[:2]
    step = max(1, -(-max(height, width) // side))
    channels = picture.shape[2] if picture.ndim == 3 else 1
    # Treat the interleaved colours of a row as one long grey row: one pass averages them without a copy.
    flat = np.ascontiguousarray(picture).reshape(height, width * channels)
    image = Image.frombuffer("L", (width * channels, height), flat, "raw", "L", 0, 1)
    small = image.reduce((step * channels, step)) if step * channels > 1 else image
    return Thumbnail(np.asarray(small, np.float32), (height, width), step)


def structure(small: Thumbnail) -> float:
    """Return how much structure a thumbnail has: its standard deviation in grey levels, 0 to 255."""
    return float(_structure(small.grey).std())


def spread(small: Thumbnail) -> float:
    """Return over how many thumbnail pixels the structure is spread: a few for a dot, hundreds for a photo."""
    energy = _structure(small.grey) ** 2
    return float(energy.sum() ** 2 / max(1e-9, float((energy**2).sum())))


class Shift(NamedTuple):
    """The measured shift of the content along an axis: `start + slope * position`, in input pixels."""

    start: float = 0.0
    slope: float = 0.0


class Comparison(NamedTuple):
    """How well two thumbnails agree."""

    correlation: float
    """From -1 to 1; 0 if only one of the thumbnails is flat."""

    flat: bool = False
    """Whether neither thumbnail shows any structure."""

    off: float = 0.0
    """Distance between the content and its expected position, in input pixels."""

    rows: Shift = Shift()
    """The shift along the rows' axis."""

    columns: Shift = Shift()
    """The shift along the columns' axis."""

    limit: float = _LEAST_MOVED
    """The largest accepted value of `off`."""

    @property
    def agrees(self) -> bool:
        """Whether both show the same content in the same position."""
        return not self.flat and self.correlation >= AGREES and self.off <= self.limit


def compare(original: Thumbnail, seen: Thumbnail, geometry: Geometry) -> Comparison:
    """Compare an original image, transformed by a geometry, with the network's input.

    seen: thumbnail of the input from its top left corner on; padding at the right and the bottom may be missing.
    """
    rows, columns = axes_of(geometry)
    return compare_axes(original, seen, rows, columns)


def compare_axes(original: Thumbnail, seen: Thumbnail, rows: Axis, columns: Axis) -> Comparison:
    """Like `compare`, with a geometry given as two axes."""
    parts = [_covered(axis, seen, number) for number, axis in enumerate((rows, columns))]
    (top, bottom), (left, right) = parts
    if bottom - top < _LEAST or right - left < _LEAST:
        return Comparison(0.0)
    laid = _laid(original, seen.step, (rows, columns), parts)
    ours, theirs = _structure(laid), _structure(seen.grey[top:bottom, left:right])
    deviations = float(ours.std()), float(theirs.std())
    if min(deviations) < FLAT:
        # A flat image is only a match if the input is also flat outside the image's supposed area.
        elsewhere = float(_steps_beside(seen, rows, columns).max(initial=0.0))
        return Comparison(0.0, flat=max(*deviations, elsewhere) < 4 * FLAT)
    ours /= deviations[0]
    theirs /= deviations[1]
    correlation = float((ours * theirs).mean())
    moved = _moved(ours, theirs)
    shifts, apart = [], []
    for (start, slope, off), first in zip(moved, (top, left)):
        # Convert from pixels of the compared part of the thumbnail to pixels of the input.
        shifts.append(Shift(seen.step * (start - slope * first), slope))
        apart.append(off * seen.step)
    limit = max(_LEAST_MOVED, 0.12 * seen.step)
    return Comparison(correlation, False, off=max(apart), rows=shifts[0], columns=shifts[1], limit=limit)


def alone(seen: Thumbnail, geometry: Geometry) -> bool:
    """Whether an input contains only padding outside the image's area. A mosaic contains other images there."""
    steps = _steps_beside(seen, *axes_of(geometry))
    return len(steps) < _LEAST_BESIDE or float((steps > _STEP).mean()) < _BUSY


def _steps_beside(seen: Thumbnail, rows: Axis, columns: Axis) -> NDArray[np.float32]:
    """Return the differences of neighbouring pixels outside the image's area and its border."""
    beside = np.ones(
        (min(seen.grey.shape[0], seen.size[0] // seen.step), min(seen.grey.shape[1], seen.size[1] // seen.step)), bool
    )
    (top, bottom), (left, right) = (_covered(axis, seen, number) for number, axis in enumerate((rows, columns)))
    beside[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = False
    beside = beside[:-1, :-1]
    grey = seen.grey[: beside.shape[0] + 1, : beside.shape[1] + 1]
    steps = np.maximum(np.abs(np.diff(grey, axis=0)[:, :-1]), np.abs(np.diff(grey, axis=1)[:-1]))
    return np.asarray(steps[beside], np.float32)


def _covered(axis: Axis, seen: Thumbnail, number: int) -> Tuple[int, int]:
    """Return the range of thumbnail pixels that the image covers completely along an axis."""
    ends = sorted((axis.to_input(axis.low), axis.to_input(axis.high)))
    first = max(0, int(np.ceil(ends[0] / seen.step - 0.01)))
    # The last pixel of a thumbnail may cover fewer pixels of the full picture.
    last = min(seen.size[number] // seen.step, int(np.floor(ends[1] / seen.step + 0.01)))
    return first, max(first, last)


def _shares(count: int, step: int, axis: Axis, cells: Tuple[int, int, int]) -> Grey:
    """Return which share of each original row lies in each row of the input's thumbnail, as (cells, count).

    count: rows of the original's thumbnail. step: original pixels per row of its thumbnail. cells: input pixels per row
    of its thumbnail, its first row, and the row after its last.
    """
    cell, first, last = cells
    edges = ((np.arange(first, last + 1) * cell - axis.start) / axis.scale / step).astype(np.float32)
    low, high = np.minimum(edges[:-1], edges[1:])[:, None], np.maximum(edges[:-1], edges[1:])[:, None]
    rows = np.arange(count, dtype=np.float32)
    shares = (np.minimum(high, rows + 1) - np.maximum(low, rows)).clip(0)
    return np.asarray(shares / np.maximum(shares.sum(1, keepdims=True), 1e-6))


def _laid(original: Thumbnail, step: int, axes: Tuple[Axis, Axis], ends: Sequence[Tuple[int, int]]) -> Grey:
    """Average an original over the area that each pixel of a part of the input's thumbnail covers."""
    rows, columns = (
        _shares(count, original.step, axis, (step, first, last))
        for count, axis, (first, last) in zip(original.grey.shape, axes, ends)
    )
    return np.asarray(rows @ original.grey @ columns.T)


def _structure(grey: Grey) -> Grey:
    """Remove the shading and the mean from a picture."""
    left = grey - _means(grey.shape[0]) @ grey @ _means(grey.shape[1]).T
    return np.asarray(left - left.mean())


@functools.lru_cache(maxsize=64)
def _means(count: int) -> Grey:
    """Return the matrix that replaces each of `count` numbers by the mean of it and its neighbours."""
    apart = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    near = (apart <= _WIDE // 2).astype(np.float32)
    return np.asarray(near / near.sum(1, keepdims=True))


def _moved(ours: Grey, theirs: Grey) -> Tuple[Tuple[float, float, float], ...]:
    """Estimate along both axes how far `theirs` is shifted against `ours`, as (start, slope, off).

    The shift is fitted to the image gradients by least squares, so it is measured where there is structure. If the
    structure says little about the scale, the fit keeps it near 1.
    """
    gradients = np.gradient(ours)
    height, width = ours.shape
    places = (np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None])
    middle = ((height - 1) / 2, (width - 1) / 2)
    half = (max(1.0, middle[0]), max(1.0, middle[1]))
    columns = [ours]  # the contrast is fitted too, since it may differ
    for gradient, place, centre, reach in zip(gradients, places, middle, half):
        columns += [-gradient, -gradient * ((place - centre) / reach)]
    design = np.stack([column.ravel() for column in columns])
    products = design @ design.T
    steady = np.diag([0.0, 1e-4, 1e-2, 1e-4, 1e-2]) * max(1e-9, float(np.trace(products)))
    found = np.linalg.solve(products + steady, design @ theirs.ravel())
    found = found[1:] / max(float(found[0]), 0.1)
    result = []
    for number, (gradient, place, centre, reach) in enumerate(zip(gradients, places, middle, half)):
        start, slope = float(found[2 * number]), float(found[2 * number + 1]) / reach
        weight = gradient**2
        apart = (start + slope * (place - centre)) ** 2
        off = float(np.sqrt((weight * apart).sum() / max(1e-9, float(weight.sum()))))
        result.append((start - slope * centre + slope * 0.5, slope, off))
    return tuple(result)


def shifted(axis: Axis, shift: Shift) -> Axis:
    """Return an axis corrected by a measured shift."""
    # The content at position u lies start + slope * u further than the axis says.
    factor = 1 + shift.slope
    return Axis(axis.scale * factor, axis.start * factor + shift.start, axis.low, axis.high)


def best_place(original: Thumbnail, seen: Thumbnail, rows: Axis, columns: Axis) -> Optional[Tuple[Axis, Axis, float]]:
    """Find where two axes start, given their scales, by the correlation at all positions.

    Returns both axes and the height of the correlation, 0 to 1. Returns None if the thumbnails are too small or flat.
    """
    step = seen.step
    lengths = [abs(axis.scale) * size for axis, size in zip((rows, columns), original.size)]
    shape = [int(np.floor(length / step)) for length in lengths]
    if min(*shape, *seen.grey.shape) < _LEAST:
        return None
    starts = [0.0 if axis.scale > 0 else float(count * step) for axis, count in zip((rows, columns), shape)]
    whole = [Axis(a.scale, s, 0.0, float(n)) for a, s, n in zip((rows, columns), starts, original.size)]
    laid = _laid(original, step, (whole[0], whole[1]), [(0, shape[0]), (0, shape[1])])
    ours, theirs = _structure(laid), _structure(seen.grey)
    if min(ours.std(), theirs.std()) < FLAT:
        return None
    size = [_quick(a + b) for a, b in zip(ours.shape, theirs.shape)]

    def laid_over(one: Grey, other: Grey) -> NDArray[np.floating]:
        """Return the cross-correlation: the sum of products for each position of `other` on `one`."""
        return np.asarray(np.fft.irfft2(np.fft.rfft2(one, size) * np.conj(np.fft.rfft2(other, size)), size))

    product = laid_over(theirs, ours)
    # Normalise by the energy in the overlap, so that a small overlap counts as much as a large one.
    energy = laid_over(theirs**2, np.ones_like(ours)), laid_over(np.ones_like(theirs), ours**2)
    area = laid_over(np.ones_like(theirs), np.ones_like(ours))
    enough = area > 0.25 * min(ours.size, theirs.size)
    floor = FLAT**2 * np.maximum(area, 1)
    height = np.where(enough, product / np.sqrt(np.maximum(energy[0], floor) * np.maximum(energy[1], floor)), -1.0)
    place = np.unravel_index(int(height.argmax()), height.shape)
    moved = [_peak(height, place, axis) for axis in (0, 1)]
    found = [axis._replace(start=axis.start + step * by) for axis, by in zip(whole, moved)]
    return found[0], found[1], float(height[place])


def _quick(length: int) -> int:
    """Return the next length for which the Fourier transform is fast."""
    power = 1 << max(0, (length - 1).bit_length())
    return power * 3 // 4 if power * 3 // 4 >= length else power


def _peak(height: NDArray[np.floating], place: Tuple[np.intp, ...], axis: int) -> float:
    """Return the position of a correlation's peak along an axis, interpolated between cells."""
    count = height.shape[axis]
    here = int(place[axis])
    around = [float(np.take(np.take(height, int(place[1 - axis]), 1 - axis), (here + by) % count)) for by in (-1, 0, 1)]
    bend = around[0] - 2 * around[1] + around[2]
    between = 0.5 * (around[0] - around[2]) / bend if bend < -1e-9 else 0.0
    return (here if here <= count // 2 else here - count) + float(np.clip(between, -0.5, 0.5))

"""Whether an input shows what a geometry says: both sides as small grey pictures, laid over one another.

The side of the original is averaged over the very places that each pixel of the input's thumbnail covers, so that
neither scale nor size leaves a difference. What is compared is their structure, without the wide shading that a
mirrored picture has as well.
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
"""Pixels of a thumbnail's longer side, at most."""
AGREES = 0.75
"""The correlation from which on two thumbnails show the same. The same pictures, decoded and resized by other
programs, have more than 0.9; a picture and itself mirrored or moved by a few pixels, less than 0.5."""
FLAT = 0.5
"""Levels of 255: structure below that is the noise of a compression."""
_WIDE = 9  # pixels of a thumbnail: what is wider is shading
_LEAST = 4  # pixels of a thumbnail on a side that can be compared
_LEAST_BESIDE = 20  # pixels of a thumbnail
_STEP = 3  # levels of 255 between neighbours
_BUSY = 0.2  # share of neighbours that differ: padding has one colour, or two
_LEAST_MOVED = 1.0  # pixels of an input


class Thumbnail(NamedTuple):
    """A small grey picture. size: (height, width) of the large one. step: pixels of the large one in each of it."""

    grey: Grey
    size: Size
    step: int


def thumbnail(picture: Picture, side: int = SIDE) -> Thumbnail:
    """A picture (H, W, 3) made small by averaging.

    >>> thumbnail(np.zeros((600, 1000, 3), np.uint8))[1:]
    ((600, 1000), 10)
    """
    height, width = picture.shape[:2]
    step = max(1, -(-max(height, width) // side))
    channels = picture.shape[2] if picture.ndim == 3 else 1
    # Colours side by side are one long row of greys: they are averaged in one pass, and nothing is copied before.
    flat = np.ascontiguousarray(picture).reshape(height, width * channels)
    image = Image.frombuffer("L", (width * channels, height), flat, "raw", "L", 0, 1)
    small = image.reduce((step * channels, step)) if step * channels > 1 else image
    return Thumbnail(np.asarray(small, np.float32), (height, width), step)


def structure(small: Thumbnail) -> float:
    """How much a thumbnail shows, in levels of 255."""
    return float(_structure(small.grey).std())


def spread(small: Thumbnail) -> float:
    """Over how many pixels of a thumbnail its structure is spread: a few for a dot, hundreds for a photo."""
    energy = _structure(small.grey) ** 2
    return float(energy.sum() ** 2 / max(1e-9, float((energy**2).sum())))


class Shift(NamedTuple):
    """How what is seen lies beside what is said, along an axis: by `start + slope * place`, in pixels of the input."""

    start: float = 0.0
    slope: float = 0.0


class Comparison(NamedTuple):
    """How well two thumbnails agree.

    correlation: -1 to 1; 0 where one of them is flat and the other is not. flat: neither shows any structure. off: by
    how many pixels of the input the structure lies beside its place. rows, columns: which way. limit: the most that
    `off` may be.
    """

    correlation: float
    flat: bool = False
    off: float = 0.0
    rows: Shift = Shift()
    columns: Shift = Shift()
    limit: float = _LEAST_MOVED

    @property
    def agrees(self) -> bool:
        """Whether both show the same in the same place."""
        return not self.flat and self.correlation >= AGREES and self.off <= self.limit


def compare(original: Thumbnail, seen: Thumbnail, geometry: Geometry) -> Comparison:
    """Lay an original over what the network saw, by a geometry.

    seen: the input, from its top left corner on; it may lack padding at the right and the bottom.
    """
    rows, columns = axes_of(geometry)
    return compare_axes(original, seen, rows, columns)


def compare_axes(original: Thumbnail, seen: Thumbnail, rows: Axis, columns: Axis) -> Comparison:
    """As `compare`, by two axes."""
    parts = [_covered(axis, seen, number) for number, axis in enumerate((rows, columns))]
    (top, bottom), (left, right) = parts
    if bottom - top < _LEAST or right - left < _LEAST:
        return Comparison(0.0)
    laid = _laid(original, seen.step, (rows, columns), parts)
    ours, theirs = _structure(laid), _structure(seen.grey[top:bottom, left:right])
    deviations = float(ours.std()), float(theirs.std())
    if min(deviations) < FLAT:
        # What the input shows beside the place that is said for the image is no part of a flat one.
        elsewhere = float(_steps_beside(seen, rows, columns).max(initial=0.0))
        return Comparison(0.0, flat=max(*deviations, elsewhere) < 4 * FLAT)
    ours /= deviations[0]
    theirs /= deviations[1]
    correlation = float((ours * theirs).mean())
    moved = _moved(ours, theirs)
    shifts, apart = [], []
    for (start, slope, off), first in zip(moved, (top, left)):
        # From pixels of the thumbnail's part to those of the input.
        shifts.append(Shift(seen.step * (start - slope * first), slope))
        apart.append(off * seen.step)
    limit = max(_LEAST_MOVED, 0.12 * seen.step)
    return Comparison(correlation, False, off=max(apart), rows=shifts[0], columns=shifts[1], limit=limit)


def alone(seen: Thumbnail, geometry: Geometry) -> bool:
    """Whether an input shows nothing beside the place of the image, but padding: a mosaic shows other images."""
    steps = _steps_beside(seen, *axes_of(geometry))
    return len(steps) < _LEAST_BESIDE or float((steps > _STEP).mean()) < _BUSY


def _steps_beside(seen: Thumbnail, rows: Axis, columns: Axis) -> NDArray[np.float32]:
    """How far neighbouring pixels differ that lie beside the place of the image and its edge."""
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
    """The whole pixels of a thumbnail that the image covers along an axis."""
    ends = sorted((axis.to_input(axis.low), axis.to_input(axis.high)))
    first = max(0, int(np.ceil(ends[0] / seen.step - 0.01)))
    # The last pixel of a thumbnail may stand for fewer of the large picture.
    last = min(seen.size[number] // seen.step, int(np.floor(ends[1] / seen.step + 0.01)))
    return first, max(first, last)


def _shares(count: int, step: int, axis: Axis, cells: Tuple[int, int, int]) -> Grey:
    """How much of each of an original's rows, `count` of so many pixels, lies in each of the input's (cells, count).

    cells: pixels in each row of the input's thumbnail, its first row, and the one behind its last.
    """
    cell, first, last = cells
    edges = ((np.arange(first, last + 1) * cell - axis.start) / axis.scale / step).astype(np.float32)
    low, high = np.minimum(edges[:-1], edges[1:])[:, None], np.maximum(edges[:-1], edges[1:])[:, None]
    rows = np.arange(count, dtype=np.float32)
    shares = (np.minimum(high, rows + 1) - np.maximum(low, rows)).clip(0)
    return np.asarray(shares / np.maximum(shares.sum(1, keepdims=True), 1e-6))


def _laid(original: Thumbnail, step: int, axes: Tuple[Axis, Axis], ends: Sequence[Tuple[int, int]]) -> Grey:
    """An original, averaged over what each pixel of a part of the input's thumbnail covers."""
    rows, columns = (
        _shares(count, original.step, axis, (step, first, last))
        for count, axis, (first, last) in zip(original.grey.shape, axes, ends)
    )
    return np.asarray(rows @ original.grey @ columns.T)


def _structure(grey: Grey) -> Grey:
    """A picture without its shading and its mean."""
    left = grey - _means(grey.shape[0]) @ grey @ _means(grey.shape[1]).T
    return np.asarray(left - left.mean())


@functools.lru_cache(maxsize=64)
def _means(count: int) -> Grey:
    """The matrix that gives of so many numbers in a row the mean of each and its neighbours."""
    apart = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    near = (apart <= _WIDE // 2).astype(np.float32)
    return np.asarray(near / near.sum(1, keepdims=True))


def _moved(ours: Grey, theirs: Grey) -> Tuple[Tuple[float, float, float], ...]:
    """Along both axes (start, slope, off): by how much theirs lies beside ours, by least squares on the gradients.

    Where the structure is, that is; a scale that little speaks for is taken for 1.
    """
    gradients = np.gradient(ours)
    height, width = ours.shape
    places = (np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None])
    middle = ((height - 1) / 2, (width - 1) / 2)
    half = (max(1.0, middle[0]), max(1.0, middle[1]))
    columns = [ours]  # how strongly they show it is left open
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
    """An axis that is moved by what was found."""
    # What is seen at u lies by start + slope * u further than it is said to.
    factor = 1 + shift.slope
    return Axis(axis.scale * factor, axis.start * factor + shift.start, axis.low, axis.high)


def best_place(original: Thumbnail, seen: Thumbnail, rows: Axis, columns: Axis) -> Optional[Tuple[Axis, Axis, float]]:
    """Of two axes with the right scales, where they start, by the correlation of all places; with its height, 0 to 1.

    None where the thumbnails are too small, or show nothing.
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
        """The sum of products, for each place of the other on the one."""
        return np.asarray(np.fft.irfft2(np.fft.rfft2(one, size) * np.conj(np.fft.rfft2(other, size)), size))

    product = laid_over(theirs, ours)
    # By the energy of both where they overlap, so that a small common part counts as much as a large one.
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
    """The next length of which the transform is fast."""
    power = 1 << max(0, (length - 1).bit_length())
    return power * 3 // 4 if power * 3 // 4 >= length else power


def _peak(height: NDArray[np.floating], place: Tuple[np.intp, ...], axis: int) -> float:
    """Where the top of a correlation lies along an axis, between its cells."""
    count = height.shape[axis]
    here = int(place[axis])
    around = [float(np.take(np.take(height, int(place[1 - axis]), 1 - axis), (here + by) % count)) for by in (-1, 0, 1)]
    bend = around[0] - 2 * around[1] + around[2]
    between = 0.5 * (around[0] - around[2]) / bend if bend < -1e-9 else 0.0
    return (here if here <= count // 2 else here - count) + float(np.clip(between, -0.5, 0.5))

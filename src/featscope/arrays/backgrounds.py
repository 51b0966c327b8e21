"""Boxes of background: as large as the objects of an image, at places without objects."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from featscope.records import Size

_TRIES = 20
_MASK = 1024  # pixels of the longer side of the picture of where objects are


def background_boxes(objects: NDArray[np.float64], size: Size, name: str) -> NDArray[np.float64]:
    """Move each object to a random place of its image that lies apart from all objects.

    >>> ship = np.array([[[0.0, 0.0], [8.0, 0.0], [8.0, 4.0], [0.0, 4.0]]])
    >>> background_boxes(ship, (100, 100), "harbour").shape
    (1, 4, 2)

    What is compared with the objects then has their sizes, shapes and angles. Places are apart if their circumscribed
    circles do not touch. An object for which twenty places are not free has no box of background.

    objects: (n, 4, 2), corners as x and y in pixels. size: (height, width) of the image. name: of the image; it is the
    seed, so that the same image always has the same boxes. Returns (k, 4, 2), k <= n.
    """
    inside = objects[np.isfinite(objects).all((1, 2))]
    centres = inside.mean(1)
    radii = np.hypot(*(inside - centres[:, None]).transpose(2, 0, 1)).max(1, initial=0.0)
    places = np.random.default_rng(zlib.crc32(name.encode("utf-8", "surrogateescape")))
    found = []
    for corners, centre, radius in zip(inside, centres, radii):
        low, high = corners.min(0) - centre, corners.max(0) - centre
        room = np.array([size[1], size[0]]) - (high - low)
        if radius <= 0 or (room < 0).any():
            continue
        tried = -low + places.random((_TRIES, 2)) * room
        needed = (radius + radii) ** 2
        for x, y in tried:
            if ((centres[:, 0] - x) ** 2 + (centres[:, 1] - y) ** 2 >= needed).all():
                found.append(corners - centre + [x, y])
                break
    return np.array(found, np.float64).reshape(-1, 4, 2)


def away_from(objects: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points lie in no enclosing rectangle of an object, to a pixel of a picture of 1,024.

    >>> ship = np.array([[[0.0, 0.0], [8.0, 0.0], [8.0, 4.0], [0.0, 4.0]]])
    >>> away_from(ship, np.array([[4.0, 2.0], [4.0, 9.0], [np.nan, 0.0]])).tolist()
    [False, True, False]

    objects: corners (m, 4, 2). points: (n, 2), as x and y. A picture serves any number of points; comparing each with
    each object would not.
    """
    away = np.asarray(np.isfinite(points).all(1))
    if not len(objects):
        return away
    low, high = objects.min(1), objects.max(1)
    first, last = low.min(0), high.max(0)
    scale = _MASK / max(float((last - first).max()), 1e-9)
    mask = np.zeros((_MASK + 2, _MASK + 2), bool)
    starts, ends = np.floor((low - first) * scale).astype(int), np.ceil((high - first) * scale).astype(int)
    for (x0, y0), (x1, y1) in zip(starts, ends):
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
    among = away & (points >= first).all(1) & (points <= last).all(1)
    at = np.floor((points[among] - first) * scale).astype(int)
    away[among] = ~mask[at[:, 1], at[:, 0]]
    return away

"""Boxes of background: as large as the objects of an image, at places without objects."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from featscope.records import Size

_TRIES = 20


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

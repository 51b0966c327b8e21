"""Axes that the user gives for tensors that cannot be followed, checked against their shapes and what is known."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Dict, Mapping, Optional, Protocol, Tuple, TypeVar

import numpy as np

from featscope.arrays.readings import MapPart, Reading
from featscope.errors import BadOptionError

_NAMES = {"N": "sample", "C": "channel", "H": "row", "W": "column", "T": "time"}
_ORDER = "NCTHW"
_Said = TypeVar("_Said")
_GRID = re.compile(r"(\d+)x(\d+)(?:\+(\d+))?")


class Shaped(Protocol):
    """A PyTorch tensor or a NumPy array."""

    @property
    def shape(self) -> Tuple[int, ...]:
        """Its shape."""


class GivenReadings:
    """The axes that a user gave for layers: `--axes 'layers.*=NHWC'`, `--grid 'blocks.*=16x24+5'`.

    >>> given, tensor = GivenReadings({"layers.*": "NHWC"}), np.zeros((1, 8, 6, 32))
    >>> [map_.shape for _, map_ in given.reading("layers.0", "", tensor).apply(tensor)]
    [(1, 32, 8, 6)]

    axes: glob of layers -> a letter for each axis (N sample, C channel, H row, W column, T time), or rows x columns of
    tokens (N, L, C), plus the number of class and register tokens before them. Raises `BadOptionError` for anything
    else.
    """

    def __init__(self, axes: Optional[Mapping[str, str]] = None) -> None:
        self._letters: Dict[str, str] = {}
        self._grids: Dict[str, Tuple[int, int, int]] = {}
        for pattern, text in (axes or {}).items():
            grid = _GRID.fullmatch(text.strip().lower())
            letters = text.strip().upper()
            if grid is not None:
                self._grids[pattern] = (int(grid[1]), int(grid[2]), int(grid[3] or 0))
            elif set(letters) <= set(_NAMES) and len(set(letters)) == len(letters) and {"H", "W"} <= set(letters):
                self._letters[pattern] = letters
            else:
                raise BadOptionError(
                    f"the axes {text!r} of {pattern!r} are invalid; type a letter for each axis, --axes "
                    f"'{pattern}=NHWC' (N sample, C channel, H row, W column, T time), or the grid of tokens, --grid "
                    f"'{pattern}=16x24+1' (rows x columns, and one class token before them)"
                )

    def checked(self, layer: str, field: str, tensor: Shaped, proved: Reading) -> Reading:
        """Return the reading that was followed, else the given one. Raises `BadOptionError` if they contradict."""
        given = self.reading(layer, field, tensor)
        if given is None:
            return proved
        if not proved.is_map:
            return given
        if [part.form for part in proved.parts] != [part.form for part in given.parts] or (
            "token" not in given.axes and proved.axes != given.axes
        ):
            raise BadOptionError(
                f"{_name(layer, field)} was given as {_text(given)}, but featscope followed it from the image as "
                f"{_text(proved)}; leave the option out"
            )
        return proved

    def reading(self, layer: str, field: str, tensor: Shaped) -> Optional[Reading]:
        """Return the reading that the user gave for a tensor; None if there is none."""
        letters = _matching(self._letters, layer, field)
        if letters is not None:
            return _by_letters(letters, _name(layer, field), tuple(tensor.shape))
        grid = _matching(self._grids, layer, field)
        return None if grid is None else _by_grid(grid, _name(layer, field), tuple(tensor.shape))


def _matching(options: Mapping[str, _Said], layer: str, field: str) -> Optional[_Said]:
    names = [layer, f"{layer}.{field}"]
    return next((said for glob, said in options.items() if any(fnmatchcase(name, glob) for name in names)), None)


def _by_letters(letters: str, name: str, shape: Tuple[int, ...]) -> Reading:
    if len(letters) != len(shape):
        raise BadOptionError(f"{name} has {len(shape)} axes, {shape}, but {letters!r} has {len(letters)} letters")
    front = tuple(letters.index(letter) for letter in _ORDER if letter in letters)
    sides = {letter: shape[letters.index(letter)] for letter in letters}
    form = tuple(sides.get(letter, 1) for letter in _ORDER if letter in letters or letter in "NC")
    axes = tuple(_NAMES[letter] for letter in _ORDER if letter in letters or letter in "NC")
    names = tuple(_NAMES[letter] for letter in letters)
    return Reading(shape, names, "its axes were given", (MapPart("", axes, form),), front)


def _by_grid(grid: Tuple[int, int, int], name: str, shape: Tuple[int, ...]) -> Reading:
    rows, columns, before = grid
    if len(shape) != 3 or shape[1] != rows * columns + before:
        raise BadOptionError(
            f"{name} has the shape {shape}, but a grid of {rows} x {columns} with {before} tokens before it needs "
            f"(samples, {rows * columns + before}, channels)"
        )
    index = np.arange(shape[0] * shape[1]).reshape(shape[:2])
    parts = [
        MapPart(
            "", ("sample", "channel", "row", "column"), (shape[0], shape[2], rows, columns), index[:, before:].ravel()
        )
    ]
    if before:
        form = (shape[0], shape[2], before)
        parts.append(MapPart("prefix_tokens", ("sample", "token", "channel"), form, index[:, :before].ravel()))
    return Reading(shape, ("sample", "token", "channel"), "its grid was given", tuple(parts), (0, 1, 2))


def _name(layer: str, field: str) -> str:
    return f"{layer}.{field}" if field else layer


def _text(reading: Reading) -> str:
    return ", ".join(reading.axes)

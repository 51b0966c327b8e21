"""Reduce a feature map (C, H, W) to a heat map (H, W), or to three channels (H, W, 3).

To add one, write a function and add its row to `REDUCTIONS`; `docs/methods.md` gets its formula.
"""

from __future__ import annotations

from functools import partial
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.basis import Basis, basis_of
from featscope.arrays.normalise import finite_bounds, scale_of
from featscope.errors import BadArrayError, BadOptionError, unknown_name

Floats = NDArray[np.floating]

Cells = Tuple[slice, slice]
"""A rectangle of a map's rows and columns."""

EVERYWHERE: Cells = (slice(None), slice(None))

_SMALL = 1e-12  # if all values are smaller, their squares may underflow
_SUMMED = 64  # number of channels that are summed in single precision; rounding errors of more would be visible
_CELLS = 4096  # number of cells whose sums stay in the processor's cache
_AT_ONCE = 32  # number of channels whose differences stay in the processor's cache


def as_floats(array: NDArray[np.generic]) -> Floats:
    """Convert an array to float32, or to float64 for wide integers and doubles."""
    if array.dtype.kind not in "fiub":
        raise BadArrayError(f"a map of dtype {array.dtype} cannot be drawn; store real numbers")
    if array.dtype in (np.float32, np.float64):
        return array  # type: ignore[return-value]
    wide = (array.dtype.kind in "iu" and array.dtype.itemsize > 2) or array.dtype.itemsize > 8
    return array.astype(np.float64 if wide else np.float32)


def _mean(x: Floats) -> Floats:
    # A product would use BLAS, whose second thread waits for a busy core. These sums read the map once, at the speed of
    # memory; `mean` does not.
    channels = x.shape[0]
    flat = x.reshape(channels, -1)
    total = np.zeros(flat.shape[1], x.dtype)
    for left in range(0, flat.shape[1], _CELLS):
        part = total[left : left + _CELLS]
        for start in range(0, channels, _SUMMED):
            part += flat[start : start + _SUMMED, left : left + _CELLS].sum(0)
    total *= x.dtype.type(1 / channels)
    return total.reshape(x.shape[1:])


def _absmean(x: Floats) -> Floats:
    return _mean(np.abs(x))


def _max(x: Floats) -> Floats:
    return x.max(0)


def _l2(x: Floats) -> Floats:
    flat = x.reshape(x.shape[0], -1)
    total = np.zeros(flat.shape[1])
    for start in range(0, len(flat), _SUMMED):
        part = flat[start : start + _SUMMED]
        total += np.einsum("cp,cp->p", part, part)
    return np.sqrt(total).astype(x.dtype).reshape(x.shape[1:])


def _std(x: Floats) -> Floats:
    centred = x - _mean(x)
    centred -= _mean(centred)  # remove the rounding error if the mean is large compared with the deviations
    return _l2(centred) / x.dtype.type(np.sqrt(x.shape[0]))


def _select_max(x: Floats) -> Floats:
    """Return the channel with the largest sum, which mmengine's `draw_featmap` selects."""
    return x[int(np.argmax(x.sum((1, 2), dtype=np.float64)))]


def _contrast(x: Floats, inside: Cells = EVERYWHERE) -> Floats:
    """Return the distance of each cell's features from the mean features of all cells."""
    flat = x.reshape(x.shape[0], -1)
    total = np.zeros(flat.shape[1])
    for start in range(0, len(x), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        away = flat[rows] - _usual(x[(rows, *inside)])[:, None]
        total += np.einsum("cp,cp->p", away, away)
    return np.sqrt(total).astype(x.dtype).reshape(x.shape[1:])


def _usual(seen: Floats) -> Floats:
    """Return the mean features of all cells, (c, H, W) -> (c,), without cells that are NaN or infinite."""
    # Summed row by row, so that sums in single precision stay short.
    usual = seen.mean(2).mean(1, dtype=np.float64)
    if not np.isfinite(usual).all():
        finite = np.isfinite(seen)
        usual = np.where(finite, seen, 0).sum((1, 2), dtype=np.float64) / np.maximum(finite.sum((1, 2)), 1)
    return usual.astype(seen.dtype)


def _components(x: Floats, count: int, inside: Cells = EVERYWHERE) -> Floats:
    """Project the map on its first principal components over channels: (count, H, W)."""
    basis = basis_of(x[(slice(None), *inside)])
    return np.full((count, *x.shape[1:]), np.nan) if basis is None else basis.project(x, count)


def _pc1(x: Floats, inside: Cells = EVERYWHERE) -> Floats:
    return _components(x, 1, inside)[0]


def _pca(x: Floats, inside: Cells = EVERYWHERE) -> Floats:
    return np.ascontiguousarray(_components(x, 3, inside).transpose(1, 2, 0))


AS_THE_MAP, NOT_NEGATIVE, BOTH = "as the map", "not negative", "both"
"""The signs of what a reduction gives."""


class Reduction(NamedTuple):
    """A row of `REDUCTIONS`."""

    function: Callable[..., Floats]
    """From (C, H, W) to (H, W), or to (H, W, 3)."""

    words: str
    """What it gives, as pictures say it."""

    signs: str = AS_THE_MAP

    compares: bool = False
    """Whether it compares a cell with the other cells. The function is then told which cells lie on the image."""

    components: bool = False
    """Whether it gives principal components, whose basis several maps can share."""

    on_capture: bool = False
    """Whether it can also be computed during a capture: `featscope.capturing.thin` has the function for tensors."""


REDUCTIONS: Dict[str, Reduction] = {
    "mean": Reduction(_mean, "mean of the channels", on_capture=True),
    "absmean": Reduction(_absmean, "mean absolute value of the channels", NOT_NEGATIVE, on_capture=True),
    "max": Reduction(_max, "largest channel of each cell", on_capture=True),
    "l2": Reduction(_l2, "length of each cell's features (L2)", NOT_NEGATIVE, on_capture=True),
    "std": Reduction(_std, "standard deviation of the channels", NOT_NEGATIVE, on_capture=True),
    "contrast": Reduction(
        _contrast, "contrast: distance of each cell's features from the mean cell's", NOT_NEGATIVE, compares=True
    ),
    "pc1": Reduction(_pc1, "first principal component", BOTH, compares=True, components=True),
    "pca": Reduction(
        _pca, "first three principal components as red, green, blue", BOTH, compares=True, components=True
    ),
    "select_max": Reduction(_select_max, "the channel with the largest sum", on_capture=True),
}


def signs_of(how: str) -> str:
    """Return the signs of what a reduction gives, as in `Reduction.signs`; a single channel has those of the map."""
    return REDUCTIONS[how].signs if how in REDUCTIONS else AS_THE_MAP


def are_components(how: str) -> bool:
    """Whether a reduction gives principal components."""
    return how in REDUCTIONS and REDUCTIONS[how].components


def words_of(how: str) -> str:
    """Say what a reduction gives, as pictures say it.

    >>> words_of("max"), words_of("channel:7")
    ('largest channel of each cell', 'channel 7')
    """
    return REDUCTIONS[how].words if how in REDUCTIONS else how.replace(":", " ")


def parse_reduction(how: str) -> Optional[int]:
    """Check the name of a reduction. Returns N for `channel:N`, and None for a name in `REDUCTIONS`.

    >>> parse_reduction("channel:7"), parse_reduction("mean")
    (7, None)

    Raises `UnknownNameError` or `BadOptionError` for anything else.
    """
    if how.startswith("channel:"):
        number = how[len("channel:") :]
        if not number.isdecimal():
            raise BadOptionError(f"{how!r} does not name a channel; type channel:0 for the first")
        return int(number)
    if how not in REDUCTIONS:
        raise unknown_name("reduction", how, [*REDUCTIONS, "channel:0"], "featscope heat --help")
    return None


def reduce(
    feature_map: NDArray[np.generic], how: str = "mean", inside: Cells = EVERYWHERE, basis: Optional[Basis] = None
) -> Floats:
    """Reduce a feature map over its channels.

    >>> reduce(np.array([[[1.0, -4.0]], [[3.0, 2.0]]]), "absmean").tolist()
    [[2.0, 3.0]]
    >>> reduce(np.array([[[1.0, -4.0]], [[3.0, 2.0]]]), "channel:1").tolist()
    [[3.0, 2.0]]

    feature_map: (C, H, W), any real dtype. how: a name in `REDUCTIONS`, or `channel:N`. inside: the rows and columns
    that lie on the image and not on its padding; `contrast` and the components compare each cell with these. basis:
    principal components for `pc1` and `pca`; None computes them from the map.

    Returns (H, W), or (H, W, 3) for `pca`, in float64 if the result does not fit in single precision. A cell that
    contains NaN becomes NaN; finite values always give a finite result. Raises `BadArrayError` for other shapes.
    """
    if feature_map.ndim != 3:
        raise BadArrayError(
            f"a map has the shape (C, H, W), but this array has {feature_map.shape}; of a batch (N, C, H, W) give one "
            "image, array[0], of a video (C, T, H, W) one step, array[:, 0], and of (H, W) array[None]"
        )
    channel = parse_reduction(how)
    x = as_floats(feature_map)
    if channel is not None:
        if channel >= len(x):
            raise BadOptionError(f"there is no channel {channel}: the map has {len(x)}, 0 to {len(x) - 1}")
        return x[channel]
    if basis is not None and are_components(how):
        return basis.project(x, 1)[0] if how == "pc1" else np.ascontiguousarray(basis.project(x).transpose(1, 2, 0))
    row = REDUCTIONS[how]
    reduction = partial(row.function, inside=inside) if row.compares else row.function
    with np.errstate(all="ignore"):
        heat = reduction(x)
        if np.isfinite(heat).all() and max(-float(heat.min()), float(heat.max())) > _SMALL:
            return heat
        return _at_ordinary_scale(reduction, x, heat)


def _at_ordinary_scale(reduction: Callable[[Floats], Floats], x: Floats, heat: Floats) -> Floats:
    """Reduce a map whose squares or sums may overflow or underflow; return `heat` if its values are of ordinary size.

    Every reduction is homogeneous: scaling the map scales the result. Scaling by a power of two is exact.
    """
    exponent = scale_of(*finite_bounds(x))
    if not exponent:
        return heat
    scaled = reduction(np.ldexp(x, -exponent))
    largest = np.finfo(np.float64).max
    back = np.ldexp(scaled.astype(np.float64), exponent).clip(-largest, largest)
    return np.where(np.isfinite(scaled), back, scaled)


def top_channels(feature_map: NDArray[np.generic], k: int) -> List[int]:
    """Return the k channels with the largest mean absolute value, largest first.

    >>> top_channels(np.array([[[1.0]], [[-5.0]], [[3.0]]]), 2)
    [1, 2]
    """
    x = as_floats(feature_map)
    flat = x.reshape(x.shape[0], -1)
    with np.errstate(all="ignore"):
        strength = np.nan_to_num(np.abs(flat).mean(1), nan=-1.0, posinf=np.inf)
    return [int(i) for i in np.argsort(-strength, kind="stable")[:k]]

"""What the likeness of two layers would be without a relation, and how far it depends on the images that were chosen.

Both need samples, so they are computed on a limited number of them. Rows of one image are not independent: images, not
rows, are shuffled and drawn again.
"""

from __future__ import annotations

from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.similarity import nuclear_norm

Doubles = NDArray[np.float64]
Orders = NDArray[np.int64]

Layers = Union[Doubles, Sequence[Doubles]]
"""Several prepared layers, stacked if they have one shape."""

FEWEST_IMAGES = 5
"""The fewest images for an interval."""

_INTERVAL = (0.025, 0.975)
_AT_ONCE = 8  # shuffles that are in memory at the same time


class Drawn(NamedTuple):
    """A layer whose samples were drawn again and again."""

    samples: Doubles
    """The layer as `Method.prepare` returns it."""

    sums: Tuple[Doubles, ...]
    """What can be computed without the other layer."""


class Method(NamedTuple):
    """A measure of likeness, on samples in memory. All but `words` are functions."""

    words: str

    prepare: Callable[[Doubles, int], Doubles]
    """From samples (n, C) and the number of neighbours to what the other functions compare."""

    compare: Callable[[Layers, Layers], Doubles]
    """From a and b prepared layers to the values of all pairs (a, b)."""

    shuffle: Callable[[Doubles, Orders], Doubles]
    """Put the samples of a prepared layer in another order (n,)."""

    draw: Callable[[Doubles, Doubles], Drawn]
    """Draw a prepared layer again. The weights (r, n) say how often each sample is drawn."""

    compare_drawn: Callable[[Drawn, Drawn, Doubles], Doubles]
    """From two layers and their weights (r, n) to the values (r,)."""


class Chance(NamedTuple):
    """What chance does to each pair of layers: arrays (a, b) for a layers of the first network and b of the second."""

    values: Doubles
    """On the samples in memory."""

    noise: Doubles
    """Mean of the values of shuffled pairs."""

    noise_high: Doubles
    """95 % of these values are below it."""

    low: Doubles
    """Lower end of the interval that holds 95 % of the values of resampled images, relative to their median. NaN if
    there are too few images."""

    high: Doubles
    """Upper end."""


def chance(
    first: Sequence[Doubles],
    second: Sequence[Doubles],
    images: NDArray[np.int64],
    method: Method,
    *,
    neighbours: int = 10,
    shuffles: int = 100,
    resamples: int = 200,
    seed: int = 0,
) -> Chance:
    """Compare each layer of the first network with each of the second, shuffle the pairs, and resample the images.

    first, second: samples of each layer, (n, C). images: the image of each sample, (n,).
    """
    random = np.random.default_rng(seed)
    orders = [shuffled(images, random) for _ in range(shuffles)]
    weights = resampled(images, resamples, random)
    prepared = [method.prepare(x, neighbours) for x in first]
    twos = [method.prepare(y, neighbours) for y in second]
    # Stacked once, not for each product.
    ones: Layers = np.stack(prepared) if len({x.shape for x in prepared}) == 1 else prepared
    values = np.concatenate([method.compare(ones, [y]) for y in twos], axis=1)
    noise = np.full((shuffles, len(ones), len(twos)), np.nan)
    again = np.full((len(weights), len(ones), len(twos)), np.nan)
    drawn = [method.draw(x, weights) for x in ones]
    for j, y in enumerate(twos):
        for start in range(0, shuffles, _AT_ONCE):
            others = [method.shuffle(y, order) for order in orders[start : start + _AT_ONCE]]
            noise[start : start + _AT_ONCE, :, j] = method.compare(ones, others).T
        drawn_y = method.draw(y, weights)
        for i, x_drawn in enumerate(drawn):
            again[:, i, j] = method.compare_drawn(x_drawn, drawn_y, weights)
    low, high = _around_median(again)
    return Chance(values, noise.mean(0), np.quantile(noise, 0.95, axis=0), low, high)


def _around_median(again: Doubles) -> Tuple[Doubles, Doubles]:
    """Return the ends of the interval, each (a, b). NaN where fewer than half of the resamples have a value."""
    low, high = np.full((2, *again.shape[1:]), np.nan)
    for place in np.ndindex(*low.shape):
        found = again[:, place[0], place[1]]
        found = found[np.isfinite(found)]
        if len(found) and 2 * len(found) >= len(again):
            low[place], high[place] = np.quantile(found, _INTERVAL) - np.median(found)
    return low, high


def shuffled(images: NDArray[np.int64], random: np.random.Generator) -> Orders:
    """Return an order that pairs the samples of each image with those of another image.

    >>> shuffled(np.array([0, 0, 1, 1]), np.random.default_rng(0)).tolist()
    [2, 3, 0, 1]

    An image's samples are like one another in every network. Were they dealt out singly, chance would look smaller than
    it is. With images of different sizes the samples are dealt out in turn, so a few stay with their own image. The
    samples of a single image are shuffled.
    """
    names, counts = np.unique(images, return_counts=True)
    rows: List[Orders] = np.split(np.argsort(images, kind="stable"), np.cumsum(counts)[:-1])
    turn = np.arange(len(names))
    for last in range(len(names) - 1, 0, -1):  # Sattolo's algorithm: one cycle, so no image stays in its place
        other = int(random.integers(last))
        turn[last], turn[other] = turn[other], turn[last]
    order = np.empty(len(images), np.int64)
    order[np.concatenate(rows)] = np.concatenate([random.permutation(rows[image]) for image in turn])
    return order


def resampled(images: NDArray[np.int64], resamples: int, random: np.random.Generator) -> Doubles:
    """Return how often each sample is drawn if as many images as there are are drawn, (resamples, n).

    Has no rows if there are fewer than `FEWEST_IMAGES` images.
    """
    names, place = np.unique(images, return_inverse=True)
    if len(names) < FEWEST_IMAGES:
        return np.empty((0, len(images)))
    drawn = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return drawn[:, place.reshape(-1)].astype(np.float64)


def _centred_gram(x: Doubles, neighbours: int) -> Doubles:
    """Return X X' with U-centred entries and an empty diagonal, (n, n), scaled to length 1.

    The inner product of two such matrices is unbiased CKA (Szekely and Rizzo, Annals of Statistics 42, 2014, sec. 3).
    """
    n = len(x)
    x = x - x.mean(0)
    gram = x @ x.T
    np.fill_diagonal(gram, 0.0)
    rows = gram.sum(1) / (n - 2)
    gram += rows.sum() / (n - 1) - rows - rows[:, None]
    np.fill_diagonal(gram, 0.0)
    return gram / np.linalg.norm(gram)


def _nearest(x: Doubles, neighbours: int) -> Doubles:
    """Return which samples are each sample's nearest ones by cosine, (n, n): 1 or 0, scaled to length 1.

    The inner product of two such matrices is the mean share of common neighbours.
    """
    n = len(x)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = x @ x.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :neighbours]
    found = np.zeros((n, n))
    np.put_along_axis(found, nearest, 1 / np.sqrt(n * neighbours), axis=1)
    return found


def _without_mean(x: Doubles, neighbours: int) -> Doubles:
    """Return the samples without their mean, scaled to length 1, with at most as many columns as rows."""
    x = x - x.mean(0)
    if x.shape[1] > len(x):  # a rotation of the columns changes nothing, and leaves only n of them
        x = np.transpose(np.linalg.qr(x.T, mode="r"))
    return x / np.linalg.norm(x)


def _inner(first: Layers, second: Layers) -> Doubles:
    one, two = (layers if isinstance(layers, np.ndarray) else np.stack(layers) for layers in (first, second))
    products: Doubles = one.reshape(len(one), -1) @ two.reshape(len(two), -1).T
    return products


def _both_axes(x: Doubles, order: Orders) -> Doubles:
    return x.take(order, 0).take(order, 1)  # six times as fast as an index on both axes


def _rows(x: Doubles, order: Orders) -> Doubles:
    return x[order]


def _draw_gram(x: Doubles, weights: Doubles) -> Drawn:
    sums = (weights @ x, weights**2 @ x)
    return Drawn(x, (*sums, weighted_hsic(Drawn(x, sums), Drawn(x, sums), weights)))


def _cka_of_drawn(x: Drawn, y: Drawn, weights: Doubles) -> Doubles:
    own_x, own_y = x.sums[2], y.sums[2]
    safe = (own_x > 0) & (own_y > 0)
    root = np.sqrt(np.where(safe, own_x, 1.0)) * np.sqrt(np.where(safe, own_y, 1.0))
    values: Doubles = np.where(safe, weighted_hsic(x, y, weights) / root, np.nan)
    return values


def weighted_hsic(x: Drawn, y: Drawn, weights: Doubles) -> Doubles:
    """Return HSIC_1 of samples that were drawn several times, times a factor that depends only on the weights, (r,).

    A sample that is drawn twice makes a pair with itself. Such a pair says how large a sample is, and not how alike two
    samples are; it would lift independent noise far above 0. So only four different samples count, with the product of
    their weights: the sum of w_i w_j w_q w_r (K_ij L_ij + K_ij L_qr - 2 K_ij L_iq) over different i, j, q and r. Each
    sum below is over all indices, less the terms whose indices are equal.

    x, y: K and L with empty diagonals, (n, n), and the sums w'K and (w^2)'K, (r, n). weights: w, (r, n).
    """
    w, squared, m = weights, weights**2, x.samples * y.samples
    (kw, kw2), (lw, lw2) = x.sums[:2], y.sums[:2]
    total, squares = w.sum(1), squared.sum(1)
    mw = w @ m
    once, twice, thrice = ((mw * power).sum(1) for power in (w, squared, squared * w))
    even = ((squared @ m) * squared).sum(1)
    products = w * kw * lw
    pairs = (total**2 - squares) * once - 4 * total * twice + 4 * thrice + 2 * even
    apart = (kw * w).sum(1) * (lw * w).sum(1) - 4 * (w * products).sum(1) + 2 * even
    joined = total * (products.sum(1) - twice) - ((w * products).sum(1) - even)
    joined -= (w * (kw2 * lw + kw * lw2)).sum(1) - 2 * thrice
    return pairs + apart - 2 * joined


def _as_it_is(x: Doubles, weights: Doubles) -> Drawn:
    return Drawn(x, ())


def _shares_of_drawn(x: Drawn, y: Drawn, weights: Doubles) -> Doubles:
    """Return the weighted mean of the shares of common neighbours. The neighbours are those among all samples."""
    shares = np.einsum("ij,ij->i", x.samples, y.samples) * len(x.samples)
    return weights @ shares / weights.sum(1)


def _rotations_of_drawn(x: Drawn, y: Drawn, weights: Doubles) -> Doubles:
    found: List[float] = []
    for w in weights:
        one, two = (layer.samples - w @ layer.samples / w.sum() for layer in (x, y))
        one, two = one * np.sqrt(w)[:, None], two * np.sqrt(w)[:, None]
        length = float(np.linalg.norm(one) * np.linalg.norm(two))
        found.append(nuclear_norm(one.T @ two) / length if length > 0 else np.nan)
    return np.array(found)


def _rotated(first: Layers, second: Layers) -> Doubles:
    return np.array([[nuclear_norm(x.T @ y) for y in second] for x in first])


METHODS: Dict[str, Method] = {
    "cka": Method(
        "unbiased linear CKA",
        prepare=_centred_gram,
        compare=_inner,
        shuffle=_both_axes,
        draw=_draw_gram,
        compare_drawn=_cka_of_drawn,
    ),
    "neighbours": Method(
        "share of common nearest neighbours (cosine)",
        prepare=_nearest,
        compare=_inner,
        shuffle=_both_axes,
        draw=_as_it_is,
        compare_drawn=_shares_of_drawn,
    ),
    "procrustes": Method(
        "orthogonal Procrustes similarity",
        prepare=_without_mean,
        compare=_rotated,
        shuffle=_rows,
        draw=_as_it_is,
        compare_drawn=_rotations_of_drawn,
    ),
}
"""The measures. neighbours: Huh et al., The Platonic Representation Hypothesis, ICML 2024, with its metric."""

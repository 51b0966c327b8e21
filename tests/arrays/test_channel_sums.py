"""Sums of channels are those of NumPy over all cells together, and merge in any order."""

import itertools

import numpy as np
import pytest

from featscope.arrays.channel_sums import NO_IMAGE, ChannelSums

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(7, 6, 40, 31))
KINDS = {
    "normal": NORMAL,
    "far from zero": 1e4 + 1e-2 * NORMAL,
    "behind a ReLU": np.maximum(NORMAL - 1, 0),
    "tiny": NORMAL * 1e-25,
    "huge": NORMAL * 1e25,
    "of many sizes": NORMAL * 10.0 ** np.arange(-30, 30, 10)[:, None, None],
    "one image elsewhere": NORMAL + np.array([1e4, 0, 0, 0, 0, 0, 0])[:, None, None, None],
}


def summed(maps, top=3, numbers=None):
    sums = ChannelSums(maps[0].shape[0], top)
    for number, one in zip(numbers or range(len(maps)), maps):
        sums.add(one, number)
    return sums


def cells_of(maps):
    return np.concatenate([one.reshape(len(one), -1) for one in maps], axis=1).astype(np.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_to_numpy(kind, dtype):
    maps = [one[:, :, :28] for one in KINDS[kind].astype(dtype)]  # not contiguous, as without padding
    sums, cells = summed(maps), cells_of(maps)
    spread = cells.std(1)
    assert (np.abs(sums.mean - cells.mean(1)) <= 1e-6 * spread).all()
    np.testing.assert_allclose(sums.squares / sums.cells, spread**2, rtol=1e-6)
    np.testing.assert_array_equal(sums.low, cells.min(1))
    np.testing.assert_array_equal(sums.high, cells.max(1))
    np.testing.assert_array_equal(sums.zeros, (cells == 0).sum(1))
    np.testing.assert_array_equal(sums.at_high, (cells == cells.max(1, keepdims=True)).sum(1))
    assert (sums.cells == cells.shape[1]).all()


def test_long_rows_and_many_cells():
    one = np.maximum(RNG.normal(size=(3, 5, 9000)), 0).astype(np.float32)
    sums, cells = summed([one]), cells_of([one])
    np.testing.assert_allclose(sums.squares / sums.cells, cells.var(1), rtol=1e-6)
    np.testing.assert_array_equal(sums.zeros, (cells == 0).sum(1))


def test_the_largest_value_is_counted_anew_where_it_rises_within_an_image():
    one = np.zeros((2, 5, 9000), np.float32)
    one[0, 1:3, :7], one[0, 3:, :5] = 1, 2
    np.testing.assert_array_equal(summed([one]).at_high, [10, 45_000])


def test_merged_in_any_order_they_are_the_same():
    maps = list(KINDS["far from zero"][:4].astype(np.float32))
    results = []
    for order in itertools.permutations(range(4)):
        parts = [summed([maps[number]], numbers=[number]) for number in order]
        pair = parts[2]
        pair.merge(parts[3])
        whole = parts[0]
        whole.merge(parts[1])
        whole.merge(pair)
        results.append(whole)
    for one in results[1:]:
        np.testing.assert_allclose(one.mean, results[0].mean, rtol=1e-12)
        np.testing.assert_allclose(one.squares, results[0].squares, rtol=1e-9)
        for name in ("low", "high", "at_high", "zeros", "low_image", "top_images", "top_values", "fires"):
            np.testing.assert_array_equal(getattr(one, name), getattr(results[0], name), err_msg=name)


def test_the_images_that_excite_it_most():
    maps = NORMAL.astype(np.float32)
    sums = summed(maps)
    peaks = maps.reshape(7, 6, -1).max(2).T
    np.testing.assert_array_equal(sums.top_images, np.argsort(-peaks, axis=1)[:, :3])
    np.testing.assert_array_equal(sums.top_values, -np.sort(-peaks, axis=1)[:, :3])
    np.testing.assert_array_equal(sums.low_image, np.argmin(maps.reshape(7, 6, -1).min(2), axis=0))


def test_of_equal_images_the_first_is_named():
    same = np.ones((2, 4, 4), np.float32)
    sums = summed([same] * 5)
    np.testing.assert_array_equal(sums.top_images, [[0, 1, 2]] * 2)
    later = summed([same], numbers=[9])
    later.merge(sums)
    np.testing.assert_array_equal(later.top_images, [[0, 1, 2]] * 2)
    np.testing.assert_array_equal(later.low_image, [0, 0])
    assert summed([same]).top_images[0].tolist() == [0, NO_IMAGE, NO_IMAGE]


def test_nan_and_infinity_are_counted_and_left_out():
    one = NORMAL[:2].astype(np.float32).copy()
    one[0, 1, 3, 4], one[1, 1, 0, 0], one[1, 2, 5] = np.nan, -np.inf, np.inf
    one[:, 5] = np.nan
    sums, cells = summed(one), cells_of(one)
    cells[~np.isfinite(cells)] = np.nan
    np.testing.assert_array_equal(sums.nan, [0, 1, 0, 0, 0, 2480])
    np.testing.assert_array_equal(sums.infinite, [0, 1, 31, 0, 0, 0])
    np.testing.assert_allclose(sums.mean[:5], np.nanmean(cells[:5], axis=1), atol=1e-7)
    np.testing.assert_allclose((sums.squares / np.maximum(sums.cells, 1))[:5], np.nanvar(cells[:5], axis=1), rtol=1e-6)
    np.testing.assert_array_equal(sums.high[:5], np.nanmax(cells[:5], axis=1))
    np.testing.assert_array_equal(sums.low[:5], np.nanmin(cells[:5], axis=1))
    assert (sums.cells[5], sums.top_images[5, 0], sums.low_image[5]) == (0, NO_IMAGE, NO_IMAGE)


def test_which_channels_fire():
    one = np.stack([np.full((3, 3), -1.0), np.zeros((3, 3)), np.eye(3)]).astype(np.float32)
    np.testing.assert_array_equal(summed([one, one, -one]).fires, [1, 0, 2])


def test_constant_channels():
    sums = summed([np.full((2, 8, 8), 0.1, np.float32)] * 3)
    assert (sums.squares == 0).all()
    assert (sums.at_high == sums.cells).all()

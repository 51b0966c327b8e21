"""All sums of a layer: its covariance, its histogram, and which cells enter them."""

import pickle

import numpy as np
import pytest

from featscope.arrays import layer_sums
from featscope.arrays.basis import Moments
from featscope.arrays.histogram import count_values
from featscope.arrays.layer_sums import LayerSums, spread_cells
from featscope.arrays.redundancy import effective_rank

RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(12, 12))
MAPS = np.einsum("dc,ncij->ndij", MIX, RNG.normal(size=(9, 12, 30, 30))).astype(np.float32)
INSIDE = (slice(0, 25), slice(2, 30))


def summed(maps, inside=INSIDE, **ways):
    sums = LayerSums(maps.shape[1], 2, **ways)
    for number, one in enumerate(maps):
        sums.add(one, number, inside, seed=number)
    return sums


def cells_of(maps, inside=INSIDE):
    return np.concatenate([one[(slice(None), *inside)].reshape(len(one), -1) for one in maps], axis=1)


@pytest.mark.parametrize("offset", [0, 1e4])
def test_the_covariance_is_that_of_all_cells(offset):
    maps = MAPS if not offset else (offset + 1e-2 * MAPS).astype(np.float32)
    sums, cells = summed(maps), cells_of(maps).astype(np.float64)
    spread = cells.std(1)
    found = sums.moments.products / sums.moments.cells
    assert (np.abs(found - np.cov(cells, bias=True)) <= 1e-6 * np.outer(spread, spread)).all()
    assert effective_rank(sums.moments) == pytest.approx(effective_rank(Moments.of(cells)), rel=1e-6)
    np.testing.assert_allclose(sums.moments.mean, cells.mean(1), atol=1e-6 * spread.max())


def test_the_histogram_is_that_of_all_cells():
    np.testing.assert_array_equal(summed(MAPS).histogram, count_values(cells_of(MAPS)))


def test_padding_has_no_part_in_anything():
    changed = MAPS.copy()
    changed[:, :, 25:], changed[:, :, :, :2] = 1000, np.nan
    mine, other = summed(MAPS), summed(changed)
    np.testing.assert_array_equal(mine.channels.mean, other.channels.mean)
    np.testing.assert_array_equal(mine.moments.products, other.moments.products)
    np.testing.assert_array_equal(mine.histogram, other.histogram)
    np.testing.assert_array_equal(mine.channels.top_values, other.channels.top_values)
    assert mine.padding == other.padding == 9 * (900 - 25 * 28)
    some = (summed(MAPS, most=50), summed(changed, most=50))
    np.testing.assert_array_equal(some[0].histogram, some[1].histogram)
    assert not other.channels.nan.any()


def test_merged_in_any_order_they_are_the_same():
    parts = [summed(MAPS[start : start + 3]) for start in (0, 3, 6)]
    forwards, backwards = (pickle.loads(pickle.dumps(parts)) for _ in range(2))
    for one in forwards[1:]:
        forwards[0].merge(one)
    for one in (backwards[0], backwards[1]):
        backwards[2].merge(one)
    mine, other = forwards[0], backwards[2]
    np.testing.assert_allclose(mine.moments.products, other.moments.products, rtol=1e-9)
    np.testing.assert_array_equal(mine.histogram, other.histogram)
    assert (mine.sampled, mine.padding) == (other.sampled, other.padding)
    whole = summed(MAPS)
    np.testing.assert_allclose(mine.moments.products, whole.moments.products, rtol=1e-5)


def test_only_some_cells_of_each_image():
    sums = summed(MAPS, most=100)
    assert (sums.sampled, sums.moments.cells, sums.histogram.sum()) == (900, 900, 900 * 12)
    assert (sums.channels.cells == 9 * 700).all()
    known = set(map(tuple, cells_of(MAPS).T.tolist()))
    last = LayerSums(12, 1, most=100)
    last.add(MAPS[0], 0, INSIDE)
    cells = last._gathered[0]
    assert len(set(map(tuple, cells.T.tolist()))) == 100
    assert set(map(tuple, cells.T.tolist())) <= known


@pytest.mark.parametrize("count", [3, 64, 100, 15872, 16384])
def test_spread_cells_are_spread(count):
    most = max(1, count // 7)
    places = spread_cells(count, most, seed=5)
    assert len(set(places.tolist())) == most
    assert 0 <= places.min() <= places.max() < count
    gaps = np.diff(np.append(places, places[0] + count))
    assert gaps.max() <= 3 * count / most
    for period in (2, 4, 8):
        if most >= 64:  # as many even cells as odd ones
            assert np.abs(np.bincount(places % period, minlength=period) / most - 1 / period).max() < 0.1


def test_cells_with_nan_have_no_part_in_the_covariance():
    maps = MAPS.copy()
    maps[2, 3, 10, 10] = np.nan
    assert summed(maps).moments.cells == 9 * 700 - 1
    assert summed(np.full_like(MAPS, np.nan)).moments is None


def test_no_covariance_of_one_channel_of_too_many_or_where_it_is_not_wanted(monkeypatch):
    assert summed(MAPS[:, :1]).moments is None
    assert summed(MAPS, covariance=False).moments is None
    monkeypatch.setattr(layer_sums, "MOST_CHANNELS", 11)
    assert summed(MAPS).moments is None
    assert summed(MAPS).histogram.sum()


def test_its_memory_does_not_grow_with_the_images(monkeypatch):
    monkeypatch.setattr(layer_sums, "_GATHERED", 1000)
    sums = LayerSums(12, 2)
    sizes = []
    for number in range(30):
        sums.add(MAPS[number % 9], number, INSIDE)
        sizes.append(len(pickle.dumps(sums)))
    assert max(sizes[15:]) <= max(sizes[:15])

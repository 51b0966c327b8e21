"""Bins that are fixed: what falls into them, and how far quantiles are off."""

import numpy as np
import pytest

from featscope.arrays.histogram import BINS, coarse, count_values, even, quantiles

SHARES = [0.001, 0.01, 0.25, 0.5, 0.9, 0.999, 1.0]


@pytest.mark.parametrize("scale", [1e-20, 1.0, 3e4, 1e30])
def test_quantiles_are_off_by_less_than_half_a_percent(scale):
    values = (np.random.default_rng(0).normal(size=50_000) * scale).astype(np.float32)
    found = quantiles(count_values(values), SHARES)
    ordered = np.sort(values)
    for share, mine in zip(SHARES, found):
        exact = float(ordered[max(0, int(np.ceil(share * len(values))) - 1)])
        assert mine == pytest.approx(exact, rel=0.004)


def test_counts_are_added_to_be_merged():
    values = np.random.default_rng(1).normal(size=(2, 1000)).astype(np.float32)
    np.testing.assert_array_equal(count_values(values[0]) + count_values(values[1]), count_values(values))


def test_nan_and_infinity_are_left_out():
    counts = count_values(np.array([np.nan, -np.nan, np.inf, -np.inf, 1.0], np.float32))
    assert counts.sum() == 1
    assert count_values(np.array([1e300, -1e300, np.nan])).sum() == 2


def test_the_coarse_bins_hold_all_values():
    values = np.random.default_rng(2).normal(size=10_000).astype(np.float32)
    values[:3000] = 0
    values[3000] = -0.0
    bins = coarse(count_values(values))
    assert sum(one.many for one in bins) == len(values)
    for low, high, count in bins:
        within = (values >= low) & (values < high) if low >= 0 else (values > low) & (values <= high) & (values != 0)
        assert count == within.sum()
    assert [one.low for one in bins] == sorted(one.low for one in bins)
    assert next(one.many for one in bins if one.low == 0) == 3001


def test_no_values():
    assert np.isnan(quantiles(np.zeros(BINS, np.int64), [0.5])).all()
    assert coarse(np.zeros(BINS, np.int64)) == []


def test_the_largest_number():
    (found,) = coarse(count_values(np.array([np.finfo(np.float32).max], np.float32)))
    assert found.high == 2.0**128


RANDOM = np.random.default_rng(3)
VALUES = {
    "signed": RANDOM.normal(size=20_000),
    "behind a ReLU": np.maximum(RANDOM.normal(size=20_000), 0),
    "negative": -RANDOM.exponential(size=20_000) * 1e6,
    "small": RANDOM.normal(size=20_000) * 1e-9,
    "far from zero": RANDOM.uniform(100, 101, size=20_000),
    "with a long tail": RANDOM.standard_cauchy(size=20_000),
    "one value": np.full(9, 0.3),
    "two signs, far apart": np.array([-7.0, 1000.0] * 50),
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_bins_of_one_width_hold_exactly_their_values(values):
    values = values.astype(np.float32)
    found = even(count_values(values))
    edges = found.low + found.step * np.arange(len(found.counts) + 1)
    exact = np.histogram(values[values != 0].astype(np.float64), edges)[0]
    np.testing.assert_array_equal(found.counts, exact)
    assert 1 <= len(found.counts) <= 49
    assert found.counts.sum() >= 0.997 * (values != 0).sum()
    assert found.high == edges[-1]


def test_bins_of_one_width_are_fine_enough():
    for name in ("signed", "behind a ReLU", "negative", "small"):
        assert len(even(count_values(VALUES[name].astype(np.float32))).counts) >= 24


def test_zero_is_on_the_axis_unless_all_values_lie_far_from_it():
    near, far = (even(count_values(np.linspace(low, 10, 999, dtype=np.float32))) for low in (4, 8))
    assert near.low == 0
    assert far.low >= 7
    below = even(count_values(np.linspace(-10, -4, 999, dtype=np.float32)))
    assert below.high == 0


def test_zeros_have_no_bin():
    assert even(count_values(np.array([0.0, -0.0, np.nan], np.float32))) is None
    assert even(np.zeros(BINS, np.int64)) is None
    assert even(count_values(np.array([0.0] * 9 + [1.0], np.float32))).counts.sum() == 1


MOST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("value", [MOST, -MOST, 1e-38, -1e-39])
def test_the_ends_of_the_numbers(value):
    found = even(count_values(np.array([value], np.float32)))
    assert found.counts.sum() == 1
    assert found.low <= value <= found.high

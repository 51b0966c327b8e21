"""Bins that are fixed: what falls into them, and how far quantiles are off."""

import numpy as np
import pytest

from featscope.arrays.histogram import BINS, coarse, count_values, quantiles

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

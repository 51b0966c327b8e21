"""Areas under ROC curves: against counting all pairs, among equals, and with intervals."""

import numpy as np
import pytest

from featscope.arrays.ranking import auc, separation


def by_pairs(values, first):
    ones, twos = values[first], values[~first]
    return np.mean([(a > b) + 0.5 * (a == b) for a in ones for b in twos])


def test_equal_to_counting_pairs(random):
    values = random.integers(0, 10, 80).astype(float)
    first = random.random(80) < 0.4
    assert auc(values, first) == pytest.approx(by_pairs(values, first))


def test_strata_compare_equals_only(random):
    """Large objects have high values and are found more often; among equal sizes the value says nothing."""
    large = random.random(4000) < 0.5
    found = random.random(4000) < np.where(large, 0.9, 0.1)
    values = large + random.normal(0, 0.1, 4000)
    images = np.arange(4000) // 40
    assert separation(values, found, images).auc > 0.85
    among = separation(values, found, images, large.astype(int))
    assert among.low < 0.5 < among.high
    assert among.auc == pytest.approx(0.5, abs=0.05)


def test_the_interval_is_over_images(random):
    """One image repeated makes the interval no narrower."""
    values = random.normal(0, 1, 40)
    first = np.arange(40) % 2 == 0
    images = np.arange(40) // 4
    once = separation(values, first, images)
    often = separation(np.tile(values, 30), np.tile(first, 30), np.tile(images, 30))
    assert often.auc == pytest.approx(once.auc)
    assert often.high - often.low == pytest.approx(once.high - once.low, abs=1e-6)


def test_too_few():
    few = separation(np.arange(6.0), np.arange(6) % 2 == 0, np.arange(6))
    assert np.isfinite(few.auc)
    assert np.isnan(few.low)
    assert np.isnan(separation(np.arange(3.0), np.ones(3, bool), np.arange(3)).auc)
    assert str(separation(np.full(4, np.nan), np.ones(4, bool), np.arange(4))) == "unknown"

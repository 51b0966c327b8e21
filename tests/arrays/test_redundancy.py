"""The effective rank, and groups of channels that say the same."""

import numpy as np
import pytest

from featscope.arrays.basis import Moments
from featscope.arrays.redundancy import correlations, effective_rank, redundant_groups


def noise(channels, cells=5000, seed=0):
    return np.random.default_rng(seed).normal(size=(channels, cells))


def test_the_effective_rank_is_that_of_its_formula():
    values = noise(6) * np.array([1, 2, 3, 4, 5, 6])[:, None]
    shares = np.linalg.eigvalsh(np.cov(values, bias=True))
    shares /= shares.sum()
    assert effective_rank(Moments.of(values)) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-12)


def test_of_known_spectra():
    assert effective_rank(Moments.of(noise(1) * np.arange(1, 9)[:, None])) == pytest.approx(1, abs=1e-6)
    assert effective_rank(Moments.of(noise(16, 100_000))) == pytest.approx(16, rel=1e-3)
    assert np.isnan(effective_rank(Moments.of(np.ones((4, 10)))))
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(effective_rank(Moments.of(noise(3) * 1e200)))


def test_correlations_are_those_of_numpy():
    values = noise(5)
    values[3] += 2 * values[0]
    np.testing.assert_allclose(correlations(Moments.of(values)), np.corrcoef(values), atol=1e-12)


def test_groups():
    one, other, third = noise(3)
    values = np.stack([other, one, third, -3 * one + 5, other + 0.01 * third, one, np.full_like(one, 7)])
    assert redundant_groups(Moments.of(values), 0.95) == [[1, 3, 5], [0, 4]]
    assert redundant_groups(Moments.of(noise(4)), 0.95) == []


def test_a_channel_is_like_the_first_of_its_group_not_like_a_neighbour_of_it():
    """A chain: each is like the next, and the ends are not alike."""
    one, other = noise(2, 200_000)
    values = np.stack([np.cos(angle) * one + np.sin(angle) * other for angle in np.radians([0, 15, 30])])
    assert redundant_groups(Moments.of(values), 0.95) == [[1, 0, 2]]
    assert redundant_groups(Moments.of(values[[0, 2]]), 0.95) == []


def test_a_channel_whose_only_partner_is_in_another_group_is_in_none():
    one, other = noise(2, 200_000)
    values = np.stack([np.cos(angle) * one + np.sin(angle) * other for angle in np.radians([0, 15, 30, 45])])
    assert redundant_groups(Moments.of(values), 0.95) == [[1, 0, 2]]

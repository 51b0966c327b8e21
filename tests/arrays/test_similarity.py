"""Unbiased CKA from sums equals the direct formula on Gram matrices, however the samples are split."""

import numpy as np
import pytest

from featscope.arrays.similarity import Spread, Sums, cka, why_no_value
from featscope.errors import BadArrayError


def hsic_by_gram(x, y):
    """HSIC_1 as in Song et al., with matrices of n x n."""
    n, ones = len(x), np.ones(len(x))
    k, l = x @ x.T, y @ y.T  # noqa: E741
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    crossed = (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
    return (np.trace(k @ l) + crossed - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3))


def cka_by_gram(x, y):
    return hsic_by_gram(x, y) / np.sqrt(hsic_by_gram(x, x) * hsic_by_gram(y, y))


def biased_cka(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return np.sum((x.T @ y) ** 2) / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def whole(x, y):
    return cka(Sums.of(x, y), Sums.of(x, x), Sums.of(y, y))


def merged(x, y, cuts):
    parts = [Sums.of(a, b) for a, b in zip(np.split(x, cuts), np.split(y, cuts))]
    total = parts[0]
    for part in parts[1:]:
        total = total.and_of(part)
    return total


def related(random, n=50, p=7, q=9):
    x = random.normal(size=(n, p))
    return x, x @ random.normal(size=(p, q)) + random.normal(size=(n, q))


@pytest.mark.parametrize("n", [4, 5, 50])
def test_it_is_the_formula_of_song(random, n):
    x, y = related(random, n)
    assert Sums.of(x, y).hsic() == pytest.approx(hsic_by_gram(x, y), rel=1e-9)
    assert whole(x, y) == pytest.approx(cka_by_gram(x, y), rel=1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_merged_sums_are_those_of_all_samples(random, offset):
    x, y = related(random)
    expected = cka_by_gram(x, y)
    trend = np.linspace(0, 3, len(x))[:, None]  # the blocks have other means
    moved = cka_by_gram(x + trend, y - trend)
    for cuts in ([25], [1, 9, 40], range(1, 50)):
        for a, b, value in ((x, y, expected), (x + trend, y - trend, moved)):
            a, b = a + offset, b - 2 * offset
            assert cka(merged(a, b, cuts), merged(a, a, cuts), merged(b, b, cuts)) == pytest.approx(value, rel=1e-9)


def test_the_order_of_merging_does_not_matter(random):
    x, y = related(random)
    one, two, three = (Sums.of(a, b) for a, b in zip(np.split(x, [10, 30]), np.split(y, [10, 30])))
    for left, right in zip(one.and_of(two).and_of(three), three.and_of(one.and_of(two))):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9)


def test_independent_noise_is_near_zero_and_not_clamped(random):
    values = [whole(*random.normal(size=(2, 16, 500))) for _ in range(10)]
    assert abs(np.mean(values)) < 0.1
    assert min(values) < 0 < max(values)
    x, y = random.normal(size=(2, 16, 800))
    assert biased_cka(x, y) > 0.95


def test_moving_turning_and_scaling_change_nothing(random):
    x, y = related(random)
    turn = np.linalg.qr(random.normal(size=(9, 9)))[0]
    assert whole(x, 3 * (y @ turn) - 70) == pytest.approx(whole(x, y), rel=1e-9)
    assert whole(x, 3 * x + 5) == pytest.approx(1, rel=1e-9)


def test_single_precision_is_summed_in_double(random):
    x, y = (table.astype(np.float32) for table in related(random))
    assert whole(x + np.float32(1000), y) == pytest.approx(whole((x + np.float32(1000)).astype(float), y), rel=1e-9)


@pytest.mark.parametrize(
    ("x", "why"),
    [
        (np.ones((6, 3)), "all samples have the same features"),
        (np.full((6, 3), 1e4 + 0.1), "all samples have the same features"),
        (np.eye(6)[:, :1], "only one sample differs from the others"),
        (np.arange(9.0).reshape(3, 3), "3 samples are too few, at least 4 are needed"),
        (np.arange(12.0).reshape(4, 3) * 1e100, "the features are too large: their fourth powers overflow"),
    ],
)
def test_no_number_where_there_is_none(x, why):
    y = np.random.default_rng(0).normal(size=(len(x), 2))
    with np.errstate(over="ignore"):
        own = Sums.of(x, x)
        assert why_no_value(own) == why
        assert np.isnan(cka(Sums.of(x, y), own, Sums.of(y, y)))
        assert np.isnan(cka(Sums.of(y, x), Sums.of(y, y), own))


def test_procrustes_is_the_distance_after_the_best_rotation(random):
    x, y = related(random, p=6, q=6)
    x, y = x - x.mean(0), y - y.mean(0)
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    left, _, right = np.linalg.svd(x.T @ y)
    distance = np.linalg.norm(x @ (left @ right) - y) ** 2
    assert Sums.of(x + 3, y * 5).procrustes() == pytest.approx(1 - distance / 2, rel=1e-9)
    assert merged(x, y, [20]).procrustes() == pytest.approx(1 - distance / 2, rel=1e-9)


def test_z_scores(random):
    x = random.normal(size=(40, 3)) * [1, 100, 0] + 1e4
    spread = Spread.of(x[:7]).and_of(Spread.of(x[7:]))
    scores = spread.z_scores(x)
    np.testing.assert_allclose(scores.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(scores.std(0), [1, 1, 0], atol=1e-9)


def test_tables_that_do_not_fit():
    with pytest.raises(BadArrayError, match=r"one row for each sample, not \(3, 2\) and \(4, 2\)"):
        Sums.of(np.ones((3, 2)), np.ones((4, 2)))
    with pytest.raises(BadArrayError, match="2 and 2 channels in some samples, but 2 and 3 in others"):
        Sums.of(np.ones((3, 2)), np.ones((3, 2))).and_of(Sums.of(np.ones((3, 2)), np.ones((3, 3))))

"""The noise floor and the interval are those of images, and a sample that is drawn twice makes no pair with itself."""

import itertools

import numpy as np
import pytest

from featscope.arrays.resampling import METHODS, Drawn, chance, resampled, shuffled, weighted_hsic
from featscope.arrays.similarity import Sums, cka

CKA, NEIGHBOURS, PROCRUSTES = METHODS["cka"], METHODS["neighbours"], METHODS["procrustes"]


def value(method, x, y, neighbours=10):
    return method.compare([method.prepare(x, neighbours)], [method.prepare(y, neighbours)])[0, 0]


def related(random, n=40, p=6, q=5, noise=1.0):
    x = random.normal(size=(n, p))
    return x, x @ random.normal(size=(p, q)) + noise * random.normal(size=(n, q))


def test_values_are_those_of_the_sums(random):
    for p in (6, 200):  # fewer channels than samples, and more
        x, y = related(random, p=p)
        assert value(CKA, x, y) == pytest.approx(cka(Sums.of(x, y), Sums.of(x, x), Sums.of(y, y)), rel=1e-9)
        assert value(PROCRUSTES, x, y) == pytest.approx(Sums.of(x, y).procrustes(), rel=1e-9)


def test_neighbours_in_common(random):
    x, y = related(random)
    shares = []
    for i in range(len(x)):
        nearest = []
        for table in (x, y):
            table = table / np.linalg.norm(table, axis=1)[:, None]
            cosines = table @ table[i]
            cosines[i] = -2
            nearest.append(set(np.argsort(-cosines)[:3]))
        shares.append(len(nearest[0] & nearest[1]) / 3)
    assert value(NEIGHBOURS, x, y, neighbours=3) == pytest.approx(np.mean(shares))
    assert value(NEIGHBOURS, x, 5 * x, neighbours=3) == pytest.approx(1)


def test_weighted_hsic_counts_only_different_samples(random):
    k, l = (CKA.prepare(random.normal(size=(6, 3)), 0) for _ in range(2))  # noqa: E741
    weights = np.array([[1, 1, 1, 1, 1, 1], [2, 0, 1, 1, 3, 1.0], [0, 0, 2, 2, 1, 1]])
    expected = [
        sum(
            w[i] * w[j] * w[q] * w[r] * (k[i, j] * l[i, j] + k[i, j] * l[q, r] - 2 * k[i, j] * l[i, q])
            for i, j, q, r in itertools.permutations(range(6), 4)
        )
        for w in weights
    ]
    one, two = (Drawn(m, (weights @ m, weights**2 @ m)) for m in (k, l))
    np.testing.assert_allclose(weighted_hsic(one, two, weights), expected, rtol=1e-9)


def test_the_interval_of_noise_holds_zero(random):
    """Drawn naively, independent noise of many channels would be near 1: every copy is its own nearest sample."""
    x, y = random.normal(size=(2, 20, 3000))
    found = chance([x], [y], np.arange(20), CKA)
    low, high = found.values + found.low, found.values + found.high
    assert low < 0.1 < high + 0.1
    assert high < 0.5
    drawn = random.integers(20, size=20)
    assert value(CKA, x[drawn], y[drawn]) > 0.5


def test_the_interval_holds_the_truth(random):
    maps = random.normal(size=(2, 3, 10))

    def samples(n):
        z = random.normal(size=(n, 3))
        return [z @ m + 2 * random.normal(size=(n, 10)) for m in maps]

    truth = value(CKA, *samples(1500))
    held = 0
    for seed in range(40):
        x, y = samples(30)
        found = chance([x], [y], np.arange(30), CKA, shuffles=1, seed=seed)
        held += bool(found.values + found.low <= truth <= found.values + found.high)
    assert held >= 34


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_all_pairs_at_once_are_those_of_each(random, method):
    first, second = [*related(random)], [*related(random, q=3)]
    images = np.arange(40) // 4
    together = chance(first, second, images, method, shuffles=11, resamples=20)
    for i, x in enumerate(first):
        for j, y in enumerate(second):
            alone = chance([x], [y], images, method, shuffles=11, resamples=20)
            for whole, one in zip(together, alone):
                assert whole[i, j] == pytest.approx(one[0, 0], rel=1e-9)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_likeness_is_above_the_noise_and_chance_is_not(random, method):
    x, y = related(random, noise=0.3)
    found = chance([x], [y, random.normal(size=(40, 5))], np.arange(40) // 2, method)
    assert found.values[0, 0] > found.noise_high[0, 0]
    assert found.noise[0, 1] - 0.1 < found.values[0, 1] < found.noise_high[0, 1] + 0.1
    assert (found.low < 0).all()
    assert (found.high > 0).all()


def test_images_are_shuffled_not_samples(random):
    """Two networks that only know which image a sample is of: between few images that is much by chance."""
    images = np.repeat(np.arange(4), 20)
    x, y = (random.normal(size=(4, 3))[images] + 0.1 * random.normal(size=(80, 3)) for _ in range(2))
    assert chance([x], [y], images, CKA).noise[0, 0] > 0.2
    assert abs(chance([x], [y], np.arange(80), CKA).noise[0, 0]) < 0.05


def test_no_image_stays_in_its_place(random):
    images = np.repeat([7, 3, 5], 4)
    for _ in range(20):
        order = shuffled(images, random)
        assert sorted(order) == list(range(12))
        assert (images[order] != images).all()
        for image in (3, 5, 7):  # all partners are of one image
            assert len(set(images[order][images == image])) == 1
    assert sorted(shuffled(np.zeros(5, int), random)) == list(range(5))


def test_all_samples_of_an_image_are_drawn_together(random):
    weights = resampled(np.repeat(np.arange(6), 3), 30, random)
    assert (weights.sum(1) == 18).all()
    assert (weights.reshape(30, 6, 3) == weights.reshape(30, 6, 3)[..., :1]).all()
    assert len({tuple(row) for row in weights}) > 20
    assert resampled(np.repeat(np.arange(4), 3), 30, random).shape == (0, 12)


def test_too_few_images_have_no_interval(random):
    x, y = related(random)
    found = chance([x], [y], np.arange(40) % 4, CKA)
    assert np.isnan([found.low, found.high]).all()
    assert np.isfinite([found.noise, found.noise_high]).all()


def test_the_seed_decides(random):
    x, y = related(random)
    one, same, other = (chance([x], [y], np.arange(40), CKA, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.noise != other.noise
    assert one.low != other.low

"""One basis for several maps: as of all their cells at once, whatever their size and order."""

import numpy as np
import pytest

from featscope.arrays.basis import Moments, basis_of
from featscope.arrays.reduce import reduce
from featscope.errors import BadArrayError


@pytest.fixture
def scenes():
    """Two scenes of the same three kinds of feature, ship, plane and ground, on other areas."""
    random = np.random.default_rng(0)
    ship, plane, ground = np.linalg.qr(random.standard_normal((32, 3)))[0].T

    def scene(ships, planes):
        array = np.zeros((32, 40, 40)) + 0.1 * ground[:, None, None]
        array[:, :ships, :20] = 3 * ship[:, None, None]
        array[:, 20 : 20 + planes, 20:] = 3 * plane[:, None, None]
        return (array + 0.01 * random.standard_normal(array.shape)).astype(np.float32)

    return scene(30, 6), scene(6, 18)


def _of_all(scenes, offset=0.0):
    flat = np.concatenate([scene.reshape(len(scene), -1) for scene in scenes], 1).astype(np.float64) + offset
    centred = flat - flat.mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(centred @ centred.T / centred.shape[1])
    return vectors[:, ::-1][:, :3].T, np.sqrt(values[::-1][:3])


def test_a_thing_has_one_colour_in_all_images(scenes):
    basis = Moments.of(scenes[0]).and_of(Moments.of(scenes[1])).basis()
    first, second = (reduce(scene, "pca", basis=basis) for scene in scenes)
    np.testing.assert_allclose(first[2, 5], second[2, 5], atol=0.1)
    np.testing.assert_allclose(first[22, 30], second[22, 30], atol=0.1)
    apart = [reduce(scene, "pca")[2, 5] for scene in scenes]
    assert np.abs(apart[0] - apart[1]).max() > 1, "with a basis of its own each image has other colours"


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_map_by_map_is_as_all_at_once(scenes, offset):
    parts = [Moments.of(scene.astype(np.float64) + offset) for scene in (*scenes, scenes[0][:, :7])]
    basis = parts[0].and_of(parts[1]).and_of(parts[2]).basis()
    vectors, spread = _of_all([*scenes, scenes[0][:, :7]], offset)
    np.testing.assert_allclose(np.abs((basis.vectors * vectors).sum(1)), 1, atol=1e-9)
    np.testing.assert_allclose(basis.spread, spread, rtol=1e-9)


def test_strong_activation_is_bright():
    array = np.zeros((4, 6, 6))
    array[:, 2, 3] = [-5, 0, -5, 0]
    assert reduce(array, "pc1")[2, 3] > reduce(array, "pc1")[0, 0]


def test_few_cells_of_many_channels_give_the_same_components():
    array = np.random.default_rng(0).random((300, 10, 12))
    found, expected = basis_of(array), Moments.of(array).basis()
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-9)
    np.testing.assert_allclose(found.spread, expected.spread, rtol=1e-9)


def test_fewer_channels_than_components():
    array = np.random.default_rng(0).random((2, 4, 5))
    parts = reduce(array, "pca")
    assert parts.shape == (4, 5, 3)
    assert (parts[..., 2] == 0).all()
    assert np.ptp(parts[..., 1]) > 0


def test_a_map_of_other_channels_or_without_numbers_is_refused(scenes):
    basis = basis_of(scenes[0])
    with pytest.raises(BadArrayError, match="16 channels, but the basis is for 32"):
        reduce(scenes[0][:16], "pca", basis=basis)
    scenes[0][3, 1, 1] = np.nan
    with pytest.raises(BadArrayError, match="NaN"):
        Moments.of(scenes[0])


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_moments_in_single_precision_are_nearly_those_in_double(scale):
    cells = (np.random.default_rng(0).normal(size=(6, 3000)) * scale + 3 * scale).astype(np.float32)
    mine, exact = Moments.quickly_of(cells), Moments.of(cells)
    spread = np.sqrt(np.diagonal(exact.products))
    assert (np.abs(mine.products - exact.products) <= 1e-5 * np.outer(spread, spread)).all()
    np.testing.assert_allclose(mine.mean, exact.mean, rtol=1e-6)
    assert mine.strength == pytest.approx(exact.strength, rel=1e-6)
    np.testing.assert_allclose(mine.towards, exact.towards, atol=1e-4 * np.abs(exact.towards).max())


def test_moments_that_stand_for_more_cells_weigh_more():
    first, second = np.random.default_rng(0).normal(size=(2, 4, 50))
    weighted = Moments.of(first).standing_for(150).and_of(Moments.of(second))
    repeated = Moments.of(np.concatenate([first, first, first, second], axis=1))
    for mine, exact in zip(weighted, repeated):
        np.testing.assert_allclose(mine, exact, rtol=1e-10, atol=1e-12)

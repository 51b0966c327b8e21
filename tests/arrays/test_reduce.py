import numpy as np
import pytest

from featscope.arrays.reduce import REDUCTIONS, as_floats, reduce, top_channels
from featscope.errors import BadArrayError, BadOptionError, UnknownNameError

MAP = np.array([[[1.0, -4.0], [0.0, 2.0]], [[3.0, 2.0], [0.0, -2.0]]], np.float32)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("mean", [[2, -1], [0, 0]]),
        ("absmean", [[2, 3], [0, 2]]),
        ("max", [[3, 2], [0, 2]]),
        ("l2", [[np.sqrt(10), np.sqrt(20)], [0, np.sqrt(8)]]),
        ("std", [[1, 3], [0, 2]]),
        ("channel:1", [[3, 2], [0, -2]]),
        ("select_max", [[3, 2], [0, -2]]),
    ],
)
def test_values(how, expected):
    np.testing.assert_allclose(reduce(MAP, how), expected, atol=1e-6)


@pytest.mark.parametrize("how", sorted(REDUCTIONS))
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u1", "i4", "i8", "?"])
def test_every_reduction_takes_every_real_dtype(how, dtype, random):
    array = (random.standard_normal((5, 4, 3)) * 3).astype(dtype)
    result = reduce(array, how)
    assert result.shape == ((4, 3, 3) if how == "pca" else (4, 3))
    assert np.isfinite(result).all()


def test_the_first_component_is_bright_where_the_object_is(random):
    heat = np.zeros((16, 16))
    heat[4:8, 4:8] = 1
    for seed in range(20):
        weights = np.random.default_rng(seed).standard_normal(32)
        noise = 0.05 * np.random.default_rng(seed + 100).standard_normal((32, 16, 16))
        first = reduce(weights[:, None, None] * heat + noise, "pc1")
        assert first[4:8, 4:8].mean() > first[9:].mean()


def test_every_component_is_bright_where_the_map_is_strong(random):
    """The sign of a component is free: pca's three colours mean the same in every picture."""
    for seed in range(10):
        array = np.random.default_rng(seed).standard_normal((6, 9, 7))
        strength = np.abs(array).mean(0)
        for component in np.moveaxis(reduce(array, "pca"), -1, 0):
            assert (component * (strength - strength.mean())).sum() > 0


@pytest.mark.parametrize("dtype", ["i4", "u4", "i8", "u8", "f8"])
def test_numbers_that_float32_does_not_hold(dtype):
    near = np.array([[[2**24 + 1, 2**24]]], dtype)
    assert np.diff(reduce(near, "mean")).tolist() == [[-1]]
    assert np.diff(as_floats(near)).tolist() == [[[-1]]]


def test_fewer_channels_than_components():
    assert reduce(np.ones((1, 3, 3)), "pca").shape == (3, 3, 3)


def test_nan_stays_in_its_cell():
    array = MAP.copy()
    array[0, 0, 0] = np.nan
    assert np.isnan(reduce(array, "mean")).tolist() == [[True, False], [False, False]]


def test_bad_requests():
    with pytest.raises(UnknownNameError, match="did you mean 'mean'"):
        reduce(MAP, "maen")
    with pytest.raises(BadOptionError, match="0 to 1"):
        reduce(MAP, "channel:2")
    with pytest.raises(BadOptionError, match="channel:0"):
        reduce(MAP, "channel:x")
    with pytest.raises(BadArrayError, match="complex"):
        reduce(MAP.astype(complex), "mean")
    with pytest.raises(BadArrayError, match="finite"):
        reduce(np.full((2, 2, 2), np.nan), "pc1")


def test_top_channels_are_the_strongest_in_order():
    array = np.stack([np.full((2, 2), v) for v in (1.0, -7.0, 3.0, 0.0)])
    assert top_channels(array, 3) == [1, 2, 0]
    assert top_channels(array, 99) == [1, 2, 0, 3]
    array[1, 0, 0], array[3, 0, 0] = np.nan, -np.inf
    assert top_channels(array, 99) == [3, 2, 0, 1], "one that is no number is the weakest"


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4, 5), (1, 2, 3, 4, 5)])
def test_what_is_no_map_of_one_image(shape):
    with pytest.raises(BadArrayError, match=r"of a film \(C, T, H, W\) one step, array\[:, 0\]"):
        reduce(np.zeros(shape), "mean")

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
    with pytest.raises(BadArrayError, match=r"of a video \(C, T, H, W\) one step, array\[:, 0\]"):
        reduce(np.zeros(shape), "mean")


_RANDOM = np.random.default_rng(0)
_EXTREME = {
    "float16": (_RANDOM.normal(size=(64, 5, 6)) * 6e4).clip(-65000, 65000).astype("f2"),
    "largest": np.full((8, 4, 4), 3e38, "f4"),
    "large": (_RANDOM.normal(size=(64, 5, 6)) * 1e38).astype("f4"),
    "large negative": -(_RANDOM.random((8, 4, 4)) * 1e30).astype("f4"),
    "large doubles": _RANDOM.normal(size=(8, 4, 4)) * 1e307,
    "small": (_RANDOM.random((8, 4, 4)) * 1e-25).astype("f4"),
    "denormal": (_RANDOM.random((8, 4, 4)) * 1e-42).astype("f4"),
    "small doubles": _RANDOM.random((8, 4, 4)) * 1e-200,
    "offset": (1e6 + _RANDOM.random((64, 5, 6))).astype("f4"),
    "many alike": np.full((4096, 1, 1), 0.1, "f4"),
    "wide integers": _RANDOM.integers(-(2**62), 2**62, (8, 4, 4)),
}


@pytest.mark.parametrize("name", sorted(_EXTREME))
@pytest.mark.parametrize("how", ["mean", "absmean", "max", "l2", "std", "pc1", "pca"])
def test_large_small_and_offset_values_are_as_exact_as_in_double_precision(name, how):
    array = _EXTREME[name]
    wide = array.astype(np.longdouble)
    unit = np.abs(wide).max()
    wide /= unit
    if how in ("pc1", "pca"):
        flat = wide.reshape(len(wide), -1).astype(np.float64)
        centred = flat - flat.mean(1, keepdims=True)
        left, strength, _ = np.linalg.svd(centred, full_matrices=False)
        expected = np.zeros((3, flat.shape[1]))
        known = strength > 1e-12 * max(1.0, strength[0])
        expected[: known[:3].sum()] = (left.T @ centred)[:3][known[:3]]
        expected = np.abs(expected[0] if how == "pc1" else expected.T).reshape(
            array.shape[1:] + ((3,) if how == "pca" else ())
        )
    else:
        expected = {
            "mean": lambda: wide.mean(0),
            "absmean": lambda: np.abs(wide).mean(0),
            "max": lambda: wide.max(0),
            "l2": lambda: np.sqrt((wide * wide).sum(0)),
            "std": lambda: wide.std(0),
        }[how]()
    found = reduce(array, how)
    assert np.isfinite(found).all()
    found = found.astype(np.longdouble) / unit
    np.testing.assert_allclose(
        np.abs(found) if how in ("pc1", "pca") else found,
        expected,
        rtol=0,
        atol=max(1e-5 * np.abs(expected).max(), 1e-12),
    )


def test_a_length_that_no_double_holds_is_the_largest_one():
    assert reduce(np.full((8, 1, 1), 1e308), "l2") == np.finfo(np.float64).max


def test_what_is_infinite_stays_so_among_large_values():
    array = np.full((2, 1, 3), 3e38, np.float32)
    array[0, 0, 1], array[1, 0, 2] = np.inf, np.nan
    assert np.isfinite(reduce(array, "l2")).tolist() == [[True, False, False]]
    assert np.isnan(reduce(array, "l2")).tolist() == [[False, False, True]]


def test_the_channel_of_the_largest_sum_where_sums_are_larger_than_single_precision():
    array = np.full((3, 4, 4), 1e38, np.float32)
    array[1] = 2e38
    assert (reduce(array, "select_max") == array[1]).all()

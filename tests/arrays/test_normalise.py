import numpy as np
import pytest

from featscope.arrays.normalise import INF_INDEX, NAN_INDEX, bounds, parse_range, quantise
from featscope.errors import BadOptionError

HEAT = np.array([[-2.0, 0.0], [1.0, 6.0]], np.float32)


@pytest.mark.parametrize(
    ("value_range", "expected"),
    [("map", (-2, 6)), ("symmetric", (-6, 6)), ("0:1", (0, 1)), ("-1:2.5", (-1, 2.5)), ("percentile:0:50", (-2, 0.5))],
)
def test_bounds(value_range, expected):
    assert bounds(HEAT, value_range) == pytest.approx(expected)


def test_bounds_ignore_what_is_no_number():
    assert bounds(np.array([[np.nan, np.inf, 3.0, 1.0]]), "map") == (1.0, 3.0)
    assert bounds(np.array([[np.nan]]), "map") == (0.0, 0.0)
    assert bounds(np.array([[np.nan, np.inf, -np.inf, 3.0, 1.0]]), "percentile:0:100") == (1.0, 3.0)
    assert bounds(np.array([[np.nan]]), "percentile:0:100") == (0.0, 0.0)


@pytest.mark.parametrize("text", ["", "a:b", "1:0", "percentile:50:20", "percentile:0:200", "nan:1", "maps"])
def test_bad_ranges(text):
    with pytest.raises(BadOptionError):
        parse_range(text)


def test_quantise_is_exact_at_the_ends_and_clips():
    assert quantise(HEAT, -2, 6).indices.tolist() == [[0, 64], [96, 255]]
    assert quantise(HEAT, 0, 1).indices.tolist() == [[0, 0], [255, 255]]


def test_what_is_no_number_has_its_own_index():
    result = quantise(np.array([[np.nan, np.inf, -np.inf, 0.0, 1.0]]), 0, 1)
    assert result.indices.tolist() == [[NAN_INDEX, INF_INDEX, INF_INDEX, 0, 253]]
    assert (result.nan, result.inf) == (1, 2)


def test_a_constant_map_is_said_to_be_constant():
    result = quantise(np.full((2, 2), 7.0), 7.0, 7.0)
    assert result.constant
    assert result.indices.tolist() == [[128, 128], [128, 128]]


@pytest.mark.parametrize("value", [1e300, 1.7e308])
def test_huge_doubles_do_not_overflow(value):
    result = quantise(np.array([[-value, 0.0, value]]), -value, value)
    assert result.indices.tolist() == [[0, 128, 255]]


def test_float32_whose_sum_overflows_is_still_finite():
    result = quantise(np.array([[3e38, 3e38, 0.0]], np.float32), 0, 3e38)
    assert (result.nan, result.inf) == (0, 0)
    assert result.indices.tolist() == [[255, 255, 0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("unit", [1e-42, 1e-30, 1.0, 1e30, 1.5e38, 1e-310, 1e300])
def test_the_index_hangs_on_the_place_in_the_range_alone(unit, dtype):
    with np.errstate(over="ignore"):
        heat = np.linspace(-unit, unit, 52).astype(dtype)[None]
    if not np.isfinite(heat).all() or not heat.any():
        pytest.skip("no such values in single precision")
    expected = np.linspace(0, 255, 52)
    for value_range in ("map", "symmetric", "percentile:0:100"):
        found = quantise(heat, *bounds(heat, value_range)).indices.astype(float)
        assert np.abs(found - expected).max() <= 0.51 + 255 * float(np.nextafter(dtype(0), dtype(1))) / unit, (
            value_range
        )


def test_a_fixed_range_that_single_precision_does_not_hold():
    heat = np.array([[-1e30, 0.0, 1e30]], np.float32)
    assert quantise(heat, -1e300, 1e300).indices.tolist() == [[128, 128, 128]]
    assert quantise(heat, 1e-320, 2e-320).indices.tolist() == [[0, 0, 255]]

import numpy as np
import pytest

from featscope.arrays.packed import BFLOAT16, MINUS_INFINITY, NAN, PLUS_INFINITY, unpack


def test_what_is_not_packed_stays():
    array = np.arange(4, dtype=np.uint8)
    assert unpack(array) is array


def test_bfloat16_is_the_upper_half_of_float32(random):
    values = random.standard_normal(100).astype(np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    unpacked = unpack(bits.view(BFLOAT16))
    assert unpacked.dtype == np.float32
    np.testing.assert_array_equal(unpacked.view(np.uint32) >> 16, bits)
    assert np.abs(unpacked - values).max() <= np.abs(values).max() / 128


def test_codes_of_what_is_no_number():
    codes = np.array([[[[0, 252, MINUS_INFINITY, PLUS_INFINITY, NAN]]]], np.uint8)
    values = unpack(codes, np.array([[[-1.0]], [[0.5]]], np.float32))
    np.testing.assert_array_equal(values.ravel(), [-1, 125, -np.inf, np.inf, np.nan])


def test_the_type_is_the_one_that_ml_dtypes_writes(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    np.save(tmp_path / "x.npy", np.array([1.5, -2], ml_dtypes.bfloat16))
    stored = np.load(tmp_path / "x.npy")
    assert stored.dtype == BFLOAT16
    assert unpack(stored).tolist() == [1.5, -2]

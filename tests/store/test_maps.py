"""An array with what lies beside it."""

import numpy as np
import pytest

from featscope.errors import BadArrayError
from featscope.records import CapturedMap, RunInfo
from featscope.store.reader import open_run
from featscope.store.writer import RunWriter


@pytest.fixture
def coded(tmp_path):
    """A map of codes 0 to 15, which stand for -1 and more by a half."""
    writer = RunWriter(tmp_path / "run", RunInfo())
    scales = np.array([[[-1.0]], [[0.5]]], np.float32)
    codes = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    writer.put(CapturedMap("neck", "FPN", "", 0, 0, 0, [], "neck.fpn", scales=scales), codes)
    writer.close()
    (stored,) = open_run(tmp_path / "run").maps
    return stored


def test_codes_are_values_by_their_scales(coded):
    np.testing.assert_array_equal(coded.load().ravel(), np.arange(16) / 2 - 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: np.save(path, np.array([[[-1.0]], [[0.75]]], np.float32)), "has changed since it was captured"),
        (lambda path: np.save(path, np.zeros((2, 1, 2), np.float32)), "does not hold the scales of"),
        (lambda path: np.save(path, np.zeros((2, 1, 1))), "does not hold the scales of"),
    ],
)
def test_scales_that_are_others_are_not_believed(coded, change, message):
    with open(coded.path.with_suffix(".scales"), "wb") as file:
        change(file)
    with pytest.raises(BadArrayError, match=message):
        coded.load()


def test_scales_that_are_gone_are_missed(coded):
    coded.path.with_suffix(".scales").unlink()
    with pytest.raises(BadArrayError, match=r"batch_0_layer_0\.scales cannot be read"):
        coded.load()

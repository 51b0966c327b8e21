import pytest

from featscope.records import infer_stride


@pytest.mark.parametrize(
    ("padded", "cells", "stride"),
    [(1024, 128, 8), (992, 16, 64), (992, 8, 128), (518, 37, 14), (416, 52, 8), (371, 47, 8), (100, 30, 100 / 30)],
)
def test_stride(padded, cells, stride):
    assert infer_stride(padded, cells) == stride

import msgspec
import pytest

from featscope.records import MapRecord, infer_stride


@pytest.mark.parametrize(
    ("padded", "cells", "stride"),
    [(1024, 128, 8), (992, 16, 64), (992, 8, 128), (518, 37, 14), (416, 52, 8), (371, 47, 8), (100, 30, 100 / 30)],
)
def test_stride(padded, cells, stride):
    assert infer_stride(padded, cells) == stride


@pytest.mark.parametrize("place", ['"stride":[0.0,8.0]', '"stride":[8.0,-1.0]', '"first":[1e300,0.0]'])
def test_a_line_with_a_place_that_no_map_has_is_damaged(place):
    line = (
        '{"path":"n/batch_0_layer_0.npy","layer":"n","cls":"N","field":"","level":0,"call":0,"batch":0,"samples":[],'
        f'"shape":[1,1,1,1],"dtype":"<f4","bytes":4,"checksum":0,{place}}}'
    )
    with pytest.raises(msgspec.ValidationError, match="cells? cannot lie"):
        msgspec.json.decode(line, type=MapRecord)

"""Channels as small tiles, and orders to look at them in."""

import numpy as np
import pytest

from featscope.arrays.tiles import (
    INF_CODE,
    NAN_CODE,
    TOP_CODE,
    Objects,
    cells_on_boxes,
    centres,
    encode_tiles,
    rank_channels,
    shrink,
    strongest,
)
from featscope.errors import BadOptionError, UnknownNameError


def test_one_strong_cell_of_many_is_still_seen_when_a_map_is_shrunk(random):
    channels = random.normal(0, 0.1, (3, 100, 130)).astype(np.float32)
    channels[0, 57, 99], channels[1, 3, 0] = 40.0, -30.0
    small = shrink(channels, 16)
    assert small.shape == (3, 12, 15)
    assert small[0, 57 // 9, 99 // 9] == 40
    assert small[1, 0, 0] == -30
    means = shrink(channels, 16, "mean")
    np.testing.assert_allclose(means[2, 0, 0], channels[2, :9, :9].mean(), rtol=1e-4)
    np.testing.assert_allclose(means[2, 11, 14], channels[2, 99:, 126:].mean(), rtol=1e-4)
    assert shrink(channels, 130) is channels


def test_each_channel_spans_its_own_codes(random):
    channels = random.normal(size=(5, 7, 9)).astype(np.float32)
    channels[1] = 3.0
    channels[2, 0, 0], channels[2, 0, 1] = np.nan, np.inf
    channels[3] = np.nan
    tiles = encode_tiles(channels)
    assert tiles.codes[0].min() == 0
    assert tiles.codes[0].max() == TOP_CODE
    assert (tiles.lows[1], tiles.highs[1], tiles.codes[1].max()) == (3.0, 3.0, 0)
    assert tiles.codes[2, 0, :2].tolist() == [NAN_CODE, INF_CODE]
    assert (tiles.codes[3] == NAN_CODE).all()
    assert (tiles.lows[3], tiles.highs[3]) == (0.0, 0.0)
    back = tiles.lows[:, None, None] + tiles.codes / TOP_CODE * (tiles.highs - tiles.lows)[:, None, None]
    np.testing.assert_allclose(back[0], channels[0], atol=(tiles.highs[0] - tiles.lows[0]) / TOP_CODE)


def test_values_whose_span_has_no_room_in_single_precision():
    tiles = encode_tiles(np.array([[[-3e38, 0.0, 3e38]]], np.float32))
    assert tiles.codes.ravel().tolist() == [0, 127, 253]


def test_orders():
    maps = np.zeros((4, 4, 4))
    maps[1, 0, 0] = -9
    maps[2] = 2.0
    maps[3, :2] = 2.0
    assert rank_channels(maps, "number").channels.tolist() == [0, 1, 2, 3]
    assert rank_channels(maps, "energy").channels.tolist() == [2, 3, 1, 0]
    assert rank_channels(maps, "sparsity").channels[:2].tolist() == [0, 1]
    similar = rank_channels(maps, "similarity:3")
    assert similar.channels.tolist()[:2] == [3, 2]
    np.testing.assert_allclose(similar.values[[3, 2]], [1, np.sqrt(0.5)])
    with pytest.raises(BadOptionError, match="similarity:0 to similarity:3"):
        rank_channels(maps, "similarity:4")
    with pytest.raises(UnknownNameError, match="order of channels 'size'"):
        rank_channels(maps, "size")


def test_cells_off_the_image_have_no_say_in_an_order():
    maps = np.zeros((2, 2, 4))
    maps[0, :, 2:] = 100
    maps[1] = 1
    assert rank_channels(maps, "energy", (slice(None), slice(0, 2))).channels.tolist() == [1, 0]


def test_contrast_is_between_objects_and_their_rings(random):
    maps = random.normal(size=(3, 20, 20))
    maps[1, 5:8, 5:8] += 9
    x = centres(20, 0, 20, start=0, length=160, mirrored=False)
    objects = cells_on_boxes(np.array([[[40, 40], [64, 40], [64, 64], [40, 64]]]), x, x)
    assert objects.on.sum() == 9
    assert not (objects.on & objects.around).any()
    assert rank_channels(maps, "contrast", objects=objects).channels[0] == 1
    with pytest.raises(BadOptionError, match="no boxes"):
        rank_channels(maps, "contrast")


def test_an_object_smaller_than_a_cell_counts_for_the_nearest_cell():
    x = centres(4, 0, 4, start=0, length=32, mirrored=False)
    objects = cells_on_boxes(np.array([[[17, 1], [18, 1], [18, 2], [17, 2]]]), x, x)
    assert np.argwhere(objects.on).tolist() == [[0, 2]]
    assert objects.around.sum() == 5
    assert cells_on_boxes(np.zeros((0, 4, 2)), x, x) is None


def test_centres_of_a_mirrored_map():
    np.testing.assert_allclose(centres(2, 0.0, 2.0, start=0.0, length=8.0, mirrored=True), [6, 2])


def test_the_strongest_value_of_a_channel():
    maps = np.array([[[1.0, np.nan, 3.0]], [[np.inf, -4.0, -5.0]], [[np.nan] * 3]])
    assert strongest(maps).tolist() == [3.0, -5.0, 0.0]
    assert strongest(maps, (slice(None), slice(0, 1)))[0] == 1.0


def test_objects_are_rows_and_columns():
    objects = Objects(np.zeros((2, 3), bool), np.ones((2, 3), bool))
    assert objects.on.shape == objects.around.shape

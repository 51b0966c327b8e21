import io

import numpy as np
import pytest
from conftest import pixels
from PIL import Image

from featscope.arrays.channels import choose_channels
from featscope.errors import BadOptionError
from featscope.render.mosaic import draw_channel, draw_mosaic

MAP = np.array([[[0.0, 1.0]], [[5.0, 3.0]], [[2.0, 2.0]]], np.float32)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("all", [0, 1, 2]),
        ("1", [1]),
        ("0-1", [0, 1]),
        ("2,0", [2, 0]),
        ("top:2", [1, 2]),
        ("sum:1", [1]),
        ("0-1,2", [0, 1, 2]),
    ],
)
def test_choices(choice, expected):
    assert choose_channels(MAP, choice) == expected


@pytest.mark.parametrize("choice", ["", "x", "top:", "top:0", "1-", "3", "0-3", "-1"])
def test_bad_choices(choice):
    with pytest.raises(BadOptionError):
        choose_channels(MAP, choice)


def test_golden_pixels():
    picture = pixels(draw_mosaic(MAP, "0,1", "gray", columns=1).png)[..., 0]
    # Tiles of 1 x 2 cells below one another, a white line between; each tile over its own range.
    assert picture.tolist() == [[0, 255], [255, 255], [255, 0]]


def test_one_range_for_all_tiles():
    picture = pixels(draw_mosaic(MAP, "0,1", "gray", "map", columns=2, gap=0).png)[..., 0]
    assert picture.tolist() == [[0, 51, 255, 153]]


def test_scale_and_gap():
    picture = pixels(draw_mosaic(MAP, "all", "gray", columns=3, scale=4, gap=2).png)
    assert picture.shape == (4, 3 * 8 + 2 * 2, 3)
    assert (picture[:, 8:10] == 255).all()


def test_numbers_and_titles_change_only_their_place(random):
    array = random.random((4, 40, 40))
    plain = pixels(draw_mosaic(array, "all", "gray", columns=2).png)
    titled = pixels(draw_mosaic(array, "all", "gray", columns=2, title="neck.fpn").png)
    np.testing.assert_array_equal(titled[20:, : plain.shape[1]], plain)
    assert (titled[:20] < 100).any()
    numbered = pixels(draw_mosaic(array, "all", "gray", columns=2, numbers=True).png)
    changed = (numbered != plain).any(-1)
    assert changed[:16, :16].any()
    assert not changed[20:40, :].any()


def test_a_tiles_number_is_that_of_its_channel():
    alike = np.zeros((8, 40, 40))
    numbered = {choice: pixels(draw_mosaic(alike, choice, "gray", numbers=True).png) for choice in ("0", "7", "7,0")}
    assert (numbered["0"] != numbered["7"]).any()
    np.testing.assert_array_equal(numbered["7,0"][:40, :40], numbered["7"])


def test_a_single_channel():
    picture = draw_channel(MAP[1], "gray", (3.0, 5.0), scale=2)
    assert pixels(picture.png)[..., 0].tolist() == [[255, 255, 0, 0], [255, 255, 0, 0]]


def test_nan_is_counted_in_tiles():
    array = MAP.copy()
    array[1, 0, 0], array[0, 0, 0] = np.nan, np.inf
    mosaic = draw_mosaic(array, "all", "gray")
    assert (mosaic.nan, mosaic.inf) == (1, 1)


def test_the_channels_are_written_into_the_file():
    assert Image.open(io.BytesIO(draw_mosaic(MAP, "top:2").png)).text["channels"] == "1,2"

import io

import numpy as np
import pytest
from conftest import pixels
from PIL import Image

from featscope.arrays.channels import choose_channels
from featscope.errors import BadOptionError
from featscope.render import mosaic
from featscope.render.mosaic import columns_of, draw_channel, draw_mosaic, scale_of

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
    picture = pixels(draw_mosaic(MAP, "0,1", "gray", columns=1, scale=1).png)[..., 0]
    # Tiles of 1 x 2 cells below one another, a white line between; each tile over its own range.
    assert picture.tolist() == [[0, 255], [255, 255], [255, 0]]


def test_one_range_for_all_tiles():
    picture = pixels(draw_mosaic(MAP, "0,1", "gray", "map", columns=2, scale=1, gap=0).png)[..., 0]
    assert picture.tolist() == [[0, 51, 255, 153]]


def test_scale_and_gap():
    picture = pixels(draw_mosaic(MAP, "all", "gray", columns=3, scale=4, gap=2).png)
    assert picture.shape == (4, 3 * 8 + 2 * 2, 3)
    assert (picture[:, 8:10] == 255).all()


def test_numbers_titles_and_scales_stand_around_the_tiles(random):
    array = random.random((4, 400, 400))
    colours = {"columns": 2, "scale": 1, "colormap": "gray"}
    plain = pixels(draw_mosaic(array, **colours).png).astype(int)
    titled = pixels(draw_mosaic(array, **colours, title="neck.fpn").png)
    found = [row for row in range(len(titled)) if abs(titled[row] - plain[0]).max() <= 2]
    assert len(found) == 1, "the tiles are not covered"
    np.testing.assert_allclose(titled[found[0] : found[0] + len(plain)], plain, atol=2)
    above, below = titled[: found[0]], titled[found[0] + len(plain) :]
    assert (above < 100).any()
    middle = below[len(below) // 3, 10:-10, 0].astype(int)
    assert (np.diff(middle) >= 0).all(), "the scale"
    assert middle[-1] - middle[0] > 200
    numbered = pixels(draw_mosaic(array, **colours, numbers=True).png)
    height = (len(numbered) - len(plain)) // 2
    np.testing.assert_allclose(numbered[height : height + 400], plain[:400], atol=2)
    assert (numbered[:height] < 100).any()


@pytest.mark.parametrize("shape", [(256, 8, 8), (1000, 1, 1), (3, 2, 300), (1, 13, 13)])
def test_small_maps_are_drawn_large_enough_for_their_numbers(shape):
    array = np.random.default_rng(0).random(shape)
    picture = pixels(draw_mosaic(array, numbers=True).png)
    assert 300 <= max(picture.shape) <= 4000
    columns = columns_of(shape[0], shape[1] / shape[2])
    assert shape[2] * scale_of(*shape[1:], columns, -(-shape[0] // columns)) >= 40


def test_a_number_has_room_above_a_tile_that_is_narrower(random):
    array = random.random((1001, 4, 1))
    narrow = pixels(draw_mosaic(array, "1000,7", columns=2, scale=1, gap=0, numbers=True).png)
    assert narrow.shape[1] > 2 * 20


@pytest.mark.parametrize("count", [*range(2, 70), 257, 1000, 1001])
@pytest.mark.parametrize("aspect", [0.5, 1.0, 1.6])
def test_the_last_row_is_not_one_tile(count, aspect):
    columns = columns_of(count, aspect)
    assert columns in (1, count) or count % columns != 1
    assert count < 6 or 0.4 < columns / (count / columns * aspect) < 5, "about as wide as high"


def test_a_tiles_number_is_that_of_its_channel():
    alike = np.zeros((8, 40, 40))
    numbered = {
        choice: pixels(draw_mosaic(alike, choice, "gray", columns=2, scale=1, numbers=True).png)
        for choice in ("0", "7", "7,0")
    }
    assert (numbered["0"] != numbered["7"]).any()
    np.testing.assert_array_equal(numbered["7,0"][:, :40], numbered["7"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "3 channels, each over its own range of values; 1 of one value in all cells"),
        ({"channels": "0,1"}, "2 of 3 channels, each over its own range of values"),
        ({"value_range": "map"}, "3 channels, one range for all; 1 of one value in all cells"),
        ({"channels": "1"}, "1 of 3 channels"),
    ],
)
def test_what_the_colours_span_is_said(monkeypatch, options, words):
    seen = []
    real = mosaic.frame
    monkeypatch.setattr(
        mosaic, "frame", lambda width, caption, *rest: seen.append(caption) or real(width, caption, *rest)
    )
    draw_mosaic(MAP, title="neck", **options)
    assert [caption.words for caption in seen] == [words]


def test_a_single_channel():
    picture = draw_channel(MAP[1], "gray", (3.0, 5.0), scale=2)
    assert pixels(picture.png)[..., 0].tolist() == [[255, 255, 0, 0], [255, 255, 0, 0]]


def test_nan_is_counted_in_tiles():
    array = MAP.copy()
    array[1, 0, 0], array[0, 0, 0] = np.nan, np.inf
    drawn = draw_mosaic(array, "all", "gray")
    assert (drawn.nan, drawn.inf) == (1, 1)


def test_the_channels_are_written_into_the_file():
    assert Image.open(io.BytesIO(draw_mosaic(MAP, "top:2").png)).text["channels"] == "1,2"

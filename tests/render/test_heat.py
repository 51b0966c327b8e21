import io
from dataclasses import replace

import numpy as np
import pytest
from conftest import pixels
from PIL import Image

from featscope.errors import BadImageError, UnknownNameError
from featscope.records import Boxes, Geometry
from featscope.render.caption import Caption, frame, tick_text, ticks
from featscope.render.colour import CLASS_COLOURS, NAN_COLOUR, palette
from featscope.render.heat import STYLES, HeatStyle, draw_heat, style_named

MAP = np.array([[[0.0, 1.0], [2.0, 3.0]]], np.float32)
GRAY = HeatStyle(colormap="gray")


def test_golden_pixels_at_native_size():
    assert pixels(draw_heat(MAP, GRAY).png)[..., 0].tolist() == [[0, 85], [170, 255]]


def test_golden_pixels_enlarged():
    picture = pixels(draw_heat(MAP[:, :1], GRAY, size=(2, 8)).png)[..., 0]
    assert picture.tolist() == [[0, 0, 32, 96, 159, 223, 255, 255]] * 2
    flat = draw_heat(MAP[:, :1], HeatStyle(colormap="gray", smooth=False), size=(2, 8)).png
    assert pixels(flat)[0, :, 0].tolist() == [0] * 4 + [255] * 4


def test_golden_pixels_over_an_image():
    image = np.full((2, 2, 3), 100, np.uint8)
    picture = pixels(draw_heat(MAP, HeatStyle(colormap="gray", alpha=0.25), image=image).png)
    assert picture[..., 0].tolist() == [[75, 96], [117, 138]]


def test_colours_are_those_of_the_map():
    np.testing.assert_array_equal(
        pixels(draw_heat(MAP, HeatStyle(colormap="viridis")).png), palette("viridis")[np.array([[0, 85], [170, 255]])]
    )


def test_nan_has_its_colour_and_is_counted():
    array = MAP.copy()
    array[0, 0, 1] = np.nan
    picture = draw_heat(array, GRAY, size=(20, 20))
    assert picture.values.nan == 1
    assert (pixels(picture.png)[:10, 10:] == NAN_COLOUR).all()
    assert (pixels(picture.png)[10:, :10, 0] == pixels(picture.png)[10:, :10, 1]).all()
    assert "1 NaN" in Image.open(io.BytesIO(picture.png)).text["not finite"]


def test_a_constant_map_says_so():
    picture = draw_heat(np.full((2, 3, 3), 5.0), GRAY)
    assert picture.values.constant
    assert Image.open(io.BytesIO(picture.png)).text["constant"] == "5"
    assert len(np.unique(pixels(picture.png))) == 1


def test_three_components_are_a_colour_picture(random):
    picture = pixels(draw_heat(random.standard_normal((8, 6, 5)), HeatStyle(reduce="pca"), size=(60, 50)).png)
    assert picture.shape == (60, 50, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100


def test_boxes_over_three_components(random):
    array, style = random.standard_normal((8, 6, 5)), HeatStyle(reduce="pca")
    boxes = Boxes("xyxy", [[10, 10, 40, 40]], [0])
    plain = pixels(draw_heat(array, style, size=(60, 50)).png)
    boxed = pixels(draw_heat(array, style, size=(60, 50), boxes=[(boxes, "white")]).png)
    assert (boxed[25, 10] == 255).all()
    assert (boxed[20:30, 20:30] == plain[20:30, 20:30]).all()


def test_boxes_lie_where_they_say():
    boxes = Boxes("cxcywha", [[50, 50, 40, 20, 0.0]], [0])
    tilted = Boxes("cxcywha", [[50, 50, 40, 20, np.pi / 2]], [0])
    weak = Boxes("xyxy", [[10, 10, 90, 90]], [0], [0.1])
    style = HeatStyle(colormap="gray")
    blank = pixels(draw_heat(MAP, style, size=(100, 100)).png)

    def changed(some):
        picture = pixels(draw_heat(MAP, style, size=(100, 100), boxes=[(some, "red")]).png)
        return np.argwhere((picture == (255, 0, 0)).all(-1) & (picture != blank).any(-1))

    assert np.abs(changed(boxes).min(0) - [40, 30]).max() <= 1
    assert np.abs(changed(boxes).max(0) - [60, 70]).max() <= 1
    assert np.abs(changed(tilted).min(0) - [30, 40]).max() <= 1
    assert len(changed(weak)) == 0


TITLE = Caption("neck level 0", "mean of the channels")


def test_title_and_scale_frame_the_map():
    plain = pixels(draw_heat(MAP, GRAY, size=(200, 400)).png)
    framed = pixels(draw_heat(MAP, GRAY, size=(200, 400), caption=TITLE).png)
    top = next(row for row in range(60) if (framed[row : row + 200].astype(int) - plain).max() < 12)
    assert np.abs(framed[top : top + 200].astype(int) - plain).max() <= 2, "but for the shades that letters take"
    assert (framed[:top] < 100).any(), "letters stand above"
    below = framed[top + 200 :, :, 0].astype(int)
    bar = max(below[:, 20:-20], key=lambda row: int((np.diff(row) >= 0).all()) * np.ptp(row))
    assert np.ptp(bar) > 200
    assert (np.diff(bar) >= 0).all(), "the scale goes from dark to bright as the colours do"


def test_the_scale_is_in_the_colours_that_are_seen():
    """Half transparent over a grey picture, the brightest colour is half as far from grey."""
    image = np.full((400, 400, 3), 150, np.uint8)
    style = HeatStyle(colormap="gray", alpha=0.5)
    framed = pixels(draw_heat(MAP, style, image=image, caption=TITLE).png)
    assert framed[60:-60].max() == round(150 + 105 * 0.5)
    rows = [row for row in framed[-60:, 20:-20, 0].astype(int) if row[-1] - row[0] > 60]
    assert rows
    assert all(abs(int(row.max()) - 202) <= 5 for row in rows)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.031, 0.034, [-0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03]),
        (7.0, 7.0, [7.0]),
        (1e8, 1e8 + 5, [1e8 + i for i in range(6)]),
        (3e-41, 9e-41, [i * 1e-41 for i in range(3, 10)]),
        (-1e300, 1e300, None),
    ],
)
def test_ticks_are_round_and_told_apart(low, high, expected):
    found = ticks(low, high)
    if expected is not None:
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=(high - low) * 1e-9)
    assert len({tick_text(value, low, high) for value in found}) == len(found)


def test_a_tick_stands_where_its_value_is():
    values = draw_heat(np.linspace(-1, 3, 64, dtype=np.float32).reshape(1, 8, 8), GRAY).values
    around = frame(1000, TITLE, values)
    top, bottom, left, right = around.bar
    marks = np.flatnonzero(around.below[bottom + 2] < 150)
    expected = [left + (value + 1) / 4 * (right - 1 - left) for value in (-1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3)]
    found = [mark for mark in marks if not any(mark - other == 1 for other in marks)]
    if len(found) == 5:  # every second
        expected = expected[::2]
    np.testing.assert_allclose(found, expected, atol=1.5)


def test_cells_on_the_padding_have_no_say_in_the_range():
    """As the border of a padded input: it is brighter than all that the image shows."""
    geometry = Geometry((80, 40), (80, 40), (80, 80))
    array = np.random.default_rng(0).random((1, 10, 10)).astype(np.float32)
    array[:, :, 5:] = 100
    style = HeatStyle(range="percentile:1:99")
    assert draw_heat(array, style, geometry=geometry, stride=(8, 8)).values.high < 1
    assert draw_heat(array, style).values.high == 100


def test_the_share_beyond_the_range_is_counted():
    array = np.arange(100, dtype=np.float32).reshape(1, 10, 10)
    picture = draw_heat(array, HeatStyle(range="10:89"))
    assert picture.clipped == pytest.approx(0.2)


class TestAuto:
    """What suits a map of which nothing is known but its values."""

    def test_signed_values_of_one_channel_have_zero_in_the_middle(self):
        array = np.linspace(-1, 3, 64, dtype=np.float32).reshape(1, 8, 8)
        values = draw_heat(array).values
        assert values.low == -values.high
        assert 2.9 < values.high <= 3

    def test_values_of_one_sign_have_not(self):
        values = draw_heat(np.linspace(0, 3, 64, dtype=np.float32).reshape(1, 8, 8)).values
        assert values.low > -0.01

    def test_an_object_stands_out_though_the_channels_cancel(self):
        """As in a neck: what is unusual has other signs, and the mean is flat."""
        random = np.random.default_rng(0)
        array = random.normal(0, 0.05, (32, 16, 16)).astype(np.float32) + 1
        array[:16, 4:8, 4:8] += 1
        array[16:, 4:8, 4:8] -= 1
        indices = draw_heat(array).values.indices.astype(float)
        assert indices[4:8, 4:8].min() > indices[9:].max() + 100

    def test_what_is_asked_for_stays(self):
        style = HeatStyle("auto", "0:2", "gray")
        filled = style.for_array(np.full((1, 2, 2), -1.0))
        assert (filled.range, filled.colormap, filled.zero) == ("0:2", "gray", False)


def test_a_style_that_fades_is_no_stronger_than_its_alpha():
    image = np.zeros((4, 4, 3), np.uint8)
    ramp = np.tile(np.array([0.0, 0.05, 0.5, 1.0], np.float32), (4, 1))[None]
    picture = pixels(draw_heat(ramp, HeatStyle(colormap="gray", alpha=0.4, fade=True), image=image).png)[0, :, 0]
    assert picture[0] == 0
    assert picture[1] <= 1, "what is low lets the image through"
    assert abs(picture[3] - 0.4 * 255) <= 1


def test_the_best_box_lies_above_the_others():
    boxes = Boxes("xyxy", [[10, 10, 60, 60], [10, 10, 60, 90]], [0, 1], [0.9, 0.5])
    drawn = {}
    for order in ([0, 1], [1, 0]):
        some = Boxes(
            "xyxy", [boxes.boxes[i] for i in order], [boxes.labels[i] for i in order], [boxes.scores[i] for i in order]
        )
        picture = pixels(draw_heat(MAP, GRAY, size=(100, 100), boxes=[(some, None)]).png)
        drawn[tuple(order)] = tuple(int(value) for value in picture[40, 10])
    assert drawn[0, 1] == drawn[1, 0] == CLASS_COLOURS[0]


def test_an_image_of_another_size_is_refused():
    with pytest.raises(BadImageError, match="10 x 12"):
        draw_heat(MAP, image=np.zeros((10, 12, 3), np.uint8), geometry=Geometry((10, 10), (10, 10), (16, 16)))


def test_outside_of_a_crop_the_image_is_untouched():
    geometry = Geometry((10, 10), (4, 4), (4, 4), crop=(2, 3, 4, 4))
    image = np.full((10, 10, 3), 77, np.uint8)
    picture = pixels(draw_heat(MAP, geometry=geometry, image=image).png)
    outside = np.ones((10, 10), bool)
    outside[2:6, 3:7] = False
    assert (picture[outside] == 77).all()
    assert (picture[~outside] != 77).any()


def test_provenance_is_in_the_file():
    png = draw_heat(MAP, GRAY, text={"layer": "neck"}).png
    text = Image.open(io.BytesIO(png)).text
    assert (text["layer"], text["range"], text["reduce"]) == ("neck", "0 3", "mean")


def test_named_styles():
    assert style_named("jet", alpha=0.3, reduce=None) == HeatStyle(
        colormap="jet", alpha=0.3, resize="values", stretched=True
    )
    with pytest.raises(UnknownNameError, match="mmengine_mean"):
        style_named("mmengine_men")


class TestTheImageUnderAMapWithoutGeometry:
    MAP = np.random.default_rng(0).random((2, 20, 20), np.float32)

    def test_a_map_of_a_letterbox_is_refused_over_the_photo(self):
        with pytest.raises(
            BadImageError,
            match=r"20 x 20 cells cannot cover a whole image of 1080 x 810.*geometry=Geometry\(orig",
        ):
            draw_heat(self.MAP, image=np.zeros((1080, 810, 3), np.uint8))

    def test_it_is_drawn_with_its_geometry_and_over_the_input(self):
        photo = np.zeros((1080, 810, 3), np.uint8)
        draw_heat(self.MAP, image=photo, geometry=Geometry((1080, 810), (640, 480), (640, 640), (0, 80)))
        draw_heat(self.MAP, image=np.zeros((640, 640, 3), np.uint8))

    @pytest.mark.parametrize(
        ("cells", "image", "fits"),
        [((8, 8), (1024, 992), True), ((128, 124), (1024, 992), True), ((7, 7), (224, 224), True),
         ((7, 10), (200, 300), True), ((8, 8), (1024, 895), False), ((128, 124), (1182, 1111), False),
         ((1, 1), (100, 300), True), ((1, 2), (100, 300), True), ((20, 40), (40, 20), False)],
    )  # fmt: skip
    def test_half_a_cell_may_be_missing(self, cells, image, fits):
        heat, picture = np.ones((1, *cells), np.float32), np.zeros((*image, 3), np.uint8)
        if fits:
            assert pixels(draw_heat(heat, image=picture).png).shape == picture.shape
        else:
            with pytest.raises(BadImageError, match="cannot cover a whole image"):
                draw_heat(heat, image=picture)


@pytest.mark.parametrize("style", sorted(STYLES))
@pytest.mark.parametrize("unit", [1e-42, 1e38, 1e300])
@pytest.mark.parametrize("reduction", ["mean", "l2", "std", "pca"])
def test_values_of_any_size_are_drawn_as_those_near_one(style, unit, reduction, random):
    """But for the rounding of numbers that have few digits."""
    array = random.integers(0, 64, (3, 5, 6)) / 64
    small = array * unit if unit > 1e38 else (array * unit).astype(np.float32)
    for value_range in ("map", "symmetric", "percentile:1:99"):
        look = replace(STYLES[style], reduce=reduction, range=value_range)
        found, expected = (draw_heat(x, look, size=(20, 24), caption=TITLE) for x in (small, array))
        assert (found.values.nan, found.values.inf) == (0, 0)
        near = np.abs(found.values.indices.astype(int) - expected.values.indices)
        assert near.max() <= (3 if unit < 1e-40 else 1), value_range


@pytest.mark.parametrize("size", [(1, 1 << 20), (1 << 20, 1), (100, 1 << 20), (1 << 20, 100)])
@pytest.mark.parametrize("caption", [None, TITLE])
def test_a_picture_a_million_pixels_long_is_drawn(size, caption):
    """Letters that grow with it would take all memory."""
    geometry = Geometry(size, (800, 800), (800, 800))
    boxes = [(Boxes("xyxy", [[0.0, 0.0, 60.0, 60.0]], [0], [0.9]), None)]
    draw_heat(np.zeros((1, 8, 8)), geometry=geometry, stride=(100.0, 100.0), boxes=boxes, caption=caption)

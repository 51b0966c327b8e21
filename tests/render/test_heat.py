import io
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from conftest import pixels
from PIL import Image

from featscope.errors import BadImageError, UnknownNameError
from featscope.records import Boxes, Geometry
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


def test_a_colour_bar_is_beside_the_map():
    plain = pixels(draw_heat(MAP, GRAY, size=(200, 200)).png)
    barred = pixels(draw_heat(MAP, HeatStyle(colormap="gray", colorbar=True), size=(200, 200)).png)
    assert barred.shape[1] > 215
    np.testing.assert_array_equal(barred[:, :200], plain)
    bar = barred[20:180, 212, 0].astype(int)
    assert bar[0] > 230
    assert bar[-1] < 30
    assert (np.diff(bar) <= 0).all()


def test_a_constant_map_has_one_number_beside_it():
    def numbers(feature_map):
        """How many rows of text stand right of the bar."""
        barred = pixels(draw_heat(feature_map, HeatStyle(colormap="gray", colorbar=True), size=(200, 200)).png)
        rows = np.flatnonzero((barred[:, 222:] < 128).any((1, 2)))
        return 1 + int((np.diff(rows) > 10).sum())

    assert numbers(MAP) == 3
    assert numbers(np.full((1, 4, 4), 7.0)) == 1


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
            match=r"20 x 20 cells cannot be of the whole of an image of 1080 x 810.*geometry=Geometry\(orig",
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
            with pytest.raises(BadImageError, match="cannot be of the whole"):
                draw_heat(heat, image=picture)


@pytest.mark.parametrize("style", sorted(STYLES))
@pytest.mark.parametrize("unit", [1e-42, 1e38, 1e300])
@pytest.mark.parametrize("reduction", ["mean", "l2", "std", "pca"])
def test_values_of_any_size_are_drawn_as_those_near_one(style, unit, reduction, random):
    """But for the rounding of numbers that have few digits."""
    array = random.integers(0, 64, (3, 5, 6)) / 64
    small = array * unit if unit > 1e38 else (array * unit).astype(np.float32)
    for value_range in ("map", "symmetric", "percentile:1:99"):
        look = replace(STYLES[style], reduce=reduction, range=value_range, colorbar=True)
        found, expected = draw_heat(small, look, size=(20, 24)), draw_heat(array, look, size=(20, 24))
        assert (found.values.nan, found.values.inf) == (0, 0)
        near = np.abs(found.values.indices.astype(int) - expected.values.indices)
        assert near.max() <= (3 if unit < 1e-40 else 1), value_range


@pytest.mark.parametrize("size", [(1, 1 << 20), (1 << 20, 1), (100, 1 << 20), (1 << 20, 100)])
@pytest.mark.parametrize("colorbar", [False, True])
def test_a_picture_a_million_pixels_long_is_drawn_or_refused(size, colorbar):
    """Letters that grow with it would take all memory."""
    geometry = Geometry(size, (800, 800), (800, 800))
    boxes = [(Boxes("xyxy", [[0.0, 0.0, 60.0, 60.0]], [0], [0.9]), None)]
    style = HeatStyle(colorbar=colorbar)
    refused = colorbar and size[0] == 1 << 20
    with pytest.raises(BadImageError, match="larger than") if refused else nullcontext():
        draw_heat(np.zeros((1, 8, 8)), style, geometry=geometry, stride=(100.0, 100.0), boxes=boxes)

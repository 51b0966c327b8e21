"""A window lies around its object and inside the image, and on the maps at the place of the whole image."""

import numpy as np
import pytest

from featscope.arrays.geometry import place
from featscope.records import Geometry
from featscope.render.crops import Window, window_around


def box(x, y, width, height):
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], float)


def test_a_small_object_gets_64_pixels_and_a_large_one_twice_its_side():
    assert window_around(box(100, 200, 6, 4), [], (480, 640), 300) == Window(170, 71, 64, 300)
    assert window_around(box(100, 200, 90, 10), [], (480, 640), 300).side == 180


@pytest.mark.parametrize(("x", "y"), [(0, 0), (630, 0), (0, 470), (630, 470)])
def test_at_the_edge_a_window_is_moved_into_the_image(x, y):
    window = window_around(box(x, y, 10, 10), [], (480, 640), 300)
    assert (window.top, window.left) == (0 if y == 0 else 480 - 64, 0 if x == 0 else 640 - 64)


def test_a_box_nearby_widens_the_window_and_one_far_away_does_not():
    true = box(300, 200, 40, 40)
    alone, near, far = (
        window_around(true, others, (480, 640), 300).side for others in ([], [box(350, 200, 40, 40)], [box(0, 0, 9, 9)])
    )
    assert alone == 80 < near < 200
    assert far == 200
    assert window_around(true, [np.full((4, 2), np.nan)], (480, 640), 300).side == alone


def test_outside_of_a_narrow_image_is_grey():
    image = np.zeros((40, 200, 3), np.uint8)
    window = window_around(box(20, 10, 60, 10), [], (40, 200), 120)
    part = window.cut(image)
    assert window == Window(-40, 0, 120, 120)
    assert part[:38].min() == part[82:].min() == 236
    assert part[42:78].max() == 0


GEOMETRIES = {
    "resized": Geometry((160, 200), (80, 100), (96, 128)),
    "letterbox": Geometry((160, 200), (80, 100), (128, 128), offset=(24, 14)),
    "flipped": Geometry((160, 200), (160, 200), (160, 224), flip="horizontal"),
    "turned": Geometry((160, 200), (80, 100), (96, 128), flip="diagonal"),
    "cropped": Geometry((160, 200), (96, 96), (96, 96), crop=(30, 60, 96, 96)),
}


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("stride", [8, 32])
def test_a_map_lies_in_the_window_as_in_the_whole_image(name, stride):
    geometry = GEOMETRIES[name]
    rows, columns = (side // stride for side in geometry.padded)
    heat = np.random.default_rng(0).random((rows, columns)).astype(np.float32)
    window = Window(40, 70, 64, 64)
    whole = place(heat, geometry.original, geometry, (stride, stride))[40:104, 70:134]
    own = window.geometry(geometry)
    assert own is not None
    assert np.abs(whole - place(heat, (64, 64), own, (stride, stride))).max() < 1e-4


def test_an_enlarged_map_lies_where_the_box_does():
    geometry, window = GEOMETRIES["letterbox"], Window(40, 70, 64, 256)
    heat = np.zeros((16, 16), np.float32)
    heat[8, 8] = 1  # its centre is the input's (68, 68), which is the original's (108, 88)
    drawn = place(heat, (256, 256), window.geometry(geometry), (8, 8))
    y, x = np.unravel_index(drawn.argmax(), drawn.shape)
    assert window.moved(np.array([108.0, 88.0])) == pytest.approx([x + 0.5, y + 0.5], abs=2)


def test_what_the_network_did_not_see_has_no_place():
    assert Window(0, 0, 20, 80).geometry(GEOMETRIES["cropped"]) is None

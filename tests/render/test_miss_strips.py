"""The picture of one missed object: its boxes on the image, and its place on the maps."""

import numpy as np
import pytest
from conftest import pixels

from featscope.records import Geometry, Place
from featscope.render import miss_strips
from featscope.render.caption import Caption, under_title
from featscope.render.heat import HeatStyle, draw_heat
from featscope.render.miss_strips import LayerAt, MapAt, MarkedBox, MissScene, draw_miss
from featscope.render.outlines import CANDIDATE, OTHER, SUPPRESSOR, TRUE

SIZE = (240, 320)
GEOMETRY = Geometry(SIZE, (120, 160), (128, 160))
STYLE = HeatStyle(reduce="channel:0", range="map", colormap="turbo", alpha=0.7, fade=True, grey=True)
SIDE = 84.0
"""The window is twice as wide, which is as many pixels as a map has in the picture."""


def box(x, y, width=SIDE, height=SIDE, pen=TRUE, words="the object"):
    return MarkedBox(np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]]), pen, words)


def scene(**changes):
    image = np.random.default_rng(0).integers(40, 80, (*SIZE, 3), np.uint8)
    whole = {
        "title": "Missed ship: suppressed",
        "words": "scene 1",
        "size": SIZE,
        "image": image,
        "geometry": GEOMETRY,
        "box": box(100, 60),
    }
    return MissScene(**{**whole, **changes})


def layer(*maps, name="neck", scale=(0.0, 1.0)):
    return LayerAt(name, STYLE, scale, [MapAt(one, None, f"level {level}") for level, one in enumerate(maps)])


def close(image, colour, far=40):
    return np.abs(image.astype(int) - colour).sum(-1) < far


def parts(made):
    """The picture without its title and margin: the image, and what lies at its right."""
    whole = pixels(draw_miss(made))
    title = under_title(whole[:0], Caption(made.title, made.words), letters=18)
    margin = miss_strips._MARGIN
    inside = whole[len(title) + margin : -margin, margin:-margin]
    side = miss_strips._IMAGE
    return inside[:side, :side], inside[:, side + 2 * miss_strips._GAP :], inside[side:, :side]


def map_of(made, column=0, row=0):
    """One of the maps; the size of its side is `_MAP`."""
    side, gap = miss_strips._MAP, miss_strips._GAP
    top = miss_strips._HEAD + row * (miss_strips._HEAD + side + miss_strips._FOOT + gap)
    left = column * (side + gap)
    return parts(made)[1][top : top + side, left : left + side]


def test_each_box_lies_on_the_image_in_its_own_colour():
    near = [box(100, 60, 40, 84, SUPPRESSOR, "suppressed it"), box(120, 60, 64, 84, CANDIDATE, "the candidate")]
    image, _, _ = parts(scene(near=near))
    zoom = miss_strips._IMAGE / (2 * SIDE)
    left, top = 100 - (100 + SIDE / 2 - SIDE), 60 - (60 + SIDE / 2 - SIDE)  # of the object in the window
    for x, colour in ((84, TRUE.colour), (40, SUPPRESSOR.colour), (20, CANDIDATE.colour)):
        column = round((left + x) * zoom)
        edge = image[round((top + 8) * zoom) : round((top + 76) * zoom), column - 3 : column + 3]
        assert close(edge, colour).any(1).mean() > 0.2, colour


def test_the_key_names_each_kind_of_box_in_the_window_once():
    plain = parts(scene())[2]
    others = [box(150, 100, 9, 9, OTHER, "another object"), box(160, 110, 9, 9, OTHER, "another object")]
    one, two = (parts(scene(others=others[:n]))[2] for n in (1, 2))
    far = parts(scene(others=[box(310, 230, 9, 9, OTHER, "another object")]))[2]
    assert len(plain) < len(one) == len(two)
    assert (one == two).all()
    assert (far == plain).all()


@pytest.mark.parametrize("place", [None, Place((15.0, 15.0), (2.0, 2.0))])
def test_a_map_has_the_colours_and_the_place_of_a_heat_map_of_the_whole_image(place):
    heat = np.random.default_rng(1).random((8, 10)).astype(np.float32)
    made = scene()
    made = made._replace(layers=[LayerAt("neck", STYLE, (0.0, 1.0), [MapAt(heat, place, "level 0")])])
    whole = draw_heat(
        heat[None],
        STYLE,
        image=made.image,
        geometry=GEOMETRY,
        stride=place.stride if place else None,
        first=place.first if place else None,
        value_range=(0.0, 1.0),
    )
    top, left = (int(start + SIDE / 2 - SIDE) for start in (60, 100))
    expected = pixels(whole.png)[top : top + 168, left : left + 168].astype(int)
    far = np.ones((168, 168), bool)
    far[36:132, 36:132] = False  # the outline of the object lies here
    off = np.abs(map_of(made).astype(int) - expected).max(-1)
    assert off[far].max() <= 6
    assert (close(map_of(made), (255, 255, 255))[38:46, 42:126]).any()


def test_the_maps_of_a_layer_have_one_scale_and_those_of_another_their_own():
    low, high = np.full((8, 10), 3, np.float32), np.full((4, 5), 9, np.float32)
    made = scene(layers=[layer(low, high, scale=(3, 9)), layer(low, name="backbone", scale=(0, 3))])
    first, second, other = (map_of(made, *at)[5:30, 5:30].astype(int).mean((0, 1)) for at in ((0,), (1,), (2,)))
    assert np.abs(first - second).max() > 40
    assert np.abs(second - other).max() < 2  # both are the highest value of their scale


def test_small_layers_share_a_row_and_a_large_one_takes_several():
    heat = np.zeros((8, 10), np.float32)
    shape = parts(scene(layers=[layer(heat, heat), layer(heat, heat, heat)]))[1].shape
    step = miss_strips._MAP + miss_strips._GAP
    assert shape[1] == 5 * step - miss_strips._GAP
    assert parts(scene(layers=[layer(heat, heat, heat), layer(heat, heat, heat)]))[1].shape[1] == 3 * step - 10
    long = parts(scene(layers=[layer(*[heat] * 7)]))[1]
    assert long.shape[1] == shape[1]
    assert len(long) > 2 * step


def test_without_an_image_the_ground_is_grey_and_the_boxes_are_there():
    image, _, _ = parts(scene(image=None))
    assert (image[4:20, 4:-4] == 150).all()
    assert close(image, TRUE.colour).sum() > 200


def test_without_maps_or_without_a_geometry_there_are_fewer_panels():
    heat = np.zeros((8, 10), np.float32)
    whole, none, unknown = (
        pixels(draw_miss(one))
        for one in (scene(layers=[layer(heat)]), scene(), scene(layers=[layer(heat)], geometry=None))
    )
    assert none.shape[1] == unknown.shape[1] < whole.shape[1]


def test_an_object_at_the_edge_and_a_tiny_one_are_enlarged():
    for x, y in ((0, 0), (314, 236)):
        image, _, _ = parts(scene(box=box(x, y, 6, 4)))
        rows, columns = np.nonzero(close(image, TRUE.colour))
        assert np.ptp(columns) > 4 * miss_strips._IMAGE / 64
        assert (x == 0) == (columns.mean() < miss_strips._IMAGE / 2)
        assert (y == 0) == (rows.mean() < miss_strips._IMAGE / 2)

"""Pictures that show and save themselves."""

import numpy as np
import pytest
from conftest import pixels
from PIL import Image

import featscope
from featscope.errors import UnknownNameError
from featscope.records import Boxes
from featscope.render.heat import STYLES
from featscope.render.results import contact_sheet

MAP = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.fixture(params=[featscope.draw_heat, featscope.draw_mosaic])
def draw(request):
    return request.param


def test_maps_in_all_forms_are_one_picture(draw):
    expected = draw(MAP).png
    assert draw(MAP[None]).png == expected
    torch = pytest.importorskip("torch")
    assert draw(torch.tensor(MAP, requires_grad=True)).png == expected
    assert draw(torch.tensor(MAP)[None]).png == expected


def test_a_batch_is_an_error_that_says_what_to_type(draw):
    with pytest.raises(featscope.FeatscopeError, match=r"maps\[0\]"):
        draw(np.zeros((2, 3, 4, 5)))


def test_a_picture_shows_itself(draw):
    picture = draw(MAP)
    assert picture._repr_png_() == picture.png
    assert len(repr(picture)) < 100
    height, width = pixels(picture.png).shape[:2]
    assert f"{height} x {width} pixels" in repr(picture)


@pytest.mark.parametrize(
    ("name", "form"), [("a.png", "PNG"), ("new/folder/a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.webp", "WEBP")]
)
def test_a_picture_is_saved_as_its_name_says(draw, tmp_path, name, form):
    path = draw(MAP).save(tmp_path / name)
    assert path == tmp_path / name
    with Image.open(path) as image:
        assert image.format == form


def test_another_format_is_an_error(draw, tmp_path):
    for name in ("a.tiff", "a"):
        with pytest.raises(UnknownNameError, match="picture format"):
            draw(MAP).save(tmp_path / name)


def test_a_style_by_name():
    assert featscope.draw_heat(MAP, "jet").png == featscope.draw_heat(MAP, STYLES["jet"]).png
    with pytest.raises(UnknownNameError, match="'jet'"):
        featscope.draw_heat(MAP, "jett")


def test_boxes_without_a_colour():
    boxes = Boxes("xyxy", [[2, 2, 30, 30]], [0], [0.9])
    drawn = featscope.draw_heat(MAP, "jet", size=(40, 40), boxes=boxes)
    assert drawn.png == featscope.draw_heat(MAP, "jet", size=(40, 40), boxes=[(boxes, None)]).png
    assert drawn.png != featscope.draw_heat(MAP, "jet", size=(40, 40)).png


def test_names_are_text_in_a_contact_sheet():
    page = contact_sheet([("data:,x", '<script>"')])
    assert "<script>" not in page
    assert "&lt;script&gt;&quot;" in page

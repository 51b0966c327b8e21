"""Geometry by a synthetic dot: drawn on an image, fed as a pipeline would, found again in the overlay."""

import numpy as np
import pytest
from PIL import Image

from featscope.arrays.geometry import cells_of_image, place, place_indices
from featscope.errors import BadImageError, BadOptionError
from featscope.records import Geometry, infer_stride
from featscope.render.heat import draw_heat
from featscope.store.sample_images import unfed


def feed(image, geometry):
    """Crop, resize, flip and pad an image as its geometry says."""
    if geometry.crop:
        top, left, height, width = geometry.crop
        image = image[top : top + height, left : left + width]
    size = (geometry.resized[1], geometry.resized[0])
    image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    if geometry.flip in ("horizontal", "diagonal"):
        image = image[:, ::-1]
    if geometry.flip in ("vertical", "diagonal"):
        image = image[::-1]
    canvas = np.zeros(geometry.padded, np.float32)
    top, left = geometry.offset
    canvas[top : top + size[1], left : left + size[0]] = image
    return canvas


def pool(fed, stride):
    """What a network of this stride sees: the mean of each cell, cells at the border half empty."""
    rows, columns = (-(-n // stride) for n in fed.shape)
    canvas = np.zeros((rows * stride, columns * stride), np.float32)
    canvas[: fed.shape[0], : fed.shape[1]] = fed
    return canvas.reshape(rows, stride, columns, stride).mean((1, 3))


CASES = {
    "resize and padding": Geometry((1182, 1111), (1024, 962), (1024, 992)),
    "padding only": Geometry((371, 512), (371, 512), (384, 512)),
    "letterbox": Geometry((400, 640), (260, 416), (416, 416), offset=(78, 0)),
    "letterbox, upright": Geometry((640, 300), (416, 195), (416, 416), offset=(0, 110)),
    "horizontal flip": Geometry((300, 500), (300, 500), (320, 512), flip="horizontal"),
    "vertical flip": Geometry((300, 500), (450, 750), (480, 768), flip="vertical"),
    "diagonal flip, letterbox": Geometry((333, 517), (250, 388), (416, 416), offset=(83, 14), flip="diagonal"),
    "crop": Geometry((600, 800), (256, 320), (256, 320), crop=(100, 200, 400, 500)),
    "crop and flip": Geometry((600, 800), (256, 320), (288, 320), crop=(50, 70, 400, 500), flip="horizontal"),
}


@pytest.mark.parametrize("stride", [4, 8, 32, 128])
@pytest.mark.parametrize("name", CASES)
def test_the_peak_lies_on_the_dot(name, stride, random):
    geometry = CASES[name]
    height, width = geometry.original
    top, left, inner_height, inner_width = geometry.crop or (0, 0, height, width)
    scale_y, scale_x = inner_height / geometry.resized[0], inner_width / geometry.resized[1]
    for _ in range(12):
        y = int(random.integers(top + 4, top + inner_height - 4))
        x = int(random.integers(left + 4, left + inner_width - 4))
        image = np.zeros((height, width), np.float32)
        image[y - 3 : y + 4, x - 3 : x + 4] = 1
        heat = pool(feed(image, geometry), stride)
        indices = np.rint(heat / heat.max() * 255).astype(np.uint8)
        placed = place(indices, geometry.original, geometry)
        assert placed.shape == geometry.original
        # The peak is a plateau in the outer half of a border cell: its nearest pixel counts.
        peaks = np.abs(np.argwhere(placed == placed.max()) - [y, x])
        # Half a cell, and the dot's own radius: at a cell's edge the next one may see more of it.
        allowed = [stride * scale_y / 2 + 4, stride * scale_x / 2 + 4]
        assert (peaks <= allowed).all(1).any(), ((y, x), peaks.min(0), allowed)


def test_a_cell_is_where_it_looked():
    geometry = Geometry((100, 100), (100, 100), (128, 128))
    indices = np.zeros((16, 16), np.uint8)
    indices[3, 5] = 200
    placed = place(indices, (100, 100), geometry, smooth=False)
    assert np.argwhere(placed == 200).min(0).tolist() == [24, 40]
    assert np.argwhere(placed == 200).max(0).tolist() == [31, 47]


def test_a_layer_that_dropped_the_last_pixels():
    geometry = Geometry((100, 100), (100, 100), (100, 100))
    assert cells_of_image((12, 12), geometry, (8.0, 8.0)) == (0.0, 0.0, 12.5, 12.5)
    assert place(np.full((12, 12), 9, np.uint8), (100, 100), geometry, (8.0, 8.0)).min() == 9


def test_rows_and_columns_have_strides_of_their_own():
    """A map that is finer along its columns: nothing of one axis is taken for the other."""
    geometry = Geometry((60, 40), (60, 40), (64, 48), offset=(4, 6))
    assert cells_of_image((8, 24), geometry, (8.0, 2.0)) == (3.0, 0.5, 23.0, 8.0)
    assert cells_of_image((8, 24), geometry, (8.0, 2.0), first=(6.0, 0.5)) == (3.25, 0.25, 23.25, 7.75)


def test_the_cells_at_the_edge_go_on_where_a_layer_has_no_more():
    """Eight pixels a cell, before the first one and behind the last: none is drawn wider for it."""
    geometry = Geometry((40, 40), (40, 40), (40, 40))
    heat = np.arange(9, dtype=np.uint8).reshape(3, 3) + 1
    placed = place(heat, (40, 40), geometry, (8.0, 8.0), smooth=False, first=(12.0, 12.0))
    by_hand = np.pad(heat, 1, mode="edge").repeat(8, 0).repeat(8, 1)
    np.testing.assert_array_equal(placed, by_hand)


@pytest.mark.parametrize("draw", [
    lambda size: draw_heat(np.zeros((1, 4, 4), np.float32), size=size),
    lambda size: draw_heat(np.zeros((1, 4, 4), np.float32), geometry=Geometry(size, (4, 4), (4, 4))),
    lambda size: unfed(np.zeros((4, 4, 3), np.uint8), Geometry(size, (4, 4), (4, 4))),
])  # fmt: skip
def test_a_picture_that_no_reader_would_open_is_refused_before_it_is_made(draw, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)  # of which Pillow reads twice as many
    draw((20, 30))
    with pytest.raises(BadImageError, match="a picture of 20 x 31 is larger than 600 pixels"):
        draw((20, 31))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # Pillow's own way of saying: however large
    draw((20, 31))


def test_marks_are_never_blended():
    indices = np.full((4, 4), 100, np.uint8)
    indices[1, 1] = 255
    placed = place_indices(indices, True, (40, 40))
    assert set(np.unique(placed[placed != 255])) <= set(range(0, 101))
    assert (placed == 255).sum() == 100
    assert placed[15, 15] == 255


def test_stride_explains_the_upper_levels():
    assert infer_stride(992, 8) == 128


@pytest.mark.parametrize("stride", [(0.0, 8.0), (8.0, 0.0), (-8.0, 8.0), (float("nan"), 8.0), (float("inf"), 8.0)])
def test_a_stride_that_is_none_is_an_error(stride):
    with pytest.raises(BadOptionError, match="pixels apart; give a stride above 0"):
        place(np.zeros((4, 4), np.uint8), (32, 32), Geometry((32, 32), (32, 32), (32, 32)), stride)


def test_a_geometry_of_a_million_pixels_takes_no_memory():
    """A small image, of which the record says that it lay in an input of a million pixels, or a million pixels in."""
    million = 1 << 20
    for geometry in (
        Geometry((100, 100), (million, million), (million, million)),
        Geometry((100, 100), (100, 100), (million, million), offset=(million, million)),
    ):
        with pytest.raises(BadImageError, match="larger than"):
            place(np.zeros((8, 8), np.uint8), (100, 100), geometry, (1.0, 1.0))

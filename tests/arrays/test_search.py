"""A geometry found by pixels: exact, or none."""

import numpy as np
import pytest
from PIL import Image

from featscope.arrays.agreement import compare, thumbnail
from featscope.arrays.search import Search, apart, nudged
from featscope.demo.scenes import draw_scene
from featscope.records import Geometry

SCENE = np.ascontiguousarray(draw_scene(3).image[:400, :512])
SIZE = SCENE.shape[:2]
CLAIMED = Geometry(SIZE, (300, 384), (384, 384))


def resized(height, width):
    return np.asarray(Image.fromarray(SCENE).resize((width, height), Image.Resampling.BILINEAR))


def padded(picture, top, left, size=(384, 384)):
    canvas = np.zeros((*size, 3), np.uint8)
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


SMALL = resized(300, 384)
EDGES = {
    "mirrored": (SMALL[:, ::-1], Geometry(SIZE, (300, 384), (300, 384), flip="horizontal")),
    "padded, then mirrored": (padded(SMALL, 0, 0)[::-1], Geometry(SIZE, (300, 384), (384, 384), (84, 0), "vertical")),
    "a letterbox": (padded(SMALL, 42, 0), Geometry(SIZE, (300, 384), (384, 384), (42, 0))),
    "the middle": (
        SMALL[50:250, 92:292],
        Geometry(SIZE, (200, 200), (200, 200), crop=(200 / 3, 368 / 3, 800 / 3, 800 / 3)),
    ),
    "stretched": (resized(384, 256), Geometry(SIZE, (384, 256), (384, 256))),
    "resized twice": (padded(resized(200, 256), 0, 0, (256, 256)), Geometry(SIZE, (200, 256), (256, 256))),
}


@pytest.mark.parametrize("name", EDGES)
def test_what_pipelines_do_is_found(name):
    picture, truth = EDGES[name]
    found = Search(thumbnail(SCENE), np.ascontiguousarray(picture), truth.padded, CLAIMED).at_edges()
    assert found.geometry.flip == truth.flip
    assert apart(found.geometry, truth) < 1
    again = Search(thumbnail(SCENE), np.ascontiguousarray(picture), truth.padded, CLAIMED).by(found.rule)
    assert again == found


@pytest.mark.parametrize("flip", ["", "horizontal"])
def test_a_random_crop_is_found_to_the_pixel(flip):
    part = SMALL[37:237, 61:301]
    picture = np.ascontiguousarray(part[:, ::-1] if flip else part)
    search = Search(thumbnail(SCENE), picture, (200, 240), CLAIMED)
    assert search.at_edges() is None
    truth = Geometry(SIZE, (200, 240), (200, 240), (0, 0), flip, (37 / 0.75, 61 / 0.75, 200 / 0.75, 240 / 0.75))
    assert apart(search.anywhere().geometry, truth) < 0.1


def test_another_picture_is_not_found():
    other = np.ascontiguousarray(np.rot90(SMALL))
    search = Search(thumbnail(SCENE), other, (384, 300), CLAIMED)
    assert search.at_edges() is None
    assert search.anywhere() is None


def test_a_spot_could_be_any():
    """A dot in a crop looks the same mirrored: nobody can tell."""
    scene = np.zeros((400, 400, 3), np.uint8)
    scene[100:120, 240:260] = 255
    search = Search(
        thumbnail(scene), scene[40:240, 110:310].copy(), (200, 200), Geometry((400, 400), (400, 400), (400, 400))
    )
    assert search.at_edges() is None
    assert search.anywhere() is None


def test_a_geometry_that_is_nearly_right_is_moved():
    picture = padded(SMALL, 42, 0)
    claimed = Geometry(SIZE, (302, 384), (384, 384), (39, 0))
    original, seen = thumbnail(SCENE), thumbnail(picture)
    found = compare(original, seen, claimed)
    assert not found.agrees
    assert (
        apart(nudged(original, seen, claimed.padded, claimed, found), Geometry(SIZE, (300, 384), (384, 384), (42, 0)))
        < 0.6
    )


def test_one_image_of_a_mosaic_is_not_the_input():
    """What the network saw is of four images: it is no input of one of them."""
    others = [draw_scene(seed).image[:200, :256] for seed in (15, 22, 40)]
    mosaic = np.vstack([np.hstack([resized(200, 256), others[0]]), np.hstack(others[1:])])
    search = Search(thumbnail(SCENE), mosaic, (400, 512), Geometry(SIZE, (200, 256), (400, 512)))
    assert search.at_edges() is None
    assert search.anywhere() is None

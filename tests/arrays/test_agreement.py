"""Thumbnails laid over one another: what agrees, what does not, and by how much it lies beside its place."""

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from featscope.arrays.agreement import best_place, compare, spread, structure, thumbnail
from featscope.arrays.frames import axes_of
from featscope.demo.scenes import draw_scene
from featscope.records import Geometry

SCENE = np.ascontiguousarray(draw_scene(3).image[:400, :512])
SIZE = SCENE.shape[:2]


def fed(top=30, left=0, resized=(300, 384), padded=(384, 384)):
    """The scene, resized and put into an input."""
    canvas = np.full((*padded, 3), 114, np.uint8)
    small = np.asarray(Image.fromarray(SCENE).resize(resized[::-1], Image.Resampling.BILINEAR))
    canvas[top : top + resized[0], left : left + resized[1]] = small
    return canvas


TRUE = Geometry(SIZE, (300, 384), (384, 384), (30, 0))


def test_thumbnails_are_means():
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    small = thumbnail(picture, 24)
    assert (small.grey.shape, small.size, small.step) == ((16, 24), (64, 96), 4)
    means = picture.reshape(16, 4, 24, 4, 3).mean((1, 3, 4))
    assert np.abs(small.grey - means).max() <= 0.51
    assert thumbnail(picture[:63, :, :]).grey.shape == (63, 96)


def test_the_true_geometry_agrees_to_a_fraction_of_a_pixel():
    found = compare(thumbnail(SCENE), thumbnail(fed()), TRUE)
    assert found.correlation > 0.97
    assert found.off < 0.2
    assert found.agrees


@pytest.mark.parametrize("flip", ["horizontal", "vertical", "diagonal"])
def test_a_mirror_that_is_left_out_does_not_agree(flip):
    found = compare(thumbnail(SCENE), thumbnail(fed()), replace(TRUE, flip=flip))
    assert not found.agrees
    assert found.correlation < 0.5


@pytest.mark.parametrize(("top", "left"), [(32, 0), (30, 3), (32, 2)])
def test_a_shift_is_measured_in_pixels_of_the_input(top, left):
    found = compare(thumbnail(SCENE), thumbnail(fed(top, left, padded=(400, 400))), replace(TRUE, padded=(400, 400)))
    assert not found.agrees
    middle = [shift.start + shift.slope * 180 for shift in (found.rows, found.columns)]
    for ours, true in zip(middle, (top - 30, left)):  # structure finer than a thumbnail makes it look farther
        assert 0.8 * true - 0.3 < ours < 1.7 * true + 0.3


def test_a_scale_that_is_wrong_does_not_agree():
    assert not compare(thumbnail(SCENE), thumbnail(fed(resized=(288, 369))), TRUE).agrees


def test_flat_pictures_say_nothing_and_half_flat_ones_disagree():
    flat = np.full_like(SCENE, 90)
    seen = np.full((384, 384, 3), 114, np.uint8)
    assert compare(thumbnail(flat), thumbnail(seen), TRUE).flat
    lost = compare(thumbnail(SCENE), thumbnail(seen), TRUE)
    assert (lost.flat, lost.agrees, lost.correlation) == (False, False, 0.0)
    # What is said to hold the image is as flat as that is, but the input shows something beside it.
    beside = seen.copy()
    beside[340:370, 50:90] = 255
    assert not compare(thumbnail(flat), thumbnail(beside), TRUE).flat
    assert structure(thumbnail(flat)) < 1e-4
    assert spread(thumbnail(SCENE)) > 500


def test_any_place_is_found_by_its_correlation():
    rows, columns, height = best_place(thumbnail(SCENE), thumbnail(fed(57, 0)), *axes_of(TRUE))
    assert height > 0.8
    assert (rows.start, columns.start) == pytest.approx((57, 0), abs=1.0)

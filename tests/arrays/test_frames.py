"""Boxes and geometries on their way between the original and the input."""

import numpy as np
import pytest
import torch

from featscope.arrays.boxes import rotated_corners
from featscope.arrays.frames import (
    Axis,
    axes_of,
    fits,
    geometry_from,
    in_whole_pixels,
    reframed,
    reframed_record,
    to_input,
    to_original,
)
from featscope.records import Boxes, Geometry

FLIPS = ("", "horizontal", "vertical", "diagonal")
ORIGINAL, PADDED = (60, 100), (64, 96)


def geometry(flip, crop=(10.5, 20.0, 40.0, 60.0)):
    """A part of an image, at half its size, in the middle of the input."""
    return Geometry(ORIGINAL, (20.0, 30.0), PADDED, (8.0, 5.0), flip, crop)


def seen(points, flip):
    """Where points (x, y) of the original lie in that input, worked out by hand."""
    x, y = (points[..., 0] - 20.0) / 2, (points[..., 1] - 10.5) / 2
    x = 30 - x if flip in ("horizontal", "diagonal") else x
    y = 20 - y if flip in ("vertical", "diagonal") else y
    return np.stack([x + 5, y + 8], -1)


def same_rectangle(one, other):
    return min(np.abs(one - np.roll(way, turn, 0)).max() for way in (other, other[::-1]) for turn in range(4))


@pytest.mark.parametrize("flip", FLIPS)
def test_boxes_of_every_form_go_there_and_back(flip):
    box = np.array([[30.0, 15.0, 50.0, 45.0]])
    there = to_input(box, geometry(flip))
    np.testing.assert_allclose(there.reshape(2, 2), np.sort(seen(box.reshape(2, 2), flip), 0))
    np.testing.assert_allclose(to_original(there, geometry(flip)), box)

    quad = np.array([[31.0, 12.0, 39.0, 13.0, 38.0, 17.0, 32.0, 16.0]])
    there = to_input(quad, geometry(flip))
    np.testing.assert_allclose(there.reshape(4, 2), seen(quad.reshape(4, 2), flip))
    np.testing.assert_allclose(to_original(there, geometry(flip)), quad)

    turned = np.array([[50.0, 30.0, 25.0, 8.0, 0.4]])
    there = to_input(turned, geometry(flip))
    assert same_rectangle(rotated_corners(there)[0], seen(rotated_corners(turned)[0], flip)) < 1e-9
    np.testing.assert_allclose(to_original(there, geometry(flip)), turned)


def test_a_rotated_box_that_is_stretched_keeps_its_side_and_its_area():
    stretched = Geometry((100, 100), (50, 200), (50, 200))
    box = np.array([[40.0, 60.0, 30.0, 10.0, 0.5]])
    there = to_input(box, stretched)
    side = np.array([np.cos(0.5) * 30 * 2, np.sin(0.5) * 30 / 2])
    np.testing.assert_allclose(there[0, 2] * np.array([np.cos(there[0, 4]), np.sin(there[0, 4])]), side)
    np.testing.assert_allclose(there[0, 2] * there[0, 3], 30 * 10)
    np.testing.assert_allclose(to_original(there, stretched), box)


@pytest.mark.parametrize("count", [4, 5, 8])
def test_tensors_keep_their_gradient(count):
    values = np.random.default_rng(0).uniform(10, 50, (3, count))
    tensor = torch.tensor(values, requires_grad=True)
    stretched = Geometry((60, 100), (60, 50), (64, 64), flip="vertical")
    for which in (geometry("horizontal"), stretched):
        moved = to_original(tensor, which)
        np.testing.assert_allclose(moved.detach().numpy(), to_original(values, which))
        assert torch.autograd.grad(moved.sum(), tensor)[0].abs().sum() > 0


def test_axes_and_geometry_are_one():
    for flip in FLIPS:
        assert geometry_from(ORIGINAL, PADDED, *axes_of(geometry(flip))) == geometry(flip)
        assert geometry_from(ORIGINAL, PADDED, *axes_of(geometry(flip, None))).crop is None


def test_what_lies_outside_of_the_input_is_a_crop():
    # At half its size, 10 pixels over the left edge, mirrored: the padding came before the mirror.
    found = geometry_from((40, 80), (32, 32), Axis(0.5, 4.0, 0, 40), Axis(-0.5, 30.0, 0, 80))
    assert found == Geometry((40, 80), (20.0, 30.0), (32, 32), (4.0, 0.0), "horizontal", (0.0, 0.0, 40.0, 60.0))
    assert geometry_from((40, 80), (32, 32), Axis(0.5, 4.0, 0, 40), Axis(0.5, 40.0, 0, 80)) is None


def test_what_does_not_fit_is_told():
    assert fits(geometry("horizontal"))
    assert not fits(Geometry((40, 80), (20, 40), (32, 32)))
    assert not fits(Geometry((40, 80), (20, 20), (32, 32), crop=(0, 50, 40, 40)))


def test_a_crop_between_pixels_moves_with_what_is_shown():
    for flip in FLIPS:
        exact, whole = (
            geometry(flip, (10.4, 20.7, 40.0, 59.8)),
            in_whole_pixels(geometry(flip, (10.4, 20.7, 40.0, 59.8))),
        )
        assert whole.crop == (10, 21, 40, 59)
        for ours, theirs in zip(axes_of(exact), axes_of(whole)):
            assert ours.to_input(30.0) == pytest.approx(theirs.to_input(30.0))
    assert in_whole_pixels(geometry("", None)) == geometry("", None)


def test_boxes_change_their_frame():
    plain, mirrored = (Geometry(ORIGINAL, ORIGINAL, ORIGINAL, flip=flip) for flip in ("", "horizontal"))
    box = np.array([[10.0, 0.0, 30.0, 20.0]])
    np.testing.assert_allclose(reframed(box, plain, mirrored), [[70, 0, 90, 20]])
    assert reframed(box, mirrored, mirrored) is box
    record = Boxes("xyxy", box.tolist(), [0], [0.5])
    back = reframed_record(record, mirrored, None)
    assert (back.boxes, back.frame) == ([[70, 0, 90, 20]], "input")
    assert reframed_record(back, None, mirrored) == record
    assert reframed_record(Boxes("quad", [], []), plain, None).frame == "input"

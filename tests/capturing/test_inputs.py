"""The images among what a model is given: how many, how large, how they look."""

from collections import UserDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from featscope.capturing.calls import ModelCall
from featscope.capturing.inputs import PlainImages, find_images, picture_of
from featscope.records import Geometry

IMAGES = torch.zeros(2, 3, 64, 96)


@pytest.mark.parametrize(
    ("values", "number", "size"),
    [
        ([IMAGES], 2, (64, 96)),
        ([IMAGES.permute(0, 2, 3, 1)], 2, (64, 96)),
        ([torch.zeros(5, 1, 64, 96)], 5, (64, 96)),
        ([torch.zeros(2, 8, 64, 96)], 2, (64, 96)),
        ([torch.zeros(1, 1, 128, 128), IMAGES], 2, (64, 96)),  # a mask before the images
        ([{"image": IMAGES}], 2, (64, 96)),
        ([UserDict(pixel_values=IMAGES, input_ids=torch.zeros(2, 9))], 2, (64, 96)),
        ([SimpleNamespace(tensors=IMAGES, mask=torch.zeros(2, 64, 96))], 2, (64, 96)),
        ([[torch.zeros(3, 64, 96), torch.zeros(3, 32, 32), torch.zeros(3, 8, 8)]], 3, None),
        ([[{"image": torch.zeros(3, 64, 96), "height": 64}, {"image": torch.zeros(3, 32, 32)}]], 2, None),
        ([{"inputs": [torch.zeros(3, 64, 96)] * 4}], 4, None),
        ([(torch.zeros(3, 64, 96),)], 1, None),
        ([["a.jpg", "b.jpg"]], 2, None),
        ([[np.zeros((8, 8, 3))] * 3], 3, None),
        ([torch.zeros(3, 64, 96)], 1, (64, 96)),
        ([torch.zeros(64, 96, 3)], 1, (64, 96)),
        ([torch.zeros(2, 4, 3, 64, 96)], 2, (64, 96)),
    ],
)
def test_images_are_found(values, number, size):
    found = find_images(values)
    assert (found.number, found.size) == (number, size)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [torch.zeros(2, 9)],
        [torch.zeros(2, 50, 64)],
        ["text"],
        [["a cat", "a dog"]],
        [None, 3],
        [{"ids": torch.zeros(1, 9)}],
    ],
)
def test_what_is_no_image(values):
    assert find_images(values) is None


def test_pictures_are_the_inputs_as_they_are():
    image = torch.arange(3 * 6 * 5, dtype=torch.uint8).reshape(3, 6, 5)
    expected = image.permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(picture_of(image), expected)
    np.testing.assert_array_equal(picture_of(image.float()), expected)
    np.testing.assert_array_equal(picture_of(image.float() / 89), (expected / 89 * 255).round())
    np.testing.assert_array_equal(picture_of(image.permute(1, 2, 0)), expected)


def test_normalised_inputs_are_stretched():
    picture = picture_of(torch.tensor([[[-2.0, 0.0, 2.0]]]))
    assert picture[0, :, 0].tolist() == [0, 128, 255]
    assert picture.shape == (1, 3, 3)
    assert picture_of(torch.tensor([[[0.0, 500.0, 1000.0]]]))[0, :, 0].tolist() == [0, 128, 255]
    assert picture_of(torch.tensor([[[float("nan"), 0.0, 1.0]]])).shape == (1, 3, 3)


@pytest.mark.parametrize(
    "image", [torch.zeros(8, 16, 16), torch.zeros(3, 0, 4), torch.zeros(4, 4), torch.zeros(3, 2, 2, device="meta")]
)
def test_what_has_no_picture(image):
    assert picture_of(image) is None


def test_a_batch_lies_in_the_originals_place_and_a_list_does_not():
    known = PlainImages().before(ModelCall("", (IMAGES,), {}))
    assert [sample.geometry for sample in known.samples] == [Geometry((64, 96), (64, 96), (64, 96))] * 2
    assert [picture.shape for picture in known.pictures] == [(64, 96, 3)] * 2
    # What becomes of a list, the model itself decides.
    known = PlainImages().before(ModelCall("", ([torch.zeros(3, 64, 96)],), {}))
    assert [sample.geometry for sample in known.samples] == [None]
    assert PlainImages(pictures=False).before(ModelCall("", (IMAGES,), {})).pictures == [None, None]

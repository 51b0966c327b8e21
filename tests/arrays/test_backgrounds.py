"""Boxes of background: of the sizes of the objects, apart from all of them, the same in every process."""

import numpy as np

from featscope.arrays.backgrounds import background_boxes
from featscope.arrays.boxes import rotated_corners


def objects(random, count=30, size=400):
    return rotated_corners(
        np.column_stack(
            [random.uniform(20, size - 20, (count, 2)), random.uniform(5, 30, (count, 2)), random.uniform(-3, 3, count)]
        )
    )


def radii(corners):
    return np.hypot(*(corners - corners.mean(1)[:, None]).transpose(2, 0, 1)).max(1)


def test_shapes_are_those_of_the_objects_and_places_are_apart(random):
    true = objects(random)
    found = background_boxes(true, (400, 400), "harbour")
    assert len(found) > 20
    shapes = {tuple((one - one.mean(0)).round(6).ravel()) for one in true}
    assert {tuple((one - one.mean(0)).round(6).ravel()) for one in found} <= shapes
    apart = np.hypot(*(found.mean(1)[:, None] - true.mean(1)[None]).transpose(2, 0, 1))
    assert (apart >= radii(found)[:, None] + radii(true) - 1e-9).all()
    assert found.min() >= 0
    assert found.max() <= 400


def test_the_name_is_the_seed(random):
    true = objects(random)
    first = background_boxes(true, (400, 400), "harbour")
    assert np.array_equal(first, background_boxes(true, (400, 400), "harbour"))
    assert not np.array_equal(first, background_boxes(true, (400, 400), "quay"))


def test_where_there_is_no_room():
    whole = np.array([[[0.0, 0.0], [100.0, 0.0], [100.0, 100.0], [0.0, 100.0]]])
    assert background_boxes(whole, (100, 100), "full").shape == (0, 4, 2)
    assert background_boxes(np.zeros((0, 4, 2)), (100, 100), "empty").shape == (0, 4, 2)
    assert background_boxes(np.full((1, 4, 2), np.nan), (100, 100), "damaged").shape == (0, 4, 2)

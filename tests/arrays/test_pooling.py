"""What maps hold in boxes: against sums over masks on a finer grid, and on maps of which the answer is known."""

import numpy as np
import pytest

from featscope.arrays.coverage import rings_around
from featscope.arrays.pooling import Covered, Pooled, energy_of, in_cells
from featscope.arrays.pooling import pool_boxes as pool_covered
from featscope.records import Geometry, Place


def corners(x, y, width, height, angle=0.0):
    cos, sin = np.cos(angle), np.sin(angle)
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2]
    return half @ np.array([[cos, sin], [-sin, cos]]) + [x, y]


def pool_boxes(feature_map, rings):
    return pool_covered(feature_map, Covered.of(rings, feature_map.shape[1:]))


def fine_mean(feature_map, polygon, fine=40):
    """The mean over points of a finer grid that lie in the box: no areas are cut."""
    rows, columns = feature_map.shape[1:]
    y, x = ((np.arange(rows * fine) + 0.5) / fine, (np.arange(columns * fine) + 0.5) / fine)
    px, py = np.meshgrid(x, y)
    sides = [
        (b[0] - a[0]) * (py - a[1]) - (b[1] - a[1]) * (px - a[0]) for a, b in zip(polygon, np.roll(polygon, -1, 0))
    ]
    inside = np.min(sides, 0) >= 0
    return np.repeat(np.repeat(feature_map, fine, 1), fine, 2)[:, inside].mean(1), inside.sum() / fine**2


def test_features_are_exact_means(random):
    feature_map = random.standard_normal((3, 12, 16)).astype(np.float32)
    boxes = np.array([corners(8, 6, 5, 2.5, 0.5), corners(3.2, 4.1, 0.4, 0.3, 1.0), corners(0, 0, 4, 4)])
    found = pool_boxes(feature_map, rings_around(boxes, boxes))
    for place, box in enumerate(boxes):
        mean, area = fine_mean(feature_map, box)
        assert found.features[place] == pytest.approx(mean, abs=0.03)
        assert found.cells[place] == pytest.approx(area, abs=0.03)
    assert found.cells[1] == pytest.approx(0.12, abs=1e-9), "smaller than a cell, and still counted"
    assert found.cells[2] == pytest.approx(4.0, abs=1e-9), "only the part on the map"


def test_a_bright_object_on_a_dark_ground():
    feature_map = np.full((2, 20, 20), 0.1, np.float32)
    feature_map[0, 8:12, 8:12] = 3.0
    box = corners(10, 10, 4, 4)[None]
    found = pool_boxes(feature_map, rings_around(box, box))
    assert found.inside[0] == pytest.approx(np.hypot(3.0, 0.1), rel=1e-5)
    assert found.ring[0] == pytest.approx(0.1 * np.sqrt(2), rel=1e-5)
    assert found.ratio[0] == pytest.approx(np.hypot(3.0, 0.1) / (0.1 * np.sqrt(2)), rel=1e-5)
    assert found.auroc[0] == pytest.approx(1.0)
    assert found.norm[0] == pytest.approx(np.hypot(3.0, 0.1), rel=1e-5)


def test_the_ring_leaves_other_objects_out():
    feature_map = np.ones((1, 20, 20), np.float32)
    feature_map[0, 8:12, 12:16] = 100.0  # a bright neighbour
    boxes = np.array([corners(10, 10, 4, 4), corners(14, 10, 4, 4)])
    alone, both = (
        pool_boxes(feature_map, rings_around(boxes[:1], boxes[:1])),
        pool_boxes(feature_map, rings_around(boxes, boxes)),
    )
    assert alone.ring[0] > 5
    assert both.ring[0] == pytest.approx(1.0, abs=1e-6)


def test_outside_of_the_map():
    found = pool_boxes(np.ones((2, 4, 4), np.float32), rings_around(corners(-9, -9, 2, 2)[None], np.zeros((0, 4, 2))))
    assert found.cells[0] == 0
    assert np.isnan([found.inside[0], found.ring[0], found.auroc[0], found.ratio[0]]).all()
    assert np.isnan(found.features[0]).all()


def test_no_boxes():
    found = pool_boxes(np.ones((2, 4, 4), np.float32), rings_around(np.zeros((0, 4, 2)), np.zeros((0, 4, 2))))
    assert found.features.shape == (0, 2)
    assert found.cells.shape == found.ratio.shape == (0,)


def test_stored_and_read_again(random):
    boxes = np.array([corners(8, 6, 5, 2.5, 0.5), corners(90, 90, 1, 1)])
    found = pool_boxes(random.random((5, 12, 16), np.float32), rings_around(boxes, boxes))
    again = Pooled.from_table(found.table())
    for one, two in zip(found, again):
        np.testing.assert_allclose(one, two, rtol=1e-6)


def test_energy_is_the_length_of_the_channels(random):
    feature_map = random.standard_normal((37, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(energy_of(feature_map), np.linalg.norm(feature_map, axis=0), rtol=1e-5)


def test_cells_are_where_the_place_says():
    """A letterbox with a flip: what `featscope heat` draws on a pixel, is pooled for a box there."""
    geometry = Geometry((100, 200), (50, 100), (128, 128), offset=(39, 14), flip="horizontal")
    place = Place((8.0, 8.0), (0.0, 0.0), "operators")  # centres at stride x i
    found = in_cells(np.array([[[0.0, 0.0]] * 4]), geometry, place)[0, 0]
    assert found.tolist() == [114 / 8 + 0.5, 39 / 8 + 0.5]

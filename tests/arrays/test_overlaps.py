import numpy as np
import pytest
from polygons import area, common_area

from featscope.arrays.overlaps import (
    areas_within,
    clipped,
    convex_overlap,
    convex_parts,
    enclosing,
    near_pairs,
    signed_areas,
    untangled,
)


@pytest.mark.parametrize(("few", "many"), [(40, 300), (700, 800), (3, 20_000), (0, 5), (5, 0)])
@pytest.mark.parametrize("turned", [False, True])
def test_the_pairs_that_are_near_are_those_whose_boxes_overlap(few, many, turned):
    random = np.random.default_rng(few)
    a, b = (
        np.concatenate([corner, corner + random.integers(1, 4, (count, 2))], 1)
        for count in (few, many)
        for corner in [random.integers(0, 100, (count, 2)).astype(float)]
    )
    b[::7, 2:] += 30  # some are large
    if turned:
        a, b = b, a
    pairs = list(near_pairs(a, b))
    found = np.concatenate([first * len(b) + second for first, second in pairs]) if pairs else np.zeros(0)
    overlap = (a[:, None, :2] < b[:, 2:]).all(-1) & (a[:, None, 2:] > b[:, :2]).all(-1)
    np.testing.assert_array_equal(np.sort(found), np.flatnonzero(overlap))


@pytest.mark.parametrize("height", [1.0, 1e-3, 1e-8, 1e-14])
def test_flat_polygons_lose_nothing(height):
    x, y = np.array([[0.0], [4.0], [0.0]]), np.array([[0.0], [0.0], [4.0]]) * height
    inside = areas_within(x, y, np.array([[1.0], [height], [9.0], [9.0]]))
    assert inside[0] == pytest.approx(2 * height, rel=1e-9)
    assert areas_within(x, y, np.array([[1.0], [-9.0], [2.0], [9.0]]))[0] == pytest.approx(2.5 * height, rel=1e-9)


def test_polygons_of_either_orientation_overlap_as_those_cut_by_hand():
    random = np.random.default_rng(2)
    angles = np.sort(random.uniform(0, 6.28, (2, 60, 4)), 2)
    angles[:, ::2] *= -1
    p, q = np.stack([np.cos(angles), np.sin(angles)], 3) * random.uniform(0.5, 3, (2, 60, 1, 1)) + random.normal(
        size=(2, 60, 1, 2)
    )
    expected = [common_area(*pair) for pair in zip(p, q)]
    np.testing.assert_allclose(convex_overlap(p, q), expected, atol=1e-12)
    pieces = clipped(p, q)
    np.testing.assert_allclose(abs(signed_areas(*pieces.transpose(2, 1, 0))), expected, atol=1e-12)
    around = enclosing(*pieces.transpose(2, 1, 0))
    there = np.array(expected) > 0
    assert (around[there, :2] >= q[there].min(1) - 1e-12).all()
    assert (around[there, 2:] <= q[there].max(1) + 1e-12).all()


def test_the_parts_of_a_concave_quadrilateral_are_triangles_that_fill_it():
    arrow = np.array([[0, 0], [4, 0], [1, 1], [0, 4.0]])
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    turned = [np.roll(arrow, turn, 0)[::way] for turn in range(4) for way in (1, -1)]
    owner, parts, centre = convex_parts(np.stack([*turned, square, square * [1, 0]]))
    assert sorted(owner.tolist()) == [*np.repeat(range(8), 2), 8]
    areas = np.bincount(owner, [abs(area(part)) for part in parts])
    assert areas.tolist() == [4] * 8 + [1]
    np.testing.assert_array_equal(centre[:9], [[0.5, 0.5]] * 9)
    assert common_area(parts[owner == 0][0], parts[owner == 0][1]) == 0


def test_corners_in_the_wrong_order_are_put_around_their_hull():
    quad = np.array([[0, 0], [5, 1], [4, 4], [1, 3.0]])
    orders = [(0, 1, 2, 3), (0, 2, 1, 3), (0, 1, 3, 2), (2, 0, 3, 1), (3, 2, 1, 0)]
    found = untangled(np.stack([quad[list(order)] for order in orders]))
    np.testing.assert_allclose(abs(signed_areas(*found.transpose(2, 1, 0))), abs(area(quad)))
    np.testing.assert_array_equal(found[0], quad)
    np.testing.assert_array_equal(found[4], quad[::-1])
    arrow = np.array([[0, 0], [4, 0], [1, 1], [0, 4.0]])
    np.testing.assert_array_equal(untangled(arrow[None])[0], arrow)

import numpy as np
import pytest
from polygons import common_area

from featscope.arrays import coverage
from featscope.arrays.boxes import rotated_corners
from featscope.arrays.coverage import cover, pool, ring_of, rings_around, separation
from featscope.arrays.overlaps import areas_within

SHAPE = (9, 12)
CELLS = [[(j, i), (j + 1, i), (j + 1, i + 1), (j, i + 1)] for i in range(SHAPE[0]) for j in range(SHAPE[1])]


def shares(covered, count, shape=SHAPE):
    """A coverage as a table of boxes and cells."""
    table = np.zeros((count, shape[0] * shape[1]))
    table[covered.objects, covered.cells] = covered.shares
    return table


def by_hand(*polygons):
    return [common_area(*polygons, cell) for cell in CELLS]


def some_boxes(count, low, high, seed=0):
    """Rotated boxes on the map and over its edges; every second one turns the other way."""
    random = np.random.default_rng(seed)
    boxes = [
        random.uniform(-1, 13, (count, 1)),
        random.uniform(-1, 10, (count, 1)),
        random.uniform(low, high, (count, 2)),
    ]
    corners = rotated_corners(np.concatenate([*boxes, random.uniform(-4, 4, (count, 1))], 1)).copy()
    corners[::2] = corners[::2, ::-1]
    return corners


@pytest.mark.parametrize(("low", "high"), [(0.01, 0.1), (0.1, 1.5), (1, 6), (8, 40)])
def test_every_share_is_that_of_polygons_cut_by_hand(low, high):
    boxes = some_boxes(25, low, high)
    found = cover(boxes, SHAPE)
    expected = np.array([by_hand(box) for box in boxes])
    np.testing.assert_allclose(shares(found, 25), expected, atol=1e-12)
    np.testing.assert_allclose(found.shares, expected[found.objects, found.cells], rtol=1e-9)
    assert len(found.cells) == (expected > 1e-12 * min(1, low * low)).sum() > 10
    key = found.objects * len(CELLS) + found.cells
    assert (np.diff(key) > 0).all()
    assert found.objects.dtype == found.cells.dtype == np.int64


def test_upright_boxes_on_the_lines_of_the_cells():
    boxes = np.array(
        [[[1, 2], [4, 2], [4, 4], [1, 4]], [[0, 0], [12, 0], [12, 9], [0, 9]], [[2, 3], [2, 1], [3, 1], [3, 3]]]
    )
    found = cover(boxes, SHAPE)
    assert np.bincount(found.objects).tolist() == [6, 108, 2]
    assert (found.shares == 1).all()
    assert found.cells[:6].tolist() == [25, 26, 27, 37, 38, 39]


def test_an_object_far_smaller_than_a_cell_counts_with_its_share():
    dot = 5e4 + np.array([[[0.25, 0.5], [0.25 + 2**-20, 0.5], [0.25 + 2**-20, 0.5 + 2**-21], [0.25, 0.5 + 2**-21]]])
    found = cover(dot, (60_000, 60_000))
    assert found.cells.tolist() == [50_000 * 60_000 + 50_000]
    assert found.shares[0] == pytest.approx(2**-41, rel=1e-3)


def test_what_lies_outside_of_the_map_is_left_out():
    box = np.array([[0, 0], [4, 0], [4, 4], [0, 4.0]])
    moved = np.stack([box + way for way in ([-5, 0], [12, 0], [0, -4], [0, 9], [1e9, -1e9], [-2, -2], [10, 7])])
    found = cover(moved, SHAPE)
    assert np.bincount(found.objects, found.shares, len(moved)).tolist() == [0, 0, 0, 0, 0, 4, 4]


def test_a_large_map_that_is_covered_wholly_and_partly():
    whole = np.array([[0, 0], [256, 0], [256, 256], [0, 256.0]])
    turned = rotated_corners(np.array([[128.0, 128.0, 200.0, 100.0, 0.5]]))[0]
    found = cover(np.stack([whole] * 6 + [turned, whole * 3 - 200]), (256, 256))
    areas = np.bincount(found.objects, found.shares)
    np.testing.assert_allclose(areas, [65536] * 6 + [20000, 65536], rtol=1e-12)
    assert (np.diff(found.objects * 65536 + found.cells) > 0).all()


def test_concave_quads_count_as_they_are_and_bow_ties_as_their_hull():
    arrow = np.array([[0, 0], [8, 0], [2, 2], [0, 8.0]])
    bow_tie = np.array([[1, 1], [5, 5], [5, 1], [1, 5.0]])
    vee = np.array([[0, 0], [4, 4], [8, 0], [4, 8.0]])
    covered = cover(np.stack([arrow, arrow[::-1], bow_tie, vee]), SHAPE)
    assert covered.shares.min() > 1e-3  # no entry for a cell between the arms of the vee
    found = shares(covered, 4)
    np.testing.assert_allclose(found[3], by_hand(vee), atol=1e-12)
    np.testing.assert_allclose(found[0], by_hand(arrow), atol=1e-12)
    np.testing.assert_allclose(found[0], found[1])
    assert found.sum(1).tolist() == pytest.approx([16] * 4)
    ring = np.bincount(*ring_of(arrow[None] + 1, (30, 30))[::2])
    assert ring == pytest.approx([16], rel=1e-9)  # the arrow is scaled about a point that sees all of it


def test_boxes_without_area_or_with_no_numbers_cover_nothing():
    box = np.array([[1, 1], [4, 1], [4, 3], [1, 3.0]])
    bad = [np.full((4, 2), 2.5), box[[0, 1, 1, 0]], box * [1, 0]]
    for number in (np.nan, np.inf, -np.inf, 1e300):
        bad.append(box.copy())
        bad[-1][2, 0] = number
    boxes = np.stack([*bad, box])
    for found in (cover(boxes, SHAPE), ring_of(boxes, SHAPE), ring_of(boxes, SHAPE, boxes)):
        assert set(found.objects.tolist()) == {len(bad)}
        assert found.shares.sum() == pytest.approx(6)
    assert [len(part) for part in cover(np.zeros((0, 4, 2)), SHAPE)] == [0, 0, 0]
    assert [len(part) for part in ring_of(np.zeros((0, 4, 2)), SHAPE, boxes)] == [0, 0, 0]
    assert [len(part) for part in ring_of(boxes[:1], SHAPE, boxes)] == [0, 0, 0]


def test_the_mean_of_a_map_is_weighted_by_the_shares():
    boxes = np.concatenate([some_boxes(9, 0.2, 6, seed=2), [np.full((4, 2), -9.0)]])
    values = np.random.default_rng(0).normal(1e3, 1, (7, *SHAPE)).astype(np.float32)
    found = pool(cover(boxes, SHAPE), 11, values)
    table = shares(cover(boxes, SHAPE), 10)
    there = table.sum(1) > 0
    assert there.tolist() == [*[True] * 9, False]
    expected = table[there] @ values.reshape(7, -1).T.astype(np.float64) / table[there].sum(1)[:, None]
    np.testing.assert_array_equal(found[:9], expected.astype(np.float32))
    assert np.isnan(found[9:]).all()
    assert (found.shape, found.dtype) == ((11, 7), np.float32)
    assert np.isnan(pool(cover(boxes[9:], SHAPE), 1, values)).all()


def test_a_ring_is_as_large_as_its_box_and_outside_of_it():
    boxes = some_boxes(20, 0.3, 5, seed=4)
    scaled = boxes.mean(1, keepdims=True) + np.sqrt(2) * (boxes - boxes.mean(1, keepdims=True))
    expected = np.array([by_hand(large) for large in scaled]) - [by_hand(box) for box in boxes]
    ring = ring_of(boxes, SHAPE)
    np.testing.assert_allclose(shares(ring, 20), expected, atol=1e-12)
    assert ((ring.shares > 0) & (ring.shares <= 1)).all()
    middle = ring_of(np.array([[[4, 4], [7, 4], [7, 6], [4, 6.0]]]), SHAPE)
    assert middle.shares.sum() == pytest.approx(6)


def test_a_ring_leaves_out_what_other_objects_cover_exactly():
    random = np.random.default_rng(5)
    y, x = np.mgrid[0.5:9:1.5, 0.5:12:1.5].reshape(2, -1, 1)  # objects that lie apart
    objects = rotated_corners(np.concatenate([x, y, random.uniform(0.2, 1, (len(x), 2)), 3 * x], 1)).copy()
    objects[::3] = objects[::3, ::-1]
    boxes = np.concatenate([objects[:30:4], some_boxes(8, 2, 5, seed=6)])
    found = shares(ring_of(boxes, SHAPE, objects), len(boxes))
    free = shares(ring_of(boxes, SHAPE), len(boxes))
    for number, box in enumerate(boxes):
        large = box.mean(0) + np.sqrt(2) * (box - box.mean(0))
        expected = free[number].copy()
        for other in (one for one in objects if common_area(large, one)):
            expected -= np.subtract(by_hand(large, other), by_hand(box, other))
        np.testing.assert_allclose(found[number], expected, atol=1e-12)
    assert (free - found).sum() > 5
    alone = boxes[:1]
    np.testing.assert_allclose(shares(ring_of(alone, SHAPE, alone), 1), shares(ring_of(alone, SHAPE), 1), atol=1e-12)


def test_rings_of_concave_boxes_leave_out_objects_too():
    square = np.array([[4, 3], [7, 3], [7, 6], [4, 6.0]])
    boxes = np.stack([np.array([[1, 1], [8, 1], [3, 3], [1, 8.0]]), square])
    objects = np.array([[[3, 4], [9, 4], [9, 5], [3, 5.0]]])
    found = shares(ring_of(boxes, SHAPE, objects), 2)
    for number in range(2):
        alone = boxes[number : number + 1]
        np.testing.assert_allclose(found[number], shares(ring_of(alone, SHAPE, objects), 1)[0], atol=1e-12)
        outside = found[number] - shares(ring_of(alone, SHAPE), 1)[0]
        assert (outside[48:60] < -1e-3).any()  # the row of the object
        np.testing.assert_allclose(np.delete(outside, np.s_[48:60]), 0, atol=1e-12)


def test_rings_of_an_image_serve_all_of_its_maps():
    boxes, objects = some_boxes(8, 2, 5, seed=6), some_boxes(8, 0.5, 4, seed=7)
    rings = rings_around(boxes, objects)
    assert len(rings.pieces) > 5
    for scale, shift in (([0.5, 0.25], [1, 2]), ([-1, 1], [12, 0]), ([3, 3], [-5.5, 0.5])):
        found = rings.moved(lambda corners: corners * scale + shift).cover(SHAPE)  # noqa: B023
        direct = ring_of(boxes * scale + shift, SHAPE, objects * scale + shift)
        np.testing.assert_allclose(shares(found, 8), shares(direct, 8), atol=1e-12)
    inside = cover(boxes, SHAPE)
    np.testing.assert_array_equal(shares(rings.cover(SHAPE, inside), 8), shares(ring_of(boxes, SHAPE, objects), 8))
    nothing = rings.cover(SHAPE, cover(boxes[:0], SHAPE))
    assert nothing.shares.sum() > rings.cover(SHAPE).shares.sum() + 1  # `inside` is used


def test_only_cells_at_the_edges_are_cut(monkeypatch):
    cut = []

    def counted(x, y, bounds):
        cut.append(x.shape[1])
        return areas_within(x, y, bounds)

    monkeypatch.setattr(coverage, "areas_within", counted)
    box = rotated_corners(np.array([[64.0, 64.0, 100.0, 50.0, 0.5]]))
    found = [cover(corners, (128, 128)) for corners in (box, box[:, ::-1])]
    assert sum(cut[: len(cut) // 2]) == sum(cut[len(cut) // 2 :]) < 500 < 5000 < len(found[0].cells)
    np.testing.assert_allclose(found[0].shares, found[1].shares, atol=1e-12)


def test_a_ring_leaves_out_concave_objects_and_never_more_than_all():
    box = np.array([[[4, 3], [7, 3], [7, 6], [4, 6.0]]])
    arrow = np.array([[7, 3], [7, 9], [7.5, 5], [9, 3.0]])
    triangles = [arrow[[1, 2, 0]], arrow[[2, 3, 0]]]  # cut at the concave corner
    large = box[0].mean(0) + np.sqrt(2) * (box[0] - box[0].mean(0))
    expected = shares(ring_of(box, SHAPE), 1)[0] - sum(np.array(by_hand(large, part)) for part in triangles)
    np.testing.assert_allclose(shares(ring_of(box, SHAPE, arrow[None]), 1)[0], expected, atol=1e-12)
    twice = ring_of(box, SHAPE, np.stack([box[0] * 2 - 5] * 2))  # the same object twice, over all of the ring
    assert [len(part) for part in twice] == [0, 0, 0]


def test_separation_is_the_chance_that_the_box_has_more_energy():
    boxes = some_boxes(12, 0.5, 6, seed=8)
    inside, ring = cover(boxes, SHAPE), ring_of(boxes, SHAPE, boxes[:3])
    energy = np.random.default_rng(1).integers(0, 4, SHAPE).astype(np.float32)  # many are equal
    energy[0, 0] = np.inf
    flat = energy.reshape(-1)
    wins = (flat[:, None] > flat) + 0.5 * (flat[:, None] == flat)
    ours, theirs = shares(inside, 12), shares(ring, 12)
    total = ours.sum(1) * theirs.sum(1)
    there = total > 0
    expected = np.einsum("bi,ij,bj->b", ours, wins, theirs)[there] / total[there]
    found = separation(inside, ring, 13, energy)
    np.testing.assert_allclose(found[:12][there], expected, atol=1e-12)
    assert np.isnan(found[12])
    assert np.isnan(found[:12]).tolist() == (~there).tolist()


def test_separation_of_nothing_and_of_unknown_energy():
    box = np.array([[[4, 3], [6, 3], [6, 5], [4, 5.0]], [[0, 0], [1, 0], [1, 1], [0, 1.0]]])
    inside, ring = cover(box, SHAPE), ring_of(box, SHAPE)
    energy = np.zeros(SHAPE)
    energy[3:5, 4:6] = 1
    assert separation(inside, ring, 2, energy) == pytest.approx([1, 0.5])
    assert separation(inside, ring, 2, -energy) == pytest.approx([0, 0.5])
    energy[3, 4] = np.nan
    assert np.isnan(separation(inside, ring, 2, energy)).tolist() == [True, False]
    nothing = cover(box[:0], SHAPE)
    assert np.isnan(separation(inside, nothing, 2, energy)).all()
    assert np.isnan(separation(nothing, nothing, 2, energy)).all()

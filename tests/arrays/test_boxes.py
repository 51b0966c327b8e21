import numpy as np
import pytest
from polygons import common_area

from featscope.arrays.boxes import areas_of, corners_of, iou_of, paired_iou, rotated_corners, rotated_iou
from featscope.errors import UnknownNameError


def test_a_quarter_turn_swaps_the_sides():
    turned = rotated_corners(np.array([[0, 0, 4, 2, np.pi / 2]]))[0]
    straight = rotated_corners(np.array([[0, 0, 2, 4, 0]]))[0]
    assert {tuple(p.round(9) + 0.0) for p in turned} == {tuple(p) for p in straight}


def test_the_same_boxes_have_the_same_corners_to_the_last_bit(random):
    """NumPy 1.24 has two algorithms for the sine of a column, and the addresses of the arrays decide between them."""
    held = []
    for count in range(20, 2000, 33):
        boxes = random.uniform(-3, 3, (count, 5)).tolist()
        corners = [rotated_corners(np.array(boxes)) for _ in range(5)]
        held.append(corners[count % 5])  # so that the next arrays lie elsewhere
        assert all(np.array_equal(one, corners[0]) for one in corners)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 4, 2, 0), (0, 0, 4, 2, 0), 1.0),
        ((0, 0, 4, 2, 0), (2, 0, 4, 2, 0), 1 / 3),
        ((0, 0, 2, 2, 0), (0, 0, 2, 2, np.pi / 4), np.sqrt(0.5)),
        ((0, 0, 4, 2, 0), (9, 9, 4, 2, 0), 0.0),
        ((0, 0, 10, 10, 0.3), (0, 0, 2, 2, 1.0), 0.04),
    ],
)
def test_exact_overlaps(a, b, expected):
    assert rotated_iou(np.array([a]), np.array([b]))[0, 0] == pytest.approx(expected, abs=1e-9)


def test_far_from_the_origin_and_against_sampled_points(random):
    a = np.array([[5000.0, 7000.0, 40.0, 12.0, 0.7]])
    b = np.array([[5006.0, 7003.0, 30.0, 20.0, -0.4]])
    points = random.uniform(-40, 40, (200_000, 2)) + a[0, :2]

    def inside(box):
        d = points - box[:2]
        c, s = np.cos(box[4]), np.sin(box[4])
        return (abs(d @ [c, s]) < box[2] / 2) & (abs(d @ [-s, c]) < box[3] / 2)

    both, either = (inside(a[0]) & inside(b[0])).sum(), (inside(a[0]) | inside(b[0])).sum()
    assert rotated_iou(a, b)[0, 0] == pytest.approx(both / either, abs=0.01)


def test_no_boxes():
    assert rotated_iou(np.zeros((0, 5)), np.zeros((3, 5))).shape == (0, 3)


def test_pairs_overlap_as_the_whole_table_says():
    random = np.random.default_rng(2)
    boxes = np.concatenate(
        [random.uniform(0, 40, (30, 2)), random.uniform(2, 20, (30, 2)), random.uniform(-3, 3, (30, 1))], 1
    )
    np.testing.assert_allclose(
        paired_iou("cxcywha", boxes[:15], boxes[15:]), np.diag(rotated_iou(boxes[:15], boxes[15:]))
    )
    straight = np.concatenate([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2], 1)
    upright = np.concatenate([boxes[:, :4], np.zeros((30, 1))], 1)
    np.testing.assert_allclose(
        paired_iou("xyxy", straight[:15], straight[15:]), np.diag(rotated_iou(upright[:15], upright[15:])), atol=1e-9
    )


def some_boxes(form, count, random, origin=0.0):
    centre = random.uniform(0, 40, (count, 2)) + origin
    size, angle = random.uniform(1, 40, (count, 2)), random.uniform(-7, 7, (count, 1))
    if form == "xyxy":
        return np.concatenate([centre, centre + size], 1)
    if form == "cxcywha":
        return np.concatenate([centre, size, angle], 1)
    # Corners on an ellipse, so the quads are convex; every second one turns the other way.
    around = np.sort(random.uniform(0, 6.28, (count, 4)), 1)
    around[::2] *= -1
    return (centre[:, None] + np.stack([size[:, :1] * np.cos(around), size[:, 1:] * np.sin(around)], 2)).reshape(-1, 8)


@pytest.mark.parametrize("form_a", ["xyxy", "cxcywha", "quad"])
@pytest.mark.parametrize("form_b", ["xyxy", "cxcywha", "quad"])
@pytest.mark.parametrize("origin", [0.0, 1e5])
def test_every_form_overlaps_every_other_as_polygons_cut_by_hand_do(form_a, form_b, origin):
    random = np.random.default_rng(7)
    a, b = some_boxes(form_a, 12, random, origin), some_boxes(form_b, 15, random, origin)
    common = np.array(
        [[common_area(p - origin, q - origin) for q in corners_of(form_b, b)] for p in corners_of(form_a, a)]
    )
    union = areas_of(form_a, a)[:, None] + areas_of(form_b, b) - common
    found = iou_of(form_a, a, form_b, b)
    np.testing.assert_allclose(found, common / union, atol=1e-9)
    assert (found > 0).sum() > 50
    if form_a == form_b:
        np.testing.assert_allclose(paired_iou(form_a, a, b[:12]), np.diag(found), atol=1e-12)


@pytest.mark.parametrize("form", ["xyxy", "cxcywha", "quad"])
@pytest.mark.parametrize("origin", [0.0, 1e5])
def test_a_box_is_itself_and_nearly_itself(form, origin):
    boxes = some_boxes(form, 40, np.random.default_rng(3), origin)
    np.testing.assert_allclose(np.diag(iou_of(form, boxes, form, boxes)), 1, atol=1e-9)
    for change in (1e-15, 1e-12, 1e-10):  # edges that all but coincide
        changed = boxes * (1 + change)
        assert (paired_iou(form, boxes, changed) > 1 - 1e-4).all()
        np.testing.assert_allclose(paired_iou(form, boxes, changed), paired_iou(form, changed, boxes), atol=1e-9)


def test_the_same_rectangle_in_three_forms():
    upright, rotated, quad = [[2, 1, 8, 5]], [[5, 3, 4, 6, np.pi / 2]], [[8, 5, 2, 5, 2, 1, 8, 1]]
    for a in (("xyxy", upright), ("cxcywha", rotated), ("quad", quad)):
        for b in (("xyxy", upright), ("cxcywha", rotated), ("quad", quad)):
            assert iou_of(*a, *b)[0, 0] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, 2.0])
def test_boxes_that_touch_do_not_overlap(angle):
    right, down = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    box = np.array([[10.0, 10.0, 4.0, 2.0, angle]])
    beside = [[*(box[0, :2] + way), 4.0, 2.0, angle] for way in (4 * right, -4 * right, 2 * down, 4 * right + 2 * down)]
    np.testing.assert_allclose(rotated_iou(box, beside), 0, atol=1e-12)
    assert iou_of("quad", rotated_corners(box), "quad", rotated_corners(np.array(beside))).max() < 1e-12
    assert iou_of("xyxy", [[0, 0, 4, 2]], "xyxy", [[4, 0, 8, 2], [4, 2, 8, 4]]).tolist() == [[0, 0]]


def test_boxes_without_area_or_with_no_numbers_overlap_nothing():
    good = {"xyxy": [0, 0, 4, 2], "cxcywha": [2, 1, 4, 2, 0.1], "quad": [0, 0, 4, 0, 4, 2, 0, 2]}
    bad = {
        "xyxy": [[1, 1, 1, 2], [3, 2, 1, 1], [1, 1, 1, 1]],
        "cxcywha": [[2, 1, 0, 2, 0.1], [2, 1, 0, 0, 0], [2, 1, -1, 1, 0]],
        "quad": [[1, 1] * 4, [0, 0, 4, 0, 0, 0, 4, 0], [0, 0, 1, 1, 2, 2, 3, 3]],
    }
    for form, boxes in bad.items():
        for number in (np.nan, np.inf, -np.inf, 1e300):
            for place in range(len(good[form])):
                boxes.append([*good[form][:place], number, *good[form][place + 1 :]])
        for other, box in good.items():
            mixed = [box, *([box] * 2)]
            assert iou_of(form, [*boxes, good[form]], other, mixed)[:-1].max() == 0
            assert iou_of(other, mixed, form, [*boxes, good[form]])[:, :-1].max() == 0
        assert iou_of(form, boxes, form, boxes).max() == 0
        assert paired_iou(form, np.array(boxes), np.array(boxes)).max() == 0


def test_concave_quads_count_as_they_are_and_bow_ties_as_their_hull():
    square = [0, 0, 4, 0, 4, 4, 0, 4]
    arrow = [0, 0, 4, 0, 1, 1, 0, 4]  # the square without what lies beyond (1, 1): an area of 4
    assert areas_of("quad", [arrow]).tolist() == [4]
    assert iou_of("quad", [arrow], "quad", [square])[0, 0] == pytest.approx(1 / 4)
    assert iou_of("xyxy", [[0, 0, 4, 4]], "quad", [arrow])[0, 0] == pytest.approx(1 / 4)
    assert iou_of("xyxy", [[2, 2, 4, 4]], "quad", [arrow])[0, 0] == 0
    for bow_tie in ([0, 0, 4, 4, 4, 0, 0, 4], [0, 0, 4, 0, 0, 4, 4, 4], [4, 4, 0, 0, 4, 0, 0, 4]):
        assert areas_of("quad", [bow_tie]).tolist() == [16]
        assert iou_of("quad", [bow_tie], "quad", [square])[0, 0] == pytest.approx(1)
        assert iou_of("cxcywha", [[2, 2, 4, 4, 0]], "quad", [bow_tie])[0, 0] == pytest.approx(1)


def test_a_crowd_counts_by_the_area_of_the_detection():
    found = iou_of("xyxy", [[0, 0, 4, 2]], "cxcywha", [[4, 2, 4, 4, 0]] * 2, np.array([True, False]))
    np.testing.assert_allclose(found, [[4 / 8, 4 / 20]])


def test_one_large_box_among_many_small_ones_is_found_by_all():
    random = np.random.default_rng(1)
    small = np.concatenate(
        [random.uniform(0, 1000, (700, 2)), np.full((700, 2), 8.0), random.uniform(0, 3, (700, 1))], 1
    )
    large = np.array([[500.0, 500.0, 3000.0, 3000.0, 0.4]])
    found = rotated_iou(np.concatenate([small, large]), small)
    np.testing.assert_allclose(found[-1], 64 / 9e6)
    np.testing.assert_allclose(found[:-1], found[:-1].T, atol=1e-12)
    np.testing.assert_allclose(rotated_iou(small, np.concatenate([large, small]))[:, 0], 64 / 9e6)
    for row in range(0, 700, 50):
        np.testing.assert_allclose(paired_iou("cxcywha", np.broadcast_to(small[row], small.shape), small), found[row])


def test_an_unknown_form_is_refused():
    with pytest.raises(UnknownNameError, match="'xywh'; write one of xyxy, cxcywha, quad"):
        iou_of("xywh", [[0, 0, 1, 1]], "xyxy", [[0, 0, 1, 1]])
    with pytest.raises(UnknownNameError, match="'xywh'"):
        corners_of("xywh", [[0, 0, 1, 1]])

import numpy as np
import pytest

from featscope.arrays.boxes import paired_iou, rotated_corners, rotated_iou


def test_a_quarter_turn_swaps_the_sides():
    turned = rotated_corners(np.array([[0, 0, 4, 2, np.pi / 2]]))[0]
    straight = rotated_corners(np.array([[0, 0, 2, 4, 0]]))[0]
    assert {tuple(p.round(9) + 0.0) for p in turned} == {tuple(p) for p in straight}


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

"""Suppression: each kind of overlap, and the same result as a plain loop over exact overlaps."""

import numpy as np
import pytest

from featscope.arrays.boxes import paired_iou
from featscope.arrays.suppressing import Sorted, suppressors
from featscope.records import Selection

PILE = np.array([[0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 4]], np.float32)
"""The second box overlaps the first by 0.6 and the third by 2/3; the third overlaps the first by 0.4."""


def by(boxes, labels=None, form="xyxy", **how):
    labels = np.zeros(len(boxes), int) if labels is None else np.array(labels)
    return suppressors(Sorted(form, np.asarray(boxes), labels), Selection(**{"suppression": "upright", **how})).tolist()


def plain(form, boxes, labels, how):
    """Suppress one box after the other."""
    result = np.full(len(boxes), -1)
    for i in range(len(boxes)):
        for j in range(i):
            may = (result[j] < 0 or not how.by_kept) and (labels[i] == labels[j] or not how.by_class)
            if may and paired_iou(form, boxes[j : j + 1], boxes[i : i + 1])[0] > how.overlap:
                result[i] = j
                break
    return result


def test_only_a_kept_box_suppresses():
    assert by(PILE, overlap=0.5) == [-1, 0, -1]
    assert by(PILE, overlap=0.5, by_kept=False) == [-1, 0, 1]
    assert by(PILE, overlap=0.7) == [-1, -1, -1]
    assert by(PILE, overlap=0.3) == [-1, 0, 0]


def test_the_best_one_that_suppresses_is_named():
    boxes = [[0, 0, 10, 10], [4, 0, 14, 10], [2, 0, 12, 10]]
    assert by(boxes, overlap=0.5) == [-1, -1, 0]


def test_nothing_is_suppressed_without_suppression():
    assert by(PILE, suppression="", overlap=0.0) == [-1, -1, -1]
    assert by(np.zeros((0, 4))) == []


def test_classes_are_apart_unless_all_are_one():
    assert by(PILE, [0, 1, 1], overlap=0.5) == [-1, -1, 1]
    assert by(PILE, [0, 1, 2], overlap=0.5, by_class=False) == [-1, 0, -1]


@pytest.mark.parametrize("form", ["xyxy", "cxcywha", "quad"])
def test_exactly_the_threshold(form):
    boxes = {
        "xyxy": [[0, 0, 4, 4], [0, 0, 4, 2]],
        "cxcywha": [[2, 2, 4, 4, 0], [2, 1, 4, 2, 0]],
        "quad": [[0, 0, 4, 0, 4, 4, 0, 4], [0, 0, 4, 0, 4, 2, 0, 2]],
    }[form]
    kind = "upright" if form == "xyxy" else "rotated"
    assert by(boxes, form=form, suppression=kind, overlap=0.5) == [-1, -1]
    assert by(boxes, form=form, suppression=kind, overlap=0.5, overlap_inclusive=True) == [-1, 0]


def test_boxes_without_area_do_not_suppress_each_other():
    assert by([[3, 3, 3, 3], [3, 3, 3, 3]], overlap=0.5) == [-1, -1]


def test_rotated_boxes_are_compared_as_polygons():
    crossed = [[10, 10, 20, 2, 0.0], [10, 10, 20, 2, np.pi / 2], [10, 10, 20, 2, 0.02]]
    assert by(crossed, form="cxcywha", suppression="rotated", overlap=0.1) == [-1, -1, 0]


def test_rounding_by_a_class_offset_decides():
    """At 614,400 pixels float32 has steps of 1/16 pixel, in which both boxes are the same."""
    boxes = np.array([[0.0, 0, 1.0, 1.0], [0.02, 0, 1.02, 1.0]], np.float32)
    assert by(boxes, [80, 80], overlap=0.98) == [-1, -1]
    assert by(boxes, [80, 80], overlap=0.98, class_offset=7680.0) == [-1, 0]
    assert by(boxes, [80, 80], overlap=0.98, class_offset=7680.0, offset_up_to=1) == [-1, -1]
    assert by(boxes, [80, 80], overlap=0.98, class_offset=7680.0, by_class=False) == [-1, -1]
    far = np.concatenate([boxes, [[0, 0, 7679, 7679]]]).astype(np.float32)
    assert by(far, [80, 80, 0], overlap=0.98, class_offset=-1) == [-1, 0, -1]
    turned = np.array([[0.5, 0.5, 1, 1, 0.0], [0.52, 0.5, 1, 1, 0.0]], np.float32)
    rotated = {"form": "cxcywha", "suppression": "rotated", "overlap": 0.98}
    assert by(turned, [80, 80], **rotated) == [-1, -1]
    assert by(turned, [80, 80], class_offset=7680.0, **rotated) == [-1, 0]
    assert by(turned[:, :], [900, 900], class_offset=-1, **rotated) == [-1, -1]  # 2.52 pixels a class


@pytest.mark.parametrize(("form", "kind"), [("xyxy", "upright"), ("cxcywha", "rotated")])
@pytest.mark.parametrize("by_kept", [True, False])
@pytest.mark.parametrize("by_class", [True, False])
def test_the_same_as_a_plain_loop(form, kind, by_kept, by_class):
    """More boxes than one block holds."""
    random = np.random.default_rng(3)
    centre, size = random.uniform(0, 60, (150, 2)), random.uniform(4, 20, (150, 2))
    boxes = np.concatenate([centre, size, random.uniform(-2, 2, (150, 1))], 1)
    boxes = boxes if form == "cxcywha" else np.concatenate([centre, centre + size], 1)
    labels = random.integers(0, 2, 150)
    how = Selection(suppression=kind, overlap=0.15, by_kept=by_kept, by_class=by_class)
    found = suppressors(Sorted(form, boxes.astype(np.float32), labels), how)
    expected = plain(form, boxes.astype(np.float32).astype(float), labels, how)
    assert found.tolist() == expected.tolist()
    assert (found >= 0).sum() > 40


def test_probiou_is_that_of_the_paper():
    """Two equal Gaussians a standard deviation apart: the Bhattacharyya distance is 1/8."""
    width = np.sqrt(12.0)  # a variance of 1
    boxes = np.array([[0, 0, width, width, 0], [1, 0, width, width, 0.7]], np.float32)
    overlap = 1 - np.sqrt(1 - np.exp(-1 / 8))
    gaussian = {"form": "cxcywha", "suppression": "probiou", "by_kept": False}
    assert by(boxes, overlap=overlap - 1e-4, **gaussian) == [-1, 0]
    assert by(boxes, overlap=overlap + 1e-4, **gaussian) == [-1, -1]


def test_probiou_of_slanted_boxes():
    """Along its length a box may be farther away than across it."""
    slanted = [30.0, 10.0, np.pi / 4]
    along, across = 4 * np.array([0.5**0.5, 0.5**0.5]), 4 * np.array([-(0.5**0.5), 0.5**0.5])
    boxes = np.array([[0, 0, *slanted], [*along, *slanted], [*across, *slanted]], np.float32)
    assert by(boxes, form="cxcywha", suppression="probiou", overlap=0.7) == [-1, 0, -1]

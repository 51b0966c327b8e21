"""Whether a selection gives a detector's own detections."""

import numpy as np
import pytest

from featscope.arrays.candidates import ImageCandidates, LevelCandidates
from featscope.arrays.found_again import differences, proved, same_boxes
from featscope.arrays.selecting import select
from featscope.records import Boxes, Selection

BOXES = [[0.0, 0, 10, 10], [20, 0, 30, 10], [20, 0, 30, 10]]


def outcome(**how):
    scores = np.array([[0.9, 0], [0.8, 0], [0.7, 0]], np.float32)
    level = LevelCandidates(scores, np.array(BOXES, np.float32), "query")
    return select(ImageCandidates((level,), "xyxy", Selection(**how)))


def test_the_same_in_any_order():
    assert differences(outcome(), Boxes("xyxy", BOXES[::-1], [0, 0, 0], [0.7, 0.8, 0.9])) == ""


@pytest.mark.parametrize(
    ("boxes", "labels", "scores"),
    [
        ([*BOXES[:2], [20, 0, 30, 10.02]], [0, 0, 0], [0.9, 0.8, 0.7]),
        (BOXES, [0, 0, 1], [0.9, 0.8, 0.7]),
        (BOXES, [0, 0, 0], [0.9, 0.8, 0.70001]),
        (BOXES, [0, 0, 0], [0.9, 0.8, 0.8]),
    ],
)
def test_another_box_class_or_score(boxes, labels, scores):
    found = differences(outcome(), Boxes("xyxy", boxes, labels, scores))
    assert found == "1 of 3 detections not found again, and 1 found that the detector did not keep"


def test_more_or_fewer():
    assert differences(outcome(), Boxes("xyxy", BOXES[:2], [0, 0], [0.9, 0.8])).startswith("0 of 2 detections not")
    assert differences(outcome(maximum=2), Boxes("xyxy", BOXES, [0] * 3, [0.9, 0.8, 0.7])).endswith(
        "and 0 found that the detector did not keep"
    )


def test_equal_scores_may_be_exchanged():
    """Of two pairs with one score, a detector that keeps one may keep the other."""
    scores = np.array([[0.5], [0.5], [0.5]], np.float32)
    level = LevelCandidates(scores, np.array([*BOXES[:2], [50, 30, 60, 40]], np.float32), "query")
    found = select(ImageCandidates((level,), "xyxy", Selection(maximum=2)))
    assert found.index[:2].tolist() == [0, 1]
    other = Boxes("xyxy", [BOXES[0], [50, 30, 60, 50]], [0, 0], [0.5, 0.5])
    assert "1 of 2 detections not found again" in differences(found, other)
    other = Boxes("xyxy", [BOXES[0], level.boxes[2].tolist()], [0, 0], [0.5, 0.5])
    assert differences(found, other) == ""
    other = Boxes("xyxy", [BOXES[0], level.boxes[2].tolist()], [0, 0], [0.5, 0.500001])
    assert "1 of 2 detections not found again" in differences(found, other)


def test_a_pair_that_was_not_kept_is_another_detection():
    other = Boxes("xyxy", BOXES[1:2], [0], [float(np.float32(0.8))])
    assert differences(outcome(maximum=1), other).startswith("1 of 1 detection not found again, and 1 found")


def test_exact_scores_come_first():
    """The first detection is nearer to the second pair, but has the score of the first."""
    scores = np.array([[0.5], [0.500003]], np.float32)
    boxes = np.array([[0, 0, 10, 10.006], [0, 0, 10, 10]], np.float32)
    found = select(ImageCandidates((LevelCandidates(scores, boxes, "query"),), "xyxy", Selection()))
    detections = [[0, 0, 10, 10.001], [0, 0, 10, 9.994]]
    assert differences(found, Boxes("xyxy", detections, [0, 0], scores[:, 0].astype(float).tolist())) == ""


def test_without_detections_a_selection_is_not_proved():
    level = LevelCandidates(np.array([[0.9]], np.float32), np.array(BOXES[:1], np.float32), "query")
    candidates = ImageCandidates((level,), "xyxy", Selection())
    assert proved(candidates, Boxes("xyxy", BOXES[:1], [0], [float(np.float32(0.9))])) is candidates
    assert proved(candidates, None).selection is None
    assert proved(candidates, None).unknown == "there are no detections to compare with"
    other = proved(candidates, Boxes("xyxy", [], []))
    assert other.selection is None
    assert other.unknown.startswith("it is not the one that featscope knows: 0 of 0 detections")


def test_a_rectangle_can_be_written_in_four_ways():
    box = np.array([5.0, 5, 8, 2, 0.3])
    same = np.array([[5.0, 5, 8, 2, 0.3 + np.pi], [5.0, 5, 2, 8, 0.3 - np.pi / 2], [5.0, 5, 8, 2, 0.4]])
    assert same_boxes(same, box, "cxcywha").tolist() == [True, True, False]

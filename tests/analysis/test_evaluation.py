"""Matching, curves and average precision by hand; the frameworks' own code is compared in tests/integration."""

import numpy as np
import pytest

from featscope.analysis.evaluation import (
    IGNORED,
    MODES,
    NOTHING,
    RULES,
    average_precision,
    best_score,
    match_detections,
    precision_recall,
)
from featscope.errors import BadOptionError, UnknownNameError


def match(iou, scores=None, rule="voc", min_iou=0.5, **others):
    iou = np.array(iou, float)
    scores = np.linspace(0.9, 0.1, len(iou)) if scores is None else np.array(scores)
    others = {name: np.array(value, bool) for name, value in others.items()}
    return match_detections(iou, scores, min_iou, rule, **others).tolist()


@pytest.mark.parametrize("rule", RULES)
def test_the_threshold_itself_is_a_hit(rule):
    assert match([[0.5]], rule=rule) == [0]
    assert match([[np.nextafter(0.5, 0)]], rule=rule) == [NOTHING]


@pytest.mark.parametrize("rule", RULES)
def test_the_best_score_takes_the_object_and_the_second_is_a_false_alarm(rule):
    assert match([[0.6], [0.9], [0.7]], scores=[0.2, 0.3, 0.3], rule=rule) == [NOTHING, 0, NOTHING]


def test_by_voc_a_taken_object_is_not_exchanged_for_another():
    iou = [[0.9, 0.6], [0.8, 0.7]]
    assert match(iou, rule="voc") == [0, NOTHING]
    assert match(iou, rule="coco") == [0, 1]


def test_of_equal_overlaps_voc_takes_the_first_and_coco_the_last():
    assert match([[0.6, 0.6]], rule="voc") == [0]
    assert match([[0.6, 0.6]], rule="coco") == [1]


def test_an_ignored_object_makes_a_detection_neither():
    ignored = [True, False]
    assert match([[0.9, 0.6], [0.9, 0.1]], rule="voc", ignored=ignored) == [IGNORED, IGNORED]
    # COCO prefers the object that counts, and an object that is difficult can be taken only once.
    assert match([[0.9, 0.6], [0.9, 0.1]], rule="coco", ignored=ignored) == [1, IGNORED]
    assert match([[0.9, 0.1], [0.9, 0.1]], rule="coco", ignored=ignored) == [IGNORED, NOTHING]
    # Of equal overlaps both take the object that counts.
    assert match([[0.9, 0.9]], rule="voc", ignored=ignored) == [1]


def test_a_crowd_is_ignored_and_can_be_taken_by_many():
    assert match([[0.9, 0.1], [0.9, 0.1]], rule="coco", crowd=[True, False]) == [IGNORED, IGNORED]
    assert match([[0.9, 0.1], [0.9, 0.1]], rule="voc", crowd=[True, False]) == [IGNORED, IGNORED]


def test_an_iou_of_one_is_reached_in_spite_of_rounding():
    assert match([[1 - 1e-11]], rule="coco", min_iou=1) == [0]  # as in pycocotools
    assert match([[1 - 1e-11]], rule="voc", min_iou=1) == [NOTHING]


def test_no_detections_or_no_objects():
    assert match(np.zeros((0, 2))) == []
    assert match(np.zeros((2, 0))) == [NOTHING, NOTHING]


def test_wrong_options_are_named():
    with pytest.raises(BadOptionError, match="above 0 and at most 1, not 50"):
        match([[0.5]], min_iou=50)
    with pytest.raises(UnknownNameError, match="did you mean 'voc'"):
        match([[0.5]], rule="voc07")
    with pytest.raises(UnknownNameError, match="11points"):
        average_precision(precision_recall(np.array([0.5]), np.array([True]), 1), "11point")


def slow_match(iou, scores, min_iou, rule, ignored, crowd):
    """The rules as loops, one detection after the other."""
    result, free = [NOTHING] * len(iou), [True] * iou.shape[1]
    for row in sorted(range(len(iou)), key=lambda row: -scores[row]):
        best = NOTHING
        for column in [*np.flatnonzero(~ignored), *np.flatnonzero(ignored)]:
            if rule == "coco" and not (free[column] or crowd[column]):
                continue
            if rule == "coco" and best >= 0 and ignored[column] and not ignored[best]:
                break
            better = iou[row, column] >= iou[row, best] if rule == "coco" else iou[row, column] > iou[row, best]
            if iou[row, column] >= min_iou and (best < 0 or better):
                best = column
        if best >= 0 and (free[best] or ignored[best]):
            free[best], result[row] = False, IGNORED if ignored[best] else best
    return result


@pytest.mark.parametrize("rule", RULES)
def test_it_equals_a_loop_on_random_overlaps_with_ties(rule):
    random = np.random.default_rng(0)
    for _ in range(200):
        n, m = random.integers(1, 20), random.integers(1, 8)
        iou, scores = random.integers(0, 11, (n, m)) / 10, random.integers(0, 6, n) / 5
        crowd = random.random(m) < 0.2
        ignored = (random.random(m) < 0.2) | crowd
        found = match_detections(iou, scores, 0.5, rule, ignored=ignored, crowd=crowd)
        assert found.tolist() == slow_match(iou, scores, 0.5, rule, ignored, crowd)


def test_precision_and_recall_go_from_the_best_score_down():
    curve = precision_recall(np.array([0.2, 0.9, 0.5]), np.array([True, True, False]), truths=4)
    assert curve.score.tolist() == [0.9, 0.5, 0.2]
    assert curve.precision.tolist() == [1, 1 / 2, 2 / 3]
    assert curve.recall.tolist() == [0.25, 0.25, 0.5]


def test_average_precision_by_hand():
    # Recall 0.3 with precision 1, then 0.5 with precision 5 / 8: the point 0.3 of 11 is 0.30000000000000004.
    hits = np.array([True] * 3 + [False] * 3 + [True] * 2)
    curve = precision_recall(np.linspace(0.9, 0.1, 8), hits, truths=10)
    assert average_precision(curve, "area") == pytest.approx(0.3 + 0.2 * 5 / 8)
    assert average_precision(curve, "11points") == pytest.approx((3 + 3 * 5 / 8) / 11)
    assert average_precision(curve, "coco") == pytest.approx((31 + 20 * 5 / 8) / 101)


@pytest.mark.parametrize("mode", MODES)
def test_average_precision_at_its_ends(mode):
    nothing = np.zeros(0)
    assert average_precision(precision_recall(nothing, nothing, truths=3), mode) == 0
    assert average_precision(precision_recall(np.ones(2), np.zeros(2, bool), truths=3), mode) == 0
    assert average_precision(precision_recall(np.ones(2), np.ones(2, bool), truths=2), mode) == 1
    assert np.isnan(average_precision(precision_recall(np.ones(2), np.zeros(2, bool), truths=0), mode))


def test_the_best_score_is_that_of_the_best_f1():
    scores, hits = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([True, False, True, True, False])
    # F1: 2/5, 2/6, 4/7, 6/8, 6/9.
    assert best_score(scores, hits, truths=4) == 0.6
    # 2/3 at 0.9 and at 0.5: the higher one.
    assert best_score(np.array([0.5, 0.7, 0.9, 0.6]), np.array([True, False, True, False]), truths=2) == 0.9
    # A threshold cannot part equal scores.
    assert best_score(np.array([0.9, 0.9, 0.9, 0.8]), np.array([True, False, False, True]), truths=2) == 0.8
    assert np.isnan(best_score(scores, np.zeros(5, bool), truths=4))

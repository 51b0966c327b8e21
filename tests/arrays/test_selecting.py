"""Selecting detections from candidates: each field of a selection, and each stage."""

import numpy as np
import pytest

from featscope.arrays.candidates import ImageCandidates, LevelCandidates
from featscope.arrays.selecting import CUT, KEPT, OVER, SUPPRESSED, select
from featscope.errors import BadRunError
from featscope.records import Selection

SCORES = [[0.9, 0.2], [0.3, 0.8], [0.5, 0.5], [0.1, 0.0]]


def level(scores, boxes=None, **more):
    scores = np.array(scores, np.float32)
    if boxes is None:  # far from one another
        boxes = [[20.0 * i, 0, 20 * i + 10, 10] for i in range(len(scores))]
    return LevelCandidates(scores, np.array(boxes, np.float32), "cell", **more)


def selected(*levels, form="xyxy", **how):
    return select(ImageCandidates(levels or (level(SCORES),), form, Selection(**how)))


def pairs(outcome, stage=KEPT):
    """(index, label) of the pairs that came so far."""
    chosen = outcome.stage == stage
    return list(zip(outcome.index[chosen].tolist(), outcome.label[chosen].tolist()))


def test_every_pair_above_the_threshold_is_there_best_first():
    found = selected(threshold=0.25)
    assert pairs(found) == [(0, 0), (1, 1), (2, 0), (2, 1), (1, 0)]
    assert found.score.tolist() == np.array([0.9, 0.8, 0.5, 0.5, 0.3], np.float32).tolist()
    assert found.box[1].tolist() == [20, 0, 30, 10]
    assert found.by.tolist() == [-1] * 5
    assert (found.level == 0).all()


def test_a_score_equal_to_the_threshold():
    assert (2, 0) not in pairs(selected(threshold=0.5))
    assert (2, 0) in pairs(selected(threshold=0.5, inclusive=True))
    # 0.3 is less in float32 than in float64; detectors compare in float32.
    assert (1, 0) in pairs(selected(threshold=0.3, inclusive=True))
    assert len(pairs(selected(inclusive=True))) == 8
    assert len(pairs(selected())) == 7


def test_only_the_best_class_of_a_candidate():
    assert pairs(selected(labels="best")) == [(0, 0), (1, 1), (2, 0), (3, 0)]


def test_the_best_pairs_of_each_level():
    found = selected(level(SCORES), level([[0.05, 0.04], [0.03, 0.02]]), per_level=2)
    assert [(a, b, c) for a, (b, c) in zip(found.level[found.stage == KEPT].tolist(), pairs(found))] == [
        (0, 0, 0),
        (0, 1, 1),
        (1, 0, 0),
        (1, 0, 1),
    ]
    assert len(pairs(found, CUT)) == 7


def test_the_best_candidates_of_each_level_with_all_their_classes():
    found = selected(level(SCORES), level([[0.05, 0.04], [0.03, 0.02]]), per_level=1, ranked_by="candidate")
    assert pairs(found) == [(0, 0), (0, 1), (0, 0), (0, 1)]


def test_the_best_pairs_of_each_class():
    assert pairs(selected(per_class=1)) == [(0, 0), (1, 1)]


def test_small_boxes_are_dropped():
    boxes = [[0, 0, 10, 10], [20, 0, 22, 10], [40, 0, 50, 3], [60, 0, 70, 10]]
    assert pairs(selected(level(SCORES, boxes), threshold=0.4, smallest=3)) == [(0, 0), (2, 0), (2, 1)]
    assert pairs(selected(level(SCORES, boxes), threshold=0.4, smallest=3.1)) == [(0, 0)]
    turned = [[0, 0, 10, 2, 0.1], [20, 0, 10, 10, 0], [40, 0, 10, 10, 0], [60, 0, 10, 10, 0]]
    assert (0, 0) not in pairs(selected(level(SCORES, turned), form="cxcywha", smallest=3))
    four = np.zeros((4, 8))
    with pytest.raises(BadRunError, match="four corners"):
        selected(level(SCORES, four), form="quad", smallest=3)


def test_the_best_of_all_levels():
    other = level([[0.85, 0.0]])
    assert selected(level(SCORES), other, total=2).level[:2].tolist() == [0, 1]
    assert len(pairs(selected(level(SCORES), other, total=2))) == 2
    found = selected(level(SCORES), other, total=2, ranked_by="candidate")
    assert pairs(found) == [(0, 0), (0, 0), (0, 1)]


def test_how_far_each_pair_came():
    """The first box suppresses the second; the third and fourth are apart; the fifth is cut."""
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [40, 0, 50, 10], [0, 0, 10, 10]]
    found = selected(
        level([[0.9], [0.8], [0.7], [0.6], [0.5]], boxes), suppression="upright", overlap=0.5, per_level=4, maximum=2
    )
    assert found.stage.tolist() == [KEPT, SUPPRESSED, KEPT, OVER, CUT]
    assert found.by.tolist() == [-1, 0, -1, -1, -1]
    assert CUT < SUPPRESSED < OVER < KEPT


def test_the_suppressor_is_a_place_in_the_outcome():
    """Also if pairs before it were cut."""
    boxes = [[0, 0, 1, 10], [0, 0, 10, 10], [0, 0, 10, 9]]
    found = selected(level([[0.9], [0.8], [0.7]], boxes), suppression="upright", overlap=0.5, smallest=5)
    assert found.stage.tolist() == [CUT, KEPT, SUPPRESSED]
    assert found.by.tolist() == [-1, -1, 1]


def test_a_box_for_each_class():
    boxes = [[[0, 0, 10, 10], [50, 0, 60, 10]], [[50, 0, 60, 10], [0, 0, 10, 10]]]
    found = selected(level(SCORES[:2], boxes), suppression="upright", overlap=0.5, by_class=False)
    assert pairs(found) == [(0, 0), (1, 0)]
    assert found.by.tolist() == [-1, 0, -1, 2]
    assert found.box[2].tolist() == [50, 0, 60, 10]


def test_ranks_decide_before_suppression_and_scores_after():
    """As FCOS in MMDetection, which multiplies by centerness only after the best were chosen."""
    ranks = np.array([[0.9], [0.8], [0.1]], np.float32)
    found = selected(level([[0.2], [0.7], [0.1]], ranks=ranks), threshold=0.15, per_level=2)
    assert pairs(found) == [(1, 0), (0, 0)]
    assert pairs(selected(level([[0.2], [0.7], [0.1]], ranks=ranks), threshold=0.05, per_level=1)) == [(0, 0)]
    both = np.array([[0.6, 0.7]], np.float32)
    assert pairs(selected(level([[0.5, 0.4]], ranks=both), labels="best")) == [(0, 1)]


def test_overlap_is_that_of_the_boxes_as_they_are_compared():
    """Clipped to the image both boxes are the same, but the detector compared them before."""
    clipped = [[0, 0, 10, 10]] * 2
    whole = np.array([[-90, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    how = {"suppression": "upright", "overlap": 0.5}
    assert len(pairs(selected(level([[0.9], [0.8]], clipped), **how))) == 1
    found = selected(level([[0.9], [0.8]], clipped, compared=whole), **how)
    assert len(pairs(found)) == 2
    assert found.box.tolist() == clipped


def test_nothing_passes():
    found = selected(threshold=0.95, suppression="upright", maximum=5)
    assert [len(part) for part in found] == [0] * 7
    assert found.box.shape == (0, 4)
    assert select(ImageCandidates((), "quad", Selection())).box.shape == (0, 8)
    assert pairs(selected(level([[np.nan, 0.5]], [[0, 0, 1, 1]]))) == [(0, 1)]


def test_another_selection():
    candidates = ImageCandidates((level(SCORES),), "xyxy", Selection(threshold=0.85))
    assert pairs(select(candidates)) == [(0, 0)]
    assert pairs(select(candidates, Selection(threshold=0.7))) == [(0, 0), (1, 1)]


def test_an_unknown_selection_is_an_error_that_says_why():
    candidates = ImageCandidates((level(SCORES),), "xyxy", None, unknown="it uses soft-NMS")
    with pytest.raises(BadRunError, match="it uses soft-NMS; give a featscope.records.Selection"):
        select(candidates)
    assert len(pairs(select(candidates, Selection()))) == 7

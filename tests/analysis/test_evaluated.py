"""A data set by hand: what is kept for each detection and each object."""

import numpy as np
import pytest

from featscope.analysis.evaluated import COCO_IOUS, evaluate, evaluate_at
from featscope.analysis.evaluation import IGNORED, NOTHING
from featscope.errors import BadRunError
from featscope.records import Boxes


def square(x, side=10):
    return [x, 0, x + side, side]


FOUND = [
    Boxes("xyxy", [square(0), square(1), square(40), square(80)], [0, 0, 1, 0], [0.5, 0.9, 0.8, 0.7]),
    Boxes("xyxy", [], [], []),
    Boxes("xyxy", [square(0), square(0)], [1, 0], [0.6, 0.3]),
]
TRUTH = [
    Boxes("xyxy", [square(0), square(40), square(80)], [0, 2, 0], ignored=["", "", "difficult"]),
    Boxes("xyxy", [square(0)], [0]),
    Boxes("xyxy", [square(0)], [0]),
]


@pytest.mark.parametrize("rule", ["voc", "coco"])
def test_every_detection_and_object_is_kept(rule):
    made = evaluate(zip(FOUND, TRUTH), rule=rule)
    assert made.image.tolist() == [0, 0, 0, 0, 2, 2]
    assert made.box.tolist() == [0, 1, 2, 3, 0, 1]
    assert made.label.tolist() == [0, 0, 1, 0, 1, 0]
    assert made.match.tolist() == [NOTHING, 0, NOTHING, IGNORED, NOTHING, 0]
    assert made.true_image.tolist() == [0, 0, 0, 1, 2]
    assert made.true_box.tolist() == [0, 1, 2, 0, 0]
    assert made.true_ignored.tolist() == [False, False, True, False, False]
    assert made.found_by.tolist() == [1, NOTHING, NOTHING, NOTHING, 5]


def test_a_class_without_objects_has_no_average_precision():
    found = evaluate(zip(FOUND, TRUTH)).average_precisions(4)
    # Of three objects the first is found at once, the second after one false alarm.
    np.testing.assert_allclose(found, [1 / 3 + 1 / 3 * 2 / 3, np.nan, 0, np.nan])


def test_the_operating_score_is_that_of_all_classes():
    # F1 over four objects: 2/5 at 0.9, lower until 0.3, where it is 4/9.
    assert evaluate(zip(FOUND, TRUTH)).best_score() == 0.3
    assert np.isnan(evaluate(zip(FOUND[1:2], TRUTH[1:2])).best_score())


def test_at_most_so_many_detections_of_a_class_count():
    found = Boxes("xyxy", [square(0), square(0), square(40)], [0, 0, 1], [0.5, 0.9, 0.4])
    assert evaluate([(found, TRUTH[0])], maximum=1).match.tolist() == [IGNORED, 0, NOTHING]


def test_other_areas_are_ignored():
    found = Boxes("xyxy", [square(0), square(80), square(200, 30)], [0, 0, 0], [0.9, 0.8, 0.7])
    truth = Boxes("xyxy", [square(0), square(20, 20)], [0, 0])
    large = evaluate([(found, truth)], areas=(200, 1e10))
    assert large.match.tolist() == [IGNORED, IGNORED, NOTHING]
    assert large.true_ignored.tolist() == [True, False]
    for rule, inside in (("coco", True), ("voc", False)):
        assert evaluate([(found, truth)], rule=rule, areas=(0, 100)).true_ignored.tolist() == [not inside, True]


def test_crowds_are_matched_by_the_share_of_the_detection():
    found = Boxes("xyxy", [square(0), square(20)], [0, 0], [0.9, 0.8])
    truth = Boxes("xyxy", [[0, 0, 100, 100]], [0], ignored=["crowd"])
    assert evaluate([(found, truth)], rule="coco").match.tolist() == [IGNORED, IGNORED]


def test_several_thresholds_at_once():
    at = evaluate_at(
        [(Boxes("xyxy", [square(0)], [0], [0.9]), Boxes("xyxy", [[0, 0, 10, 13]], [0]))], COCO_IOUS, "coco"
    )
    assert [one.min_iou for one in at] == COCO_IOUS.tolist()
    assert [int(one.match[0]) for one in at] == [0] * 6 + [NOTHING] * 4  # 0.769


def test_nothing_at_all():
    made = evaluate([])
    assert made.match.shape == made.found_by.shape == (0,)
    assert np.isnan(made.average_precisions(2)).all()


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(BadRunError, match="pixels of the input and the ground truth in those of the original"):
        evaluate([(Boxes("xyxy", [square(0)], [0], [0.5], frame="input"), TRUTH[0])])
    for scores in ([], [float("nan")]):
        with pytest.raises(BadRunError, match="missing, NaN or infinite"):
            evaluate([(Boxes("xyxy", [square(0)], [0], scores), TRUTH[0])])


def test_by_voc_a_second_detection_is_a_false_alarm_of_any_area():
    found = Boxes("xyxy", [square(0, 30), square(0, 33)], [0, 0], [0.9, 0.8])
    truth = Boxes("xyxy", [square(0, 30)], [0])
    assert evaluate([(found, truth)], rule="voc", areas=(0, 1000)).match.tolist() == [0, NOTHING]
    assert evaluate([(found, truth)], rule="coco", areas=(0, 1000)).match.tolist() == [0, IGNORED]

"""Each type of error by hand; tidecv is compared in tests/integration."""

import numpy as np
import pytest

from featscope.analysis.error_types import KINDS, error_rows, find_errors, mean_average_precision
from featscope.errors import BadOptionError, UnknownNameError
from featscope.records import Boxes

RIGHT = [0, 0, 10, 10]
SHIFTED = [4, 0, 14, 10]  # IoU 3/7 with the right place
FAR = [500, 0, 510, 10]


def errors_of(found, truth, **options):
    """found: (box, label, score); truth: (box, label)."""
    boxes, labels, scores = zip(*found) if found else ((), (), ())
    true, true_labels = zip(*truth) if truth else ((), ())
    images = [(Boxes("xyxy", list(boxes), list(labels), list(scores)), Boxes("xyxy", list(true), list(true_labels)))]
    return find_errors(images, **options)


def kinds(errors):
    return [KINDS[number] if number >= 0 else "" for number in errors.kind]


@pytest.mark.parametrize(
    ("found", "kind", "missed"),
    [
        ((RIGHT, 0, 0.9), "", [False, True]),
        ((RIGHT, 1, 0.9), "classification", [False, True]),
        ((SHIFTED, 0, 0.9), "localisation", [False, True]),
        ((SHIFTED, 1, 0.9), "both", [True, True]),
        ((FAR, 0, 0.9), "background", [True, True]),
        (([9, 0, 19, 10], 0, 0.9), "background", [True, True]),  # IoU 1/19
    ],
)
def test_one_detection_of_two_objects_in_one_place(found, kind, missed):
    errors = errors_of([found], [(RIGHT, 0), (RIGHT, 2)])
    assert kinds(errors) == [kind]
    assert errors.missed.tolist() == missed


def test_a_second_detection_is_a_duplicate():
    errors = errors_of([([1, 0, 11, 10], 0, 0.5), (RIGHT, 0, 0.9)], [(RIGHT, 0)])
    assert kinds(errors) == ["duplicate", ""]


def test_a_badly_placed_one_of_a_found_object_only_goes_when_it_is_mended():
    errors = errors_of([(RIGHT, 0, 0.9), (SHIFTED, 0, 0.8)], [(RIGHT, 0), (FAR, 0)])
    assert kinds(errors) == ["", "localisation"]
    assert errors.mends.tolist() == [False, False]
    assert errors.missed.tolist() == [False, True]


def test_of_several_errors_with_one_object_the_best_score_mends():
    found = [(SHIFTED, 0, 0.5), (RIGHT, 1, 0.9), (SHIFTED, 0, 0.7)]
    errors = errors_of(found, [(RIGHT, 0)])
    assert errors.target.tolist() == [0, 0, 0]
    assert errors.mends.tolist() == [False, True, False]
    assert errors.missed.tolist() == [False]


def test_the_costs_by_hand():
    """One class, two objects: a hit behind a false alarm, and a missed object."""
    errors = errors_of([(FAR, 0, 0.9), (RIGHT, 0, 0.8)], [(RIGHT, 0), ([900, 0, 910, 10], 0)])
    before = (51 / 101) / 2  # recall 0.5 at precision 0.5
    assert mean_average_precision(errors) == pytest.approx(before)
    costs = {row.error: row.loss for row in error_rows(errors, sizes="")}
    assert costs["background"] == pytest.approx(51 / 101 - before)
    assert costs["missed"] == pytest.approx(1 / 2 - before)
    assert sum(costs.values()) == pytest.approx(costs["background"] + costs["missed"])


def test_classes_without_objects_are_left_out_of_the_mean():
    errors = errors_of([(RIGHT, 0, 0.9), (FAR, 5, 0.8)], [(RIGHT, 0)])
    assert mean_average_precision(errors) == 1
    assert {row.error: row.number for row in error_rows(errors)[:6]}["background"] == 1


def test_sizes_are_those_of_the_object_if_there_is_one():
    large = [0, 0, 100, 100]
    errors = errors_of([([0, 0, 40, 100], 0, 0.9), (FAR, 0, 0.8)], [(large, 0)])  # IoU 0.4
    by_size = {(row.error, row.size): row.number for row in error_rows(errors)}
    assert by_size["localisation", "large"] == 1
    assert by_size["localisation", "medium"] == 0
    assert by_size["background", "small"] == 1
    fine = {row.size: row.number for row in error_rows(errors, sizes="soda") if row.error == "background"}
    assert fine == {"all": 1, "extremely small": 1, "relatively small": 0, "generally small": 0, "normal": 0}


@pytest.mark.parametrize("rule", ["voc", "coco"])
def test_ignored_objects_have_no_errors(rule):
    found = Boxes("xyxy", [RIGHT, SHIFTED], [0, 0], [0.9, 0.8])
    truth = Boxes("xyxy", [RIGHT, FAR], [0, 0], ignored=["difficult", ""])
    errors = find_errors([(found, truth)], rule=rule)
    assert kinds(errors) == ["", "background"]
    assert errors.missed.tolist() == [False, True]


def test_rotated_boxes_count_by_their_own_overlap():
    """Their enclosing boxes agree; crossed, they overlap by a tenth."""
    found = Boxes("cxcywha", [[50, 50, 60, 6, np.pi / 4]], [0], [0.9])
    truth = Boxes("cxcywha", [[50, 50, 60, 6, -np.pi / 4]], [0])
    assert kinds(find_errors([(found, truth)])) == ["background"]


def test_no_objects_no_detections_no_images():
    assert kinds(errors_of([(RIGHT, 0, 0.9)], [])) == ["background"]
    assert errors_of([], [(RIGHT, 0)]).number_of("missed") == 1
    for errors in (find_errors([]), errors_of([(RIGHT, 0, 0.9)], [])):
        assert np.isnan(mean_average_precision(errors))
    assert [row.number for row in error_rows(find_errors([]))] == [0] * 24


def test_indices_run_over_all_images():
    empty = Boxes("xyxy", [], [])
    one = (Boxes("xyxy", [SHIFTED], [0], [0.9]), Boxes("xyxy", [RIGHT], [0]))
    errors = find_errors([one, (empty, empty), one])
    assert errors.target.tolist() == [0, 1]
    assert errors.mends.tolist() == [True, True]


def test_wrong_options_are_named():
    for background in (0.6, 0):
        with pytest.raises(BadOptionError, match=rf"below that of a hit, 0\.5; it is {background}"):
            errors_of([], [], background=background)
    with pytest.raises(UnknownNameError, match="did you mean 'coco'"):
        error_rows(errors_of([], []), sizes="coc")

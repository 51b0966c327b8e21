"""Which detections are meant: by number, class and score, and by those of a run that the model must find again."""

import pytest
import torch

from featscope.errors import CaptureError
from featscope.explaining.candidates import CandidateLevel, Candidates
from featscope.explaining.items import Detected
from featscope.explaining.targets import Choice
from featscope.records import Boxes, Geometry, Sample

BOXES = [[10.0, 10.0, 50.0, 40.0], [60.0, 12.0, 90.0, 52.0], [12.0, 60.0, 48.0, 90.0]]
SCORES = [0.9, 0.7, 0.6]
SIZE = (100, 120)
PLAIN = Geometry(SIZE, SIZE, SIZE)


def found(order=(0, 1, 2), boxes=BOXES, geometry=PLAIN):
    """What a model finds now, in some order."""
    chosen = [boxes[place] for place in order]
    scores = [SCORES[place] for place in order]
    level = CandidateLevel(
        torch.tensor(scores)[:, None], torch.tensor(scores, dtype=torch.float64)[:, None], torch.tensor(chosen), "query"
    )
    record = Boxes("xyxy", chosen, [0] * len(chosen), scores)
    return Detected(Sample("a", geometry=geometry, predictions=record), Candidates([level], "xyxy"))


def recorded(geometry=PLAIN, boxes=BOXES):
    return Sample("a", geometry=geometry, predictions=Boxes("xyxy", boxes, [0, 0, 0], SCORES))


def test_a_recorded_box_is_found_whatever_its_number_is_now():
    targets = Choice(numbers=[2, 0], recorded=recorded()).of(found(order=(2, 1, 0)), ["ship"])
    assert [(target.number, target.box) for target in targets] == [(2, BOXES[2]), (0, BOXES[0])]


def test_another_box_of_the_same_score_is_not_the_recorded_one():
    moved = [[x + 20 for x in box] for box in BOXES]
    with pytest.raises(CaptureError, match=r"box 1 of a is recorded as ship with score 0.700, .*not this one"):
        Choice(numbers=[1], recorded=recorded()).of(found(boxes=moved), ["ship"])


def test_the_same_place_with_another_score_is_not_either():
    low = [[*SCORES[:1], 0.3, 0.2]]
    now = found()
    now.sample.predictions.scores[:] = low[0]
    with pytest.raises(CaptureError, match="box 1 of a is recorded"):
        Choice(numbers=[1], recorded=recorded()).of(now, ["ship"])


def test_what_fails_is_told_and_the_others_go_on():
    told = []
    gone = found(order=(0, 2))
    targets = Choice(top=3, recorded=recorded()).of(gone, ["ship"], told.append)
    assert [target.number for target in targets] == [0, 2]
    assert len(told) == 1
    assert "box 1 of a" in told[0]


def test_a_record_lies_where_the_pixels_say_and_the_model_where_its_framework_says():
    """The input was mirrored, which the framework leaves out: the record's boxes are turned back, the model's not."""
    mirrored = Geometry(SIZE, SIZE, SIZE, flip="horizontal")
    turned = [[120 - right, top, 120 - left, bottom] for left, top, right, bottom in BOXES]
    targets = Choice(recorded=recorded(mirrored, turned)).of(found(), ["ship"])
    assert [target.box for target in targets] == BOXES

"""Sources: by value and box, with ties, and none that is guessed."""

import pytest
import torch

from featscope.adapters.detector import Detected
from featscope.errors import CaptureError
from featscope.explaining.candidates import CandidateLevel, Candidates
from featscope.explaining.provenance import find_sources
from featscope.explaining.targets import Choice
from featscope.records import Boxes, Sample, Source


def level(scores, boxes, grid=(2, 2, 1)):
    scores = torch.tensor(scores)
    return CandidateLevel(scores.logit(), scores, torch.tensor(boxes), "cell", grid)


BOXES = [[0.0, 0.0, 4.0, 4.0], [8.0, 0.0, 12.0, 4.0], [0.0, 8.0, 4.0, 12.0], [8.0, 8.0, 12.0, 12.0]]


def test_the_cell_is_named():
    scores = [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]]
    candidates = Candidates([level(scores, BOXES), level(scores, [[v + 100 for v in b] for b in BOXES])], "xyxy")
    found = find_sources(candidates, Boxes("xyxy", [BOXES[2], [v + 100 for v in BOXES[1]]], [1, 0], [0.6, 0.3]))
    assert found == [[Source("cell", 2, 0, row=1, column=0)], [Source("cell", 1, 1, row=0, column=1)]]


def test_anchors_count_first_then_columns_then_rows():
    level = CandidateLevel(torch.zeros(12, 1), torch.zeros(12, 1), torch.zeros(12, 4), "cell", (2, 3, 2))
    assert level.source(7, 4) == Source("cell", 7, 4, row=1, column=0, anchor=1)
    assert level.source(4, 0) == Source("cell", 4, 0, row=0, column=2, anchor=0)


def test_the_best_raw_score_of_a_class_is_of_that_class():
    candidates = Candidates([level([[0.5, 0.2], [0.9, 0.4], [0.1, 0.3], [0.1, 0.1]], BOXES)], "xyxy")
    assert [(t.label, t.source.index, round(t.score, 2)) for t in map(candidates.best, (None, 0, 1))] == [
        (0, 1, 0.9), (0, 1, 0.9), (1, 1, 0.4)
    ]  # fmt: skip
    assert candidates.best(1).box == BOXES[1]


def test_a_score_alone_is_not_enough():
    candidates = Candidates([level([[0.5], [0.5], [0.5], [0.1]], BOXES)], "xyxy")
    assert find_sources(candidates, Boxes("xyxy", [BOXES[1]], [0], [0.5])) == [[Source("cell", 1, column=1)]]
    assert find_sources(candidates, Boxes("xyxy", [[50.0, 50.0, 60.0, 60.0]], [0], [0.5])) == [[]]
    assert find_sources(candidates, Boxes("xyxy", [BOXES[1]], [0], [0.25])) == [[]]


def test_a_tie_is_named_as_one():
    candidates = Candidates([level([[0.5]] * 4, [BOXES[0]] * 4)], "xyxy")
    (found,) = find_sources(candidates, Boxes("xyxy", [BOXES[0]], [0], [0.5]))
    assert [source.index for source in found] == [0, 1, 2, 3]


def test_the_exact_score_wins_over_a_near_one():
    exact = float(torch.tensor([0.5]))
    candidates = Candidates([level([[0.5], [0.5 + 1e-6], [0.1], [0.1]], [BOXES[0]] * 4)], "xyxy")
    (found,) = find_sources(candidates, Boxes("xyxy", [BOXES[0]], [0], [exact]))
    assert [source.index for source in found] == [0]


def test_a_rotated_box_has_several_names():
    turned = [[10.0, 10.0, 8.0, 4.0, 0.3], [30.0, 10.0, 8.0, 4.0, 0.3]]
    candidates = Candidates([level([[0.5], [0.5]], turned, (1, 2, 1))], "cxcywha")
    quarter = [10.0, 10.0, 4.0, 8.0, 0.3 - 1.5707963]
    (found,) = find_sources(candidates, Boxes("cxcywha", [quarter], [0], [0.5]))
    assert found == [Source("cell", 0)]


def test_a_box_for_every_class():
    boxes = torch.stack([torch.tensor(BOXES), torch.tensor(BOXES) + 1], 1)
    scores = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]])
    candidates = Candidates([CandidateLevel(scores, scores, boxes, "roi")], "xyxy")
    wanted = Boxes("xyxy", [[v + 1 for v in BOXES[3]]], [1], [0.8])
    assert find_sources(candidates, wanted) == [[Source("roi", 3)]]


def test_detections_without_a_source_are_no_missing_detections():
    candidates = Candidates([level([[0.5], [0.4], [0.3], [0.1]], BOXES)], "xyxy")
    changed = Sample("a", predictions=Boxes("xyxy", [BOXES[0]], [0], [0.45]))  # as by mask scoring
    with pytest.raises(CaptureError, match="source of box 0 of a was not found"):
        Choice().of(Detected(changed, candidates), ["ship"])
    nothing = Sample("a", predictions=Boxes("xyxy", [], [], []))
    (best,) = Choice().of(Detected(nothing, candidates), ["ship"])
    assert (best.number, best.score) == (-1, 0.5)


def test_the_best_detections_come_first():
    scores = [[0.3], [0.9], [0.6], [0.1]]
    candidates = Candidates([level(scores, BOXES)], "xyxy")
    found = Boxes("xyxy", BOXES[:3], [0, 0, 0], [float(torch.tensor(s[0])) for s in scores[:3]])
    chosen = Choice(top=2).of(Detected(Sample("a", predictions=found), candidates), ["ship"])
    assert [target.number for target in chosen] == [1, 2]

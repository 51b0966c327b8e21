"""What was missed, at which point, and why: a small run whose candidates are made."""

import numpy as np
import pytest

from featscope.analysis import alarms, stages
from featscope.analysis.evidence import LOST_BY_HEAD, SEEN_BY_HEAD, UNDECIDED
from featscope.analysis.misses import misses
from featscope.arrays.candidates import ImageCandidates, LevelCandidates
from featscope.errors import BadOptionError, BadRunError, UnknownNameError
from featscope.records import Boxes, Selection
from tests.analysis.runs import boxes, bright_map, write_run

HOW = Selection(threshold=0.05, suppression="rotated", overlap=0.3)
TRUTH = boxes(
    (60, 60, 40, 20, 0, 0), (160, 60, 40, 20, 0, 0), (60, 160, 40, 20, 0, 1), (200, 200, 5, 5, 0, 1),
    ignored=["", "", "", "difficult"],
)  # fmt: skip
FOUND = boxes(
    (61, 60, 40, 20, 0, 0), (60, 62, 40, 20, 0, 0), (168, 66, 40, 20, 0, 0), (60, 160, 40, 20, 0, 0),
    (120, 120, 9, 9, 0, 1), (200, 200, 5, 5, 0, 1), (170, 230, 5, 5, 0, 1),
    scores=[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.03],
)  # fmt: skip


def candidates_of(sample):
    """Of the second object a good box that a worse one suppresses; of the third one with another class."""
    rows = np.array(
        [[61, 60, 40, 20, 0], [158, 60, 40, 20, 0], [168, 66, 40, 20, 0], [60, 160, 40, 20, 0], [9, 9, 4, 4, 0]]
    )
    scores = np.array([[0.9, 0], [0.65, 0], [0.7, 0], [0.6, 0.1], [0.01, 0.01]], np.float32)
    return ImageCandidates((LevelCandidates(scores, rows.astype(float), "cell", (1, 5, 1)),), "cxcywha", HOW)


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", {"a": (TRUTH, FOUND)}, [])


def test_what_was_missed_and_where(run):
    found = misses(run, 0.3, candidates=candidates_of)
    assert (found.objects, found.ignored, found.images) == (3, 1, 1)
    assert found.found == (("a", 0),)
    second, third = found.rows
    assert (second.number, second.label, second.stage, second.by) == (1, "ship", stages.SUPPRESSED, stages.WORSE_BOX)
    assert (round(second.score, 2), round(second.by_score, 2)) == (0.65, 0.7)
    assert second.by_overlap > 0.3
    assert second.steps == "1 suppressed"
    assert (third.number, third.label, third.stage, third.other) == (2, "plane", stages.OTHER_CLASS, "ship")
    assert third.size == pytest.approx(np.sqrt(800))
    assert third.size_bin == "generally small"
    assert (third.x, third.y) == pytest.approx((60, 160))
    assert found.suppressors() == [(stages.WORSE_BOX, 1)]


def test_false_alarms(run):
    found = misses(run, 0.02, candidates=candidates_of)
    assert [(row.number, row.kind, row.truth) for row in found.alarms] == [
        (1, alarms.DUPLICATE, 0),
        (2, alarms.WRONG_PLACE, 1),
        (3, alarms.WRONG_CLASS, 2),
        (4, alarms.BACKGROUND, None),
        (6, alarms.BACKGROUND, None),
    ]
    assert "difficult" in TRUTH.ignored, "and the detection of the difficult object is no alarm"
    assert [row.number for row in misses(run, 0.3, candidates=candidates_of).alarms] == [1, 2, 3, 4]


def test_the_point(run):
    best = misses(run, candidates=candidates_of).point
    assert (best.score, best.chosen) == (0.9, "best F1")
    assert str(misses(run, 0.95, candidates=candidates_of).point) == (
        "score at least 0.95 (given), IoU at least 0.5, matched by voc"
    )
    assert len(misses(run, 0.95, candidates=candidates_of).rows) == 3
    assert len(misses(run, 0.3, 0.99, candidates=candidates_of).rows) == 3


def test_tables(run):
    found = misses(run, 0.3, candidates=candidates_of)
    table = found.by_stage()
    assert table.columns == ("class", "size", "missed", stages.OTHER_CLASS, stages.SUPPRESSED)
    assert list(table) == [("plane", "generally small", 1, 1, 0), ("ship", "generally small", 1, 0, 1)]
    assert found.kinds_of_alarms()[0][1] == 1
    assert repr(found).startswith("<Misses: 2 of 3 objects missed, 4 false alarms, in 1 image, at score at least 0.3")


def test_what_another_selection_would_find(run):
    found = misses(run, 0.3, candidates=candidates_of, what_if=[{"nms": 0.9}, {"max": 1}, {"score": 0.95}])
    none, few, nothing = found.changed
    assert (none.change, none.gained, none.lost, none.false_alarms) == ("nms=0.9", 1, 0, 0)
    assert (few.gained, few.lost, few.false_alarms) == (0, 0, -2)
    assert (nothing.gained, nothing.lost) == (0, 1)
    for change, why in (
        ({"nms_thr": 0.5}, "'nms_thr' cannot be changed; type one of nms, nms_pre, max, score"),
        ({"nms": 2}, "nms=2 is out of range; give a number from 0 to 1"),
        ({"score": -0.1}, "score=-0.1 is out of range"),
        ({"max": 1.5}, "max=1.5 is out of range; give a whole number"),
        ({"nms_pre": float("nan")}, "out of range"),
    ):
        with pytest.raises(BadOptionError, match=why):
            misses(run, 0.3, candidates=candidates_of, what_if=[change])


def test_without_candidates(run):
    found = misses(run, 0.3, candidates=lambda sample: None)
    assert [row.stage for row in found.rows] == ["", ""]
    assert "--candidates" in found.notes[0]
    assert found.by_stage().columns[-1] == "no candidates"


def test_a_selection_that_is_not_known(run):
    unknown = ImageCandidates(candidates_of(None).levels, "cxcywha", None, "it merges boxes")
    found = misses(run, 0.3, candidates=lambda sample: unknown)
    assert {row.stage for row in found.rows} == {""}


def test_verdicts(tmp_path):
    """Features that hold all objects."""
    images, maps = {}, {}
    for number in range(16):
        name = f"i{number}"
        images[name] = (TRUTH, FOUND)
        rows = [(*box, label) for box, label in zip(TRUTH.boxes, TRUTH.labels)]
        maps[name] = bright_map(rows, 8, 1.0, channels=6, seed=number, class_channels=False)
    run = write_run(tmp_path / "run", images, [("neck", 0, 8, maps)])
    found = misses(run, 0.3, candidates=candidates_of)
    assert {row.verdict for row in found.rows} == {LOST_BY_HEAD}
    assert found.findings.sensitivity == {"neck": 1.0}
    assert found.by_verdict().columns == ("class", "size", "missed", LOST_BY_HEAD)


def test_what_only_the_head_saw_is_not_said_to_be_in_the_features(tmp_path):
    """Features of which nothing can be said; a candidate that passes tells of the head alone, and nothing at score 0."""
    run = write_run(tmp_path / "run", {"a": (TRUTH, FOUND)}, [("neck", 0, 8, {"a": bright_map([], 8)})])
    verdicts = {bool(row.passing): row.verdict for row in misses(run, 0.3, candidates=candidates_of).rows}
    assert verdicts == {True: SEEN_BY_HEAD, False: UNDECIDED}
    at_zero = misses(run, 0, candidates=candidates_of)
    assert any(row.passing for row in at_zero.rows)
    assert {row.verdict for row in at_zero.rows} == {UNDECIDED}


def test_an_unknown_layer_is_an_error(run):
    with pytest.raises(UnknownNameError, match="there is no layer 'nick'"):
        misses(run, 0.3, layers=["nick"], candidates=candidates_of)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ({"a": (None, FOUND)}, "no ground truth.*--annotations"),
        ({"a": (TRUTH, None)}, "no detections"),
    ],
)
def test_what_a_run_must_have(tmp_path, images, words):
    run = write_run(tmp_path / "run", images, [])
    with pytest.raises(BadRunError, match=words):
        misses(run)


def test_other_ground_truth_and_empty_images(tmp_path):
    nothing = Boxes("cxcywha", [], [])
    run = write_run(tmp_path / "run", {"a": (None, FOUND), "b": (None, Boxes("cxcywha", [], [], []))}, [])
    found = misses(run, 0.3, truth={"a": nothing, "b": TRUTH}, candidates=candidates_of)
    assert (found.objects, len(found.rows)) == (3, 3)
    assert {row.kind for row in found.alarms} == {alarms.BACKGROUND}
    nothing_hits = misses(run, truth={"b": TRUTH}, candidates=candidates_of)
    assert nothing_hits.point.chosen == "no detection hits an object at any score"


def test_an_image_whose_place_is_unknown_costs_itself_only(tmp_path):
    """Its ground truth is in pixels of the image, its detections in pixels of the input."""
    from featscope.records import RunInfo, Sample
    from featscope.store.writer import RunWriter

    writer = RunWriter(tmp_path / "both", RunInfo(model="Toy", classes=["ship", "plane"]))
    known = write_run(tmp_path / "known", {"a": (TRUTH, FOUND)}, [])
    from featscope.store.reader import open_run

    writer.put_sample(open_run(known).samples["a"], None)
    lost = Boxes("cxcywha", FOUND.boxes, FOUND.labels, FOUND.scores, frame="input")
    writer.put_sample(Sample("b", "", 1, predictions=lost, truth=TRUTH), None)
    writer.put_sample(Sample("c", "", 2, truth=Boxes("cxcywha", TRUTH.boxes, TRUTH.labels, frame="input")), None)
    writer.close()
    found = misses(tmp_path / "both", 0.3, candidates=candidates_of)
    assert found.images == 2
    assert {row.sample for row in found.rows} == {"a", "c"}
    assert "1 image left out (b)" in found.notes[0]

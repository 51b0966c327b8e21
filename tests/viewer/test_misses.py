"""What the viewer answers about misses and false alarms."""

import gzip
import json
import subprocess
import sys
import threading
import time
from base64 import b64decode

import pytest

from featscope.analysis import alarms, evidence, stages
from featscope.analysis import misses as analysis
from featscope.viewer.answers import Viewer
from featscope.viewer.page import FOLDER
from featscope.viewer.report import Frozen, question

from .lost_objects import LOW, SUPPRESSED, SUPPRESSOR, write_lost


def corners(box):
    left, top, right, bottom = box
    return [left, top, right, top, right, bottom, left, bottom]


@pytest.fixture
def run(tmp_path):
    return write_lost(tmp_path / "run")


def test_every_miss_and_false_alarm_is_listed_at_the_operating_point(run, ask):
    found = ask(Viewer([run]), "misses")
    assert found["why"] == ""
    assert found["point"] == {"score": pytest.approx(0.5), "iou": 0.5, "rule": "voc", "chosen": "best F1"}
    assert (found["objects"], found["missed"], found["images"], found["notes"]) == (6, 2, 2, [])
    listed = found["misses"]
    assert listed["sample"] == [1, 1]  # numbers in the list of samples
    assert listed["number"] == [0, 1]
    assert listed["label"] == ["plane", "ship"]
    assert (listed["x"], listed["y"], listed["size"]) == ([35, 50], [10, 30], [10, 10])
    assert listed["stage"] == ["suppressed", "low score"]
    assert listed["verdict"] == ["seen by the head", "undecided"]
    assert listed["score"] == pytest.approx([0.8, 0.3])
    alarms = found["alarms"]
    assert (alarms["kind"], alarms["sample"], alarms["number"]) == (["wrong place"], [1], [0])
    assert alarms["about"] == ["plane"]
    assert alarms["iou"] == pytest.approx([5.5 / 14.5])


def test_a_sample_tells_where_each_object_was_lost(run, ask):
    first, second = ask(Viewer([run]), "lost", sample=1)["objects"]
    assert (first["number"], first["stage"], first["level"]) == (0, "suppressed", 1)
    assert first["candidate"] == corners(SUPPRESSED)
    assert first["candidate_score"] == pytest.approx(0.8)
    assert first["suppressor"] == corners(SUPPRESSOR)
    assert first["by"] == "a worse box on the same object"
    assert first["by_score"] == pytest.approx(0.85)
    assert first["by_iou"] == first["by_overlap"] == pytest.approx(5.5 / 14.5)
    assert first["steps"] == [["suppressed", 1]]
    assert [(one["level"], one["score"]) for one in first["levels"]] == [(0, None), (1, pytest.approx(0.8))]
    assert second["candidate"] == corners(LOW)
    assert second["suppressor"] is None
    assert [(one["layer"], one["level"]) for one in second["evidence"]] == [("neck", 0), ("neck", 1)]
    assert second["evidence"][0]["cells"] == pytest.approx(100 / (5 * 7.5))
    assert ask(Viewer([run]), "lost", sample=0)["objects"] == []


def test_the_candidate_of_another_class_has_the_score_of_that_class(tmp_path, ask):
    second = ask(Viewer([write_lost(tmp_path / "run", other=0.7)]), "lost", sample=1)["objects"][1]
    assert (second["stage"], second["other"]) == ("other class", "plane")
    assert (second["score"], second["candidate_score"]) == (pytest.approx(0.3), pytest.approx(0.7))
    assert second["candidate"] == corners(LOW)


def test_a_second_run_says_which_objects_it_finds(run, tmp_path, ask):
    better = write_lost(tmp_path / "better", low=0.9)
    viewer = Viewer([run, better])
    assert ask(viewer, "misses", against=1)["misses"]["other"] == ["missed", "found"]
    assert ask(viewer, "misses", run=1, against=0)["misses"]["other"] == ["missed"]
    assert ask(viewer, "misses")["misses"]["other"] == ["", ""]


def test_objects_of_another_ground_truth_are_not_matched(run, tmp_path, ask):
    other = write_lost(tmp_path / "other", low=0.9)
    lines = next(other.glob("samples-*.jsonl"))
    lines.write_text(lines.read_text(encoding="utf-8").replace("[45.0,25.0,", "[44.0,25.0,"), encoding="utf-8")
    assert "[44.0,25.0," in lines.read_text(encoding="utf-8")
    assert ask(Viewer([run, other]), "misses", against=1)["misses"]["other"] == ["", ""]


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ({"truth": False}, "has no ground truth"),
        ({"detections": False}, "has no detections"),
    ],
)
def test_a_run_of_which_nothing_is_known_says_why(tmp_path, ask, lacking, words):
    found = ask(Viewer([write_lost(tmp_path / "run", **lacking)]), "misses")
    assert words in found["why"]
    assert found["misses"]["sample"] == found["alarms"]["sample"] == []


def test_a_folder_of_arrays_says_why(tmp_path, ask):
    import numpy as np

    (tmp_path / "arrays" / "neck").mkdir(parents=True)
    np.save(tmp_path / "arrays" / "neck" / "batch_0_layer_0.npy", np.ones((1, 2, 4, 4), np.float32))
    assert "has no manifest" in ask(Viewer([tmp_path / "arrays"]), "misses")["why"]


def test_a_run_without_candidates_lists_its_misses_and_says_what_is_unknown(tmp_path, ask):
    viewer = Viewer([write_lost(tmp_path / "run", candidates=False)])
    found = ask(viewer, "misses")
    assert found["misses"]["stage"] == ["", ""]
    assert "--candidates" in found["notes"][0]
    first = ask(viewer, "lost", sample=1)["objects"][0]
    assert (first["stage"], first["candidate"], first["levels"]) == ("", None, [])


def test_a_growing_run_is_not_evaluated(run, ask):
    info = json.loads((run / "run.json").read_text(encoding="utf-8"))
    info["finished"] = ""
    (run / "run.json").write_text(json.dumps(info), encoding="utf-8")
    assert "still being captured" in ask(Viewer([run]), "misses")["why"]


def test_only_shown_samples_are_listed_but_the_whole_run_counts(run, ask):
    viewer = Viewer([run], sample="lost")
    found = ask(viewer, "misses")
    assert found["objects"] == 6
    assert found["misses"]["sample"] == [0, 0]
    assert ask(Viewer([run], sample="found"), "misses")["misses"]["sample"] == []


def test_the_run_is_evaluated_once_and_other_questions_do_not_wait(run, ask, monkeypatch):
    real, began, go, times = analysis.misses, threading.Event(), threading.Event(), []

    def slow(folder):
        times.append(folder)
        began.set()
        assert go.wait(10)
        return real(folder)

    monkeypatch.setattr(analysis, "misses", slow)
    viewer = Viewer([run])
    answers = []
    waiting = [threading.Thread(target=lambda: answers.append(viewer.answer("misses", {}))) for _ in range(2)]
    for one in waiting:
        one.start()
    assert began.wait(10)
    started = time.monotonic()
    assert ask(viewer, "sample", sample=1)["id"] == "lost"
    assert viewer.answer("map", {"sample": "1"}).status == 200
    assert time.monotonic() - started < 5
    assert not answers
    go.set()
    for one in waiting:
        one.join()
    ask(viewer, "lost", sample=1)
    assert len(times) == 1
    assert answers[0] == answers[1]


def test_the_page_has_words_in_both_languages_for_all_that_the_analysis_says():
    text = (FOLDER / "miss-words.js").read_text(encoding="utf-8")
    verdicts = [
        evidence.ABSENT,
        evidence.LOST_BY_HEAD,
        evidence.SEEN_BY_HEAD,
        evidence.BELOW_RESOLUTION,
        evidence.UNDECIDED,
    ]
    wanted = [f"{part}.{stage}" for stage in stages.STAGES for part in ("lost", "because")]
    wanted += [f"{part}.{kind}" for kind in alarms.ALARMS for part in ("alarm", "false")]
    wanted += [f"{part}.{verdict}" for verdict in verdicts for part in ("verdict", "holds")]
    wanted += [f"by.{what}" for what in (stages.WORSE_BOX, stages.NEIGHBOUR, stages.FALSE_ALARM)]
    said = [(key, text.count(f"'{key}':") + text.count(f'"{key}":')) for key in wanted]
    assert [key for key, times in said if times != 2] == []


def test_the_page_is_not_sent_what_it_has(run):
    viewer = Viewer([run])
    tag = viewer.answer("misses", {}).tag
    assert viewer.answer("misses", {}, known=tag).status == 304


def test_a_viewer_starts_without_the_analysis(run):
    code = (
        "import sys; from featscope.viewer.answers import Viewer; viewer = Viewer([sys.argv[1]]); viewer.warm(); "
        "assert viewer.answer('sample', {}).status == 200; "
        "print([name for name in sys.modules if name.startswith(('featscope.analysis', 'torch'))])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_report_holds_the_lists(run, tmp_path):
    better = write_lost(tmp_path / "better", low=0.9)
    viewer = Viewer([run, better])
    held = {key: gzip.decompress(b64decode(text)) for key, text in Frozen(viewer, channels=False).every().items()}
    assert json.loads(held["about?"])["misses"] is True
    for number, other in ((0, 1), (1, 0)):
        key, query = question("misses", run=number, against=other)
        assert held[key] == viewer.answer("misses", query).body
        assert (
            held[question("lost", run=number, sample=1)[0]]
            == viewer.answer("lost", {"run": str(number), "sample": "1"}).body
        )
        assert question("lost", run=number, sample=0)[0] not in held  # nothing is missed there


def test_a_report_of_a_run_without_truth_offers_no_list(tmp_path):
    viewer = Viewer([write_lost(tmp_path / "run", truth=False)])
    frozen = Frozen(viewer, channels=False)
    answers = frozen.every()
    assert json.loads(gzip.decompress(b64decode(answers["about?"])))["misses"] is False
    assert not [key for key in answers if key.startswith(("misses", "lost"))]
    assert frozen.errors == []

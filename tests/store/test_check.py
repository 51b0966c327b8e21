import os

import numpy as np
import pytest

from featscope.store.check import check_run


def _flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_flip_a_byte, "has changed"),
        (lambda p: os.truncate(p, 140), "truncated"),
        (lambda p: p.unlink(), "cannot be read"),
        (lambda p: np.save(p, np.zeros((1, 3, 4, 2, 2), np.float32)), "the manifest says"),
        (lambda p: np.save(p.with_name("batch_7_layer_0.npy"), np.zeros((2, 2))), "no line in the manifest"),
        (lambda p: p.with_name("x.npy.part").write_text(""), "never finished"),
    ],
)
def test_harm_is_found(run, harm, message):
    assert check_run(run).problems == []
    harm(run / "neck.fpn" / "batch_0_layer_1.npy")
    problems = check_run(run).problems
    assert len(problems) == 1
    assert message in problems[0]


def test_a_sample_that_no_line_describes(run):
    (run / "samples-00000.jsonl").write_text("")
    assert all("'a'" in problem for problem in check_run(run).problems)
    assert len(check_run(run).problems) == 2


def test_a_report_says_whether_all_is_whole(run):
    assert check_run(run).whole
    (run / "neck.fpn" / "batch_0_layer_1.npy").unlink()
    report = check_run(run)
    assert not report.whole
    assert str(report).endswith("1 sample, with problems")
    assert "1 problem: see .problems" in repr(report)

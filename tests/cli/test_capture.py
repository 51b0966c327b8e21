"""Ground truth that is given to `featscope capture`, and to the commands that read a run."""

import pytest

from featscope.cli import main
from featscope.cli.models import truth_of
from featscope.store.reader import open_run


def test_a_test_set_has_its_own_ground_truth(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["capture", "absent.py", "random", "-o", str(tmp_path / "run"), "--annotations", "labels"])
    assert "the test set of absent.py has its own ground truth; --annotations needs images" in capsys.readouterr().err


def test_the_truth_of_a_run_is_read_and_what_does_not_fit_is_printed(capsys, tmp_path, run):
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "photo.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (labels / "other.txt").write_text("")
    found = truth_of(open_run(run), labels)
    assert found["a"].boxes == [[7.5, 5.0, 22.5, 15.0]]
    assert "1 labelled image that the run lacks: other" in capsys.readouterr().err
    assert truth_of(open_run(run), None) is None

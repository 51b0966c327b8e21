"""Candidates that are stored in the frameworks' own loops give the frameworks' own detections."""

import sys

import numpy as np
import pytest

from featscope.arrays.found_again import differences
from featscope.arrays.selecting import SUPPRESSED, select
from featscope.store.candidates import read_candidates
from featscope.store.check import check_run
from featscope.store.reader import open_run
from featscope.testing import write_images

from .conftest import SHARED, featscope, run

MODELS = SHARED / "models"

LARGE_BOXES = """
import torch, sys
from ultralytics import YOLO
yolo = YOLO(sys.argv[1])
head = yolo.model.model[-1]
torch.manual_seed(0)
for name, weight in yolo.model.named_parameters():  # untrained weights alone give the same scores everywhere
    if weight.dim() > 1 and "dfl" not in name:
        torch.nn.init.xavier_normal_(weight.data, 1.4)
    elif "bias" in name:
        weight.data += 0.5 * torch.randn_like(weight)
for sides, classes in zip(head.cv2, head.cv3):
    torch.nn.init.normal_(classes[-1].bias, -3.0, 1.5)
    sides[-1].weight.data *= 0.1
    sides[-1].bias.data *= 0.1
"""
PREDICT = LARGE_BOXES + "yolo.predict(sys.argv[2:], conf=0.02, iou=0.6, max_det=50, imgsz=320, verbose=False)\n"
AGNOSTIC = PREDICT.replace("iou=0.6", "iou=0.6, agnostic_nms=True")


def suppressed_in(folder):
    """Check all samples of a run, and return how many pairs were suppressed in them."""
    opened = open_run(folder)
    assert check_run(folder).whole
    suppressed = 0
    for sample in opened.samples.values():
        candidates = read_candidates(opened, sample)
        assert candidates.selection is not None, candidates.unknown
        assert sample.predictions.boxes
        outcome = select(candidates)
        assert differences(outcome, sample.predictions) == ""
        suppressed += (outcome.stage == SUPPRESSED).sum()
    return suppressed


@pytest.mark.parametrize(
    ("target", "script", "field"),
    [
        ("yolo11n.yaml", PREDICT, ("overlap", 0.6)),
        ("yolo11n.yaml", AGNOSTIC, ("by_class", False)),
        ("yolo11n-obb.yaml", PREDICT, ("suppression", "probiou")),
    ],
)
def test_ultralytics_predictor(tmp_path, target, script, field):
    pytest.importorskip("ultralytics")
    (tmp_path / "script.py").write_text(script)
    images = write_images(tmp_path)
    featscope(
        "run", "-o", tmp_path / "run", "-l", "model.4", "--candidates", "--no-provenance", "--",
        sys.executable, tmp_path / "script.py", target, *images,
    )  # fmt: skip
    assert suppressed_in(tmp_path / "run") > 500
    opened = open_run(tmp_path / "run")
    selection = read_candidates(opened, opened.samples["wide"]).selection
    assert getattr(selection, field[0]) == field[1]
    assert selection.maximum == 50


def test_the_hook_of_mmengine(mmrotate_root, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(
        f"_base_ = {str(MODELS / 's2anet_tiny.py')!r}\n"
        "custom_imports = dict(imports=['featscope.adapters.mmengine'])\n"
        f"custom_hooks = [dict(type='mmdet.FeatureMapHook', save_dir={str(tmp_path / 'run')!r}, layers=['neck'],\n"
        "                     candidates=True, provenance=False, policy=dict(reduce='mean'))]\n"
    )
    run(
        sys.executable,
        mmrotate_root / ".mim" / "tools" / "test.py",
        config,
        MODELS / "s2anet_tiny.pth",
        "--work-dir",
        tmp_path / "work",
    )
    assert suppressed_in(tmp_path / "run") > 500
    opened = open_run(tmp_path / "run")
    assert len(opened.samples) == 2
    assert opened.info.policy.candidates


def test_candidates_of_a_test_set_computed_again(tmp_path):
    """They are those that the test loop stored, to the last digits."""
    pytest.importorskip("mmrotate")
    from featscope.adapters.recomputing import candidates_again

    featscope(
        "capture", MODELS / "s2anet_tiny.py", MODELS / "s2anet_tiny.pth", "-o", tmp_path / "run", "-l", "neck",
        "-r", "mean", "--candidates",
    )  # fmt: skip
    opened = open_run(tmp_path / "run")
    found = list(candidates_again(opened))
    assert len(found) == 2
    for sample, candidates in found:
        stored = read_candidates(opened, sample)
        assert candidates.selection == stored.selection
        for mine, theirs in zip(candidates.levels, stored.levels):
            np.testing.assert_allclose(mine.scores, theirs.scores, atol=1e-4)
            np.testing.assert_allclose(mine.boxes, theirs.boxes, atol=0.05)

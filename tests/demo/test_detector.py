import numpy as np
import pytest
import torch

from featscope.demo.detector import S2ANetMini, prepare, refine_boxes
from featscope.demo.evaluation import evaluate


def test_the_built_in_weights_detect():
    # The floor is 0.80 on 200 scenes (`featscope demo --evaluate 200`); a few show a break.
    for name, precision in evaluate(6):
        assert precision > 0.8, name


def test_weights_are_small():
    from featscope.demo.detector import WEIGHTS

    assert WEIGHTS.stat().st_size <= 3_000_000


def test_prepare_keeps_the_ratio_and_pads_below_and_right():
    padded, (height, width) = prepare(np.full((100, 333, 3), 200, np.uint8))
    assert (height, width) == (154, 512)
    assert padded.shape == (160, 512, 3)
    assert (padded[:154] == 200).all()
    assert (padded[154:] == 0).all()


def test_refining_by_nothing_changes_nothing():
    boxes = torch.rand(2, 5, 3, 4) * 10
    torch.testing.assert_close(refine_boxes(boxes, torch.zeros(2, 5, 3, 4)), boxes)


@pytest.mark.parametrize("size", [(64, 96), (384, 512), (416, 416)])
def test_five_levels_of_any_size(size):
    with torch.no_grad():
        scores, deltas, boxes = S2ANetMini().eval()(torch.zeros(1, 3, *size))
    assert len(scores) == len(deltas) == len(boxes) == 5
    for level, (score, delta) in enumerate(zip(scores, deltas)):
        stride = 8 << level
        cells = tuple(-(-n // stride) for n in size)
        assert tuple(score.shape[2:]) == tuple(delta.shape[2:]) == cells

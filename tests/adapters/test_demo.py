"""The built-in detector as an adapter."""

from dataclasses import replace

import pytest
import torch

from featscope.adapters.opening import open_detector
from featscope.arrays.found_again import differences
from featscope.arrays.selecting import CUT, select
from featscope.demo.scenes import draw_scene
from featscope.errors import CaptureError
from featscope.testing import AdapterContract


class TestDemo(AdapterContract):
    suppressed = 20
    layers = ("backbone", "neck", "bbox_head_refine")

    @staticmethod
    def open():
        return open_detector("demo", score_threshold=0.05)

    def logit_place(self, detector, source, label, image):
        head = detector.model.bbox_head_refine[0].retina_cls
        return head, source.level, (image, label, source.row, source.column)


def test_the_best_pairs_are_compared_in_pixels_of_the_input():
    """More pairs than the demo compares, in an image whose sides are scaled by different factors."""
    detector = open_detector("demo", score_threshold=1e-4)
    picture = draw_scene(3).image[:301, :5]
    with torch.no_grad():
        (found,) = detector.detect([detector.prepare(picture, "narrow")], candidates=True)
    candidates = found.candidates.arrays()
    outcome = select(candidates)
    assert differences(outcome, found.sample.predictions) == ""
    assert (outcome.stage == CUT).any()
    levels = tuple(replace(level, compared=None) for level in candidates.levels)
    assert differences(select(replace(candidates, levels=levels)), found.sample.predictions)


def test_a_checkpoint_is_not_ignored(tmp_path):
    trained = open_detector("demo").model
    for parameter in trained.parameters():
        parameter.data *= 2
    torch.save(trained.state_dict(), tmp_path / "mine.pth")
    opened = open_detector("demo", str(tmp_path / "mine.pth"))
    assert opened.info.checkpoint == str(tmp_path / "mine.pth")
    for name, value in opened.model.state_dict().items():
        torch.testing.assert_close(value, trained.state_dict()[name], rtol=0, atol=0)
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CaptureError, match=r"other\.pth does not fit the model"):
        open_detector("demo", str(tmp_path / "other.pth"))

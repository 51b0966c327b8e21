"""The built-in detector as an adapter."""

import pytest
import torch

from featscope.adapters.opening import open_detector
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

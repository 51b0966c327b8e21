import torch
from torch import nn

from featscope.capturing.tree import report
from featscope.records import Place


def test_report_counts_calls_and_leaves_no_hook():
    conv = nn.Conv2d(3, 4, 3, 2, 1)
    model = nn.Sequential(conv, nn.Conv2d(4, 3, 1), conv)
    model.add_module("spare", nn.ModuleList([nn.ReLU()]))
    model.forward = lambda x: conv(model[1](conv(x)))
    found = report(model, lambda: model(torch.zeros(1, 3, 32, 48)))
    assert [(layer.name, layer.calls) for layer in found.layers][0] == ("0", 2)
    [tensor] = found.layers[0].outputs[""]
    assert tensor.shape == (1, 4, 16, 24)
    assert tensor.axes == ("sample", "channel", "row", "column")
    assert tensor.grids == (((16, 24), Place((2.0, 2.0), (0.5, 0.5), "operators")),)
    assert "spare" in found.silent
    assert not any(m._forward_hooks for m in model.modules())

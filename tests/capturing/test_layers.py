import pytest
from torch import nn

from featscope.capturing.layers import modules_of, select
from featscope.errors import UnknownNameError


class Edited(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)

    def forward(self, x):
        self.output = self.conv(x)
        return x


def _model():
    model = nn.Module()
    model.backbone = nn.Sequential(*[nn.Conv2d(1, 1, 1) for _ in range(12)])
    model.neck = Edited()
    model.heads = nn.ModuleList([Edited(), Edited()])
    return model


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (None, ["backbone", "heads", "neck"]),
        (["neck"], ["neck"]),
        (["n*"], ["neck"]),
        (["heads.*"], ["heads.0", "heads.1"]),
        (["heads.*.conv"], ["heads.0.conv", "heads.1.conv"]),
        (["**conv"], ["heads.0.conv", "heads.1.conv", "neck.conv"]),
        (["backbone.1*", "backbone.2"], ["backbone.1", "backbone.2", "backbone.10", "backbone.11"]),
        (["*", "!backbone"], ["heads", "neck"]),
        (["!heads"], ["backbone", "neck"]),
        (["heads.*", "heads.*.conv", "!heads.1"], ["heads.0", "heads.0.conv"]),
        (["neck", "neck"], ["neck"]),
    ],
)
def test_choices_in_natural_order(patterns, names):
    assert [c.name for c in select(_model(), patterns)] == names


@pytest.mark.parametrize(
    ("name", "close"), [("bakbone", "backbone"), ("heads.0.cnv", "heads.0.conv"), ("!nek", "neck")]
)
def test_an_unknown_name_gets_close_ones(name, close):
    with pytest.raises(UnknownNameError, match=f"'{close}'.*featscope layers"):
        select(_model(), [name])


def test_what_a_forward_keeps_can_be_chosen():
    (choice,) = select(_model(), ["neck.output"])
    assert (choice.name, choice.attribute) == ("neck.output", "output")
    with pytest.raises(UnknownNameError):
        select(_model(), ["neck.outputs"])


def test_parts_that_know_their_whole_are_no_endless_walk():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.ReLU()))
    model[1].add_module("whole", model)
    assert [name for name, _ in modules_of(model)] == ["", "0", "1", "1.0"]
    assert [layer.name for layer in select(model, ["**"])] == ["0", "1", "1.0"]

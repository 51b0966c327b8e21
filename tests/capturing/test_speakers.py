"""Which module speaks for a layer, and under which of its names it is called."""

import torch
from torch import nn

import featscope


def stored(model, layers, *inputs):
    with torch.no_grad(), featscope.capture(model, layers) as session:
        model(*inputs or (torch.zeros(1, 3, 8, 8),))
    return [(captured.layer, captured.level, array.shape[1]) for captured, array in session.sink.stored], session


def shared_activation():
    act = nn.ReLU()
    return nn.Sequential(nn.Conv2d(3, 8, 1), act, nn.Conv2d(8, 16, 1), act, nn.Sequential(nn.Conv2d(16, 32, 1), act))


def test_one_activation_object_speaks_for_the_layer_that_it_runs_in():
    assert stored(shared_activation(), ["4.1"])[0] == [("4.1", 0, 32)]
    assert stored(shared_activation(), ["4.*"])[0] == [("4.0", 0, 32), ("4.1", 0, 32)]


def test_names_in_one_part_are_one_layer_and_said_to_be(recwarn):
    maps, session = stored(shared_activation(), ["1", "3", "4.1"])
    assert maps == [("1", 0, 8), ("1", 1, 16), ("4.1", 0, 32)]
    assert any("'3' and '1' are the same module" in str(warning.message) for warning in recwarn)
    assert any("'3' and '1'" in remark for remark in session.remarks)
    assert stored(shared_activation(), ["3"])[0] == [("3", 0, 8), ("3", 1, 16)]


def test_a_block_that_two_parts_share():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
            self.left, self.right = nn.ModuleDict({"block": block}), nn.Sequential(block, nn.Identity())

        def forward(self, x):
            return self.left["block"](x), self.right(x[..., :4])

    assert stored(Twice(), ["right.0.1"])[0] == [("right.0.1", 0, 3)]
    assert stored(Twice(), ["left.block.1", "right.0.1"])[0] == [("left.block.1", 0, 3), ("right.0.1", 0, 3)]


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 4, 1)), nn.Sequential(nn.Conv2d(3, 5, 1))])

    def forward(self, x, first=True):
        return [head(x) for head in self.heads[0 if first else 1 :]]


def test_a_list_stands_for_what_runs_in_it():
    assert stored(Heads(), ["heads"])[0] == [("heads.0", 0, 4), ("heads.1", 0, 5)]


def test_a_list_and_one_of_its_children_store_the_child_once():
    assert stored(Heads(), ["heads", "heads.0"])[0] == [("heads.0", 0, 4), ("heads.1", 0, 5)]
    assert stored(Heads(), ["heads.0.0", "heads"])[0] == [("heads.0.0", 0, 4), ("heads.0", 0, 4), ("heads.1", 0, 5)]


def test_a_child_that_runs_later_joins():
    model = Heads()
    with torch.no_grad(), featscope.capture(model, ["heads"]) as session:
        model(torch.zeros(1, 3, 8, 8), first=False)
        model(torch.zeros(1, 3, 8, 8))
    assert [(c.batch, c.layer) for c, _ in session.sink.stored] == [(0, "heads.1"), (1, "heads.0"), (1, "heads.1")]


def test_a_layer_inside_of_itself_speaks_once():
    class Recursive(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x, depth=2):
            return self(self.conv(x), depth - 1) if depth else x

    maps, _ = stored(nn.Sequential(Recursive()), ["0", "0.conv"])
    assert maps == [("0.conv", 0, 3), ("0.conv", 1, 3), ("0", 0, 3)]

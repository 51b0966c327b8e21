"""Tokens are laid out on the grids of their own forward, and of no other."""

import torch
from torch import nn

import featscope


class Attention(nn.Module):
    def forward(self, x):
        return x


class Tokens(nn.Module):
    """Patches as tokens, and as many queries as two forwards have patches."""

    def __init__(self):
        super().__init__()
        self.patches, self.attention, self.queries = nn.Conv2d(3, 5, 4, 4), Attention(), Attention()

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.attention(tokens), self.queries(tokens.repeat(1, 2, 1)[:, :, :2])


def test_each_forward_begins_anew():
    model = Tokens()
    with torch.no_grad(), featscope.capture(model, ["attention", "queries"]) as session:
        for size in ((24, 40), (24, 40), (40, 24)):
            model(torch.zeros(1, 3, *size))
    shapes = [array.shape for array in session.sink["attention.attention"]]
    assert shapes == [(1, 5, 6, 10), (1, 5, 6, 10), (1, 5, 10, 6)]
    assert [array.shape for array in session.sink["queries.attention"]] == [(1, 120, 2)] * 3

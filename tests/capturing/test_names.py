import functools

import torch
from torch import nn

from featscope.capturing.names import field_names


def multi_apply(func, *args):
    return tuple(map(list, zip(*map(func, *args))))


class Head(nn.Module):
    def forward(self, feats):
        return multi_apply(self.forward_single, feats)

    def forward_single(self, x):
        cls_score = x + 1
        bbox_pred = x + 2
        return cls_score, bbox_pred


class Child(Head):
    def forward(self, feats):
        return super().forward(feats)


class Overridden(Head):
    def forward_single(self, x):
        return x, x, x


class ByAttribute(nn.Module):
    def forward(self, x):
        self.scores = x
        if self.training:
            return x
        results = (self.scores, list(x), x + 1)
        return results


class Nested(nn.Module):
    def forward(self, x):
        def inner():
            wrong, names = x, x
            return wrong, names

        first, second = inner()
        return first, second


class Twice(nn.Module):
    def forward(self, x):
        if not len(x):
            nothing, empty = x, x
            return nothing, empty
        scores, boxes = x, x
        return scores, boxes


def decorate(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


class Decorated(nn.Module):
    @decorate
    def forward(self, x):
        low, high = x, x
        return low, high


def test_names():
    assert field_names(Head(), 2) == ("cls_scores", "bbox_preds")
    assert field_names(Child(), 2) == ("cls_scores", "bbox_preds")
    assert field_names(Overridden(), 3) == ("x_0s", "x_1s", "x_2s")
    assert field_names(ByAttribute(), 3) == ("scores", "x", "2")
    assert field_names(Twice(), 2) == ("scores", "boxes"), "the last return: those before are exceptions"
    assert field_names(Nested(), 2) == ("first", "second")
    assert field_names(Decorated(), 2) == ("low", "high")


def test_silent_sources_give_none():
    assert field_names(Head(), 5) is None
    assert field_names(nn.Conv2d(1, 1, 1), 2) is None
    made = type("Made", (nn.Module,), {"forward": eval("lambda self, x: (x, x)")})
    assert field_names(made(), 2) is None


def test_a_forward_put_on_the_instance():
    module = nn.Identity()

    def forward(x):
        near, far = x, x
        return near, far

    module.forward = forward
    assert field_names(module, 2) == ("near", "far")
    assert torch.is_tensor(module(torch.zeros(1))[0])

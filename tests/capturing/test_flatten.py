from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any, Optional

import pytest
import torch

from featscope.capturing.flatten import flatten

X, Y = torch.zeros(1), torch.ones(1)
Pair = namedtuple("Pair", "scores boxes")


@dataclass
class Output:
    logits: Any
    hidden: Optional[Any] = None


@pytest.mark.parametrize(
    ("output", "fields"),
    [
        (X, [""]),
        ((X, Y), ["", ""]),
        ([X, Y], ["", ""]),
        (([X, Y], [X]), ["0", "0", "1"]),
        ([[X, Y], [X]], ["", "", ""]),  # a list is levels, each of several tensors: as they come
        ([(X, Y), {"deep": X}], ["", "", "deep"]),
        ({"a": X, "b": {"c": Y}}, ["a", "b.c"]),
        (OrderedDict(a=[X, Y]), ["a", "a"]),
        (Pair(X, [X, Y]), ["scores", "boxes", "boxes"]),
        (Output(X), ["logits"]),
        (Output([X], {"deep": (X, Y)}), ["logits", "hidden.deep", "hidden.deep"]),
        ((None, [X, None, Y], 3, "text"), ["1", "1"]),
        (None, []),
    ],
)
def test_fields(output, fields):
    assert [field for field, _ in flatten(output)] == fields


def test_given_names_are_used_where_they_fit():
    assert [f for f, _ in flatten(([X], [Y]), ["cls", "box"])] == ["cls", "box"]
    assert [f for f, _ in flatten(([X], [Y]), ["one"])] == ["0", "1"]
    assert [f for f, _ in flatten((X, Y), ("cls", "box"))] == ["cls", "box"]


def test_an_object_that_holds_itself():
    class Loop:
        pass

    loop = Loop()
    loop.me, loop.scores = loop, X
    assert [f for f, _ in flatten(loop)] == ["scores"]


def test_an_object_that_comes_twice_is_stored_twice():
    """Only what lies inside of itself is left out."""
    shared = {"low": X, "high": [Y]}
    assert [f for f, _ in flatten({"a": shared, "b": [shared, shared]})] == [
        "a.low", "a.high", "b.low", "b.high", "b.low", "b.high"
    ]  # fmt: skip


def test_what_lies_behind_a_property_has_its_public_name():
    class Instances:
        def __init__(self):
            self._boxes, self.__dict__["_"] = X, Y

    assert [f for f, _ in flatten({"found": Instances()})] == ["found.boxes", "found._"]


def test_order_and_identity():
    tensors = [t for _, t in flatten({"b": Y, "a": [X]})]
    assert tensors[0] is Y
    assert tensors[1] is X

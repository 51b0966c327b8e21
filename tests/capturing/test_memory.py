"""Captures that stay in memory, or go to a sink of the user's own."""

import pytest
import torch

import featscope
from featscope.errors import UnknownNameError
from featscope.records import Written


@pytest.fixture
def session():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.ReLU())
    with torch.no_grad(), featscope.capture(model) as session:
        for _ in range(2):
            model(torch.zeros(1, 3, 8, 8))
    return session


def test_it_is_read_like_a_dict(session):
    sink = session.sink
    assert list(sink) == list(sink.keys()) == ["0.conv2d", "1.relu"]
    assert len(sink) == 2
    assert "0.conv2d" in sink
    assert "0" not in sink
    assert [len(arrays) for arrays in sink.values()] == [2, 2]
    assert sink.get("0") is None
    assert {name: arrays[0].shape for name, arrays in sink.items()} == {
        "0.conv2d": (1, 4, 8, 8),
        "1.relu": (1, 4, 8, 8),
    }
    assert session.written == Written(4, 2, 4 * 4 * 64 * 4, "memory")


def test_a_folder_that_is_not_there(session):
    with pytest.raises(UnknownNameError, match=r"^there is no folder '0.conv'; did you mean '0.conv2d'"):
        session.sink["0.conv"]
    with pytest.raises(KeyError):
        featscope.MemorySink()["x"]


def test_a_sink_needs_three_methods(session):
    class Names:
        def __init__(self):
            self.heard = []

        def put(self, captured, array):
            captured.ready()
            self.heard.append(captured.folder)

        def put_sample(self, sample, picture):
            self.heard.append(sample.id)

        def close(self, finished):
            self.heard.append(finished)

    model, sink = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)), Names()
    with torch.no_grad(), featscope.capture(model, to=sink, dataset_size=2, policy={"dtype": "float16"}) as session:
        for name in ("a", "b"):
            session.start_batch(0 if name == "a" else 1, [name])
            model(torch.zeros(1, 3, 8, 8))
    assert sink.heard == ["0.conv2d", "a", "0.conv2d", "b", True]
    assert str(session.written) == "2 maps of 2 samples, 0.0 MB, in a Names"

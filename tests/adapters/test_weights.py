"""Checkpoints that were damaged or made to harm: an error that names the file, and nothing is run."""

import io
import json
import os
import random as random_numbers
import struct

import pytest
import torch

from featscope.adapters.weights import load_checkpoint, read_weights
from featscope.errors import CaptureError, FeatscopeError

safetensors = pytest.importorskip("safetensors")


def _header(**changes):
    return {"weight": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64], **changes}}


def _write(path, header, data=bytes(64), length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


@pytest.fixture
def model():
    return torch.nn.Linear(4, 4, bias=False)


def test_a_file_that_is_right_is_loaded(tmp_path, model):
    _write(tmp_path / "x.safetensors", _header(), struct.pack("<16f", *range(16)))
    load_checkpoint(model, str(tmp_path / "x.safetensors"))
    assert model.weight.detach().flatten().tolist() == list(range(16))


@pytest.mark.parametrize(
    "header",
    [
        _header(data_offsets=[0, 128]),
        _header(data_offsets=[-1, 63]),
        _header(data_offsets=[64, 0]),
        _header(data_offsets=[0, 60]),
        _header(data_offsets=[2**63, 2**63 + 64]),
        _header(data_offsets=[0, 2**64]),
        _header(data_offsets=[0.0, 64.0]),
        _header(data_offsets=[0]),
        _header(shape=[5, 4]),
        _header(shape=[2**62, 4]),
        _header(shape=[-4, -4]),
        _header(dtype="F33"),
        {**_header(), "other": {"dtype": "F32", "shape": [4, 4], "data_offsets": [32, 96]}},
        {"weight": {"dtype": "F32", "shape": [4], "data_offsets": [48, 64]}},
        {"weight": []},
        [],
        b"",
        b"hello",
        b"\xff\xfe{}",
        b'{"weight":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_tensors_that_lie_elsewhere_than_the_file_has_bytes(tmp_path, model, header):
    path = tmp_path / "x.safetensors"
    _write(path, header)
    before = model.weight.detach().clone()
    with pytest.raises(CaptureError, match=r"x\.safetensors is not a checkpoint"):
        load_checkpoint(model, str(path))
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("length", [0, 2**31, 2**63, 2**64 - 1])
def test_a_header_that_is_longer_than_the_file(tmp_path, length):
    _write(tmp_path / "x.safetensors", _header(), length=length)
    with pytest.raises(CaptureError, match="is not a checkpoint"):
        read_weights(str(tmp_path / "x.safetensors"))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_of_torch(tmp_path, times, zipped):
    """Bytes changed, cut out and put in at random places."""
    out, path, random = io.BytesIO(), tmp_path / "x.pth", random_numbers.Random(0)
    content = {"state_dict": {"weight": torch.zeros(4, 4), "bias": torch.ones(3)}, "meta": {"x": [1, 2, "y"]}}
    torch.save(content, out, _use_new_zipfile_serialization=zipped)
    for _ in range(times(400, 10_000)):
        data = bytearray(out.getvalue())
        for _ in range(random.randint(1, 4)):
            place = random.randrange(len(data))
            data[place : place + random.randint(0, 6)] = bytes(
                random.randrange(256) for _ in range(random.randint(0, 6))
            )
        path.write_bytes(data[: random.randrange(len(data))] if random.random() < 0.3 else data)
        try:
            read_weights(str(path))
        except FeatscopeError as error:
            assert str(path) in str(error)  # noqa: PT017 (a byte of a tensor may as well be another)


def test_a_pickle_that_would_run_code_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    torch.save({"state_dict": Bomb()}, tmp_path / "x.pth")
    with pytest.raises(CaptureError, match="more than weights"):
        read_weights(str(tmp_path / "x.pth"))
    assert not (tmp_path / "exploded").exists()

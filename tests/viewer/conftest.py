"""A viewer, and a way to ask it."""

import json

import numpy as np
import pytest
from PIL import Image

from featscope.records import Boxes, CapturedMap, Geometry, Place, RunInfo, Sample, Source
from featscope.store.writer import RunWriter

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def two_samples(tmp_path):
    """A run of two samples: one whose photo is there, with boxes and sources, and one of which nothing is known."""
    rng = np.random.default_rng(0)
    photo = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(photo)
    writer = RunWriter(tmp_path / "run", RunInfo(model="Toy", classes=["ship", HOSTILE]))
    found = Boxes("cxcywha", [[20, 20, 16, 8, 0.3], [40, 10, 8, 8, 0]], [0, 1], [0.9, 0.2])
    truth = Boxes("xyxy", [[12, 14, 28, 26]], [0])
    geometry = Geometry((40, 60), (20, 30), (32, 32))
    sources = [[Source("cell", index=9, row=2, column=3)], []]
    writer.put_sample(
        Sample("photo", str(photo), geometry=geometry, predictions=found, truth=truth, sources=sources),
        np.zeros((20, 30, 3), np.uint8),
    )
    writer.put_sample(Sample(HOSTILE, batch=1), None)
    for batch, name in enumerate(("photo", HOSTILE)):
        for level, size in enumerate((8, 4)):
            array = rng.normal(size=(1, 3, size, size)).astype(np.float32)
            stride = 32 / size
            place = Place((stride, stride), (stride / 2, stride / 2), "operators") if batch == 0 else None
            axes = ("sample", "channel", "row", "column")
            writer.put(CapturedMap("neck", "FPN", "", level, 0, batch, [name], "neck.fpn", axes, place), array)
    writer.close()
    return tmp_path / "run"


@pytest.fixture
def ask():
    """Ask a viewer: JSON, or a header with its array, or bytes."""

    def ask(viewer, name, **query):
        answer = viewer.answer(name, {key: str(value) for key, value in query.items()})
        if answer.media == "application/json":
            found = json.loads(answer.body)
            assert answer.status == 200, found
            return found
        if answer.media == "application/octet-stream":
            length = int.from_bytes(answer.body[:4], "little")
            assert (4 + length) % 4 == 0
            header = json.loads(answer.body[4 : 4 + length])
            data = np.frombuffer(answer.body[4 + length :], header["dtype"]).reshape(header["shape"])
            return header, data
        return answer

    return ask

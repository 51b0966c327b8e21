"""What several tests need."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featscope.records import CapturedMap, Geometry, RunInfo, Sample
from featscope.store.writer import RunWriter


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def run(tmp_path):
    """A finished run of two maps of one sample, whose image lies beside it."""
    image = tmp_path / "photo.png"
    Image.fromarray(np.full((20, 30, 3), 128, np.uint8)).save(image)
    writer = RunWriter(tmp_path / "run", RunInfo(model="Toy", classes=["ship"]))
    geometry = Geometry((20, 30), (20, 30), (32, 32))
    writer.put_sample(Sample("a", str(image), geometry=geometry), np.full((20, 30, 3), 128, np.uint8))
    for level, size in enumerate((8, 4)):
        array = np.arange(3 * size * size, dtype=np.float32).reshape(1, 3, size, size)
        writer.put(CapturedMap("neck", "FPN", "", level, 0, 0, ["a"], "neck.fpn", (32 / size, 32 / size)), array)
    writer.close()
    return tmp_path / "run"


def pixels(source):
    """A PNG's pixels as (H, W, 3)."""
    import io

    opened = Image.open(io.BytesIO(source) if isinstance(source, bytes) else Path(source))
    return np.asarray(opened.convert("RGB"))

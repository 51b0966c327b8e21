"""The examples in the docstrings run, in a folder that holds what they name: photos, and two runs."""

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from PIL import Image

import featscope
from featscope.demo.scenes import draw_scene
from featscope.records import Boxes, CapturedMap, Geometry, Place, RunInfo, Sample, Source
from featscope.store.writer import RunWriter

MODULES = [
    name
    for _, name, is_package in pkgutil.walk_packages(featscope.__path__, "featscope.")
    if not is_package and not name.endswith("__main__")
]


def write_run(folder, cls):
    """A run of one sample, harbour, by a neck of a class: two levels of 8 channels, two detections, two true boxes."""
    writer = RunWriter(folder, RunInfo(model="Toy", classes=["ship", "plane"]))
    sources = [[Source("cell", 0, row=2, column=1)], [Source("cell", 5, 1, row=1, column=1)]]
    boxes = Boxes("xyxy", [[10, 20, 110, 80], [300, 200, 400, 320]], [0, 1], [0.93, 0.81])
    truth = Boxes("xyxy", [[12, 20, 110, 80], [500, 50, 560, 110]], [0, 1])
    geometry = Geometry((464, 640), (48, 66), (64, 80))
    photo = str(folder.parent.parent / "harbour.png")
    sample = Sample("harbour", photo, geometry=geometry, predictions=boxes, truth=truth, sources=sources)
    writer.put_sample(sample, None)
    for level, stride in enumerate((8, 16)):
        place = Place((stride, stride), (0.5, 0.5), "operators")
        axes = ("sample", "channel", "row", "column")
        captured = CapturedMap("neck", cls, "", level, 0, 0, ["harbour"], f"neck.{cls.lower()}", axes, place=place)
        array = np.random.default_rng(level).random((1, 8, 64 // stride, 80 // stride), np.float32)
        writer.put(captured, array)
    writer.close()


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    write_run(folder / "runs" / "fpn", "FPN")
    write_run(folder / "runs" / "newneck", "NewNeck")
    (folder / "photos").mkdir()
    for name in ("harbour.png", "photos/harbour.png"):
        Image.fromarray(draw_scene(3).image).save(folder / name)
    return folder


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name, place, monkeypatch):
    monkeypatch.chdir(place)
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if ".adapters." not in name:
            raise
        pytest.skip(f"the adapter's framework is not installed: {error}")
    if "torch" in inspect.getsource(module):
        pytest.importorskip("torch")
    if "demo" in inspect.getsource(module):  # the built-in detector, in examples
        pytest.importorskip("torch")
        pytest.importorskip("safetensors")
    globals_ = dict(vars(module), np=np, featscope=featscope)
    failed, _ = doctest.testmod(module, globs=globals_, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0

"""Layers, captures and estimates by one call, with the built-in detector."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import featscope
from featscope.adapters.by_name import estimate
from featscope.demo.scenes import DEMO_SEEDS, draw_scene
from featscope.errors import BadOptionError, UnknownNameError


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed in DEMO_SEEDS[:2]:
        Image.fromarray(draw_scene(seed, 320, 240).image).save(folder / f"scene_{seed}.png")
    return folder


def test_images_are_captured(photos, tmp_path):
    done = featscope.capture_images("demo", str(photos), str(tmp_path / "run"), "neck", policy={"dtype": "float16"})
    assert (done.failed, done.written.samples) == ([], 2)
    run = featscope.open_run(tmp_path / "run")
    assert {m.record.layer for m in run.maps} == {"neck"}
    assert {m.dtype for m in run.maps} == {"float16"}
    assert len(featscope.list_detections(run)) > 0
    assert featscope.check_run(run).whole


def test_an_estimate_is_what_a_capture_stores(photos, tmp_path):
    found = estimate(featscope.open_detector("demo"), photos, ["neck", "backbone"])
    featscope.capture_images("demo", photos, tmp_path / "run", ["neck", "backbone"])
    assert found.bytes == sum(m.record.bytes for m in featscope.open_run(tmp_path / "run").maps)
    assert (found.samples, found.of) == (2, 2)
    assert found.seconds > 0
    half = estimate("demo", [photos / f"scene_{DEMO_SEEDS[0]}.png"], "neck", policy={"dtype": "float16"})
    assert half.bytes * 4 == estimate("demo", photos, "neck").bytes


def test_an_image_that_cannot_be_read_is_a_warning(photos, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    with pytest.warns(RuntimeWarning, match=r"bad\.png") as caught:
        done = featscope.capture_images("demo", [photos, bad], tmp_path / "run", "neck")
    assert caught[0].filename == __file__
    assert (done.written.samples, len(done.failed)) == (2, 1)


def test_layers_of_a_model():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.Sequential(torch.nn.ReLU()))
    rows = featscope.list_layers(model, torch.zeros(1, 3, 32, 32))
    assert [row.layer for row in rows] == ["0", "1", "1.0"]
    assert rows[0].tensor.strides == [(2.0, 2.0)]
    assert [row.layer for row in featscope.list_layers(model, torch.zeros(1, 3, 32, 32), "1")] == ["1", "1.0"]
    assert "tensor" not in rows._repr_html_()
    with pytest.raises(BadOptionError, match="torch.zeros"):
        featscope.list_layers(model)
    with pytest.raises(UnknownNameError, match="no layer 'two'"):
        featscope.list_layers(model, torch.zeros(1, 3, 32, 32), ["two"])


def test_layers_of_a_detector(photos):
    rows = featscope.list_layers("demo", layers="neck")
    assert rows[0].layer == "neck"
    assert rows[0].stride == "8"
    own = featscope.list_layers(featscope.open_detector("demo"), photos / f"scene_{DEMO_SEEDS[0]}.png", "neck")
    assert [row.layer for row in own] == [row.layer for row in rows]
    square = featscope.list_layers("demo", np.zeros((300, 300, 3), np.uint8), "neck")
    assert (rows[0].tensor.shape[2:], square[0].tensor.shape[2:]) == ((48, 64), (64, 64))


def test_names_load_no_torch():
    """An ONNX file is captured where torch is not installed."""
    code = "import featscope, sys; featscope.list_layers, featscope.estimate; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

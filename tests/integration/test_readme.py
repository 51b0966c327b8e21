"""The commands of the README about other detectors, typed as they stand."""

import os
import re
import shlex
import subprocess
import sys

import pytest
from PIL import Image

from featscope.demo.scenes import draw_scene
from featscope.store.reader import open_run

from .conftest import PROJECT, SHARED

MODEL = """
import torch
from torch import nn

def make_model():
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1))
"""
SCRIPT = """
import sys
from pathlib import Path
import torch, torchvision
from torchvision.io import read_image
model = torchvision.models.get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None).eval()
with torch.no_grad():
    for path in sorted(Path(sys.argv[1]).iterdir()):
        print(path.name, len(model([read_image(str(path))[:3] / 255])[0]["boxes"]))
"""


def commands(heading):
    section = (PROJECT / "README.md").read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```\n(.*?)```", section, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("featscope ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers", minversion="5")
    pytest.importorskip("onnx")
    pytest.importorskip("ultralytics")
    folder = tmp_path_factory.mktemp("readme")
    (folder / "photos").mkdir()
    Image.fromarray(draw_scene(3).image).save(folder / "photos" / "harbour.png")
    (folder / "my_model.py").write_text(MODEL)
    (folder / "predict.py").write_text(SCRIPT)
    (folder / "yunet.onnx").symlink_to(SHARED / "models" / "yunet_n_dynamic.onnx")
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic", out_features=["stage4"]
    )
    small = {f"{part}_{what}": 32 for part in ("encoder", "decoder") for what in ("ffn_dim",)}
    small.update({f"{part}_attention_heads": 2 for part in ("encoder", "decoder")}, encoder_layers=1, decoder_layers=1)
    config = transformers.DetrConfig(
        use_timm_backbone=False, backbone=None, backbone_config=backbone, d_model=16, num_queries=9, **small
    )
    config.save_pretrained(folder / "detr")
    return folder


def test_the_section_is_there():
    assert len(commands("Any detector")) >= 8


@pytest.mark.parametrize("command", commands("Any detector"))
def test_a_command_of_the_readme(folder, command):
    words = shlex.split(command)
    source = str(PROJECT / "src")
    done = subprocess.run(
        [sys.executable, "-m", "featscope", *words[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": source, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    if "-o" in words:
        opened = open_run(folder / words[words.index("-o") + 1])
        assert opened.info.finished
        assert len(opened.maps) > 0
        assert len(opened.samples) == 1
    else:
        assert "layers that run" in done.stdout

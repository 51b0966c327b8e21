"""The commands of the README and of the site's pages, typed as they stand, each page in a folder of its own."""

import os
import shlex
import subprocess
import sys

import numpy as np
import pages
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
BEFORE = {  # what a page takes for granted: other pages made it
    "docs/guides/explain.md": ["featscope capture s2anet.py s2anet.pth -o runs/s2anet"],
    "docs/guides/misses.md": ["featscope capture s2anet.py random -o runs/ours --candidates"],
    "docs/guides/statistics.md": ["featscope capture s2anet.py s2anet.pth -o runs/s2anet"],
    "docs/guides/viewer.md": ["featscope capture s2anet.py s2anet.pth -o runs/s2anet"],
}


def of(page):
    """The commands of a page that are run."""
    lines = [line for fence in pages.fences(page) if not fence.why for line in fence.commands]
    return [line for line in lines if line.startswith("featscope ")]


PAGES = [page for page in pages.english_pages() if of(page)]


@pytest.fixture(scope="module")
def materials(tmp_path_factory):
    """What the commands name: images, models, weights."""
    transformers = pytest.importorskip("transformers", minversion="5")
    pytest.importorskip("onnx")
    pytest.importorskip("ultralytics")
    pytest.importorskip("mmrotate")
    folder = tmp_path_factory.mktemp("pages")
    (folder / "photos").mkdir()
    scene = Image.fromarray(draw_scene(3).image)
    for name in ("photos/harbour.png", "harbour.png", "photo.jpg"):
        scene.save(folder / name)
    (folder / "my_maps" / "neck").mkdir(parents=True)
    size = 16, round(16 * scene.width / scene.height)
    np.save(folder / "my_maps" / "neck" / "one.npy", np.random.default_rng(0).normal(size=(1, 4, *size)).astype("f4"))
    (folder / "my_model.py").write_text(MODEL)
    (folder / "predict.py").write_text(SCRIPT)
    models = SHARED / "models"
    (folder / "yunet.onnx").symlink_to(models / "yunet_n_dynamic.onnx")
    (folder / "s2anet.pth").symlink_to(models / "s2anet_tiny.pth")
    data = f"{SHARED / 'data' / 'aerial' / 'dota_devkit'}/"
    config = (models / "s2anet_tiny.py").read_text().replace("../shared/data/aerial/dota_devkit/", data)
    assert data in config
    (folder / "s2anet.py").write_text(config)
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


def typed(folder, command):
    words = shlex.split(command)
    done = subprocess.run(
        [sys.executable, "-m", "featscope", *words[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src"), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
    return words, done


def test_the_pages_have_commands():
    assert len(PAGES) >= 8
    assert sum(len(of(page)) for page in PAGES) >= 40


@pytest.mark.parametrize("page", PAGES, ids=pages.name_of)
def test_the_commands_of_a_page(materials, tmp_path, page):
    for path in materials.iterdir():
        (tmp_path / path.name).symlink_to(path)
    for command in BEFORE.get(pages.name_of(page), []):
        typed(tmp_path, command)
    for command in of(page):
        words, done = typed(tmp_path, command)
        if words[1] in ("capture", "run") and "--estimate" not in words:
            opened = open_run(tmp_path / words[words.index("-o") + 1])
            assert opened.info.finished
            assert len(opened.maps) > 0
            assert len(opened.samples) > 0
        elif words[1] == "layers":
            assert "layers that run" in done.stdout
        elif words[1] in ("heat", "render", "explain") and "--list" not in words:
            assert list(tmp_path.rglob("*.png")) or list(tmp_path.rglob("*.webp"))

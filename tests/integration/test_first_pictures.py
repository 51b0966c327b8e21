"""The ways of three users from an installed featscope to their first picture, typed as they type them.

`pytest -s` prints the commands and seconds of each; docs/benchmarks.md has a table of them.
"""

import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from .conftest import SHARED, featscope, run

NOTEBOOK = """
import numpy as np, torch, featscope
from PIL import Image

class MyDetector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, 2, 1), torch.nn.ReLU())
        self.head = torch.nn.Conv2d(16, 4, 1)
    def forward(self, x):
        return self.head(self.backbone(x))

torch.manual_seed(0)
photo = np.asarray(Image.open("photo.jpg").convert("RGB"))
model = MyDetector().eval()
with torch.no_grad(), featscope.capture(model, to="run"):
    model(torch.from_numpy(photo).permute(2, 0, 1)[None] / 255)
featscope.draw_heat(featscope.open_run("run").maps[0].load()[0], image=photo)
"""


class Way:
    """Counts the commands of a user and the seconds that they take."""

    def __init__(self, who):
        self.who, self.commands, self.seconds = who, 0, 0.0

    def type(self, command, *arguments, folder):
        start = time.perf_counter()
        done = command(*arguments, folder=folder)
        self.seconds += time.perf_counter() - start
        self.commands += 1
        return done

    def end(self):
        print(f"\n{self.who}: {self.commands} commands, {self.seconds:.1f} s to the first pictures")
        assert self.commands <= 2


def _quads(labels, size):
    """Ground truth of a DOTA label file as a mask of the image."""
    mask = Image.new("1", size[::-1])
    for line in Path(labels).read_text().splitlines():
        words = line.split()
        if len(words) >= 9:
            ImageDraw.Draw(mask).polygon([float(word) for word in words[:8]], fill=1)
    return np.asarray(mask)


def test_a_student_with_s2anet(tmp_path):
    pytest.importorskip("mmrotate", reason="needs MMRotate")
    way, data = Way("a student with S2ANet"), SHARED / "data" / "aerial" / "dota_devkit"
    models = SHARED / "models"
    arguments = ("capture", models / "s2anet_tiny.py", models / "s2anet_tiny.pth", "-i", data / "images" / "P0706.png")
    way.type(featscope, *arguments, "-o", "run", folder=tmp_path)
    done = way.type(featscope, "heat", "run", "--no-legend", folder=tmp_path)
    way.end()
    assert "58 pictures of 29 maps" in done.stdout
    # The ships of the marina stand high on the scale and the rest low, in neck and scores alike.
    for layer in ("neck.fpn", "bbox_head_refine.0.s2arefinehead.cls_scores"):
        with Image.open(tmp_path / "run" / "heat" / layer / "P0706_level0.png") as picture:
            assert picture.mode == "P"
            scale = np.asarray(picture)  # indices of the colours, low to high
        ships = _quads(data / "labelTxt" / "P0706.txt", scale.shape)
        assert scale[ships].mean() > scale[~ships].mean() + 60, layer


def test_an_engineer_with_a_yolo(tmp_path):
    pytest.importorskip("ultralytics", reason="needs Ultralytics")
    way = Way("an engineer with a YOLO")
    photo = SHARED / "data" / "natural" / "coco_val" / "000000000785.jpg"
    way.type(featscope, "capture", "ultralytics:yolo11n.yaml", "random", "-i", photo, "-o", "run", folder=tmp_path)
    done = way.type(featscope, "heat", "run", folder=tmp_path)
    way.end()
    drawn = sorted((tmp_path / "run" / "heat").rglob("*_overlay.png"))
    assert len(drawn) == int(re.search(r"of (\d+) maps", done.stdout).group(1)) > 20
    with Image.open(photo) as given, Image.open(drawn[0]) as picture:
        assert picture.width == given.width
        assert picture.height > given.height, "a title above and a scale below"


def test_a_researcher_with_a_detector_of_her_own(tmp_path):
    way = Way("a researcher in a notebook")
    Image.open(SHARED / "data" / "natural" / "coco_val" / "000000000785.jpg").save(tmp_path / "photo.jpg")
    (tmp_path / "cell.py").write_text(NOTEBOOK)
    way.type(run, sys.executable, "cell.py", folder=tmp_path)
    done = way.type(featscope, "heat", "run", folder=tmp_path)
    way.end()
    assert "pictures of 2 maps" in done.stdout

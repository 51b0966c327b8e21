"""`featscope run` with the frameworks' own scripts: what they know of their images comes along."""

import glob
import sys

import numpy as np
import pytest

from featscope.store.reader import open_run

from .conftest import SHARED, featscope, run

AERIAL = SHARED / "data" / "aerial"


@pytest.fixture(scope="module")
def tested(tmp_path_factory, request):
    mmrotate = pytest.importorskip("mmrotate")
    from pathlib import Path

    tool = Path(mmrotate.__file__).parent / ".mim" / "tools" / "test.py"
    folder = tmp_path_factory.mktemp("script")
    models = SHARED / "models"
    options = ["--cfg-options", "test_evaluator.format_only=True", "test_evaluator.merge_patches=False"]
    options.append(f"test_evaluator.outfile_prefix={folder / 'boxes'}")
    command = [tool, models / "s2anet_tiny.py", models / "s2anet_tiny.pth", "--work-dir", folder / "work"]
    command += ["--out", folder / "scripted.pkl", *options]
    featscope("run", "-o", folder / "run", "--", "python", *command)
    plain = [str(word).replace("scripted.pkl", "plain.pkl") for word in command]
    run(sys.executable, *[str(word).replace(str(folder / "boxes"), str(folder / "others")) for word in plain])
    featscope("capture", models / "s2anet_tiny.py", models / "s2anet_tiny.pth", "-o", folder / "captured",
              *[word for option in options[1:] for word in ("--cfg-options", option)])  # fmt: skip
    return folder


def test_the_test_tool_gives_what_it_gives_alone(tested):
    import pickle

    scripted, plain = (pickle.loads((tested / name).read_bytes()) for name in ("scripted.pkl", "plain.pkl"))
    assert len(scripted) == len(plain) == 2
    for mine, theirs in zip(scripted, plain):
        for field in ("bboxes", "scores", "labels"):
            np.testing.assert_array_equal(mine["pred_instances"][field], theirs["pred_instances"][field])


def test_the_run_is_that_of_capture(tested):
    """Maps to the bit, samples with geometry, boxes, truth and sources."""
    script, capture = open_run(tested / "run"), open_run(tested / "captured")
    assert script.folders() == capture.folders()
    for mine, theirs in zip(script.maps, capture.maps):
        assert mine.record.path == theirs.record.path
        assert mine.record.checksum == theirs.record.checksum
    for name, sample in capture.samples.items():
        own = script.samples[name]
        assert (own.geometry, own.predictions, own.sources) == (sample.geometry, sample.predictions, sample.sources)
        assert own.truth == sample.truth
        assert all(len(found) == 1 for found in own.sources)
    assert script.info.checkpoint == capture.info.checkpoint
    assert script.info.classes == capture.info.classes


ULTRALYTICS = """
import sys, torch
from ultralytics import YOLO
model = YOLO("yolo11n-obb.yaml")
torch.manual_seed(0)
for name, parameter in model.model.named_parameters():
    if parameter.dim() > 1:
        torch.nn.init.xavier_normal_(parameter.data, 1.4)
for branch in model.model.model[-1].cv3:
    torch.nn.init.normal_(branch[-1].bias, -3.0, 0.5)
for result in model.predict(sys.argv[1:], conf=0.1, iou=0.5, imgsz=320, max_det=20, verbose=False, save=False):
    print(result.path, len(result.obb), round(float(result.obb.xywhr.sum()), 2))
"""


def test_ultralytics_predictor(tmp_path):
    pytest.importorskip("ultralytics")
    script = tmp_path / "predict.py"
    script.write_text(ULTRALYTICS)
    images = [
        str(AERIAL / "dota_devkit" / "images" / "P0706.png"),
        *sorted(glob.glob(str(AERIAL / "dota8_train/**/*.jpg"), recursive=True))[:1],
    ]
    done = featscope("run", "-o", tmp_path / "run", "-l", "model.4", "--", "python", script, *images, folder=tmp_path)
    opened = open_run(tmp_path / "run")
    assert opened.info.finished
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith(str(AERIAL))]
    assert [line[0] for line in lines] == images
    for path, count, total in lines:
        sample = next(s for s in opened.samples.values() if s.path == path)
        boxes = np.array(sample.predictions.boxes)
        assert len(boxes) == int(count) > 0
        assert boxes.sum() == pytest.approx(float(total), rel=1e-4)
        assert sample.predictions.form == "cxcywha"
        assert sample.input
    first = opened.samples["P0706"].geometry
    assert first.original == (1182, 1111)
    assert first.resized == (320, round(1111 * 320 / 1182))


TORCHVISION = """
import sys, torch, torchvision
from torchvision.io import read_image
torch.manual_seed(0)
model = torchvision.models.get_model("ssd300_vgg16", weights=None, weights_backbone=None).eval()
with torch.no_grad():
    print(model([read_image(p)[:3] / 255 for p in sys.argv[1:]])[0]["boxes"].sum().item())
"""


def test_torchvision_script(tmp_path):
    pytest.importorskip("torchvision")
    script = tmp_path / "detect.py"
    script.write_text(TORCHVISION)
    images = sorted(glob.glob(str(SHARED / "data" / "natural" / "coco_val" / "*.jpg")))[:2]
    done = featscope("run", "-o", tmp_path / "run", "-l", "backbone", "--", "python", script, *images)
    opened = open_run(tmp_path / "run")
    assert sorted(opened.samples) == ["0", "1"]
    boxes = np.array(opened.samples["0"].predictions.boxes)
    assert boxes.sum() == pytest.approx(float(done.stdout.split()[-1]), rel=1e-5)
    assert opened.samples["0"].geometry.resized == (300, 300)
    assert opened.maps[0].record.stride == (8.0, 8.0)


def test_torchvision_detectors_fit_the_images_themselves(tmp_path):
    """Two images in one batch: each has its own place in the input, and the picture is what the network saw."""
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    import featscope

    options = {"min_size": 64, "max_size": 128, "weights": None, "weights_backbone": None}
    model = torchvision.models.get_model("retinanet_resnet50_fpn", **options).eval()
    images = [torch.full((3, 100, 50), 0.25), torch.full((3, 40, 120), 0.75)]
    with torch.no_grad(), featscope.capture(model, ["backbone.body.layer2"], to=tmp_path / "run"):
        model(images)
        model(images[1:])
    opened = open_run(tmp_path / "run")
    first, second, third = (opened.samples[name] for name in "012")
    assert [(s.geometry.original, s.geometry.resized, s.geometry.padded) for s in (first, second, third)] == [
        ((100, 50), (128, 64), (128, 128)),
        ((40, 120), (42, 128), (128, 128)),
        ((40, 120), (42, 128), (64, 128)),
    ]
    assert [tuple(found.record.shape) for found in opened.maps] == [(2, 512, 16, 16), (1, 512, 8, 16)]
    assert {found.record.stride for found in opened.maps} == {(8.0, 8.0)}
    from PIL import Image

    for sample, grey in ((first, 64), (second, 191)):
        stored = np.asarray(Image.open(tmp_path / "run" / sample.input))
        assert stored.shape[:2] == tuple(sample.geometry.resized)
        assert abs(stored.astype(int) - grey).max() <= 3
    assert first.predictions is not None
    model.train()
    targets = [{"boxes": torch.tensor([[1.0, 2.0, 30.0, 40.0]]), "labels": torch.tensor([1])}]
    with featscope.capture(model, ["backbone.body.layer2"]) as session:
        model(images[:1], targets)
    (sample,) = session.sink.samples
    assert sample.geometry.resized == (128, 64)
    assert sample.predictions is None


TRANSFORMERS = """
import sys, torch
from PIL import Image
from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor, ResNetConfig
backbone = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1] * 4, layer_type="basic", out_features=["stage4"])
config = DetrConfig(use_timm_backbone=False, backbone=None, backbone_config=backbone, d_model=16, num_queries=9,
                    encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2)
model = DetrForObjectDetection(config).eval()
inputs = DetrImageProcessor(size={"shortest_edge": 200, "longest_edge": 300})(
    images=[Image.open(p).convert("RGB") for p in sys.argv[1:]], return_tensors="pt")
with torch.no_grad():
    print(tuple(model(**inputs).logits.shape))
"""


def test_transformers_script(tmp_path):
    pytest.importorskip("transformers", minversion="5")
    script = tmp_path / "detect.py"
    script.write_text(TRANSFORMERS)
    images = sorted(glob.glob(str(SHARED / "data" / "natural" / "coco_val" / "*.jpg")))[:2]
    featscope("run", "-o", tmp_path / "run", "-l", "model.encoder", "--", "python", script, *images)
    opened = open_run(tmp_path / "run")
    (found,) = opened.maps
    sample = opened.samples["0"]
    assert sample.geometry.resized != opened.samples["1"].geometry.resized
    assert found.record.shape[2:] == [-(-side // 32) for side in sample.geometry.padded]
    assert sample.input

"""A phone's photo, on its side with a tag that says so, through the frameworks' own readers: it is drawn as it was read."""

import numpy as np
import pytest
from PIL import Image

from featscope.adapters.feeding import capture_images
from featscope.adapters.opening import open_detector
from featscope.store.images import read_image
from featscope.store.reader import open_run
from featscope.store.sample_images import sample_image

from .conftest import SHARED, featscope

PHOTO = SHARED / "data" / "natural" / "coco_val" / "000000000139.jpg"  # 640 wide, 426 high
TOP = (200, 30, 30)


@pytest.fixture
def folder(tmp_path):
    """The same upright photo, its top red, as each of the eight tags has it stored."""
    upright = Image.open(PHOTO).rotate(90, expand=True)  # 426 wide, 640 high
    upright.paste(TOP, (0, 0, upright.width, 100))
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that undoes the tag's
    for number in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = number
        stored = upright if number == 1 else upright.transpose(Image.Transpose(back[number]))
        stored.save(tmp_path / f"photo{number}.jpg", quality=95, subsampling=0, exif=exif)
    return tmp_path


def check(run, reading, count=8):
    """Each picture under the maps is the upright one, of the recorded size; so is the stored input."""
    opened = open_run(run)
    assert len(opened.samples) == count
    for sample in opened.samples.values():
        assert sample.reading == reading
        errors, remarks = [], []
        drawn = sample_image(run, sample, errors, remarks)
        assert (errors, remarks) == ([], [])
        assert drawn.shape[:2] == sample.geometry.original
        if reading.endswith("exif"):
            assert drawn.shape == (640, 426, 3)
            assert np.abs(drawn[:90].astype(int) - TOP).max() < 25
        seen = read_image(run / sample.input, "pillow") if sample.input else np.zeros((0, 0, 3))
        if seen.shape[:2] == tuple(sample.geometry.resized):  # without padding
            small = Image.fromarray(drawn).resize((seen.shape[1], seen.shape[0]))
            assert np.abs(np.asarray(small).astype(int) - seen).mean() < 6


@pytest.mark.parametrize("way", ["path", "list"])
def test_ultralytics(folder, way):
    pytest.importorskip("ultralytics")
    from .test_ultralytics import QUIET, script

    photos = [str(folder / f"photo{number}.jpg") for number in range(1, 9)]

    def use(yolo):
        for photo in photos:
            yolo.predict(photo if way == "path" else [photo], **QUIET)

    script(folder / "run", use)
    check(folder / "run", "cv2+exif" if way == "path" else "ultralytics+exif")


SCRIPT = """
import sys
from mmdet.apis import DetInferencer, inference_detector, init_detector
config, weights, way, *images = sys.argv[1:]
if way == "inferencer":
    DetInferencer(config, weights, device="cpu")(images, no_save_vis=True, show=False)
else:
    inference_detector(init_detector(config, weights, device="cpu"), images)
"""


@pytest.mark.parametrize(
    ("way", "step", "reading"),
    [("function", "", "cv2+exif"), ("inferencer", "", "cv2+exif"),
     ("function", ", imdecode_backend='pillow'", "mmcv+exif"),
     ("function", ", color_type='color_ignore_orientation'", "cv2"), ("capture", "", "cv2+exif")],
)  # fmt: skip
def test_mmdetection(mmdet_root, folder, way, step, reading):
    base = mmdet_root / ".mim" / "configs" / "yolox" / "yolox_nano_8xb8-300e_coco.py"
    (folder / "nano.py").write_text(
        f"_base_ = {str(base)!r}\n"
        f"test_pipeline = [dict(type='LoadImageFromFile'{step}),\n"
        "    dict(type='Resize', scale=(224, 224), keep_ratio=True),\n"
        "    dict(type='Pad', size=(224, 224), pad_val=dict(img=(114.0, 114.0, 114.0))),\n"
        "    dict(type='LoadAnnotations', with_bbox=True), dict(type='PackDetInputs', meta_keys=('img_id', 'img_path',\n"
        "        'ori_shape', 'img_shape', 'scale_factor'))]\n"
        "test_dataloader = dict(dataset=dict(pipeline=test_pipeline))\n"
    )
    weights = SHARED / "models" / "yolox_nano_coco_mmdet.pth"
    photos = [folder / f"photo{number}.jpg" for number in (1, 3, 6)]
    if way == "capture":
        options = [part for photo in photos for part in ("-i", photo)]
        featscope("capture", folder / "nano.py", weights, *options, "-o", folder / "run", "-l", "neck")
    else:
        (folder / "detect.py").write_text(SCRIPT)
        command = [folder / "detect.py", folder / "nano.py", weights, way, *photos]
        featscope("run", "-o", folder / "run", "-l", "neck", "--", *command)
    check(folder / "run", reading, 3)


@pytest.mark.parametrize(
    ("name", "reading", "options"),
    [("ultralytics:yolov8n.yaml", "cv2+exif", {"input_size": (160, 160)}),
     ("torchvision:ssdlite320_mobilenet_v3_large", "pillow", {}),
     ("timm:resnet18", "pillow", {}), ("timm:resnet18", "cv2+exif", {"preprocess": "reading=cv2+exif"}),
     ("demo", "pillow+exif", {})],
)  # fmt: skip
def test_adapters(folder, name, reading, options):
    package = name.partition(":")[0]
    if package != "demo":
        pytest.importorskip(package)
    detector = open_detector(name, "random" if package != "demo" else "", **options)
    photos = [folder / f"photo{number}.jpg" for number in range(1, 9)]
    capture_images(detector, photos, folder / "run", None, policy={"reduce": "mean"})
    check(folder / "run", reading)


def test_heat_maps_lie_over_the_upright_photo(folder):
    """The whole chain, by pixels: every overlay of the eight has the red at its top."""
    photos = [part for number in range(1, 9) for part in ("-i", folder / f"photo{number}.jpg")]
    featscope("capture", "demo", *photos, "-o", folder / "run", "-l", "neck")
    featscope("heat", folder / "run", "--only", "*/batch_*_layer_0.npy", "--style", "jet", "--alpha", "0")
    overlays = sorted((folder / "run" / "heat").rglob("*_overlay.png"))
    assert len(overlays) == 8
    for path in overlays:
        drawn = np.asarray(Image.open(path).convert("RGB"))
        assert drawn.shape == (640, 426, 3)
        assert np.abs(drawn[:90].astype(int) - TOP).max() < 25

"""Folders that `save_pretrained` wrote load as `from_pretrained` loads them, whatever their model is for."""

import numpy as np
import pytest
import torch

from featscope.adapters.feeding import capture_images
from featscope.adapters.opening import open_detector
from featscope.capturing.verifying import inside
from featscope.errors import BadOptionError, CaptureError
from featscope.records import Geometry, RunInfo
from featscope.store.check import check_run
from featscope.store.reader import open_run

transformers = pytest.importorskip("transformers", minversion="5")

from featscope.adapters.transformers.detector import TransformersDetector  # noqa: E402 (it imports transformers)
from featscope.adapters.transformers.processor import PIXELS, ProcessedImages  # noqa: E402 (it imports transformers)

SMALL = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_queries": 9,
    "num_labels": 5,
}
VISION = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def backbone(*stages):
    return transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, layer_type="basic", out_features=list(stages)
    )


def detr():
    config = transformers.DetrConfig(
        use_timm_backbone=False, backbone=None, backbone_config=backbone("stage4"), **SMALL
    )
    return transformers.DetrForObjectDetection(config), transformers.DetrImageProcessor(
        size={"shortest_edge": 96, "longest_edge": 128}
    )


def deformable_detr():
    config = transformers.DeformableDetrConfig(
        use_timm_backbone=False, backbone=None, backbone_config=backbone("stage2", "stage3", "stage4"), **SMALL
    )
    return transformers.DeformableDetrForObjectDetection(config), transformers.DeformableDetrImageProcessor(
        size={"shortest_edge": 96, "longest_edge": 128}
    )


def yolos():
    config = transformers.YolosConfig(image_size=[64, 96], num_detection_tokens=7, num_labels=5, **VISION)
    return transformers.YolosForObjectDetection(config), transformers.YolosImageProcessor(
        size={"height": 64, "width": 96}
    )


def vit():
    config = transformers.ViTConfig(image_size=64, patch_size=16, num_labels=5, **VISION)
    return transformers.ViTForImageClassification(config), transformers.ViTImageProcessor(
        size={"height": 64, "width": 64}
    )


def owlvit():
    text = {"vocab_size": 50, **VISION}
    vision = {"image_size": 64, "patch_size": 16, **VISION}
    config = transformers.OwlViTConfig(vision_config=vision, text_config=text, projection_dim=32)
    return transformers.OwlViTForObjectDetection(config), transformers.OwlViTImageProcessor(
        size={"height": 64, "width": 64}
    )


def resnet_backbone():
    return transformers.ResNetBackbone(backbone("stage2", "stage4")), transformers.ConvNextImageProcessor(
        size={"shortest_edge": 96}
    )


def segformer():
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=16
    )
    return transformers.SegformerForSemanticSegmentation(config), transformers.SegformerImageProcessor(
        size={"height": 64, "width": 96}
    )


def maskformer():
    decoder = transformers.DetrConfig(**{**SMALL, "decoder_layers": 1})
    config = transformers.MaskFormerConfig(
        fpn_feature_size=32,
        mask_feature_size=32,
        backbone_config=backbone("stage1", "stage2", "stage3", "stage4"),
        decoder_config=decoder,
    )
    return transformers.MaskFormerForInstanceSegmentation(config), transformers.MaskFormerImageProcessor(
        size={"shortest_edge": 64, "longest_edge": 96}
    )


FINDS_NO_BOXES = (vit, owlvit, resnet_backbone, segformer, maskformer)


def save(make, folder):
    torch.manual_seed(3)
    for part in make():
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def image(tmp_path):
    from featscope.testing import write_images

    return write_images(tmp_path)[0]


@pytest.mark.parametrize("make", [detr, deformable_detr, yolos, *FINDS_NO_BOXES])
def test_the_weights_are_those_of_the_folder(make, tmp_path, image):
    save(make, tmp_path / "saved")
    detector = open_detector(f"transformers:{tmp_path / 'saved'}")
    plain = type(detector.model).from_pretrained(tmp_path / "saved", local_files_only=True)
    own, theirs = detector.model.state_dict(), plain.state_dict()
    assert set(own) == set(theirs)
    for name, value in own.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=0)
    made = capture_images(detector, [image], tmp_path / "run", None)
    assert made.written.maps > 0
    assert not check_run(tmp_path / "run").problems
    assert any("needs text" in remark for remark in made.remarks) == (make is owlvit)
    (sample,) = open_run(tmp_path / "run").samples.values()
    assert (sample.predictions is None) == (make in FINDS_NO_BOXES)
    assert sample.geometry.original == (300, 420)


@pytest.mark.parametrize("make", [detr, resnet_backbone])
def test_the_output_is_that_of_the_library(make, tmp_path, image):
    from PIL import Image

    folder = save(make, tmp_path / "saved")
    detector = open_detector(f"transformers:{folder}")
    model = type(detector.model).from_pretrained(folder)
    process = transformers.AutoImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        own = detector.run(detector.features([detector.prepare(image, "wide")]))
        theirs = model(**process(images=Image.open(image).convert("RGB"), return_tensors="pt"))
    for name in theirs:
        for mine, value in zip([own[name]] if torch.is_tensor(own[name]) else own[name], theirs[name]):
            torch.testing.assert_close(mine.reshape(value.shape), value, rtol=1e-5, atol=1e-5)


class Runs:
    """Runs when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.path),)


def as_bin(folder, **more):
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**weights, **more}, folder / "pytorch_model.bin")


def test_nothing_is_unpickled_but_weights(tmp_path):
    folder = save(yolos, tmp_path / "saved")
    as_bin(folder)
    assert open_detector(f"transformers:{folder}").info.checkpoint.endswith("pytorch_model.bin")
    folder = save(yolos, tmp_path / "evil")
    as_bin(folder, more=Runs(tmp_path / "it_ran"))
    with pytest.raises(CaptureError, match="--trust-checkpoint"):
        open_detector(f"transformers:{folder}")
    assert not (tmp_path / "it_ran").exists()
    assert open_detector(f"transformers:{folder}", trusted=True).info.model == "YolosForObjectDetection"
    assert (tmp_path / "it_ran").exists()


def test_no_code_of_a_folder_runs_and_nothing_is_downloaded(tmp_path, monkeypatch):
    import json
    import socket

    def never(*arguments, **options):
        raise AssertionError("it looks for a host")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    folder = save(yolos, tmp_path / "saved")
    (folder / "code.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'it_ran')!r})\n")
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "code.Config", "AutoModelForObjectDetection": "code.Net"}
    for changes, words in (
        ({"auto_map": own}, ""),
        ({"auto_map": own, "model_type": "mine", "architectures": ["Net"]}, "cannot be read"),
        ({"architectures": ["Net"]}, "not a model of transformers"),
        ({"architectures": ["pipeline"]}, "not a model of transformers"),
        ({"architectures": ["BertModel"]}, "does not take images"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        if words:
            with pytest.raises(CaptureError, match=words):
                open_detector(f"transformers:{folder}")
        else:
            open_detector(f"transformers:{folder}")
    folder = save(detr, tmp_path / "detr")
    config = json.loads((folder / "config.json").read_text())
    elsewhere = {"backbone": "somebody/resnet-50", "use_timm_backbone": False, "backbone_config": None}
    (folder / "config.json").write_text(json.dumps({**config, **elsewhere}))
    with pytest.raises(CaptureError, match="would have to be downloaded"):
        open_detector(f"transformers:{folder}")
    assert not (tmp_path / "it_ran").exists()


def test_a_folder_that_lacks_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save(detr, tmp_path / "saved")
    whole = load_file(folder / "model.safetensors")
    gone = next(name for name in whole if "class_labels_classifier" in name)
    for change, words in (
        ({name: value for name, value in whole.items() if name != gone}, "1 tensors are missing .class_labels"),
        ({**whole, gone: torch.zeros(3)}, r"1 tensors have a different shape .class_labels_classifier.* is \(3,\)"),
    ):
        save_file(change, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(CaptureError, match=words):
            open_detector(f"transformers:{folder}")
    save_file(whole, tmp_path / "other.safetensors")
    detector = open_detector(f"transformers:{folder}", str(tmp_path / "other.safetensors"))
    assert torch.equal(detector.model.state_dict()[gone], whole[gone])


PROCESSORS = [
    ("ViTImageProcessor", {}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}),
    ("CLIPImageProcessor", {}),
    ("DeiTImageProcessor", {}),
    ("MobileViTImageProcessor", {}),  # a crop that is wider than the image, and colours in another order
    ("DetrImageProcessor", {"size": {"shortest_edge": 200, "longest_edge": 300}}),
    ("Mask2FormerImageProcessor", {"size": {"shortest_edge": 200, "longest_edge": 300}}),
    ("Owlv2ImageProcessor", {"size": {"height": 320, "width": 320}}),
    ("SamImageProcessor", {"size": {"longest_edge": 256}, "pad_size": {"height": 256, "width": 256}}),
    ("EfficientNetImageProcessor", {}),
    ("DonutImageProcessor", {"size": {"height": 320, "width": 240}}),
]


@pytest.mark.parametrize("size", [(300, 420), (340, 200), (600, 801)])
@pytest.mark.parametrize(("name", "options"), PROCESSORS, ids=[name for name, _ in PROCESSORS])
def test_a_dot_is_where_the_geometry_says(name, options, size):
    """Whatever an image processor does: a red dot on dark blue, found again in its picture, within a pixel or two."""
    images = ProcessedImages(getattr(transformers, name)(**options))
    place = (size[0] * 0.43, size[1] * 0.56)
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    dot = np.exp(-((rows - place[0]) ** 2 + (columns - place[1]) ** 2) / 2 / (min(size) / 30) ** 2)
    image = (np.stack([dot, 0 * dot, 0 * dot + 0.2], -1) * 255).astype(np.uint8)
    (placed,) = images.places([size])
    geometry = placed.geometry
    assert geometry.original == size
    seen = inside(images.picture(images.features([image])[PIXELS][0], placed), geometry)
    assert seen.shape[:2] == geometry.resized
    assert abs(int(np.median(seen[..., 2])) - 51) <= 2, "blue stays blue"
    red = seen[..., 0].astype(float)
    top, left, height, width = geometry.crop or (0, 0, *size)
    for axis, (start, length, wanted) in enumerate(((top, height, place[0]), (left, width, place[1]))):
        profile = red.sum(1 - axis)
        found = (profile * (np.arange(len(profile)) + 0.5)).sum() / profile.sum()
        assert start + found * length / len(profile) == pytest.approx(wanted, abs=max(1.5, length / len(profile)))


def test_a_place_that_cannot_be_told_is_none_and_said(tmp_path, image):
    """Borders that mirror the image are no straight line."""
    images = ProcessedImages(transformers.ZoeDepthImageProcessor())
    assert images.places([(300, 420)]) == [None]
    detector = open_detector(f"transformers:{save(vit, tmp_path / 'saved')}")
    detector._images = images
    assert detector.prepare(image, "wide").sample.geometry is None
    assert any("no geometry" in remark for remark in detector.remarks)


def test_a_processor_that_works_with_pillow_is_measured_too():
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    for size in ((300, 420), (1200, 1001)):
        (placed,) = ProcessedImages(RTDetrImageProcessorPil()).places([size])
        assert placed.geometry == Geometry(size, (640, 640), (640, 640))


def test_an_input_size_is_fitted_or_refused(tmp_path, image):
    folder = save(resnet_backbone, tmp_path / "saved")
    item = open_detector(f"transformers:{folder}", input_size=(64, 64)).prepare(image, "wide")
    assert item.sample.geometry.padded == (64, 64)
    assert item.sample.geometry.crop is not None
    with pytest.raises(BadOptionError, match="cannot resize images to 64 x 80; .* try a square"):
        open_detector(f"transformers:{folder}", input_size=(64, 80))
    with pytest.raises(BadOptionError, match="ResNetBackbone does not detect boxes"):
        open_detector(f"transformers:{folder}", score_threshold=0.5)


def test_how_images_are_fed_is_said_where_the_folder_does_not(tmp_path, image):
    folder = save(vit, tmp_path / "saved")
    (folder / "preprocessor_config.json").unlink()
    assert any("prepared by ViTImageProcessor" in remark for remark in open_detector(f"transformers:{folder}").remarks)


def test_what_a_model_needs_beside_images_is_one_line(tmp_path, image):
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(image_size=64, **VISION),
        transformers.TrOCRConfig(
            d_model=32, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=32, vocab_size=50
        ),
    )
    transformers.VisionEncoderDecoderModel(config).save_pretrained(tmp_path / "saved")
    transformers.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "saved")
    detector = open_detector(f"transformers:{tmp_path / 'saved'}")
    with pytest.raises(CaptureError, match=r"cannot run on pixel_values \(1 x 3 x 64 x 64\): ValueError.*decoder"):
        detector.detect([detector.prepare(image, "wide")])


def test_half_precision_weights_are_fed_halves(tmp_path, image):
    model, process = detr()
    model.bfloat16().save_pretrained(tmp_path / "saved")
    process.save_pretrained(tmp_path / "saved")
    detector = open_detector(f"transformers:{tmp_path / 'saved'}")
    assert detector.model.dtype is torch.bfloat16
    made = capture_images(detector, [image], tmp_path / "run", ["model.encoder"])
    assert made.written.maps == 1


def test_a_script_companion_knows_the_sizes_and_what_was_found(tmp_path):
    """Also of a batch by place and with a mask, and with `featscope.capture` alone."""
    import featscope

    model, process = detr()
    model = model.eval()
    pictures = [np.full((300, 420, 3), 90, np.uint8), np.full((340, 200, 3), 90, np.uint8)]
    fed = process(images=pictures, return_tensors="pt")
    torch.nn.init.normal_(model.class_labels_classifier.bias, 0, 9)
    with featscope.capture(model, ["model.encoder"], to=tmp_path / "run"), torch.no_grad():
        output = model(fed["pixel_values"], fed["pixel_mask"])
    samples = list(open_run(tmp_path / "run").samples.values())
    assert [s.geometry.resized for s in samples] == [(91, 128), (128, 75)]
    sizes = [s.geometry.resized for s in samples]
    wanted = process.post_process_object_detection(output, 0.5, target_sizes=sizes)
    assert sum(len(one["scores"]) for one in wanted) > 0
    for sample, one in zip(samples, wanted):
        np.testing.assert_allclose(sample.predictions.boxes, one["boxes"].reshape(-1, 4), atol=1e-3)
        assert sample.predictions.labels == one["labels"].tolist()


def test_models_that_find_no_boxes_are_no_companions():
    from featscope.adapters.transformers.companion import companion_of

    assert companion_of(detr()[0], True) is not None
    for make in FINDS_NO_BOXES:  # what OWL-ViT finds has no classes of its own
        assert companion_of(make()[0], True) is None
    assert companion_of(torch.nn.Linear(2, 2), True) is None


def dab_detr():
    small = {name: value for name, value in SMALL.items() if name not in ("d_model", "num_queries")}
    config = transformers.DabDetrConfig(
        use_timm_backbone=False,
        backbone=None,
        backbone_config=backbone("stage4"),
        hidden_size=32,
        num_queries=20,
        **small,
    )
    return transformers.DabDetrForObjectDetection(config)


@pytest.mark.parametrize("processor", ["DetrImageProcessor", "ConditionalDetrImageProcessor", "RTDetrImageProcessor"])
@pytest.mark.parametrize("model", [dab_detr, lambda: detr()[0]], ids=["sigmoid", "softmax"])
def test_sources_are_found_by_whichever_processor_reads_the_boxes(tmp_path, image, model, processor):
    """DAB-DETR read by DETR's processor: its scores are those of a softmax, and 20 of 20 sources were lost."""
    torch.manual_seed(0)
    model().save_pretrained(tmp_path / "folder")
    getattr(transformers, processor)().save_pretrained(tmp_path / "folder")
    detector = open_detector(f"transformers:{tmp_path / 'folder'}", score_threshold=0.0)
    made = capture_images(detector, [image], tmp_path / "run", None)
    assert not made.remarks
    (sample,) = open_run(tmp_path / "run").samples.values()
    assert len(sample.sources) >= 9
    assert all(sample.sources)


def test_what_gives_no_queries_has_its_maps_and_a_reason(tmp_path, image, monkeypatch):
    detector = open_detector(f"transformers:{save(detr, tmp_path / 'folder')}", score_threshold=0.0)
    run = detector.run
    monkeypatch.setattr(
        detector, "run", lambda fed: transformers.modeling_outputs.BaseModelOutput(run(fed).last_hidden_state)
    )
    made = capture_images(detector, [image], tmp_path / "run", None)
    (sample,) = open_run(tmp_path / "run").samples.values()
    assert sample.predictions is None
    assert "returned last_hidden_state, but not logits and pred_boxes" in made.remarks[0]


def test_boxes_of_more_numbers_are_not_traced_and_said(tmp_path, image, monkeypatch):
    """PP-DocLayoutV4 gives quadrilaterals, of which its processor makes boxes."""
    detector = open_detector(f"transformers:{save(detr, tmp_path / 'folder')}", score_threshold=0.0)
    run, decode = detector.run, detector._decode

    def run_with_ten(fed):
        output = run(fed)
        output["pred_boxes"] = output.pred_boxes.repeat(1, 1, 3)[..., :10]
        return output

    def decode_ten(output, *arguments, **named):
        output["pred_boxes"] = output.pred_boxes[..., :4]
        found = decode(output, *arguments, **named)
        output["pred_boxes"] = output.pred_boxes.repeat(1, 1, 3)[..., :10]
        return [{**one, "order": [1]} for one in found]

    monkeypatch.setattr(detector, "run", run_with_ten)
    monkeypatch.setattr(detector, "_decode", decode_ten)
    made = capture_images(detector, [image], tmp_path / "run", None)
    (sample,) = open_run(tmp_path / "run").samples.values()
    assert sample.predictions.boxes
    assert not sample.sources
    assert "returned boxes of 10 numbers, but only boxes of 4 are supported" in made.remarks[0]


def test_a_processor_of_other_models_is_refused_in_one_line(tmp_path, image, monkeypatch):
    detector = open_detector(f"transformers:{save(detr, tmp_path / 'folder')}")

    def decode(output, threshold, target_sizes):
        return output.order_logits

    monkeypatch.setattr(detector, "_decode", decode)
    with pytest.raises(
        CaptureError, match="the image processor cannot postprocess the output of DetrFor.*AttributeError: "
    ):
        capture_images(detector, [image], tmp_path / "run", None)


def test_a_config_of_which_no_model_can_be_made_is_refused_in_one_line(tmp_path):
    model, processor = detr()
    model.config.activation_function = "none_of_the_library"
    model.config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(CaptureError, match="the DetrForObjectDetection of .*config.json cannot be made: "):
        open_detector(f"transformers:{tmp_path}", "random")


@pytest.mark.parametrize(
    ("name", "layer"),
    [("DetrConfig", "model.backbone"), ("YolosConfig", "vit.embeddings"), ("Deimv2Config", "model.conv_encoder")],
)
def test_boxes_are_explained_at_what_first_makes_features(name, layer):
    if not hasattr(transformers, name):
        pytest.skip(f"transformers {transformers.__version__} has no {name}")
    config = getattr(transformers, name)()
    config.use_pretrained_backbone = False
    with torch.device("meta"):
        model = transformers.AutoModelForObjectDetection.from_config(config)
    made = TransformersDetector(model, ProcessedImages(None), RunInfo(model=name), None, None, None)
    assert made.layer_to_explain == layer
    assert any(found == layer for found, _ in model.named_modules())

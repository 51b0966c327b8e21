"""Folders that `save_pretrained` wrote load as `from_pretrained` loads them, whatever their model is for."""

import pytest
import torch

from featscope.adapters.images import capture_images
from featscope.adapters.opening import open_detector
from featscope.errors import CaptureError
from featscope.store.check import check_run
from featscope.store.reader import open_run

transformers = pytest.importorskip("transformers", minversion="5")

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


@pytest.fixture
def image(tmp_path):
    from adapters.contract import write_images

    return write_images(tmp_path)[0]


@pytest.mark.parametrize("make", [detr, deformable_detr, yolos, vit])
def test_the_weights_are_those_of_the_folder(make, tmp_path, image):
    torch.manual_seed(3)
    for part in make():
        part.save_pretrained(tmp_path / "saved")
    detector = open_detector(f"transformers:{tmp_path / 'saved'}")
    plain = type(detector.model).from_pretrained(tmp_path / "saved", local_files_only=True)
    own, theirs = detector.model.state_dict(), plain.state_dict()
    assert set(own) == set(theirs)
    for name, value in own.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=0)
    made = capture_images(detector, [image], tmp_path / "run", None)
    assert made.written.maps > 0
    assert not check_run(tmp_path / "run").problems
    (sample,) = open_run(tmp_path / "run").samples.values()
    assert (sample.predictions is None) == (make is vit), "a classifier finds no boxes"


def test_a_folder_that_lacks_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    for part in detr():
        part.save_pretrained(tmp_path / "saved")
    weights = load_file(tmp_path / "saved" / "model.safetensors")
    gone = next(name for name in weights if "class_labels_classifier" in name)
    del weights[gone]
    save_file(weights, tmp_path / "saved" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CaptureError, match="class_labels_classifier"):
        open_detector(f"transformers:{tmp_path / 'saved'}")

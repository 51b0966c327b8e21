"""Try ten and more families of Ultralytics, torchvision, transformers and timm, with random weights.

    python tools/try_detectors.py ultralytics torchvision transformers timm > docs/detectors.md

Prints a page in Markdown, as `try_configs.py` does. Nothing is downloaded. It takes half an hour.
"""

import contextlib
import functools
import importlib
import sys
import tempfile
from pathlib import Path

import torch
import torchvision
from trying import head_of_table, scene, tried

from featscope.adapters.opening import open_detector

INTRODUCTION = """# Detectors and backbones, tried

Families of Ultralytics {ultralytics}, torchvision {torchvision}, transformers {transformers} and timm {timm} (torch
{torch}, on a CPU), with random weights, on one image: listed (`featscope layers`), captured, its detections traced to
their sources, two of them explained by HiResCAM at the layer that `featscope explain` takes by itself. Images are
fitted into {size} pixels where the model takes that, otherwise into its own size.

- The columns are those of [Every config family, tried](configs.md).
- Scores of random weights are small and near one another, so that the threshold is 0, and the detections are as many
  as the framework keeps.
- A model that finds no boxes has its maps, and nothing to trace or to explain. A reason in place of numbers is why it
  did not run, or why its boxes have no sources.
- transformers: `config.json` as the class makes it, in full size, with the image processor of its kind, and what no
  model runs without. Of PP-OCR three do not run on that. OmDet-Turbo takes words in a form of its own. Models that
  are asked by text are asked two words that mean nothing, and have their maps.
- YOLOE gets words at random: without any, its scores do not depend on the image.
- Ties are boxes that several candidates gave with the same score: YOLOS starts with queries that are all alike.

```
python tools/try_detectors.py ultralytics torchvision transformers timm > docs/detectors.md
```"""

SIZE = (320, 320)
LARGER = ((640, 640), (560, 560), (768, 768))  # for windows and positions that do not fit the smaller one

NAMES = {
    "ultralytics": """
        yolov3-tiny yolov3 yolov3-spp yolov5n yolov5n-p6 yolov6n yolov8n yolov8n-seg yolov8n-pose yolov8n-obb
        yolov8n-cls yolov8n-p2 yolov8n-p6 yolov8n-ghost yolov8s-world yolov8s-worldv2 yoloe-v8s yoloe-v8s-seg
        yolov8n-rtdetr yolov9t yolov9c yolov9c-seg yolov9e yolov10n yolo11n yolo11n-seg yolo11n-pose yolo11n-obb
        yolo11n-cls yoloe-11s yoloe-11s-seg yolo12n yolo12n-seg yolo12n-pose yolo12n-obb yolo12n-cls yolo26n
        yolo26n-p2 yolo26n-seg yolo26n-pose yolo26n-obb yolo26n-cls yolo26n-sem yolo26n-depth yoloe-26s yoloe-26s-seg
        rtdetr-l rtdetr-x rtdetr-resnet50
    """,
    "torchvision": """
        resnet18 resnext50_32x4d mobilenet_v3_small efficientnet_b0 convnext_tiny densenet121 vgg11 regnet_y_400mf
        shufflenet_v2_x0_5 squeezenet1_1 googlenet inception_v3 mnasnet0_5 vit_b_32 swin_t swin_v2_t maxvit_t
        fcn_resnet50 deeplabv3_mobilenet_v3_large lraspp_mobilenet_v3_large
    """,
    "transformers": """
        mask2former maskformer segformer upernet vit swin swinv2 convnext convnextv2 dinov2 dinov3_vit beit resnet
        pvt_v2 dpt depth_anything clip siglip
    """,
    "timm": """
        resnet18 resnest14d res2net50_26w_4s hrnet_w18_small dla34 densenet121 vgg11 darknet53 cspresnet50
        ese_vovnet39b mobilenetv3_small_050 efficientnet_b0 regnetx_002 repvgg_a0 convnext_atto ghostnet_100
        vit_tiny_patch16_224 deit_tiny_patch16_224 swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 pvt_v2_b0
        xcit_nano_12_p16_224 cait_xxs24_224 poolformer_s12 maxvit_tiny_tf_224 coat_lite_tiny mobilevit_xxs fastvit_t8
        edgenext_xx_small levit_128s mixer_s32_224 focalnet_tiny_srf davit_tiny hiera_tiny_224 eva02_tiny_patch14_224
        efficientformer_l1 tiny_vit_5m_224
    """,
}
"""What is tried of each framework; of torchvision and transformers all that detect come first."""

DETECTING = ("OBJECT_DETECTION", "ZERO_SHOT_OBJECT_DETECTION")
OTHER = ("UNIVERSAL_SEGMENTATION", "SEMANTIC_SEGMENTATION", "DEPTH_ESTIMATION")

PROCESSORS = {
    "dab-detr": "ConditionalDetrImageProcessor",
    "d_fine": "RTDetrImageProcessor",
    "rt_detr_v2": "RTDetrImageProcessor",
}
"""Of kinds that the library itself knows no image processor for: that of their published models."""


CONFIGS = {
    "beit": {"out_indices": [3, 5, 7, 11]},
    "lw_detr": {"projector_scale_factors": [1.0]},
    "pp_doclayout_v2": {"class_order": [0, 1], "class_thresholds": [0.5, 0.5]},
}
"""What a config does not have by itself, though no model runs without it: as published models have it."""


def names_of(framework):
    """What is tried of a framework, as it stands behind its name and a colon."""
    detectors = {
        "torchvision": lambda: torchvision.models.list_models(module=torchvision.models.detection),
        "transformers": lambda: classes_of_transformers(*DETECTING),
    }
    names = [*detectors.get(framework, list)(), *NAMES[framework].split()]
    return [f"{name}.yaml" for name in names] if framework == "ultralytics" else names


def classes_of_transformers(*tasks):
    """The kinds of models for some tasks, with the name of each one's class."""
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    return {kind: name for task in tasks for kind, name in getattr(auto, f"MODEL_FOR_{task}_MAPPING_NAMES").items()}


def make(framework, name, size):
    """A detector with random weights, for images of a size or of its own."""
    options = {"input_size": size}
    if framework == "ultralytics" or name in torchvision.models.list_models(module=torchvision.models.detection):
        options["score_threshold"] = 0.0
    if framework != "transformers":
        detector = open_detector(f"{framework}:{name}", "random", **options)
        if name.startswith("yoloe"):  # without words its scores would not depend on the image
            detector.model.set_classes([str(word) for word in range(80)], torch.randn(1, 80, 512))
        return detector
    transformers = importlib.import_module("transformers")
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / name
        config = transformers.AutoConfig.for_model(name, **CONFIGS.get(name, {}))
        kind = classes_of_transformers(*OTHER, *DETECTING).get(name)
        config.architectures = [kind] if kind else None
        config.save_pretrained(folder)
        if name in PROCESSORS:
            getattr(transformers, PROCESSORS[name])().save_pretrained(folder)
        detector = open_detector(f"transformers:{folder}", "random", **options)
    if detector.traceable:
        detector._score = 0.0
    return detector


def main(frameworks):
    """Print a table for each framework."""
    with scene() as image:
        names = ("ultralytics", "torchvision", "transformers", "timm", "torch")
        with contextlib.redirect_stdout(sys.stderr):  # to which Ultralytics then writes its warnings
            versions = {name: importlib.import_module(name).__version__ for name in names}
        print(INTRODUCTION.format(size=" x ".join(map(str, SIZE)), **versions))
        for framework in frameworks:
            head_of_table(framework, "model")
            every = names_of(framework)
            good = sum(
                tried(name, functools.partial(make, framework, name), image, (SIZE, *LARGER, None), lambda error: True)
                for name in every
            )
            print(f"\n{good} of {len(every)}.", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["ultralytics", "torchvision", "transformers", "timm"])

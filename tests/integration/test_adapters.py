"""The contract of adapters, by the real frameworks with random weights."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from featscope.adapters.feeding import capture_images
from featscope.adapters.opening import open_detector
from featscope.errors import BadOptionError, CaptureError
from featscope.store.reader import open_run
from featscope.testing import AdapterContract, write_images

from .conftest import SHARED, featscope


def spread(model, seed=0, scale=0.5):
    """Other biases for every channel: random weights of a deep network alone give the same score everywhere."""
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.xavier_normal_(parameter.data, 1.4)
        elif "bias" in name:
            parameter.data += scale * torch.randn_like(parameter)
    return model


class TestRetinaNet(AdapterContract):
    suppressed = 1000

    @staticmethod
    def open():
        pytest.importorskip("torchvision")
        return open_detector("torchvision:retinanet_resnet50_fpn", "random", score_threshold=0.0, input_size=(256, 320))

    def logit_place(self, detector, source, label, image):
        anchors = 9
        channel = source.anchor * 91 + label
        assert source.index % anchors == source.anchor
        head = detector.model.head.classification_head.cls_logits
        return head, source.level, (image, channel, source.row, source.column)


class TestFasterRCNN(AdapterContract):
    softmax = True
    suppressed = 20

    @staticmethod
    def open():
        pytest.importorskip("torchvision")
        detector = open_detector(
            "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn", "random", score_threshold=0.2, input_size=(256, 320)
        )
        torch.nn.init.normal_(detector.model.roi_heads.box_predictor.cls_score.bias, std=3.0)
        return detector

    def logit_place(self, detector, source, label, image):
        return detector.model.roi_heads.box_predictor.cls_score, 0, (self.first[image] + source.index, label)

    @property
    def first(self):
        return [0, self.regions]

    def test_its_logit_changes_the_detection_and_no_other(self, detector, items):
        with torch.no_grad():
            self.regions = len(detector.detect(items, candidates=True)[0].candidates.levels[0].logits)
        super().test_its_logit_changes_the_detection_and_no_other(detector, items)


class TestFCOS(AdapterContract):
    @staticmethod
    def open():
        pytest.importorskip("torchvision")
        return open_detector("torchvision:fcos_resnet50_fpn", "random", score_threshold=0.001, input_size=(256, 320))

    def logit_place(self, detector, source, label, image):
        head = detector.model.head.classification_head.cls_logits
        return head, source.level, (image, label, source.row, source.column)


class TestSSD(AdapterContract):
    softmax = True
    suppressed = 10_000
    drops_borders = True

    @staticmethod
    def open():
        pytest.importorskip("torchvision")
        return open_detector("torchvision:ssd300_vgg16", "random", score_threshold=0.001)

    def logit_place(self, detector, source, label, image):
        module = detector.model.head.classification_head.module_list[source.level]
        return module, 0, (image, source.anchor * 91 + label, source.row, source.column)


class Ultralytics(AdapterContract):
    layers = ("model.4", "model.16")
    target = ""

    @classmethod
    def open(cls):
        pytest.importorskip("ultralytics")
        detector = open_detector(f"ultralytics:{cls.target}", "random", score_threshold=0.1, input_size=(320, 320))
        spread(detector.model)
        for branch in detector.model.model[-1].cv3:
            torch.nn.init.normal_(branch[-1].bias, -3.0, 0.5)
        return detector

    def logit_place(self, detector, source, label, image):
        return detector.model.model[-1].cv3[source.level], 0, (image, label, source.row, source.column)


class TestYOLODetect(Ultralytics):
    target = "yolo11n.yaml"


class TestYOLOSegment(Ultralytics):
    target = "yolo11n-seg.yaml"


class TestYOLORotated(Ultralytics):
    target = "yolo11n-obb.yaml"


class Overlapping(Ultralytics):
    """Large boxes of few classes, most of which are suppressed."""

    suppressed = 1000

    @classmethod
    def open(cls):
        pytest.importorskip("ultralytics")
        detector = open_detector(f"ultralytics:{cls.target}", "random", score_threshold=0.02, input_size=(320, 320))
        head = detector.model.model[-1]
        kept = {name: value.clone() for name, value in head.state_dict().items() if name.startswith("dfl")}
        spread(detector.model)
        head.load_state_dict(kept, strict=False)  # the weights that make distances of probabilities
        for sides, classes in zip(head.cv2, head.cv3):
            torch.nn.init.normal_(classes[-1].bias, -3.0, 1.5)
            sides[-1].weight.data *= 0.1
            sides[-1].bias.data *= 0.1
        return detector


class TestYOLOOverlapping(Overlapping):
    target = "yolo11n.yaml"


class TestYOLORotatedOverlapping(Overlapping):
    target = "yolo11n-obb.yaml"


class TestYOLOEndToEnd(Ultralytics):
    """Its best cells are chosen by the network itself, and nothing is suppressed."""

    target = "yolo26n.yaml"

    @classmethod
    def open(cls):
        pytest.importorskip("ultralytics")
        detector = open_detector(f"ultralytics:{cls.target}", "random", score_threshold=0.1, input_size=(320, 320))
        spread(detector.model)
        detector.model.end2end = True
        for branch in detector.model.model[-1].one2one_cv3:
            torch.nn.init.normal_(branch[-1].bias, -3.0, 0.5)
        return detector

    def logit_place(self, detector, source, label, image):
        return detector.model.model[-1].one2one_cv3[source.level], 0, (image, label, source.row, source.column)


class TestYOLOWorld(Ultralytics):
    """Its scores are products with words, in the last part of each level."""

    target = "yolov8s-world.yaml"

    @classmethod
    def open(cls):
        detector = super().open()
        for part in detector.model.model[-1].cv4:
            torch.nn.init.constant_(part.bias, -2.0)
            torch.nn.init.constant_(part.logit_scale, 2.0)
        return detector

    def logit_place(self, detector, source, label, image):
        return detector.model.model[-1].cv4[source.level], 0, (image, label, source.row, source.column)


class TestUltralyticsRTDETR(Ultralytics):
    target = "yolov8n-rtdetr.yaml"
    layers = ("model.4", "model.15")

    @classmethod
    def open(cls):
        pytest.importorskip("ultralytics")
        detector = open_detector(f"ultralytics:{cls.target}", "random", score_threshold=0.0, input_size=(320, 320))
        spread(detector.model, scale=2.0)
        return detector

    def logit_place(self, detector, source, label, image):
        assert source.kind == "query"
        return detector.model.model[-1].dec_score_head[-1], 0, (image, source.index, label)


class Transformers(AdapterContract):
    clipped = False
    layers = ("model.backbone", "model.encoder")

    @classmethod
    def open(cls):
        transformers = pytest.importorskip("transformers", minversion="5")
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            cls.config(transformers).save_pretrained(folder)
            if cls.processor:
                size = {"shortest_edge": 200, "longest_edge": 300}
                getattr(transformers, cls.processor)(size=size).save_pretrained(folder)
            detector = open_detector(f"transformers:{folder}", "random", score_threshold=0.0)
        spread(detector.model, scale=2.0)
        return detector

    processor = "DetrImageProcessor"

    @staticmethod
    def backbone(transformers, stages):
        return transformers.ResNetConfig(
            embedding_size=16,
            hidden_sizes=[16, 32, 64, 128],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_features=stages,
        )

    def logit_place(self, detector, source, label, image):
        return self.head(detector.model), 0, (image, source.index, label)


SMALL = {
    "d_model": 64,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_queries": 30,
    "num_labels": 20,
}


class TestDETR(Transformers):
    softmax = True

    @classmethod
    def config(cls, transformers):
        backbone = cls.backbone(transformers, ["stage4"])
        return transformers.DetrConfig(use_timm_backbone=False, backbone=None, backbone_config=backbone, **SMALL)

    @staticmethod
    def head(model):
        return model.class_labels_classifier


class TestDeformableDETR(Transformers):
    processor = "DeformableDetrImageProcessor"

    @classmethod
    def config(cls, transformers):
        backbone = cls.backbone(transformers, ["stage2", "stage3", "stage4"])
        return transformers.DeformableDetrConfig(
            use_timm_backbone=False, backbone=None, backbone_config=backbone, **SMALL
        )

    @staticmethod
    def head(model):
        return model.class_embed[-1]

    def test_attention_on_request(self, detector, items, tmp_path):
        """The points that each query looks at, and the encoder's levels on their grids."""
        layers = ["model.decoder.layers.0.encoder_attn", "model.encoder"]
        capture_images(detector, [tmp_path / "wide.png"], tmp_path / "run", layers)
        opened = open_run(tmp_path / "run")
        (points,) = opened.select(layer="**.sampling_points")
        assert points.record.shape[1:] == [30, 4, 4, 4, 2]
        encoded = opened.select(layer="model.encoder")
        height, width = opened.samples["wide"].geometry.padded
        grids = [tuple(m.record.shape[2:]) for m in encoded]
        assert grids[:3] == [(-(-height // s), -(-width // s)) for s in (8, 16, 32)]
        assert height != width


class TestRTDETR(Transformers):
    processor = ""  # the kind that belongs to the model, as it is

    @classmethod
    def config(cls, transformers):
        backbone = transformers.RTDetrResNetConfig(
            embedding_size=16,
            hidden_sizes=[16, 32, 64, 128],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_features=["stage2", "stage3", "stage4"],
        )
        small = {name: value for name, value in SMALL.items() if name != "encoder_layers"}
        sizes = {"encoder_in_channels": [32, 64, 128], "encoder_hidden_dim": 64, "decoder_in_channels": [64] * 3}
        return transformers.RTDetrConfig(backbone_config=backbone, **small, **sizes)

    @staticmethod
    def head(model):
        return model.model.decoder.class_embed[-1]


def test_tokens_lie_on_their_grid(tmp_path):
    """YOLOS: a class token, patches of a wide image, detection tokens; the map is where the image is bright."""
    transformers = pytest.importorskip("transformers", minversion="5")
    config = transformers.YolosConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=[64, 160],
        num_detection_tokens=7,
        num_labels=5,
    )
    config.save_pretrained(tmp_path / "yolos")
    detector = open_detector(f"transformers:{tmp_path / 'yolos'}", "random", input_size=(64, 160))
    picture = np.zeros((64, 160, 3), np.uint8)
    picture[16:32, 112:128] = 255  # the patch in row 1, column 7
    item = detector.prepare(picture, "bright")
    with torch.no_grad(), detector.capture(["vit.embeddings"], None) as session:
        detector.detect([item])
    found = {captured.field: array for captured, array in session.sink.stored}
    assert found[""].shape == (1, 32, 4, 10)
    assert found["prefix_tokens"].shape == (1, 1, 32)
    assert found["suffix_tokens"].shape == (1, 7, 32)
    position = detector.model.vit.embeddings.position_embeddings[0, 1:41].detach().numpy().T.reshape(32, 4, 10)
    away = np.abs(found[""][0] - position).sum(0)
    background = np.median(away)
    assert np.unravel_index(np.abs(away - background).argmax(), away.shape) == (1, 7)


class TestTorchvisionBackbone(AdapterContract):
    layers = ("layer1",)
    traceable = False

    @staticmethod
    def open():
        pytest.importorskip("torchvision")
        return open_detector("torchvision:resnet18", "random", input_size=(96, 160))


def test_a_model_of_torchvision_for_segmentation_is_not_downloaded(monkeypatch):
    torchvision = pytest.importorskip("torchvision")
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("it downloads"))
    detector = open_detector("torchvision:lraspp_mobilenet_v3_large", "random")
    item = detector.prepare(np.full((300, 420, 3), 99, np.uint8), "grey")
    assert item.inputs.shape == (3, 520, 520)
    weights = torchvision.models.get_model_weights("lraspp_mobilenet_v3_large").DEFAULT
    theirs = weights.transforms()(torch.full((3, 300, 420), 99, dtype=torch.uint8))
    assert item.inputs[:, 0, 0].numpy() == pytest.approx(theirs[:, 0, 0].numpy(), abs=1e-5)
    with pytest.raises(BadOptionError, match="it detects nothing"):
        open_detector("torchvision:lraspp_mobilenet_v3_large", "random", score_threshold=0.1)


class TestTimm(AdapterContract):
    layers = ("blocks.0",)
    traceable = False

    @staticmethod
    def open():
        pytest.importorskip("timm")
        return open_detector("timm:vit_tiny_patch16_224", "random", input_size=(64, 160))


class TestONNX(AdapterContract):
    layers = ("*",)
    traceable = False

    @staticmethod
    def open():
        pytest.importorskip("onnx")
        return open_detector(f"onnx:{SHARED / 'models' / 'yunet_n_dynamic.onnx'}", input_size=(160, 256))

    def test_the_geometry_is_that_of_the_input(self, detector, items):
        for item, (height, width) in zip(items, ((300, 420), (340, 200))):
            geometry = item.sample.geometry
            scale = min(160 / height, 256 / width)
            assert geometry.resized == (round(height * scale), round(width * scale))
            (top, left), (high, wide) = geometry.offset, geometry.resized
            assert (item.inputs[:, top : top + high, left : left + wide] != 114 / 255).mean() > 0.9
            outside = np.ones((160, 256), bool)
            outside[top : top + high, left : left + wide] = False
            np.testing.assert_allclose(item.inputs[:, outside], 114 / 255, rtol=1e-6)


def test_onnx_needs_no_torch():
    pytest.importorskip("onnx")
    model = SHARED / "models" / "yunet_n_dynamic.onnx"
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from featscope.adapters.opening import open_detector\n"
        "from featscope.adapters.feeding import capture_images\n"
        f"detector = open_detector('onnx:{model}', input_size=(96, 96))\n"
        "capture_images(detector, [Path(sys.argv[1])], Path(sys.argv[2]), None)\n"
        "assert 'torch' not in sys.modules\n"
    )
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        image = write_images(Path(folder))[0]
        subprocess.run([sys.executable, "-c", code, str(image), str(Path(folder) / "run")], check=True)
        assert open_run(Path(folder) / "run").info.finished


def test_onnx_and_mmdet_give_the_same_maps(tmp_path):
    """The same weights in two formats: the heads' inputs and outputs are found in the graph, within 1e-3."""
    pytest.importorskip("onnx")
    mmdet = pytest.importorskip("mmdet")
    from pathlib import Path

    from PIL import Image

    from featscope.demo.scenes import draw_scene

    image = tmp_path / "square.png"
    Image.fromarray(draw_scene(3).image[:400, :400]).resize((416, 416)).save(image)
    config = Path(mmdet.__file__).parent / ".mim" / "configs" / "yolox" / "yolox_nano_8xb8-300e_coco.py"
    featscope(
        "capture", config, SHARED / "models" / "yolox_nano_coco_mmdet.pth", "-i", image, "-o", tmp_path / "mm",
        "-l", "neck", "-l", "bbox_head",
    )  # fmt: skip
    featscope(
        "capture", SHARED / "models" / "yolox_nano_coco.onnx", "-i", image, "-o", tmp_path / "onnx", "-l", "*",
        "--preprocess", "colour=bgr,range=255,fit=corner",
    )  # fmt: skip
    graph = {}
    for found in open_run(tmp_path / "onnx").maps:
        graph.setdefault(tuple(found.record.shape), []).append(found.load())
    maps = open_run(tmp_path / "mm").maps
    assert len(maps) == 3 + 9
    for found in maps:
        array = found.load()
        # Scores and objectness leave the graph through a sigmoid.
        forms = [array, 1 / (1 + np.exp(-array))]
        nearest = min(np.abs(other - form).max() for other in graph[array.shape] for form in forms)
        assert nearest < 1e-3, found.path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["torchvision:retinanet_resnet50"], "'retinanet_resnet50_fpn'"),
        (["torchvision:retinanet_resnet50_fpn"], "needs weights"),
        (["timm:resnet5", "random"], "'resnet50'"),
        (["ultralytics:yolo99.yaml", "random"], "no model 'yolo99.yaml'"),
        (["ultralytics:missing.pt"], "does not exist"),
        (["transformers:nowhere", "random"], "does not contain config.json"),
        (["onnx:nothing.onnx"], "does not exist"),
        (["onnx:{image}"], "is not an ONNX file"),
        (["onnx:{models}/yolox_nano_coco.onnx", "random"], "contains its weights"),
        (["onnx:{models}/yolox_nano_coco.onnx", "-l", "nothing_there"], "no tensor 'nothing_there'"),
        (["onnx:{models}/yolox_nano_coco.onnx", "--input-size", "640"], "416 x 416 only"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, arguments, words):
    pytest.importorskip("ultralytics")
    image = write_images(tmp_path)[0]
    arguments = [a.format(image=image, models=SHARED / "models") for a in arguments]
    done = featscope("capture", *arguments, "-i", image, "-o", tmp_path / "run", check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_onnx_with_custom_operators_and_initialisers_as_inputs(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    def save(name, nodes, weights_as_inputs):
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])
        weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 3, 1, 1], np.arange(12, dtype=np.float32))
        inputs = [image]
        if weights_as_inputs:
            inputs.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3, 1, 1]))
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph(nodes, name, inputs, [output], [weight])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("mine", 1)])
        model.ir_version = 8
        onnx.save(model, str(tmp_path / f"{name}.onnx"))
        return open_detector(f"onnx:{tmp_path / name}.onnx")

    conv = helper.make_node("Conv", ["image", "w"], ["middle"])
    good = save("good", [conv, helper.make_node("Relu", ["middle"], ["y"])], True)
    images = write_images(tmp_path)
    made = capture_images(good, images, tmp_path / "run", ["middle"], batch_size=2)  # a fixed batch of one
    assert made.written.samples == 2
    assert open_run(tmp_path / "run").maps[0].load().shape == (2, 4, 32, 32)
    bad = save("bad", [conv, helper.make_node("Magic", ["middle"], ["y"], domain="mine")], False)
    with pytest.raises(CaptureError, match=r"custom operators \(mine.Magic\)"):
        bad.detect([bad.prepare(images[0], "a")])


def test_a_pickled_model_needs_trust(tmp_path):
    ultralytics = pytest.importorskip("ultralytics")
    model = ultralytics.YOLO("yolo11n.yaml").model
    torch.save({"model": model}, tmp_path / "own.pt")
    with pytest.raises(CaptureError, match="--trust-checkpoint"):
        open_detector(f"ultralytics:{tmp_path / 'own.pt'}")
    detector = open_detector(f"ultralytics:{tmp_path / 'own.pt'}", trusted=True)
    assert detector.info.model == "DetectionModel"


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    sys.modules.pop("featscope.adapters.timm", None)
    with pytest.raises(ImportError, match="needs the package 'timm'"):
        open_detector("timm:resnet18", "random")


def test_a_detector_without_raw_outputs_says_so(tmp_path):
    pytest.importorskip("timm")
    detector = open_detector("timm:resnet18", "random", input_size=(64, 64))
    item = detector.prepare(write_images(tmp_path)[0], "a")
    with pytest.raises(CaptureError, match="cannot be traced or explained"):
        detector.detect([item], candidates=True)
    with pytest.raises(BadOptionError, match="there is no|invalid|is not"):
        open_detector("timm:resnet18", "random", preprocess="fit=wide")


def test_the_letterbox_is_undone_as_ultralytics_undoes_it():
    pytest.importorskip("ultralytics")
    from ultralytics.utils.ops import scale_boxes

    from featscope.adapters.detector import to_original
    from featscope.adapters.ultralytics.geometry import letterbox_geometry

    random = np.random.default_rng(0)
    for original, padded in (((1080, 1920), (640, 640)), ((426, 640), (448, 640)), ((640, 586), (640, 608))):
        geometry = letterbox_geometry(original, padded)
        assert geometry.offset != (0, 0)
        (top, left), (height, width) = geometry.offset, geometry.resized
        corner = random.uniform(0, [width / 2, height / 2], (50, 2)) + np.array([left, top])
        boxes = torch.from_numpy(np.concatenate([corner, corner + random.uniform(1, 90, (50, 2))], 1))
        theirs = scale_boxes(padded, boxes.clone(), original)
        ours = to_original(boxes, geometry).minimum(boxes.new_tensor([original[1], original[0]] * 2))
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)

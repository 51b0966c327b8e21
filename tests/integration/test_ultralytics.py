"""Ultralytics in a user's own code: whatever it predicts on, every image, frame and view is a sample that fits."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
import torch

import featscope
from featscope.adapters.feeding import capture_images
from featscope.adapters.opening import open_detector
from featscope.adapters.running import ScriptCapture
from featscope.errors import BadOptionError, CaptureError
from featscope.records import Geometry
from featscope.store.check import check_run
from featscope.store.reader import open_run
from featscope.testing import AdapterContract, write_images

ultralytics = pytest.importorskip("ultralytics")
cv2 = pytest.importorskip("cv2")

QUIET = {"imgsz": 160, "verbose": False, "save": False, "conf": 0.001, "max_det": 5}


def make(name="yolov8n.yaml"):
    torch.manual_seed(0)
    yolo = (ultralytics.RTDETR if "rtdetr" in name else ultralytics.YOLO)(name)
    for parameter in yolo.model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.xavier_normal_(parameter.data, 1.4)
    for branch in getattr(yolo.model.model[-1], "cv3", ()):
        torch.nn.init.normal_(branch[-1].bias, -3.0, 0.5)
    return yolo


def picture(height, width, seed=0):
    """Colours without an edge that is grey."""
    cells = np.random.default_rng(seed).integers(130, 255, (9, 9, 3), dtype=np.uint8)
    return cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR)


def write_film(path, frames=3, rate=12.5):
    path.parent.mkdir(exist_ok=True, parents=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, (160, 96))
    for number in range(frames):
        writer.write(picture(96, 160, number))
    writer.release()
    return path


def script(folder, use, name="yolov8n.yaml", layer="model.9"):
    """What `featscope run` makes of a script that does this with a model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ScriptCapture(folder, [layer]) as capture:
            use(make(name))
    assert not capture.failures
    assert not check_run(folder).problems
    opened = open_run(folder)
    assert opened.info.finished
    assert all(sample.input for sample in opened.samples.values())
    return opened


class TestSamples:
    def test_frames_of_films_of_one_name(self, tmp_path):
        films = [write_film(tmp_path / name / "clip.mp4") for name in ("a", "b")]
        opened = script(tmp_path / "run", lambda yolo: [yolo.predict(film, batch=2, **QUIET) for film in films])
        assert list(opened.samples) == ["clip_0", "clip_1", "clip_2", "b_clip_0", "b_clip_1", "b_clip_2"]
        for number, sample in enumerate(opened.samples.values()):
            assert (sample.frame, sample.time) == (number % 3, pytest.approx(number % 3 / 12.5))
            assert sample.path == str(films[number // 3])
            assert sample.geometry.original == (96, 160)
            assert len(sample.predictions.boxes) == 5

    def test_a_film_of_which_frames_are_left_out(self, tmp_path):
        film = write_film(tmp_path / "clip.mp4", 6)
        opened = script(tmp_path / "run", lambda yolo: yolo.predict(film, vid_stride=2, **QUIET))
        assert [(s.id, s.frame, s.time) for s in opened.samples.values()] == [
            ("clip_1", 1, 0.08), ("clip_3", 3, 0.24), ("clip_5", 5, 0.4)]  # fmt: skip

    def test_files_of_one_name_in_two_folders(self, tmp_path):
        files = [tmp_path / name / "one.png" for name in ("a", "b")]
        for number, file in enumerate(files):
            file.parent.mkdir()
            cv2.imwrite(str(file), picture(90, 160, number))
        opened = script(tmp_path / "run", lambda yolo: yolo.predict([str(file) for file in files], **QUIET))
        assert {sample.id: sample.path for sample in opened.samples.values()} == {
            "one": str(files[0]), "b_one": str(files[1])}  # fmt: skip

    def test_arrays_pictures_and_tensors(self, tmp_path):
        from PIL import Image

        def use(yolo):
            yolo.predict(picture(90, 160), **QUIET)
            yolo.predict([picture(90, 160), Image.fromarray(picture(70, 50))], **QUIET)
            yolo.predict(torch.rand(2, 3, 96, 160), **QUIET)

        opened = script(tmp_path / "run", use)
        assert [(s.id, s.path, s.geometry.original, s.geometry.padded) for s in opened.samples.values()] == [
            ("0", "", (90, 160), (96, 160)),
            ("1", "", (90, 160), (160, 160)),
            ("2", "", (70, 50), (160, 160)),
            ("3", "", (96, 160), (96, 160)),
            ("4", "", (96, 160), (96, 160)),
        ]

    def test_a_generator_that_is_left(self, tmp_path):
        film = write_film(tmp_path / "clip.mp4")
        opened = script(tmp_path / "run", lambda yolo: next(yolo.predict(film, stream=True, **QUIET)))
        (sample,) = opened.samples.values()
        assert sample.id == "clip_0"
        assert len(sample.predictions.boxes) == 5

    def test_a_batch_of_which_nobody_asks_boxes_gets_none(self, tmp_path):
        """The features alone are asked for: the boxes of the batch before are not this one's."""

        def use(yolo):
            yolo.predict(picture(90, 160), **QUIET)
            yolo.embed(picture(90, 160), imgsz=160, verbose=False)

        found = [sample.predictions for sample in script(tmp_path / "run", use).samples.values()]
        assert len(found[0].boxes) == 5
        assert found[1] is None

    def test_what_another_model_finds_is_not_this_ones(self, tmp_path):
        found = []

        def use(yolo):
            found.extend(yolo.predict(picture(90, 160), **QUIET))
            make("yolo11n.yaml").predict(picture(160, 90, 1), **QUIET)

        (sample,) = script(tmp_path / "run", use).samples.values()
        np.testing.assert_allclose(sample.predictions.boxes, found[0].boxes.xyxy, atol=1e-4)

    def test_own_preprocessing_is_not_known(self, tmp_path):
        from ultralytics.models.yolo.detect import DetectionPredictor

        class Cropping(DetectionPredictor):
            def pre_transform(self, im):
                return super().pre_transform([one[:, 40:] for one in im])

        opened = script(tmp_path / "run", lambda yolo: yolo.predict(picture(96, 160), predictor=Cropping, **QUIET))
        assert opened.samples["0"].geometry is None


@pytest.mark.parametrize(
    ("name", "original", "expected"),
    [
        ("yolov8n.yaml", (90, 160), ((90, 160), (96, 160), (3, 0), None)),
        ("yolov8n.yaml", (161, 90), ((160, 89), (160, 96), (0, 3), None)),
        ("yolov8n-rtdetr.yaml", (90, 160), ((160, 160), (160, 160), (0, 0), None)),  # stretched
        ("yolo11n-cls.yaml", (90, 160), ((160, 160), (160, 160), (0, 0), (0, 34.93, 90, 90.14))),
    ],
)
def test_geometry_as_the_predictor_fits(tmp_path, name, original, expected):
    opened = script(tmp_path / "run", lambda yolo: yolo.predict(picture(*original), **QUIET), name)
    (sample,) = opened.samples.values()
    geometry = sample.geometry
    assert (geometry.resized, geometry.padded, geometry.offset) == expected[:3]
    assert geometry.crop == (expected[3] and pytest.approx(expected[3], abs=0.01))
    assert (sample.predictions is None) == ("cls" in name)


def test_half_precision(tmp_path):
    opened = script(tmp_path / "run", lambda yolo: yolo.predict(picture(90, 160), half=True, **QUIET))
    assert opened.samples["0"].geometry.offset == (3, 0)
    detector = open_detector("ultralytics:yolov8n.yaml", "random", input_size=(160, 160))
    detector.model.half()
    made = capture_images(detector, write_images(tmp_path), tmp_path / "half", ["model.9"], batch_size=2)
    assert made.written.samples == 2
    assert open_run(tmp_path / "half").maps[0].record.dtype == "<f2"


class Inputs:
    """The inputs of a network, as its first layer is given them."""

    def __init__(self, first):
        self.first, self.seen = first, []

    def begin(self, module, arguments, named):
        if type(module) is type(self.first) and getattr(module, "i", None) == 0:
            self.seen.append(arguments[0].clone())


@pytest.fixture
def watching():
    from featscope.capturing.calls import unwatch, watch

    def start(model):
        found.append(Inputs(model.model.model[0]))
        watch(found[0])
        return found[0].seen

    found = []
    yield start
    unwatch(found[0])


def assert_fits(image, geometry):
    """The image is where the geometry says, to a pixel of rounding; all else is Ultralytics' grey."""
    (top, left), (height, width) = (tuple(map(round, pair)) for pair in (geometry.offset, geometry.resized))
    assert tuple(image.shape[-2:]) == geometry.padded
    inside = image[:, top + 1 : top + height - 1, left + 1 : left + width - 1]
    assert inside.min() > 0.48
    outside = torch.ones(geometry.padded, dtype=torch.bool)
    outside[max(0, top - 1) : top + height + 1, max(0, left - 1) : left + width + 1] = False
    assert not outside.any() or (image[:, outside] - 0.447).abs().max() < 0.002


class TestSources:
    @pytest.mark.parametrize(
        ("name", "layer"),
        [
            ("yolov8n.yaml", "model.9"),
            ("yolo11n-obb.yaml", "model.9"),
            ("yolo11n-seg.yaml", "model.9"),
            ("yolov10n.yaml", "model.9"),
            ("rtdetr-resnet50.yaml", "model.9"),
        ],
    )
    def test_of_what_a_predictor_finds(self, tmp_path, name, layer):
        """Each box has one source."""

        def use(yolo):
            yolo.predict([picture(300, 500), picture(300, 500, 1)], conf=1e-5, max_det=20, imgsz=128, verbose=False)

        found = script(tmp_path / "run", use, name, layer)
        for sample in found.samples.values():
            assert len(sample.predictions.boxes) > 5
            assert [len(sources) for sources in sample.sources] == [1] * len(sample.predictions.boxes)


class TestViews:
    @pytest.mark.parametrize("way", ["script", "capture"])
    def test_each_has_its_own_geometry(self, tmp_path, watching, way):
        seen = []
        images = [picture(90, 160), picture(160, 70, 1)]
        options = {**QUIET, "augment": True}

        def use(yolo):
            yolo.predict(np.zeros((64, 64, 3), np.uint8), **QUIET)  # it warms up
            seen.append(watching(yolo))
            return yolo.predict(images, **options)

        if way == "script":
            opened = script(tmp_path / "run", use, layer="model.10")
        else:
            yolo = make()
            with pytest.warns(RuntimeWarning, match="copy"), featscope.capture(yolo, ["model.10"], tmp_path / "run"):
                use(yolo)
            opened = open_run(tmp_path / "run")
        samples = [sample for sample in opened.samples.values() if sample.batch]
        assert [(sample.view, sample.image) for sample in samples] == [
            (0, ""), (0, ""), (1, samples[0].id), (1, samples[1].id), (2, samples[0].id), (2, samples[1].id)]  # fmt: skip
        assert [sample.geometry.flip for sample in samples] == ["", "", "horizontal", "horizontal", "", ""]
        inputs = [image for batch in seen[0] for image in batch]
        assert len(inputs) == len(samples) == 6
        for image, sample in zip(inputs, samples):
            assert sample.geometry.original == images[int(sample.id[5])].shape[:2]
            assert_fits(image, sample.geometry)
        maps = [found.record for found in opened.maps if found.record.batch]
        assert [record.shape[2:] for record in maps] == [[10, 10], [10, 10], [8, 8]]
        assert [record.samples for record in maps] == [[s.id for s in samples if s.view == view] for view in (0, 1, 2)]
        assert {record.stride for record in maps} == {(16.0, 16.0)}
        # What was found in all of them is the image's, and stands with its first.
        assert [len(sample.predictions.boxes) if sample.predictions else 0 for sample in samples] == [5, 5, 0, 0, 0, 0]

    def test_the_padding_is_flipped_too(self):
        from featscope.adapters.ultralytics.geometry import view_geometry

        aside = Geometry((10, 10), (10, 10), (20, 40), (2, 4))
        assert view_geometry(aside, 1.0, "horizontal", (20, 40)).offset == (2, 26)
        assert view_geometry(aside, 1.0, "vertical", (20, 40)).offset == (8, 4)
        assert view_geometry(aside, 0.5, "horizontal", (32, 32)) == Geometry(
            (10, 10), (5, 5), (32, 32), (1, 13), "horizontal"
        )

    def test_the_flip_is_that_of_the_picture(self, tmp_path):
        half = picture(96, 160)
        half[:, 80:] = 255
        opened = script(tmp_path / "run", lambda yolo: yolo.predict(half, augment=True, **QUIET), layer="model.10")
        sides = []
        for sample in opened.samples.values():
            stored = cv2.imread(str(tmp_path / "run" / sample.input))
            white = stored.reshape(len(stored), -1, 3).mean((0, 2)) > 250
            sides.append(bool(white[-10:].all()) and not white[:10].any())
        assert sides == [True, False, True]

    def test_the_next_image_has_views_of_its_own(self, tmp_path):
        options = {**QUIET, "augment": True}
        opened = script(
            tmp_path / "run", lambda yolo: [yolo.predict(picture(64, 64, seed), **options) for seed in (0, 1)]
        )
        assert [sample.image for sample in opened.samples.values() if sample.view] == ["image0"] * 2 + ["image0_2"] * 2

    @pytest.mark.parametrize("name", ["yolo11n-obb.yaml", "yolo11n-seg.yaml"])
    def test_a_model_that_has_none_has_one(self, tmp_path, name):
        opened = script(tmp_path / "run", lambda yolo: yolo.predict(picture(90, 160), augment=True, **QUIET), name)
        (sample,) = opened.samples.values()
        assert (sample.view, sample.image) == (0, "")
        assert sample.geometry.offset == (3, 0)
        assert len(sample.predictions.boxes) == 5

    def test_a_policy_keeps_views_with_their_image(self, tmp_path):
        yolo = make()
        yolo.predict(picture(64, 64), **QUIET)
        same = pytest.warns(RuntimeWarning, match="several samples have the name 'image0'")
        model = yolo.predictor.model.backend.model
        with same, featscope.capture(model, ["model.9"], policy={"every": 2}) as session:
            for seed in range(3):
                yolo.predict(picture(64, 64, seed), augment=True, **QUIET)
        assert [sample.id for sample in session.sink.samples] == [
            "image0", "image0_view1", "image0_view2", "image0_3", "image0_3_view1", "image0_3_view2"]  # fmt: skip
        assert len(session.sink.stored) == 6


class TestCopies:
    def test_they_carry_nothing_and_the_maps_are_the_models(self):
        network = make().model.eval()
        image = torch.rand(1, 3, 64, 64)
        with torch.no_grad(), featscope.capture(network, ["model.9"]) as session:
            first = network(image)[0]
            saved = io.BytesIO()
            torch.save(network, saved)
            saved.seek(0)
            twins = [copy.deepcopy(network), pickle.loads(pickle.dumps(network)), torch.load(saved, weights_only=False)]
            for twin in twins:
                assert not any(m._forward_hooks or m._forward_pre_hooks for m in twin.modules())
                assert set(vars(twin)) == set(vars(network))
                torch.testing.assert_close(twin(image)[0], first)
        assert len(session.sink) == 1

    def test_an_average_of_weights_in_a_training(self):
        from ultralytics.utils.torch_utils import ModelEMA

        network = make().model.train()
        for parameter in network.parameters():
            parameter.requires_grad_(True)
        with featscope.capture(network, ["model.9"]) as session:
            average = ModelEMA(network)
            for _ in range(2):
                outputs = network(torch.rand(2, 3, 64, 64))
                sum(output.sum() for output in outputs["boxes"]).backward()
                average.update(network)
                with torch.no_grad():
                    average.ema(torch.rand(1, 3, 64, 64))
        assert [found.batch for found, _ in session.sink.stored] == [0, 1]
        assert all(array.shape[0] == 2 for _, array in session.sink.stored)

    def test_listening_ends(self, tmp_path):
        from ultralytics.models.yolo.detect import DetectionPredictor

        before = DetectionPredictor.postprocess
        script(tmp_path / "run", lambda yolo: yolo.predict(picture(64, 64), **QUIET))
        assert DetectionPredictor.postprocess is before


@pytest.fixture
def dataset(tmp_path):
    root = tmp_path / "set"
    for part in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / part).mkdir(parents=True)
        for number, size in enumerate([(90, 160), (120, 100), (64, 64), (100, 99)]):
            cv2.imwrite(str(root / "images" / part / f"p{number}.png"), picture(*size, number))
            (root / "labels" / part / f"p{number}.txt").write_text("0 0.3 0.3 0.7 0.3 0.7 0.6 0.3 0.6\n")
    (root / "data.yaml").write_text(f"path: {root}\ntrain: images/train\nval: images/val\nnames: {{0: thing}}\n")
    return root / "data.yaml"


OFFLINE = {"imgsz": 160, "batch": 2, "plots": False, "verbose": False, "workers": 0, "device": "cpu"}


@pytest.mark.parametrize(("name", "form"), [("yolov8n.yaml", "xyxy"), ("yolo11n-obb.yaml", "cxcywha")])
def test_the_validator(tmp_path, dataset, watching, name, form):
    seen = []

    def use(yolo):
        seen.append(watching(yolo))
        yolo.val(data=str(dataset), project=str(tmp_path / "work"), conf=0.15, max_det=5, **OFFLINE)

    opened = script(tmp_path / "run", use, name)
    samples = list(opened.samples.values())
    assert sorted(sample.id for sample in samples) == ["p0", "p1", "p2", "p3"]
    inputs = [image for batch in seen[0][-2:] for image in batch]  # the first is the warm-up's
    for image, sample in zip(inputs, samples):
        height, width = cv2.imread(sample.path).shape[:2]
        assert sample.geometry.original == (height, width)
        assert_fits(image, sample.geometry)
        assert sample.predictions.form == form
        assert [len(sources) for sources in sample.sources] == [1] * len(sample.predictions.boxes)
    assert any(sample.predictions.boxes for sample in samples)


def test_a_training_cuts_and_mixes_its_images(tmp_path, dataset):
    """Their files are known; where they lie in the input is known where the pixels tell it."""
    options = {**OFFLINE, "imgsz": 64, "amp": False, "epochs": 1, "project": str(tmp_path / "work")}
    opened = script(tmp_path / "run", lambda yolo: yolo.train(data=str(dataset), **options))
    assert sorted(opened.samples) == ["p0", "p1", "p2", "p3"]
    assert all(sample.path.endswith(f"{name}.png") for name, sample in opened.samples.items())
    for sample in opened.samples.values():
        assert sample.agreement.verdict == ("disagrees" if sample.geometry is None else "verified")
        assert sample.geometry is None or sample.agreement.correlation > 0.75
        assert sample.predictions is None


# The adapter


class TestPose(AdapterContract):
    layers = ("model.4", "model.16")

    @staticmethod
    def open():
        detector = open_detector("ultralytics:yolo11n-pose.yaml", "random", score_threshold=0.1, input_size=(320, 320))
        torch.manual_seed(0)
        for parameter in detector.model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.xavier_normal_(parameter.data, 1.4)
        for branch in detector.model.model[-1].cv3:
            torch.nn.init.normal_(branch[-1].bias, -1.0, 0.5)
        return detector

    def logit_place(self, detector, source, label, image):
        return detector.model.model[-1].cv3[source.level], 0, (image, label, source.row, source.column)


class TestClassifier(AdapterContract):
    layers = ("model.4", "model.9")
    traceable = False
    target = "yolo11n-cls.yaml"

    @classmethod
    def open(cls):
        return open_detector(f"ultralytics:{cls.target}", "random", input_size=(160, 160))


class TestOldClassifier(TestClassifier):
    target = "yolov8n-cls.yaml"


class TestDepth(TestClassifier):
    layers = ("model.4",)
    target = "yolo26n-depth.yaml"


class TestSemantic(TestClassifier):
    layers = ("model.4",)
    target = "yolo26n-sem.yaml"


def test_a_classifier_is_fed_as_its_predictor_feeds_it(tmp_path, watching):
    path = write_images(tmp_path)[0]
    yolo = make("yolo11n-cls.yaml")
    seen = watching(yolo)
    yolo.predict(str(path), imgsz=64, verbose=False)
    theirs = seen[-1]
    detector = open_detector("ultralytics:yolo11n-cls.yaml", "random", input_size=(64, 64))
    with torch.no_grad():
        detector.detect([detector.prepare(path, "one")])
    torch.testing.assert_close(seen[-1], theirs, atol=1e-6, rtol=0)


def test_rtdetr_finds_what_its_predictor_finds(tmp_path):
    path = write_images(tmp_path)[0]
    yolo = make("yolov8n-rtdetr.yaml")
    detector = open_detector("ultralytics:yolov8n-rtdetr.yaml", "random", score_threshold=0.001, input_size=(160, 160))
    detector.model.load_state_dict(yolo.model.state_dict())
    (theirs,) = yolo.predict(str(path), imgsz=160, conf=0.001, max_det=300, verbose=False)
    with torch.no_grad():
        ours = detector.detect([detector.prepare(path, "one")])[0].sample.predictions
    assert len(ours.boxes) == len(theirs.boxes) > 10
    mine, own = (
        np.column_stack([boxes, scores, labels])
        for boxes, scores, labels in (
            (ours.boxes, ours.scores, ours.labels),
            (theirs.boxes.xyxy, theirs.boxes.conf, theirs.boxes.cls),
        )
    )
    # Ours is not fused: what is as good as equal may come in another order.
    assert all(np.abs(own - one).max(1).min() < 0.1 for one in mine)


@pytest.mark.parametrize("name", ["yolov8n-world.yaml", "yoloe-11n-seg.yaml", "yolo26n.yaml", "yolov10n.yaml"])
def test_other_models_with_all_their_layers(tmp_path, name):
    detector = open_detector(f"ultralytics:{name}", "random", score_threshold=0.001, input_size=(160, 160))
    made = capture_images(detector, write_images(tmp_path), tmp_path / "run", None, batch_size=2)
    assert made.written.samples == 2
    assert not made.remarks
    assert len({found.record.layer for found in open_run(tmp_path / "run").maps}) > 20


def test_a_grey_model(tmp_path):
    config = {**ultralytics.nn.tasks.yaml_model_load("yolov8n.yaml"), "channels": 1}
    torch.save({"model": ultralytics.nn.tasks.DetectionModel(config, ch=1, verbose=False)}, tmp_path / "grey.pt")
    detector = open_detector(f"ultralytics:{tmp_path / 'grey.pt'}", trusted=True, input_size=(160, 160))
    made = capture_images(detector, write_images(tmp_path), tmp_path / "run", ["model.0"], batch_size=2)
    assert made.written.samples == 2
    config["channels"] = 8
    torch.save({"model": ultralytics.nn.tasks.DetectionModel(config, ch=8, verbose=False)}, tmp_path / "eight.pt")
    with pytest.raises(CaptureError, match="8 channels"):
        open_detector(f"ultralytics:{tmp_path / 'eight.pt'}", trusted=True)


def test_a_classifier_sees_a_square():
    with pytest.raises(BadOptionError, match="a square input, not 64 x 96"):
        open_detector("ultralytics:yolo11n-cls.yaml", "random", input_size=(64, 96))


def test_a_model_that_is_not_what_its_head_says_is_refused_in_one_line(tmp_path):
    """YOLO-World with the head of a plain YOLO: nobody gives its layers the words that they ask for."""
    from ultralytics.nn import tasks
    from ultralytics.utils import YAML

    config = tasks.yaml_model_load("yolov8n-world.yaml")
    config["head"][-1] = [config["head"][-1][0], 1, "Detect", ["nc"]]
    YAML.save(tmp_path / "mine.yaml", {k: v for k, v in config.items() if k != "yaml_file"})
    with pytest.raises(CaptureError, match="DetectionModel cannot be made from .*mine.yaml: TypeError: .*'guide'"):
        open_detector(f"ultralytics:{tmp_path / 'mine.yaml'}", "random")


def test_a_model_that_does_not_run_is_refused_in_one_line(tmp_path):
    detector = open_detector("ultralytics:yolov8n-world.yaml", "random", input_size=(160, 160))
    detector.model.txt_feats = torch.zeros(1, 80, 3)
    with pytest.raises(CaptureError, match="WorldModel cannot run on images alone .1 x 3 x .*: RuntimeError: "):
        capture_images(detector, write_images(tmp_path)[:1], tmp_path / "run", ["model.0"])

"""Any PyTorch model, by the function that makes it."""

import numpy as np
import pytest
import torch
from torch import nn

from featscope.adapters.feeding import capture_images
from featscope.adapters.opening import open_detector
from featscope.errors import BadOptionError, CaptureError, UnknownNameError
from featscope.testing import AdapterContract


def make_model():
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, 2, 1))


def make_nothing():
    return 7


class TestPyTorch(AdapterContract):
    layers = ("0", "2")
    traceable = False

    @staticmethod
    def open():
        return open_detector("adapters.test_pytorch:make_model", input_size=(96, 160), preprocess="fit=letterbox")


def test_images_of_several_sizes_need_one_size(tmp_path):
    from featscope.testing import write_images

    detector = open_detector("adapters.test_pytorch:make_model")
    items = [detector.prepare(path, path.stem) for path in write_images(tmp_path)]
    with pytest.raises(BadOptionError, match="--input-size"):
        detector.detect(items)


@pytest.mark.parametrize(
    ("name", "checkpoint", "error", "words"),
    [
        ("adapters.test_pytorch:make_nothing", "", BadOptionError, "returned a int"),
        ("adapters.test_pytorch:nothing", "", BadOptionError, "cannot be loaded"),
        ("adapters.test_pytorch:make_model", "missing.pth", BadOptionError, "does not exist"),
        ("torchvison:retinanet", "random", UnknownNameError, "'torchvision'"),
        ("nothing", "", BadOptionError, "is not a model"),
    ],
)
def test_bad_names(name, checkpoint, error, words):
    with pytest.raises(error, match=words):
        open_detector(name, checkpoint)


def test_weights_of_another_architecture(tmp_path):
    torch.save(nn.Conv2d(3, 4, 1).state_dict(), tmp_path / "other.pth")
    with pytest.raises(CaptureError, match="does not fit the model: of 4 tensors, 4 are missing"):
        open_detector("adapters.test_pytorch:make_model", str(tmp_path / "other.pth"))


def test_a_checkpoint_is_loaded_whole(tmp_path):
    torch.manual_seed(5)
    model = make_model()
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in model.state_dict().items()}}, tmp_path / "m.pth"
    )
    opened = open_detector("adapters.test_pytorch:make_model", str(tmp_path / "m.pth"))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), opened.model.state_dict().values()))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("adapters.test_pytorch:make_model", {"score_threshold": 0.5}, "--score-threshold cannot be used"),
        ("adapters.test_pytorch:make_model", {"config_options": {"a": 1}}, "--cfg-options cannot be used"),
        ("demo", {"input_size": (64, 64)}, "--input-size cannot be used with the demo: its input is 512"),
        ("demo", {"preprocess": "range=255"}, "--preprocess cannot be used"),
    ],
)
def test_an_option_without_use_is_no_silence(name, options, words):
    with pytest.raises(BadOptionError, match=words):
        open_detector(name, **options)


def make_grey():
    return nn.Sequential(nn.Conv2d(1, 4, 3))


def make_half():
    return nn.Sequential(nn.Conv2d(3, 4, 3)).bfloat16()


def make_many_channels():
    return nn.Sequential(nn.Conv2d(8, 4, 3))


class TakesADict(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.modules = []  # PyTorch's own name

    def forward(self, batch):
        return self.conv(batch["image"])


def make_with_a_dict():
    return TakesADict()


class TakesAListOfDicts(TakesADict):
    def forward(self, images):
        return [self.conv(one["image"][None]) for one in images]


def make_with_a_list_of_dicts():
    return TakesAListOfDicts()


class TakesAList(TakesADict):
    def forward(self, images):
        if not isinstance(images, list):
            raise TypeError("a list, please")
        return [self.conv(one[None]) for one in images]


def make_with_a_list():
    return TakesAList()


class HeadFirst(TakesADict):
    """Its first convolution is not the first that runs."""

    def __init__(self, channels):
        super().__init__()
        self.conv, self.stem = nn.Conv2d(channels, 4, 1), nn.Conv2d(3, channels, 3)
        self.drop = nn.Dropout()
        self.train = self.eval = self.children = self.state_dict = self.load_state_dict = None  # PyTorch's own names

    def forward(self, x):
        return self.conv(self.stem(x))


def make_head_first():
    return HeadFirst(8)


def make_grey_head_first():
    return HeadFirst(1)


def make_pair():
    return None, make_model()


def run_of(factory, folder, **options):
    from featscope.store.reader import open_run
    from featscope.testing import write_images

    detector = open_detector(f"adapters.test_pytorch:{factory}", **{"input_size": (32, 48), **options})
    capture_images(detector, write_images(folder), folder / "run", None)
    return open_run(folder / "run")


@pytest.mark.parametrize("factory", ["make_grey", "make_half"])
def test_what_the_weights_say_of_the_input(factory, tmp_path):
    assert [m.record.shape for m in run_of(factory, tmp_path).maps] == [[1, 4, 30, 46]] * 2


def test_grey_is_what_pillow_makes_of_the_colours(tmp_path):
    from PIL import Image

    from featscope.testing import write_images

    image = write_images(tmp_path)[0]
    item = open_detector("adapters.test_pytorch:make_grey").prepare(image, "grey")
    wanted = np.asarray(Image.open(image).convert("L"))
    assert item.inputs.shape == (1, *wanted.shape)
    np.testing.assert_allclose(item.inputs[0].numpy() * 255, wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("factory", "preprocess"),
    [
        ("make_with_a_dict", "input=image"),
        ("make_with_a_list_of_dicts", "range=255, input=list:image"),
        ("make_with_a_list", "input=list"),
        ("make_head_first", ""),
        ("make_grey_head_first", "colour=rgb"),
    ],
)
def test_batches_in_another_form(factory, preprocess, tmp_path):
    for found in run_of(factory, tmp_path, preprocess=preprocess).select(layer="conv"):
        assert found.record.shape == [1, 4, 30, 46]


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("make_many_channels", "takes 8 channels, but an image has 3; feed it in your own script"),
        (
            "make_with_a_dict",
            r"batch of images \(1, 3, 32, 48\): IndexError.*input=image, or feed it in your own script",
        ),
        ("make_with_a_list_of_dicts", "reads a dict: add --preprocess input=list:image"),
        (
            "make_with_a_list",
            "TypeError: a list, please; if it takes a dict, add --preprocess input=KEY; if it takes a list, input=list",
        ),
        ("make_grey_head_first", "it received one grey channel, .* add --preprocess colour=rgb"),
    ],
)
def test_inputs_that_cannot_be_known_are_one_line(factory, words, tmp_path):
    with pytest.raises(CaptureError, match=words) as found:
        run_of(factory, tmp_path)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("text", ["input=", "input=list:", "input"])
def test_a_form_without_a_key_is_refused(text):
    with pytest.raises(BadOptionError, match="does not name a key"):
        open_detector("adapters.test_pytorch:make_model", preprocess=text)


def test_a_model_that_uses_pytorchs_names_is_loaded_and_tested(tmp_path):
    weights = nn.Module.state_dict(make_head_first())
    torch.save(weights, tmp_path / "own.pth")
    model = open_detector("adapters.test_pytorch:make_head_first", str(tmp_path / "own.pth")).model
    assert not model.drop.training
    for name, value in nn.Module.state_dict(model).items():
        assert torch.equal(value, weights[name])


class Frozen(nn.Module):
    """Puts its parts into another mode than its own."""

    def __init__(self):
        super().__init__()
        self.conv, self.kept = nn.Conv2d(3, 4, 1), nn.Dropout()

    def train(self, mode=True):
        super().train(mode)
        self.kept.train(True)
        return self

    def forward(self, x):
        return self.conv(x)


def test_a_models_own_way_to_the_test_is_taken():
    model = open_detector("adapters.test_pytorch:Frozen").model
    assert (model.training, model.kept.training) == (False, True)


def test_a_factory_that_gives_more_than_the_model_is_told_how():
    with pytest.raises(BadOptionError, match=r"returned a tuple; write a function .* return make_pair\(\)\[1\]"):
        open_detector("adapters.test_pytorch:make_pair")

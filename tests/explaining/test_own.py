"""Targets and detectors of a user's own: what a function makes of an output, or finds in a picture."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import featscope
from featscope.demo.scenes import draw_scene
from featscope.errors import BadOptionError, CaptureError, UnknownNameError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.stem(x).mean((2, 3)))


@pytest.fixture
def image(random):
    return torch.from_numpy(random.random((1, 3, 32, 48), np.float32))


def test_the_gradient_is_that_of_the_target(image):
    model = Net().eval()
    (found,) = featscope.explain(model, image, target=lambda output: output[2], layer="stem", method="hirescam")
    activation = model.stem(image).detach()[0]
    weights = model.head.weight[2].detach() / activation[0].numel()
    by_hand = (activation * weights[:, None, None]).sum(0).relu()
    torch.testing.assert_close(torch.from_numpy(found.heat), by_hand, rtol=1e-4, atol=1e-7)
    assert found.label == "target"
    assert found.target.score == pytest.approx(float(model(image)[0, 2].detach()))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_it_can_be_looked_at_and_saved(image, tmp_path):
    (found,) = featscope.explain(
        Net().eval(), image, target=lambda output: output[0].exp(), layer="stem", method="odam"
    )
    assert found.draw().shape == (32, 48, 3)
    path = found.save(tmp_path / "why")
    assert path.parent.parent == tmp_path / "why"
    np.testing.assert_array_equal(np.load(path.with_suffix(".npy")), found.heat)


def test_a_picture_of_ones_own_is_drawn_over(image, random):
    photo = random.integers(0, 255, (64, 96, 3), np.uint8)
    (found,) = featscope.explain(
        Net().eval(), image, target=lambda output: output[0].exp(), layer="stem", picture=photo
    )
    drawn = found.draw()
    assert drawn.shape == photo.shape
    assert np.corrcoef(drawn.mean(2).ravel(), photo.mean(2).ravel())[0, 1] > 0.3


def test_targets_of_other_outputs(image):
    class Dicts(Net):
        def forward(self, x):
            return {"scores": super().forward(x[0] if isinstance(x, list) else x)}

    for given in (image, [image]):
        found = featscope.explain(
            Dicts().eval(), given, target=lambda output: output["scores"][0, 1].exp(), layer="stem",
            method=["layercam", "ablation-cam"], batch_size=1,
        )  # fmt: skip
        assert [one.method for one in found] == ["layercam", "ablation-cam"]
    with pytest.raises(BadOptionError, match="batch_size=1"):
        featscope.explain(Dicts().eval(), image, lambda output: output["scores"][0, 1], "stem", "ablation-cam")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, BadOptionError, "target=lambda"),
        ({"target": lambda output: output[0]}, BadOptionError, "layer='layer4'"),
        ({"target": lambda output: output, "layer": "stem"}, BadOptionError, r"a tensor \(3,\)"),
        ({"target": lambda output: 3.0, "layer": "stem"}, BadOptionError, "a float"),
        ({"target": lambda output: output[0], "layer": "neck"}, UnknownNameError, "neck"),
        ({"target": lambda output: output[0].detach(), "layer": "stem"}, CaptureError, "has no gradient"),
        ({"target": lambda output: output[0] * 0, "layer": "stem"}, CaptureError, "does not depend"),
        ({"target": lambda output: -output.exp().sum(), "method": "d-rise"}, CaptureError, "a negative number"),
        (
            {"target": lambda output: output[0], "layer": "stem", "predict": print},
            BadOptionError,
            "give only one of them",
        ),
    ],
)
def test_what_cannot_be_explained_is_an_error(image, options, error, words):
    with pytest.raises(error, match=words):
        featscope.explain(Net().eval(), image, **{"masks": 8, **options})


def test_several_images_are_refused(image):
    with pytest.raises(BadOptionError, match="contains 2"):
        featscope.explain(Net(), torch.cat([image, image]), lambda output: output[0], "stem")


def bright(pictures):
    """A detector that finds what is bright, one box a picture; nothing where nothing is."""
    found = []
    for picture in pictures:
        rows, columns = np.nonzero(picture.min(2) > 200)
        if len(rows) < 20:
            found.append(([], [], []))
            continue
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        found.append(([box], [float((picture.min(2) > 200).mean() * 50)], [2]))
    return found


def test_a_function_that_detects_is_explained_by_hiding():
    picture = np.full((64, 80, 3), 60, np.uint8)
    picture[20:36, 40:60] = 255
    (found,) = featscope.explain(image=picture, predict=bright, target=0, masks=200)
    assert (found.method, found.layer, found.label) == ("d-rise", "", "2")
    inside = found.heat[20:36, 40:60].mean()
    assert inside > 4 * found.heat.mean()
    with pytest.raises(BadOptionError, match="no box 3"):
        featscope.explain(image=picture, predict=bright, target=3, masks=4)
    with pytest.raises(BadOptionError, match="is not a picture"):
        featscope.explain(image=picture[..., 0], predict=bright)
    with pytest.raises(BadOptionError, match="boxes, scores, labels"):
        featscope.explain(image=picture, predict=lambda pictures: [(1, 2) for _ in pictures])


def test_a_detector_by_name_and_a_run(tmp_path):
    picture = draw_scene(3).image
    planes = featscope.explain("demo", picture, target="plane", top=2)
    assert [one.label for one in planes] == ["plane", "plane"]
    numbers = featscope.explain("demo", picture, target=[1, 4], method=["odam", "hirescam"])
    assert [(one.target.number, one.method) for one in numbers] == [
        (1, "odam"), (1, "hirescam"), (4, "odam"), (4, "hirescam"),
    ]  # fmt: skip
    with pytest.raises(BadOptionError, match="give a model and an image"):
        featscope.explain("demo")
    from PIL import Image

    from featscope.adapters.feeding import capture_images
    from featscope.adapters.opening import open_detector

    for name in ("a", "b"):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    capture_images(open_detector("demo"), [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "run", ["neck"])
    (one,) = featscope.explain(tmp_path / "run", "b", target=1)
    assert (one.sample.id, one.target.number) == ("b", 1)
    np.testing.assert_allclose(one.heat, featscope.explain("demo", picture, target=1)[0].heat, rtol=1e-4, atol=1e-7)
    with pytest.raises(BadOptionError, match="'a', 'b'"):
        featscope.explain(tmp_path / "run")


def test_what_fails_with_one_method_is_a_warning(image):
    def negative(output):
        return -output[0].exp()

    with pytest.warns(RuntimeWarning, match="featscope: the target returned a negative number"):
        found = featscope.explain(Net().eval(), image, negative, "stem", ["eigen-cam", "d-rise"], masks=8)
    assert [one.method for one in found] == ["eigen-cam"]


def test_an_explanation_shows_itself(image):
    found = featscope.explain(Net().eval(), image, lambda output: output[1], "stem", ["layercam", "odam"])
    assert isinstance(found, list)
    assert len(found) == 2
    assert repr(found[0]) == "<Explanation of a number of the output of image: layercam at stem, level 0, 16 x 24>"
    drawn = Image.open(io.BytesIO(found[0]._repr_png_())).convert("RGB")
    assert np.array_equal(np.asarray(drawn), found[0].draw())
    assert found._repr_html_().count("<img") == 2

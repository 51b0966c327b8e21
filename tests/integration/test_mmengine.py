"""The named parity modes against the real mmengine."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from featscope.render.heat import draw_heat, style_named
from featscope.render.mosaic import draw_mosaic

pytest.importorskip("mmengine", reason="needs MMEngine")
cv2 = pytest.importorskip("cv2", reason="mmengine draws with OpenCV")


@pytest.fixture(scope="module")
def feature_map():
    random = np.random.default_rng(0)
    return np.maximum(random.standard_normal((32, 24, 20)).astype(np.float32), 0)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).integers(0, 256, (190, 160, 3), dtype=np.uint8)


def _grey_levels(picture):
    """The index of the jet colour nearest to each pixel: what was drawn, in grey levels."""
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_JET)[0, :, ::-1].astype(int)
    return np.abs(picture.astype(int)[..., None, :] - table).sum(-1).argmin(-1)


def _drawn(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_the_colours_are_opencvs():
    from featscope.render.colour import palette

    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_JET)[0, :, ::-1].astype(int)
    assert np.abs(palette("jet").astype(int) - table).max() <= 2


@pytest.mark.parametrize(("style", "reduction"), [("mmengine_mean", "squeeze_mean"), ("mmengine_max", "select_max")])
@pytest.mark.parametrize("size", [None, (190, 160)])
def test_draw_featmap(feature_map, style, reduction, size):
    from mmengine.visualization import Visualizer

    theirs = Visualizer.draw_featmap(torch.from_numpy(feature_map), channel_reduction=reduction, resize_shape=size)
    ours = _drawn(draw_heat(feature_map, style_named(style), size=size).png)
    assert np.abs(_grey_levels(theirs) - _grey_levels(ours)).max() <= 1


@pytest.mark.parametrize("style", ["mmengine_mean", "mmengine_max"])
def test_draw_featmap_over_an_image(feature_map, image, style):
    from mmengine.visualization import Visualizer

    reduction = {"mmengine_mean": "squeeze_mean", "mmengine_max": "select_max"}[style]
    theirs = Visualizer.draw_featmap(torch.from_numpy(feature_map), image, channel_reduction=reduction)
    ours = _drawn(draw_heat(feature_map, style_named(style), image=image).png)
    # One grey level is four steps of a colour of jet; half of them at half the weight, and rounding.
    assert np.abs(theirs.astype(int) - ours).max() <= 3


def test_top_k(feature_map):
    from mmengine.visualization.utils import convert_overlay_heatmap

    mosaic = draw_mosaic(feature_map, "sum:20", "jet", columns=5, scale=1, gap=0)
    ours = _drawn(mosaic.png)
    assert ours.shape == (4 * 24, 5 * 20, 3)
    chosen = torch.topk(torch.from_numpy(feature_map).sum((1, 2)), 20).indices
    assert mosaic.channels == chosen.tolist()
    for i, channel in enumerate(chosen.tolist()):
        theirs = convert_overlay_heatmap(feature_map[channel])
        tile = ours[(i // 5) * 24 :, (i % 5) * 20 :][:24, :20]
        assert np.abs(_grey_levels(theirs) - _grey_levels(tile)).max() <= 1


def test_the_look_of_the_script_everybody_copies(feature_map):
    mean = feature_map.mean(0)
    normal = (mean - mean.min()) / (mean.max() - mean.min())
    resized = cv2.resize(normal, (160, 190))
    theirs = np.uint8(255 * resized).astype(int)  # what it gives to applyColorMap
    ours = np.asarray(Image.open(io.BytesIO(draw_heat(feature_map, style_named("jet"), size=(190, 160)).png)))
    assert np.abs(theirs - ours).max() <= 1

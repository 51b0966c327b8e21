"""Class activation maps: by hand where that can be done, and none that is inverted."""

import numpy as np
import pytest
import torch

from featscope.explaining.cam import eigen_cam
from featscope.explaining.methods import METHODS


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(5, 6, 7, generator=generator), torch.randn(5, 6, 7, generator=generator)


def test_grad_cam_is_the_mean_gradient_times_the_channel(maps):
    activation, gradient = maps
    by_hand = sum(gradient[c].mean() * activation[c] for c in range(5))
    torch.testing.assert_close(METHODS["grad-cam"].compute(*maps), by_hand)


def test_cell_by_cell_methods(maps):
    activation, gradient = maps
    by_hand = torch.stack([activation[c] * gradient[c] for c in range(5)]).sum(0)
    torch.testing.assert_close(METHODS["hirescam"].compute(*maps), by_hand)
    positive = torch.stack([activation[c] * gradient[c].clamp(min=0) for c in range(5)]).sum(0)
    torch.testing.assert_close(METHODS["layercam"].compute(*maps), positive)


def test_odam_smooths_the_gradient_and_keeps_its_sum():
    activation = torch.ones(1, 15, 15)
    gradient = torch.zeros(1, 15, 15)
    gradient[0, 7, 7] = 2.0
    heat = METHODS["odam"].compute(activation, gradient)
    assert heat.sum() == pytest.approx(2.0, rel=1e-5)
    assert heat[7, 7] == heat.max() < 2.0
    assert heat[7, 8] == pytest.approx(float(heat[7, 7]) * np.exp(-0.5), rel=1e-5)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.by != "hiding"])
def test_no_gradient_is_no_evidence(name, maps):
    heat = METHODS[name].compute(maps[0], torch.zeros_like(maps[1]))
    assert heat.shape == (6, 7)
    assert name == "eigen-cam" or not heat.any()


def test_eigen_cam_is_never_inverted():
    """200 scenes: an object of random size and place in channels that hold it with either sign, and noise."""
    random = np.random.default_rng(0)
    for _ in range(200):
        height, width = random.integers(16, 40, 2)
        scene = random.normal(0, 0.3, (24, height, width))
        size = random.integers(3, 9, 2)
        top, left = random.integers(0, [height - size[0], width - size[1]])
        part = (slice(top, top + size[0]), slice(left, left + size[1]))
        scene[(slice(None), *part)] += random.normal(0, 1, (24, 1, 1)) * random.uniform(2, 4)
        heat = eigen_cam(torch.from_numpy(scene.astype(np.float32)), torch.zeros(())).numpy()
        inside = np.zeros(heat.shape, bool)
        inside[part] = True
        assert heat[inside].mean() > heat[~inside].mean()

"""Measured places on networks whose cells look at a place that is known."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from featscope.errors import CaptureError
from featscope.measuring.gradients import Seen, Sight, offset_of


class OffCentre(nn.Module):
    """One tap of a strided convolution: (0, 2) of 3 x 3."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4, padding=1)
        with torch.no_grad():
            kept = self.conv.weight[:, :, 0, 2].clone()
            self.conv.weight.zero_()
            self.conv.weight[:, :, 0, 2] = kept

    def forward(self, x):
        return self.conv(x)


class Shifted(nn.Module):
    """Patches, moved by a quarter of a cell up and to the right through bilinear weights."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 4, stride=4)
        self.shift = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        with torch.no_grad():
            self.conv.weight.fill_(0.1)
            taps = torch.tensor([0.25, 0.75, 0.0])[:, None] * torch.tensor([0.0, 0.75, 0.25])
            self.shift.weight.copy_(taps.expand(4, 1, 3, 3))

    def forward(self, x):
        return self.shift(self.conv(x))


class ChannelsLast(Shifted):
    def forward(self, x):
        return super().forward(x).permute(0, 2, 3, 1)


class InPlace(OffCentre):
    """What becomes of a map later is not what it looked at."""

    def forward(self, x):
        return nn.functional.relu_(self.conv(x)).roll(1, 3)


class Gated(OffCentre):
    """A gate looks at the whole image, and draws every centroid towards its middle."""

    def forward(self, x):
        y = self.conv(x)
        return y * (1 + 0.3 * y.mean((2, 3), keepdim=True).sigmoid())


class TopDown(nn.Module):
    """Cells at stride 4, to which cells at stride 16 are added four times each."""

    def __init__(self):
        super().__init__()
        self.fine = nn.Conv2d(3, 4, 4, stride=4)
        self.coarse = nn.Conv2d(4, 4, 1, stride=4)
        self.out = nn.Identity()

    def forward(self, x):
        fine = self.fine(x)
        return self.out(fine + nn.functional.interpolate(2 * self.coarse(fine), scale_factor=4))


def detector(model):
    torch.manual_seed(0)
    model = model().eval()
    return SimpleNamespace(model=model, info=None, detect=lambda items: model(items[0]))


def measured(model, layer, cells=8, images=3, size=(96, 128)):
    seen = Seen(detector(model), [layer], cells=cells)
    for number in range(images):
        seen.add(torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(number)))
    return {(place.layer, place.level): place for place in seen.places()}


@pytest.mark.parametrize(
    ("model", "layer", "offset"),
    [
        (OffCentre, "conv", (-0.125, 0.375)),
        (Shifted, "shift", (0.25, 0.75)),
        (Shifted, "conv", (0.5, 0.5)),
        (ChannelsLast, "", (0.25, 0.75)),
        (InPlace, "conv", (-0.125, 0.375)),
    ],
)
def test_a_known_offset_is_found(model, layer, offset):
    (place,) = measured(model, layer).values()
    assert place.refused == ""
    assert place.stride == (4.0, 4.0)
    assert place.offset == pytest.approx(offset, abs=0.05)
    assert max(place.interval) < 0.05
    assert (place.count, place.by) == (24, "gradient")


def test_what_is_drawn_towards_the_middle_of_the_image_moves_no_offset():
    (place,) = measured(Gated, "", cells=30).values()
    assert place.refused == ""
    assert place.offset == pytest.approx((-0.125, 0.375), abs=0.05)
    drawn = [160 + 0.7 * (16.0 * i + 4 - 160) for i in range(4, 12)]  # cells of one half
    sights = [Sight(0, (i, i), (at, at), (320, 320)) for i, at in zip(range(4, 12), drawn)]
    assert offset_of(sights, (16.0, 16.0), False).offset == pytest.approx((0.25, 0.25))


def test_a_top_down_path_that_mixes_is_refused():
    places = measured(TopDown, "out", cells=20)
    assert "spread" in places["out", 0].refused or "wider" in places["out", 0].refused
    assert places["out", 0].at((4.0, 4.0)) is None


def test_cells_that_look_at_different_offsets_have_no_place_however_many_there_are(random):
    def sights(spread):
        at = [(int(row), int(column)) for row, column in random.integers(10, 30, (600, 2))]
        looks = [tuple(8 * (random.normal(0.1, spread, 2) + cell)) for cell in at]
        return [Sight(i % 6, cell, look, (320, 320)) for i, (cell, look) in enumerate(zip(at, looks))]

    assert offset_of(sights(0.1), (8.0, 8.0), False).refused == ""
    assert "spread by 0.3" in offset_of(sights(0.3), (8.0, 8.0), False).refused


def test_all_is_as_before():
    found = detector(OffCentre)
    image = torch.randn(1, 3, 32, 32)
    found.model.conv.bias.requires_grad_(False)
    Seen(found, ["conv"]).add(image)
    assert found.model.conv.weight.requires_grad
    assert not found.model.conv.bias.requires_grad
    assert found.model.conv.weight.grad is None
    assert not found.model._forward_hooks


def test_a_model_without_a_gradient_at_its_input_is_named():
    class Rounds(nn.Module):
        def forward(self, x):
            return x.mul_(2)  # in place, on a leaf

    with pytest.raises(CaptureError, match="cannot run with a gradient at its input"):
        Seen(detector(Rounds), [""]).add(torch.randn(1, 3, 8, 8))


def test_a_stride_that_is_only_assumed_and_wrong_is_refused():
    sights = [Sight(0, (i, i), (16.0 * i + 8, 16.0 * i + 8), (320, 320)) for i in range(5, 15)]
    assert offset_of(sights, (16.0, 16.0), True).refused == ""
    assert "assumed stride is wrong" in offset_of(sights, (17.0, 17.0), True).refused

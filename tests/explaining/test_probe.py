"""Which tensors a layer gives, where modules are shared, never run themselves, or lay their channels elsewhere."""

import pytest
import torch
from torch import nn

from featscope.capturing.memory import MemorySink
from featscope.capturing.start import capture
from featscope.errors import BadOptionError, CaptureError
from featscope.explaining.explainer import explain_item
from featscope.explaining.own import OwnTarget, PlainModel
from featscope.explaining.probe import Probe


class Shared(nn.Module):
    """One activation object in all layers, as in Ultralytics' models."""

    def __init__(self):
        super().__init__()
        act = nn.SiLU()
        self.a = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), act)
        self.b = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), act)
        self.c = nn.Sequential(nn.Conv2d(8, 4, 3, 2, 1), nn.Sequential(nn.BatchNorm2d(4), act))

    def forward(self, x):
        return self.c(self.b(self.a(x))).mean((2, 3))


class Listed(nn.Module):
    """Layers in a ModuleList, which runs its parts itself, one of them before the whole is known."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2, 1)
        self.heads = nn.ModuleList([nn.Sequential(nn.Conv2d(6, 4, 1), nn.ReLU()), nn.Conv2d(6, 4, 3, 2, 1)])

    def forward(self, x):
        x = self.stem(x)
        return sum(head(x).mean((2, 3)) for head in self.heads)


class Last(nn.Module):
    """Channels last, behind a patch embedding."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 6, 4, 4)
        self.block = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 5), nn.GELU())

    def forward(self, x):
        return self.block(self.patch(x).permute(0, 2, 3, 1)).mean((1, 2))


METHODS = ["layercam", "grad-cam", "eigen-cam", "ablation-cam", "score-cam"]


@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (Shared, ["a", "b", "c", "a.1", "b.1", "c.1", "c.1.1", "b.0"]),
        (Listed, ["heads", "heads.0", "heads.0.1", "heads.1"]),
        (Last, ["patch", "block", "block.0", "block.2"]),
    ],
)
def test_an_explanation_has_the_shape_and_place_of_its_own_layer(make, layers):
    torch.manual_seed(0)
    model, image = make().eval(), torch.rand(1, 3, 32, 48)
    detector = OwnTarget(PlainModel(model), lambda output: output[1].exp())
    item = detector.prepare(image)
    for layer in layers:
        sink = MemorySink()
        with capture(model, [layer], sink), torch.no_grad():
            model(image)
        arrays = [array for arrays in sink.values() for array in arrays]
        maps = [captured for captured, _ in sink.stored]
        made = []
        for method in METHODS:
            made += explain_item(detector, item, layer, [method], batch_size=2, on_error=lambda text: None)
        assert len(made) >= 3
        for explanation in made:
            assert explanation.heat.shape in [array.shape[2:] for array in arrays], (layer, explanation.method)
            assert explanation.place in [one.place for one in maps]


def test_a_channel_is_taken_away_where_channels_are():
    """Of a layer with its channels last, the weight of each by hand."""
    torch.manual_seed(0)
    model, image = Last().eval(), torch.rand(1, 3, 32, 48)
    detector = OwnTarget(PlainModel(model), lambda output: output[1].exp())
    (found,) = explain_item(detector, detector.prepare(image), "block", ["ablation-cam"], batch_size=3)
    with torch.no_grad():
        given = model.block(model.patch(image).permute(0, 2, 3, 1))
        whole = given.mean((1, 2))[0, 1].exp()
        weights = []
        for channel in range(5):
            without = given.clone()
            without[..., channel] = 0
            weights.append((whole - without.mean((1, 2))[0, 1].exp()) / whole)
        heat = (given[0] * torch.stack(weights)).sum(-1).relu()
    torch.testing.assert_close(torch.from_numpy(found.heat), heat, rtol=1e-4, atol=1e-6)


def test_a_module_in_a_list_speaks_and_its_parts_do_not():
    model = Listed().eval()
    with torch.no_grad(), Probe(model, "heads", gradients=False) as probe:
        model(torch.rand(1, 3, 32, 32))
    assert [tuple(tensor.shape) for tensor in probe.kept] == [(1, 4, 16, 16), (1, 4, 8, 8)]


def test_nothing_stays_on_the_model():
    model = Shared()
    with pytest.raises(ZeroDivisionError), Probe(model, "b"):
        raise ZeroDivisionError
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_is_no_layer_is_refused():
    model = Shared()
    model.a.output = torch.zeros(1)
    with pytest.raises(BadOptionError, match="explain the layer: -l a"):
        Probe(model, "a.output")
    with Probe(Shared(), "c") as probe:
        pass
    with pytest.raises(CaptureError, match="did not run"):
        probe.check()

"""What layers give, whatever it is: stored, or named while the model goes on."""

from collections import deque

import numpy as np
import pytest
import torch
from torch import nn

import featscope
from featscope.errors import BadOptionError, CaptureError

X = torch.arange(192.0).reshape(1, 3, 8, 8)


class Unwilling(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in ("detach", "__get__"):
            raise ValueError("of the user's own")
        return super().__torch_function__(function, types, args, kwargs or {})


class Slots:
    __slots__ = ("map",)

    def __init__(self, tensor):
        self.map = tensor


class Gives(nn.Module):
    """A layer of any output, and another one behind it."""

    def __init__(self, give):
        super().__init__()
        self.layer, self.conv = Layer(give), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        self.layer(x)
        return self.conv(x)


class Layer(nn.Module):
    def __init__(self, give):
        super().__init__()
        self.give = give

    def forward(self, x):
        return self.give(x)


@pytest.mark.parametrize(
    ("give", "why"),
    [
        (lambda x: "text", "its output does not contain a tensor"),
        (lambda x: (x for _ in range(2)), "its output does not contain a tensor"),
        (lambda x: torch.nested.nested_tensor([x[0, 0], x[0, 0, :3]]), "a nested tensor"),
        (lambda x: x.to("meta"), "on the meta device"),
        (lambda x: x.as_subclass(Unwilling), "of the user's own"),
    ],
    ids=["text", "generator", "nested", "meta", "unwilling"],
)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_stored_is_named_and_the_rest_is_stored(tmp_path, give, why):
    model = Gives(give).eval()
    words = f"'layer' gave nothing that can be stored.*{why}"
    with pytest.raises(CaptureError, match=words), torch.no_grad(), featscope.capture(
        model, ["layer", "conv"], to=tmp_path / "run"
    ):
        assert model(X).shape == (1, 3, 8, 8)
    run = featscope.open_run(tmp_path / "run")
    assert run.folders() == {"conv.conv2d": 1}
    assert not run.info.finished
    assert any(f"lacks 'layer': {why}" in p or why in p for p in featscope.check_run(tmp_path / "run").problems)
    with torch.no_grad(), featscope.capture(model, ["layer", "conv"], on_error="warn") as session:
        model(X)
    assert list(session.sink) == ["conv.conv2d"]
    assert why in session.failures[0]


def test_inside_of_vmap_a_tensor_stands_for_several():
    class Mapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.after = nn.Conv2d(3, 3, 1), nn.ReLU()

        def forward(self, x):
            return self.after(torch.func.vmap(lambda one: self.conv(one[None])[0])(x))

    model, words = Mapped(), r"'conv' cannot be stored: it is inside vmap"
    with pytest.warns(RuntimeWarning, match=words), torch.no_grad(), featscope.capture(model) as session:
        model(X)
    assert list(session.sink) == ["after.relu"]


@pytest.mark.parametrize(
    ("give", "dtype"),
    [
        (lambda x: torch.fft.rfft2(x), "complex64"),
        (lambda x: torch.fft.rfft2(x).to(torch.complex32), "complex64"),
        (lambda x: x.to_sparse(), "float32"),
        (lambda x: x > 3, "bool"),
        (lambda x: x.bfloat16(), "float32"),
        (lambda x: x.numpy().astype(np.float64), "float64"),
        (lambda x: Slots(x), "float32"),
        (lambda x: {"a": x}.values(), "float32"),
        (lambda x: deque([x, x + 1]), "float32"),
    ],
    ids=["complex64", "complex32", "sparse", "bool", "bfloat16", "NumPy", "slots", "values", "deque"],
)
@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_what_can_be_stored(give, dtype):
    model = Gives(give)
    with torch.no_grad(), featscope.capture(model, ["layer"]) as session:
        model(X)
    arrays = [array for _, array in session.sink.stored]
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}
    if dtype == "float32":
        np.testing.assert_allclose(arrays[0], X.numpy(), rtol=1e-2)


@pytest.mark.skipif(not hasattr(torch, "float8_e4m3fn"), reason="this torch has no float8")
def test_float8_is_stored_as_its_values():
    model = Gives(lambda x: x.to(torch.float8_e4m3fn))
    with torch.no_grad(), featscope.capture(model, ["layer"]) as session:
        model(X)
    (array,) = session.sink["layer.layer"]
    np.testing.assert_array_equal(array, X.to(torch.float8_e4m3fn).float().numpy())


def test_a_batch_that_is_tried_again_from_outside_keeps_what_waited_once():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads, self.fails = nn.ModuleList([nn.Conv2d(3, 4, 1)]), True

        def forward(self, x):
            maps = [head(x + 1) for head in self.heads]
            if self.fails:
                raise ValueError("in the middle")
            return maps

    model = Heads()
    with torch.no_grad(), featscope.capture(model, ["heads"]) as session:
        session.start_batch(0, ["a"])
        with pytest.raises(ValueError, match="in the middle"):
            model(X)
        model.fails = False
        model(X)
    assert [(c.batch, c.level) for c, _ in session.sink.stored] == [(0, 0)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_companion_that_fails_is_replaced(when):
    from featscope.capturing.inputs import PlainImages

    class Stumbles(PlainImages):
        def before(self, call):
            return 1 / 0 if when == "before" else super().before(call)

        def after(self, call, known, output):
            return {}["metainfo"]

    model = Gives(lambda x: x)
    with torch.no_grad(), featscope.capture(model, ["conv"], companion=Stumbles()) as session:
        for _ in range(2):
            model(X)
    assert len(session.sink["conv.conv2d"]) == 2
    assert [sample.id for sample in session.sink.samples] == ["0", "1"]
    assert "Stumbles cannot read what the framework knows about the images" in session.remarks[0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("when", ["close", "later"])
def test_a_companion_that_fails_at_the_end_loses_nothing(tmp_path, when):
    from featscope.capturing.inputs import PlainImages

    class Stumbles(PlainImages):
        def before(self, call):
            known = super().before(call)
            return known._replace(later=lambda: 1 / 0) if when == "later" else known

        def close(self):
            if when == "close":
                raise RuntimeError("no more")

    model = Gives(lambda x: x)
    with torch.no_grad(), featscope.capture(model, ["conv"], to=tmp_path / "run", companion=Stumbles()) as session:
        for _ in range(2):
            model(X)
    run = featscope.open_run(tmp_path / "run")
    assert run.info.finished
    assert sorted(run.samples) == ["0", "1"]
    assert len(run.maps) == 2
    assert any("Stumbles" in remark for remark in session.remarks)


@pytest.mark.filterwarnings("ignore")
def test_channels_that_one_layer_lacks_end_no_model():
    """A choice of channels that means nothing for a layer: raised, or named while the rest is stored."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.thin, self.wide = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 40, 1)

        def forward(self, x):
            return self.thin(x), self.wide(x)

    model, policy = Two(), {"channels": "20-22"}
    with pytest.raises(BadOptionError, match="'thin' has 4 channels"), featscope.capture(model, policy=policy):
        model(X)
    with torch.no_grad(), featscope.capture(model, ["*"], policy=policy, on_error="warn") as session:
        for _ in range(2):
            model(X)
    assert [(c.batch, c.layer, a.shape[1]) for c, a in session.sink.stored] == [(0, "wide", 3), (1, "wide", 3)]
    assert "'thin' has 4 channels" in session.failures[0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("on_error", ["warn", "disk"])
def test_other_images_end_the_capture_and_not_the_model(tmp_path, on_error):
    model, ran = Gives(lambda x: x), []
    for name in ("a", "b"):
        with torch.no_grad(), featscope.capture(
            model, ["conv"], to=tmp_path / "run", resume=True, on_error=on_error
        ) as session:
            for number in range(2 if name == "a" else 5):  # further than what is stored
                session.start_batch(number, [f"{name}{number}"])
                ran.append(model(X))
    assert len(ran) == 7
    assert "batch 0 of the run holds a0, but now it would hold b0" in session.failures[0]
    assert sorted(featscope.open_run(tmp_path / "run").samples) == ["a0", "a1"]


@pytest.mark.filterwarnings("ignore")
def test_what_a_layer_lacks_is_not_said_of_one_whose_name_begins_alike():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.head2 = Layer(lambda x: None), Layer(lambda x: x.to("meta"))

        def forward(self, x):
            return self.head(x), self.head2(x)

    model = Two()
    with featscope.capture(model, ["head", "head2"], on_error="warn") as session:
        model(X)
    assert "'head' gave nothing that can be stored (its output does not contain a tensor)" in session.failures[0]
    assert "'head2' gave nothing that can be stored (it is on the meta device" in session.failures[0]

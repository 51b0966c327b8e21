"""What the first forward of a form has shown holds for the later ones, and for no other form."""

import threading

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode
from torch.utils._python_dispatch import TorchDispatchMode

import featscope
from featscope.capturing import proof
from featscope.errors import BadOptionError


class Tokens(nn.Module):
    """Patches as tokens behind a class token, and a table that has nothing to do with places."""

    def __init__(self):
        super().__init__()
        self.patches, self.block, self.head = nn.Conv2d(3, 5, 4, 4), nn.Linear(5, 6), nn.Linear(6, 7)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 5))
        self.fails = False

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = self.block(torch.cat([self.class_token.expand(len(x), -1, -1), tokens], 1))
        if self.fails:
            raise ValueError("out of memory")
        return self.head(tokens[:, 0])


@pytest.fixture
def followers(monkeypatch):
    """The followers that were made."""
    made = []

    class Counted(proof.Follower):
        def __init__(self):
            super().__init__()
            made.append(self)

    monkeypatch.setattr(proof, "Follower", Counted)
    return made


def run(model, *images, layers=("patches", "block", "head"), **options):
    with torch.no_grad(), featscope.capture(model, list(layers), **options) as session:
        for image in images:
            model(image)
    return session.sink


def test_a_form_is_followed_once(followers):
    sink = run(Tokens(), *(torch.rand(1, 3, *size) for size in ((24, 40), (24, 40), (40, 24), (24, 40))))
    assert len(followers) == 2
    assert [array.shape[2:] for array in sink["block.linear"]] == [(6, 10), (6, 10), (10, 6), (6, 10)]
    assert [array.shape for array in sink["block.linear.prefix_tokens"]] == [(1, 1, 6)] * 4
    assert [array.shape for array in sink["head.linear"]] == [(1, 7)] * 4
    assert _get_current_function_mode() is None


def test_the_record_says_the_axes_and_the_place():
    stored = {captured.folder: captured for captured, _ in run(Tokens(), torch.rand(2, 3, 24, 40)).stored}
    assert stored["patches.conv2d"].axes == ("sample", "channel", "row", "column")
    assert stored["block.linear"].place == featscope.records.Place((4.0, 4.0), (2.0, 2.0), "operators")
    assert stored["block.linear.prefix_tokens"].axes == ("sample", "token", "channel")
    assert stored["head.linear"].axes == ("sample", "unknown")
    assert stored["head.linear"].place is None


def test_the_values_are_those_of_the_cells():
    model, image = Tokens(), torch.rand(1, 3, 24, 40)
    for array in run(model, image, image)["block.linear"]:
        expected = model.block(model.patches(image).flatten(2).transpose(1, 2)).transpose(1, 2).view(1, 6, 6, 10)
        assert torch.allclose(torch.from_numpy(array), expected)


def test_a_forward_that_failed_has_shown_nothing(followers):
    model = Tokens()
    with torch.no_grad(), featscope.capture(model, ["block", "head"]) as session:
        model.fails = True
        with pytest.raises(ValueError, match="memory"):
            model(torch.rand(1, 3, 24, 40))
        assert _get_current_function_mode() is None
        model.fails = False
        model(torch.rand(1, 3, 24, 40))
    assert len(followers) == 2
    assert session.sink["head.linear"][0].shape == (1, 7)


def test_a_layer_that_did_not_run_at_first_is_followed_later():
    class Sometimes(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.calls = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1), 0

        def forward(self, x):
            self.calls += 1
            return self.second(self.first(x)) if self.calls > 1 else self.first(x)

    sink = run(Sometimes(), *(torch.rand(1, 3, 8, 8) for _ in range(3)), layers=["first", "second"])
    axes = [captured.axes for captured, _ in sink.stored if captured.layer == "second"]
    assert axes == [("unknown",) * 4, ("sample", "channel", "row", "column")]


class Counting(TorchFunctionMode):
    """A mode of the user's own."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen += 1
        return func(*args, **(kwargs or {}))


class CountingOperators(TorchDispatchMode):
    """Another one, of the kind that counts FLOPs."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", [Counting, CountingOperators])
def test_a_users_own_mode_sees_what_it_would_see(mode):
    model, image = Tokens(), torch.rand(1, 3, 24, 40)
    with torch.no_grad():
        with mode() as alone:
            model(image)
        with featscope.capture(model, ["block"]), mode() as beside:
            model(image)
        assert _get_current_function_mode() is None
    assert beside.seen >= alone.seen


def test_methods_of_a_model_are_followed_and_leave_no_mode_behind():
    class Featured(Tokens):
        def features(self, x):
            return self.block(self.patches(x).flatten(2).transpose(1, 2))

    model = Featured()
    with torch.no_grad(), featscope.capture(model, ["block"]) as session:
        for _ in range(2):
            model.features(torch.rand(1, 3, 24, 40))
    assert [array.shape for array in session.sink["block.linear"]] == [(1, 6, 6, 10)] * 2
    assert _get_current_function_mode() is None


def test_a_users_mode_around_a_method_ends_as_it_began():
    """Its end is not seen, and a mode that ends later than one around it would take that one's place."""

    class Featured(Tokens):
        def features(self, x):
            return self.block(self.patches(x).flatten(2).transpose(1, 2))

    model = Featured()
    with torch.no_grad(), featscope.capture(model, ["block"]) as session:
        with Counting():
            model.features(torch.rand(1, 3, 24, 40))
        assert _get_current_function_mode() is None
        torch.zeros(1)
    assert session.sink.stored[0][0].axes == ("unknown",) * 3


def test_two_threads_are_followed_each():
    model = Tokens()
    with torch.no_grad(), featscope.capture(model, ["block"]) as session:
        threads = [threading.Thread(target=run_once, args=(model,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [array.shape for array in session.sink["block.linear"]] == [(1, 6, 6, 10)] * 3


def run_once(model):
    with torch.no_grad():
        model(torch.rand(1, 3, 24, 40))


def test_training_and_its_backward():
    model = Tokens()
    with featscope.capture(model, ["block"]) as session:
        for _ in range(2):
            model(torch.rand(2, 3, 24, 40)).sum().backward()
    assert [array.shape for array in session.sink["block.linear"]] == [(2, 6, 6, 10)] * 2
    assert model.patches.weight.grad is not None


def test_a_policy_takes_rows_of_samples_and_not_of_queries():
    class Queries(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.queries, self.table = nn.Conv2d(3, 4, 1), nn.Parameter(torch.rand(2, 4)), nn.Identity()

        def forward(self, x):
            self.table(self.queries)
            return self.conv(x)

    sink = run(Queries(), torch.rand(2, 3, 8, 8), layers=["conv", "table"], policy={"max_samples": 1})
    assert sink["conv.conv2d"][0].shape == (1, 4, 8, 8)
    assert sink["table.identity"][0].shape == (2, 4)


class Spectral(nn.Module):
    """Its output comes out of a Fourier transform, which is not followed."""

    def __init__(self):
        super().__init__()
        self.layer, self.tokens = nn.Identity(), nn.Identity()

    def forward(self, x):
        mixed = torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[2:]).permute(0, 2, 3, 1)
        return self.tokens(self.layer(mixed).flatten(1, 2))


def test_what_could_not_be_followed_can_be_said():
    image = torch.rand(1, 3, 6, 10)
    plain = run(Spectral(), image, layers=["layer", "tokens"])
    assert [captured.axes for captured, _ in plain.stored] == [("unknown",) * 4, ("unknown",) * 3]
    said = run(Spectral(), image, layers=["layer", "tokens"], axes={"lay*": "NHWC", "tokens": "6x10"})
    for captured, array in said.stored:
        assert captured.axes == ("sample", "channel", "row", "column")
        assert torch.allclose(torch.from_numpy(array), image, atol=1e-5)


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"layer": "NHWC?"}, "are invalid.*a letter for each axis"),
        ({"layer": "NCC"}, "are invalid"),
        ({"layer": "HWC"}, "has 4 axes, .1, 6, 10, 3., but 'HWC' has 3 letters"),
        ({"tokens": "6x9"}, "needs .samples, 54, channels."),
    ],
)
def test_what_does_not_fit_is_an_error(axes, words):
    with pytest.raises(BadOptionError, match=words):
        run(Spectral(), torch.rand(1, 3, 6, 10), layers=["layer", "tokens"], axes=axes)


def test_what_was_followed_otherwise_is_an_error():
    with pytest.raises(BadOptionError, match="followed it from the image as sample, channel, row, column"):
        run(Tokens(), torch.rand(1, 3, 24, 24), layers=["patches"], axes={"patches": "NHWC"})
    with pytest.raises(BadOptionError, match="followed it from the image"):
        run(Tokens(), torch.rand(1, 3, 24, 40), layers=["block"], axes={"block": "10x6+1"})

"""Where a batch begins and ends, what is computed again, and that a model and its copies carry nothing."""

import copy
import io
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import featscope
from featscope.capturing import calls
from featscope.errors import CaptureError

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.head(self.backbone(x))

    def features(self, x):
        return self.backbone(x)

    @torch.no_grad()
    def test_step(self, data):
        return [self(image) for image in (data["image"], data["image"].flip(3))]

    def film(self, images):
        for image in images:
            yield self.frame(image)

    def frame(self, image):
        return self.head(self.backbone(image))

    @property
    def last(self):
        return self.frame(X)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net().eval()


def kept(session, layer="backbone"):
    """(batch, level) of a layer's maps."""
    return [(captured.batch, captured.level) for captured, _ in session.sink.stored if captured.layer == layer]


THREE = [(0, 0), (1, 0), (2, 0)]


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model(X),
        lambda model: model.forward(X),
        lambda model: model.features(X),
        lambda model: model.frame(image=X),
        lambda model: model.last,
        lambda model: list(model.film([X])),
    ],
    ids=["call", "forward", "a method", "by keyword", "a property", "a generator"],
)
def test_three_calls_are_three_batches(model, call):
    policy = {"every": 2}
    with torch.no_grad(), featscope.capture(model, ["backbone"], policy=policy) as session:
        for _ in range(3):
            call(model)
    images = len(session.sink["backbone.sequential"][0])
    if images == 1:  # of each batch one of two
        assert kept(session) == THREE
        assert [sample.id for sample in session.sink.samples] == ["0", "2", "4"]
    else:  # no argument shows the images: a call is one sample, and stored whole
        assert kept(session) == [(0, 0), (2, 0)]
        assert [sample.id for sample in session.sink.samples] == ["0", "2"]


def test_a_method_that_calls_the_model_twice_is_one_batch(model):
    with featscope.capture(model, ["backbone"]) as session:
        for _ in range(2):
            model.test_step({"image": X})
    assert kept(session) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [sample.id for sample in session.sink.samples] == ["0", "1", "2", "3"]


def test_a_generator_is_a_film_and_not_a_batch(model):
    with torch.no_grad(), featscope.capture(model, ["backbone"]) as session:
        list(model.film([X, X, X]))
    assert kept(session) == THREE


def test_a_model_that_calls_itself_is_one_batch():
    class Flips(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x, flip=True):
            return [self(x, False), self(x.flip(3), False)] if flip else self.conv(x)

    model = Flips()
    with torch.no_grad(), featscope.capture(model, ["conv", ""]) as session:
        for _ in range(2):
            model(X)
    assert kept(session, "conv") == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert kept(session, "") == [(0, 0), (0, 1), (1, 0), (1, 1)]  # the two maps of the outermost output
    assert len({(c.folder, c.batch, c.level) for c, _ in session.sink.stored}) == 8


def test_a_layer_by_itself_is_an_error_that_says_what_to_do(model):
    with pytest.raises(CaptureError, match=r"'backbone' ran outside any call.*with session\.batch"), featscope.capture(
        model
    ):
        model.backbone(X)
    with torch.no_grad(), featscope.capture(model) as session:
        for name in ("left", "right"):
            with session.batch([name], ["photos/" + name]):
                model.head(model.backbone(X[:1]))
        model(X[:1])
    assert kept(session) == THREE
    assert kept(session, "head") == THREE
    assert [(s.id, s.path) for s in session.sink.samples] == [
        ("left", "photos/left"),
        ("right", "photos/right"),
        ("2", ""),
    ]


def test_a_layer_by_itself_may_be_passed_over(model):
    with pytest.warns(RuntimeWarning, match="'backbone' ran outside any call"), featscope.capture(
        model, ["backbone"], on_error="warn"
    ) as session:
        model.backbone(X)
        model.backbone(X)
        model(X)
    assert kept(session) == [(0, 0)]
    assert len(session.failures) == 1


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_gives_each_map_once(model, reentrant):
    class Checkpointed(Net):
        def forward(self, x):
            return self.head(checkpoint(self.backbone, x.requires_grad_(), use_reentrant=reentrant))

        def train_step(self, x):  # the backward inside of the model's own method
            self(x).sum().backward()

    model = Checkpointed()
    with featscope.capture(model, ["backbone", "backbone.0", "head"]) as session:
        for number in range(2):
            model(torch.full((1, 3, 8, 8), float(number))).sum().backward()
        model.train_step(torch.full((1, 3, 8, 8), 2.0))
    for layer in ("backbone", "backbone.0", "head"):
        assert kept(session, layer) == THREE
    with torch.no_grad():
        for number, stored in enumerate(session.sink["backbone.sequential"]):
            np.testing.assert_array_equal(stored, model.backbone(torch.full((1, 3, 8, 8), float(number))).numpy())


def test_a_layer_that_raises_and_is_tried_again(model):
    class Retries(Net):
        def forward(self, x):
            features = self.backbone(x)
            try:
                return self.head(features.double())  # what a device without memory does to others
            except RuntimeError:
                pass
            features = self.backbone(x)
            return self.head(features)

    model = Retries()
    with torch.no_grad(), featscope.capture(model, ["backbone", "head"]) as session:
        for _ in range(3):
            model(X)
    assert kept(session) == THREE
    assert kept(session, "head") == THREE


def test_a_layer_that_answers_differently_is_no_retry():
    class MonteCarlo(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout(0.5)

        def forward(self, x):
            return torch.stack([self.dropout(x) for _ in range(3)])

    model = MonteCarlo().train()
    with featscope.capture(model, ["dropout"]) as session:
        model(X)
    assert kept(session, "dropout") == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_after_an_error_is_lost(model, error):
    class Fails(Net):
        fails = False

        def forward(self, x):
            features = self.backbone(x)
            if self.fails:
                raise error
            return self.head(features)

    model = Fails().eval()
    with torch.no_grad(), featscope.capture(model, ["backbone", "backbone.1", "head"]) as session:
        for number in range(4):
            model.fails = number == 1
            if model.fails:
                with pytest.raises(error):
                    model(X)
            else:
                model(X)
    assert kept(session) == kept(session, "backbone.1") == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert kept(session, "head") == [(0, 0), (2, 0), (3, 0)]


def test_an_error_in_the_first_layer_leaves_the_places_of_the_others(model):
    with torch.no_grad(), featscope.capture(model, ["backbone", "head"]) as session:
        for number in range(5):
            if number % 2:
                model(X[:1])
            else:
                with pytest.raises(RuntimeError):
                    model(torch.zeros(1, 4, 16, 16))
    assert kept(session) == kept(session, "head") == [(1, 0), (3, 0)]
    assert [sample.id for sample in session.sink.samples] == ["1", "3"]


def _in_threads(*works):
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_replicas_in_threads_keep_apart(model):
    """As DataParallel makes them, of which a machine without two GPUs has none."""

    def replica(module):
        copied = module._replicate_for_data_parallel()
        for name, child in module._modules.items():
            copied._modules[name] = replica(child)
        for name, parameter in module._parameters.items():
            if parameter is not None:
                setattr(copied, name, parameter.data)
        return copied

    def work(number):
        def run():
            with torch.no_grad():
                replica(model)(torch.full((2, 3, 16, 16), float(number)))

        return run

    with featscope.capture(model, ["backbone", "head"]) as session:
        for _ in range(3):
            _in_threads(work(0), work(1))
    assert sorted(kept(session)) == sorted(kept(session, "head")) == [(batch, 0) for batch in range(6)]
    by_batch = {c.batch: array for c, array in session.sink.stored if c.layer == "backbone"}
    with torch.no_grad():
        for captured, array in session.sink.stored:
            if captured.layer == "head":
                expected = model.head(torch.from_numpy(by_batch[captured.batch])).numpy()
                np.testing.assert_allclose(array, expected, atol=1e-6)


def test_two_captures_in_two_threads_keep_apart(model):
    sessions = {}
    both = threading.Barrier(2)

    def work(number):
        def run():
            with torch.no_grad(), featscope.capture(model, ["backbone"]) as session:
                both.wait()
                for _ in range(20):
                    model(torch.full((1, 3, 16, 16), float(number)))
                both.wait()
            sessions[number] = session

        return run

    _in_threads(work(0), work(1))
    with torch.no_grad():
        for number, session in sessions.items():
            own = model.backbone(torch.full((1, 3, 16, 16), float(number))).numpy()
            assert len(session.sink.stored) == 20
            assert all(np.array_equal(array, own) for _, array in session.sink.stored)


def test_threads_without_a_capture_of_their_own_are_seen(model):
    with featscope.capture(model, ["backbone"]) as session:
        _in_threads(*[lambda: model(X)] * 4)
    assert sorted(kept(session)) == [(batch, 0) for batch in range(4)]


def test_copies_carry_nothing(model):
    with torch.no_grad(), featscope.capture(model, ["backbone"]) as session:
        copied = copy.deepcopy(model)
        pickled = pickle.dumps(model)
        torch.save(model, saved := io.BytesIO())
        model(X)
        for other in (copied, pickle.loads(pickled)):
            torch.testing.assert_close(other(X), model(X), rtol=0, atol=0)
            assert not any(m._forward_hooks or m._forward_pre_hooks for m in other.modules())
    assert b"featscope" not in pickled + saved.getvalue()
    assert kept(session) == THREE, "of the model, and not of its copies"


@pytest.mark.filterwarnings("ignore:featscope")
def test_a_copy_that_runs_in_the_models_place(model):
    """As Ultralytics predicts: with a copy, whose norms are merged into its convolutions."""
    runs = copy.deepcopy(model)
    runs.backbone[0].weight.data *= 2
    with torch.no_grad(), featscope.capture(model, ["backbone", "head"]) as session:
        runs(X)
        Net()(X)  # another model of the same kind
        runs(X)
        model.forward = lambda x: model.backbone(x)  # the head is the copy's alone
        model(X)
        runs(X)
    assert kept(session, "head") == [(0, 0), (1, 0)]
    assert ["copy of the model" in remark for remark in session.remarks] == [True, True]
    assert kept(session) == THREE
    with torch.no_grad():
        for stored, ran in zip(session.sink["backbone.sequential"], (runs, runs, model)):
            np.testing.assert_array_equal(stored, ran.backbone(X).numpy())


def test_another_model_of_the_same_kind_is_no_copy(model):
    with pytest.raises(CaptureError, match="'backbone' did not run"), featscope.capture(model, ["backbone"]):
        Net()(X)


def test_a_warm_up_is_no_batch(model):
    def warmup():
        model(torch.zeros(1, 3, 8, 8))

    with featscope.capture(model, ["backbone"]) as session:
        warmup()
        model(X)
    assert session.sink["backbone.sequential"][0].shape == (2, 4, 8, 8)
    assert kept(session) == [(0, 0)]


def test_models_that_reuse_pytorchs_own_names(tmp_path):
    class Official(Net):  # as ESPNet's
        def __init__(self):
            super().__init__()
            self.modules, self.children, self.parameters, self.named_modules = [], 1, None, {}
            self.name = self.type = self.state_dict = "x"

    model = Official()
    with featscope.capture(model, ["backbone*", "head"], to=tmp_path / "run") as session:
        model(X)
    assert session.written[:2] == (2, 2)
    assert featscope.check_run(tmp_path / "run").problems == []


def test_arguments_may_have_any_name():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, module, arguments, named, call, session):
            return self.conv(module)

    model = Odd()
    with featscope.capture(model, ["conv"]) as session:
        model(module=X, arguments=1, named=2, call=3, session=4)
    assert kept(session, "conv") == [(0, 0)]


def test_traces_and_exports_are_what_they_are_without(model):
    plain = torch.jit.trace(model, X, check_trace=False)
    with featscope.capture(model, ["backbone"]) as session:
        traced = torch.jit.trace(model, X, check_trace=False)
        model(X)
    kinds = [[node.kind() for node in one.inlined_graph.nodes()] for one in (traced, plain)]
    assert kinds[0] == kinds[1]
    assert kept(session)


def test_nobody_watches_after_a_capture(model):
    before = nn.Module.__call__
    with featscope.capture(model):
        assert nn.Module.__call__ is not before
        with featscope.capture(model):
            model(X)
        model(X)
    assert nn.Module.__call__ is before
    assert calls._observers == ()


def test_others_may_stand_in_for_the_same_method(model):
    """Another tool puts its own function over ours, and takes it off after our capture has ended, or never."""
    before, seen = nn.Module.__call__, []
    try:
        with featscope.capture(model) as first:
            ours = nn.Module.__call__

            def others(module, *arguments, **named):
                seen.append(module)
                return ours(module, *arguments, **named)

            nn.Module.__call__ = others
            model(X)
        for _ in range(2):
            with featscope.capture(model) as second:
                model(X)
            assert kept(second) == [(0, 0)]
        assert kept(first) == [(0, 0)]
        assert model in seen
        nn.Module.__call__ = ours  # it is taken off
        with featscope.capture(model) as third:
            model(X)
        assert kept(third) == [(0, 0)]
    finally:
        assert nn.Module.__call__ is before


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="processes cannot fork here")
def test_a_forked_process_runs_the_model_without_the_capture(tmp_path):
    script = """
import os, sys, torch, featscope
model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)).eval()
with torch.no_grad(), featscope.capture(model, to=sys.argv[1]):
    model(torch.zeros(1, 3, 8, 8))
    child = os.fork()
    if not child:
        for _ in range(3000):  # more than the queue holds, and nobody empties it
            model(torch.zeros(1, 3, 2, 2))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    model(torch.zeros(1, 3, 8, 8))
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], check=True, timeout=60)
    assert featscope.check_run(tmp_path / "run").problems == []
    assert len(featscope.open_run(tmp_path / "run").maps) == 2


def test_the_images_may_be_given_to_an_inner_method():
    """As Lightning's `optimizer_step` holds `training_step`, and as decorators hide names."""

    def decorated(method):
        def wrapper(self, *arguments, **named):
            return method(self, *arguments, **named)

        return wrapper

    class Lit(Net):
        def optimizer_step(self, closure):
            return closure()

        @decorated
        def training_step(self, batch, *, number):
            return self.head(self.backbone(batch["image"])).mean()

    model = Lit()
    with featscope.capture(model, ["backbone"]) as session:
        for number in range(2):
            model.optimizer_step(lambda number=number: model.training_step({"image": X}, number=number))
    assert kept(session) == [(0, 0), (1, 0)]
    assert [sample.id for sample in session.sink.samples] == ["0", "1", "2", "3"]

"""Capture on awkward modules: each trap is one that a real detector sets."""

import subprocess
import sys
import textwrap
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import featscope
from featscope.errors import CaptureError, UnknownNameError


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.relu(self.bn(x))
        x += 100
        return (x, x[..., ::2, ::2])


@dataclass
class Result:
    scores: list
    nothing: None = None


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.align = nn.Conv2d(3, 3, 1)

    def forward(self, feats):
        return Result([self.conv(x) for x in feats])


class RoIHead(nn.Module):
    """As MMDetection's: `predict` is called in place of the forward."""

    def __init__(self):
        super().__init__()
        self.bbox_head = Head()

    def predict(self, feats):
        return self.bbox_head(feats)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Backbone()
        self.heads = nn.ModuleList([Head()])
        self.roi_head = RoIHead()

    def forward(self, x, fail=False):
        feats = self.backbone(x)
        featscope.tap("attention", feats[0])
        aligned = [self.heads[0].align(f) for f in feats]  # before the head itself runs
        out = self.heads[0](aligned)
        if fail:
            raise ValueError("in the middle")
        return out, self.roi_head.predict(feats)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Detector().eval()


X = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def _hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def _folders(session):
    return sorted({captured.folder for captured, _ in session.sink.stored})


def test_every_part_is_captured_and_named(model):
    with featscope.capture(model) as session, torch.no_grad():
        out, roi = model(X)
    assert _folders(session) == [
        "attention.tap",
        "backbone.backbone",
        "heads.0.head.scores",
        "roi_head.bbox_head.head.scores",
    ]
    for folder, tensors in (("heads.0.head.scores", out.scores), ("roi_head.bbox_head.head.scores", roi.scores)):
        for stored, tensor in zip(session.sink[folder], tensors):
            np.testing.assert_array_equal(stored, tensor.numpy())


def test_the_same_layers_in_every_batch(model):
    with featscope.capture(model) as session, torch.no_grad():
        for _ in range(3):
            model(X)
    per_batch = [[(c.folder, c.level) for c, _ in session.sink.stored if c.batch == b] for b in range(3)]
    assert sorted(per_batch[0]) == sorted(per_batch[1]) == sorted(per_batch[2])


def test_later_operations_in_place_change_nothing(model):
    with featscope.capture(model, ["backbone.bn"]) as session, torch.no_grad():
        model(X)
        expected = nn.functional.batch_norm(
            X,
            model.backbone.bn.running_mean,
            model.backbone.bn.running_var,
            model.backbone.bn.weight,
            model.backbone.bn.bias,
        )
    np.testing.assert_allclose(session.sink["backbone.bn.batchnorm2d"][0], expected.numpy(), rtol=1e-5)
    assert (session.sink["backbone.bn.batchnorm2d"][0] < 0).any(), "a ReLU in place must not reach the copy"


def test_every_call_of_a_shared_module(model):
    with featscope.capture(model, ["heads.0.conv"]) as session, torch.no_grad():
        model(X)
        model(X)
    stored = [(c.batch, c.call, c.level, a.shape) for c, a in session.sink.stored if c.layer != "attention"]
    assert stored == [
        (0, 0, 0, (2, 2, 16, 24)),
        (0, 1, 1, (2, 2, 8, 12)),
        (1, 0, 0, (2, 2, 16, 24)),
        (1, 1, 1, (2, 2, 8, 12)),
    ]
    assert session.sink.stored[2][0].stride == (2.0, 2.0)


def test_the_model_is_as_before(model):
    model.train()
    model.backbone.eval()
    flags = [m.training for m in model.modules()]
    keys = set(vars(model.backbone))
    with featscope.capture(model), torch.no_grad():
        model(X)
        assert _hooks(model) == 0, "nothing is put on it"
    assert _hooks(model) == 0
    assert [m.training for m in model.modules()] == flags
    assert set(vars(model.backbone)) == keys


def test_an_exception_inside_passes_and_leaves_no_hook(model, tmp_path):
    with pytest.raises(ValueError, match="in the middle"), featscope.capture(model, to=tmp_path / "run"):
        model(X)
        model(X, fail=True)
    assert _hooks(model) == 0
    run = featscope.open_run(tmp_path / "run")
    assert run.info.finished == ""
    assert {m.record.batch for m in run.maps} >= {0}


def test_a_failure_that_the_user_catches(model):
    with featscope.capture(model) as session, torch.no_grad():
        with pytest.raises(ValueError, match="in the middle"):
            model(X, fail=True)
        model(X)
    last = max(c.batch for c, _ in session.sink.stored)
    assert sorted({c.folder for c, _ in session.sink.stored if c.batch == last}) == _folders(session)
    assert {c.level for c, _ in session.sink.stored} == {0, 1}


def test_a_caught_failure_between_batches_begun_by_hand(model):
    with featscope.capture(model, ["heads"]) as session, torch.no_grad():
        broken = model.heads[0].conv.register_forward_hook(lambda *_: 1 / 0)  # inside of the head
        session.start_batch(0)
        with pytest.raises(ZeroDivisionError):
            model(X)
        broken.remove()
        session.start_batch(1)
        model(X)
    assert {c.folder for c, _ in session.sink.stored if c.batch == 1} == {"attention.tap", "heads.0.head.scores"}


def test_outputs_of_the_model_are_untouched(model):
    with torch.no_grad():
        before = model(X)[0].scores[0]
        with featscope.capture(model):
            during = model(X)[0].scores[0]
    torch.testing.assert_close(before, during, rtol=0, atol=0)


def test_a_run_on_disk_holds_the_tensors_to_the_bit(model, tmp_path):
    kept = []
    model.backbone.register_forward_hook(lambda m, i, o: kept.append([t.clone() for t in o]))
    with featscope.capture(model, ["backbone"], to=tmp_path / "run"), torch.no_grad():
        model(X)
    maps = [m for m in featscope.open_run(tmp_path / "run").maps if m.folder == "backbone.backbone"]
    assert len(maps) == len(kept[0]) == 2
    for stored, tensor in zip(maps, kept[0]):
        np.testing.assert_array_equal(stored.load(), tensor.numpy())


def test_names_rename_folders(model):
    names = {"heads": "head.refine", "backbone": "backbone.resnet"}
    with featscope.capture(model, ["backbone", "heads"], names=names) as session, torch.no_grad():
        model(X)
    assert _folders(session) == ["attention.tap", "backbone.resnet", "head.refine.scores"]


def test_names_that_lead_out_are_refused(model):
    with pytest.raises(featscope.FeatscopeError, match="cannot name a folder"):
        featscope.capture(model, names={"backbone": "../x"})
    with pytest.raises(featscope.FeatscopeError, match="share the folder"):
        featscope.capture(model, names={"backbone": "x", "heads": "x"})


def test_a_name_for_a_layer_that_is_not_there_starts_nothing(model, tmp_path):
    with pytest.raises(UnknownNameError, match="'backbone'"):
        featscope.capture(model, to=tmp_path / "run", names={"bakbone": "x"})
    assert not (tmp_path / "run").exists()


def test_bfloat16_and_half(model):
    layer = nn.Identity()
    wrapper = nn.Sequential(layer)
    for dtype, stored in ((torch.bfloat16, "float32"), (torch.float16, "float16"), (torch.int64, "int64")):
        with featscope.capture(wrapper) as session:
            wrapper(torch.ones(1, 1, 2, 2, dtype=dtype))
        assert session.sink["0.identity"][0].dtype == stored


def test_what_a_forward_keeps():
    class Edited(nn.Module):
        def forward(self, x):
            self.output = x * 2
            return x

    wrapper = nn.Sequential(Edited())
    with featscope.capture(wrapper, ["0.output"]) as session:
        wrapper(torch.ones(1, 1, 2, 2))
    assert session.sink["0.output.edited"][0].max() == 2


def test_tap_outside_of_a_capture_is_free():
    assert featscope.tap("x", X) is X


def test_layers_that_never_run_are_an_error(model):
    model.spare = nn.Conv2d(1, 1, 1)
    with pytest.raises(CaptureError, match=r"'spare' did not run.*featscope layers"):  # noqa: SIM117
        with featscope.capture(model, ["backbone", "spare"]), torch.no_grad():
            model(X)
    with featscope.capture(model) as session, torch.no_grad():  # nobody asked for it
        model(X)
    assert "spare" not in " ".join(_folders(session))


def test_scripted_models_are_named():
    wrapper = nn.Sequential(torch.jit.script(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())))
    with pytest.raises(CaptureError, match="scripted"), featscope.capture(wrapper, ["0.0"]):
        pass
    assert _hooks(wrapper) == 0


@pytest.mark.skipif(not hasattr(nn.Module, "_compiled_call_impl"), reason="this torch has no Module.compile")
def test_compiled_models_are_named(model):
    # What torch.compile leaves behind, without the minutes that its compiler takes.
    model._compiled_call_impl = lambda *args: None
    with pytest.warns(RuntimeWarning, match="runs as written"):  # noqa: SIM117
        with pytest.raises(CaptureError, match="compiled"), featscope.capture(model, ["backbone"]):
            model(X)


def test_an_unknown_layer_starts_nothing(model, tmp_path):
    with pytest.raises(UnknownNameError, match="'backbone'"):
        featscope.capture(model, ["backbon"], to=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_ranks_number_batches_without_meeting(model):
    from featscope.capturing.start import capture

    for rank in (0, 1):
        with capture(model, ["backbone"], rank=rank, world_size=2) as session, torch.no_grad():
            for _ in range(3):
                model(X)
        assert sorted({c.batch for c, _ in session.sink.stored}) == [rank, rank + 2, rank + 4]


def test_samples_described_afterwards_belong_to_the_batch_that_ran(model, tmp_path):
    from featscope.records import Sample

    with featscope.capture(model, ["backbone"], to=tmp_path / "run") as session, torch.no_grad():
        for number in range(2):
            model(X)
            session.describe([Sample(f"left {number}", path=f"{number}"), Sample(f"right {number}")])
    maps = [m for m in featscope.open_run(tmp_path / "run").maps if m.folder == "backbone.backbone"]
    assert [(m.record.batch, m.samples[0].path, m.samples[1].id) for m in maps] == [
        (0, "0", "right 0"),
        (0, "0", "right 0"),
        (1, "1", "right 1"),
        (1, "1", "right 1"),
    ]


def test_wrapped_models_keep_their_names(model):
    wrapped = nn.DataParallel(model)  # without a GPU it calls the model as it is
    with featscope.capture(wrapped, ["backbone"]) as session, torch.no_grad():
        wrapped(X)
    assert "backbone.backbone" in _folders(session)


@pytest.mark.skipif(not hasattr(getattr(torch, "compiler", None), "set_stance"), reason="needs torch 2.6")
@pytest.mark.filterwarnings("ignore:featscope")
@pytest.mark.parametrize("fullgraph", [False, True])
def test_a_compiled_model_runs_as_written_while_it_is_captured(fullgraph):
    inner = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.ReLU())).eval()
    compiled = torch.compile(inner, backend="eager", fullgraph=fullgraph)
    part = nn.Sequential(compiled, nn.ReLU())
    with torch.no_grad():
        compiled(X)  # compiled before anything watched
        for model, layers in ((compiled, ["0", "1.0", "_orig_mod.1"]), (part, ["0.0", "0", "1"])):
            with featscope.capture(model, layers) as session:
                for _ in range(2):
                    model(X)
            assert [c.batch for c, _ in session.sink.stored] == [0, 0, 0, 1, 1, 1]
        np.testing.assert_array_equal(session.sink["0.0.conv2d"][0], inner[0](X).numpy())
        assert list(session.sink) == ["0.0.conv2d", "0.sequential", "1.relu"]


@pytest.mark.skipif(not hasattr(getattr(torch, "compiler", None), "set_stance"), reason="needs torch 2.6")
def test_what_is_compiled_during_a_capture_runs_as_written_too():
    """In a process of its own, as the compiler is loaded at its first use."""
    script = """
        import sys, torch, featscope
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.ReLU())
        with featscope.capture(model, ["1"]) as session, featscope.capture(model, ["0"]) as other:
            model(torch.ones(1, 3, 8, 8))
            assert "torch._dynamo" not in sys.modules, "loading it takes two seconds"
            torch.compile(lambda x: model(x).sum(), backend="eager")(torch.ones(1, 3, 8, 8))
            torch.compile(model, backend="eager")(torch.ones(1, 3, 8, 8))
        assert [c.batch for c, _ in session.sink.stored] == [0, 1, 2]
        assert [c.batch for c, _ in other.sink.stored] == [0, 1, 2]
        graphs = []
        compiled = torch.compile(lambda x: model(x).sum(), backend=lambda graph, _: graphs.append(1) or graph.forward)
        compiled(torch.ones(1, 3, 8, 8))
        assert graphs, "it compiles again after the capture"
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)], check=True)


def test_a_layer_that_a_glob_found_may_be_skipped_and_one_that_was_named_may_not():
    """In eval, torch's own encoder calls one kernel in place of its parts."""
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    model = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), encoder)
    model.forward = lambda x: model[2](model[1](model[0](x)).transpose(1, 2))
    image = torch.rand(1, 3, 16, 24)
    skipped = pytest.warns(RuntimeWarning, match="a glob found did not run")
    with skipped, torch.no_grad(), featscope.capture(model, ["**"]) as session:
        model(image)
    assert session.sink["2.transformerencoderlayer"][0].shape == (1, 8, 4, 6)
    assert any("did not run" in remark for remark in session.remarks)
    skipped = pytest.warns(RuntimeWarning, match="a glob found did not run")
    named = pytest.raises(CaptureError, match=r"'2\.linear1' did not run")
    with skipped, named, torch.no_grad(), featscope.capture(model, ["**", "2.linear1"]):
        model(image)

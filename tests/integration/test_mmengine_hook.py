"""The hook in real loops of MMEngine, with a model of four layers: a capture never ends the user's work."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("mmengine", reason="needs MMEngine")

from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel, ImgDataPreprocessor
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from PIL import Image

import featscope
from featscope.adapters.mm.companion import companion_of
from featscope.adapters.mmengine import FeatureMapHook
from featscope.errors import BadRunError, FeatscopeError, UnknownNameError
from featscope.store.check import check_run
from featscope.store.reader import open_run


class Photos(torch.utils.data.Dataset):
    """Photos of one colour, of different sizes."""

    def __init__(self, number=3):
        self.number, self.metainfo = number, {"classes": ("ship",)}

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        height, width = 20 + 4 * index, 24
        pixels = torch.tensor([10, 100, 200], dtype=torch.uint8)[:, None, None].expand(3, height, width).clone()
        meta = {"img_id": 100 + index, "img_path": f"photos/{index}.png"}
        meta.update(ori_shape=(2 * height, 2 * width), img_shape=(height, width), scale_factor=(0.5, 0.5))
        return {"inputs": pixels, "data_samples": BaseDataElement(metainfo=meta)}


class Net(BaseModel):
    def __init__(self):
        super().__init__(
            ImgDataPreprocessor([120.0, 110.0, 100.0], [50.0, 60.0, 70.0], pad_size_divisor=16, bgr_to_rgb=True)
        )
        self.backbone, self.neck = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 2, 1)
        self.gone, self.odd = nn.Conv2d(4, 4, 1), nn.Identity()

    def forward(self, inputs, data_samples=None, mode="tensor"):
        found = self.neck(self.backbone(inputs))
        self.odd([torch.zeros(3, device="meta")])
        return {"loss": {"loss": found.square().mean()}, "predict": data_samples, "tensor": found}[mode]


class Count(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend(1 for _ in data_samples)

    def compute_metrics(self, results):
        return {"number": len(results)}


def runner_of(folder, hooks, training=None, number=3, batch_size=2):
    torch.manual_seed(0)

    def loader():
        sampler = {"type": "DefaultSampler", "shuffle": False}
        return {"batch_size": batch_size, "num_workers": 0, "dataset": Photos(number), "sampler": sampler}

    options = {"val_dataloader": loader(), "val_evaluator": [Count()], "val_cfg": {}}
    if training is None:
        options = {"test_dataloader": loader(), "test_evaluator": [Count()], "test_cfg": {}}
    else:
        optimizer = {"type": "SGD", "lr": 0.01}
        options.update(train_dataloader=loader(), train_cfg=training, optim_wrapper={"optimizer": optimizer})
    return Runner(Net(), str(folder / "work"), custom_hooks=hooks, experiment_name=folder.name, **options)


def log_of(runner):
    return "\n".join(path.read_text() for path in Path(runner._log_dir).glob("*.log"))


def test_samples_pictures_and_numbers(tmp_path):
    runner = runner_of(tmp_path, [FeatureMapHook(str(tmp_path / "run"), ["backbone", "neck"])])
    assert runner.test() == {"number": 3}
    run = open_run(tmp_path / "run")
    assert [(s.id, s.batch) for s in run.samples.values()] == [("100", 0), ("101", 0), ("102", 1)]
    assert [m.record.samples for m in run.maps] == [["100", "101"], ["102"]] * 2
    second = run.samples["101"]
    assert (second.geometry.original, second.geometry.resized, second.geometry.padded) == ((48, 48), (24, 24), (32, 32))
    picture = np.asarray(Image.open(tmp_path / "run" / second.input))
    assert picture.shape == (24, 24, 3)
    assert np.abs(picture.astype(int) - [200, 100, 10]).max() <= 2  # the photo is BGR, as MMCV reads it
    assert run.info.classes == ["ship"]
    assert check_run(tmp_path / "run").problems == []


def test_a_policy_and_forwards_by_hand_give_the_same_pictures(tmp_path):
    """`featscope capture --every 2`: the batch is begun before the model runs, and seen normalised only."""
    from featscope.adapters.mm.detector import _leave_out_forwards

    whole = FeatureMapHook(str(tmp_path / "whole"), ["neck"])
    runner_of(tmp_path / "a", [whole], batch_size=1).test()
    hook = FeatureMapHook(str(tmp_path / "part"), ["neck"], policy={"every": 2})
    runner = runner_of(tmp_path / "b", [hook], batch_size=1)
    _leave_out_forwards(runner, hook)
    ran = []
    runner.model.neck.register_forward_hook(lambda *_: ran.append(1))
    runner.test()
    assert len(ran) == 2
    one, other = open_run(tmp_path / "whole"), open_run(tmp_path / "part")
    assert list(other.samples) == ["100", "102"]
    for name, sample in other.samples.items():
        assert sample == one.samples[name]
        assert (tmp_path / "part" / sample.input).read_bytes() == (tmp_path / "whole" / sample.input).read_bytes()


@pytest.mark.parametrize(
    ("training", "folders"),
    [
        ({"type": "IterBasedTrainLoop", "max_iters": 4, "val_interval": 2}, ["iter_2", "iter_4"]),
        ({"by_epoch": True, "max_epochs": 2, "val_interval": 1}, ["epoch_1", "epoch_2"]),
    ],
)
def test_validations_of_a_training_have_folders_of_their_own(tmp_path, training, folders):
    runner = runner_of(tmp_path, [FeatureMapHook(str(tmp_path / "run"), ["neck"])], training)
    runner.train()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == folders
    first, second = (open_run(tmp_path / "run" / name) for name in folders)
    assert list(first.samples) == list(second.samples) == ["100", "101", "102"]
    assert not np.array_equal(first.maps[0].load(), second.maps[0].load()), "the second is that of trained weights"


def test_a_validation_that_runs_again_gets_its_own_folder(tmp_path):
    class Twice(Hook):
        def after_train(self, runner):
            runner.val_loop.run()
            runner.val_loop.run()

    for resume in (False, True):
        folder = tmp_path / f"run{resume}"
        hooks = [FeatureMapHook(str(folder), ["neck"], resume=resume), Twice()]
        runner_of(folder, hooks, {"by_epoch": True, "max_epochs": 1, "val_interval": 1}).train()
        assert sorted(p.name for p in folder.iterdir() if p.name != "work") == ["epoch_1", "epoch_1_2", "epoch_1_3"]
        assert len(open_run(folder / "epoch_1_3").samples) == 3


def test_an_unknown_layer_is_an_error_before_any_work(tmp_path):
    seen = []

    class Seen(Hook):
        def before_train_iter(self, *_arguments, **_named):
            seen.append(1)

    hooks = [FeatureMapHook(str(tmp_path / "run"), ["nek"]), Seen()]
    with pytest.raises(UnknownNameError, match="did you mean 'neck'"):
        runner_of(tmp_path, hooks, {"by_epoch": True, "max_epochs": 1}).train()
    assert not seen
    assert not (tmp_path / "run").exists()


def test_what_gives_nothing_is_in_the_log_and_the_test_ends_well(tmp_path):
    hook = FeatureMapHook(str(tmp_path / "run"), ["neck", "gone", "odd"])
    runner = runner_of(tmp_path, [hook])
    one, all_of_them = (pytest.warns(RuntimeWarning, match=text) for text in ("'odd' cannot be", "'gone' did not run"))
    with all_of_them, one:
        assert runner.test() == {"number": 3}
    log = log_of(runner)
    assert "'gone' did not run" in log
    assert "'odd' gave nothing that can be stored" in log
    assert " ERROR " in log
    assert len(hook.failures) == 1
    run = open_run(tmp_path / "run")
    assert len(run.maps) == 2
    assert set(run.info.left_out) == {"gone", "odd"}


def test_a_run_that_is_there_is_left_alone(tmp_path):
    for _ in range(2):
        hook = FeatureMapHook(str(tmp_path / "run"), ["neck"])
        runner = runner_of(tmp_path, [hook])
        runner.test()
    assert "holds a run already" in log_of(runner)
    assert hook.written.place == str(tmp_path / "run_2")
    assert len(open_run(tmp_path / "run_2").samples) == 3
    hook = FeatureMapHook(str(tmp_path / "run"), ["neck"])
    hook.makes_room = False  # as `featscope capture`
    with pytest.raises(BadRunError, match="holds a run already"):
        runner_of(tmp_path, [hook]).test()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FeatscopeError):
        runner_of(tmp_path, [FeatureMapHook(str(tmp_path / "file" / "run"), ["neck"])]).test()
    hook = FeatureMapHook(str(tmp_path / "file" / "run"), ["neck"], on_error="warn")
    runner = runner_of(tmp_path, [hook])
    assert runner.test() == {"number": 3}
    assert "nothing is captured" in log_of(runner)
    assert hook.failures


def test_a_training_is_captured_with_names_and_geometry(tmp_path):
    """The plain capture of a model of MMEngine: its companion reads the data samples."""
    model = Net()
    batch = [Photos()[index] for index in (0, 2)]
    data = {name: [one[name] for one in batch] for name in ("inputs", "data_samples")}
    optimizer = runner_of(tmp_path, [], {"by_epoch": True, "max_epochs": 1}).build_optim_wrapper(
        {"optimizer": torch.optim.SGD(model.parameters(), 0.1)}
    )
    same = pytest.warns(RuntimeWarning, match="several samples have the name '0'")
    with same, featscope.capture(model, ["neck"]) as session:
        model.train_step(data, optimizer)
        model.val_step(data)
        model(model.data_preprocessor(data)["inputs"])
    first, second, *_, plain = session.sink.samples
    assert (first.id, second.id) == ("0", "2")  # ids are believed where a data set is known
    assert first.path.endswith("photos/0.png")
    assert (second.geometry.original, second.geometry.resized, second.geometry.padded) == (
        (56, 48), (28, 24), (32, 32),
    )  # fmt: skip
    assert first.predictions is None
    assert first.truth is None
    assert plain.geometry.padded == (32, 32)
    assert len(session.sink.samples) == 6


def test_a_companion_of_nothing_holds_nothing():
    model = Net()
    companion = companion_of(model, pictures=False)
    companion.close()
    assert pickle.loads(pickle.dumps(copy.deepcopy(model))).neck.weight.shape == (2, 4, 1, 1)
    assert companion_of(nn.Identity(), pictures=False) is None

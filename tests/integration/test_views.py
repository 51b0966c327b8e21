"""Test-time augmentation: every view of every image is a sample, with a geometry of its own."""

import sys

import numpy as np
import pytest

from featscope.arrays.boxes import rotated_corners
from featscope.arrays.geometry import place
from featscope.arrays.reduce import reduce
from featscope.store.check import check_run
from featscope.store.reader import open_run

from .conftest import PROJECT, SHARED, featscope, run

YOLOX = SHARED / "models" / "yolox_nano_coco_mmdet.pth"
COCO = SHARED / "data" / "natural" / "coco8_train"
SCALES = (320, 416)
HOOK = (
    "custom_imports = dict(imports=['featscope.adapters.mmengine'])\n"
    "custom_hooks = [dict(type='mmdet.FeatureMapHook', save_dir={folder!r}, layers=['module.neck'])]\n"
)


@pytest.fixture(scope="module")
def yolox(mmdet_root, tmp_path_factory):
    """Two images at two sizes, flipped and not: with the hook one by one, and under `featscope run` in one batch."""
    folder = tmp_path_factory.mktemp("views")
    config = folder / "bare.py"
    config.write_text(
        "_base_ = ['mmdet::yolox/yolox_nano_8xb8-300e_coco.py']\n"
        "test_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False, dataset=dict(\n"
        f"    data_root={str(COCO)!r}, ann_file='annotations.json', data_prefix=dict(img='images/'), indices=2))\n"
        "test_evaluator = dict(_delete_=True, type='DumpResults', out_file_path='results.pkl')\n"
        "tta_model = dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.65), max_per_img=100))\n"
        "tta_pipeline = [dict(type='LoadImageFromFile'), dict(type='TestTimeAug', transforms=[\n"
        f"    [dict(type='Resize', scale=(size, size), keep_ratio=True) for size in {SCALES}],\n"
        "    [dict(type='mmdet.RandomFlip', prob=0.0), dict(type='mmdet.RandomFlip', prob=1.0)],\n"
        "    [dict(type='mmdet.Pad', pad_to_square=True, pad_val=dict(img=(114.0, 114.0, 114.0)))],\n"
        "    [dict(type='mmdet.LoadAnnotations', with_bbox=True)],\n"
        "    [dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',\n"
        "        'scale_factor', 'flip', 'flip_direction'))]])]\n"
    )
    hooked = folder / "hooked.py"
    hooked.write_text(f"_base_ = {str(config)!r}\n" + HOOK.format(folder=str(folder / "hook")))
    tool = mmdet_root / ".mim" / "tools" / "test.py"
    run(sys.executable, tool, hooked, YOLOX, "--tta", "--work-dir", folder / "work", folder=folder)
    (folder / "results.pkl").rename(folder / "hook.pkl")
    featscope("run", "-o", folder / "script", "-l", "module.neck", "--", "python", tool, config, YOLOX, "--tta",
              "--work-dir", folder / "work", "--cfg-options", "test_dataloader.batch_size=2", folder=folder)  # fmt: skip
    return folder


@pytest.mark.parametrize("name", ["hook", "script"])
def test_every_view_of_every_image_is_a_sample(yolox, name):
    opened = open_run(yolox / name)
    images = sorted({sample.path for sample in opened.samples.values()})
    assert len(images) == 2
    for path in images:
        views = sorted((s for s in opened.samples.values() if s.path == path), key=lambda s: s.view)
        assert [view.view for view in views] == [0, 1, 2, 3]
        first = views[0].id
        assert [view.id for view in views] == [first, *(f"{first}_view{number}" for number in (1, 2, 3))]
        assert {view.image for view in views[1:]} == {first}
        assert sorted((max(v.geometry.resized), v.geometry.flip) for v in views) == [
            (size, flip) for size in SCALES for flip in ("", "horizontal")
        ]
        assert all(view.input and view.truth.boxes == views[0].truth.boxes for view in views)
        assert all(len(found) == 1 for view in views for found in view.sources)
    batches = {m.record.batch for m in opened.maps}
    assert len(batches) == {"hook": 8, "script": 4}[name]
    assert check_run(yolox / name).problems == []
    assert opened.info.finished


def test_the_hook_and_the_script_give_the_same_maps(yolox):
    hook, script = (open_run(yolox / name) for name in ("hook", "script"))
    assert set(hook.samples) == set(script.samples)
    for name, sample in hook.samples.items():
        other = script.samples[name]
        assert (sample.geometry, sample.image, sample.view) == (other.geometry, other.image, other.view)
        np.testing.assert_allclose(sample.predictions.scores[:3], other.predictions.scores[:3], rtol=1e-3)
    mine = next(m for m in hook.maps if m.samples[0].id == "2_view3" and m.record.level == 0)
    theirs = next(m for m in script.maps if "2_view3" in m.record.samples and m.record.level == 0)
    row = theirs.record.samples.index("2_view3")
    np.testing.assert_allclose(mine.load()[0], theirs.load()[row], rtol=1e-3, atol=1e-4)


def test_the_tool_gives_what_it_gives_alone(yolox, mmdet_root):
    import pickle

    tool = mmdet_root / ".mim" / "tools" / "test.py"
    run(sys.executable, tool, yolox / "bare.py", YOLOX, "--tta", "--work-dir", yolox / "alone", folder=yolox)
    alone, hooked = (pickle.loads((yolox / name).read_bytes()) for name in ("results.pkl", "hook.pkl"))
    for mine, theirs in zip(hooked, alone):
        for field in ("bboxes", "scores", "labels"):
            np.testing.assert_array_equal(mine["pred_instances"][field], theirs["pred_instances"][field])


def test_boxes_and_maps_of_a_flipped_view_lie_on_the_image_as_it_is(yolox):
    opened = open_run(yolox / "hook")
    for name in ("1", "2"):
        upright, flipped = opened.samples[f"{name}_view2"], opened.samples[f"{name}_view3"]
        if upright.geometry.flip:
            upright, flipped = flipped, upright
        assert (upright.geometry.flip, flipped.geometry.flip) == ("", "horizontal")
        best = np.argmax(upright.predictions.scores)
        box = np.array(upright.predictions.boxes[best])
        same = np.array(flipped.predictions.labels) == upright.predictions.labels[best]
        apart = np.abs(np.array(flipped.predictions.boxes)[same] - box).max(1).min()
        assert apart < 0.08 * upright.geometry.original[1]
        heats = [
            place(
                np.ascontiguousarray(reduce(m.load()[0], "absmean"), np.float32),
                sample.geometry.original, sample.geometry, m.record.stride,
            )
            for sample in (upright, flipped)
            for m in opened.maps
            if m.record.samples == [sample.id] and m.record.level == 0
        ]  # fmt: skip
        assert np.corrcoef(heats[0].ravel(), heats[1].ravel())[0, 1] > 0.7
        assert np.corrcoef(heats[0].ravel(), heats[1][:, ::-1].ravel())[0, 1] < 0.3


ROTATED = """
from mmengine.config import Config
from mmengine.model import BaseTTAModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from mmrotate.utils import register_all_modules

import featscope.adapters.mmengine


@MODELS.register_module()
class FirstView(BaseTTAModel):
    def merge_preds(self, views):
        for of_image in views:
            for one in of_image:
                one.pred_instances.bboxes.zero_()  # a merge may write into its views
        return [of_image[0] for of_image in views]


register_all_modules()
cfg = Config.fromfile("{config}")
cfg.model = dict(type="FirstView", module=cfg.model)
meta = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "flip", "flip_direction")
load, resize = cfg.test_dataloader.dataset.pipeline[:2]
resize.scale = (1024, 1024)
flips = [dict(type="mmdet.RandomFlip", prob=1.0 if way else 0.0, direction=way or "horizontal")
         for way in ("", "horizontal", "vertical", "diagonal")]
cfg.test_dataloader.dataset.pipeline = [load, resize, dict(type="mmdet.LoadAnnotations", with_bbox=True, box_type="qbox"),
    dict(type="ConvertBoxType", box_type_mapping=dict(gt_bboxes="rbox")),
    dict(type="mmdet.TestTimeAug", transforms=[flips, [dict(type="mmdet.PackDetInputs", meta_keys=meta)]])]
cfg.test_dataloader.batch_size = 2
cfg.test_evaluator = dict(type="DumpResults", out_file_path="{folder}/results.pkl")
cfg.custom_hooks = [dict(type="FeatureMapHook", save_dir="{folder}/run", layers=["neck", "!module.backbone"])]
cfg.work_dir = "{folder}/work"
runner = Runner.from_cfg(cfg)
from featscope.adapters.weights import load_checkpoint
load_checkpoint(runner.model.module, "{weights}")
runner.test()
"""


def test_rotated_boxes_of_views_flipped_in_every_way(mmrotate_root, tmp_path):
    models = SHARED / "models"
    script = tmp_path / "test.py"
    places = {"config": models / "s2anet_tiny.py", "weights": models / "s2anet_tiny.pth", "folder": tmp_path}
    text = ROTATED
    for name, path in places.items():
        text = text.replace(f"{{{name}}}", str(path))
    script.write_text(text)
    run(sys.executable, script, folder=PROJECT)
    opened = open_run(tmp_path / "run")
    assert len(opened.samples) == 8
    assert len(opened.maps) == 4 * 5
    upright = opened.samples["P0248"]
    wanted = rotated_corners(np.array(upright.predictions.boxes))
    confident = np.array(upright.predictions.scores) > 0.5
    assert confident.sum() >= 5
    truth = rotated_corners(np.array(upright.truth.boxes))
    for view, flip in ((1, "horizontal"), (2, "vertical"), (3, "diagonal")):
        sample = opened.samples[f"P0248_view{view}"]
        assert sample.geometry.flip == flip
        assert all(len(found) == 1 for found in sample.sources)
        own = rotated_corners(np.array(sample.predictions.boxes)).mean(1)
        apart = [np.abs(own - box.mean(0)).max(1).min() for box in wanted[confident]]
        assert np.median(apart) < 15, f"pixels, {flip}"  # the network does not see quite the same
        true = rotated_corners(np.array(sample.truth.boxes))
        assert max(min(_apart(box, other) for other in true) for box in truth) < 0.1


def _apart(box, other):
    """How far the corners of two rectangles lie apart, from whichever one counts them, and whichever way."""
    ways = [np.roll(corners, turn, 0) for corners in (other, other[::-1]) for turn in range(4)]
    return min(np.abs(box - way).max() for way in ways)

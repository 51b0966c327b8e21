"""S2ANet in the real test tool of MMRotate: the tree, the maps to the bit, the metrics, the pictures."""

import json
import pickle
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from featscope.arrays.boxes import rotated_corners
from featscope.store.check import check_run
from featscope.store.reader import open_run

from .conftest import PROJECT, SHARED, featscope, run

TINY = SHARED / "models" / "s2anet_tiny.py"
WEIGHTS = SHARED / "models" / "s2anet_tiny.pth"
IMAGES = SHARED / "data" / "aerial" / "dota_devkit"
EXAMPLES = PROJECT / "examples" / "mmrotate"
TREE = {
    "backbone.resnet": 4,
    "neck.fpn": 5,
    "bbox_head_init.s2anet_init.cls_scores": 5,
    "bbox_head_init.s2anet_init.bbox_preds": 5,
    "bbox_head_refine.s2anet_refine.cls_scores": 5,
    "bbox_head_refine.s2anet_refine.bbox_preds": 5,
}
NAMES = {
    "backbone": "backbone.resnet",
    "bbox_head_init": "bbox_head_init.s2anet_init",
    "bbox_head_refine": "bbox_head_refine.s2anet_refine",
}


@pytest.fixture(scope="module")
def test_tool(mmrotate_root):
    return mmrotate_root / ".mim" / "tools" / "test.py"


def _tree(folder):
    found = {}
    for path in folder.rglob("*.npy"):
        name = path.parent.relative_to(folder).as_posix()
        found.setdefault(name, set()).add(path.name)
    return found


@pytest.fixture(scope="module")
def tested(test_tool, tmp_path_factory):
    """The test tool once with the hook, and once without."""
    folder = tmp_path_factory.mktemp("tested")
    config = folder / "config.py"
    config.write_text(
        f"_base_ = {str(TINY)!r}\n"
        "custom_imports = dict(imports=['featscope.adapters.mmengine', 'reference_hook'])\n"
        f"custom_hooks = [dict(type='mmdet.FeatureMapHook', save_dir={str(folder / 'run')!r}, names={NAMES!r}),\n"
        f"                dict(type='ReferenceHook', save_dir={str(folder / 'reference')!r})]\n"
    )
    options = ["--work-dir", folder / "work"]
    logs = {
        name: run(sys.executable, test_tool, cfg, WEIGHTS, *options, "--out", folder / f"{name}.pkl")
        for name, cfg in (("hooked", config), ("bare", TINY))
    }
    return folder, logs


def test_exactly_the_tree(tested):
    folder, _ = tested
    tree = _tree(folder / "run")
    assert set(tree) == set(TREE)
    for name, levels in TREE.items():
        assert tree[name] == {f"batch_{b}_layer_{level}.npy" for b in range(2) for level in range(levels)}


def test_every_map_to_the_bit(tested):
    folder, _ = tested
    files = list((folder / "reference").rglob("*.npy"))
    assert len(files) == 2 * sum(TREE.values())
    for path in files:
        stored = np.load(folder / "run" / path.relative_to(folder / "reference"))
        assert stored.dtype == np.float32
        np.testing.assert_array_equal(stored, np.load(path))


def test_metrics_and_predictions_are_those_of_the_bare_loop(tested):
    folder, _ = tested
    results = [pickle.loads((folder / f"{name}.pkl").read_bytes()) for name in ("hooked", "bare")]
    assert len(results[0]) == len(results[1]) == 2
    for one, other in zip(*results):
        for key in ("bboxes", "scores", "labels"):
            assert torch.equal(one["pred_instances"][key], other["pred_instances"][key])
        assert len(one["pred_instances"]["scores"]) > 50
    metrics = [
        json.loads(next((folder / "work").glob(f"{stamp}/*.json")).read_text().splitlines()[-1])
        for stamp in sorted(p.name for p in (folder / "work").iterdir() if p.is_dir())
    ]
    assert metrics[0]["dota/mAP"] == metrics[1]["dota/mAP"] > 0.1


def test_samples_are_recorded(tested):
    folder, _ = tested
    opened = open_run(folder / "run")
    assert set(opened.samples) == {"P0706", "P0248"}
    sample = opened.samples["P0706"]
    assert sample.geometry.original == (1182, 1111)
    assert sample.geometry.resized == (1024, 962)
    assert sample.geometry.padded == (1024, 992)
    assert sample.predictions.form == "cxcywha"
    assert opened.info.classes[0] == "plane"
    with Image.open(folder / "run" / sample.input) as seen:
        assert seen.size == (962, 1024)
    truth = (IMAGES / "labelTxt" / "P0706.txt").read_text().splitlines()
    quads = np.array([line.split()[:8] for line in truth if len(line.split()) == 10], float).reshape(-1, 4, 2)
    centres = rotated_corners(np.array(sample.truth.boxes)).mean(1)
    nearest = np.abs(quads.mean(1)[:, None] - centres[None]).max(2).min(1)
    assert np.median(nearest) < 1.0, "the ground truth is in pixels of the original image"
    assert check_run(folder / "run").problems == []


def test_the_command_gives_the_same_files(tested, tmp_path):
    folder, _ = tested
    names = [f"--name={layer}={name}" for layer, name in NAMES.items()]
    done = featscope("capture", TINY, WEIGHTS, "-o", tmp_path / "run", *names)
    assert "58 maps of 2 samples" in done.stdout
    assert _tree(tmp_path / "run") == _tree(folder / "run")
    for path in (folder / "run").rglob("*.npy"):
        other = tmp_path / "run" / path.relative_to(folder / "run")
        assert path.read_bytes() == other.read_bytes()


def test_pictures_of_the_real_run(tested):
    folder, _ = tested
    done = featscope(
        "heat", folder / "run", "-r", "max", "--boxes", "--truth", "--no-legend", "--only", "*refine*cls_scores"
    )
    assert "20 pictures of 10 maps" in done.stdout
    done = featscope("render", folder / "run", "--only", "neck*", "-c", "top:20", "--titles", "--numbers")
    assert "10 pictures of 10 maps" in done.stdout
    picture = Image.open(next((folder / "run" / "heat").rglob("P0706_level0_overlay.png")))
    assert picture.size == (1111, 1182)  # P0706 as it is, not as the network saw it


def test_heat_lights_up_on_the_objects(tested):
    """The class map of the refine head is hotter inside of the true ships than elsewhere."""
    from featscope.arrays.geometry import place
    from featscope.arrays.reduce import reduce

    folder, _ = tested
    opened = open_run(folder / "run")
    ship = opened.info.classes.index("ship")
    for stored in opened.maps:
        if stored.folder.endswith("refine.cls_scores") and stored.record.level == 0:
            sample = stored.samples[0]
            boxes = np.array(sample.truth.boxes)[np.array(sample.truth.labels) == ship]
            if not len(boxes):
                continue
            heat = place(
                np.ascontiguousarray(reduce(stored.load()[0], f"channel:{ship}"), np.float32),
                sample.geometry.original, sample.geometry, stored.record.stride,
            )  # fmt: skip
            centres = heat[boxes[:, 1].astype(int), boxes[:, 0].astype(int)]
            assert np.median(centres) > np.percentile(heat, 90)
            return
    raise AssertionError("no ships found")


def test_examples_run_with_random_weights(test_tool, tmp_path):
    """S2ANet-R50 by the example's config, at 1024 x 1024."""
    config = tmp_path / "s2anet.py"
    config.write_text(
        f"_base_ = {str(EXAMPLES / 's2anet-le135_r50_fpn_1x_dota_featmap.py')!r}\n"
        "model = dict(backbone=dict(init_cfg=None))\n"
        "test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(\n"
        f"    data_root={str(IMAGES)!r}, ann_file='labelTxt/', data_prefix=dict(img_path='images/')))\n"
    )
    torch.manual_seed(0)
    from mmrotate.utils import register_all_modules

    register_all_modules()
    from mmengine.config import Config
    from mmengine.registry import MODELS

    model = MODELS.build(Config.fromfile(config).model)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "random.pth")
    run(sys.executable, test_tool, config, tmp_path / "random.pth", "--work-dir", tmp_path / "work", folder=tmp_path)
    opened = open_run(tmp_path / "runs" / "s2anet")
    shapes = {}
    for stored in opened.maps:
        if stored.samples[0].id == "P0706":
            shapes.setdefault(stored.folder, []).append(tuple(stored.record.shape))
    levels = [(128, 124), (64, 62), (32, 31), (16, 16), (8, 8)]
    assert set(shapes) == set(TREE)
    assert shapes["backbone.resnet"] == [(1, 256, 256, 248), (1, 512, 128, 124), (1, 1024, 64, 62), (1, 2048, 32, 31)]
    assert shapes["neck.fpn"] == [(1, 256, *size) for size in levels]
    for head in ("init", "refine"):
        base = f"bbox_head_{head}.s2anet_{head}"
        assert shapes[f"{base}.cls_scores"] == [(1, 15, *size) for size in levels]
        assert shapes[f"{base}.bbox_preds"] == [(1, 5, *size) for size in levels]
    assert check_run(tmp_path / "runs" / "s2anet").problems == []


def test_the_validation_loop(mmrotate_root, tmp_path):
    script = tmp_path / "validate.py"
    script.write_text(
        f"""
import featscope.adapters.mmengine
from mmengine.config import Config
from mmengine.runner import Runner
from mmrotate.utils import register_all_modules

if __name__ == "__main__":  # the metric starts processes that import this file
    register_all_modules()
    cfg = Config.fromfile({str(TINY)!r})
    cfg.val_dataloader, cfg.val_evaluator = cfg.test_dataloader, cfg.test_evaluator
    cfg.val_cfg = dict(type="ValLoop")
    cfg.custom_hooks = [dict(type="FeatureMapHook", save_dir={str(tmp_path / "run")!r}, layers=["neck"])]
    cfg.work_dir, cfg.load_from = {str(tmp_path / "work")!r}, {str(WEIGHTS)!r}
    Runner.from_cfg(cfg).val()
"""
    )
    run(sys.executable, script)
    assert _tree(tmp_path / "run") == {"neck.fpn": {f"batch_{b}_layer_{n}.npy" for b in range(2) for n in range(5)}}
    assert check_run(tmp_path / "run").problems == []


def test_the_ready_runtime_config(mmrotate_root):
    """`type='FeatureMapHook'` and `type='mmdet.FeatureMapHook'` are found under any default scope."""
    from mmengine.config import Config
    from mmengine.registry import HOOKS, DefaultScope

    config = Config.fromfile(EXAMPLES / "default_runtime_featmap.py")
    assert config.default_scope == "mmrotate"
    for scope in ("mmengine", "mmdet", "mmrotate"):
        with DefaultScope.overwrite_default_scope(scope):
            for kind in ("FeatureMapHook", "mmdet.FeatureMapHook"):
                hook = HOOKS.build(dict(config.custom_hooks[0], type=kind))
                assert hook.save_dir == "runs/featmap"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{tiny}", "{yolox}"), "does not fit the model"),
        (("{tiny}", "nothing.pth"), "does not exist"),
        (("nothing.py", "random"), "does not exist"),
        (("{tiny}", "{weights}", "-i", "none.jpg"), "none.jpg does not exist"),
        (("{tiny}", "{weights}", "-i", "{image}", "-l", "nek"), "did you mean 'neck'"),
    ],
)
def test_bad_input(mmrotate_root, tmp_path, arguments, message):
    places = {
        "tiny": TINY,
        "weights": WEIGHTS,
        "yolox": SHARED / "models" / "yolox_nano_coco_mmdet.pth",
        "image": IMAGES / "images" / "P0248.png",
    }
    done = featscope("capture", *[a.format(**places) for a in arguments], "-o", tmp_path / "run", check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_images_in_place_of_the_test_set(mmrotate_root, tmp_path):
    """Also twice the same name, also random weights, also an image that is none."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "P0248.png").symlink_to(IMAGES / "images" / "P0248.png")
    (tmp_path / "more" / "text.png").write_text("no image")
    options = ["-i", IMAGES / "images" / "P0248.png", "-i", tmp_path / "more", "-l", "neck"]
    done = featscope("capture", TINY, "random", *options, "-o", tmp_path / "run", check=False)
    assert done.returncode == 1
    assert "text.png cannot be read" in done.stderr
    assert "10 maps of 2 samples" in done.stdout
    opened = open_run(tmp_path / "run")
    assert set(opened.samples) == {"P0248", "more_P0248"}
    assert opened.info.classes[:2] == ["plane", "baseball-diamond"]


def test_layers_of_a_real_config(mmrotate_root):
    done = featscope("layers", mmrotate_root / ".mim/configs/s2anet/s2anet-le135_r50_fpn_1x_dota.py")
    rows = [line.split() for line in done.stdout.splitlines()]
    shape, axes = ["1", "x", "256", "x", "256", "x", "256"], ["sample,", "channel,", "row,", "column"]
    assert ["backbone", "ResNet", "1", *shape, *axes, "4", "0.5", "(operators)"] in rows
    assert ["bbox_head_refine.0", "S2ARefineHead", "1", "cls_scores"] in [row[:4] for row in rows]


def test_a_checkpoint_with_a_pickle_is_refused(mmrotate_root, tmp_path):
    torch.save({"state_dict": {}, "extra": TINY}, tmp_path / "odd.pth")  # a Path is no plain value
    done = featscope("capture", TINY, tmp_path / "odd.pth", "-o", tmp_path / "run", check=False)
    assert done.returncode == 1
    assert "--trust-checkpoint" in done.stderr

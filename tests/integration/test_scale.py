"""Policies, ranks, resume and estimates with the real test tool of MMRotate."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from featscope.analysis.misses import misses
from featscope.analysis.object_tables import objects
from featscope.arrays.packed import STEPS
from featscope.arrays.reduce import reduce
from featscope.store.check import check_run
from featscope.store.reader import open_run

from .conftest import SHARED, featscope, run

TINY = SHARED / "models" / "s2anet_tiny.py"
WEIGHTS = SHARED / "models" / "s2anet_tiny.pth"
AERIAL = SHARED / "data" / "aerial" / "dota_devkit"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As torchrun sets it, so that one process and two do the same sums."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)


@pytest.fixture(scope="module")
def three_images(tmp_path_factory, mmrotate_root):
    """A data set of three labelled images: an odd number for two ranks."""
    folder = tmp_path_factory.mktemp("three")
    for kind, suffix in (("images", "png"), ("labelTxt", "txt")):
        (folder / kind).mkdir()
        for name, source in (("A", "P0248"), ("B", "P0706"), ("C", "P0248")):
            (folder / kind / f"{name}.{suffix}").symlink_to(AERIAL / kind / f"{source}.{suffix}")
    config = folder / "config.py"
    config.write_text(
        f"_base_ = {str(TINY)!r}\n"
        "custom_imports = dict(imports=['cpu_ranks', 'featscope.adapters.mmengine'])\n"
        "env_cfg = dict(dist_cfg=dict(backend='gloo'))\n"
        "model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None)\n"
        # Its processes, which import all of MMRotate each, are not what is tested here.
        "test_evaluator = dict(format_only=True, merge_patches=False, "
        f"outfile_prefix={str(folder / 'dota')!r})\n"
        f"test_dataloader = dict(dataset=dict(data_root={str(folder)!r}))\n"
    )
    return config


def _tool(root, config, work, *launcher, **hook):
    """The test tool with the hook; returns what it printed."""
    hooked = config.with_name(f"{work.name}.py")
    hooked.write_text(f"_base_ = {str(config)!r}\ncustom_hooks = [dict(type='mmdet.FeatureMapHook', **{hook!r})]\n")
    end = ["--launcher", "pytorch"] if launcher else []
    return run(sys.executable, *launcher, root / ".mim/tools/test.py", hooked, WEIGHTS, "--work-dir", work, *end)


@pytest.fixture(scope="module")
def whole(three_images, mmrotate_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    _tool(mmrotate_root, three_images, folder / "work", save_dir=str(folder / "run"))
    return folder / "run"


def _arrays(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.suffix in (".npy", ".jpg")}


def test_two_ranks_give_the_files_of_one(whole, three_images, mmrotate_root, tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    _tool(mmrotate_root, three_images, tmp_path / "work", *torchrun, save_dir=str(tmp_path / "run"))
    one, two = open_run(whole), open_run(tmp_path / "run")
    assert len(one.maps) == 3 * 29
    assert _arrays(tmp_path / "run") == _arrays(whole)
    assert [m.record for m in two.maps] == [m.record for m in one.maps]
    assert {name: s for name, s in two.samples.items()} == {name: s for name, s in one.samples.items()}
    assert two.info.ranks == 2
    assert two.info.finished
    assert check_run(tmp_path / "run").problems == []


def test_two_ranks_give_the_objects_and_misses_of_one(three_images, mmrotate_root, tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    runs = []
    for name, launcher in (("one", []), ("two", torchrun)):
        asked = {"save_dir": str(tmp_path / name), "layers": ["neck"], "policy": {"objects": True, "candidates": True}}
        _tool(mmrotate_root, three_images, tmp_path / f"{name}_work", *launcher, **asked)
        assert check_run(tmp_path / name).problems == []
        runs.append(open_run(tmp_path / name))
    tables = [sorted(objects(run, features=False), key=lambda row: row[:6]) for run in runs]
    assert len(tables[0]) > 1000
    assert tables[0] == tables[1]
    found = [misses(run) for run in runs]
    rows = [sorted(one.rows, key=lambda row: (row.sample, row.number)) for one in found]
    assert [row._replace(candidate=None) for row in rows[0]] == [row._replace(candidate=None) for row in rows[1]]
    assert found[0].point == found[1].point
    assert {row.stage for row in rows[1]} > {"suppressed"}


def test_a_policy_gives_what_one_would_have_made_of_the_whole(whole, three_images, mmrotate_root, tmp_path):
    for name, policy in (("heat", {"reduce": "l2", "every": 2}), ("small", {"dtype": "uint8", "images": ["B"]})):
        _tool(mmrotate_root, three_images, tmp_path / name, save_dir=str(tmp_path / f"run_{name}"), policy=policy)
        assert check_run(tmp_path / f"run_{name}").problems == []
    everything = {m.record.path: m.load() for m in open_run(whole).maps}
    heat = open_run(tmp_path / "run_heat")
    assert list(heat.samples) == ["A", "C"]
    assert len(heat.maps) == 2 * 29
    for stored in heat.maps:
        np.testing.assert_allclose(stored.load()[0, 0], reduce(everything[stored.record.path][0], "l2"), rtol=1e-5)
    small = open_run(tmp_path / "run_small")
    assert list(small.samples) == ["B"]
    for stored in small.maps:
        exact = everything[stored.record.path]
        spread = exact.max((2, 3)) - exact.min((2, 3))
        error = np.abs(stored.load() - exact).max((2, 3))
        assert (error <= spread / (2 * STEPS) * 1.01 + 1e-6).all()
    for thinned, most in ((small, 1 / 4), (heat, 1 / 20)):
        stored = {m.record.path: m.record.bytes for m in thinned.maps}
        assert sum(stored.values()) <= most * sum(everything[path].nbytes for path in stored)


def test_killed_in_the_test_loop_and_resumed(whole, three_images, tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "featscope", "capture", str(three_images), str(WEIGHTS), "-o", str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 120
    manifest = folder / "manifest-00000.jsonl"
    # Its first line, not its first array: of a batch without a line nothing is known, and the one before is run again.
    while not (manifest.exists() and '"batch":1' in manifest.read_text()) and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert any("unfinished" in problem for problem in check_run(folder).problems)
    done = featscope("capture", three_images, WEIGHTS, "-o", folder, "--resume")
    assert "58 maps of 2 samples" in done.stdout, "the first image is not run again"
    names = open_run(whole).folders()
    assert open_run(folder).folders() == names
    assert _arrays(folder) == _arrays(whole)
    assert open_run(folder).samples["C"] == open_run(whole).samples["C"]
    assert check_run(folder).problems == []
    other = featscope("capture", three_images, WEIGHTS, "-o", folder, "--resume", "--dtype", "float16", check=False)
    assert other.returncode == 1
    assert 'its policy is {}, but now it is {"dtype":"float16"}' in other.stderr


def test_the_estimate_is_what_the_run_takes(whole, three_images, tmp_path):
    done = featscope("capture", three_images, WEIGHTS, "-o", tmp_path / "run", "--estimate")
    size = sum(m.record.bytes for m in open_run(whole).maps) / 3
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("neck.fpn")]
    assert rows[0][1] == "5"
    # All three images count as the first: the second is a little larger.
    said = float(done.stdout.split("3 of 3 samples: ")[1].split(" MB")[0])
    assert abs(said - 3e-6 * size) / said < 0.6
    assert not (tmp_path / "run").exists()
    done = featscope("capture", three_images, WEIGHTS, "-o", tmp_path / "run", "--estimate", "--sample", "B")
    assert "1 of 3 samples" in done.stdout


def test_few_samples_leave_out_the_other_forwards(three_images, tmp_path):
    done = featscope("capture", three_images, WEIGHTS, "-o", tmp_path / "run", "--max-samples", "1", "-l", "neck")
    assert "5 maps of 1 sample," in done.stdout
    assert "dota/mAP" not in done.stdout, "the metrics of a part would mislead"

"""Capture under torchrun: a plain DistributedDataParallel loop on two gloo ranks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import featscope

SCRIPT = """
import sys
import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, SequentialSampler
import featscope

torch.set_num_threads(1)
folder, size = sys.argv[1], int(sys.argv[2])
dataset = [(f"image_{i}", torch.randn(3, 16, 12, generator=torch.Generator().manual_seed(i))) for i in range(size)]
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
sampler = SequentialSampler(dataset)
if dist.is_torchelastic_launched():
    dist.init_process_group("gloo")
    model = DistributedDataParallel(model)
    sampler = DistributedSampler(dataset, shuffle=False)
rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
with torch.no_grad(), featscope.capture(model, to=folder, dataset_size=size) as session:
    for index, (names, images) in enumerate(DataLoader(dataset, sampler=sampler)):
        session.start_batch(index * world + rank, list(names))
        model(images)
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "loop.py").write_text(SCRIPT)
    return tmp_path / "loop.py"


@pytest.mark.slow
def test_two_ranks_under_torchrun_give_the_files_of_one(script, tmp_path):
    """Five images: the sampler gives the sixth place to the first image again, and it is not stored twice."""
    pytest.importorskip("torch")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for name, launcher in (("one", []), ("two", torchrun)):
        command = [sys.executable, *launcher, str(script), str(tmp_path / name), "5"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (featscope.open_run(tmp_path / name) for name in ("one", "two"))
    files = [sorted(p.relative_to(run.folder) for p in Path(run.folder).rglob("*.npy")) for run in (one, two)]
    assert files[0] == files[1]
    assert len(files[0]) == 10
    for name in files[0]:
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()
    assert sorted(one.samples) == sorted(two.samples) == [f"image_{i}" for i in range(5)]
    assert [m.record for m in one.maps] == [m.record for m in two.maps]
    assert len(list(Path(two.folder).glob("manifest-*.jsonl"))) == 2
    assert two.info.finished
    assert featscope.check_run(tmp_path / "two").problems == []
    np.testing.assert_array_equal(one.maps[3].load(), two.maps[3].load())

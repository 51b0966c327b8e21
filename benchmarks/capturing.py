"""Capturing: the real test loop of MMRotate with and without, the disk's own rate, and memory."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Iterator, List

import numpy as np
import torch

from benchmarks.measure import Row
from featscope.records import CapturedMap, RunInfo
from featscope.store.writer import QUEUE_BYTES, RunWriter

SHARED = Path(__file__).parents[2] / "shared"


def rows(folder: Path, images: int = 200) -> Iterator[Row]:
    """The rows about the test loop; `folder` is on the disk that is written to."""
    yield memory(folder, images)
    yield loop(folder)


def writing(folder: Path, to_disk: bool, rounds: int = 20) -> Row:
    """The writer against plain write() of the same bytes to the same disk, taking turns.

    Into the system's cache, where the checksum competes for the memory's rate, or `to_disk`: until
    the bytes are there.

    Both write from a thread: on a virtual machine the pages of the cache that another core has freed
    are several times slower to fill, which is a fact of the machine and not of either side.
    """
    array = np.random.default_rng(0).standard_normal((1, 256, 256, 248)).astype(np.float32)  # 65 MB
    data = memoryview(array.reshape(-1).view(np.uint8))
    target = folder / "written"

    def plain() -> None:
        target.mkdir()
        for i in range(12):
            with open(target / f"{i}.bin", "wb", buffering=0) as file:
                view = data
                while view:
                    view = view[file.write(view) :]

    def plain_in_a_thread() -> None:
        thread = threading.Thread(target=plain)
        thread.start()
        thread.join()

    def ours() -> None:
        writer = RunWriter(target, RunInfo())
        for i in range(12):
            writer.put(CapturedMap("x", "X", "", i, 0, 0, [], "x"), array)
        writer.close()

    rates = {"plain": [], "ours": []}
    for number in range(rounds):
        for name, write in (("plain", plain_in_a_thread), ("ours", ours)):
            start = time.perf_counter()
            write()
            if to_disk:
                os.sync()
            took = time.perf_counter() - start
            shutil.rmtree(target)
            os.sync()
            if number >= 3:  # the first rounds warm the page cache
                rates[name].append(12 * array.nbytes / took / 1e9)
    rate, peer = (statistics.median(rates[name]) for name in ("ours", "plain"))
    return Row(
        "writing, against plain `write()`, " + ("until it is on the disk" if to_disk else "into the system's cache"),
        f"{rate:.2f} GB/s",
        f"{peer:.2f} GB/s",
        f"{rate / peer:.0%}",
        "90 %",
        rate >= 0.9 * peer,
    )


def _runner(folder: Path, base: str, images: Path, suffix: str) -> Any:
    from mmengine.config import Config
    from mmengine.runner import Runner
    from mmrotate.utils import register_all_modules

    register_all_modules()
    config = Config.fromfile(base)
    config.merge_from_dict(
        {
            "model.backbone.init_cfg": None,
            "work_dir": str(folder / "work"),
            "log_level": "ERROR",
            "test_evaluator": {
                "type": "DOTAMetric",
                "format_only": True,
                "merge_patches": False,
                "outfile_prefix": str(folder / "dota"),
            },
            "test_dataloader.num_workers": 0,
            "test_dataloader.persistent_workers": False,
        }
    )
    dataset = config.test_dataloader.dataset
    dataset.update(data_root=str(images), ann_file="", data_prefix={"img_path": ""}, img_suffix=suffix, test_mode=True)
    # Without labels there are none to load.
    dataset.pipeline = [step for step in dataset.pipeline if "Annotations" not in step["type"]]
    dataset.pipeline = [step for step in dataset.pipeline if step["type"] != "ConvertBoxType"]
    torch.manual_seed(0)
    runner = Runner.from_cfg(config)
    logging.disable(logging.INFO)
    runner.test_evaluator.evaluate = lambda size: {}
    return runner


def _test(runner: Any, hooks: List[Any]) -> float:
    """Seconds of one test loop with these hooks besides the runner's own."""
    runner._hooks.extend(hooks)
    start = time.perf_counter()
    runner.test()
    took = time.perf_counter() - start
    del runner._hooks[len(runner._hooks) - len(hooks) :]
    return took


def loop(folder: Path, rounds: int = 4) -> Row:
    """All parts of S2ANet-R50 at 1024 x 1024 inside the real test loop, against the same loop without."""
    import mmrotate

    from featscope.adapters.mmengine import FeatureMapHook

    base = Path(mmrotate.__file__).parent / ".mim" / "configs" / "s2anet" / "s2anet-le135_r50_fpn_1x_dota.py"
    images = SHARED / "data" / "aerial" / "dota8_train" / "images"
    runner = _runner(folder, str(base), images, "jpg")
    _test(runner, [])
    bare, hooked = [], []
    for number in range(rounds):
        bare.append(_test(runner, []))
        # Kept until the end, as in `hooking`: what one core frees is slow to fill from another.
        run = folder / f"run{number}"
        hooked.append(_test(runner, [FeatureMapHook(str(run))]))
        size = sum(p.stat().st_size for p in run.rglob("*.npy"))
        os.sync()
    # Neighbours in time, so that a slow minute of the machine counts on both sides.
    extra = statistics.median(h / b - 1 for b, h in zip(bare, hooked))
    each = [statistics.median(times) / 4 for times in (hooked, bare)]
    return Row(
        f"capture of all S2ANet-R50 parts ({size / 4e6:.0f} MB an image) in the test loop",
        f"{each[0]:.2f} s an image",
        f"{each[1]:.2f} s bare",
        f"+{extra:.1%}",
        "+6 %",
        extra <= 0.06,
    )


def memory(folder: Path, images: int) -> Row:
    """Resident memory over many images, with the hook and without."""
    from mmengine.hooks import Hook

    from featscope.adapters.mm.detector import load_checkpoint
    from featscope.adapters.mmengine import FeatureMapHook

    class Resident(Hook):
        def __init__(self) -> None:
            self.megabytes: List[float] = []

        def after_test_iter(self, *_args: Any, **_named: Any) -> None:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.megabytes.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)

    source = sorted((SHARED / "data" / "aerial" / "airplane" / "images").glob("*.jpg"))
    many = folder / "images"
    many.mkdir()
    for i in range(images):
        (many / f"{i:04d}.jpg").symlink_to(source[i % len(source)])
    runner = _runner(folder, str(SHARED / "models" / "s2anet_tiny.py"), many, "jpg")
    load_checkpoint(runner.model, str(SHARED / "models" / "s2anet_tiny.pth"))
    readings = []
    for hooks in ([], [FeatureMapHook(str(folder / "run"))]):
        resident = Resident()
        gc.collect()
        _test(runner, [*hooks, resident])
        readings.append(resident.megabytes)
    shutil.rmtree(folder / "run", ignore_errors=True)
    bare, ours = readings
    early, late = max(ours[10:60]), max(ours[-50:])
    growth, above = late - early, max(ours) - max(bare)
    return Row(
        f"resident memory over {images} images: growth after the first ten, and above the bare loop",
        f"{late:.0f} MB at the end, {early:.0f} MB early",
        f"{max(bare):.0f} MB bare",
        f"{growth:+.0f} MB, {above:+.0f} MB",
        f"flat, +{QUEUE_BYTES / 1e6:.0f} MB",
        growth <= 0.02 * early and above <= QUEUE_BYTES / 1e6,
    )


def temporary_folder(parent: Path) -> Path:
    """A folder that the caller removes."""
    return Path(tempfile.mkdtemp(prefix="featscope-benchmark-", dir=parent))

"""Explanations: against grad-cam, against one box at a time, and against the forwards alone."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Callable, Dict, Iterator

import numpy as np
import torch

from benchmarks.measure import Row, alternate, faster
from featscope.adapters.opening import open_detector
from featscope.arrays.reduce import reduce
from featscope.demo.scenes import draw_scene
from featscope.explaining.explainer import explain_item
from featscope.explaining.targets import Choice

BOXES = 20
MASKS = 1000
ROUNDS = 2  # of up to two minutes for each side


def rows() -> Iterator[Row]:
    """All of them; those that need a framework's detector are left out where it is not installed."""
    yield from _eigen_cam()
    yield from _twenty_boxes()
    yield from _d_rise()


def _eigen_cam() -> Iterator[Row]:
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    scene = np.random.default_rng(0).standard_normal((256, 128, 128)).astype(np.float32)
    start = time.perf_counter()
    get_2d_projection(scene[None])
    peer = time.perf_counter() - start  # once: it takes longer than all the rest
    ours = alternate({"ours": lambda: reduce(scene, "pc1")})["ours"]
    yield faster("Eigen-CAM of (256, 128, 128), against grad-cam", ours, peer, 100)
    grown = {name: _peak(code) for name, code in (("ours", _OURS), ("peer", _PEER))}
    ratio = grown["peer"] / grown["ours"]
    yield Row(
        "its memory beside the map",
        f"{grown['ours'] / 1e6:.0f} MB",
        f"{grown['peer'] / 1e6:.0f} MB",
        f"{ratio:.1f} x",
        "10 x",
        ratio >= 10,
    )


_OURS = "from featscope.arrays.reduce import reduce\nrun = lambda x: reduce(x, 'pc1')"
_PEER = "import pytorch_grad_cam.utils.svd_on_activations as svd\nrun = lambda x: svd.get_2d_projection(x[None])"


def _peak(code: str) -> int:
    """Bytes that a call adds to the most that a fresh process ever held."""
    script = (
        "import numpy as np\n"
        f"{code}\n"
        "run(np.random.default_rng(1).standard_normal((8, 16, 16)).astype(np.float32))\n"
        "x = np.random.default_rng(0).standard_normal((256, 128, 128)).astype(np.float32)\n"
        "status = lambda key: next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith(key))\n"
        "open('/proc/self/clear_refs', 'w').write('5')\n"  # the most it held, from here on
        "before = status('VmRSS')\n"
        "run(x)\n"
        "print((status('VmHWM') - before) * 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return max(1, int(done.stdout.split()[-1]))


def _twenty_boxes() -> Iterator[Row]:
    for name, detector, image, layer in _detectors():
        item = detector.prepare(image, "image")
        found = explain_item(detector, item, layer, ["grad-cam"], Choice(top=BOXES), on_error=lambda text: None)
        numbers = [explanation.target.number for explanation in found]

        def together(item=item, detector=detector, layer=layer, numbers=numbers) -> None:
            explain_item(detector, item, layer, ["grad-cam"], Choice(numbers=numbers))

        def one_by_one(item=item, detector=detector, layer=layer, numbers=numbers) -> None:
            for number in numbers:
                explain_item(detector, item, layer, ["grad-cam"], Choice(numbers=[number]))

        times = _in_turns({"ours": together, "peer": one_by_one})
        work = f"Grad-CAM of {len(numbers)} boxes at `{layer}` of {name}, against single calls"
        yield faster(work, times["ours"], times["peer"], 5)


def _detectors() -> Iterator:
    """The built-in detector, and real ones where they are."""
    yield "the demo's S2A-Net", open_detector("demo", score_threshold=0.02), draw_scene(3).image, "neck"
    shared = Path(__file__).parents[2] / "shared"
    weights = shared / "models" / "s2anet_tiny.pth"
    try:
        import mmrotate
    except ImportError:
        return
    root = Path(mmrotate.__file__).parent / ".mim" / "configs"
    image = shared / "data" / "aerial" / "dota_devkit" / "images" / "P0706.png"
    if weights.exists():
        yield "S2ANet-tiny", open_detector(str(weights.with_suffix(".py")), str(weights)), image, "neck"
        mmdet_root = Path(import_module("mmdet").__file__).parent / ".mim" / "configs"
        yolox = mmdet_root / "yolox" / "yolox_nano_8xb8-300e_coco.py"
        room = min((shared / "data" / "natural" / "coco_val").glob("*.jpg"))
        nano = open_detector(str(yolox), str(weights.with_name("yolox_nano_coco_mmdet.pth")))
        yield "YOLOX-nano", nano, room, "neck"
        options = {"config_options": {"model.backbone.init_cfg": None}, "score_threshold": 0.01}
        config = root / "oriented_rcnn" / "oriented-rcnn-le90_r50_fpn_1x_dota.py"
        yield "Oriented R-CNN R50", open_detector(str(config), "random", **options), image, "neck"


def _in_turns(sides: Dict[str, Callable[[], None]]) -> Dict[str, float]:
    """Mean seconds of each side, called in turns: for what takes too long for many calls."""
    times = dict.fromkeys(sides, 0.0)
    for _ in range(ROUNDS):
        for name, call in sides.items():
            start = time.perf_counter()
            call()
            times[name] += (time.perf_counter() - start) / ROUNDS
    return times


def _d_rise() -> Iterator[Row]:
    detector = open_detector("demo")
    item = detector.prepare(draw_scene(3).image, "image")
    batch = 4

    def forwards() -> None:
        with torch.no_grad():
            for _ in range(MASKS // batch):
                detector.detect([item] * batch)

    def ours() -> None:
        explain_item(detector, item, "", ["d-rise"], Choice(top=5), masks=MASKS, batch_size=batch)

    times = _in_turns({"peer": forwards, "ours": ours})
    more = times["ours"] / times["peer"] - 1
    yield Row(
        f"D-RISE of 5 boxes with {MASKS} masks, against {MASKS} forwards",
        f"{times['ours']:.1f} s",
        f"{times['peer']:.1f} s",
        f"{100 * more:+.1f} %",
        "+10 %",
        more <= 0.10,
    )

"""Try one config of every family of MMRotate and MMDetection: list, capture, trace, explain, with random weights.

    python tools/try_configs.py mmrotate mmdet > docs/configs.md

Prints a page in Markdown. Images are fitted into 320 pixels, so that it takes half an hour.
"""

import contextlib
import gc
import importlib
import io
import re
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import torch

from featscope.adapters.images import capture_images
from featscope.adapters.mmdet import MMDetector, build_model, read_config, run_info
from featscope.demo.scenes import draw_scene
from featscope.errors import FeatscopeError
from featscope.explaining.explainer import explain_item
from featscope.explaining.targets import Choice
from featscope.store.reader import open_run

INTRODUCTION = """# Every config family, tried

One config of every family of MMRotate {mmrotate} and MMDetection {mmdet} (torch {torch}, on a CPU), with random
weights, on an image fitted into 320 pixels: listed (`featscope layers`), captured, its detections traced to their
sources, two of them explained at the neck by HiResCAM. Where the most ordinary config of a family does not run, up
to two others are tried; all are named.

- `layers`: that run in one forward. `folders`, `maps`: stored when every top-level part is captured.
- `no map`: stored arrays that have no rows and columns of the image (queries, boxes of proposals, class tokens).
  They are stored as they are and not drawn.
- `place`: how it is known where the maps' cells lie. `geometry`: whether the image file, fitted by the recorded
  geometry, is what the network saw, and their correlation.
- A reason in place of numbers is why the config did not run here, mostly a package that is not installed
  (mmpretrain, e2cnn, lap, ...) or an operation that MMCV does not have for a CPU; both are the framework's own.
  Fast R-CNN needs a file of proposals, trackers need videos, SyncBN without a process group does not run on a CPU,
  and in this release SSDHead lacks what its base class asks for.
- Detections that mask scoring or a grid head change behind the box head have no source by value: 0 of 100. Heads
  that are not known have their maps, and a reason.

```
python tools/try_configs.py mmrotate mmdet
```"""

COLUMNS = (
    *("config", "layers", "folders", "maps", "no map", "place", "geometry"),
    *("traced detections", "explained", "seconds"),
)
SIZE = (320, 320)
LARGER = (800, 800)  # for heads whose kernels do not fit the smallest level
SECONDS = 150
TRIES = 3  # configs of a family, until one runs
PREFERRED = ("r50_fpn", "r50", "tiny", "nano", "_s_", "r18")


def families(package):
    """A family's folder and its configs, the most ordinary first."""
    root = Path(importlib.import_module(package).__file__).parent / ".mim" / "configs"
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name not in ("_base_", "common")):
        configs = sorted(folder.glob("*.py"), key=lambda path: (len(path.name), path.name))
        if configs:
            likely = [path for mark in PREFERRED for path in configs if mark in path.name]
            yield root, list(dict.fromkeys([*likely, *configs]))[:TRIES]


def small(config, size):
    """The config with images of a size, and without weights to download."""
    pending = [config._cfg_dict]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if "init_cfg" in node and isinstance(node["init_cfg"], dict) and "checkpoint" in node["init_cfg"]:
                node["init_cfg"] = None
            if str(node.get("type", "")).endswith("Resize") and "scale" in node:
                node["scale"] = size
            if str(node.get("type", "")).endswith("Pad") and "size" in node:
                node["size"] = size
            pending += list(node.values())
        elif isinstance(node, (list, tuple)):
            pending += list(node)
    return config


def attempt(path, image, size):
    """One row: layers, maps, what is known of them, detections with a source, explained boxes."""
    config = small(read_config(str(path)), size)
    if "test_dataloader" not in config or config.get("test_dataloader") is None:
        raise FeatscopeError("a config for training or for something else than images: it has no test_dataloader")
    torch.manual_seed(0)
    model = build_model(config)
    detector = MMDetector(model, run_info(config, model, "random"), config)
    for test in (getattr(model, "test_cfg", None), getattr(getattr(model, "roi_head", None), "test_cfg", None)):
        if isinstance(test, dict) and "score_thr" in test:
            test["score_thr"] = min(test["score_thr"], 0.01)
    with torch.no_grad():
        found = detector.report(detector.prepare(image, "noise"))
    with tempfile.TemporaryDirectory() as folder:
        made = capture_images(detector, [image], Path(folder) / "run", None)
        opened = open_run(Path(folder) / "run")
        folders, known = len(opened.folders()), what_is_known(opened)
        (sample,) = opened.samples.values()
    boxes = sample.predictions.boxes if sample.predictions else []
    if made.remarks or not detector.traceable:
        return len(found.layers), folders, *known, (made.remarks or ["no boxes of a known kind"])[0][:110], ""
    ties, lost = sum(len(s) > 1 for s in sample.sources), sum(not s for s in sample.sources)
    traced = f"{len(boxes) - lost} of {len(boxes)}" + (f", {ties} ties" if ties else "")
    try:
        heats = explain_item(
            detector, detector.prepare(image, "noise"), detector.layer_to_explain, ["hirescam"], Choice(top=2)
        )
        explained = str(len(heats))
    except FeatscopeError as error:
        explained = reason(error)
    return len(found.layers), folders, *known, traced, explained


def what_is_known(run):
    """Four cells: the maps, the arrays that are none, how the maps' places are known, whether the geometry is true."""
    maps = [file for file in run.maps if file.is_map]
    places = Counter(file.place().known for file in maps)
    (sample,) = run.samples.values()
    geometry = ""
    if sample.agreement is not None:
        by = sample.agreement.correlation
        geometry = sample.agreement.verdict + (f" {by:.2f}" if by is not None else "")
    counted = ", ".join(how if len(places) == 1 else f"{n} {how}" for how, n in places.most_common())
    return len(maps), len(run.maps) - len(maps), counted, geometry


def reason(error):
    """Why a config could not be tried, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r", the current sys.path is.*", "", text)
    text = re.sub(r"(?:/[\w.+-]+)+/([\w.+-]+)", r"\1", text)  # paths of this machine are nobody's business
    return f"{type(error).__name__}: {text[:150]}".replace("|", "/")


def one_row(path, image):
    """The cells of a config, and whether it runs."""
    for size in (SIZE, LARGER):
        signal.alarm(SECONDS)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                return " | ".join(map(str, attempt(path, image, size))), True
        except Exception as error:  # noqa: BLE001 (the table names it)
            why = reason(error)
            if "smaller than kernel" not in why:
                break
        finally:
            signal.alarm(0)
    return f"{why} | | | | | | | ", False


def main(packages):
    """Print a table for each package."""
    from PIL import Image

    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError(f"longer than {SECONDS} s")))
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "scene.png"
        Image.fromarray(draw_scene(3).image).save(image)
        versions = {name: importlib.import_module(name).__version__ for name in ("mmrotate", "mmdet", "torch")}
        print(INTRODUCTION.format_map(versions))
        for package in packages:
            print(f"\n## {package}\n\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
            good = tried = 0
            for root, paths in families(package):
                tried += 1
                for path in paths:
                    start = time.perf_counter()
                    cells, runs = one_row(path, image)
                    print(f"| `{path.relative_to(root)}` | {cells} | {time.perf_counter() - start:.1f} |", flush=True)
                    gc.collect()
                    good += runs
                    if runs:
                        break
            print(f"\n{good} of {tried} families.", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["mmrotate", "mmdet"])

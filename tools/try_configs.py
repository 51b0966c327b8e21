"""Try one config of every family of MMRotate and MMDetection: list, capture, trace, explain, with random weights.

    python tools/try_configs.py mmrotate mmdet > docs/configs.md

Prints a page in Markdown. Images are fitted into 320 pixels, so that it takes half an hour.
"""

import functools
import importlib
import sys
from pathlib import Path

import torch
from trying import head_of_table, scene, tried

from featscope.adapters.mm.detector import MMDetector, build_model, read_config, run_info
from featscope.errors import FeatscopeError

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

SIZE = (320, 320)
LARGER = (800, 800)  # for heads whose kernels do not fit the smallest level
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


def make(path, size):
    """The detector of a config, with random weights."""
    config = small(read_config(str(path)), size)
    if "test_dataloader" not in config or config.get("test_dataloader") is None:
        raise FeatscopeError("a config for training or for something else than images: it has no test_dataloader")
    torch.manual_seed(0)
    model = build_model(config)
    for test in (getattr(model, "test_cfg", None), getattr(getattr(model, "roi_head", None), "test_cfg", None)):
        if isinstance(test, dict) and "score_thr" in test:
            test["score_thr"] = min(test["score_thr"], 0.01)
    return MMDetector(model, run_info(config, model, "random"), config)


def main(packages):
    """Print a table for each package."""
    with scene() as image:
        versions = {name: importlib.import_module(name).__version__ for name in ("mmrotate", "mmdet", "torch")}
        print(INTRODUCTION.format_map(versions))
        for package in packages:
            head_of_table(package, "config")
            good = number = 0
            for root, paths in families(package):
                number += 1
                for path in paths:
                    name = str(path.relative_to(root))
                    make_it = functools.partial(make, path)
                    if tried(name, make_it, image, (SIZE, LARGER), lambda e: "smaller than kernel" in str(e)):
                        good += 1
                        break
            print(f"\n{good} of {number} families.", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["mmrotate", "mmdet"])

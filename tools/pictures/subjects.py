"""The detectors whose maps are drawn, and the images with labels that they see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import numpy as np
from PIL import Image

from featscope.adapters.feeding import capture_images
from featscope.adapters.opening import open_detector
from featscope.demo.scenes import draw_scene
from featscope.records import Boxes
from featscope.store.reader import Run, open_run

SCENES = range(40, 60)
"""Seeds that the demo's detector was not trained on, nor is shown with."""

FEATURES, SCORES, REGRESSIONS = "features", "scores", "regressions"


@dataclass(frozen=True)
class Subject:
    """A detector and its images.

    source, checkpoint: as `featscope capture` takes them. images: their files, or none for the demo's own scenes.
    layers: what is captured. free: pictures that show the images may be published. words: what the page says of it.
    """

    name: str
    source: str
    checkpoint: str
    folders: Tuple[Path, ...]
    layers: Tuple[str, ...]
    words: str
    free: bool = False

    def images(self, work: Path) -> Dict[Path, Boxes]:
        """Its images with their ground truth."""
        if not self.folders:
            return dict(_scene(seed, work / "scenes") for seed in SCENES)
        files = [path for folder in self.folders for path in sorted((folder / "images").iterdir())]
        return {path: read_labels(path.parent.parent / "labelTxt" / f"{path.stem}.txt") for path in files}


def subjects(shared: Path) -> List[Subject]:
    """Those whose weights are at hand; shared: the folder with `models` and `data`."""
    import mmdet

    configs = Path(mmdet.__file__).parent / ".mim" / "configs"
    aerial = shared / "data" / "aerial"
    return [
        Subject(
            "S2ANet-tiny",
            str(shared / "models" / "s2anet_tiny.py"),
            str(shared / "models" / "s2anet_tiny.pth"),
            tuple(aerial / name for name in ("dota_devkit", "dota8_train", "airplane", "songdo")),
            ("backbone", "neck", "bbox_head_init", "bbox_head_refine.0"),
            "rotated boxes; aerial images: DOTA, airports, a drone's view of a crossing",
        ),
        Subject(
            "YOLOX-nano",
            str(configs / "yolox" / "yolox_nano_8xb8-300e_coco.py"),
            str(shared / "models" / "yolox_nano_coco_mmdet.pth"),
            (shared / "data" / "natural" / "coco8_train",),
            ("backbone", "neck", "bbox_head"),
            "COCO's weights; the four COCO images here that have labels",
        ),
        Subject(
            "the demo's S2A-Net",
            "demo",
            "",
            (),
            ("backbone", "neck", "bbox_head_init", "bbox_head_refine"),
            "trained on scenes that the demo draws; scenes that it has not seen",
            free=True,
        ),
    ]


def captured(subject: Subject, work: Path) -> Run:
    """The run of a subject, captured once."""
    folder = work / subject.name.replace(" ", "-").replace("'", "")
    if not (folder / "run.json").is_file():
        truth = subject.images(work)
        detector = open_detector(subject.source, subject.checkpoint)
        made = capture_images(detector, list(truth), folder, list(subject.layers), truth=truth)
        if made.failed:
            raise SystemExit("; ".join(made.failed))
    return open_run(folder)


def read_labels(path: Path) -> Boxes:
    """Labels in DOTA's form: eight numbers, a class and whether it is difficult, one object a line."""
    rows: Sequence[List[str]] = [line.split() for line in path.read_text().splitlines()]
    boxes = [[float(value) for value in row[:8]] for row in rows if len(row) >= 9]
    return Boxes("quad", boxes, [0] * len(boxes))


def _scene(seed: int, folder: Path) -> Tuple[Path, Boxes]:
    scene, path = draw_scene(seed), folder / f"scene_{seed}.png"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene.image).save(path)
    return path, Boxes("cxcywha", np.asarray(scene.boxes, float).tolist(), scene.labels.tolist())

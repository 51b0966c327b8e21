"""Runs whose misses are known: what became of each object is laid down by hand."""

import numpy as np
from PIL import Image

from featscope.arrays.candidates import ImageCandidates, LevelCandidates
from featscope.arrays.selecting import KEPT, select
from featscope.records import Boxes, CapturedMap, Geometry, Place, RunInfo, Sample, Selection
from featscope.store.writer import RunWriter

SIZE = (40, 60)
CLASSES = ["ship", "plane"]
AXES = ["sample", "channel", "row", "column"]

FOUND = [(2, 2, 12, 12), (20, 2, 30, 12), (2, 20, 12, 30), (20, 20, 30, 30)]
SUPPRESSED, SUPPRESSOR = (30, 5, 40, 15), (25.5, 5, 35.5, 15)
LOW = (45, 25, 55, 35)
ALARMS = [(50, 2, 58, 10), (2, 2, 10, 10), (2, 20, 10, 28)]


def write_lost(folder, low=0.3, other=0.01, candidates=True, truth=True, detections=True):
    """Write a run of two images.

    'found' has four ships that are found. 'lost' has a plane that is suppressed by a worse box of a higher score, which
    is a false alarm, and a ship whose best score is `low`, and `other` as a plane. False alarms of lower scores put the operating point at 0.5.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    photo = folder.parent / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)).save(photo)
    writer = RunWriter(folder, RunInfo(model="Toy", classes=CLASSES))
    images = {
        "found": (FOUND, [0] * 4, list(zip(FOUND, [0] * 4, [0.95, 0.9, 0.6, 0.5]))),
        "lost": (
            [SUPPRESSED, LOW],
            [1, 0],
            [
                (SUPPRESSED, 1, 0.8),
                (SUPPRESSOR, 1, 0.85),
                (LOW, 0, low),
                *zip(ALARMS, [1] * 3, [0.45] * 3),
            ],
        ),
    }
    for batch, (name, (boxes, labels, given)) in enumerate(images.items()):
        known = _candidates(given, {LOW: other})
        sample = Sample(
            name,
            str(photo),
            geometry=Geometry(SIZE, SIZE, SIZE),
            batch=batch,
            predictions=_detections(known) if detections else None,
            truth=Boxes("xyxy", [list(map(float, box)) for box in boxes], labels) if truth else None,
        )
        writer.put_sample(sample, None, known if candidates else None)
        for level, side in enumerate((8, 4)):
            array = np.random.default_rng(level).normal(size=(1, 3, side, side)).astype(np.float32)
            stride = (SIZE[0] / side, SIZE[1] / side)
            place = Place(stride, (stride[0] / 2, stride[1] / 2), "operators")
            writer.put(CapturedMap("neck", "FPN", "", level, 0, batch, [name], "neck.fpn", AXES, place), array)
    writer.close()
    return folder


def _candidates(given, as_plane):
    """Candidates as given, and some in the background; the given ones lie in level 1."""
    background = np.array([(x, 36.0, x + 4, 40.0) for x in range(0, 56, 4)], np.float32)
    scores = np.full((len(given), 2), 0.01, np.float32)
    for row, (box, label, score) in enumerate(given):
        scores[row, label] = score
        scores[row, 1] = as_plane.get(box, scores[row, 1])
    levels = (
        LevelCandidates(np.full((len(background), 2), 0.02, np.float32), background, "cell"),
        LevelCandidates(scores, np.array([box for box, _, _ in given], np.float32), "cell"),
    )
    return ImageCandidates(levels, "xyxy", Selection(threshold=0.05, suppression="upright", overlap=0.3))


def _detections(known):
    outcome = select(known)
    kept = outcome.stage == KEPT
    return Boxes("xyxy", outcome.box[kept].tolist(), outcome.label[kept].tolist(), outcome.score[kept].tolist())

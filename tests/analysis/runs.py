"""Small runs with objects whose place on the maps is known."""

import numpy as np

from featscope.records import Boxes, CapturedMap, Geometry, Place, RunInfo, Sample
from featscope.store.writer import RunWriter

AXES = ("sample", "channel", "row", "column")
SIZE = 256
CLASSES = ["ship", "plane"]


def boxes(*rows, scores=None, ignored=None):
    """Upright or rotated boxes, (cx, cy, w, h, angle, label) each."""
    return Boxes(
        "cxcywha",
        [list(row[:5]) for row in rows],
        [int(row[5]) for row in rows],
        list(scores or []),
        ignored=list(ignored or []),
    )


def bright_map(objects, stride, value=5.0, channels=4, seed=0, class_channels=True):
    """Noise, with the channel of its class bright on the cells of each object, (C, H, W)."""
    side = SIZE // stride
    array = np.random.default_rng(seed).normal(0, 0.1, (channels, side, side)).astype(np.float32)
    for x, y, width, height, _, label in objects:
        top, left = int((y - height / 2) / stride), int((x - width / 2) / stride)
        bottom, right = int(np.ceil((y + height / 2) / stride)), int(np.ceil((x + width / 2) / stride))
        array[int(label) if class_channels else 0, top:bottom, left:right] += value
    return array


def write_run(folder, images, layers, writer=RunWriter, **info):
    """Write a run. images: id -> (truth, predictions). layers: (layer, level, stride, id -> map (C, H, W))."""
    sink = writer(folder, RunInfo(model="Toy", classes=CLASSES, **info))
    for batch, (name, (truth, predictions)) in enumerate(images.items()):
        for layer, level, stride, maps in layers:
            place = Place((stride, stride), (stride / 2, stride / 2), "operators")
            captured = CapturedMap(layer, "Toy", "", level, 0, batch, [name], f"{layer}.toy", AXES, place=place)
            sink.put(captured, maps[name][None])
        geometry = Geometry((SIZE, SIZE), (SIZE, SIZE), (SIZE, SIZE))
        sink.put_sample(Sample(name, f"/photos/{name}.png", batch, geometry, "", predictions, truth), None)
    sink.close()
    return folder

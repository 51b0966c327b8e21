"""Compare where featscope says that a layer's cells lie with what the cells look at: the centroid of their gradients.

    python tools/compare_places.py --results build/places > places.md

Forty backbones of torchvision and timm with random weights, on noise. A cell's gradient at the input, squared, has a
centroid; over images and inner cells its median says where the cell lies. What a cell takes from the whole image alike
(squeeze and excitation, attention) pulls the centroid towards the middle of the image, in proportion to the cell's
distance from it: the place is read off where that distance is zero, and what is left is scaled back. A kernel's random
weights have a middle of their own, which is no business of the operators': the mean is taken over draws of the weights
and over rows and columns, and the interval is twice its standard error. What is done is kept, a file a model.
"""

from __future__ import annotations

import argparse
import gc
import json
import signal
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import numpy as np
import torch
from layouts import of_timm, of_torchvision
from layouts.arbiter import centroid
from layouts.cases import Size, Subject
from layouts.judge import capture_layers, verdict_of
from layouts.table import reason

from featscope.records import CapturedMap

SIZE = (384, 384)
IMAGES = 2
CELLS = 4
DRAWS = 3  # of the weights
LEAST_CELLS = 8  # of a map's side
TARGET = 0.15  # cells
SECONDS = 600

INTRODUCTION = f"""How far behind `stride * i` cell i lies, in cells: as it is recorded, and by the centroid of its
gradient at the input ({DRAWS} draws of the weights, {IMAGES} images, {CELLS} inner cells, rows and columns; the
interval is twice the standard error). The last column: if every cell were drawn in the middle of its share of the
pixels."""

TORCHVISION = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "resnet18",
    "resnet50",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "vgg11_bn",
)
TIMM = (
    "resnet18d",
    "resnetv2_18",
    "regnety_002",
    "tf_efficientnet_b0",
    "convnext_atto",
    "inception_v4",
    "xception41",
    "hrnet_w18_small",
    "dla34",
    "cspresnet50",
    "nf_resnet26",
    "mobilenetv4_conv_small",
    "repvgg_a0",
    "hgnetv2_b0",
    "starnet_s1",
    "fasternet_t0",
    "edgenext_xx_small",
    "poolformer_s12",
    "mambaout_femto",
    "pvt_v2_b0",
    "swin_tiny_patch4_window7_224",
    "vit_tiny_patch16_224",
    "ghostnet_100",
    "selecsls42",
    "ese_vovnet19b_dw",
    "res2net50d",
    "resnest14d",
    "mobilevit_xxs",
    "twins_pcpvt_small",
    "hiera_tiny_224",
)


class Measured(NamedTuple):
    """A layer's place, in cells behind `stride * i`: as recorded, and what its gradients say, an axis and draw each."""

    layer: str
    cells: Tuple[int, int]
    stride: Tuple[float, float]
    known: str
    recorded: Tuple[float, float]
    gradients: List[Tuple[float, float]]


def subject_of(library: str, name: str, draw: int) -> Subject:
    """The model for images of this tool's size, with weights of its own for each draw."""
    torch.manual_seed(draw)
    if library == "timm":
        return of_timm.make(name, False, (0, 0), SIZE)
    return of_torchvision.classifier(name, None, SIZE)


def measure(library: str, name: str) -> List[Measured]:
    """The last map of a model that has enough cells, and the one halfway to it, over all draws of the weights."""
    found: Dict[str, Measured] = {}
    for draw in range(DRAWS):
        for one in _measure(subject_of(library, name, draw)):
            before = found[one.layer].gradients if one.layer in found else []
            found[one.layer] = one._replace(gradients=before + one.gradients)
    return list(found.values())


def _measure(subject: Subject) -> List[Measured]:
    for parameter in subject.model.parameters():
        parameter.requires_grad_(False)
    images = torch.randn(IMAGES, 3, *SIZE, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    oracles = subject.oracles(images)
    large = [one for one in oracles if min(one.values.shape[2:]) >= LEAST_CELLS]
    chosen = [large[index] for index in dict.fromkeys([len(large) // 2, len(large) - 1])] if large else []
    with torch.no_grad():
        stored, _ = capture_layers(subject, images.detach(), [one.layer for one in chosen])
    found = []
    for oracle in chosen:
        plain = oracle._replace(values=oracle.values.detach())
        for captured, array in stored:
            if captured.layer == oracle.layer and verdict_of("", [(captured, array)], plain, SIZE).kind == "right":
                found.append(_place(images, oracle.values, captured))
                break
    return found


def _place(images: torch.Tensor, values: torch.Tensor, captured: CapturedMap) -> Measured:
    cells = (int(values.shape[2]), int(values.shape[3]))
    stride = captured.stride or (SIZE[0] / cells[0], SIZE[1] / cells[1])
    first = captured.place.first if captured.place is not None else (stride[0] / 2, stride[1] / 2)
    known = captured.place.known if captured.place is not None else "assumed"
    points = centroids(images, values)
    gradient = []
    for axis in range(2):
        middle = np.array([[first[axis] + stride[axis] * cell[axis]] * IMAGES for cell, _ in points])
        seen = np.array([where[axis] for _, where in points])
        away = (middle - SIZE[axis] / 2) / stride[axis]
        offset = offset_in_the_middle(away.ravel(), ((seen - middle) / stride[axis]).ravel())
        gradient.append(round(first[axis] / stride[axis] + offset, 3))
    recorded = (round(first[0] / stride[0], 3), round(first[1] / stride[1], 3))
    return Measured(captured.layer, cells, stride, known, recorded, [(gradient[0], gradient[1])])


def centroids(images: torch.Tensor, values: torch.Tensor) -> List[Tuple[Size, Tuple[np.ndarray, np.ndarray]]]:
    """For inner cells (row, column) the centroids (y, x) of their squared gradients, in pixels, an image each."""
    towards = torch.randn(values.shape[1], generator=torch.Generator().manual_seed(2))
    inner = [np.linspace(0.3 * side, 0.7 * side - 1, CELLS).round().astype(int) for side in values.shape[2:]]
    found = []
    for row, column in zip(inner[0], np.random.default_rng(0).permutation(inner[1])):
        score = (values[:, :, int(row), int(column)] * towards).sum()
        found.append(((int(row), int(column)), centroid(score, images)))
    return found


def offset_in_the_middle(away: np.ndarray, offset: np.ndarray) -> float:
    """The offset of a cell in the middle of the image, in cells: where the line through the cells' medians is zero
    cells away, scaled back by what pulls to the middle."""
    places = np.unique(away)
    middles = np.array([np.median(offset[away == place]) for place in places])
    if len(places) < 2:
        return float(middles.mean())
    slope, start = np.polyfit(places, middles, 1)
    return float(start / max(0.2, min(1.0, 1.0 + slope)))


def try_model(library: str, name: str) -> Dict[str, object]:
    """What was measured of a model, as plain values."""
    started = time.perf_counter()
    found: Dict[str, object] = {"library": library, "name": name, "layers": []}
    signal.alarm(SECONDS)
    try:
        found["layers"] = [one._asdict() for one in measure(library, name)]
    except Exception as error:  # noqa: BLE001 (the table names it)
        found["error"] = reason(error)
    finally:
        signal.alarm(0)
    found["seconds"] = round(time.perf_counter() - started, 1)
    return found


def print_table(results: List[dict]) -> None:
    """A line a layer: places in cells behind `stride * i`, the mean of rows and columns."""
    print(f"\n## Where cells lie, against the gradient\n\n{INTRODUCTION}\n")
    print("| model | layer | cells | stride | known by | recorded | gradient | difference | from half a cell |")
    print("|---|---|---|---|---|---|---|---|---|")
    sure = []
    for one in results:
        name = f"{one['library']} {one['name']}"
        if not one["layers"]:
            print(f"| {name} | | | | | | | {one.get('error', 'no map is right and large enough')} | |")
        for layer in one["layers"]:
            measured = Measured(**layer)
            seen = np.array(measured.gradients)
            off = seen - np.array(measured.recorded)
            interval = float(2 * off.std(ddof=1) / np.sqrt(off.size))
            if interval < TARGET:
                sure.append(abs(off.mean()))
            print(
                f"| {name} | `{measured.layer}` | {_pair(measured.cells, 'd')} | {_pair(measured.stride, '.4g')} "
                f"| {measured.known} | {_pair(measured.recorded, '+.2f')} | {seen.mean():+.2f} ± {interval:.2f} "
                f"| {format(off.mean(), '+.2f') if interval < TARGET else 'not sure'} | {seen.mean() - 0.5:+.2f} |"
            )
    good = sum(value <= TARGET for value in sure)
    print(f"\n{good} of {len(sure)} layers whose interval is below {TARGET} cell lie within {TARGET} cell.")


def _pair(values: object, form: str) -> str:
    return ", ".join(dict.fromkeys(format(value, form) for value in values))


def main() -> None:
    """Measure what was not measured yet, then print all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--results", type=Path, default=Path("build/places"))
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, partial(_too_long, SECONDS))
    options.results.mkdir(parents=True, exist_ok=True)
    results = []
    for library, name in [*(("torchvision", one) for one in TORCHVISION), *(("timm", one) for one in TIMM)]:
        kept = options.results / f"{library}-{name}.json"
        if options.only not in name:
            continue
        if not kept.exists():
            found = try_model(library, name)
            print(json.dumps(found), file=sys.stderr, flush=True)
            kept.write_text(json.dumps(found))
            gc.collect()
        results.append(json.loads(kept.read_text()))
    print_table(results)


def _too_long(seconds: int, *_: object) -> None:
    raise TimeoutError(f"longer than {seconds} s")


if __name__ == "__main__":
    main()

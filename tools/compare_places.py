"""Compare where featscope says that a layer's cells lie with what the cells look at: the centroid of their gradients.

    python tools/compare_places.py --results build/places > places.md

Forty backbones of torchvision and timm with random weights, on noise. A cell's gradient at the input, squared, has a
centroid; over several images and inner cells its median says where the cell lies. What a cell takes from the whole
image alike (squeeze and excitation, attention) pulls the centroid towards the middle of the image, in proportion to the
cell's distance from it: the place is read off where that distance is zero, and what is left is scaled back. The
interval is that of 95 of 100 draws of the cells and images at hand. What is done is kept, a file a model.
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
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from layouts import of_timm, of_torchvision
from layouts.cases import Oracle, Size, Subject
from layouts.judge import capture_layers, verdict_of
from layouts.table import reason

SIZE = (416, 416)
IMAGES = 4
CELLS = 6
DRAWS = 400
LEAST_CELLS = 8  # of a map's side
TARGET = 0.15  # cells
SECONDS = 240

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
    """A layer's place along both axes, in cells behind `stride * i`: as recorded, and as its gradients say."""

    layer: str
    cells: Tuple[int, int]
    stride: Tuple[float, float]
    known: str
    recorded: Tuple[float, float]
    gradient: Tuple[float, float]
    interval: Tuple[float, float]


def subject_of(library: str, name: str) -> Subject:
    """The model for images of this tool's size."""
    if library == "timm":
        return of_timm.make(name, False, (0, 0), SIZE)
    return of_torchvision.classifier(name, None, SIZE)


def measure(library: str, name: str) -> List[Measured]:
    """The last map of a model that has enough cells, and the one halfway to it."""
    torch.manual_seed(0)
    subject = subject_of(library, name)
    for parameter in subject.model.parameters():
        parameter.requires_grad_(False)
    images = torch.randn(IMAGES, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        oracles = subject.oracles(images[:2])
        stored, _ = capture_layers(subject, images[:2], [one.layer for one in oracles])
    large = [index for index, one in enumerate(oracles) if min(one.values.shape[2:]) >= LEAST_CELLS]
    found = []
    for index in dict.fromkeys([large[len(large) // 2], large[-1]] if large else []):
        own = [one for one in stored if one[0].layer == oracles[index].layer]
        if verdict_of(oracles[index].layer, own, oracles[index]).kind == "right":
            captured = next(one for one, array in own if array.shape[2:] == tuple(oracles[index].values.shape[2:]))
            found.append(_place(subject, images, oracles[index], index, captured))
    return found


def _place(subject: Subject, images: torch.Tensor, oracle: Oracle, index: int, captured: object) -> Measured:
    cells = tuple(oracle.values.shape[2:])
    stride = captured.stride or (SIZE[0] / cells[0], SIZE[1] / cells[1])
    first = getattr(captured, "first", None) or (stride[0] / 2, stride[1] / 2)
    points = centroids(subject, images, index, cells)
    gradient, interval = [], []
    for axis in range(2):
        middle = np.array([[first[axis] + stride[axis] * cell[axis] for _ in range(IMAGES)] for cell, _ in points])
        seen = np.array([where[axis] for _, where in points])
        away = (middle - SIZE[axis] / 2) / stride[axis]
        offset, spread = offset_in_the_middle(away.ravel(), ((seen - middle) / stride[axis]).ravel())
        gradient.append(round(first[axis] / stride[axis] + offset, 3))
        interval.append(round(spread, 3))
    recorded = tuple(round(first[axis] / stride[axis], 3) for axis in range(2))
    known = getattr(captured, "place", "") or "assumed"
    return Measured(oracle.layer, cells, tuple(stride), known, recorded, tuple(gradient), tuple(interval))


def centroids(
    subject: Subject, images: torch.Tensor, index: int, cells: Size
) -> List[Tuple[Size, Tuple[np.ndarray, np.ndarray]]]:
    """For inner cells (row, column) the centroids (y, x) of their squared gradients, in pixels, an image each."""
    images = images.clone().requires_grad_(True)
    values = subject.oracles(images)[index].values
    towards = torch.randn(values.shape[1], generator=torch.Generator().manual_seed(2))
    chosen = [np.unique(np.linspace(0.3 * side, 0.7 * side - 1, CELLS).round().astype(int)) for side in cells]
    count = min(len(one) for one in chosen)
    columns = np.random.default_rng(0).permutation(chosen[1][:count])
    found = []
    for row, column in zip(chosen[0][:count], columns):
        score = (values[:, :, int(row), int(column)] * towards).sum()
        (gradient,) = torch.autograd.grad(score, images, retain_graph=True)
        weight = gradient.double().pow(2).sum(1)
        total = weight.sum((1, 2))
        ys, xs = (torch.arange(side, dtype=torch.float64) + 0.5 for side in weight.shape[1:])
        y = (weight.sum(2) @ ys) / total
        x = (weight.sum(1) @ xs) / total
        found.append(((int(row), int(column)), (y.numpy(), x.numpy())))
    return found


def offset_in_the_middle(away: np.ndarray, offset: np.ndarray) -> Tuple[float, float]:
    """The offset of a cell in the middle of the image, in cells, and half of its interval."""
    draw = np.random.default_rng(0)
    drawn = [draw.integers(0, len(away), len(away)) for _ in range(DRAWS)]
    found = [value for value in (_line(away[which], offset[which]) for which in drawn) if value is not None]
    low, high = np.quantile(found, [0.025, 0.975])
    whole = _line(away, offset)
    return float(np.median(found) if whole is None else whole), float(high - low) / 2


def _line(away: np.ndarray, offset: np.ndarray) -> Optional[float]:
    """Where the line through the medians of the cells is zero cells away, scaled back by what pulls to the middle."""
    places = np.unique(away)
    if len(places) < 2:
        return None
    middles = np.array([np.median(offset[away == place]) for place in places])
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
    """A line a layer: places in cells behind `stride * i`, rows and columns."""
    print("| model | layer | cells | stride | known by | recorded | gradient | difference | of half a cell |")
    print("|---|---|---|---|---|---|---|---|---|")
    differences = []
    for one in results:
        name = f"{one['library']} {one['name']}"
        if not one["layers"]:
            print(f"| {name} | | | | | | | {one.get('error', 'no map is right and large enough')} | |")
        for layer in one["layers"]:
            measured = Measured(**layer)
            off = [seen - said for seen, said in zip(measured.gradient, measured.recorded)]
            half = [seen - 0.5 for seen in measured.gradient]
            sure = max(measured.interval) < TARGET
            if sure:
                differences.append(max(map(abs, off)))
            print(
                f"| {name} | `{measured.layer}` | {_pair(measured.cells, 'd')} | {_pair(measured.stride, '.4g')} "
                f"| {measured.known} | {_pair(measured.recorded, '+.2f')} | {_pair(measured.gradient, '+.2f')} "
                f"± {max(measured.interval):.2f} | {_pair(off, '+.2f') if sure else 'not sure'} "
                f"| {_pair(half, '+.2f')} |"
            )
    good = sum(value <= TARGET for value in differences)
    print(f"\n{good} of {len(differences)} layers whose interval is below {TARGET} cell lie within {TARGET} cell.")


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

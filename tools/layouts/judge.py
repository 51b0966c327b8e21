"""What featscope says of a layer's output, against what the model's own library says."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from typing import Counter as Count
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch

import featscope
from featscope.capturing.tree import report
from featscope.records import CapturedMap
from layouts.arbiter import library_is_wrong
from layouts.cases import Case, Oracle, Size, Subject, images_of, layers_that_give

MAP = ("sample", "channel", "row", "column")
OTHER_CELLS = "other cells"
SAME = 1e-4  # of the largest value: two forwards may differ in their last bits
BESIDE = 1.3  # a sequence has a few tokens beside those of the map
LONGEST = 40  # of a list of axes or shapes in a remark

Stored = Tuple[CapturedMap, np.ndarray]


class Verdict(NamedTuple):
    """Of a layer that gives a map. kind: right, refused, wrong or missing. stride: right, wrong or unknown."""

    layer: str
    kind: str
    stride: str = ""
    why: str = ""


class Judged(NamedTuple):
    """All layers of a model at a size."""

    size: Size
    counts: Count[str]
    strides: Count[str]
    remarks: List[str]


def judge_case(case: Case, kind: str) -> Optional[Judged]:
    """The verdicts at the first size of a kind that the model takes; None where it takes none of them.

    Raises the model's own error where not even the model's own size runs.
    """
    error: Optional[Exception] = None
    for size in case.sizes[kind]:
        try:
            torch.manual_seed(0)
            subject = case.make(size)
            images = images_of(size)
            with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
                oracles = [one for one in subject.oracles(images) if one.values.dim() == 4]
        except TimeoutError:
            raise
        except Exception as problem:  # noqa: BLE001 (whatever a model does with a size that it does not take)
            error = problem
            continue
        return _judge(subject, images, oracles, size)
    if kind == "own" and error is not None:
        raise error
    return None


def _judge(subject: Subject, images: torch.Tensor, oracles: Sequence[Oracle], size: Size) -> Judged:
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        layers = layers_that_give(subject.model, subject.forward, images, oracles)
        if subject.own_output:
            layers = [["", *names] for names in layers]
        stored, reasons = capture_layers(subject, images, [name for names in layers for name in names])
    verdicts = []
    for index, (names, oracle) in enumerate(zip(layers, oracles)):
        if not names:
            verdicts.append(Verdict(oracle.layer, "no layer"))
        for name in names:
            own = [one for one in stored if one[0].layer == name]
            verdict = verdict_of(name, own, oracle, size, reasons.get(name, ""))
            verdicts.append(_heard(verdict, subject, images, index, oracle, own))
    remarks = [
        f"`{one.layer or '(model)'}` {one.kind}: {one.why}" for one in verdicts if one.kind != "right" and one.why
    ]
    remarks += [f"`{one.layer or '(model)'}` {one.why}" for one in verdicts if one.kind == "right" and one.why]
    return Judged(
        size,
        Counter(one.kind for one in verdicts),
        Counter(one.stride for one in verdicts if one.stride),
        remarks,
    )


def _heard(
    verdict: Verdict, subject: Subject, images: torch.Tensor, index: int, oracle: Oracle, own: Sequence[Stored]
) -> Verdict:
    """What is wrong only if the library is right; the gradient says whether it is."""
    if verdict.kind != "wrong":
        return verdict
    width = getattr(subject.model, "num_features", None)
    for captured, array in own:
        laid = as_map(captured, array)
        if laid is None or captured.place is None:
            continue
        if laid.size == oracle.values.numel() and laid.shape[1] == width != oracle.values.shape[1]:
            why = f"it lays {width} channels out as {oracle.values.shape[1]}, on a grid that the tokens do not fill"
            return Verdict(verdict.layer, "library wrong", why=why)
        if laid.shape != tuple(oracle.values.shape):
            continue
        if library_is_wrong(subject, images, index, laid, captured.place):
            return Verdict(verdict.layer, "library wrong", why="its gradients lie where featscope puts its cells")
    return verdict


def capture_layers(subject: Subject, images: torch.Tensor, layers: Sequence[str]) -> Tuple[List[Stored], dict]:
    """What is stored of these layers, and how each is said to be read."""
    sink = featscope.MemorySink()
    if not layers:
        return [], {}
    with featscope.capture(subject.model, list(dict.fromkeys(layers)), to=sink, on_error="warn"):
        subject.forward(images)
    maps = {captured.layer for captured, array in sink.stored if as_map(captured, array) is not None}
    if maps >= set(layers):
        return sink.stored, {}
    found = report(subject.model, lambda: subject.forward(images))
    reasons = {layer.name: tensor.why for layer in found.layers for one in layer.outputs.values() for tensor in one[:1]}
    return sink.stored, reasons


def verdict_of(layer: str, stored: Sequence[Stored], oracle: Oracle, size: Size, reason: str = "") -> Verdict:
    """Right where one of the stored maps is the oracle's, value for value and cell for cell."""
    expected = oracle.values.float().numpy()
    own = [one for one in stored if one[1].size >= expected.size] or list(stored)
    least = min((one[1].size for one in own), default=0)
    own = [one for one in own if one[1].size <= BESIDE * least]  # a layer may give maps of several levels
    if not own:
        return Verdict(layer, "missing", why="nothing was stored")
    maps = [(captured, laid) for captured, array in own for laid in [as_map(captured, array)] if laid is not None]
    for captured, laid in maps:
        if laid.shape == expected.shape and _same(laid, expected):
            return Verdict(layer, "right", *_stride(captured, oracle, size))
    if maps:
        captured, laid = min(maps, key=lambda one: abs(one[1].size - expected.size))
        axes = ", ".join(_axes(captured)) or "no axes"
        kind = OTHER_CELLS if laid.shape == expected.shape else f"{_shape(laid)} for {_shape(expected)}"
        return Verdict(layer, "wrong", why=f"{kind} ({axes})"[: 3 * LONGEST])
    captured, array = own[0]
    return Verdict(layer, "refused", why=f"{_shape(array)} {reason or ', '.join(_axes(captured))}".strip())


def as_map(captured: CapturedMap, array: np.ndarray) -> Optional[np.ndarray]:
    """(N, C, H, W) of what featscope says is a map, None of what it says is none."""
    axes = _axes(captured)
    if not axes:  # before axes were known, whatever has three or four was drawn
        return array.astype(np.float32) if array.ndim in (3, 4) else None
    if not {"row", "column"} <= set(axes):
        return None
    if set(axes) != set(MAP) or len(axes) != len(MAP):
        return array
    return array.transpose([axes.index(name) for name in MAP]).astype(np.float32)


def _axes(captured: CapturedMap) -> Tuple[str, ...]:
    return tuple(getattr(captured, "axes", ()) or ())


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    scale = float(np.nanmax(np.abs(second))) or 1.0
    return bool(np.allclose(first, second, rtol=0, atol=SAME * scale, equal_nan=True))


def _stride(captured: CapturedMap, oracle: Oracle, size: Size) -> Tuple[str, str]:
    place = getattr(captured, "place", None)
    stride = captured.stride if captured.stride is not None else getattr(place, "stride", None)
    if oracle.stride is None:
        return "", ""
    if stride is None:
        return "unknown", ""
    if all(abs(side - true) <= 0.01 * true for side, true in zip(stride, oracle.stride)):
        return "right", ""
    if any(true * (cells - 1) >= side for true, cells, side in zip(oracle.stride, oracle.values.shape[2:], size)):
        return "unknown", ""  # the model stretches its maps: with the named stride cells would lie outside of the image
    return "wrong", f"stride {_sides(stride)} for {_sides(oracle.stride)}"


def _sides(stride: Tuple[float, float]) -> str:
    return " x ".join(f"{side:.4g}" for side in dict.fromkeys(stride))


def _shape(array: np.ndarray) -> str:
    return "(" + ", ".join(map(str, array.shape)) + ")"

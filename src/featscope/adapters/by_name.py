"""What the commands do with a detector, as one call each: its layers, its maps, and what they would take."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union, cast

import numpy as np

from featscope.adapters.detector import RANDOM, Detector
from featscope.adapters.feeding import (
    Captured,
    Estimate,
    estimate_run,
    list_images,
    named_images,
    without_gradients,
)
from featscope.adapters.feeding import capture_images as run_images
from featscope.adapters.opening import open_detector, split_name
from featscope.capturing.policy import make_policy
from featscope.capturing.reports import LayerReport, ModelReport, TensorReport
from featscope.errors import BadOptionError, FeatscopeWarning, unknown_name
from featscope.records import Boxes, Policy
from featscope.store.globs import choose_names, lies_below
from featscope.store.tables import Rows

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import TypeGuard

Images = Union[str, Path, Sequence[Union[str, Path]]]
"""An image file, a folder of them, or several of both."""

Named = Union[str, Detector]
"""A detector, or its name as `featscope capture` takes it."""

_NOISE = {"mmdet": (1024, 1024), "pytorch": (512, 512), "demo": (464, 640)}


def capture_images(
    model: Named,
    images: Images,
    to: Union[str, Path],
    layers: Union[str, Sequence[str], None] = None,
    *,
    checkpoint: str = "",
    batch_size: int = 1,
    provenance: bool = True,
    truth: Union[Mapping[Path, Boxes], str, Path, None] = None,
    names: Optional[Mapping[str, str]] = None,
    policy: Union[Policy, Mapping[str, object], None] = None,
    resume: bool = False,
    on_error: str = "raise",
    axes: Optional[Mapping[str, str]] = None,
    **opening: Any,
) -> Captured:
    """Run a detector on images and store its maps and detections: what `featscope capture MODEL -i IMAGES` does.

    >>> done = featscope.capture_images("demo", "photos", "runs/photos", "neck")
    >>> print(done.written)
    5 maps of 1 sample, 0.8 MB, in runs/photos

    model: a `Detector`, or the name of one with its checkpoint ('random' for none) and the other fields of
    `featscope.adapters.detector.Opening`. images: files and folders. to: the folder of the run. layers, names, policy,
    resume, on_error, axes: as of `featscope.capture`. provenance: find the raw output behind each detection. truth:
    the true boxes of images by their paths, or the path of their label files: a COCO .json, a folder of DOTA's labelTxt
    or of YOLO's .txt (`featscope.store.truth.read_truth`). An image that cannot be read is a warning, and the others
    are captured.
    """
    done = run_images(
        _opened(model, checkpoint, opening),
        _files(images),
        Path(to),
        _patterns(layers),
        batch_size=batch_size,
        provenance=provenance,
        truth=truth,
        names=names,
        policy=policy,
        resume=resume,
        on_error=on_error,
        axes=axes,
    )
    for text in dict.fromkeys([*done.failed, *done.remarks]):
        warnings.warn(f"featscope: {text}", FeatscopeWarning, stacklevel=2)
    return done


def estimate(
    model: Named,
    images: Images,
    layers: Union[str, Sequence[str], None] = None,
    *,
    checkpoint: str = "",
    policy: Union[Policy, Mapping[str, object], None] = None,
    **opening: Any,
) -> Estimate:
    """What `capture_images` would store, from one forward: what `featscope capture --estimate` prints.

    >>> found = featscope.estimate("demo", "photos", "neck", policy={"dtype": "float16"})
    >>> found.samples, found.bytes
    (1, 392832)
    """
    policy = policy if isinstance(policy, Policy) else make_policy(policy or {})
    files = named_images(_files(images))
    return estimate_run(_opened(model, checkpoint, opening), files, _patterns(layers), policy)


class LayerRow(NamedTuple):
    """One tensor of a layer's output.

    layer, cls: the layer's name and class. calls: how often it ran. field, level: as in the file's name. shape: as the
    model gave it. axes: what its axes are, 'no map' where it has no rows and columns of the image. stride, first:
    where its cells lie, in pixels of the input. tensor: the same as numbers.
    """

    layer: str
    cls: str
    calls: int
    field: str
    level: int
    shape: str
    axes: str
    stride: str
    first: str
    tensor: TensorReport


def list_layers(
    model: Union[nn.Module, Named],
    image: object = None,
    layers: Union[str, Sequence[str]] = (),
    *,
    checkpoint: str = "",
    axes: Optional[Mapping[str, str]] = None,
    **opening: Any,
) -> Rows[LayerRow]:
    """A row for each tensor that a model's layers give: what `featscope layers MODEL` prints.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.ReLU())
    >>> list_layers(model, torch.zeros(1, 3, 32, 32), "0")
    layer  cls     calls  field  level  shape            axes                          stride  first
    0      Conv2d  1             0      1 x 8 x 16 x 16  sample, channel, row, column  2       0.5 (operators)

    model: a `torch.nn.Module`, with what it takes as `image`; or a `Detector` or the name of one, with an image file,
    by default noise and random weights, which do not matter here. layers: only these and their parts. Raises
    `UnknownNameError` for a layer that does not run.
    """
    found = report_layers(model, image, axes=axes, checkpoint=checkpoint, **opening)
    chosen = layers_among(found, [layers] if isinstance(layers, str) else layers)
    return Rows(LayerRow._fields, (row for layer in chosen for row in layer_rows(layer)), hidden=["tensor"])


def report_layers(
    model: Union[nn.Module, Named],
    image: object = None,
    *,
    axes: Optional[Mapping[str, str]] = None,
    checkpoint: str = "",
    **opening: Any,
) -> ModelReport:
    """What runs in a model, by one forward; options as of `list_layers`."""
    if _is_module(model):
        from featscope.capturing.tree import report

        if image is None:
            raise BadOptionError(
                f"say what {type(model).__name__} takes: list_layers(model, torch.zeros(1, 3, 64, 64))"
            )
        module = model
        with without_gradients():
            return report(module, lambda: module(image), axes)
    adapter = ""
    if isinstance(model, str):
        adapter, target = split_name(model)
        own = adapter == "onnx" or target.endswith(".pt")
        checkpoint = checkpoint or ("" if own else RANDOM)
    detector = _opened(cast(Named, model), checkpoint, opening)
    picture = np.random.default_rng(0).integers(0, 256, (*_NOISE.get(adapter, (640, 640)), 3), dtype=np.uint8)
    with without_gradients():
        taken = Path(image) if isinstance(image, (str, Path)) else picture if image is None else image
        return detector.report(detector.prepare(taken, "noise"), axes)  # type: ignore[arg-type]


def layers_among(found: ModelReport, patterns: Sequence[str], depth: Optional[int] = None) -> List[LayerReport]:
    """The layers of these names or globs with their parts; without one all, to a depth of their names."""
    known = [layer.name for layer in found.layers]
    chosen = choose_names(known, patterns)
    for pattern in chosen.missing:
        raise unknown_name("layer", pattern, known, "featscope layers MODEL --depth 99")
    includes = [pattern for pattern in patterns if not pattern.startswith("!")]
    return [
        layer
        for layer in found.layers
        if (layer.name in chosen.names or any(lies_below(layer.name, pattern) for pattern in includes))
        and (includes or depth is None or layer.name.count(".") < depth)
    ]


def layer_rows(layer: LayerReport) -> Iterator[LayerRow]:
    """A row for each tensor of a layer; one where it gives none."""
    outputs: Dict[str, List[TensorReport]] = layer.outputs or {"": []}
    for field, tensors in outputs.items():
        for level, tensor in enumerate(tensors or [TensorReport(())]):
            yield LayerRow(layer.name, layer.cls, layer.calls, field, level, *_words(tensor), tensor=tensor)


def _words(tensor: TensorReport) -> Tuple[str, str, str, str]:
    """How a tensor is read: its shape, axes, strides and first cells."""
    shape = " x ".join(map(str, tensor.shape)) or "no tensor"
    axes = ", ".join(tensor.axes) if tensor.grids else "no map" if tensor.shape else ""
    if tensor.grids and "row" not in tensor.axes:
        axes += " -> " + ", ".join(f"{rows} x {columns}" for (rows, columns), _ in tensor.grids)
    places = [place for _, place in tensor.grids]
    strides = list(dict.fromkeys(_numbers(place.stride) for place in places))
    firsts = list(dict.fromkeys(f"{_numbers(place.first)} ({place.known})" for place in places))
    return shape, axes, ", ".join(strides), ", ".join(firsts)


def _numbers(pair: Tuple[float, float]) -> str:
    y, x = (f"{round(value, 2):g}" for value in pair)
    return y if y == x else f"{y}, {x}"


def _is_module(model: object) -> TypeGuard[nn.Module]:
    """Whether it is a model of torch, which an ONNX file does without."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def _opened(model: Named, checkpoint: str, opening: Mapping[str, Any]) -> Detector:
    return open_detector(model, checkpoint, **opening) if isinstance(model, str) else model


def _files(images: Images) -> List[Path]:
    given = [images] if isinstance(images, (str, Path)) else images
    return list_images([Path(path) for path in given])


def _patterns(layers: Union[str, Sequence[str], None]) -> Optional[Sequence[str]]:
    return [layers] if isinstance(layers, str) else layers

"""The interface of adapters: a detector that reads images, finds boxes, and names its raw outputs.

Every adapter must pass `featscope.testing.AdapterContract`. This module imports no framework and no torch.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from featscope.arrays.frames import to_original
from featscope.errors import BadOptionError, CaptureError
from featscope.explaining.items import Detected as Detected
from featscope.explaining.items import Item as Item
from featscope.records import Boxes, Geometry, Picture, Policy, RunInfo, Sample, Sink
from featscope.store.images import read_image

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import nn

    from featscope.capturing.listener import LayerInput
    from featscope.capturing.protocol import CaptureSession
    from featscope.capturing.reports import ModelReport

RANDOM = "random"
"""Given in place of a checkpoint to keep the initial weights of the model."""


class Opening(NamedTuple):
    """How to open a detector."""

    target: str
    """The text after the adapter's name."""

    checkpoint: str = ""
    """A file of weights, `RANDOM`, or '' if none was given."""

    trusted: bool = False
    """Whether to unpickle files that contain more than weights."""

    input_size: Optional[Tuple[int, int]] = None
    """Size to which images are fitted, (height, width); None for the detector's own."""

    preprocess: str = ""
    """How images are prepared, for models that do not define it themselves (`featscope.adapters.preprocessing`)."""

    score_threshold: Optional[float] = None
    """Lowest score of detections; None for the detector's own."""

    config_options: Mapping[str, object] = {}
    """Changes to a config."""

    seed: int = 0
    """Seed of random weights."""

    inputs: Mapping[str, str] = {}
    """Values for a model's other inputs, by name: a number, a list separated by commas, or a .npy file."""


class Detector:
    """A detector of any framework. Each adapter provides a subclass.

    >>> detector = open_detector("torchvision:fcos_resnet50_fpn", "random")   # doctest: +SKIP
    >>> item = detector.prepare(Path("harbour.jpg"), "harbour")               # doctest: +SKIP
    >>> detector.detect([item])[0].sample.predictions                         # doctest: +SKIP
    Boxes(form='xyxy', boxes=[...], labels=[...], scores=[...])

    model: the model to capture. info: model, config, checkpoint and classes, for the run. not_features: layers that run
    but produce inputs or boxes; they are only captured on request. layer_to_explain: the layer at which boxes are
    explained by default. remarks: notes for the user on how images are fed.
    """

    not_features: Sequence[str] = ()
    remarks: Sequence[str] = ()
    layer_to_explain = ""

    model: nn.Module
    info: RunInfo

    def __init__(self, model: nn.Module, info: RunInfo) -> None:
        self.model, self.info = model, info

    @property
    def traceable(self) -> bool:
        """Whether `detect` can return candidates."""
        return False

    def prepare(self, image: Union[Path, Picture], sample_id: str) -> Item:
        """Read an image file or take a picture, and fit it to the network. Raises `BadImageError`."""
        raise NotImplementedError

    def detect(self, items: Sequence[Item], candidates: bool = False) -> List[Detected]:
        """Run the network once on a batch. Boxes are returned in pixels of the original images.

        candidates: return the raw outputs too, with their gradient if gradients are enabled. Raises `CaptureError` if
        the raw outputs of this detector are unknown.
        """
        raise NotImplementedError

    def capture(
        self,
        layers: Optional[Sequence[str]],
        to: Union[str, Path, Sink, None],
        *,
        names: Optional[Mapping[str, str]] = None,
        policy: Union[Policy, Mapping[str, object], None] = None,
        resume: bool = False,
        on_error: str = "raise",
        dataset_size: Optional[int] = None,
        info: Optional[RunInfo] = None,
        axes: Optional[Mapping[str, str]] = None,
    ) -> CaptureSession:
        """Capture this model, with batches begun and described by hand. Options are as in `featscope.capture`."""
        from featscope.capturing.inputs import NoCompanion
        from featscope.capturing.start import capture

        return capture(
            self.model,
            self.patterns(layers),
            to,
            names=names,
            policy=policy,
            resume=resume,
            on_error=on_error,
            dataset_size=dataset_size,
            info=info,
            companion=NoCompanion(),
            inputs=self.inputs(layers),
            axes=axes,
        )

    def inputs(self, layers: Optional[Sequence[str]]) -> Sequence[LayerInput]:
        """Return the inputs of the requested layers that are worth storing in addition to the outputs."""
        return ()

    def report(self, item: Item, axes: Optional[Mapping[str, str]] = None) -> ModelReport:
        """Report which layers run, and how their tensors are read. axes: as in `featscope.capture`."""
        from featscope.capturing.tree import report

        return report(self.model, lambda: self.detect([item]), axes)

    def patterns(self, layers: Optional[Sequence[str]]) -> List[str]:
        """Return the requested layers, or all layers that are features."""
        return features_only(layers, self.not_features)


def features_only(layers: Optional[Sequence[str]], not_features: Sequence[str]) -> List[str]:
    """Return the requested layers; by default all except those that produce inputs or boxes.

    >>> features_only(["neck"], ["transform"]), features_only(["!head"], ["transform"])
    (['neck'], ['!head', '!transform'])
    """
    patterns = list(layers or ())
    if any(not pattern.startswith("!") for pattern in patterns):
        return patterns
    return [*patterns, *(f"!{name}" for name in not_features)]


def no_candidates(detector: Detector) -> CaptureError:
    """Return the error for a detector whose raw outputs are unknown."""
    return CaptureError(
        f"featscope does not know the raw boxes and scores of {detector.info.model}: its maps can be captured, but "
        "single detections cannot be traced or explained; to explain a number of its output: --target module:function"
    )


def need_checkpoint(opening: Opening, what: str = "a file of weights") -> str:
    """Return the given checkpoint, or raise an error that asks for one. Random weights must be requested."""
    if not opening.checkpoint:
        raise BadOptionError(f"{opening.target} needs weights: add {what} after it, or {RANDOM!r} for random weights")
    return opening.checkpoint


def refuse_unused(opening: Opening, **reasons: str) -> None:
    """Raise an error for an option that an adapter does not use, with the reason, instead of ignoring the option.

    By default `inputs` is refused. An adapter that uses it passes `inputs=""`.
    """
    for name, reason in {"inputs": "it takes only images", **reasons}.items():
        if reason and getattr(opening, name) not in ("", None, {}):
            option = {"config_options": "cfg-options", "inputs": "input"}.get(name, name.replace("_", "-"))
            raise BadOptionError(f"--{option} cannot be used with {opening.target or 'the demo'}: {reason}")


def load_picture(
    image: Union[Path, Picture],
    sample_id: str,
    reading: str = "pillow",
    read: Callable[[Path, str], Picture] = read_image,
) -> Tuple[Picture, Sample]:
    """Load the picture of a file or an array, with a sample that records where it came from and how it was read.

    reading: how the framework reads files (`featscope.store.images.READINGS`). read: the function that reads them.
    """
    if isinstance(image, Path):
        return read(image, reading), Sample(id=sample_id, path=str(image.absolute()), reading=reading)
    return image, Sample(id=sample_id)


def boxes_on_original(
    form: str,
    boxes: ArrayLike,
    scores: ArrayLike,
    labels: ArrayLike,
    geometry: Optional[Geometry] = None,
    clip: bool = False,
) -> Boxes:
    """Make a record of detections. With a geometry they are converted from pixels of the input."""
    values = np.asarray(boxes, np.float64).reshape(-1, {"xyxy": 4, "cxcywha": 5, "quad": 8}[form])
    if geometry is not None:
        values = to_original(values, geometry)
        if clip and form == "xyxy":
            height, width = geometry.original
            values = values.clip(0, [width, height, width, height])
    confidence = np.asarray(scores, np.float64).reshape(-1)
    real = np.isfinite(values).all(1) & np.isfinite(confidence)  # drop boxes with NaN or infinity
    return Boxes(
        form, values[real].tolist(), np.asarray(labels, int).reshape(-1)[real].tolist(), confidence[real].tolist()
    )


def versions(*packages: str) -> Dict[str, str]:
    """Return the versions of Python, featscope, torch and other packages."""
    found = {"python": sys.version.split()[0]}
    for name in ("featscope", "torch", *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

"""What an adapter gives: a detector that reads images, finds boxes, and names its raw outputs.

`featscope.testing.AdapterContract` is what each must pass. This module imports no framework and no torch.
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
"""In place of a checkpoint: the weights the model starts with."""


class Opening(NamedTuple):
    """How a detector is to be opened.

    target: what stands behind the adapter's name. checkpoint: a file of weights, `RANDOM`, or '' where
    none was named. trusted: unpickle files that hold more than weights. input_size: (height, width) to
    which images are fitted, None for the detector's own. preprocess: how, for models that do not say it
    themselves (`featscope.adapters.preprocessing`). score_threshold: of its detections, None for its own.
    config_options: changes to a config. seed: of random weights. inputs: what goes into a model's other
    inputs, by their names: a number, a list by commas, or a .npy file.
    """

    target: str
    checkpoint: str = ""
    trusted: bool = False
    input_size: Optional[Tuple[int, int]] = None
    preprocess: str = ""
    score_threshold: Optional[float] = None
    config_options: Mapping[str, object] = {}
    seed: int = 0
    inputs: Mapping[str, str] = {}


class Detector:
    """A detector of some framework; each adapter's is one.

    >>> detector = open_detector("torchvision:fcos_resnet50_fpn", "random")   # doctest: +SKIP
    >>> item = detector.prepare(Path("harbour.jpg"), "harbour")               # doctest: +SKIP
    >>> detector.detect([item])[0].sample.predictions                         # doctest: +SKIP
    Boxes(form='xyxy', boxes=[...], labels=[...], scores=[...])

    model: what is captured. info: model, config, checkpoint and classes, for the run. not_features:
    layers that run but make inputs or boxes, left out unless they are asked for. layer_to_explain: where
    boxes are explained if no layer is named. remarks: what should be known of how its images are fed.
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
        """Whether `detect` can give candidates."""
        return False

    def prepare(self, image: Union[Path, Picture], sample_id: str) -> Item:
        """Read an image file, or take a picture, and fit it to the network. Raises `BadImageError`."""
        raise NotImplementedError

    def detect(self, items: Sequence[Item], candidates: bool = False) -> List[Detected]:
        """Run the network once on a batch; boxes come in pixels of the originals.

        candidates: give the raw outputs too, with their gradient where gradients are enabled. Raises
        `CaptureError` where the detector's are not known.
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
        """A capture of this model, whose batches are begun and described by hand; options as of `featscope.capture`."""
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
        """What goes into the layers that were asked for and is worth to be stored beside what comes out."""
        return ()

    def report(self, item: Item, axes: Optional[Mapping[str, str]] = None) -> ModelReport:
        """What runs in the model, and how its tensors are read; axes: as of `featscope.capture`."""
        from featscope.capturing.tree import report

        return report(self.model, lambda: self.detect([item]), axes)

    def patterns(self, layers: Optional[Sequence[str]]) -> List[str]:
        """The layers that were asked for, or all that are features."""
        return features_only(layers, self.not_features)


def features_only(layers: Optional[Sequence[str]], not_features: Sequence[str]) -> List[str]:
    """The layers that were asked for; where none was, all but those that make inputs or boxes.

    >>> features_only(["neck"], ["transform"]), features_only(["!head"], ["transform"])
    (['neck'], ['!head', '!transform'])
    """
    patterns = list(layers or ())
    if any(not pattern.startswith("!") for pattern in patterns):
        return patterns
    return [*patterns, *(f"!{name}" for name in not_features)]


def no_candidates(detector: Detector) -> CaptureError:
    """The error of a detector whose raw outputs are not known."""
    return CaptureError(
        f"{detector.info.model} has no raw boxes and scores that featscope knows: its maps can be captured, "
        "single detections cannot be traced or explained; explain a number of its output: --target module:function"
    )


def need_checkpoint(opening: Opening, what: str = "a file of weights") -> str:
    """The checkpoint that was named, or an error that asks for one: nobody gets random weights unasked."""
    if not opening.checkpoint:
        raise BadOptionError(f"{opening.target} needs weights: name {what} behind it, or {RANDOM!r} for none")
    return opening.checkpoint


def refuse_unused(opening: Opening, **reasons: str) -> None:
    """An option that an adapter has no use for is an error, not a silence: its name, and why.

    Nobody has a use for `inputs` who does not say so: `inputs=""`.
    """
    for name, reason in {"inputs": "it takes images and nothing else", **reasons}.items():
        if reason and getattr(opening, name) not in ("", None, {}):
            option = {"config_options": "cfg-options", "inputs": "input"}.get(name, name.replace("_", "-"))
            raise BadOptionError(f"--{option} has no use with {opening.target or 'the demo'}: {reason}")


def load_picture(
    image: Union[Path, Picture],
    sample_id: str,
    reading: str = "pillow",
    read: Callable[[Path, str], Picture] = read_image,
) -> Tuple[Picture, Sample]:
    """The picture of a file or of an array, and a sample that says where it came from, and how.

    reading: how the framework reads files (`featscope.store.images.READINGS`). read: its own reader.
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
    """Detections as a record; with a geometry they come in pixels of the input."""
    values = np.asarray(boxes, np.float64).reshape(-1, {"xyxy": 4, "cxcywha": 5, "quad": 8}[form])
    if geometry is not None:
        values = to_original(values, geometry)
        if clip and form == "xyxy":
            height, width = geometry.original
            values = values.clip(0, [width, height, width, height])
    confidence = np.asarray(scores, np.float64).reshape(-1)
    real = np.isfinite(values).all(1) & np.isfinite(confidence)  # a box that is nowhere is none
    return Boxes(
        form, values[real].tolist(), np.asarray(labels, int).reshape(-1)[real].tolist(), confidence[real].tolist()
    )


def versions(*packages: str) -> Dict[str, str]:
    """Versions of what took part."""
    found = {"python": sys.version.split()[0]}
    for name in ("featscope", "torch", *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

"""`featscope.explain`: explain your own model, a detector by name, or a run, in one call."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Mapping, NamedTuple, Optional, Sequence, Tuple, Union, cast

from torch import nn

from featscope.adapters.detector import Detector, Item, no_candidates
from featscope.adapters.opening import open_detector
from featscope.adapters.reopening import images_of_run, reopen
from featscope.errors import BadOptionError, CaptureError, FeatscopeWarning
from featscope.explaining.explainer import Explainer
from featscope.explaining.explanation import Explanations
from featscope.explaining.methods import DEFAULT, WITHOUT_LAYER
from featscope.explaining.own import OwnPredict, OwnTarget, PlainModel, Predict, TargetOf
from featscope.explaining.targets import Choice, Explainable
from featscope.records import MeasuredPlace, Picture, Sample
from featscope.store.places import Key, levels_of
from featscope.store.reader import Run, open_run

Model = Union[nn.Module, Detector, Run, str, Path, None]
"""A module, a detector or its name, a run or its folder; None if a function that predicts is given."""

Target = Union[None, int, Sequence[int], str, TargetOf]


def explain(
    model: Model = None,
    image: object = None,
    target: Target = None,
    layer: str = "",
    method: Union[str, Sequence[str]] = (),
    *,
    top: int = 5,
    side: str = "",
    predict: Optional[Predict] = None,
    picture: Optional[Picture] = None,
    masks: int = 1000,
    batch_size: int = 4,
    checkpoint: str = "",
    **opening: Any,
) -> Explanations:
    """Explain what a model finds in an image: which features of a layer support it.

    For your own model, name the number in its output to explain:

    >>> found = featscope.explain(model, tensor, target=lambda output: output[281], layer="layer4")   # doctest: +SKIP
    >>> found[0].heat.shape, found[0].save("why")                                                     # doctest: +SKIP
    ((7, 7), PosixPath('why/image/target_layercam_layer4_level_0.png'))

    You can also explain a detector by name, a run, or a function that detects:

    >>> [one.label for one in featscope.explain("demo", "harbour.png", target="ship", top=2, method="odam")]
    ['ship', 'ship']
    >>> featscope.explain("runs/s2anet", "P0706", target=12, layer="neck")                            # doctest: +SKIP
    >>> featscope.explain(image=photo, method="d-rise", predict=my_detector, target=0)                # doctest: +SKIP

    model: a `torch.nn.Module`; a `Detector` or its name, as for `featscope capture`; or a run.

    image: for a module, its input, as a tensor (3, H, W) or (1, 3, H, W); for a detector, a file or a picture; for a
    run, the id of a sample.

    target: for a module, a function from its output for one image to one number; for a detector, the numbers of
    detections, the name of a class, or None for the `top` best ones.

    layer: name of the layer at which to explain. A detector has a default.

    method: one or several of `featscope.explaining.methods.METHODS`, or 'all'. The default is layercam, or d-rise with
    `predict`.

    side: 'left', 'width', 'angle', ... to explain this number of a box in place of its score.

    predict: a function from pictures (N, H, W, 3) of uint8 to (boxes, scores, labels) for each.

    picture: (H, W, 3), the picture to draw over in place of the input.

    masks, batch_size: for the methods that hide parts of the image.

    checkpoint, opening: for a detector by name, as in `featscope.adapters.opening.open_detector`.

    If one box fails, a warning is given and the others are returned. Raises `CaptureError` if nothing can be explained,
    `UnknownNameError` for an unknown layer, method or class, and `BadOptionError` for arguments that do not fit
    together.
    """
    methods = [method] if isinstance(method, str) else list(method)
    methods = methods or [DEFAULT if predict is None else WITHOUT_LAYER]
    if predict is not None and model is not None:
        raise BadOptionError("both a model and a function that predicts were given; give only one of them")
    if predict is not None:
        own = OwnPredict(predict)
        subject = _Subject(own, own.prepare(*_with_id(image)))
    elif isinstance(model, nn.Module):
        subject = _of_a_module(model, image, target, picture)
    else:
        subject = _of_a_detector(model, image, target, {"checkpoint": checkpoint, **opening})
    layer = layer or subject.detector.layer_to_explain
    explainer = Explainer(
        subject.detector,
        layer,
        methods,
        choice=_choice(target, top, subject.recorded),
        side=side,
        places=levels_of(subject.places, layer),
        masks=masks,
        batch_size=batch_size if subject.batches else 1,
    )
    found = Explanations(explainer.explain(subject.item))
    if not found and explainer.errors:
        raise CaptureError(explainer.errors[0])
    for text in dict.fromkeys([*explainer.errors, *explainer.remarks]):
        warnings.warn(f"featscope: {text}", FeatscopeWarning, stacklevel=2)
    return found


class _Subject(NamedTuple):
    """What to explain, and for which image."""

    detector: Explainable
    item: Item

    recorded: Optional[Sample] = None
    """The sample of the run, if it comes from a run."""

    places: Mapping[Key, MeasuredPlace] = {}
    """The measured places of the run."""

    batches: bool = True
    """Whether several images can run in one forward."""


def _of_a_module(model: nn.Module, image: object, target: Target, picture: Optional[Picture]) -> _Subject:
    if not callable(target):
        raise BadOptionError(
            f"name the number in the output of {type(model).__name__} that is to be explained: "
            "target=lambda output: output[281]"
        )
    plain = PlainModel(model)
    item = plain.prepare(image, picture=picture)
    return _Subject(OwnTarget(plain, target), item, batches=hasattr(item.inputs, "shape"))


def _of_a_detector(
    model: Union[Detector, Run, str, Path, None], image: object, target: Target, opening: Mapping[str, Any]
) -> _Subject:
    if isinstance(model, Run):
        model = model.folder
    if isinstance(model, (str, Path)) and (Path(model) / "run.json").is_file():
        return _of_a_run(model, str(image or ""), target, opening)
    if model is None or image is None:
        raise BadOptionError("give a model and an image: featscope.explain(model, image, target)")
    detector = open_detector(str(model), **opening) if isinstance(model, (str, Path)) else model
    return _Subject(_aimed(detector, target), detector.prepare(*_with_id(image)))


def _of_a_run(folder: Union[str, Path], name: str, target: Target, opening: Mapping[str, Any]) -> _Subject:
    """Find a sample of a run by its id. The id may be omitted if the run has only one sample."""
    run = open_run(folder)
    samples = images_of_run(run, name)
    if len(samples) > 1:
        names = ", ".join(repr(sample.id) for sample, _ in samples[:5])
        raise BadOptionError(f"{folder} contains {len(samples)} samples; choose one: image={names}")
    (sample, path), detector = samples[0], reopen(run, **opening)
    return _Subject(_aimed(detector, target), detector.prepare(path, sample.id), sample, run.places)


def _with_id(image: object) -> Tuple[Union[Path, Picture], str]:
    """Return an image file or a picture, with its id."""
    path = Path(image) if isinstance(image, (str, Path)) else image
    return cast(Union[Path, Picture], path), path.stem if isinstance(path, Path) else "image"


def _aimed(detector: Detector, target: Target) -> Explainable:
    """Return the detector, or a function of its output, that is explained."""
    if callable(target):
        return OwnTarget(detector, target)
    if not detector.traceable:
        raise no_candidates(detector)
    return detector


def _choice(target: Target, top: int, recorded: Optional[Sample]) -> Choice:
    if target is None or callable(target):
        return Choice(top, recorded=recorded)
    if isinstance(target, str):
        return Choice(top, target, recorded=recorded)
    return Choice(None, numbers=[target] if isinstance(target, int) else list(target), recorded=recorded)

"""Explain the detections of an image by any of the methods, at a layer of the network."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any, List, Mapping, Optional, Sequence

import torch

from featscope.capturing.remarks import Remarks
from featscope.capturing.verifying import Verifier, inside
from featscope.errors import BadOptionError, CaptureError, FeatscopeError, first_line
from featscope.explaining.candidates import Target
from featscope.explaining.explanation import Explanation, verified
from featscope.explaining.gradients import pulled
from featscope.explaining.items import Item
from featscope.explaining.masking import Trial
from featscope.explaining.methods import DEFAULT, METHODS, methods_named, refuse_side
from featscope.explaining.probe import Probe
from featscope.explaining.targets import Choice, Explainable, OnError, reported
from featscope.records import MeasuredPlace, Picture, Sample, class_name
from featscope.store.sample_images import original_image


class Explainer:
    """Explains the detections of several images, one image after the other.

    >>> explainer = Explainer(open_detector("demo"), "neck", ["odam"], Choice(top=3))         # doctest: +SKIP
    >>> explainer.explain(explainer.detector.prepare(Path("harbour.png"), "harbour"))         # doctest: +SKIP
    [Explanation(...), Explanation(...), Explanation(...)]

    layer: the layer to explain at; '' for the detector's default. methods: names in
    `featscope.explaining.methods.METHODS`. choice: which detections to explain. side: explain this number of a box
    ('left', 'angle', ...) in place of its score. places: measured places of the layer's levels. errors, remarks:
    problems with single boxes or pictures, and notes for the user, for all images so far. Other options are as in
    `explain_item`.

    Raises `UnknownNameError` for an unknown method, and `BadOptionError` if a side is requested of a method without
    gradients.
    """

    def __init__(
        self,
        detector: Explainable,
        layer: str = "",
        methods: Sequence[str] = (DEFAULT,),
        choice: Choice = Choice(),  # noqa: B008 (a constant)
        side: str = "",
        places: Optional[Mapping[int, MeasuredPlace]] = None,
        **options: Any,
    ) -> None:
        self.detector, self.layer = detector, layer or detector.layer_to_explain
        self.methods, self.choice, self.side = methods_named(methods), choice, side
        refuse_side(self.methods, side)
        _need_layer(self.methods, self.layer)
        self.errors: List[str] = []
        self.remarks: List[str] = []
        self._places, self._options = places or {}, options
        self._verifier = Verifier(Remarks())

    def explain(self, item: Item, choice: Optional[Choice] = None) -> List[Explanation]:
        """Return the explanations of one image from `Detector.prepare`. choice: replaces the explainer's own choice.

        Each explanation contains the picture that it is drawn over. Raises if nothing in the image can be explained.
        Errors of single boxes or methods are added to `errors`.
        """
        found = explain_item(
            self.detector,
            item,
            layer=self.layer,
            methods=self.methods,
            choice=choice or self.choice,
            side=self.side,
            on_error=self.errors.append,
            **self._options,
        )
        found = [self._placed(explanation) for explanation in found]
        if item.original is not None:
            return [replace(explanation, image=item.original) for explanation in found]
        return [self._over_its_image(explanation, item.picture) for explanation in found]

    def _placed(self, explanation: Explanation) -> Explanation:
        """Return the explanation with the measured place of its layer, if there is one."""
        measured = self._places.get(explanation.level) if explanation.layer else None
        place = measured.at(explanation.stride) if measured is not None else None
        return explanation if place is None else replace(explanation, place=place)

    def _over_its_image(self, explanation: Explanation, picture: Optional[Picture]) -> Explanation:
        def seen() -> Optional[Picture]:
            return None if picture is None else inside(picture, explanation.sample.geometry)

        explanation, ground = verified(explanation, picture, self._verifier)
        if ground is None:
            ground = original_image(explanation.sample, seen, self.errors, self.remarks)
        return replace(explanation, image=ground)


def explain_item(
    detector: Explainable,
    item: Item,
    layer: str = "",
    methods: Sequence[str] = (DEFAULT,),
    choice: Choice = Choice(),  # noqa: B008 (a constant)
    side: str = "",
    *,
    masks: int = 1000,
    batch_size: int = 4,
    on_error: Optional[OnError] = None,
) -> List[Explanation]:
    """Explain detections of one image at a layer, in one forward for all boxes, or more for hiding methods.

    >>> detector = open_detector("demo")                                       # doctest: +SKIP
    >>> item = detector.prepare(Path("harbour.png"), "harbour")                # doctest: +SKIP
    >>> explain_item(detector, item, "neck", ["odam"], Choice(top=3))          # doctest: +SKIP
    [Explanation(...), Explanation(...), Explanation(...)]

    layer, methods, choice, side: as in `Explainer`. masks: number of random masks of d-rise, which are the same in each
    call. batch_size: number of images in one forward of a hiding method, which determines the memory. on_error:
    receives the message if one box cannot be explained; the others are explained.

    For a layer with several levels, the level that the score depends on most is shown. Raises `CaptureError` if a score
    does not depend on the layer, or if nothing in the layer supports the box.
    """
    names = methods_named(methods)
    refuse_side(names, side)
    layer = layer or detector.layer_to_explain
    _need_layer(names, layer)
    # Methods by values also need the gradient, to find the level of a target.
    with_gradients = any(METHODS[name].by != "hiding" for name in names)
    at_layer = any(METHODS[name].layer for name in names)
    probe = Probe(detector.model, layer, with_gradients) if at_layer else None
    try:
        with torch.set_grad_enabled(with_gradients), probe or nullcontext():
            found = detector.detect([item], candidates=True)[0]
    except RuntimeError as error:
        if isinstance(error, FeatscopeError) or not with_gradients:
            raise
        raise CaptureError(
            f"the model cannot run with gradients ({first_line(error)}); use -m d-rise, which does not need them"
        ) from error
    if probe is not None:
        probe.check()
    targets = choice.of(found, detector.info.classes, on_error)
    trial = Trial(detector, item, found.raw, targets, probe, masks=masks, batch_size=batch_size)
    made: List[Explanation] = []
    by_map = [name for name in names if METHODS[name].by != "hiding"]
    if by_map and probe is not None:
        made += _by_map(trial, probe, sample=found.sample, names=by_map, layer=layer, side=side, on_error=on_error)
    for name in names:
        if METHODS[name].by == "hiding":
            made += _by_hiding(trial, found.sample, name, layer, on_error)
    return made


def _by_hiding(trial: Trial, sample: Sample, name: str, layer: str, on_error: Optional[OnError]) -> List[Explanation]:
    """Make the maps of a hiding method, one for each target."""
    made = []
    with reported(on_error):
        for target, (heat, level) in zip(trial.targets, METHODS[name].hide(trial)):
            with reported(on_error):
                made.append(_finished(trial, sample, target=target, method=name, layer=layer, level=level, heat=heat))
    return made


def _need_layer(names: Sequence[str], layer: str) -> None:
    needing = [name for name in names if METHODS[name].layer]
    if needing and not layer:
        raise BadOptionError(
            f"{needing[0]} makes a map of a layer, but no layer was given; type -l layer4 (layer='layer4' in Python); "
            "to see all layers: featscope layers MODEL"
        )


def _by_map(
    trial: Trial,
    probe: Probe,
    sample: Sample,
    names: Sequence[str],
    layer: str,
    side: str,
    on_error: Optional[OnError],
) -> List[Explanation]:
    """Make the maps of methods that need a target's gradient at the layer, or only the layer's values."""
    made = []
    for target in trial.targets:
        with reported(on_error):
            here = pulled(probe, trial.candidates, target=target, side=side, layer=layer, name=sample.id)
            for name in names:
                with reported(on_error):
                    heat = METHODS[name].compute(here.activation, here.gradient)
                    made.append(
                        _finished(
                            trial,
                            sample,
                            target=target,
                            method=name,
                            layer=layer,
                            level=here.level,
                            heat=heat,
                            side=side,
                        )
                    )
    return made


def _finished(
    trial: Trial,
    sample: Sample,
    target: Target,
    method: str,
    layer: str,
    level: Optional[int],
    heat: torch.Tensor,
    side: str = "",
) -> Explanation:
    """Make the explanation with the positive part of the map. An empty map is an error, not a flat picture."""
    heat = heat.relu() if METHODS[method].by != "values" else heat - heat.min()
    if not bool(torch.isfinite(heat).all()):
        raise CaptureError(f"{method} of {target.words} of {sample.id} at {layer!r} is not finite; use float32 weights")
    if not float(heat.max()) > 0:
        raise CaptureError(
            f"{method} finds nothing at {layer!r} that supports {target.words} of {sample.id}: all values are zero or "
            "negative; try another method (layercam, odam) or another layer"
        )
    place = trial.layer.places[level] if level is not None else None
    classes = trial.detector.info.classes
    return Explanation(
        sample=sample,
        target=target,
        method=method,
        layer="" if level is None else layer,
        level=level or 0,
        side=side,
        heat=heat.cpu().numpy().astype("float32"),
        place=place,
        label=class_name(classes, target.label),
    )

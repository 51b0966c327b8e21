"""Explanations by gradient: all detections of an image, any number of methods, one forward."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Optional, Sequence

import torch

from featscope.errors import CaptureError, FeatscopeError, unknown_name
from featscope.explain.cam import METHODS
from featscope.explain.candidates import Candidates, Target
from featscope.explain.explanation import Explanation
from featscope.explain.probe import Probe
from featscope.explain.targets import Choice, Explainable, side_index
from featscope.records import Place, Sample

OnError = Callable[[str], None]


def explain_by_gradient(
    detector: Explainable,
    item: Any,
    layer: str,
    methods: Sequence[str] = ("grad-cam",),
    choice: Choice = Choice(),  # noqa: B008 (a constant)
    side: str = "",
    on_error: Optional[OnError] = None,
) -> List[Explanation]:
    """Explain detections of one image at a layer.

    >>> detector = open_detector("demo")                                       # doctest: +SKIP
    >>> item = detector.prepare(Path("harbour.png"), "harbour")                # doctest: +SKIP
    >>> explain_by_gradient(detector, item, "neck", ["odam"], Choice(top=3))   # doctest: +SKIP
    [Explanation(...), Explanation(...), Explanation(...)]

    methods: of `featscope.explain.cam.METHODS`. side: 'left', 'top', ... explains that number of the box
    in place of its score. on_error: takes the message where one box cannot be explained, and the others go
    on. Of a layer with several levels the one that the score depends on most is shown.
    Raises `CaptureError` where the layer has no part in a score, or nothing in it speaks for the box.
    """
    for method in methods:
        if method not in METHODS:
            raise unknown_name("method", method, METHODS, "featscope explain --help")
    try:
        with torch.enable_grad(), Probe(detector.model, layer) as probe:
            found = detector.detect([item], candidates=True)[0]
    except RuntimeError as error:
        if isinstance(error, FeatscopeError):
            raise
        fact = str(error).splitlines()[0][:200]
        raise CaptureError(f"the model does not run with gradients ({fact}); -m d-rise needs none") from error
    probe.check()
    sample, candidates = found.sample, found.candidates
    targets = choice.of(found, detector.info.classes)
    activations = probe.maps(probe.kept, 0)
    explanations = []
    for target in targets:
        with reported(on_error):
            gradients = probe.maps(_gradients(probe, candidates, target, side, layer), 0)
            level = _strongest(activations, gradients, layer, target, sample)
            for method in methods:
                with reported(on_error):
                    heat = METHODS[method].compute(activations[level], gradients[level])  # type: ignore[arg-type]
                    explanations.append(finish(heat, sample, target, method, layer, level, side, probe.places[level]))
    return explanations


@contextmanager
def reported(on_error: Optional[OnError]) -> Iterator[None]:
    """Hand the error of one box to `on_error`, if there is one."""
    try:
        yield
    except CaptureError as error:
        if on_error is None:
            raise
        on_error(str(error))


def _gradients(probe: Probe, candidates: Candidates, target: Target, side: str, layer: str) -> List[Any]:
    if side:
        value = candidates.box(target.source, target.label)[side_index(side, candidates.form)]
    else:
        value = candidates.logit(target.source, target.label)
    if not value.requires_grad:
        raise CaptureError(
            f"the {side or 'score'} of box {target.number} has no gradient at layer {layer!r}: the model computes it "
            "without that layer, or cuts the gradient on the way; choose a layer nearer to the head that made the box"
        )
    return list(torch.autograd.grad(value, probe.kept, retain_graph=True, allow_unused=True))


def _strongest(activations: Sequence[Any], gradients: Sequence[Any], layer: str, target: Target, sample: Sample) -> int:
    """The level of a layer that the score depends on most."""
    strength = [
        0.0 if gradient is None or activation is None else float((gradient * activation).abs().sum())
        for activation, gradient in zip(activations, gradients)
    ]
    level = max(range(len(strength)), key=strength.__getitem__, default=0)
    if not strength or not strength[level] > 0:
        raise CaptureError(
            f"box {target.number} of {sample.id} does not depend on layer {layer!r}: its gradient there is zero; "
            "choose another layer, for example the neck"
        )
    return level


def finish(
    heat: torch.Tensor,
    sample: Sample,
    target: Target,
    method: str,
    layer: str,
    level: int,
    side: str = "",
    place: Optional[Place] = None,
) -> Explanation:
    """What speaks for the box; a map with nothing in it is an error, not a flat picture."""
    heat = heat.relu() if method != "eigen-cam" else heat - heat.min()
    if not bool(torch.isfinite(heat).all()):
        raise CaptureError(
            f"{method} of box {target.number} of {sample.id} at {layer!r} is not finite: use float32 weights"
        )
    if not float(heat.max()) > 0:
        raise CaptureError(
            f"{method} finds nothing at {layer!r} that speaks for box {target.number} of {sample.id}: all is zero or "
            "against it; try another method (layercam, odam), or another layer"
        )
    return Explanation(sample, target, method, layer, level, side, heat.cpu().numpy().astype("float32"), place)

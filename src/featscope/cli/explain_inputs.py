"""What `featscope explain` works on: a detector and images, of a run or as they were typed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from featscope.cli import models
from featscope.errors import BadOptionError

if TYPE_CHECKING:
    from featscope.records import MeasuredPlace, Sample
    from featscope.store.places import Key


class Work(NamedTuple):
    """A detector and the images to explain."""

    detector: Any
    images: List[Tuple[Sample, Path]]

    places: Mapping[Key, MeasuredPlace]
    """The places that were measured for the run."""

    recorded: bool
    """Whether the samples are those of a run, whose detections must be found again."""


def open_recorded(folder: Path, glob: str, checkpoint: str, options: Dict[str, Any]) -> Work:
    """Open the detector of a run, with the run's images. options: as in `models.opening`."""
    from featscope.adapters.reopening import images_of_run, reopen
    from featscope.store.reader import open_run

    opened = open_run(folder)
    named = images_of_run(opened, glob)
    instead = "name the model: featscope explain MODEL -i photo.jpg"
    detector = reopen(opened, checkpoint, instead, **models.opening(**options))
    return Work(detector, named, opened.places, recorded=True)


def open_typed(
    source: str, checkpoint: str, images: Optional[List[Path]], predict: str, options: Dict[str, Any]
) -> Work:
    """Open a named model, or the function of --predict, with the images that were typed."""
    from featscope.adapters.feeding import named_images
    from featscope.adapters.opening import split_name
    from featscope.records import Sample

    if not source and not predict:
        raise BadOptionError("name a run or a model: featscope explain RUN, or featscope explain MODEL -i photo.jpg")
    if source:
        split_name(source)
    files = [(Sample(name, str(path)), path) for name, path in named_images(models.images_of(images))]
    if not files:
        raise BadOptionError(
            f"there is no image to explain; give one: featscope explain {source or '...'} -i photo.jpg"
        )
    if predict:
        if source:
            raise BadOptionError(f"{source} and --predict both name a detector; leave one of them out")
        from featscope.explaining.own import OwnPredict

        return Work(OwnPredict(models.function_named(predict, "--predict")), files, {}, recorded=False)
    return Work(models.open_named(source, checkpoint, **options), files, {}, recorded=False)


def aimed(detector: Any, function: Any, predicts: bool) -> Any:
    """Return the detector, or its combination with the function of --target.

    Raises `CaptureError` if neither gives something to explain: the raw outputs of the detector are unknown.
    """
    if function is not None:
        from featscope.explaining.own import OwnTarget

        return OwnTarget(detector, function)
    if not predicts and not detector.traceable:
        from featscope.adapters.detector import no_candidates

        raise no_candidates(detector)
    return detector

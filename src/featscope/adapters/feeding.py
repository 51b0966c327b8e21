"""Run a detector on images, for all adapters."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import (
    Any,
    Callable,
    ContextManager,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

import msgspec

from featscope.adapters.detector import Detected, Detector, Item
from featscope.arrays.candidates import ImageCandidates
from featscope.capturing.estimate import Footprint
from featscope.capturing.ledger import Ledger
from featscope.capturing.policy import make_policy
from featscope.capturing.protocol import CaptureSession
from featscope.errors import BadImageError, BadOptionError
from featscope.measuring.detections import keep_places_of_heads
from featscope.records import Boxes, Policy, Sample, Written
from featscope.store.files import size_text
from featscope.store.truth import TruthReader, detects_rotated
from featscope.store.writer import RunWriter
from featscope.words import counted

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def list_images(paths: Sequence[Path]) -> List[Path]:
    """Return the image files that paths of files and folders stand for, in order."""
    images: List[Path] = []
    for path in paths:
        if path.is_dir():
            images += _images_in(path) or _no_images(path)
        elif path.exists():
            images.append(path)
        else:
            raise BadImageError(f"the image {path} does not exist")
    odd = next((image for image in images if _is_special(image)), None)
    if odd is not None:
        raise BadImageError(f"{odd} is not a regular file but a FIFO, a socket or a device; leave it out")
    return images


def _images_in(folder: Path) -> List[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def _no_images(folder: Path) -> List[Path]:
    """Raise `BadImageError` for a folder without images, and name a folder below it that has some."""
    below = next((path for path in sorted(folder.iterdir()) if path.is_dir() and _images_in(path)), None)
    hint = f"; there are some in {below}" if below is not None else ""
    raise BadImageError(f"{folder} does not contain an image ({', '.join(IMAGE_SUFFIXES)}){hint}")


def _is_special(path: Path) -> bool:
    """Whether opening a path could block forever."""
    return path.exists() and not (path.is_file() or path.is_dir())


def named_images(images: Sequence[Path]) -> List[Tuple[str, Path]]:
    """Give each image a unique id: its name without suffix, with its folder if two images have the same name."""
    entry = Ledger().enter([Sample(image.stem, str(image)) for image in images])
    return [(sample.id, image) for sample, image in zip(entry.samples, images)]


def without_gradients() -> ContextManager[object]:
    """Disable gradients in a block if torch is loaded."""
    torch = sys.modules.get("torch")
    return torch.no_grad() if torch is not None else nullcontext()


class Captured(NamedTuple):
    """Result of `capture_images`."""

    written: Written
    """How much was stored, and where."""

    failed: List[str]
    """A message for each image that could not be read."""

    remarks: List[str]
    """Notes on the other images."""


def capture_images(
    detector: Detector,
    images: Sequence[Path],
    output: Path,
    layers: Optional[Sequence[str]],
    batch_size: int = 1,
    provenance: bool = True,
    done: Callable[[], None] = lambda: None,
    truth: Union[Mapping[Path, Boxes], str, Path, None] = None,
    **options: Any,
) -> Captured:
    """Run a detector on images and capture its layers.

    provenance: find the source of each detection, if the detector's raw outputs are known. truth: ground truth of
    images, or the path of their labels as of `featscope.store.truth.read_truth`. done: called after each image.
    options: names, policy, resume and on_error of `featscope.capture`.
    """
    failed: List[str] = []
    known = _labels(truth, detector.info.classes, images) if isinstance(truth, (str, Path)) else _Given(truth or {})
    untraced: Set[str] = set()
    stores = make_policy(options.get("policy")).candidates
    if stores and not detector.traceable:
        raise BadOptionError(
            f"--candidates cannot be used with {detector.info.model}: featscope does not know its raw boxes and scores"
        )
    info = msgspec.structs.replace(detector.info, command=list(sys.argv))
    with detector.capture(layers, output, info=info, dataset_size=len(images), **options) as session:
        for number, paths in enumerate(_batches(images, batch_size)):
            items = list(_readable(detector, paths, failed, done))
            if not items:
                continue
            session.start_batch(number, [item.sample.id for item in items], [item.sample.path for item in items])
            if session.wanted:
                with without_gradients():
                    found = detect_and_trace(detector, items, provenance, stores)
                untraced.update(one.untraced for one in found if one.untraced)
                _describe(session, items, found, known, stores)
            session.end_batch()
        if isinstance(session.sink, RunWriter):
            session.sink.truth_notes = known.notes()
        if len(failed) == len(images):
            raise BadImageError(f"no image could be read; {failed[0]}")
    keep_places_of_heads(output)
    remarks = [f"sources were not found: {why}" for why in sorted(untraced)]
    return Captured(session.written, failed, [*detector.remarks, *session.remarks, *remarks, *known.notes()])


class _Given:
    """The ground truth of images, by their paths."""

    def __init__(self, truth: Mapping[Path, Boxes]) -> None:
        self._boxes = {str(path.absolute()): boxes for path, boxes in truth.items()}

    def boxes_of(self, sample: Sample, rotated: bool = False) -> Optional[Boxes]:
        """Return the true boxes of a sample; None if they are not given."""
        return self._boxes.get(sample.path)

    def notes(self) -> List[str]:
        """Return nothing, as nothing had to be matched."""
        return []


def _labels(path: Union[str, Path], classes: Sequence[str], images: Sequence[Path]) -> TruthReader:
    return TruthReader(path, classes, [Sample(image.stem, str(image.absolute())) for image in images])


def _describe(
    session: CaptureSession,
    items: Sequence[Item],
    found: Sequence[Detected],
    truth: Union[_Given, TruthReader],
    stores: bool,
) -> None:
    """Describe the samples of a batch. stores: whether to store their candidates."""
    pictures = [one.picture if one.picture is not None else item.picture for one, item in zip(found, items)]
    true = [truth.boxes_of(one.sample, detects_rotated(one.sample)) for one in found]
    samples = [msgspec.structs.replace(one.sample, truth=boxes) for one, boxes in zip(found, true)]
    session.describe(samples, pictures, [partial(candidates_of, one) for one in found] if stores else None)


def candidates_of(found: Detected) -> Optional[ImageCandidates]:
    """Return the candidates of a detected image as arrays; their selection is known if it gives its detections.

    >>> candidates_of(detector.detect([item], candidates=True)[0]).selection.threshold   # doctest: +SKIP
    0.05
    """
    if found.candidates is None:
        return None
    from featscope.explaining.candidates import proved_arrays

    return proved_arrays(found.candidates, found.sample.predictions)


def detect_and_trace(
    detector: Detector, items: Sequence[Item], provenance: bool = True, candidates: bool = False
) -> List[Detected]:
    """Detect objects and find the source of each detection in the raw outputs of the same forward.

    provenance: whether to find sources. candidates: whether the raw outputs are needed in any case.
    """
    if not detector.traceable or not (provenance or candidates):
        return detector.detect(items)
    from featscope.explaining.provenance import find_sources

    found = detector.detect(items, candidates=True)
    if not provenance:
        return found
    return [
        one._replace(
            sample=msgspec.structs.replace(one.sample, sources=find_sources(one.candidates, one.sample.predictions))
        )
        if one.candidates is not None and one.sample.predictions is not None
        else one
        for one in found
    ]


class Estimate(NamedTuple):
    """The size of a run before it is made."""

    footprint: Footprint
    """The maps of one sample."""

    samples: int
    """Number of samples that the run would store."""

    of: int
    """Number of all samples."""

    seconds: float
    """Time for one sample."""

    @property
    def bytes(self) -> int:
        """Of the whole run."""
        return self.footprint.bytes * self.samples

    def __repr__(self) -> str:
        of = f"{self.samples} of {counted(self.of, 'sample')}"
        return f"<Estimate: {size_text(self.bytes)} for {of}, {self.seconds:.2g} s a forward>"


def estimate_run(
    detector: Detector,
    samples: Sequence[Tuple[str, Path]],
    layers: Optional[Sequence[str]],
    policy: Policy,
    names: Optional[Mapping[str, str]] = None,
) -> Estimate:
    """Estimate a run by capturing the first of the samples (id, file) without storing it."""
    if not samples:
        raise BadOptionError("there is no image to estimate from; give one: -i photo.jpg")
    item = detector.prepare(samples[0][1], samples[0][0])
    footprint = Footprint()
    thinning = Policy(dtype=policy.dtype, reduce=policy.reduce, channels=policy.channels)
    with detector.capture(layers, footprint, policy=thinning, names=names) as session:
        session.start_batch(0, [item.sample.id])
        start = time.perf_counter()
        with without_gradients():
            (found,) = detect_and_trace(detector, [item], provenance=False, candidates=policy.candidates)
        seconds = time.perf_counter() - start
    raw = candidates_of(found)
    if raw is not None:
        footprint.add_candidates(raw)
    size = len(samples)
    kept = len(Ledger(policy, size).enter([Sample(name, str(path)) for name, path in samples]).rows)
    return Estimate(footprint, kept, size, seconds)


def _batches(images: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    for start in range(0, len(images), size):
        yield images[start : start + size]


def _readable(
    detector: Detector, images: Sequence[Path], failed: List[str], done: Callable[[], None]
) -> Iterator[Item]:
    for image in images:
        try:
            yield detector.prepare(image, image.stem)
        except BadImageError as error:
            failed.append(str(error))
        done()

"""Verify the geometry of each sample by comparing the network's input with the image file, before it is recorded.

A framework reports how it transformed an image, but the report may be incomplete: it may lack a flip, a crop or a
second resize, and users write their own pipelines. Every sample with a picture passes through this module.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from msgspec.structs import replace

from featscope.arrays.agreement import FLAT, SIDE, Comparison, Thumbnail, compare, structure, thumbnail
from featscope.arrays.frames import axes_of, fits, reframed_record, unmirrored
from featscope.arrays.search import Found, Rule, Search, apart, nudged
from featscope.capturing.remarks import Remarks
from featscope.errors import BadImageError, first_line
from featscope.records import Agreement, Boxes, Geometry, Picture, Sample
from featscope.store.originals import read_small

_OF_ORIGINAL = 2 * SIDE  # pixels; large enough to compare an input that shows only a part of the image
_LARGEST = 4096  # pixels of the longer side of a thumbnail
_COARSE = 1.6  # read the original again if its thumbnail is this much coarser than that of the input
_EXPECTED = 64  # the most images that are read ahead
_RULES = 4  # the most recent rules, which are tried first
_TRIES = 5  # stop searching after this many images in a row without a result: the pipeline is not a known one
_NEAR = 0.5  # from this correlation on, a geometry may be wrong by only a few pixels


class Verified(NamedTuple):
    """A sample with its verified geometry and boxes."""

    sample: Sample

    picture: Optional[Picture]
    """Its input without padding; the whole input if the geometry is unknown."""


class Verifier:
    """Verifies the samples of one capture. A separate thread reads the image files while the network runs."""

    def __init__(self, remarks: Remarks) -> None:
        self._remarks = remarks
        self._reading: OrderedDict[str, Future[List[Thumbnail]]] = OrderedDict()
        self._pool: Optional[ThreadPoolExecutor] = None
        self._rules: List[Rule] = []  # the rules that found a geometry last
        self._in_vain = 0
        self._lock = threading.Lock()

    def expect(self, samples: Sequence[Sample]) -> None:
        """Start to read the files of samples that will be described soon."""
        with self._lock:
            for sample in samples:
                if sample.path and sample.frame is None and sample.path not in self._reading:
                    if self._pool is None:
                        self._pool = ThreadPoolExecutor(1, "featscope-originals")
                    self._reading[sample.path] = self._pool.submit(read_small, Path(sample.path), _OF_ORIGINAL)
            while len(self._reading) > _EXPECTED:
                self._reading.popitem(last=False)[1].cancel()

    def close(self) -> None:
        """End the reading; no more samples follow."""
        with self._lock:
            self._reading.clear()
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def verify(self, sample: Sample, picture: Optional[Picture], original: Optional[Thumbnail] = None) -> Verified:
        """Return a sample as it can be recorded.

        picture: the network's input, (H, W, 3), from its top left corner on; padding at the right and the bottom may be
        missing. original: the image, if it does not come from a file.
        """
        claimed = sample.geometry
        fitting = claimed if claimed is not None and fits(claimed) else None
        judged = _Judged(fitting, None)
        if picture is not None and (original is not None or (sample.path and sample.frame is None)):
            if claimed is not None and any(claimed.offset) and picture.shape[:2] == _inner(claimed):
                # The picture was handed over without the padding above it and on its left.
                judged = self._judge_cut(sample, picture, claimed, original)
            else:
                judged = self._judge_or_say(sample, picture, fitting, original)
        if judged.agreement is not None and judged.agreement.verdict == "disagrees":
            self._remarks.say(
                "the network's input of some images does not match their files in any way that featscope knows; their "
                "maps are drawn over the input, and `Sample.agreement` tells why"
            )
        elif judged.geometry != fitting:
            self._remarks.say(
                "some images lie elsewhere in the input than their framework reports; their position was found by "
                "comparing pixels, and `Sample.agreement` tells what was reported"
            )
        sample = replace(
            sample,
            geometry=judged.geometry,
            agreement=judged.agreement,
            predictions=_boxes(sample.predictions, claimed, judged.geometry, moved=True),
            truth=_boxes(sample.truth, claimed, judged.geometry, moved=False),
        )
        return Verified(sample, None if picture is None else inside(picture, judged.geometry))

    def _judge_cut(self, sample: Sample, picture: Picture, claimed: Geometry, original: Optional[Thumbnail]) -> _Judged:
        """Check whether a picture that was cut out of the input is the reported part."""
        bare = replace(claimed, padded=(picture.shape[0], picture.shape[1]), offset=(0.0, 0.0))
        judged = self._judge_or_say(replace(sample, geometry=bare), picture, bare, original)
        return judged._replace(geometry=claimed) if judged.geometry == bare else judged._replace(geometry=None)

    def _judge_or_say(
        self, sample: Sample, picture: Picture, fitting: Optional[Geometry], original: Optional[Thumbnail]
    ) -> _Judged:
        try:
            return self._judge(sample, picture, fitting, original)
        except Exception as error:  # noqa: BLE001 (a failed check must not stop the user's work)
            self._remarks.say(f"the geometry of images cannot be verified: {first_line(error)}")
            return _Judged(fitting, None)

    def _judge(
        self, sample: Sample, picture: Picture, fitting: Optional[Geometry], given: Optional[Thumbnail]
    ) -> _Judged:
        """Check a sample's geometry by its pixels. fitting: the geometry, if it fits into the input, else None."""
        claimed = sample.geometry
        try:
            originals = [given] if given is not None else self._originals(sample.path)
        except BadImageError as error:
            return _Judged(fitting, Agreement("not verifiable", why=str(error)))
        if claimed is not None:
            same = [one for one in originals if one.size == claimed.original]
            fitting = fitting if same else None  # else it belongs to another image
            originals = same or originals
        seen = thumbnail(picture)

        def sharp(original: Thumbnail, geometry: Geometry) -> Thumbnail:
            return original if given is not None else _sharp(sample, original, seen, geometry)

        best: Optional[Comparison] = None
        if fitting is not None:
            geometry = fitting
            tried = [(compare(one, seen, geometry), one) for one in (sharp(one, geometry) for one in originals)]
            best, likely = max(tried, key=lambda one: one[0].correlation)
            judged = _as_claimed(best, likely, seen, fitting)
            if judged is not None:
                return judged
        elif structure(seen) < FLAT:
            return _Judged(None, Agreement("not verifiable", why="the image has no structure"))
        told = _told(claimed, fitting is None)
        padded = claimed.padded if claimed is not None else (picture.shape[0], picture.shape[1])
        for original in (sharp(one, claimed) if claimed is not None else one for one in originals):
            found = self._found(Search(original, picture, padded, claimed))
            if found is not None:
                return _Judged(found.geometry, _agreement(found.comparison, f"{_words(found)}; {told}"))
        return _Judged(None, _disagreement(best, told))

    def _found(self, search: Search) -> Optional[Found]:
        """Search for a geometry: first by the rules that were right last, then by all, unless many searches failed."""
        for rule in self._rules:
            found = search.by(rule)
            if found is not None:
                return found
        if self._in_vain >= _TRIES:
            return None
        found = search.at_edges() or search.anywhere()
        self._in_vain = self._in_vain + 1 if found is None else 0
        if found is not None:
            self._rules = [found.rule, *(rule for rule in self._rules if rule != found.rule)][:_RULES]
        return found

    def _originals(self, path: str) -> List[Thumbnail]:
        with self._lock:
            reading = self._reading.pop(path, None)
        return reading.result() if reading is not None else read_small(Path(path), _OF_ORIGINAL)


class _Judged(NamedTuple):
    geometry: Optional[Geometry]
    agreement: Optional[Agreement]


def _as_claimed(best: Comparison, original: Thumbnail, seen: Thumbnail, fitting: Geometry) -> Optional[_Judged]:
    """Judge the reported geometry: correct, slightly off, or not verifiable; None if it is wrong.

    best: the comparison of `original`, transformed by the geometry, with what the network saw.
    """
    if best.flat:
        return _Judged(fitting, Agreement("not verifiable", why="the image has no structure"))
    if best.agrees:
        return _Judged(fitting, _agreement(best))
    near = nudged(original, seen, fitting.padded, fitting, best) if best.correlation > _NEAR else None
    if near is None:
        return None
    why = f"the image lies {apart(near, fitting):.1f} pixels away from where its framework reports it"
    return _Judged(near, _agreement(compare(original, seen, near), why))


def _disagreement(best: Optional[Comparison], told: str) -> Agreement:
    """best: the comparison by the reported geometry, if there is one. told: what the framework reported."""
    correlation, off = (round(best.correlation, 3), round(best.off, 1)) if best is not None else (None, None)
    return Agreement("disagrees", correlation, off, f"no geometry agrees; {told}")


def _sharp(sample: Sample, original: Thumbnail, seen: Thumbnail, geometry: Geometry) -> Thumbnail:
    """Return a sharper thumbnail of the original if the input shows only a small part of it."""
    wanted = seen.step / max(abs(axis.scale) for axis in axes_of(geometry))
    if original.step <= _COARSE * wanted:
        return original
    side = min(_LARGEST, int(max(original.size) / wanted))
    finer = [one for one in read_small(Path(sample.path), side) if one.size == original.size]
    return finer[0] if len(finer) == 1 else original


def _agreement(found: Comparison, why: str = "") -> Agreement:
    return Agreement("verified", round(found.correlation, 3), round(found.off, 2), why)


def _boxes(
    boxes: Optional[Boxes], claimed: Optional[Geometry], geometry: Optional[Geometry], moved: bool
) -> Optional[Boxes]:
    """Convert boxes to a geometry. moved: boxes in original pixels were computed with the claimed geometry."""
    if boxes is None or (boxes.frame == "original" and not (moved and claimed is not None)):
        return boxes
    if boxes.frame == "mirrored":
        return unmirrored(boxes, geometry)
    return reframed_record(boxes, None if boxes.frame == "input" else claimed, geometry)


def _inner(geometry: Geometry) -> Tuple[int, int]:
    return round(geometry.resized[0]), round(geometry.resized[1])


def inside(picture: Picture, geometry: Optional[Geometry]) -> Picture:
    """Return the part of an input that contains the image; the whole input if the geometry is unknown."""
    if geometry is None or picture.shape[:2] == _inner(geometry):  # it already is only that part
        return picture
    (top, left), (height, width) = geometry.offset, geometry.resized
    part = picture[
        round(top) : max(round(top) + 1, round(top + height)), round(left) : max(round(left) + 1, round(left + width))
    ]
    return np.ascontiguousarray(part) if part.size else picture


def _words(found: Found) -> str:
    """Describe the position that was found for an image."""
    rule, geometry = found.rule, found.geometry
    flip = f", flipped ({rule.flip})" if rule.flip else ""
    crop = ", cropped" if geometry.crop else ""
    high, wide = geometry.resized
    return (
        f"{high:.6g} x {wide:.6g} pixels{crop}{flip}, {geometry.offset[0]:.4g} from the top and "
        f"{geometry.offset[1]:.4g} from the left"
    )


def _told(claimed: Optional[Geometry], unfit: bool) -> str:
    """Describe the geometry that the framework reports."""
    if claimed is None:
        return "its framework does not report a geometry"
    flip = f", flipped ({claimed.flip})" if claimed.flip else ""
    told = f"its framework reports {claimed.resized[0]:.6g} x {claimed.resized[1]:.6g}{flip}"
    return f"{told}, which does not fit {claimed.padded[0]} x {claimed.padded[1]}" if unfit else told

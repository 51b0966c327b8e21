"""Is a sample's geometry true? What the network saw is laid beside the image file before anything is recorded.

A framework says how it fitted an image, but not all of it: a mirror, a crop or a second resize is left out, and the
pipeline is the user's own. Here is the one place that every sample passes with its picture.
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

_OF_ORIGINAL = 2 * SIDE  # pixels: an input that shows a part of it is seen as sharply
_LARGEST = 4096
_COARSE = 1.6  # times: a thumbnail of the original that is coarser than that of the input is read again
_EXPECTED = 64  # images that are read ahead at most
_RULES = 4  # that are tried first
_TRIES = 5  # images in a row: a pipeline of which nothing was found by then is not of those that are known
_NEAR = 0.5  # the correlation from which on a geometry may be right but for some pixels


class Verified(NamedTuple):
    """A sample with its agreement, and with the geometry and the boxes that this bears out. picture: its input,
    without padding; whole where nobody knows how the image lies in it.
    """

    sample: Sample
    picture: Optional[Picture]


class Verifier:
    """Verifies the samples of one capture. The files are read by a thread of their own, while the network runs."""

    def __init__(self, remarks: Remarks) -> None:
        self._remarks = remarks
        self._reading: OrderedDict[str, Future[List[Thumbnail]]] = OrderedDict()
        self._pool: Optional[ThreadPoolExecutor] = None
        self._rules: List[Rule] = []  # those that were right last
        self._in_vain = 0
        self._lock = threading.Lock()

    def expect(self, samples: Sequence[Sample]) -> None:
        """These samples will be described soon: read their files meanwhile."""
        with self._lock:
            for sample in samples:
                if sample.path and sample.frame is None and sample.path not in self._reading:
                    if self._pool is None:
                        self._pool = ThreadPoolExecutor(1, "featscope-originals")
                    self._reading[sample.path] = self._pool.submit(read_small, Path(sample.path), _OF_ORIGINAL)
            while len(self._reading) > _EXPECTED:
                self._reading.popitem(last=False)[1].cancel()

    def close(self) -> None:
        """No more samples come."""
        with self._lock:
            self._reading.clear()
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def verify(self, sample: Sample, picture: Optional[Picture], original: Optional[Thumbnail] = None) -> Verified:
        """A sample as it can be recorded.

        picture: what the network saw, (H, W, 3), from its top left corner on; padding at the right and the bottom
        may be missing. original: the image, where it is no file.
        """
        claimed = sample.geometry
        fitting = claimed if claimed is not None and fits(claimed) else None
        judged = _Judged(fitting, None)
        if picture is not None and (original is not None or (sample.path and sample.frame is None)):
            if claimed is not None and any(claimed.offset) and picture.shape[:2] == _inner(claimed):
                # Handed over without what lies above and left of it.
                judged = self._judge_cut(sample, picture, claimed, original)
            else:
                judged = self._judge_or_say(sample, picture, fitting, original)
        if judged.agreement is not None and judged.agreement.verdict == "disagrees":
            self._remarks.say(
                "what the network saw of some images agrees with their files in no way that featscope knows; their "
                "maps are drawn over what the network saw, and `Sample.agreement` says why"
            )
        elif judged.geometry != fitting:
            self._remarks.say(
                "some images lie elsewhere in the input than their framework tells; where they lie was found by their "
                "pixels, and `Sample.agreement` says what was told"
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
        """Of a picture that was cut out of the input, whether it is the part that is said."""
        bare = replace(claimed, padded=(picture.shape[0], picture.shape[1]), offset=(0.0, 0.0))
        judged = self._judge_or_say(replace(sample, geometry=bare), picture, bare, original)
        return judged._replace(geometry=claimed) if judged.geometry == bare else judged._replace(geometry=None)

    def _judge_or_say(
        self, sample: Sample, picture: Picture, fitting: Optional[Geometry], original: Optional[Thumbnail]
    ) -> _Judged:
        try:
            return self._judge(sample, picture, fitting, original)
        except Exception as error:  # noqa: BLE001 (a check must not end the user's work)
            self._remarks.say(f"the geometry of images cannot be verified: {first_line(error)}")
            return _Judged(fitting, None)

    def _judge(
        self, sample: Sample, picture: Picture, fitting: Optional[Geometry], given: Optional[Thumbnail]
    ) -> _Judged:
        """What the pixels say of a sample's geometry. fitting: the same, where it fits into the input."""
        claimed = sample.geometry
        try:
            originals = [given] if given is not None else self._originals(sample.path)
        except BadImageError as error:
            return _Judged(fitting, Agreement("not verifiable", why=str(error)))
        if claimed is not None and any(one.size == claimed.original for one in originals):
            originals = [one for one in originals if one.size == claimed.original]
        elif claimed is not None:
            fitting = None  # it is that of another image
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
            return _Judged(None, Agreement("not verifiable", why="the picture has no structure"))
        told = _told(claimed, fitting is None)
        padded = claimed.padded if claimed is not None else (picture.shape[0], picture.shape[1])
        for original in originals:
            if claimed is not None:
                original = sharp(original, claimed)
            found = self._found(Search(original, picture, padded, claimed))
            if found is not None:
                return _Judged(found.geometry, _agreement(found.comparison, f"{_words(found)}; {told}"))
        correlation, off = (round(best.correlation, 3), round(best.off, 1)) if best is not None else (None, None)
        return _Judged(None, Agreement("disagrees", correlation, off, f"no geometry agrees; {told}"))

    def _found(self, search: Search) -> Optional[Found]:
        """What agrees: by the rule that was right last, else by all of them, as long as that finds anything."""
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
    """The judgement if a geometry is right, a little beside the truth, or cannot be verified; None if it is wrong.

    best: how well `original` agrees with what was seen, laid as the geometry says.
    """
    if best.flat:
        return _Judged(fitting, Agreement("not verifiable", why="the picture has no structure"))
    if best.agrees:
        return _Judged(fitting, _agreement(best))
    near = nudged(original, seen, fitting.padded, fitting, best) if best.correlation > _NEAR else None
    if near is None:
        return None
    why = f"the image lies {apart(near, fitting):.1f} pixels beside the place that its framework tells"
    return _Judged(near, _agreement(compare(original, seen, near), why))


def _sharp(sample: Sample, original: Thumbnail, seen: Thumbnail, geometry: Geometry) -> Thumbnail:
    """The original as sharp as the input shows it, where that shows a small part of it."""
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
    """Boxes in the frame of a geometry. moved: those of the original came out of the input by the claimed one."""
    if boxes is None or (boxes.frame == "original" and not (moved and claimed is not None)):
        return boxes
    if boxes.frame == "mirrored":
        return unmirrored(boxes, geometry)
    return reframed_record(boxes, None if boxes.frame == "input" else claimed, geometry)


def _inner(geometry: Geometry) -> Tuple[int, int]:
    return round(geometry.resized[0]), round(geometry.resized[1])


def inside(picture: Picture, geometry: Optional[Geometry]) -> Picture:
    """The part of an input that holds the image; all of it where that is not known."""
    if geometry is None or picture.shape[:2] == _inner(geometry):  # there is no more, or it was cut before
        return picture
    (top, left), (height, width) = geometry.offset, geometry.resized
    part = picture[
        round(top) : max(round(top) + 1, round(top + height)), round(left) : max(round(left) + 1, round(left + width))
    ]
    return np.ascontiguousarray(part) if part.size else picture


def _words(found: Found) -> str:
    """How an image was found to lie in the input."""
    rule, geometry = found.rule, found.geometry
    flip = f", mirrored ({rule.flip})" if rule.flip else ""
    crop = ", cropped" if geometry.crop else ""
    high, wide = geometry.resized
    return (
        f"{high:.6g} x {wide:.6g} pixels{crop}{flip}, {geometry.offset[0]:.4g} from the top and "
        f"{geometry.offset[1]:.4g} from the left"
    )


def _told(claimed: Optional[Geometry], unfit: bool) -> str:
    """What the framework tells."""
    if claimed is None:
        return "its framework does not tell"
    flip = f", mirrored ({claimed.flip})" if claimed.flip else ""
    told = f"its framework tells {claimed.resized[0]:.6g} x {claimed.resized[1]:.6g}{flip}"
    return f"{told}, which does not fit {claimed.padded[0]} x {claimed.padded[1]}" if unfit else told

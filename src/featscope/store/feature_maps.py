"""The maps of a run image by image: each with its sample, a name for its picture, and a fingerprint.

Whatever reads a run map by map (heat maps, mosaics, statistics, a viewer) walks these.
"""

from __future__ import annotations

import hashlib
from typing import Dict, Iterator, Optional, Sequence, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from featscope import __version__
from featscope.errors import BadArrayError
from featscope.records import Place, Sample
from featscope.store.files import safe_name
from featscope.store.maps import MapFile

Item = TypeVar("Item")


class FeatureMap:
    """The map of one image. The array is read when it is first used.

    file: where it is stored. index: its place in the file's batch. plane: the step of a film or the depth of a volume;
    None if there is only one. sample: the image, if the run knows which. stem: the name of its picture without suffix.
    """

    def __init__(self, batch: _Batch, index: int, plane: Optional[int] = None) -> None:
        self._batch, self.index, self.plane = batch, index, plane
        self.file = batch.file
        # Regions of interest come by the hundred for one image: they are not maps of the whole image.
        samples = self.file.samples if len(self.file.samples) == batch.count else ()
        self.sample: Optional[Sample] = samples[index] if samples else None
        record = self.file.record
        if self.sample is not None and record is not None:
            self.stem = f"{safe_name(self.sample.id)}_level{record.level}"
        else:
            own = safe_name(self.sample.id) if self.sample is not None else str(index)
            self.stem = self.file.path.stem + (f"_{own}" if batch.count > 1 else "")
        if plane is not None:
            self.stem += f"_t{plane:03d}"

    @property
    def planes(self) -> int:
        """Number of steps of time or depth that the image's array has; 0 if it is a plain map."""
        return self._batch.planes or 0

    @property
    def array(self) -> NDArray[np.generic]:
        """(C, H, W)."""
        of_image = self._batch.load()[self.index]
        return of_image if self.plane is None else np.ascontiguousarray(of_image[:, self.plane])

    def title(self, place: Optional[Place]) -> str:
        """Name the map, as it is written above its picture. place: of its cells, if the stride is to be named."""
        record = self.file.record
        if record is None:
            parts = [f"{self.file.folder or self.file.path.parent.name}/{self.stem}"]
        else:
            field = [record.field] if record.field else []
            parts = [record.layer or "the model's output", *field, f"level {record.level}"]
            if place is not None:
                sides = [f"{step:g}" for step in dict.fromkeys(place.stride)]
                parts.append(f"stride {' x '.join(sides)}")
            if self.sample is not None:
                parts.append(self.sample.id)
        return "  \u00b7  ".join([*parts, *([f"slice {self.plane}"] if self.plane is not None else [])])

    def fingerprint(self, what: object) -> str:
        """A text that changes when the map, its sample, or `what` is made of it changes."""
        record = self.file.record
        if record is None:
            state = self.file.path.stat()
            mark: object = (state.st_size, state.st_mtime_ns)
        else:
            mark = (record.checksum, record.scales_checksum, record.shape, record.stride, record.first, record.reduced)
        whole = msgspec.json.encode(self.sample)  # its repr is short and leaves fields out
        return hashlib.sha1(repr((__version__, mark, whole, what)).encode()).hexdigest()[:20]

    def describe(self) -> Dict[str, str]:
        """Which map this is, for the text chunks of a picture."""
        text = {"map": f"{self.file.folder}/{self.file.path.name}"}
        record = self.file.record
        if record is not None:
            text.update(layer=record.layer, field=record.field, level=str(record.level), reduced=record.reduced)
        if self.sample is not None:
            text["sample"] = self.sample.id
        if self.plane is not None:
            text["slice"] = str(self.plane)
        return {key: value for key, value in text.items() if value}


class _Batch:
    """A map file, read once, and only if an array of it is used."""

    def __init__(self, file: MapFile) -> None:
        self.file = file
        self.count, self.planes = file.counts()
        self._array: Optional[NDArray[np.generic]] = None

    def load(self) -> NDArray[np.generic]:
        if self._array is None:
            self._array = self.file.load()
        return self._array


def feature_maps(map_file: MapFile) -> Iterator[FeatureMap]:
    """The maps of one file, image by image; of a film or a volume, slice by slice."""
    batch = _Batch(map_file)
    for index in range(batch.count):
        sample = FeatureMap(batch, index).sample
        if sample is not None and not map_file.wants(sample):
            continue
        for plane in [None] if batch.planes is None else range(batch.planes):
            yield FeatureMap(batch, index, plane)


def feature_map_of(map_file: MapFile, index: int, plane: int = 0) -> FeatureMap:
    """Return the map of one image of a file. plane: which step of time or depth, if the maps have several.

    Raises `BadArrayError` if the file has no such map.
    """
    batch = _Batch(map_file)
    most = batch.planes or 1
    if not (0 <= index < batch.count and 0 <= plane < most):
        raise BadArrayError(f"{map_file.path} has no map {index}, slice {plane}; it has {batch.count} of {most} slices")
    return FeatureMap(batch, index, None if batch.planes is None else plane)


def spread(files: Sequence[Item], most: int) -> Iterator[Item]:
    """Return at most `most` of the files, evenly from the first to the last.

    >>> list(spread("abcdefg", 3))
    ['a', 'd', 'g']
    """
    count = min(most, len(files))
    for number in range(count):
        yield files[round(number * (len(files) - 1) / max(1, count - 1))]

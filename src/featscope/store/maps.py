"""One array file, of a run or of a folder that was made by hand."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Tuple

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from featscope.arrays.packed import unpack
from featscope.errors import BadArrayError
from featscope.records import MapRecord, MeasuredPlace, Place, Sample, is_map
from featscope.store.files import inside, read_npy, read_npy_shape, scales_beside

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, repr=False)
class MapFile:
    """One array file, with its record and its samples if it belongs to a run."""

    path: Path
    """The `.npy` file."""

    folder: str
    """Its folder, relative to the run."""

    record: Optional[MapRecord] = None
    """Its record in the manifest; None for a file that was made by hand."""

    samples: Tuple[Sample, ...] = ()
    """The samples of its batch, in the order of the array's first axis."""

    root: Optional[Path] = None
    """The folder of the run."""

    measured: Optional[MeasuredPlace] = None
    """The place of its cells as measured by `featscope place`."""

    wanted: Optional[str] = None
    """Id or glob of the samples whose maps were requested; None for all samples in the file."""

    def place(self, best: str = "measured") -> Optional[Place]:
        """Return the place of the cells from the best source: measured, then followed or given, then assumed.

        best: 'measured', or 'operators' to ignore measurements, or 'assumed'. Returns None if only the size of the map
        is known; its cells then share the pixels of the input (`featscope.records.assumed_place`).
        """
        record = self.record
        if record is None or record.stride is None or best == "assumed":
            return None
        found = self.measured.at(record.stride) if self.measured is not None and best == "measured" else None
        if found is not None:
            return found
        first = record.first or (record.stride[0] / 2, record.stride[1] / 2)
        return Place(record.stride, first, record.place or "assumed")

    def to_xarray(self, sample: Optional[str] = None) -> xarray.DataArray:
        """The values with names and places: an array of xarray with the dimensions channel, row and column.

        >>> neck = run.maps[0].to_xarray()                                      # doctest: +SKIP
        >>> neck.dims                                                           # doctest: +SKIP
        ('channel', 'row', 'column')
        >>> at = neck.swap_dims(row="y", column="x").sel(x=410, y=222, method="nearest")    # doctest: +SKIP

        sample: which of a batch; without it a file of several has the dimension sample too. The centres of the cells
        are coordinates where their place is proved: `input_y` and `input_x` in pixels of the input, `y` and `x` in
        those of the image. Raises `MissingPackageError` where xarray is not installed.
        """
        from featscope.store.xarrays import to_xarray

        return to_xarray(self, sample)

    def __repr__(self) -> str:
        name = f"{self.folder}/{self.path.name}" if self.folder else self.path.name
        record = self.record
        if record is None:
            return f"<MapFile {name}>"
        field = f" {record.field}" if record.field else ""
        shape = " x ".join(map(str, record.shape))
        return f"<MapFile {name}: {record.layer or 'the output'}{field}, level {record.level}, {shape} {self.dtype}>"

    @property
    def dtype(self) -> str:
        """As it is stored, by name; '' where that stands in the file alone."""
        try:
            return np.dtype(self.record.dtype).name if self.record is not None else ""
        except TypeError:  # a manifest may hold any text
            return self.record.dtype if self.record is not None else ""

    def wants(self, sample: Sample) -> bool:
        """Whether the maps of this sample were requested."""
        return self.wanted is None or sample.id == self.wanted or fnmatchcase(sample.id, self.wanted)

    def has(self, sample: str) -> bool:
        """Whether the file has a map of a sample. sample: an id or a glob."""
        return any(fnmatchcase(known.id, sample) for known in self.samples)

    @property
    def is_map(self) -> bool:
        """Whether the array has rows and columns of the image. A file that was made by hand is assumed to have them."""
        return self.record is None or not self.record.axes or is_map(self.record.axes)

    def load(self) -> NDArray[np.generic]:
        """Read the array as a batch of feature maps (N, C, H, W), or of videos or volumes (N, C, T, H, W).

        (C, H, W) and (H, W) become a batch of one. bfloat16 and 8-bit codes become float32. Raises `BadArrayError` if
        the file does not hold a feature map.
        """
        self.stay_inside()
        array = read_npy(self.path)
        return as_batch(unpack(array, self._scales(array)), str(self.path))

    def counts(self) -> Tuple[int, Optional[int]]:
        """Read from the file's header how many images `load` will return, and how many steps of time or depth each has.

        The second number is None for two-dimensional maps.
        """
        self.stay_inside()
        shape = read_npy_shape(self.path)
        if 0 in shape:  # the maps have no cells
            raise BadArrayError(f"{self.path} is empty: its shape is {shape}")
        return (shape[0] if len(shape) in (4, 5) else 1), (shape[2] if len(shape) == 5 else None)

    def channels(self) -> int:
        """Read the number of channels from the file's header."""
        self.stay_inside()
        shape = read_npy_shape(self.path)
        return shape[0] if len(shape) == 3 else shape[1] if len(shape) > 3 else 1

    def stay_inside(self) -> None:
        """Raise `BadArrayError` if the record's path leads out of the run, including through a link."""
        if self.record is not None and self.root is not None:
            inside(self.root, self.record.path)

    def _scales(self, array: NDArray[np.generic]) -> Optional[NDArray[np.floating]]:
        """Read the scales of an array of 8-bit codes; None for other arrays, including plain integers."""
        path = scales_beside(self.path)
        expected = self.record.scales_checksum if self.record is not None else None
        if array.dtype != np.uint8 or (expected is None and not path.is_file()):
            return None
        scales = read_npy(path)
        leading = scales.shape[1:]
        if scales.dtype != np.float32 or scales.shape[:1] != (2,) or leading != array.shape[: len(leading)]:
            raise BadArrayError(
                f"{path} does not hold the scales of {self.path.name}: it is {scales.shape} {scales.dtype}"
            )
        if expected is not None and isal_zlib.crc32(scales.tobytes()) != expected:
            raise BadArrayError(f"{path} has changed since it was captured: its checksum differs")
        return scales  # type: ignore[return-value]


def as_batch(array: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    """Return an array of 2, 3 or 4 dimensions as (N, C, H, W), and one of 5 unchanged. Errors contain `name`.

    >>> as_batch(np.zeros((3, 4)), "x").shape
    (1, 1, 3, 4)
    """
    if array.dtype.kind not in "fiub":
        raise BadArrayError(f"{name} holds {array.dtype}, which cannot be drawn; save real numbers")
    if array.ndim not in (2, 3, 4, 5):
        raise BadArrayError(
            f"{name} has {array.ndim} dimensions, {array.shape}; a feature map has (N, C, H, W), (C, H, W) or (H, W), "
            "that of a video or a volume (N, C, T, H, W)"
        )
    if 0 in array.shape:
        raise BadArrayError(f"{name} is empty: its shape is {array.shape}")
    return array.reshape((1,) * max(0, 4 - array.ndim) + array.shape)

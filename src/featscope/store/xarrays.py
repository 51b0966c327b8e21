"""Maps with named dimensions and places, for xarray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.frames import axes_of
from featscope.errors import BadOptionError, MissingPackageError
from featscope.records import Sample

if TYPE_CHECKING:
    import xarray

    from featscope.store.maps import MapFile

_MAPS = ("sample", "channel", "row", "column")
_FILMS = ("sample", "channel", "time", "row", "column")

Coordinate = Tuple[str, NDArray[Any]]
"""A dimension, and a value for each of its places."""


def to_xarray(map_file: MapFile, sample: Optional[str] = None) -> xarray.DataArray:
    """See `MapFile.to_xarray`."""
    try:
        import xarray
    except ImportError:
        raise MissingPackageError(
            "named dimensions need xarray: pip install xarray; the plain array needs nothing: MapFile.load()"
        ) from None
    record, array = map_file.record, map_file.load()
    dims: Tuple[str, ...] = _FILMS if array.ndim == 5 else _MAPS
    if record is not None and not map_file.is_map:
        array, dims = array.reshape(record.shape), _unique(record.axes)
    found = xarray.DataArray(array, dims=dims, name=_name(map_file), attrs=_attributes(map_file))
    samples = map_file.samples if dims[0] == "sample" and len(map_file.samples) == len(array) else ()
    if samples:
        found = found.assign_coords(sample=[one.id for one in samples])
    if map_file.is_map and dims[:2] == ("sample", "channel"):
        found = found.assign_coords(_places(map_file, array.shape))
    index = _index(map_file, samples, sample)
    if index is None:
        return found
    found = found.isel({dims[0]: index})
    if map_file.is_map:
        found = found.assign_coords({**_on_image(map_file, samples, index, array.shape), **_channels(map_file, index)})
    return found


def _index(map_file: MapFile, samples: Sequence[Sample], name: Optional[str]) -> Optional[int]:
    """Which of the batch is meant; None for all of it."""
    if name is not None:
        names = [one.id for one in samples]
        if name not in names:
            raise BadOptionError(
                f"{map_file.path} has no map of the sample {name!r}; it has {', '.join(names) or 'none'}"
            )
        return names.index(name)
    wanted = [place for place, one in enumerate(samples) if map_file.wants(one)]
    if len(samples) == 1 or (map_file.wanted is not None and len(wanted) == 1):
        return wanted[0] if wanted else 0
    return 0 if not samples and map_file.record is None and map_file.counts()[0] == 1 else None


def _places(map_file: MapFile, shape: Tuple[int, ...]) -> Dict[str, Coordinate]:
    """The centres of the cells in pixels of the input, where that is proved and not assumed."""
    place = map_file.place()
    if place is None or place.known == "assumed":
        return {}
    return {
        name: (dim, first + stride * np.arange(count))
        for name, dim, first, stride, count in zip(
            ("input_y", "input_x"), ("row", "column"), place.first, place.stride, shape[-2:]
        )
    }


def _on_image(
    map_file: MapFile, samples: Sequence[Sample], index: int, shape: Tuple[int, ...]
) -> Dict[str, Coordinate]:
    """The same in pixels of the image, where it is known how it lies in the input."""
    geometry = samples[index].geometry if samples else None
    if geometry is None:
        return {}
    return {
        name.replace("input_", ""): (dim, (centres - axis.start) / axis.scale)
        for (name, (dim, centres)), axis in zip(_places(map_file, shape).items(), axes_of(geometry))
    }


def _channels(map_file: MapFile, index: int) -> Dict[str, Coordinate]:
    """The numbers of the channels, where only some were kept."""
    kept = map_file.record.channels if map_file.record is not None else []
    return {"channel": ("channel", np.asarray(kept[index]))} if kept else {}


def _name(map_file: MapFile) -> str:
    record = map_file.record
    return map_file.folder if record is None else f"{record.layer}.{record.field}" if record.field else record.layer


def _attributes(map_file: MapFile) -> Dict[str, object]:
    record, place = map_file.record, map_file.place()
    found: Dict[str, object] = {"file": str(map_file.path)}
    if record is not None:
        found.update(layer=record.layer, cls=record.cls, field=record.field, level=record.level, reduced=record.reduced)
    if place is not None:
        found.update(stride=place.stride, first=place.first, place=place.known)
    return {name: value for name, value in found.items() if value != ""}


def _unique(axes: Sequence[str]) -> Tuple[str, ...]:
    """Names of dimensions, each once: a second `unknown` is `unknown_2`.

    >>> _unique(["sample", "unknown", "unknown"])
    ('sample', 'unknown', 'unknown_2')
    """
    names: List[str] = []
    for axis in axes:
        count = list(axes[: len(names)]).count(axis) + 1
        names.append(axis if count == 1 else f"{axis}_{count}")
    return tuple(names)

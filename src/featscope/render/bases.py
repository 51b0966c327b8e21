"""Bases of principal components that the maps of one drawing share."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional
from zipfile import BadZipFile

import numpy as np

from featscope.arrays.basis import COMPONENTS, MOST_CHANNELS, Basis, Key, Moments
from featscope.arrays.geometry import cells_inside
from featscope.arrays.reduce import Cells, are_components, as_floats
from featscope.errors import BadArrayError, BadOptionError, FeatscopeError, first_line
from featscope.scale.executor import Executor
from featscope.store.feature_maps import FeatureMap, feature_maps
from featscope.store.files import write_atomic
from featscope.store.maps import MapFile

SHARED_BY = ("map", "layer", "run")
"""Each map has its own basis, or all maps of a layer or of the run share one."""

_SPREAD = " spread"  # end of the name of an array in a file of bases

_MOST_MAPS = 512
"""The most maps from which a basis is computed. They are spread evenly over all maps that share it."""


def check_basis(basis: str) -> None:
    """Raise `BadOptionError` if this is neither a word in `SHARED_BY` nor an existing file."""
    if basis not in SHARED_BY and not Path(basis).is_file():
        raise BadOptionError(f"{basis!r} is not a basis; type map, layer, run, or the path of a basis.npz")


def basis_key(map_file: MapFile, basis: str) -> Key:
    """Return the key of the basis with which a file's maps are drawn: (name, number of channels).

    The name is empty for `run`. Otherwise it is layer.field, or the folder if the file has no record. Raises
    `BadArrayError` if the header of the file cannot be read.
    """
    record, channels = map_file.record, map_file.channels()
    if basis == "run":
        return "", channels
    return (f"{record.layer}.{record.field}" if record is not None else map_file.folder), channels


def bases_of(maps: Iterable[MapFile], reduction: str, basis: str, executor: Executor) -> Dict[Key, Basis]:
    """Return the bases that these maps share; none if each map has its own, or if no components are drawn.

    basis: a word in `SHARED_BY`, or the path of a file that `write_bases` wrote. Raises `BadOptionError` if the file
    has no basis for some of the maps.
    """
    if not are_components(reduction) or basis == "map":
        return {}
    groups = _groups(maps, basis)
    if basis not in SHARED_BY:
        found = read_bases(Path(basis))
        missing = [f"{name} ({channels} channels)" for name, channels in groups if (name, channels) not in found]
        if missing:
            raise BadOptionError(
                f"{basis} has no basis for {', '.join(missing)}; it has bases for "
                f"{', '.join(f'{name} ({channels})' for name, channels in found)}; choose these layers with --only"
            )
        return found
    found = {}
    items = [_Group(key, files) for key, files in groups.items()]
    for item, value in executor(_basis_of_group, items):
        if isinstance(value, FeatscopeError):
            raise value
        if isinstance(value, Exception):
            name = item.key[0] or "this run"
            raise BadArrayError(f"the basis of {name} could not be computed: {first_line(value)}; try --basis map")
        if value is not None:
            found[item.key] = value
    return {key: found[key] for key in groups if key in found}


def _groups(maps: Iterable[MapFile], basis: str) -> Dict[Key, List[MapFile]]:
    """Return the maps for each basis: at most `_MOST_MAPS` of them, evenly spread from the first to the last."""
    groups: Dict[Key, List[MapFile]] = {}
    steps: Dict[Key, int] = {}
    counts: Dict[Key, int] = {}
    for map_file in maps:
        if not map_file.is_map or (map_file.record is not None and map_file.record.reduced):
            continue
        try:
            key = basis_key(map_file, basis)
        except BadArrayError:  # reported when the map is drawn
            continue
        kept, step, count = groups.setdefault(key, []), steps.get(key, 1), counts.get(key, 0)
        counts[key] = count + 1
        if count % step == 0:
            kept.append(map_file)
        if len(kept) == _MOST_MAPS:  # keep every second of these, and of those to come
            del kept[1::2]
            steps[key] = 2 * step
    return groups


class _Group(NamedTuple):
    """The maps from which one basis is computed."""

    key: Key
    files: List[MapFile]


def _basis_of_group(group: _Group) -> Optional[Basis]:
    """Compute the basis of a group; None if none of its maps can be used."""
    moments = _moments(group)
    if moments is None:
        return None
    basis = moments.basis()
    if basis is None:
        raise BadArrayError(
            f"the values of {group.key[0] or 'this run'} are too large for a shared basis; type --basis map"
        )
    return basis


def _moments(group: _Group) -> Optional[Moments]:
    """Merge the moments of a group's maps, one map after the other, so that at most two moments are in memory.

    Returns None if none of the maps can be used.
    """
    whole: Optional[Moments] = None
    for map_file in group.files:
        try:
            for feature_map in feature_maps(map_file):
                array = as_floats(feature_map.array)
                if len(array) > MOST_CHANNELS:
                    raise BadOptionError(
                        f"{map_file.folder} has {len(array)} channels, but a shared basis can have at most "
                        f"{MOST_CHANNELS}; type --basis map"
                    )
                part = Moments.of(array[(slice(None), *inside_of(feature_map))])
                whole = part if whole is None else whole.and_of(part)
        except BadArrayError:  # reported when the map is drawn; the basis does without it
            continue
    return whole


def inside_of(feature_map: FeatureMap, place: str = "measured") -> Cells:
    """Return the rows and columns of a map that lie on its image.

    place: which source of the cells' place to use, as in `MapFile.place`.
    """
    array, sample, found = feature_map.array, feature_map.sample, feature_map.file.place(place)
    return cells_inside(
        (array.shape[1], array.shape[2]),
        sample.geometry if sample is not None else None,
        found.stride if found else None,
        found.first if found else None,
    )


def write_bases(bases: Dict[Key, Basis], path: Path) -> None:
    """Write bases to a file, for `--basis FILE` in another run."""
    arrays = {}
    for (name, channels), basis in bases.items():
        arrays[f"{name}:{channels}"] = np.concatenate([basis.mean[None], basis.vectors])
        arrays[f"{name}:{channels}{_SPREAD}"] = basis.spread
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # `savez` also has a keyword that is a flag
    write_atomic(path, buffer.getvalue(), shared=True)


def read_bases(path: Path) -> Dict[Key, Basis]:
    """Read bases that `write_bases` wrote. Raises `BadArrayError` for any other file."""
    found: Dict[Key, Basis] = {}
    try:
        # Open the file here, because NumPy does not close a file that it fails to read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            for name in (name for name in arrays.files if not name.endswith(_SPREAD)):
                array, spread, (layer, _, channels) = arrays[name], arrays[name + _SPREAD], name.rpartition(":")
                shapes = (array.shape, spread.shape)
                if shapes != ((COMPONENTS + 1, int(channels)), (COMPONENTS,)) or array.dtype.kind != "f":
                    raise ValueError(f"{name} has the shapes {shapes}")
                found[layer, int(channels)] = Basis(array[0], array[1:], spread)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise BadArrayError(
            f"{path} is not a file of bases ({error}); `featscope heat -r pca` writes basis.npz"
        ) from None
    return found

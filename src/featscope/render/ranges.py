"""Compute value ranges that several maps share: one for each layer, or one for the whole run."""

from __future__ import annotations

from functools import partial
from typing import Callable, Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.normalise import bounds, merge_bounds
from featscope.scale.executor import Executor, run_in_chunks, serial
from featscope.store.feature_maps import FeatureMap, feature_maps
from featscope.store.maps import MapFile

Bounds = Tuple[float, float]

_FILES_AT_ONCE = 8


def shared_bounds(
    maps: Sequence[MapFile],
    value_range: str,
    values: Callable[[FeatureMap], NDArray[np.floating]],
    executor: Executor = serial,
) -> Dict[str, Bounds]:
    """Return the value ranges that maps share, by `range_key`.

    There is one for each folder if `value_range` is `layer`, one for all maps if it is `run`, and otherwise none.
    values: returns the values of a map that count. Maps that cannot be read are ignored.
    """
    if value_range not in ("layer", "run"):
        return {}
    groups: Dict[str, List[Bounds]] = {}
    for files, found in run_in_chunks(executor, partial(_ends, values=values), maps, _FILES_AT_ONCE):
        if not isinstance(found, Exception):
            for map_file, ends in zip(files, found):
                groups.setdefault(range_key(map_file, value_range), []).extend(ends)
    return {key: merge_bounds(found) for key, found in groups.items() if found}


def _ends(files: Sequence[MapFile], values: Callable[[FeatureMap], NDArray[np.floating]]) -> List[List[Bounds]]:
    """Return the value range of each map in each file; none for a file that cannot be read."""
    found: List[List[Bounds]] = []
    for map_file in files:
        try:
            found.append([bounds(values(f), "map") for f in feature_maps(map_file)])
        except Exception:  # noqa: BLE001 (reported when the map is drawn)
            found.append([])
    return found


def range_key(map_file: MapFile, value_range: str) -> str:
    """Return the key of a map's range among the shared ranges."""
    return {"layer": map_file.folder, "run": "run"}.get(value_range, "none")

"""The measured places of a run's maps, stored in a small file so that the manifests stay unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Mapping, Sequence, Tuple

import msgspec

from featscope.errors import BadRunError
from featscope.records import FORMAT, MeasuredPlace
from featscope.store.files import open_file, write_atomic
from featscope.store.lines import DAMAGED_JSON, refuse_other_format

PLACES = "places.json"

PLACES_KNOWN = ("measured", "operators", "assumed")
"""The sources of places that a run can be drawn with, from the best to the weakest."""

Key = Tuple[str, str, int]
"""Layer, field, level."""


class _File(msgspec.Struct, frozen=True):
    format: int

    started: str  # of the run that was measured, because the folder may hold another run by now

    places: List[MeasuredPlace]


def read_places(folder: Path, started: str) -> Dict[Key, MeasuredPlace]:
    """Read the measured places of a run by layer, field and level.

    The result is empty if nothing was measured, or if an earlier run in the same folder was measured. Raises
    `BadRunError` if the file is damaged.
    """
    path = folder / PLACES
    try:
        with open_file(path) as file:
            text = file.read()
        refuse_other_format(path, text)
        found = msgspec.json.decode(text, type=_File)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadRunError(f"{path} cannot be read: {error.strerror}; measure again: featscope place {folder}") from None
    except DAMAGED_JSON as error:
        raise BadRunError(f"{path} is damaged: {error}; measure again: featscope place {folder}") from None
    if found.started != started:
        return {}
    return {(place.layer, place.field, place.level): place for place in found.places}


def write_places(folder: Path, started: str, places: Sequence[MeasuredPlace]) -> None:
    """Write the measured places of a run, whole or not at all.

    >>> import tempfile; folder = Path(tempfile.mkdtemp())
    >>> one = MeasuredPlace("neck", "", 0, (8.0, 8.0), (0.5, 0.4), (0.01, 0.02), 40, "detections")
    >>> write_places(folder, "2026", [one])
    >>> read_places(folder, "2026")[("neck", "", 0)] == one, read_places(folder, "2027")
    (True, {})
    """
    text = msgspec.json.format(msgspec.json.encode(_File(FORMAT, started, list(places))), indent=2)
    write_atomic(folder / PLACES, text + b"\n", shared=True)


def levels_of(places: Mapping[Key, MeasuredPlace], layer: str) -> Dict[int, MeasuredPlace]:
    """Return the places of a layer's maps by level; an empty dict if the layer has several fields.

    >>> one = MeasuredPlace("neck", "", 1, (8.0, 8.0), (0.5, 0.4), (0.01, 0.02), 40, "gradient")
    >>> levels_of({("neck", "", 1): one}, "neck") == {1: one}
    True
    """
    own = {key: place for key, place in places.items() if key[0] == layer}
    if len({field for _, field, _ in own}) != 1:
        return {}
    return {level: place for (_, _, level), place in own.items()}

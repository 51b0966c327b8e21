"""What a run holds of each layer: by its records, or where it has none by the names of folders and files."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Dict, Iterable, Optional, Sequence, Set, Tuple

from featscope.errors import BadArrayError
from featscope.records import MapRecord
from featscope.store.files import read_npy_shape
from featscope.store.lines import read_lines
from featscope.store.reader import Run

_LEVEL = re.compile(r"(.*)_layer_(\d+)")

Key = Tuple[str, str, int]
"""Layer, field and level. Where names are all there is the layer is the folder."""


@dataclass
class Level:
    """The maps of one level: their folder, and the shape of each sample's map."""

    folder: str
    shapes: Dict[str, str] = field(default_factory=dict)

    def add(self, samples: Iterable[str], shape: Sequence[int]) -> None:
        """Note a map of these samples."""
        text = sys.intern(" x ".join(map(str, shape)))
        self.shapes.update((sys.intern(name), text) for name in samples)


@dataclass
class Held:
    """What a run holds."""

    levels: Dict[Key, Level]
    samples: Dict[str, None]

    @classmethod
    def of_records(cls, run: Run) -> Held:
        """By the manifests, line by line: the run may hold a million maps."""
        held = cls({}, dict.fromkeys(run.samples))
        for path in sorted(run.folder.glob("manifest-*.jsonl")):
            for _, _, record in read_lines(path, MapRecord):
                if isinstance(record, MapRecord):
                    key = (record.layer, record.field, record.level)
                    level = held.levels.setdefault(key, Level(record.path.rpartition("/")[0]))
                    names = record.samples
                    if not names and run.index is not None:
                        names = [sample.id for sample in run.index.batch_samples(record.batch)]
                    level.add(names, record.shape[1:])
        return held

    @classmethod
    def of_names(cls, run: Run) -> Held:
        """By the names of folders and files."""
        held = cls({}, {})
        for map_file in run.maps:
            name, number = by_file(map_file.path.name)
            try:
                shape = read_npy_shape(map_file.path)
            except BadArrayError:  # `featscope check` names it
                shape = ()
            level = held.levels.setdefault((map_file.folder, "", number), Level(map_file.folder))
            level.add([name], shape[1:] if len(shape) > 3 else shape)
            held.samples.setdefault(name)
        return held

    def keep(self, layers: Set[str], level: Optional[int], sample: Optional[str]) -> None:
        """Forget all others."""
        self.levels = {k: one for k, one in self.levels.items() if k[0] in layers and level in (None, k[2])}
        if sample is not None:
            self.samples = {name: None for name in self.samples if name == sample or fnmatchcase(name, sample)}
            for one in self.levels.values():
                one.shapes = {name: shape for name, shape in one.shapes.items() if name in self.samples}


def by_file(name: str) -> Tuple[str, int]:
    """What a file's name says: which batch or image, and which level.

    >>> by_file("batch_0_layer_2.npy"), by_file("harbour.npy")
    (('batch_0', 2), ('harbour', 0))
    """
    stem = name[: -len(".npy")] if name.endswith(".npy") else name
    found = _LEVEL.fullmatch(stem)
    return (found[1], int(found[2])) if found else (stem, 0)


def pair_folders(one: Held, two: Held) -> None:
    """Call folders that differ in the class of their layer, as `neck.fpn` and `neck.newneck`, by the layer: `neck`.

    Only where each run has one folder of that beginning: with two nobody knows which is which.
    """
    stems = [_by_stem(held) for held in (one, two)]
    for stem in stems[0].keys() & stems[1].keys():
        folders = [sorted(found[stem]) for found in stems]
        if all(len(found) == 1 for found in folders) and folders[0] != folders[1]:
            for held, (folder,) in zip((one, two), folders):
                held.levels = {
                    (stem, "", key[2]) if key[0] == folder else key: level for key, level in held.levels.items()
                }


def _by_stem(held: Held) -> Dict[str, Set[str]]:
    """The folders of a run by their names up to the last dot."""
    found: Dict[str, Set[str]] = {}
    for folder, _, _ in held.levels:
        stem = folder.rpartition(".")[0]
        if stem:
            found.setdefault(stem, set()).add(folder)
    return found

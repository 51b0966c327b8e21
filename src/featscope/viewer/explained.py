"""The explanations that `featscope explain RUN` stored in a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import List

import numpy as np
from numpy.typing import NDArray

from featscope.errors import BadArrayError
from featscope.render.files import read_text
from featscope.store.files import natural_key, read_npy, safe_name

FOLDER = "explain"

_BOX = re.compile(r"box_(\d+) ")


@dataclass(frozen=True)
class Explained:
    """A stored explanation. What it explains stands in the text of its picture."""

    path: Path
    """The values, a `.npy` file of (h, w)."""

    box: int
    """Number of the detection; -1 if it explains something else."""

    method: str
    layer: str
    level: int
    words: str

    @property
    def name(self) -> str:
        """The name of the file, without its suffix."""
        return self.path.stem

    def load(self) -> NDArray[np.float32]:
        """Read the values. Raises `BadArrayError` if the file does not hold them."""
        array = read_npy(self.path)
        if array.ndim != 2 or array.dtype.kind != "f" or 0 in array.shape:
            raise BadArrayError(f"{self.path} does not hold an explanation: it is {array.shape} {array.dtype}")
        return np.ascontiguousarray(array, np.float32)


def explained_of(run: Path, sample: str) -> List[Explained]:
    """Return the stored explanations of a sample, in the order of their names."""
    folder = run / FOLDER / safe_name(sample)
    found = []
    for path in sorted(folder.glob("*.npy"), key=lambda path: natural_key(path.name)):
        text = read_text(path.with_suffix(".png"))
        box = _BOX.match(text.get("box", ""))
        level = text.get("level", "0")
        method, layer = text.get("method", path.stem), text.get("layer", "")
        side = "" if text.get("explains", "score") == "score" else f" of its {text['explains']}"
        at = f" at {layer} level {level}" if layer else ""
        found.append(
            Explained(
                path,
                int(box[1]) if box else -1,
                method,
                layer,
                int(level) if level.isdecimal() else 0,
                words=f"{method}{side}{at}",
            )
        )
    return found

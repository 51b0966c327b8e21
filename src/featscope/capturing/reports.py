"""The report on a model after one forward: its layers, their outputs, and how these are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, NamedTuple, Optional, Tuple

from featscope.arrays.readings import Reading
from featscope.records import Place, Size, assumed_place


class TensorReport(NamedTuple):
    """A tensor of a layer's output."""

    shape: Tuple[int, ...]
    """Shape of the tensor as the model gave it."""

    axes: Tuple[str, ...] = ()
    """Meaning of each axis."""

    grids: Tuple[Tuple[Tuple[int, int], Place], ...] = ()
    """(rows, columns) and place of each map in the tensor; empty if it has no rows and columns of the image."""

    why: str = ""
    """How this is known, or why it is unknown."""

    @property
    def strides(self) -> List[Tuple[float, float]]:
        """Input pixels from cell to cell, (y, x), for each map."""
        return [place.stride for _, place in self.grids]


def tensor_report(reading: Reading, input_size: Size) -> TensorReport:
    """Make the report on a tensor with this reading."""
    grids = []
    for part in reading.parts:
        if not part.name:
            rows, columns = part.form[-2:]
            grids.append(((rows, columns), part.place or assumed_place(input_size, (rows, columns))))
    return TensorReport(reading.shape, reading.axes, tuple(grids), reading.why)


@dataclass
class LayerReport:
    """A layer that ran."""

    name: str
    cls: str

    calls: int = 0
    """How often it ran."""

    outputs: Dict[str, List[TensorReport]] = field(default_factory=dict)
    """Field -> the tensors of its first call."""


@dataclass
class ModelReport:
    """All layers of a model after one forward."""

    layers: List[LayerReport]
    """The layers that ran, in the order of the model."""

    silent: List[str]
    """Names of the layers that did not run."""

    input_size: Optional[Tuple[int, int]] = None
    """Size of the input, (height, width); None if it was not found."""

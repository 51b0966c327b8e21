"""What is said of a model after one forward: its layers, their outputs, and how those are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, NamedTuple, Optional, Tuple

from featscope.arrays.readings import Reading
from featscope.records import Place, Size, assumed_place


class TensorReport(NamedTuple):
    """A tensor of a layer's output. shape: as the model gave it. axes: what each of its axes is. grids: (rows, columns)
    of each map in it, and its place; none where it has no rows and columns of the image. why: how that is known.
    """

    shape: Tuple[int, ...]
    axes: Tuple[str, ...] = ()
    grids: Tuple[Tuple[Tuple[int, int], Place], ...] = ()
    why: str = ""

    @property
    def strides(self) -> List[Tuple[float, float]]:
        """Pixels of the input from cell to cell, (y, x), of each map."""
        return [place.stride for _, place in self.grids]


def tensor_report(reading: Reading, input_size: Size) -> TensorReport:
    """What is said of a tensor that is read so."""
    grids = []
    for part in reading.parts:
        if not part.name:
            rows, columns = part.form[-2:]
            grids.append(((rows, columns), part.place or assumed_place(input_size, (rows, columns))))
    return TensorReport(reading.shape, reading.axes, tuple(grids), reading.why)


@dataclass
class LayerReport:
    """A layer that ran: how often, and the tensors of its outputs by field (of its first call)."""

    name: str
    cls: str
    calls: int = 0
    outputs: Dict[str, List[TensorReport]] = field(default_factory=dict)


@dataclass
class ModelReport:
    """The layers that ran in the order of the model, and those that did not."""

    layers: List[LayerReport]
    silent: List[str]
    input_size: Optional[Tuple[int, int]] = None

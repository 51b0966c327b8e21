"""What the page asks: the fields of every question.

Questions are checked against these types, and the OpenAPI page is made from them.
"""

from __future__ import annotations

from typing import Optional

import msgspec

_MOST = 2**31 - 1


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A question without fields."""


class OfRun(msgspec.Struct, forbid_unknown_fields=True):
    """A question about a run."""

    run: int = 0
    """Number of the run, in the order of the command line."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for a number that counts nothing; it becomes an error of the question."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if type(value) is int and not 0 <= value <= _MOST:
                raise ValueError(f"{name}={value} is out of range; give a number from 0 to {_MOST}")


class OfMisses(OfRun):
    """A question about what a run missed."""

    against: Optional[int] = None
    """Number of another run; the reply says which of the objects it finds."""


class OfSample(OfRun):
    """A question about a sample."""

    sample: int = 0
    """Number of the sample in the columns of `samples`."""


class OfMap(OfSample):
    """A question about the maps of a sample."""

    group: int = 0
    """Number of the group in the run's `groups`."""

    level: int = 0
    """Level of the map, as recorded."""

    slice: int = 0
    """Step of time or depth, if the map has several."""


class Reduce(OfMap):
    """Which values are wanted."""

    reduce: str = "auto"
    """A reduction as in `featscope heat -r`."""


class Draw(Reduce):
    """How a picture is drawn; the options of `featscope heat`."""

    range: str = "auto"
    colormap: str = "auto"
    alpha: Optional[float] = None
    smooth: bool = True
    boxes: bool = False
    truth: bool = False
    min_score: float = 0.3


class Tiles(OfMap):
    """Which channels are wanted, and how small."""

    by: str = "peak"
    """'peak' or 'mean': how a block of cells becomes one."""

    size: int = 64
    """Cells of the longer side, at most."""

    first: int = 0
    """The first channel."""

    count: int = 0
    """How many channels; 0 for all from `first` on."""


class Ranks(OfMap):
    """In which order channels are wanted."""

    order: str = "number"
    """number, energy, sparsity, contrast, or similarity:N."""

    labels: str = ""
    """Class indices of the objects that `contrast` looks at, by comma; all of them without any."""


class Best(OfRun):
    """Which images excite a channel most."""

    group: int = 0
    level: int = 0
    channel: int = 0
    count: int = 24


class OfExplanation(OfSample):
    """A question about a stored explanation."""

    key: str = ""
    """Its name in the sample's `explanations`."""


class Explain(OfSample):
    """Which detection is to be explained, at which layer; only if the viewer was started with `--explain`."""

    group: int = 0
    """Number of the group whose layer is meant."""

    box: int = 0
    """Number of the detection."""

    method: str = "layercam"
    """A method of `featscope explain`."""

"""A sink that keeps maps in memory."""

from __future__ import annotations

from typing import Iterator, List, Mapping, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.packed import unpack
from featscope.errors import unknown_name
from featscope.records import CapturedMap, Sample
from featscope.words import counted

_NAMED = 3  # folders, in a text


class MemorySink(Mapping[str, List[NDArray[np.generic]]]):
    """A sink that keeps the maps in memory: folder -> arrays, in the order of arrival.

    >>> import featscope, torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    >>> with featscope.capture(model) as session:
    ...     _ = model(torch.zeros(1, 3, 8, 8))
    >>> list(session.sink), session.sink["0.conv2d"][0].shape
    (['0.conv2d'], (1, 4, 8, 8))
    >>> session.sink
    <MemorySink: 1 map in 0.conv2d>

    stored: each array as it was captured, with its description. samples: the described images. Raises
    `UnknownNameError` for an unknown folder.
    """

    def __init__(self) -> None:
        self.stored: List[Tuple[CapturedMap, NDArray[np.generic]]] = []
        self.samples: List[Sample] = []

    def __getitem__(self, folder: str) -> List[NDArray[np.generic]]:
        found = [unpack(array, captured.scales) for captured, array in self.stored if captured.folder == folder]
        if not found:
            raise unknown_name("folder", folder, self, "list(sink)")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(captured.folder for captured, _ in self.stored))

    def __len__(self) -> int:
        return len({captured.folder for captured, _ in self.stored})

    def __repr__(self) -> str:
        names = list(self)
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return f"<MemorySink: {counted(len(self.stored), 'map')} in {', '.join(names[:_NAMED]) or 'no folder'}{more}>"

    def put(self, captured: CapturedMap, array: NDArray[np.generic]) -> None:
        """Keep one array."""
        captured.ready()
        self.stored.append((captured, array))

    def put_sample(self, sample: Sample, picture: Optional[NDArray[np.uint8]] = None) -> None:
        """Keep one sample."""
        self.samples.append(sample)

    def close(self, finished: bool = True) -> None:
        """Do nothing."""

"""What every capture in progress can do, whatever runs the model. It imports no torch."""

from __future__ import annotations

from types import TracebackType
from typing import Optional, Protocol, Sequence, Type

import numpy as np
from numpy.typing import NDArray

from featscope.records import Sample, Sink, Written


class CaptureSession(Protocol):
    """A capture in progress: `featscope.capturing.session.Capture` is one, that of ONNX files another.

    >>> with detector.capture(["neck"], "runs/mine") as session:                # doctest: +SKIP
    ...     for number, (ids, images) in enumerate(loader):
    ...         session.start_batch(number, ids)
    ...         if session.wanted:
    ...             session.describe(detect(images))
    ...         session.end_batch()
    >>> print(session.written)                                                  # doctest: +SKIP
    12 maps of 4 samples, 31.0 MB, in runs/mine
    """

    @property
    def sink(self) -> Sink:
        """Where the maps go."""

    @property
    def wanted(self) -> bool:
        """Whether the batch that was begun has samples to store; if not, its forward can be left out."""

    @property
    def samples(self) -> Sequence[Sample]:
        """The samples of the batch at hand, or of the last one, under the ids that are theirs in this run."""

    @property
    def written(self) -> Written:
        """What was handed over until now."""

    @property
    def remarks(self) -> Sequence[str]:
        """What should be known of the capture, each said once."""

    def start_batch(self, number: int, sample_ids: Sequence[str] = (), paths: Sequence[str] = ()) -> None:
        """Begin a batch: its number, and the ids and files of its samples."""

    def describe(
        self, samples: Sequence[Sample], pictures: Optional[Sequence[Optional[NDArray[np.uint8]]]] = None
    ) -> None:
        """Say what the samples of the batch were and what was found in them, in the order of the batch."""

    def end_batch(self) -> None:
        """The batch is over; what is not described is stored by its name."""

    def close(self, failed: bool = False) -> None:
        """The capture is over; after a failure its run stays unfinished."""

    def __enter__(self) -> CaptureSession:
        """Start to watch."""

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """`close`; an error of the block passes."""

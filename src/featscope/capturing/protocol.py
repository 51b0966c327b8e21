"""The interface of a capture in progress, for any runtime of models. This module does not import torch."""

from __future__ import annotations

from types import TracebackType
from typing import Optional, Protocol, Sequence, Type

import numpy as np
from numpy.typing import NDArray

from featscope.arrays.candidates import MakeCandidates
from featscope.records import Sample, Sink, Written


class CaptureSession(Protocol):
    """A capture in progress, implemented by `featscope.capturing.session.Capture` and by the capture of ONNX files.

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
        """The sink that receives the maps."""

    @property
    def wanted(self) -> bool:
        """Whether the current batch has samples to store. If not, its forward can be skipped."""

    @property
    def samples(self) -> Sequence[Sample]:
        """The samples of the current batch, or of the last one, with their ids in this run."""

    @property
    def written(self) -> Written:
        """How much was stored until now."""

    @property
    def remarks(self) -> Sequence[str]:
        """Remarks that the user should know, each given once."""

    def start_batch(self, number: int, sample_ids: Sequence[str] = (), paths: Sequence[str] = ()) -> None:
        """Begin a batch, with its number and the ids and files of its samples."""

    def describe(
        self,
        samples: Sequence[Sample],
        pictures: Optional[Sequence[Optional[NDArray[np.uint8]]]] = None,
        candidates: Optional[Sequence[Optional[MakeCandidates]]] = None,
    ) -> None:
        """Describe the batch's samples and what was found in them, in the order of the batch."""

    def end_batch(self) -> None:
        """End the batch. Samples that were not described are stored with their ids only."""

    def close(self, failed: bool = False) -> None:
        """End the capture. After a failure the run stays unfinished."""

    def __enter__(self) -> CaptureSession:
        """Start the capture."""

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Close the capture. An error in the block is not suppressed."""

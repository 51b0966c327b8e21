"""An image before and after a detector has processed it. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Optional

from featscope.errors import CaptureError
from featscope.records import Picture, Sample

if TYPE_CHECKING:
    from featscope.explaining.candidates import Candidates


class Item(NamedTuple):
    """An image that is ready for the network."""

    sample: Sample

    inputs: object
    """The input in the detector's own form."""

    picture: Optional[Picture] = None
    """Picture of the network's input for this image alone."""

    original: Optional[Picture] = None
    """The user's own picture, to draw over in place of the image file."""


class Detected(NamedTuple):
    """The result of a detector for an item."""

    sample: Sample
    """The complete sample, with its predictions."""

    candidates: Optional[Candidates] = None
    """The raw outputs, if they were requested."""

    untraced: str = ""
    """Why there are no raw outputs although they were requested."""

    picture: Optional[Picture] = None
    """Picture of the network's input in its batch, with padding; None if it is the same as that of the item."""

    @property
    def raw(self) -> Candidates:
        """The raw outputs. Raises `CaptureError` if there are none."""
        if self.candidates is None:
            raise CaptureError(f"nothing can be explained in {self.sample.id}: {self.untraced}")
        return self.candidates

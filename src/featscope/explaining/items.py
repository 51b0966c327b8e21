"""An image on its way through a detector: as it is fed, and as it comes out. This module imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Optional

from featscope.errors import CaptureError
from featscope.records import Picture, Sample

if TYPE_CHECKING:
    from featscope.explaining.candidates import Candidates


class Item(NamedTuple):
    """An image, ready for the network.

    inputs: the detector's own. picture: what the network sees of it alone. original: the user's own picture of it, to
    draw over in place of the image file.
    """

    sample: Sample
    inputs: object
    picture: Optional[Picture] = None
    original: Optional[Picture] = None


class Detected(NamedTuple):
    """What was found in an item: its sample, complete, and the raw outputs if they were asked for.

    untraced: why there are no raw outputs though they were asked for. picture: what the network saw of it in its
    batch, with its padding; None where that is the item's own.
    """

    sample: Sample
    candidates: Optional[Candidates] = None
    untraced: str = ""
    picture: Optional[Picture] = None

    @property
    def raw(self) -> Candidates:
        """The raw outputs. Raises `CaptureError` where there are none."""
        if self.candidates is None:
            raise CaptureError(f"nothing can be explained in {self.sample.id}: {self.untraced}")
        return self.candidates

"""Copy a layer's tensors as the policy says, name them, and pass them to the sink."""

from __future__ import annotations

import threading
from typing import Dict, List, Optional, Sequence, Set

from featscope.arrays.candidates import MakeCandidates
from featscope.capturing.batch import Batch, Piece
from featscope.capturing.estimate import Room
from featscope.capturing.folders import FolderNames
from featscope.capturing.ledger import Ledger
from featscope.capturing.memory import MemorySink
from featscope.capturing.proof import Laid
from featscope.capturing.remarks import Remarks
from featscope.capturing.thin import why_not
from featscope.capturing.transfer import Transfer
from featscope.errors import FeatscopeError, first_line
from featscope.records import Picture, Policy, Sample, Sink, Written
from featscope.store.writer import RunWriter


class Handover:
    """Takes the outputs of layers and passes them to a sink.

    stored: the requested layers for which something was stored. refused: layers whose output, or a part of it, cannot
    be stored -> the reason. Errors of the sink are raised. After an error that stopped the capture nothing is taken.
    """

    def __init__(self, sink: Sink, folders: FolderNames, policy: Policy, ledger: Ledger, remarks: Remarks) -> None:
        self.sink = sink
        self.stored: Set[str] = set()
        self.refused: Dict[str, str] = {}
        self._folders, self._policy, self._ledger, self._remarks = folders, policy, ledger, remarks
        self._transfer = Transfer()
        self._maps = self._samples = self._bytes = 0
        self._unselected = ""  # the first sample whose selection is not known
        self._room = Room(sink, ledger)
        self._lock = threading.RLock()  # the model may run in several threads

    @property
    def written(self) -> Written:
        """How much the sink received or, for a run, how much was written to its folder."""
        if isinstance(self.sink, RunWriter):
            return self.sink.written
        place = "memory" if isinstance(self.sink, MemorySink) else f"a {type(self.sink).__name__}"
        return Written(self._maps, self._samples, self._bytes, place)

    def take(self, batch: Batch, asked: str, layer: str, tensors: Sequence[Laid]) -> List[Piece]:
        """Copy a layer's tensors immediately, before a later in-place operation changes them.

        asked: the requested layer that the tensors belong to. A tensor that cannot be copied is reported once, and the
        model continues.
        """
        batch.used = True
        if self._remarks.stopped or not batch.wanted:
            self.stored.add(asked)  # nothing needs to be stored, so nothing is missing
            return []
        pieces: List[Piece] = []
        for laid in tensors:
            field = laid.field
            try:
                why = why_not(laid.tensor)
                if not why:
                    pieces.append(batch.take(layer, laid, self._policy, self._transfer))
            except FeatscopeError:
                raise
            except Exception as error:  # noqa: BLE001 (a user's subclass of Tensor may raise any error)
                why = first_line(error)
            if why:
                self.refuse(layer, f"{field}: {why}" if field else why)
        if pieces:
            self.stored.add(asked)
        return pieces

    def refuse(self, layer: str, why: str) -> None:
        """Report that the output of a layer, or a part of it, cannot be stored."""
        if layer not in self.refused:
            self._remarks.say(f"the output of {layer!r} cannot be stored: {why}")
        self.refused[layer] = why

    def why_refused(self, layer: str) -> str:
        """Return why the output of a layer or of one of its parts cannot be stored; '' if it can."""
        return next((why for name, why in self.refused.items() if name == layer or name.startswith(f"{layer}.")), "")

    def put(self, batch: Batch, layer: str, cls: str, pieces: Sequence[Piece]) -> None:
        """Name the copies from one call of a layer and pass them to the sink."""
        with self._lock:
            for captured, array in batch.name(layer, cls, self._folders.of(layer, cls), pieces):
                if self._remarks.stopped:
                    return
                self._maps += 1
                self._bytes += array.nbytes
                self._room.put(captured, array)

    def put_sample(
        self, sample: Sample, picture: Optional[Picture], candidates: Optional[MakeCandidates] = None
    ) -> None:
        """Pass a sample to the sink."""
        with self._lock:
            if self._remarks.stopped:
                return
            self._samples += 1
            if not self._policy.candidates:
                self._room.put_sample(sample, picture)
                return
            raw = candidates() if candidates is not None else None
            if raw is None:
                self._remarks.say("candidates could not be stored: the raw outputs behind some samples are not known")
            elif raw.selection is None and not self._unselected:
                self._unselected = sample.id
                self._remarks.say(
                    f"how detections are selected from candidates is not known, first for {sample.id!r}: {raw.unknown}"
                )
            self._room.put_sample(sample, picture, raw)

    def check_room(self, batch: Batch, described: bool = False) -> None:
        """After the first batch, check that the rest fits on the disk. Raises `OutputError` if not.

        described: whether the batch's samples, with their candidates, were already passed on.
        """
        if not (batch.failed or self._remarks.stopped) and described == self._policy.candidates:
            self._room.check(len(batch.entry.rows) if batch.entry is not None else 1)

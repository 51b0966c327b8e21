"""The object that a user holds during a capture: batches by hand, descriptions of samples, and the end.

The way of a tensor: `calls` notices that its module runs. `Listener.begin` asks `Batches.find` for the batch.
`Listener.ended` asks `Speakers` whether the module's output is stored. `Handover.take` copies it, and `Handover.put`
names the map and gives it to the sink.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import TracebackType
from typing import Dict, Iterator, List, Optional, Sequence, Type

from featscope.arrays.candidates import MakeCandidates
from featscope.capturing.batches import Batches
from featscope.capturing.handover import Handover
from featscope.capturing.inputs import Companion
from featscope.capturing.ledger import Ledger
from featscope.capturing.listener import Listener
from featscope.capturing.remarks import Remarks
from featscope.errors import CaptureError, FeatscopeError, first_line
from featscope.records import Picture, Sample, Sink, Written
from featscope.store.writer import RunWriter


class Capture:
    """A capture in progress. `featscope.capture` creates it.

    listener: watches the model's modules.
    """

    def __init__(
        self,
        listener: Listener,
        batches: Batches,
        handover: Handover,
        companion: Companion,
        ledger: Ledger,
        *,
        remarks: Remarks,
        asked: bool,
    ) -> None:
        self.listener, self._batches, self._handover = listener, batches, handover
        self._companion, self._ledger, self._remarks, self._asked = companion, ledger, remarks, asked

    def __enter__(self) -> Capture:
        if isinstance(self.sink, RunWriter):
            self.sink.begin()
        try:
            self.listener.start()
        except BaseException:
            self.sink.close(False)
            raise
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.listener.stop()
        failure = error
        try:
            with self._remarks.reporting():
                self._batches.end_all()
        except FeatscopeError as refused:
            failure = failure or refused
        self._close_companion()
        failed = bool(kind or failure or self._remarks.stopped)
        left_out = {} if failed else self._left_out()
        self._say_what_is_told_apart()
        self._close_sink(failed, left_out)
        if kind is None and failure is not None:
            raise failure
        if left_out:
            self._remarks.report(CaptureError(self.listener.explain(left_out)))

    def _close_sink(self, failed: bool, left_out: Dict[str, str]) -> None:
        try:
            if isinstance(self.sink, RunWriter):
                self.sink.left_out = {**self._handover.refused, **left_out}
                self.sink.readings = self.listener.proof.no_maps
            self.sink.close(not (failed or left_out))
        except Exception as late:
            # If the block itself failed, an error of the sink is a consequence of that and is not reported.
            if failed:
                return
            if not isinstance(late, FeatscopeError):
                raise
            self._remarks.report(late)

    def _close_companion(self) -> None:
        try:
            self._companion.close()
        except Exception as error:  # noqa: BLE001 (the framework's code failed, but the run is complete)
            self._remarks.say(f"{type(self._companion).__name__} could not be closed: {first_line(error)}")

    def close(self, failed: bool = False) -> None:
        """End a capture that was not started by `with`. After a failure the run stays unfinished."""
        self.__exit__(RuntimeError if failed else None, None, None)

    @property
    def sink(self) -> Sink:
        """The sink that receives the maps."""
        return self._handover.sink

    @property
    def wanted(self) -> bool:
        """Whether the batch of `start_batch` has samples to store. If not, its forward can be skipped."""
        return self._batches.at_hand.wanted

    @property
    def samples(self) -> Sequence[Sample]:
        """The samples of the current batch, or of the last one."""
        entry = self._batches.at_hand.entry
        return entry.samples if entry is not None else ()

    @property
    def written(self) -> Written:
        """How much the sink received or, for a run, how much was written to its folder."""
        return self._handover.written

    @property
    def remarks(self) -> Sequence[str]:
        """Remarks that the user should know, each given once."""
        return self._remarks.said

    @property
    def failures(self) -> Sequence[str]:
        """Errors that did not stop the model because of `on_error='warn'`."""
        return self._remarks.failures

    @contextmanager
    def batch(
        self, sample_ids: Sequence[str] = (), paths: Sequence[str] = (), number: Optional[int] = None
    ) -> Iterator[Capture]:
        """Make everything that runs in a block one batch, in whatever way parts of the model are called.

        >>> import featscope, torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.ReLU())
        >>> with featscope.capture(model) as session, session.batch(["harbour"]):
        ...     _ = model[1](model[0](torch.zeros(1, 3, 8, 8)))
        >>> [sample.id for sample in session.sink.samples]
        ['harbour']

        sample_ids, paths: those of the batch's samples, in order. number: of the batch; by default the next one.
        """
        with self._remarks.reporting():
            self._batches.start(_samples(sample_ids, paths), number, block=True)
        try:
            yield self
        finally:
            self.end_batch()

    def start_batch(self, number: int, sample_ids: Sequence[str] = (), paths: Sequence[str] = ()) -> None:
        """Begin a batch by hand, with its number and the ids and files of its samples.

        It ends with the model's own call, with `end_batch`, or when the next batch begins.
        """
        with self._remarks.reporting():
            self._batches.start(_samples(sample_ids, paths), number)

    def end_batch(self) -> None:
        """End the batch that was begun by hand."""
        with self._remarks.reporting():
            self._batches.end_by_hand()

    def describe(
        self,
        samples: Sequence[Sample],
        pictures: Optional[Sequence[Optional[Picture]]] = None,
        candidates: Optional[Sequence[Optional[MakeCandidates]]] = None,
    ) -> None:
        """Describe the samples of the batch that the model ran on last, in the order of the batch.

        pictures: each sample's input as the network received it, (H, W, 3) uint8 RGB, before normalisation and with its
        padding. If a sample names its image file, the file is compared with the picture, and `Sample.agreement` records
        the result. candidates: functions that return the raw outputs behind each sample's detections. They are called
        if the policy stores these. Samples keep the ids that they were begun with. Samples that the policy leaves out
        are not stored.
        """
        with self._remarks.reporting():
            self._batches.describe(self._batches.at_hand, samples, pictures or (), candidates=candidates or ())

    def _say_what_is_told_apart(self) -> None:
        for remark in self._ledger.remarks:
            self._remarks.say(remark)
        for second, first in self.listener.speakers.same.items():
            self._remarks.say(f"{second!r} and {first!r} are the same module; all its calls are stored under {first!r}")

    def _left_out(self) -> Dict[str, str]:
        """Return the requested layers without maps -> the reason; '' if the layer never ran."""
        speakers, handover = self.listener.speakers, self._handover
        if self._ledger.stored and self.listener.never_heard:
            return {}
        never_ran = self._without_skipped(speakers.never_ran())
        found = {name: "" for name in never_ran} if self._asked or not speakers.ran else {}
        if self._asked or not handover.stored:
            for name in (speakers.same.get(layer.name, layer.name) for layer in self.listener.layers):
                if name in speakers.ran and name not in handover.stored:
                    found[name] = handover.why_refused(name) or "its output does not contain a tensor"
        return found

    def _without_skipped(self, names: Sequence[str]) -> List[str]:
        """Drop layers that were chosen by a glob if others of the glob ran: an optimised code path may skip some."""
        globs = {layer.name: layer.glob for layer in self.listener.layers}
        ran = {globs[name] for name in self.listener.speakers.ran if name in globs}
        skipped = [name for name in names if globs.get(name) and globs[name] in ran]
        if skipped:
            more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
            self._remarks.say(f"some layers that match a glob did not run: {', '.join(skipped[:3])}{more}")
        return [name for name in names if name not in skipped]


def _samples(ids: Sequence[str], paths: Sequence[str]) -> List[Sample]:
    return [Sample(name, path) for name, path in zip(ids, paths or [""] * len(ids))]

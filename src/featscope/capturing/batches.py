"""Find the batch that a call belongs to, and the samples of the batch."""

from __future__ import annotations

import threading
from collections import defaultdict
from types import FrameType
from typing import Callable, DefaultDict, Dict, List, Optional, Sequence, Tuple

import torch
from msgspec.structs import replace
from torch import nn

from featscope.arrays.agreement import Thumbnail
from featscope.arrays.candidates import MakeCandidates
from featscope.capturing.batch import Batch
from featscope.capturing.calls import Methods, ModelCall, call_of, in_warm_up, is_running, unwatch, watch
from featscope.capturing.handover import Handover
from featscope.capturing.inputs import Companion, Images, Known, PlainImages, find_images
from featscope.capturing.ledger import Ledger
from featscope.capturing.proof import Proof
from featscope.capturing.remarks import Remarks
from featscope.capturing.speakers import Speakers
from featscope.capturing.verifying import Verifier
from featscope.errors import CaptureError, FeatscopeError, first_line
from featscope.records import Picture, Sample


class ThreadCalls:
    """The calls that run in one thread.

    running: names of the watched modules that run, outermost first.
    inside: requested layer -> how many of its modules run.
    batch: the batch of the outermost call.
    last: the current batch, or the previous one, which can still be described.
    """

    def __init__(self) -> None:
        self.running: List[str] = []
        self.inside: DefaultDict[str, int] = defaultdict(int)
        self.batch: Optional[Batch] = None
        self.last = Batch()


class Batches:
    """Finds the batch of each call. A batch begins and ends with the outermost call into the model, or by hand.

    The outermost call is one of the model itself, or of a method of it that is on the stack (`forward_features`,
    `validation_step`). The end of a method cannot be seen, so its batch ends when the next one begins.
    """

    def __init__(
        self, companion: Companion, ledger: Ledger, handover: Handover, proof: Proof, remarks: Remarks
    ) -> None:
        self.by_hand: Optional[Batch] = None
        self._companion, self._ledger, self._handover, self._remarks = companion, ledger, handover, remarks
        self._proof = proof
        self._verifier = Verifier(remarks)
        self._views = _Views(self)
        self._local = threading.local()
        self._threads: List[ThreadCalls] = []
        self._lock = threading.RLock()

    def look_at(self, methods: Methods, speakers: Speakers) -> None:
        """Set the model that is watched, by its methods, and its speakers."""
        self._methods, self._speakers = methods, speakers

    @property
    def thread(self) -> ThreadCalls:
        """The calls in the current thread."""
        thread: Optional[ThreadCalls] = getattr(self._local, "thread", None)
        if thread is None:
            thread = self._local.thread = ThreadCalls()
            with self._lock:
                self._threads.append(thread)
        return thread

    @property
    def at_hand(self) -> Batch:
        """The batch that is running, is about to run, or ran last."""
        return self.by_hand or self.thread.last

    # By hand

    def start(self, samples: Sequence[Sample], number: Optional[int], block: bool = False) -> None:
        """Begin a batch by hand."""
        thread = self.thread
        self.end_by_hand()
        self.finish(thread)
        self.describe_by_name(thread.last)
        batch = self.by_hand = thread.last = Batch(number=number)
        batch.block = block
        if samples:
            self._enter_samples(batch, samples)

    def end_by_hand(self) -> None:
        """End the batch that was begun by hand."""
        batch, self.by_hand = self.by_hand, None
        if batch is not None:
            self._settle(batch)

    def end_all(self) -> None:
        """End all batches at the end of the capture."""
        self.end_by_hand()
        for thread in self._threads:
            self.finish(thread)
            self.describe_by_name(thread.last)
        self._verifier.close()

    # By calls

    def find(self, thread: ThreadCalls, name: str, asked: Optional[str], call: ModelCall) -> Optional[Batch]:
        """Return the batch of a call; None if this call does not begin a batch.

        name: of the module; '' for the model itself. asked: the requested layer that the module may speak for, or None.
        Raises `CaptureError` if a module of a requested layer runs outside any call into the model.
        """
        batch = self.by_hand or (thread.batch if thread.running else None)
        if batch is None:
            methods = self._methods.running()
            if in_warm_up():
                return None
            if name and not methods:
                self._refuse_outside(asked)
                return None
            batch = self._open(thread, methods)
        elif batch is thread.batch and thread.running == [""]:
            batch = self._view_of(thread, batch)
        if not name and "" not in thread.running:
            self._model_began(batch, call)
        elif not batch.has_input and name and "." not in name:
            # Models that make a batch from a list of images, as torchvision's do, pass it to one of their parts.
            self._see_input(batch, [value for value in call.values if isinstance(value, torch.Tensor)][:1], False)
        if batch.entry is None and asked is not None:
            with self._lock:  # no images were found, so treat the batch as one sample
                batch.entry = self._ledger.enter([Sample("")], batch.number)
        return batch

    def _refuse_outside(self, asked: Optional[str]) -> None:
        """Raise `CaptureError` if a module that may report for a layer runs outside any call into the model."""
        if asked is not None:
            self._handover.refused.setdefault(asked, "it also ran outside any call into the model")
            raise CaptureError(
                f"the layer {asked!r} ran outside any call into the model, so its batch is unknown; "
                "mark the batch in your code: with session.batch(['its image']):"
            )

    def _open(self, thread: ThreadCalls, methods: Sequence[FrameType]) -> Batch:
        """Return the batch of an outermost call: the one that its method already began, or a new one.

        methods: the methods of the model that run, outermost first; empty for a call of the model itself.
        """
        if thread.batch is not None and thread.batch.frame is not None and is_running(thread.batch.frame):
            return thread.batch
        self.finish(thread)
        self.describe_by_name(thread.last)
        batch = thread.last = thread.batch = Batch(methods[0] if methods else None)
        for method in methods:  # not every method receives the images
            if batch.known is None:
                self._enter(batch, call_of(method))
        return batch

    def _view_of(self, thread: ThreadCalls, batch: Batch) -> Batch:
        """Return the batch of the view that runs, in a call that makes several. The first view belongs to the call."""
        name = batch.known.forward if batch.known is not None else ""
        forward = self._methods.nearest(name) if name else None
        if forward is None or forward is batch.forward:
            return batch
        if batch.forward is None:
            batch.forward = forward
            return batch
        view = Batch(batch.frame)
        view.forward = forward
        thread.last.views.append(view)
        self.finish(thread)
        thread.batch = view
        self._enter(view, call_of(forward))
        self._see_input(view, call_of(forward).values, nested=True)
        known = view.known.samples[0].geometry if view.known is not None and view.known.samples else None
        view.input_size = known.padded if known is not None else None
        return view

    def look_for_views(self) -> None:
        """Check whether a module that is called is the first one of a new view."""
        thread = self.thread
        if thread.batch is not None and thread.running == [""]:
            self._view_of(thread, thread.batch)

    def _model_began(self, batch: Batch, call: ModelCall) -> None:
        batch.model_call = call
        if batch.known is None:
            self._enter(batch, call)
        self._see_input(batch, call.values, nested=batch.frame is None)
        if batch.known is not None and batch.known.forward:
            self._views = _Views(self)
            watch(self._views)

    def _see_input(self, batch: Batch, values: Sequence[object], nested: bool) -> None:
        """Find the images in the input of the model or of its first part. The axes are followed from there."""
        images = _images_among(values)
        if images is None:
            return
        batch.input_size = batch.input_size or images.size
        batch.has_input = images.batch is not None
        if batch.has_input and batch.wanted:
            self._proof.begin(images, nested)

    def _enter(self, batch: Batch, call: ModelCall) -> None:
        """Ask the companion which samples a batch has, and enter them in the ledger."""
        batch.known = self._ask(lambda companion: companion.before(call))
        if batch.known is not None and batch.entry is None:
            with self._lock:
                self._enter_samples(batch, batch.known.samples)

    def _enter_samples(self, batch: Batch, samples: Sequence[Sample]) -> None:
        entry = batch.entry = self._ledger.enter(samples, batch.number)
        self._verifier.expect([entry.samples[row] for row in entry.rows])

    def _ask(self, question: Callable[[Companion], Optional[Known]]) -> Optional[Known]:
        """Ask the companion. If it fails, replace it, because the user's model must continue."""
        try:
            return question(self._companion)
        except FeatscopeError:
            raise
        except Exception as error:  # noqa: BLE001 (frameworks change, and users may pass unusual objects)
            self._remarks.say(
                f"{type(self._companion).__name__} cannot read what the framework knows about the images "
                f"({first_line(error)}); from now on they are numbered"
            )
            self._companion = PlainImages()
            return None

    def model_ended(self, thread: ThreadCalls, batch: Batch, output: object) -> None:
        """Handle the end of the outermost call of the model itself."""
        unwatch(self._views)
        call, batch.model_call = batch.model_call, None
        if call is not None and batch.known is not None and not (batch.described or batch.ended):
            known = batch.known
            batch.known = self._ask(lambda companion: companion.after(call, known, output)) or known
        batch.ended, batch.failed = True, False
        self._may_end(thread, batch.views[-1] if batch.views else batch)

    def model_failed(self, thread: ThreadCalls, batch: Batch) -> None:
        """Handle an exception in the outermost call of the model itself. Its caller may catch it and try again."""
        unwatch(self._views)
        batch = batch.views[-1] if batch.views else batch
        batch.failed = True  # a failed forward does not show which layers run
        batch.waiting.clear()
        if batch is not self.by_hand:
            self._may_end(thread, batch)

    def _may_end(self, thread: ThreadCalls, batch: Batch) -> None:
        if batch is self.by_hand and not batch.block:
            self.end_by_hand()
        elif batch is thread.batch and batch.frame is None:
            self.finish(thread)

    def finish(self, thread: ThreadCalls) -> None:
        """End the batch of a thread."""
        batch, thread.batch = thread.batch, None
        if batch is not None:
            self._settle(batch)

    def _settle(self, batch: Batch) -> None:
        """End a batch: decide which of the waiting outputs are stored."""
        waiting, batch.waiting = batch.waiting, []
        batch.forget()
        self._proof.end(batch.failed)
        if not batch.failed:
            with self._lock:
                speaks = self._speakers.settle([one.node for one in waiting])
            for one, speaking in zip(waiting, speaks):
                if speaking:
                    self._handover.put(batch, one.node.path, type(one.node.module).__name__, one.pieces)
        self._handover.check_room(batch)

    # Samples

    def describe(
        self,
        batch: Batch,
        samples: Sequence[Sample],
        pictures: Sequence[Optional[Picture]],
        originals: Sequence[Optional[Thumbnail]] = (),
        *,
        candidates: Sequence[Optional[MakeCandidates]] = (),
    ) -> None:
        """Describe a batch's samples, in its order. Samples that the policy leaves out are not stored.

        pictures: the inputs as the network received them. originals: images that do not come from files.
        candidates: the raw outputs behind the detections.
        """
        batch.described = True
        with self._lock:
            if batch.entry is None:
                batch.entry = self._ledger.enter([Sample("") for _ in samples], batch.number)
            entry = batch.entry
            samples = self._ledger.named(samples, entry)
        for row in entry.rows:
            if row < len(samples):
                picture = pictures[row] if row < len(pictures) else None
                original = originals[row] if row < len(originals) else None
                verified = self._verifier.verify(replace(samples[row], batch=entry.number), picture, original)
                self._handover.put_sample(*verified, candidates[row] if row < len(candidates) else None)
        self._handover.check_room(batch, described=True)

    def describe_by_name(self, batch: Batch) -> None:
        """Describe a batch, if nobody has, by what its companion knows, or by the ids that it was begun with."""
        if batch.used and not batch.described:
            known = batch.known or Known(batch.entry.samples if batch.entry is not None else ())
            later = known.later
            if later is not None and batch.wanted:
                known = self._ask(lambda _companion: later()) or known
            self.describe(batch, known.samples, known.pictures, known.originals, candidates=known.candidates)
        for view in batch.views:
            self.describe_by_name(view)


class _Views:
    """Watches every module of a model that makes several views, to notice where each view begins."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def begin(self, module: nn.Module, arguments: Tuple[object, ...], named: Dict[str, object]) -> None:
        """Notice that a module is called (`featscope.capturing.calls`)."""
        self._batches.look_for_views()


def _images_among(values: Sequence[object]) -> Optional[Images]:
    """Find the images in the input of a module; None if there are none."""
    try:
        return find_images(values)
    except Exception:  # noqa: BLE001 (a user's subclass of Tensor may raise any error)
        return None

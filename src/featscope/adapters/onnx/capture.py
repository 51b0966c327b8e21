"""Capture tensors of an ONNX graph, as `featscope.capturing.session.Capture` does for a PyTorch model."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Callable, DefaultDict, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Type, Union

import msgspec
import numpy as np

from featscope.adapters.onnx.values import Array, Piece, Values, pieces_of, thin
from featscope.arrays.candidates import MakeCandidates
from featscope.arrays.readings import Reading
from featscope.capturing.estimate import Room
from featscope.capturing.given import GivenReadings
from featscope.capturing.ledger import Entry, Ledger
from featscope.capturing.memory import MemorySink
from featscope.capturing.policy import make_policy
from featscope.capturing.remarks import Remarks
from featscope.capturing.verifying import Verifier
from featscope.errors import BadOptionError, CaptureError, FeatscopeError, unknown_name
from featscope.records import CapturedMap, Picture, Policy, RunInfo, Sample, Sink, Size, Written, assumed_place, is_map
from featscope.store.files import check_folder_name, is_ours, refuse_shared, safe_name
from featscope.store.object_writer import writer_of
from featscope.store.writer import RunWriter


class GraphFacts(NamedTuple):
    """What a capture needs to know about its graph."""

    name: str

    kinds: Mapping[str, str]
    """Tensor -> the operator that computes it."""

    input_size: Size

    without_batch: bool
    """Whether the graph takes a single image, without an axis for a batch."""


class OnnxCapture:
    """A capture in progress (`featscope.capturing.protocol.CaptureSession`), made by `OnnxModel.capture`.

    tensors: the tensors to capture. on_close: called at the end. Other options are as in `featscope.capture`.
    """

    def __init__(
        self,
        graph: GraphFacts,
        tensors: Sequence[str],
        to: Union[str, Path, Sink, None],
        *,
        info: RunInfo,
        on_close: Callable[[], None],
        asked: bool = True,
        names: Optional[Mapping[str, str]] = None,
        policy: Union[Policy, Mapping[str, object], None] = None,
        resume: bool = False,
        on_error: str = "raise",
        dataset_size: Optional[int] = None,
        axes: Optional[Mapping[str, str]] = None,
    ) -> None:
        if on_error != "raise":
            raise BadOptionError(
                "ONNX files are not run in a loop that could continue after an error; leave out --on-error"
            )
        policy, self._said = make_policy(policy), GivenReadings(axes)
        if policy.dtype in ("uint8", "bfloat16"):
            raise BadOptionError(f"--dtype {policy.dtype} needs torch, which is not used for ONNX files; type float16")
        self.tensors = list(tensors)
        self._graph, self._policy, self._asked, self._on_close = graph, policy, asked, on_close
        self._remarks = Remarks()
        self._verifier = Verifier(self._remarks)
        self._folders = _folders(self.tensors, graph.kinds, names or {}, self._remarks)
        info = msgspec.structs.replace(info, layers=self.tensors, names=dict(names or {}), policy=policy)
        self._sink: Sink
        if to is None:
            self._sink = MemorySink()
        elif isinstance(to, (str, Path)):
            self._sink = writer_of(to, info, resume=resume)
        else:
            self._sink = to
        stored = self._sink.stored if isinstance(self._sink, RunWriter) else {}
        self._ledger = Ledger(policy, dataset_size, stored=stored)
        self._room = Room(self._sink, self._ledger)
        self._entry: Optional[Entry] = None
        self._number: Optional[int] = None
        self._open = self._by_hand = self._ran = False
        self._samples: List[Sample] = []
        self._pictures: Sequence[Optional[Picture]] = ()
        self._calls: DefaultDict[str, int] = defaultdict(int)
        self._levels: DefaultDict[str, int] = defaultdict(int)
        self._given: Set[str] = set()
        self._refused: Dict[str, str] = {}
        self._no_maps: Dict[str, str] = {}
        self._written = Written(0, 0, 0, "memory" if to is None else f"a {type(self._sink).__name__}")

    # The session

    def __enter__(self) -> OnnxCapture:
        if isinstance(self._sink, RunWriter):
            self._sink.begin()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._on_close()
        failure = error
        try:
            self.end_batch()
        except FeatscopeError as refused:
            failure = failure or refused
        self._verifier.close()
        failed = bool(kind or failure)
        missing = {} if failed else self._missing()
        for remark in self._ledger.remarks:
            self._remarks.say(remark)
        if isinstance(self._sink, RunWriter):
            self._sink.left_out = {**self._refused, **missing}
            self._sink.readings = self._no_maps
        try:
            self._sink.close(not (failed or missing))
        except Exception:
            if not failed:  # after an error in the block, an error of the sink is only a consequence
                raise
        if kind is None and failure is not None:
            raise failure
        if missing:
            raise self._gave_nothing(missing)

    def _gave_nothing(self, missing: Mapping[str, str]) -> CaptureError:
        """Return the error for requested tensors without maps."""
        texts = [f"{name!r} gave nothing that can be stored ({why})" for name, why in missing.items()][:5]
        hint = f"to see all tensors: featscope layers {self._graph.name}"
        if self._given:
            hint = "the rest is stored; to leave these out:" + "".join(f" -l '!{name}'" for name in missing)
        return CaptureError(f"{'; '.join(texts)}; {hint}")

    def _missing(self) -> Dict[str, str]:
        """Return the requested tensors without maps -> the reason."""
        if not self._ran:
            if self._ledger.stored:
                return {}
            return {name: "no image was run" for name in self.tensors}
        if not self._asked and self._given:
            return {}
        return {name: why for name, why in self._refused.items() if name not in self._given}

    def close(self, failed: bool = False) -> None:
        """End a capture that was not started by `with`. After a failure the run stays unfinished."""
        self.__exit__(RuntimeError if failed else None, None, None)

    @property
    def sink(self) -> Sink:
        """The sink that receives the maps."""
        return self._sink

    @property
    def wanted(self) -> bool:
        """Whether the current batch has samples to store. If not, it need not be run."""
        return self._entry is None or bool(self._entry.rows)

    @property
    def samples(self) -> Sequence[Sample]:
        """The samples of the current batch, or of the last one, with their ids in this run."""
        return self._samples

    @property
    def written(self) -> Written:
        """How much the sink received or, for a run, how much was written to its folder."""
        return self._sink.written if isinstance(self._sink, RunWriter) else self._written

    @property
    def remarks(self) -> Sequence[str]:
        """Remarks that the user should know, each given once."""
        return self._remarks.said

    def say(self, remark: str) -> None:
        """Give a remark once."""
        self._remarks.say(remark)

    def start_batch(self, number: int, sample_ids: Sequence[str] = (), paths: Sequence[str] = ()) -> None:
        """Begin a batch by hand, with its number and the ids and files of its samples."""
        self.end_batch()
        self._number, self._by_hand, self._entry = number, True, None
        if sample_ids:
            self._begin([Sample(name, path) for name, path in zip(sample_ids, paths or [""] * len(sample_ids))])

    def describe(
        self,
        samples: Sequence[Sample],
        pictures: Optional[Sequence[Optional[Picture]]] = None,
        candidates: Optional[Sequence[Optional[MakeCandidates]]] = None,
    ) -> None:
        """Describe the samples of the last batch, in its order. They keep their ids. Candidates are ignored."""
        if not self._open or self._entry is None:
            raise CaptureError("there is no batch to describe; run the model first, or begin one: start_batch")
        if len(samples) != len(self._entry.samples):
            raise CaptureError(
                f"the batch has {len(self._entry.samples)} samples, but {len(samples)} are described; "
                "describe all of them"
            )
        self._samples, self._pictures = self._ledger.named(samples, self._entry), list(pictures or ())

    def end_batch(self) -> None:
        """End the batch. Samples that were not described are stored with their ids only."""
        entry, self._by_hand = self._entry, False
        if not self._open or entry is None:
            return
        self._open = False
        pictures = self._pictures or [None] * len(self._samples)
        for row in entry.rows:
            sample = msgspec.structs.replace(self._samples[row], batch=entry.number)
            self._room.put_sample(*self._verifier.verify(sample, pictures[row]))
            self._written = self._written._replace(samples=self._written.samples + 1)
        if entry.rows:
            self._room.check(len(entry.rows))

    def _begin(self, samples: Sequence[Sample]) -> Entry:
        entry = self._entry = self._ledger.enter(samples, self._number)
        self._number, self._open, self._pictures, self._samples = None, True, (), entry.samples
        self._verifier.expect([entry.samples[row] for row in entry.rows])
        self._calls.clear()
        self._levels.clear()
        return entry

    # Runs of the graph

    def rows(self, samples: Sequence[Sample]) -> Sequence[int]:
        """Return which of the samples that are about to run are to be stored. Begins a batch if there is none."""
        if not self._by_hand:
            self.end_batch()
            self._entry = None
        entry = self._entry if self._entry is not None else self._begin(samples)
        if len(samples) != len(entry.samples):
            raise CaptureError(
                f"the batch was begun with {len(entry.samples)} samples, but {len(samples)} are run; name all of them"
            )
        self._ran = True
        return entry.rows

    def take(self, runs: Sequence[Values]) -> None:
        """Store the graph's tensors for the samples that are kept."""
        entry = self._entry
        if entry is None or not entry.rows:
            return
        ids = [entry.samples[row].id for row in entry.rows] if entry.named else []
        for name in self.tensors:
            reads = [partial(self._read, name, run) for run in runs]
            found = pieces_of(name, runs, self._graph.kinds[name], reads, self._graph.without_batch)
            if found.why_not:
                self._remarks.say(f"{name!r} cannot be stored: {found.why_not}")
                self._refused[name] = found.why_not
            if found.remark:
                self._remarks.say(found.remark)
            for piece in found.pieces:
                self._put(name, piece, entry.number, ids[piece.start : piece.stop])
                self._given.add(name)

    def _read(self, name: str, run: Values, array: Array) -> Reading:
        reading = self._said.checked(name, "", array, run.read(name, array))
        if not reading.is_map:
            self._no_maps.setdefault(name, reading.why)
        return reading

    def _put(self, name: str, piece: Piece, batch: int, ids: List[str]) -> None:
        part, folder = piece.part, self._folders[name]
        if part.name:
            folder = f"{folder}.{safe_name(part.name)}"
        thinned = thin(piece, self._policy, name)
        if thinned.remark:
            self._remarks.say(thinned.remark)
        array = np.ascontiguousarray(thinned.array)
        place = part.place
        if place is None and is_map(part.axes):
            place = assumed_place(self._graph.input_size, (array.shape[-2], array.shape[-1]))
        level, call = self._levels[folder], self._calls[name]
        self._levels[folder] += 1
        self._calls[name] += 1
        captured = CapturedMap(
            layer=name,
            cls=self._graph.kinds[name],
            field=part.name,
            level=level,
            call=call,
            batch=batch,
            samples=ids,
            folder=folder,
            axes=part.axes,
            place=place,
            reduced=thinned.reduced,
            channels=thinned.channels,
        )
        maps, size = self._written.maps + 1, self._written.bytes + array.nbytes
        self._written = self._written._replace(maps=maps, bytes=size)
        self._room.put(captured, array)


def _folders(
    tensors: Sequence[str], kinds: Mapping[str, str], names: Mapping[str, str], remarks: Remarks
) -> Dict[str, str]:
    """Name the folder of each tensor: its name with dots for slashes, plus its operator, made unique if necessary."""
    for name, folder in names.items():
        check_folder_name(folder)
        if name not in tensors:
            raise unknown_name("captured tensor", name, tensors, "featscope capture --help")
    refuse_shared(names, "tensors", "--name")
    found = dict(names)
    taken = {folder.casefold() for folder in names.values()}  # Windows and macOS ignore case
    for name in tensors:
        if name in found:
            continue
        kind = kinds[name].lower()
        first = f"{safe_name(name.strip('/').replace('/', '.'))}.{kind}"
        whole = f"{safe_name(name)}.{kind}"
        others = [first, whole, *(f"{whole}_{number}" for number in range(2, len(tensors) + 2))]
        found[name] = next(one for one in others if one.casefold() not in taken and not is_ours(one))
        taken.add(found[name].casefold())
        if found[name] != first:
            remarks.say(f"several tensors would be stored in {first!r}, so {name!r} is stored in {found[name]!r}")
    return found

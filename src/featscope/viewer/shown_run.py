"""A run that the viewer shows. A run that is still being captured is opened again as it grows."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

from featscope.errors import BadRunError, FeatscopeError
from featscope.store.reader import open_run
from featscope.viewer.catalogue import Catalogue
from featscope.viewer.replies import LeftOut, RunOut

if TYPE_CHECKING:
    from featscope.analysis.misses import Misses

_NOTES = 20  # problems that the page lists
_KEPT = 4096  # thumbnails; about 3 KB each
_LEAST_SECONDS = 1.0  # between two looks at a growing run
_SHARE = 5  # opening a growing run takes at most this share of the time: one fifth

State = Tuple[Tuple[str, int, int], ...]


class ShownRun:
    """A run, opened, with what was computed of it.

    layers, sample, most: what is shown, as in `Catalogue`. Raises `BadRunError` if the folder is not a run and holds no
    arrays.
    """

    def __init__(self, folder: Path, layers: Sequence[str] = (), sample: Optional[str] = None, most: int = 0) -> None:
        self.folder = folder
        self._layers, self._sample, self._most = layers, sample, most
        self.thumbnails: Dict[int, bytes] = {}
        self._lock = threading.Lock()
        self._missing = threading.Lock()
        self._misses: Optional[Tuple[State, Misses]] = None
        self._open()

    def _open(self) -> None:
        began = time.monotonic()
        self._state = self._look()
        before: Optional[Catalogue] = getattr(self, "catalogue", None)
        self.catalogue = Catalogue(open_run(self.folder), self._layers, self._sample, most=self._most, before=before)
        if before is not None and self.catalogue.samples[: len(before.samples)] != before.samples:
            self.thumbnails.clear()
        info = self.catalogue.run.info
        self.live = info is not None and not info.finished
        self.classes: List[str] = list(info.classes) if info is not None else []
        self._next = time.monotonic() + max(_LEAST_SECONDS, _SHARE * (time.monotonic() - began))

    def _look(self) -> State:
        """Return what changes when the run does."""
        names = [*self.folder.glob("*.json"), *self.folder.glob("*.jsonl")]
        try:
            return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(names))
        except OSError as error:
            raise BadRunError(f"{self.folder} cannot be read: {error.strerror}") from None

    def refreshed(self) -> ShownRun:
        """Return the run, opened again if its run has grown. Raises `BadRunError` if the run is gone."""
        if not self.folder.is_dir():
            raise BadRunError(f"{self.folder} is gone; it was there when the viewer started")
        if self.live and time.monotonic() >= self._next and self._lock.acquire(blocking=False):
            try:
                if self._look() != self._state:
                    self._open()
                else:
                    self._next = time.monotonic() + _LEAST_SECONDS
            except FeatscopeError:  # a line was being written; what was read before is still true
                self._next = time.monotonic() + _LEAST_SECONDS
            finally:
                self._lock.release()
        return self

    @property
    def state(self) -> str:
        """A short text that changes if the run does."""
        return hashlib.blake2b(repr(self._state).encode(), digest_size=6).hexdigest()

    def misses(self) -> Misses:
        """Return which objects the whole run missed. It is worked out once, as that takes seconds.

        Raises `BadRunError` for a run without ground truth or without detections.
        """
        from featscope.analysis.misses import misses

        with self._missing:  # who asks meanwhile waits, and does not work it out again
            if self._misses is None or self._misses[0] != self._state:
                # The run is opened again: an index is used by one thread at a time, and the page goes on asking.
                self._misses = self._state, misses(self.folder)
            return self._misses[1]

    def keep_thumbnail(self, sample: int, data: bytes) -> bytes:
        """Keep a thumbnail; the oldest ones are forgotten."""
        with self._lock:
            self.thumbnails[sample] = data
            while len(self.thumbnails) > _KEPT:
                del self.thumbnails[next(iter(self.thumbnails))]
        return data

    def about(self) -> RunOut:
        """Say what the run is and which maps it has."""
        self.refreshed()
        run, info = self.catalogue.run, self.catalogue.run.info
        problems = self.catalogue.problems
        notes = problems[:_NOTES]
        if len(problems) > _NOTES:
            notes.append(f"and {len(problems) - _NOTES} more; to see all: featscope check {self.folder}")
        if info is None:
            notes.append("this folder has no manifest, so layers and samples are named after its files")
        left = (
            [] if info is None else [LeftOut(layer, why) for layer, why in {**info.readings, **info.left_out}.items()]
        )
        return RunOut(
            name=self.folder.resolve().name,
            folder=str(self.folder),
            model=info.model if info is not None else "",
            config=info.config if info is not None else "",
            classes=self.classes,
            live=self.live,
            started=info.started if info is not None else "",
            finished=info.finished if info is not None else "",
            samples=len(self.catalogue.samples),
            maps=len(run.maps),
            state=self.state,
            notes=notes,
            groups=self.catalogue.groups,
            left=left,
        )

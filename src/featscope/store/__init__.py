"""Runs on disk: each file is written completely or not at all, and everything that is read is checked."""

from featscope.store.maps import MapFile
from featscope.store.reader import Run, open_run
from featscope.store.writer import RunWriter

__all__ = ["MapFile", "Run", "RunWriter", "open_run"]

"""The run on disk: written whole or not at all, read without trust."""

from featscope.store.maps import MapFile
from featscope.store.reader import Run, open_run
from featscope.store.writer import RunWriter

__all__ = ["MapFile", "Run", "RunWriter", "open_run"]

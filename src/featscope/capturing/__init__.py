"""Capturing: the outputs of any layer of a PyTorch model, while it runs as it always does."""

from featscope.capturing.memory import MemorySink
from featscope.capturing.session import Capture, capture, tap

__all__ = ["Capture", "MemorySink", "capture", "tap"]

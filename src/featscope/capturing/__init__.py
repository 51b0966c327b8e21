"""Capturing: the outputs of any layer of a PyTorch model, while it runs as it always does."""

from featscope.capturing.session import Capture, MemorySink, capture, tap

__all__ = ["Capture", "MemorySink", "capture", "tap"]

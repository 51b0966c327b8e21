"""Answers from a run: objects, misses, two detectors compared, statistics. It needs no torch."""

"""How things are timed: alternately, so that a slow moment of the machine hits both sides."""

from __future__ import annotations

import statistics
import time
from typing import Callable, Dict, NamedTuple


class Row(NamedTuple):
    """One line of the table."""

    work: str
    ours: str
    peer: str
    ratio: str
    floor: str
    holds: bool


def alternate(sides: Dict[str, Callable[[], object]], seconds: float = 2.0) -> Dict[str, float]:
    """Median seconds of each side's calls; the sides take turns for about `seconds` each."""
    for call in sides.values():
        call()
    times: Dict[str, list] = {name: [] for name in sides}
    while min(map(len, times.values())) < 3 or sum(min(times.values(), key=sum)) < seconds:
        for name, call in sides.items():
            # A side that is fast is called more often, so that each has a fair median.
            spent = 0.0
            while spent < 0.05:
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
                spent += times[name][-1]
        if sum(max(times.values(), key=sum)) > 10 * seconds:
            break
    return {name: statistics.median(values) for name, values in times.items()}


def faster(work: str, ours: float, peer: float, floor: float, note: str = "") -> Row:
    """A row that says how many times faster ours is."""
    ratio = peer / ours
    return Row(
        work, f"{ours * 1e3:.2f} ms{note}", f"{peer * 1e3:.1f} ms", f"{ratio:.1f} x", f"{floor:g} x", ratio >= floor
    )

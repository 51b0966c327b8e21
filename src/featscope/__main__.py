"""`python -m featscope`, and the command `featscope`: the command line, and what Ctrl-C means for it.

Nothing heavy is imported before Ctrl-C is understood.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Optional

STOPPED = 130
"""The exit code of what Ctrl-C ends, as shells have it."""


class _Interrupts:
    """The first Ctrl-C ends the work in order; a second one, or one that got lost, ends it at once.

    Whatever is written is whole, workers end with this process, and a run can be resumed: nothing is lost.
    """

    def __init__(self) -> None:
        self.heard = False
        signal.signal(signal.SIGINT, self._hear)
        self._lost, sys.unraisablehook = sys.unraisablehook, self._unraisable

    def _hear(self, number: int, frame: Optional[FrameType]) -> None:
        if self.heard:
            self.end()
        self.heard = True
        raise KeyboardInterrupt

    def _unraisable(self, what: sys.UnraisableHookArgs) -> None:
        if self.heard and issubclass(what.exc_type, KeyboardInterrupt):  # in a destructor, which tells nobody
            self.end()
        self._lost(what)

    def end(self) -> None:
        """Leave, without what Python would do and say at its end."""
        try:
            sys.stdout.flush()
            sys.stderr.write(("\x1b[?25h" if sys.stderr.isatty() else "") + "stopped\n")  # and the cursor is shown
            sys.stderr.flush()
        finally:
            os._exit(STOPPED)


def main() -> None:
    """Run the command line. Ctrl-C ends it with code 130 and no traceback, at any time."""
    interrupts = _Interrupts()
    try:
        from featscope.cli import main as command

        command()
    except BaseException:
        if interrupts.heard:  # whatever became of it on its way
            interrupts.end()
        raise


if __name__ == "__main__":
    main()

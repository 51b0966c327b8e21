"""Entry point of `python -m featscope` and of the command `featscope`, with the handling of Ctrl-C.

The signal handler is installed before anything heavy is imported.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from types import FrameType
from typing import Optional

STOPPED = 130
"""Exit code after Ctrl-C, by the convention of shells."""


class _Interrupts:
    """Handles Ctrl-C: the first press stops the work in order, and a second press stops it immediately.

    If the exception of the first press is lost, the process also ends immediately. No data is lost in either case: each
    file is written whole, workers end with this process, and a run can be resumed.
    """

    def __init__(self) -> None:
        self.heard = False
        signal.signal(signal.SIGINT, self._hear)
        # Python's last steps reset the handler, and a signal would then kill a process whose work is done. Registered
        # first, this runs last: after all threads ended, when nothing is left to stop.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
        self._lost, sys.unraisablehook = sys.unraisablehook, self._unraisable

    def _hear(self, number: int, frame: Optional[FrameType]) -> None:
        if self.heard:
            self.end()
        self.heard = True
        raise KeyboardInterrupt

    def _unraisable(self, what: sys.UnraisableHookArgs) -> None:
        # Python only reports an exception in a destructor here, and does not raise it.
        if self.heard and issubclass(what.exc_type, KeyboardInterrupt):
            self.end()
        self._lost(what)

    def end(self) -> None:
        """Exit immediately, without Python's cleanup and messages."""
        try:
            sys.stdout.flush()
            sys.stderr.write(("\x1b[?25h" if sys.stderr.isatty() else "") + "stopped\n")  # show the cursor
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
        if interrupts.heard:  # even if other code turned it into another error
            interrupts.end()
        raise


if __name__ == "__main__":
    main()

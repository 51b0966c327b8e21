"""What should be known of a capture: remarks, and what went wrong."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import Iterator, List

from featscope.errors import BadOptionError, BadRunError, FeatscopeError, OutputError

ON_ERROR = ("raise", "warn", "disk")
"""What becomes of an error: see `Remarks`."""


def check_on_error(on_error: str) -> None:
    """Raise `BadOptionError` for anything but a name of `ON_ERROR`."""
    if on_error not in ON_ERROR:
        raise BadOptionError(f"on_error={on_error!r} is unknown; type one of: {', '.join(ON_ERROR)}")


class Remarks:
    """Says things once: as a warning at the time, and in a list for the end. Raises errors, or names them too.

    >>> remarks = Remarks()
    >>> with warnings.catch_warnings(record=True) as heard:
    ...     warnings.simplefilter("always")
    ...     for _ in range(2):
    ...         remarks.say("the disk is slow")
    >>> remarks.said, len(heard)
    (['the disk is slow'], 1)

    on_error: 'raise'; 'warn' to name errors and let the model go on; 'disk' for that, unless it is the disk that
    fails. failures: the errors that were named. stopped: one of them ended the capture.
    """

    def __init__(self, on_error: str = "raise") -> None:
        self.said: List[str] = []
        self.failures: List[str] = []
        self.stopped = False
        self._on_error = on_error

    def say(self, text: str) -> None:
        """Say something, if it was not said before."""
        if text not in self.said:
            self.said.append(text)
            warnings.warn(f"featscope: {text}", RuntimeWarning, stacklevel=3)

    def report(self, error: FeatscopeError) -> None:
        """Raise an error, or name it. A disk that fails, and a run of other images, end the capture then."""
        if self._on_error == "raise" or (self._on_error == "disk" and isinstance(error, OutputError)):
            raise error
        if str(error) in self.failures:
            return
        self.failures.append(str(error))
        if isinstance(error, (OutputError, BadRunError)):
            self.stopped = True
            warnings.warn(
                f"featscope stopped capturing, the model goes on: {error}; what was stored until then is readable, "
                "and can be resumed when that is mended",
                RuntimeWarning,
                stacklevel=3,
            )
        else:
            warnings.warn(f"featscope: {error}", RuntimeWarning, stacklevel=3)

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Report what goes wrong in a block."""
        try:
            yield
        except FeatscopeError as error:
            self.report(error)

"""Remarks and errors of a capture."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import Iterator, List

from featscope.errors import BadOptionError, BadRunError, FeatscopeError, FeatscopeWarning, OutputError

ON_ERROR = ("raise", "warn", "disk")
"""The ways to handle an error; see `Remarks`."""


def check_on_error(on_error: str) -> None:
    """Raise `BadOptionError` for anything but a name of `ON_ERROR`."""
    if on_error not in ON_ERROR:
        raise BadOptionError(f"on_error={on_error!r} is unknown; type one of: {', '.join(ON_ERROR)}")


class Remarks:
    """Gives each remark once, as a warning and in a list. Raises errors, or gives them as remarks too.

    >>> remarks = Remarks()
    >>> with warnings.catch_warnings(record=True) as heard:
    ...     warnings.simplefilter("always")
    ...     for _ in range(2):
    ...         remarks.say("the disk is slow")
    >>> remarks.said, len(heard)
    (['the disk is slow'], 1)

    on_error: 'raise'; 'warn' to give errors as warnings and let the model continue; 'disk' to do the same except for
    errors of the disk. failures: the errors that were given as warnings. stopped: whether one of them ended the
    capture.
    """

    def __init__(self, on_error: str = "raise") -> None:
        self.said: List[str] = []
        self.failures: List[str] = []
        self.stopped = False
        self._on_error = on_error

    def say(self, text: str) -> None:
        """Give a remark unless it was given before."""
        if text not in self.said:
            self.said.append(text)
            warnings.warn(f"featscope: {text}", FeatscopeWarning, stacklevel=3)

    def report(self, error: FeatscopeError) -> None:
        """Raise an error, or give it as a warning. After an error of the disk or of the run the capture ends."""
        if self._on_error == "raise" or (self._on_error == "disk" and isinstance(error, OutputError)):
            raise error
        if str(error) in self.failures:
            return
        self.failures.append(str(error))
        if isinstance(error, (OutputError, BadRunError)):
            self.stopped = True
            warnings.warn(
                f"featscope stopped capturing, but the model continues: {error}; what was stored until then can be "
                "read, and the run can be resumed when the cause is fixed",
                FeatscopeWarning,
                stacklevel=3,
            )
        else:
            warnings.warn(f"featscope: {error}", FeatscopeWarning, stacklevel=3)

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Report errors in a block."""
        try:
            yield
        except FeatscopeError as error:
            self.report(error)

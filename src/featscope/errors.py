"""The errors that featscope raises. Each one is a `FeatscopeError` and also the matching built-in error.

A message states the fact, shows the value that was received, and says what to type next.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Iterable


class FeatscopeError(Exception):
    """The base class of all errors that featscope raises on purpose."""


class FeatscopeWarning(RuntimeWarning):
    """The class of all warnings of featscope: something failed or is uncertain, and the work goes on.

    >>> import warnings
    >>> warnings.filterwarnings("ignore", category=FeatscopeWarning)         # doctest: +SKIP
    """


class UnknownNameError(FeatscopeError, KeyError):
    """There is no layer, reduction, colour map, ... with this name."""

    def __str__(self) -> str:
        """Return the plain message; `KeyError` would put it in quotes."""
        return str(self.args[0]) if self.args else ""


class BadArrayError(FeatscopeError, ValueError):
    """A file or an array does not hold a feature map that can be read or drawn."""


class BadRunError(FeatscopeError, ValueError):
    """A folder is not a run, or its records are damaged."""


class BadOptionError(FeatscopeError, ValueError):
    """An option has an invalid value."""


class BadImageError(FeatscopeError, ValueError):
    """An image is missing, unreadable or does not have the size that its record states."""


class UnknownReadingError(BadImageError):
    """Programs read this image file in different ways, and the right way is unknown."""


class OutputError(FeatscopeError, OSError):
    """A file or folder could not be written."""

    def __str__(self) -> str:
        """Return the message without the system's error number, which stays in `errno`."""
        return self.strerror or super().__str__()


class CaptureError(FeatscopeError, RuntimeError):
    """The model cannot be captured in the requested way."""


class MissingPackageError(FeatscopeError, ImportError):
    """A required package is not installed."""


def first_line(error: BaseException) -> str:
    """Describe an error from third-party code in one short line: its type and the first line of its message.

    >>> first_line(ValueError("no channels")), first_line(MemoryError())
    ('ValueError: no channels', 'MemoryError')
    """
    said = (str(error).strip().splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def check_name(kind: str, name: str, known: Iterable[str], list_with: str) -> None:
    """Raise `UnknownNameError` if a name is not one of the known names."""
    known = list(known)
    if name not in known:
        raise unknown_name(kind, name, known, list_with)


def unknown_name(kind: str, name: str, known: Iterable[str], list_with: str) -> UnknownNameError:
    """Return the error for an unknown name, with suggestions of similar names.

    >>> str(unknown_name("reduction", "maen", ["mean", "l2"], "featscope heat --help"))
    "there is no reduction 'maen'; did you mean 'mean'? To see them all: featscope heat --help"
    """
    known = list(known)
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    if not close:
        close = [k for k in known if name.lower() in k.lower()][:3]
    hint = f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else "."
    return UnknownNameError(f"there is no {kind} {name!r}{hint} To see them all: {list_with}")

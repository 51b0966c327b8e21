"""What can go wrong: each error is a `FeatscopeError` and also the built-in error that fits.

A message is a fact, the value received, and what to type next.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Iterable


class FeatscopeError(Exception):
    """Base of all errors that featscope raises on purpose."""


class UnknownNameError(FeatscopeError, KeyError):
    """A layer, reduction, colour map, ... of this name does not exist."""

    def __str__(self) -> str:
        """The message as it is; a KeyError would put it in quotes."""
        return str(self.args[0]) if self.args else ""


class BadArrayError(FeatscopeError, ValueError):
    """A file or an array is not a feature map that can be read or drawn."""


class BadRunError(FeatscopeError, ValueError):
    """A folder is not a run, or its records cannot be read."""


class BadOptionError(FeatscopeError, ValueError):
    """An option has a value that means nothing."""


class BadImageError(FeatscopeError, ValueError):
    """An image is missing, unreadable or of another size than its record says."""


class UnknownReadingError(BadImageError):
    """Programs read an image file in different ways, and it is not known which of them is the one to follow."""


class OutputError(FeatscopeError, OSError):
    """Something could not be written."""

    def __str__(self) -> str:
        """The message without the number of the system's error, which stays in `errno`."""
        return self.strerror or super().__str__()


class CaptureError(FeatscopeError, RuntimeError):
    """A model cannot be captured as asked."""


class MissingPackageError(FeatscopeError, ImportError):
    """A package that this needs is not installed."""


def first_line(error: BaseException) -> str:
    """What an error of somebody else's code says, short.

    >>> first_line(ValueError("no channels")), first_line(MemoryError())
    ('ValueError: no channels', 'MemoryError')
    """
    said = (str(error).strip().splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def check_name(kind: str, name: str, known: Iterable[str], list_with: str) -> None:
    """Raise `UnknownNameError` for a name that is not among the known ones."""
    known = list(known)
    if name not in known:
        raise unknown_name(kind, name, known, list_with)


def unknown_name(kind: str, name: str, known: Iterable[str], list_with: str) -> UnknownNameError:
    """The error for a name that is not among the known ones.

    >>> str(unknown_name("reduction", "maen", ["mean", "l2"], "featscope heat --help"))
    "no reduction 'maen'; did you mean 'mean'? All of them: featscope heat --help"
    """
    known = list(known)
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    if not close:
        close = [k for k in known if name.lower() in k.lower()][:3]
    hint = f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else "."
    return UnknownNameError(f"no {kind} {name!r}{hint} All of them: {list_with}")

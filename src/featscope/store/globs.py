"""Match names and globs of layers, which have the same form for models and for runs."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import List, NamedTuple, Sequence, Set


class Chosen(NamedTuple):
    """Result of `choose_names`."""

    names: List[str]
    """The chosen names, in the order of the known names."""

    missing: List[str]
    """The patterns that match nothing."""


def matches(name: str, pattern: str) -> bool:
    """Whether a layer's name matches a glob: `*` stands for one part of a name, `**` for any number of parts.

    >>> matches("backbone.layer1", "backbone.*"), matches("backbone.layer1.0", "backbone.*")
    (True, False)
    >>> matches("backbone.layer1.0", "backbone.**")
    True
    """
    if "**" in pattern:
        return fnmatchcase(name, pattern.replace("**", "*"))
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(fnmatchcase(p, w) for p, w in zip(parts, wanted))


def lies_below(name: str, pattern: str) -> bool:
    """Whether a layer lies inside a layer that matches.

    >>> lies_below("head.0.conv", "head"), lies_below("head", "head")
    (True, False)
    """
    parts = name.split(".")
    return any(matches(".".join(parts[:end]), pattern) for end in range(1, len(parts)))


def choose_names(known: Sequence[str], patterns: Sequence[str]) -> Chosen:
    """Choose layers of a run by names and globs.

    >>> choose_names(["neck", "head.0", "head.1"], ["head", "!head.1"])
    Chosen(names=['head.0'], missing=[])

    If nothing was stored for a name, the name chooses its parts: a list of heads never runs itself, but its heads do. A
    pattern that starts with '!' excludes everything that it matches, with all parts. If all patterns start with '!',
    all other layers are chosen.
    """
    includes = [pattern for pattern in patterns if not pattern.startswith("!")]
    excludes = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    chosen, missing = set(known if not includes else ()), []
    for pattern in includes:
        found = {pattern} & set(known) or _matching(known, pattern) or _below(known, pattern)
        chosen |= found
        if not found:
            missing.append(pattern)
    for pattern in excludes:
        found = _matching(known, pattern) | _below(known, pattern)
        chosen -= found
        if not found:
            missing.append(f"!{pattern}")
    return Chosen([name for name in known if name in chosen], missing)


def _matching(known: Sequence[str], pattern: str) -> Set[str]:
    return {name for name in known if matches(name, pattern)}


def _below(known: Sequence[str], pattern: str) -> Set[str]:
    return {name for name in known if lies_below(name, pattern)}


def literal_glob(name: str) -> str:
    """Return a glob that matches only this name.

    >>> literal_glob("photo[1]")
    'photo[[]1]'
    """
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)

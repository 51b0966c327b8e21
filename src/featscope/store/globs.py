"""Names and globs of layers, as they are typed for a model and for a run."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import List, NamedTuple, Sequence, Set


class Chosen(NamedTuple):
    """names: those that were chosen, in the order of the known ones. missing: the patterns that match none."""

    names: List[str]
    missing: List[str]


def matches(name: str, pattern: str) -> bool:
    """Whether a layer's name matches a glob: a star is one part of a name, two stars are any number of parts.

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
    """Whether a layer is a part of one that matches.

    >>> lies_below("head.0.conv", "head"), lies_below("head", "head")
    (True, False)
    """
    parts = name.split(".")
    return any(matches(".".join(parts[:end]), pattern) for end in range(1, len(parts)))


def choose_names(known: Sequence[str], patterns: Sequence[str]) -> Chosen:
    """The layers of a run that names and globs choose.

    >>> choose_names(["neck", "head.0", "head.1"], ["head", "!head.1"])
    Chosen(names=['head.0'], missing=[])

    A name that nothing was stored of chooses its parts: a list of heads never runs, its heads do. A pattern that
    starts with '!' leaves out what it matches, and all that lies below. Without other patterns all are chosen.
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

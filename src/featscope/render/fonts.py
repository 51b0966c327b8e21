"""Fonts: one that has the characters of a text, from the system where Pillow's own lacks them."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import FrozenSet, Iterator, List, Optional, Tuple, Union

from PIL import ImageFont

Font = Union[ImageFont.FreeTypeFont, ImageFont.ImageFont]

_FAMILIES = ("notosanscjk", "notosanssc", "sourcehansans", "wqy", "pingfang", "msyh", "simhei", "hiragino", "arialuni",
             "droidsansfallback", "unifont", "dejavusans", "notosans")  # fmt: skip
"""Parts of the names of fonts that have many scripts, the best first: they are tried before all others."""

_OTHER_CUTS = ("bold", "italic", "oblique", "serif", "mono", "condensed", "light", "thin", "black", "medium")
"""Parts of the names of fonts that are not the plain cut of their family."""

_MOST_FONTS = 400
_NOBODY_HAS = "\U0010ffff"


def font_of(size: int, text: str = "") -> Font:
    """A font of this height in pixels, with the characters of the text if any font here has them."""
    return _font(size, _rare(text))


def readable(text: str, instead: Optional[str] = None) -> str:
    """A text as the fonts of this system can draw it.

    >>> readable("ship 1")
    'ship 1'

    instead: what to draw where no font has all its characters; by default each that is missing is drawn as its code,
    as `U+8239`, never as an empty box.
    """
    missing = missing_characters(text)
    if not missing:
        return text
    if instead is not None:
        return instead
    return "".join(f"[U+{ord(c):04X}]" if c in missing else c for c in text)


def missing_characters(text: str) -> FrozenSet[str]:
    """The characters of a text that no single font here has beside the others."""
    return _missing(_rare(text))


@lru_cache(maxsize=512)
def _missing(characters: FrozenSet[str]) -> FrozenSet[str]:
    return _lacks(_font(16, characters), characters)


def _rare(text: str) -> FrozenSet[str]:
    """The characters that a font may lack. Without the others, few texts are new to the cache of fonts."""
    return frozenset(c for c in text if not c.isascii() and not c.isspace())


@lru_cache(maxsize=512)
def _font(size: int, characters: FrozenSet[str]) -> Font:
    own = ImageFont.load_default(size)
    least, best = _lacks(own, characters) if characters else characters, own
    if least:
        for path in _system_fonts():
            try:
                font = ImageFont.truetype(path, size)
                lacking = _lacks(font, characters)
            except (OSError, ValueError):  # not a font that FreeType reads
                continue
            if len(lacking) < len(least):
                least, best = lacking, font
            if not least:
                break
    return best


def _lacks(font: Font, characters: FrozenSet[str]) -> FrozenSet[str]:
    """The characters that a font draws as it draws one that does not exist."""
    nothing = _drawn(font, _NOBODY_HAS)
    return frozenset(c for c in characters if _drawn(font, c) == nothing)


def _drawn(font: Font, character: str) -> Tuple[bytes, Tuple[int, int]]:
    mask = font.getmask(character)
    return bytes(mask), mask.size


@lru_cache(maxsize=1)
def _system_fonts() -> Tuple[str, ...]:
    """The font files of this system, those with many scripts first."""
    found: List[str] = []
    for folder in font_folders():
        for current, _, names in os.walk(folder):
            found += [
                os.path.join(current, name)
                for name in names
                if name.lower().endswith((".ttf", ".otf", ".ttc", ".pcf.gz"))
            ]

    def rank(path: str) -> Tuple[int, bool, str]:
        name = os.path.basename(path).lower().replace("-", "").replace("_", "").replace(" ", "")
        family = next((i for i, family in enumerate(_FAMILIES) if family in name), len(_FAMILIES))
        return family, any(cut in name for cut in _OTHER_CUTS), path

    return tuple(sorted(found, key=rank)[:_MOST_FONTS])


def font_folders() -> Iterator[Path]:
    """Where systems keep their fonts."""
    home = Path.home()
    if sys.platform == "win32":
        yield Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts"
        yield home / "AppData/Local/Microsoft/Windows/Fonts"
    elif sys.platform == "darwin":
        yield from (Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts")
    else:
        yield from (
            home / ".fonts",
            home / ".local/share/fonts",
            Path("/usr/local/share/fonts"),
            Path("/usr/share/fonts"),
        )

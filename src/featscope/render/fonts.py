"""Find a font that has the characters of a text. Fonts of the system are used if Pillow's own font lacks some."""

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
"""Parts of the names of fonts that cover many scripts, the best first. They are tried before all others."""

_OTHER_CUTS = ("bold", "italic", "oblique", "serif", "mono", "condensed", "light", "thin", "black", "medium")
"""Parts of the names of fonts that are not the regular style of their family."""

_MOST_FONTS = 400  # the most fonts to try
_NOBODY_HAS = "\U0010ffff"  # a character that no font has


def font_of(size: int, text: str = "") -> Font:
    """Return a font of this height in pixels. It has all characters of the text if a font on this system has them."""
    return _font(size, _rare(text))


def readable(text: str, instead: Optional[str] = None) -> str:
    """Return a text in a form that the fonts of this system can draw.

    >>> readable("ship 1")
    'ship 1'

    instead: the text to return if no font has all characters. By default, each missing character is replaced by its
    code, such as `[U+8239]`, so that it is never drawn as an empty box.
    """
    missing = missing_characters(text)
    if not missing:
        return text
    if instead is not None:
        return instead
    return "".join(f"[U+{ord(c):04X}]" if c in missing else c for c in text)


def baseline(font: Font, height: str) -> float:
    """Return how far below a point the baseline lies. height: the part of the line that is at the point: a, m or s.

    >>> baseline(font_of(20), "a") > baseline(font_of(20), "m") > baseline(font_of(20), "s")
    True
    """
    ascent, descent = font.getmetrics() if isinstance(font, ImageFont.FreeTypeFont) else (font.getbbox("A")[3], 0)
    return {"a": float(ascent), "m": (ascent - descent) / 2, "s": 0.0}[height]


def size_of(font: Font) -> float:
    """Return the height of a font in pixels."""
    return float(font.size) if isinstance(font, ImageFont.FreeTypeFont) else float(font.getbbox("A")[3])


def missing_characters(text: str) -> FrozenSet[str]:
    """Return the characters of a text that are missing from the font that has the most of them."""
    return _missing(_rare(text))


@lru_cache(maxsize=512)
def _missing(characters: FrozenSet[str]) -> FrozenSet[str]:
    return _lacks(_font(16, characters), characters)


def _rare(text: str) -> FrozenSet[str]:
    """Return the characters that a font may lack: all but ASCII and white space.

    Few texts have any, so the cache of fonts is hit nearly always.
    """
    return frozenset(c for c in text if not c.isascii() and not c.isspace())


@lru_cache(maxsize=512)
def _font(size: int, characters: FrozenSet[str]) -> Font:
    """Return Pillow's own font, or the first font of the system that lacks the fewest characters."""
    own = ImageFont.load_default(size)
    least, best = _lacks(own, characters) if characters else characters, own
    if least:
        for path in _system_fonts():
            try:
                font = ImageFont.truetype(path, size)
                lacking = _lacks(font, characters)
            except (OSError, ValueError):  # FreeType cannot read this font
                continue
            if len(lacking) < len(least):
                least, best = lacking, font
            if not least:
                break
    return best


def _lacks(font: Font, characters: FrozenSet[str]) -> FrozenSet[str]:
    """Return the characters that a font lacks: it draws them in the same way as a character that does not exist."""
    nothing = _drawn(font, _NOBODY_HAS)
    return frozenset(c for c in characters if _drawn(font, c) == nothing)


def _drawn(font: Font, character: str) -> Tuple[bytes, Tuple[int, int]]:
    mask = font.getmask(character)
    return bytes(mask), mask.size


@lru_cache(maxsize=1)
def _system_fonts() -> Tuple[str, ...]:
    """Return the font files of this system, those that cover many scripts first."""
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
    """Yield the folders where this system keeps its fonts."""
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

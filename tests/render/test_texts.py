"""Texts that fit."""

import pytest

from featscope.render.fonts import font_of
from featscope.render.texts import fitted, length, printable, widest, wrapped

FONT = font_of(12)
LONG = "bbox_head_refine.0.or_conv.of.a.very.long.name"


def test_a_text_that_fits_is_left_alone():
    assert fitted(LONG, FONT, 1000) == LONG
    assert wrapped("two  words", FONT, 1000) == ["two words"]
    assert wrapped("", FONT, 10) == []


@pytest.mark.parametrize("room", [60, 100, 200])
def test_a_text_that_does_not_fit_loses_its_middle(room):
    short = fitted(LONG, FONT, room)
    assert length(short, FONT) <= room
    assert short.startswith("bbo")
    assert short.endswith("ame")


def test_lines_fit():
    lines = wrapped(f"some words and {LONG}", FONT, 100)
    assert len(lines) > 1
    assert widest(lines, FONT) <= 100


def test_what_steers_has_no_width_of_its_own():
    assert printable("a\x1bb") == "a[U+001B]b"
    assert printable("a\u3000b") == "a\u3000b"
    assert length(fitted("\n" * 40, FONT, 100), FONT) <= 100
    assert wrapped("a\nb\x1b", FONT, 1000) == ["a b[U+001B]"]
    assert widest([], FONT) == 0

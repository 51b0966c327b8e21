"""Letters of other scripts: a font that has them, or a text that says which are missing; never boxes."""

import pytest

from featscope.render import fonts


@pytest.fixture
def no_fonts(monkeypatch):
    """A system without a font of its own."""
    monkeypatch.setattr(fonts, "font_folders", lambda: iter(()))
    fonts._system_fonts.cache_clear()
    fonts._font.cache_clear()
    yield
    fonts._system_fonts.cache_clear()
    fonts._font.cache_clear()


def test_latin_needs_no_other_font(no_fonts):
    assert fonts.missing_characters("ship: 0.83 · x_1/") == frozenset()


def test_what_no_font_has_is_named(no_fonts):
    assert fonts.missing_characters("船 1") == {"船"}
    assert fonts.readable("船 1") == "[U+8239] 1"
    assert fonts.readable("船", "class 3") == "class 3"


def test_a_font_of_the_system_is_used_where_it_has_the_characters():
    if fonts.missing_characters("船"):
        pytest.skip("no font of this system has Chinese characters: apt install fonts-noto-cjk")
    assert fonts.readable("船 1") == "船 1"
    mask = fonts.font_of(20, "船").getmask("船")
    assert bytes(mask) != bytes(fonts.font_of(20, "船").getmask("\U0010ffff"))

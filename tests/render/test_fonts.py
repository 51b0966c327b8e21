"""Letters of other scripts: a font that has them, or a text that says which are missing; never boxes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from featscope.records import Boxes
from featscope.render import boxes, caption, fonts


@pytest.fixture
def no_fonts(monkeypatch):
    """A system without a font of its own."""
    monkeypatch.setattr(fonts, "font_folders", lambda: iter(()))
    forget()
    yield
    forget()


def forget():
    for cache in (fonts._system_fonts, fonts._font, fonts._missing):
        cache.cache_clear()


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


SCRIPTS = {
    "Chinese": "船 泊位",
    "Japanese": "ふね カナ",
    "Korean": "배",
    "Arabic": "سفينة",
    "Cyrillic": "корабль",
    "Greek": "πλοίο",
}


def characters_drawn_as_nothing(text, font):
    """Those that a font draws as it draws a character that does not exist: boxes, in most fonts."""
    nothing = bytes(font.getmask("\U0010ffff"))
    return {c for c in text if not c.isspace() and bytes(font.getmask(c)) == nothing}


@pytest.fixture
def drawn(monkeypatch):
    """All texts that are drawn, with their fonts."""
    seen = []
    real = ImageDraw.ImageDraw.text

    def text(self, xy, text, *args, **options):
        font = options.get("font") or next(a for a in args if hasattr(a, "getmask"))
        seen.append((text, font))
        return real(self, xy, text, *args, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return seen


def draw_title_and_box(name):
    caption.under_title(np.zeros((40, 600, 3), np.uint8), caption.Caption(f"neck  ·  {name}", f"of {name}"))
    found = Boxes("xyxy", [[20, 60, 580, 300]], [0], [0.9])
    boxes.draw_boxes(Image.new("RGB", (600, 400)), found, [name])


@pytest.mark.parametrize("name", [*SCRIPTS.values(), " ".join(SCRIPTS.values())])
def test_no_script_is_drawn_as_boxes(name, drawn):
    draw_title_and_box(name)
    assert len(drawn) >= 3
    for text, font in drawn:
        assert not characters_drawn_as_nothing(text, font), text


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_script_is_drawn_as_boxes_without_fonts(script, no_fonts, drawn):
    name = SCRIPTS[script]
    draw_title_and_box(name)
    for text, font in drawn:
        assert not characters_drawn_as_nothing(text, font), text
    assert all("neck" in text or text.startswith(("of ", "class 0", name)) for text, _ in drawn)


def test_the_plain_cut_of_a_family_comes_first(monkeypatch, tmp_path):
    names = ["NotoSansCJK-Bold.ttc", "NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "other.ttf"]
    for name in names:
        (tmp_path / name).touch()
    monkeypatch.setattr(fonts, "font_folders", lambda: iter([tmp_path]))
    forget()
    found = [Path(path).name for path in fonts._system_fonts()]
    forget()
    assert found == [names[i] for i in (1, 0, 2, 3, 4)]

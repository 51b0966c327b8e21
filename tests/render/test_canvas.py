"""One description, two files: what is put on a canvas stands in the PNG and in the SVG, at the same place."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from featscope.render.canvas import HATCH, Canvas, Picture, Polygon, Rectangle, Text, hatch_colour, indented, stack
from featscope.render.fonts import font_of
from featscope.render.painter import paint, paint_grey
from featscope.render.svg import to_svg

SVG = "{http://www.w3.org/2000/svg}"
RED, BLUE = (200, 0, 0), (0, 0, 200)


def parsed(canvas, **about):
    return ElementTree.fromstring(to_svg(canvas, about))


def rectangles(root):
    """The boxes and colours of the rectangles of an SVG, without its ground."""
    found = []
    for one in root.iter(f"{SVG}rect"):
        left, top, width, height = (float(one.get(name)) for name in ("x", "y", "width", "height"))
        colour = tuple(int(one.get("fill")[place : place + 2], 16) for place in (1, 3, 5))
        found.append(((left, top, left + width, top + height), colour))
    return found[1:]


def texts(root):
    return ["".join(one.itertext()) for one in root.iter(f"{SVG}text")]


def agree(canvas):
    """Whether an SVG has the texts and the rectangles of a description, in its order."""
    root = parsed(canvas)
    boxes = [(tuple(map(float, one.box)), one.colour) for one in canvas.marks if isinstance(one, Rectangle)]
    assert rectangles(root) == [(pytest.approx(box, abs=0.011), colour) for box, colour in boxes]
    assert texts(root) == [one.text for one in canvas.marks if isinstance(one, Text)]
    for kind, name in ((Picture, "image"), (Polygon, "path")):
        hatched = sum(isinstance(one, Rectangle) and one.hatched for one in canvas.marks) if name == "path" else 0
        expected = sum(isinstance(one, kind) for one in canvas.marks)
        assert sum(1 for _ in root.iter(f"{SVG}{name}")) == expected + hatched
    return root


@pytest.fixture
def canvas():
    canvas = Canvas(100, 60)
    canvas.rectangle((10, 5, 30, 25), RED)
    canvas.rectangle((40.25, 5, 60.5, 25), BLUE, hatched=True)
    canvas.line((10, 30), (90, 30))
    canvas.polygon([(70, 5), (80, 5), (75, 15)], BLUE)
    canvas.picture((10, 40, 90, 50), np.array([[RED, BLUE]], np.uint8))
    canvas.text((50, 20), "neck 0", font_of(12), anchor="mm")
    canvas.text((95, 55), "upright", font_of(12), anchor="lm", upright=True)
    return canvas


def test_an_svg_has_the_marks_of_the_description(canvas):
    root = agree(canvas)
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("100", "60", "0 0 100 60")


def test_pixels_of_the_description(canvas):
    image = paint(canvas)
    assert image.shape == (60, 100, 3)
    assert (image[5:25, 10:30] == RED).all()
    assert (image[4, 10:30] == 255).all()
    assert (image[25, 10:30] == 255).all()
    assert (image[5:25, 9] == 255).all()
    assert (image[5:25, 30] == 255).all()
    assert (image[30, 10:91] == 212).all()  # both ends belong to a line
    assert (image[40:50, 10:49] == RED).all()
    assert (image[40:50, 51:90] == BLUE).all()
    assert (image[6, 72:79] == BLUE).all()
    assert (image[14, 77:] == 255).all()


def test_what_comes_later_lies_above():
    canvas = Canvas(10, 10)
    canvas.rectangle((0, 0, 10, 10), RED)
    canvas.rectangle((0, 0, 5, 10), BLUE)
    assert (paint(canvas)[:, :5] == BLUE).all()
    assert [colour for _, colour in rectangles(parsed(canvas))] == [RED, BLUE]


def covered(points, across, down):
    """Whether points lie in the union of closed polygons, each a convex one."""
    inside = np.zeros(len(across), bool)
    for corners in points:
        turned = [
            (x1 - x0) * (down - y0) - (y1 - y0) * (across - x0)
            for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1])
        ]
        inside |= np.all([one >= 0 for one in turned], 0) | np.all([one <= 0 for one in turned], 0)
    return inside


@pytest.mark.parametrize("box", [(0, 0, 51, 51), (3, 4, 21, 60), (2, 2, 40, 9), (0, 0, 3, 3)])
def test_both_hatchings_have_their_lines_at_the_same_places(box):
    canvas = Canvas(64, 64)
    canvas.rectangle(box, BLUE, hatched=True)
    (path,) = parsed(canvas).iter(f"{SVG}path")
    bands = [[tuple(map(float, at.split())) for at in band.split("L")] for band in path.get("d")[1:-1].split("ZM")]
    down, across = (one.ravel() for one in np.mgrid[:64, :64])
    lines = (paint(canvas)[down, across] == hatch_colour(BLUE)).all(-1)
    inside = (across >= box[0]) & (across < box[2]) & (down >= box[1]) & (down < box[3])
    # A pixel is one colour; the edge of a line cuts it. Where it starts, all of its corner belongs to the line.
    np.testing.assert_array_equal(covered(bands, across + 0.01, down + 0.01), lines & inside)
    assert lines.sum() == pytest.approx(inside.sum() * HATCH[1] / HATCH[0], rel=0.2)
    assert all(box[0] <= x <= box[2] and box[1] <= y <= box[3] for band in bands for x, y in band)


@pytest.mark.parametrize("anchor", ["la", "mm", "rs", "lm"])
@pytest.mark.parametrize("upright", [False, True])
def test_a_text_lies_where_its_anchor_says(anchor, upright):
    canvas, font = Canvas(200, 200), font_of(20)
    canvas.text((100, 100), "HHHHH", font, anchor=anchor, upright=upright)
    rows, columns = np.nonzero((paint(canvas) < 128).any(-1))
    if upright:  # seen with the head to the left
        rows, columns = columns, 200 - rows
    wide, high = columns.max() - columns.min(), rows.max() - rows.min()
    start = {"l": 100, "m": 100 - wide / 2, "r": 100 - wide}[anchor[0]]
    assert columns.min() == pytest.approx(start, abs=3)
    if anchor[1] == "s":
        assert rows.max() == pytest.approx(100, abs=1.5)
    elif anchor[1] == "m":
        assert (rows.min() + rows.max()) / 2 == pytest.approx(100, abs=3)
    else:
        assert 100 <= rows.min() < 100 + high / 2


@pytest.mark.parametrize("anchor", ["la", "mm", "rs"])
def test_the_baseline_of_an_svg_is_that_of_the_png(anchor):
    canvas = Canvas(200, 100)
    canvas.text((100, 50), "HHHHH", font_of(20), anchor=anchor)
    (text,) = parsed(canvas).iter(f"{SVG}text")
    rows, columns = np.nonzero((paint(canvas) < 128).any(-1))
    assert float(text.get("y")) == pytest.approx(rows.max() + 1, abs=1)
    assert float(text.get("textLength")) == pytest.approx(columns.max() - columns.min(), abs=5)
    assert text.get("text-anchor") == {"l": None, "m": "middle", "r": "end"}[anchor[0]]


NASTY = ["a < b & \"c\" > 'd'", "</text><script>alert(1)</script>", "]]>", "&amp;", "船 1", "<![CDATA["]


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_text_and_nothing_else(name):
    canvas = Canvas(100, 100)
    canvas.text((0, 0), name, font_of(12, name))
    root = parsed(canvas, title=name, words=name)
    assert texts(root) == [name]
    assert root.find(f"{SVG}title").text == name
    assert root.find(f"{SVG}desc").text == f"words: {name}"
    assert {one.tag for one in root.iter()} == {SVG + name for name in ("svg", "title", "desc", "rect", "text")}


@pytest.mark.parametrize("character", ["\0", "\x1b", "\n", "\x7f", "\x85", "\u202e", "\ufffe", "\udcff", "\u2028"])
def test_what_steers_is_written_as_its_code(character):
    canvas = Canvas(100, 100)
    canvas.text((0, 0), f"a{character}b", font_of(12))
    root = parsed(canvas, title=f"t{character}")
    assert texts(root) == [f"a[U+{ord(character):04X}]b"]
    assert root.find(f"{SVG}title").text == f"t[U+{ord(character):04X}]"
    assert paint(canvas).min() < 100


def test_letters_without_a_font_of_this_system_stay_letters_in_the_svg(monkeypatch):
    monkeypatch.setattr("featscope.render.fonts.font_folders", lambda: iter(()))
    from test_fonts import forget

    forget()
    canvas, spelled = Canvas(100, 20), Canvas(100, 20)
    canvas.text((0, 0), "船", font_of(12, "船"))
    spelled.text((0, 0), "[U+8239]", font_of(12))
    assert texts(parsed(canvas)) == ["船"]
    np.testing.assert_array_equal(paint(canvas), paint(spelled))
    forget()


def test_an_svg_refers_to_nothing_outside_and_has_no_names_of_its_own(canvas):
    """Ids would meet those of other drawings in one page."""
    text = to_svg(canvas, {"title": "t"}).decode()
    assert text.count("http") == 1  # the name space
    assert " id=" not in text
    assert "url(" not in text
    assert all(one.get("href").startswith("data:image/png;base64,") for one in parsed(canvas).iter(f"{SVG}image"))
    assert to_svg(canvas, {"title": "t"}).decode() == text


def test_pasted_marks_move(canvas):
    whole = stack([Canvas(50, 10), indented(canvas, 4, 110)])
    assert (whole.width, whole.height) == (110, 70)
    moved = paint(whole)
    np.testing.assert_array_equal(moved[10:, 4:104], paint(canvas))
    agree(whole)


def test_greys():
    canvas = Canvas(20, 20)
    canvas.rectangle((2, 2, 8, 8), (150, 150, 150))
    canvas.text((10, 10), "a", font_of(12))
    np.testing.assert_array_equal(paint_grey(canvas), paint(canvas)[..., 0])

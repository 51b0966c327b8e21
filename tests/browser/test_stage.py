"""The map on its image: how it is reduced and coloured, what its cells hold, and how it is moved."""

import re

import numpy as np
import pytest

from .screen import cell_centre, value_in

NECK = {"layer": "neck", "level": "0"}


@pytest.fixture
def screen(look, one):
    return look(one, **NECK)


def array_of(runs, layer="neck.fpn", level=0, batch=0):
    """A captured map (C, H, W), from its file."""
    return np.load(runs.a / layer / f"batch_{batch}_layer_{level}.npy")[0].astype(np.float32)


def changes(screen, act):
    """Whether the picture is another one after an action."""
    before = screen.pixels()
    act()
    screen.rest()
    after = screen.pixels()
    return before.shape != after.shape or bool((before != after).any())


# The map


@pytest.mark.parametrize(
    ("reduce", "numpy"),
    [
        ("mean", lambda a: a.mean(0)),
        ("absmean", lambda a: np.abs(a).mean(0)),
        ("max", lambda a: a.max(0)),
        ("l2", lambda a: np.sqrt((a**2).sum(0))),
        ("std", lambda a: a.std(0)),
    ],
)
def test_reductions(screen, one, runs, reduce, numpy):
    assert changes(screen, lambda: screen.choose("Reduction", reduce))
    screen.has(reduce=reduce)
    header, _ = one.ask("map", group=one.group("neck"), reduce=reduce)
    assert screen.text(".panel-how") == header["words"]
    expected = numpy(array_of(runs))
    for row, column in ((5, 9), (40, 60)):
        words = screen.point(*cell_centre(header["placement"], row, column))
        assert f"row {row}, column {column}" in words
        assert value_in(words) == pytest.approx(expected[row, column], rel=1e-3, abs=1e-4)


def test_a_channel_by_number(screen, one, runs):
    screen.choose("Reduction", "channel").has(reduce="channel:0")
    field = screen.page.get_by_label("Channel", exact=True)
    field.focus()
    screen.press("ArrowUp", "ArrowUp").has(reduce="channel:2")
    field.fill("17")
    screen.has(reduce="channel:17")
    header, _ = one.ask("map", group=one.group("neck"), reduce="channel:17")
    array = array_of(runs)
    random = np.random.default_rng(0)
    for row, column in random.integers((0, 0), (46, 64), (6, 2)):
        words = screen.point(*cell_centre(header["placement"], row, column))
        assert f"row {row}, column {column}" in words
        assert value_in(words) == pytest.approx(array[17, row, column], rel=1e-4)
    field.fill("4000")  # there are 48
    screen.has(reduce="channel:47")
    assert screen.page.get_by_text("of 48", exact=True).is_visible()


def test_keys_change_map_and_colours(screen):
    screen.press("r").has(reduce="contrast")
    assert changes(screen, lambda: screen.press("r"))
    screen.has(reduce="mean")
    assert changes(screen, lambda: screen.press("c"))
    screen.has(colormap="viridis")
    assert changes(screen, lambda: screen.press("g"))
    screen.has(range="map")
    screen.press("o").has(opacity=0.8)
    screen.press("Shift+O", "Shift+O").has(opacity=0.6)


def test_every_colour_map_can_be_chosen(screen, one):
    names = list(one.ask("about")["colormaps"])
    seen = set()
    for name in names:
        screen.choose("Colour map", name)
        seen.add(screen.pixels(".strip").tobytes())
    assert len(seen) == len(names)
    screen.has(colormap=names[-1])


# The ends of the colours


def ends(screen):
    """The two ends of the scale."""
    return [float(screen.text(f".panel-tick.is-{end}").replace("−", "-")) for end in ("low", "high")]


@pytest.fixture
def values(one):
    """What is drawn of the neck's first level, where it lies on the image."""
    header, values = one.ask("map", group=one.group("neck"), level=0, reduce="mean")
    top, bottom, left, right = header["inside"]
    return values[top:bottom, left:right].astype(float)


@pytest.fixture
def mean(look, one):
    return look(one, reduce="mean", **NECK)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("map", lambda v: (v.min(), v.max())),
        ("percentile", lambda v: np.percentile(v, (1, 99))),
        ("symmetric", lambda v: (-abs(v).max(), abs(v).max())),
    ],
)
def test_kinds_of_range(mean, values, kind, expected):
    mean.choose("Range", kind)
    assert ends(mean) == pytest.approx(list(expected(values)), rel=2e-3)


def test_the_numbers_of_a_range(mean, values):
    mean.choose("Range", "percentile")
    mean.page.get_by_label("Lower end of the range").fill("20")
    mean.page.get_by_label("Upper end of the range").fill("80")
    mean.press("Enter").has(range="percentile:20:80")
    assert ends(mean) == pytest.approx(list(np.percentile(values, (20, 80))), rel=2e-3)
    beyond = mean.find(".panel-marks li").all_inner_texts()
    assert [words.strip() for words in beyond[:2]] == ["20 % below the scale", "20 % above the scale"]
    mean.choose("Range", "fixed")
    mean.page.get_by_label("Lower end of the range").fill("-0.5")
    mean.page.get_by_label("Upper end of the range").fill("0.25")
    mean.press("Tab").has(range="-0.5:0.25")
    assert ends(mean) == [-0.5, 0.25]
    mean.page.get_by_label("Lower end of the range").fill("9")  # above the other end
    mean.press("Tab").has(range="-0.5:0.25")
    assert mean.page.get_by_label("Lower end of the range").get_attribute("aria-invalid") == "true"
    mean.choose("Range", "symmetric")
    mean.page.get_by_label("Upper end of the range").fill("90")
    mean.press("Tab").has(range="symmetric:90")
    assert ends(mean)[1] == pytest.approx(np.percentile(abs(values), 90), rel=2e-3)


# On the image


def test_opacity(screen):
    slider = screen.page.get_by_label("Opacity")
    slider.focus()
    assert changes(screen, lambda: screen.press("ArrowLeft", "ArrowLeft"))
    screen.has(opacity=0.6)
    screen.press("Home").has(opacity=0)
    photo = screen.pixels()
    # Nothing but the grey image; the first and the last row may be part of a pixel.
    assert np.quantile(np.ptp(photo[..., :3].astype(int), axis=2), 0.99) == 0
    area = slider.bounding_box()
    screen.page.mouse.click(area["x"] + area["width"] - 2, area["y"] + area["height"] / 2)
    screen.has(opacity=1)


def test_the_image_in_grey_in_colour_and_not_at_all(screen):
    photo = screen.page.get_by_role("radiogroup", name="Image")
    assert changes(screen, lambda: photo.get_by_label("Colour").click())
    screen.has(photo="colour")
    assert changes(screen, lambda: photo.get_by_label("None").click())
    screen.has(photo="none")
    assert not screen.page.get_by_label("Opacity").is_visible()
    shown = screen.pixels()[..., 3]
    assert set(np.unique(shown)) == {0, 255}  # the panel may be taller than the frame
    assert (shown[shown.shape[0] // 2] == 255).all()
    screen.press("ArrowLeft", "ArrowLeft").has(photo="grey")  # the radio button has the focus


def test_fading_and_smoothing(screen):
    for label in ("Fade low values", "Smooth between cells"):
        assert changes(screen, lambda label=label: screen.page.get_by_label(label).click())
    screen.has(fade=False, smooth=False)
    assert changes(screen, lambda: screen.press(" "))
    screen.has(smooth=True)


def test_cells_are_blocks_without_smoothing(look, one):
    screen = look(one, smooth=0, photo="none", reduce="mean", boxes="none", layer="neck", level=3)
    pixels = screen.pixels()
    column = pixels[:, pixels.shape[1] // 2]
    assert len(np.unique(column[column[:, 3] == 255], axis=0)) <= 6  # rows of the level


# What lies under the pointer


def test_the_cross_hair_by_keys(screen, one):
    screen.page.locator(".panel-map").focus()
    screen.press("ArrowRight", "ArrowDown")
    header, values = one.ask("map", group=one.group("neck"))
    words = screen.text(".status .hover")
    row, column = _cell(words)
    assert value_in(words) == pytest.approx(values[row, column], rel=1e-3, abs=1e-5)
    screen.press("ArrowLeft")
    assert _cell(screen.text(".status .hover")) == (row, column - 1)
    assert screen.text(".panel-said").startswith(f"Row {row}, column {column - 1}: ")
    assert screen.find(".panel-cell").is_visible()


def _cell(words):
    found = re.search(r"row (\d+), column (\d+)", words)
    return int(found[1]), int(found[2])


def test_the_read_out_ends_where_the_pointer_leaves(screen):
    assert "stride 8" in screen.point(300, 200)
    assert screen.find(".panel-across").is_visible()
    screen.page.mouse.move(5, 5)
    assert screen.text(".status .hover") == "Point at the map to read its values"
    assert not screen.find(".panel-across").is_visible()


# Moving


def shown_view(screen):
    return screen.module("state.js", "(state) => state.parse(location.hash).view")


def test_the_wheel_zooms_about_the_pointer_down_to_numbers(look, one):
    screen = look(one, boxes="none", reduce="channel:3", **NECK)
    header, values = one.ask("map", group=one.group("neck"), reduce="channel:3")
    assert not screen.pixels(".panel-over").any()
    x, y = cell_centre(header["placement"], 20, 30)
    screen.point(x, y)
    for _ in range(4):
        screen.page.mouse.wheel(0, -500)
        screen.rest()
    assert screen.pixels(".panel-over").any()  # the values are written into the cells
    words = screen.text(".status .hover")
    assert _cell(words) == (20, 30)  # it has stayed under the pointer
    assert value_in(words) == pytest.approx(values[20, 30], rel=1e-4)
    screen.page.wait_for_function("() => location.hash.includes('view=')")
    screen.page.dblclick(".panel-map")
    screen.has(view=None)


def test_keys_zoom_move_and_fit(screen):
    screen.page.locator(".panel-map").focus()
    assert changes(screen, lambda: screen.press("+", "+"))
    screen.page.wait_for_function("() => location.hash.includes('view=')")
    before = shown_view(screen)
    screen.press("-").rest()
    screen.page.wait_for_timeout(300)
    assert shown_view(screen)["scale"] < before["scale"]
    screen.press("0").has(view=None)
    screen.press("+", "f").has(view=None)


def test_dragging_moves_the_picture(screen):
    screen.page.locator(".panel-map").focus()
    screen.press("+", "+", "+")
    screen.page.wait_for_timeout(300)
    before = shown_view(screen)
    area = screen.page.locator(".panel-map").bounding_box()
    x, y = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
    screen.page.mouse.move(x, y)
    screen.page.mouse.down()
    screen.page.mouse.move(x - 60, y - 30, steps=4)
    screen.page.mouse.up()
    screen.rest().page.wait_for_timeout(300)
    after = shown_view(screen)
    assert (after["x"] - before["x"]) * after["scale"] == pytest.approx(60, abs=5)
    assert (after["y"] - before["y"]) * after["scale"] == pytest.approx(30, abs=5)
    assert after["scale"] == before["scale"]


def test_the_help_lists_the_keys(screen):
    screen.press("?")
    assert screen.page.get_by_role("dialog").is_visible()
    assert screen.find("dialog dl > div").count() >= 18
    screen.press("Escape")
    assert not screen.page.get_by_role("dialog").is_visible()
    screen.page.get_by_role("button", name="Keys").click()
    screen.page.get_by_role("dialog").get_by_role("button", name="Close").click()
    assert not screen.page.get_by_role("dialog").is_visible()


def test_the_columns_are_resized_and_stay_so(screen):
    divider = screen.find(".divider.width")
    before = int(divider.get_attribute("aria-valuenow"))
    divider.focus()
    screen.press("ArrowRight", "ArrowRight")
    assert int(divider.get_attribute("aria-valuenow")) == before + 32
    area = divider.bounding_box()
    screen.page.mouse.move(area["x"] + 2, 300)
    screen.page.mouse.down()
    screen.page.mouse.move(402, 300, steps=3)
    screen.page.mouse.up()
    assert abs(int(divider.get_attribute("aria-valuenow")) - 402) < 4
    screen.page.reload()
    screen.rest()
    assert abs(screen.find(".left").bounding_box()["width"] - 402) < 4

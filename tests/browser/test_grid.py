"""Many maps at once: all layers and levels of a sample, or one map of all samples."""

import re

import numpy as np
import pytest

from .screen import cell_centre, value_in

TILES = ".map-tile:not(.is-hole)"


@pytest.fixture
def screen(look, one):
    return look(one, mode="grid", height=1600)


def test_all_layers_and_levels_of_a_sample(screen, one):
    about = one.ask("about")["runs"][0]
    assert screen.find("[role=columnheader]").all_inner_texts() == [f"Level {level}" for level in range(5)]
    rows = screen.find("[role=rowheader]").all_inner_texts()
    names = [" · ".join(filter(None, [group["layer"], group["field"]])) for group in about["groups"]]
    assert rows == names[: len(rows)]
    assert len(rows) >= 5
    assert screen.find(".map-tile.is-hole").first.inner_text() == "No level 4"  # of the backbone
    shapes = screen.find(f"{TILES} .panel-title").all_inner_texts()
    assert shapes[:4] == ["24×96×128", "48×48×64", "80×24×32", "112×12×16"]
    assert (screen.pixels(f"{TILES} .panel-map", 2)[..., 3] == 255).mean() > 0.9


def test_a_click_opens_a_map(screen):
    screen.find(TILES).nth(2).locator(".panel-map").click(position={"x": 4, "y": 4})
    screen.has(mode="stage", level=2)
    assert screen.text(".panel-title") == "backbone · level 2"


def test_enter_opens_a_map(screen):
    screen.find(f"{TILES} .panel-map").nth(1).focus()
    screen.press("Enter").has(mode="stage", level=1)


def test_keys_choose_the_grid_and_move_in_it(look, one):
    screen = look(one)
    screen.press("2").has(mode="grid")
    screen.press("]").has(level=1)
    assert screen.find(".is-current .panel-title").inner_text() == "48×48×64"
    screen.press("j").has(sample="scene_15")
    assert "maps of scene_15" in screen.text(".mode-bar .facts")


def test_one_map_of_all_samples(screen, one):
    screen.open(mode="grid", layer="neck", level=1)
    screen.page.get_by_role("radiogroup", name="What the grid shows").get_by_label("Samples").click()
    screen.has(grid="samples")
    assert screen.find(f"{TILES} .panel-title").all_inner_texts() == one.ask("samples")["ids"]
    screen.find(".samples .search").fill("scene_1")
    screen.rest()
    assert screen.find(f"{TILES} .panel-title").all_inner_texts() == ["scene_15"]
    screen.find(".samples .search").fill("")
    screen.rest()
    screen.find(f"{TILES} .panel-map").nth(3).click(position={"x": 3, "y": 3})
    screen.has(mode="stage", sample="scene_7", layer="neck", level=1)


def test_the_cross_hair_is_in_all_tiles(screen, one):
    header, values = one.ask("map", group=0, level=1)
    words = screen.point(*cell_centre(header["placement"], 20, 30), nth=1)
    assert "row 20, column 30" in words
    assert value_in(words) == pytest.approx(values[20, 30], rel=1e-3)
    lines = screen.page.eval_on_selector_all(f"{TILES} .panel-across", "lines => lines.map(line => line.hidden)")
    assert len(lines) > 10
    assert not any(lines[:10])
    # It is at the same place of the picture in each.
    tall = screen.page.eval_on_selector_all(
        f"{TILES} .panel-stage",
        "all => all.slice(0, 4).map(one => { const a = one.getBoundingClientRect(), b = one.querySelector('.panel-across').getBoundingClientRect(); return (b.top - a.top) / a.height; })",
    )
    assert np.ptp(tall) < 0.02
    screen.page.mouse.move(5, 5)
    assert all(screen.page.eval_on_selector_all(f"{TILES} .panel-across", "lines => lines.map(line => line.hidden)"))


def test_all_tiles_zoom_and_move_together(screen):
    screen.point(320, 200, nth=0)
    screen.page.keyboard.down("Control")
    for _ in range(3):
        screen.page.mouse.wheel(0, -60)
    screen.page.keyboard.up("Control")
    screen.rest()
    views = screen.page.eval_on_selector_all(
        f"{TILES}", "tiles => tiles.map(tile => tile.classList.contains('is-zoomed'))"
    )
    assert len(views) > 10
    assert all(views)
    screen.page.wait_for_function("() => location.hash.includes('view=')")
    screen.press("f").has(view=None)
    assert not any(
        screen.page.eval_on_selector_all(TILES, "tiles => tiles.map(tile => tile.classList.contains('is-zoomed'))")
    )


def test_one_scale_for_all_maps(screen):
    screen.open(mode="grid", grid="samples", layer="neck", reduce="l2")

    def scales():
        lows, highs = (screen.find(f"{TILES} .panel-tick.is-{end}").all_inner_texts() for end in ("low", "high"))
        return list(zip(lows, highs))

    assert len(set(scales())) == 4
    screen.page.get_by_label("One scale for all maps").click()
    screen.has(shared=True)
    assert len(set(scales())) == 1
    assert screen.find(f"{TILES} .panel-link").first.is_visible()
    screen.press("s").has(shared=False)
    assert len(set(scales())) == 4


def test_the_size_of_the_tiles(screen):
    before = screen.find(TILES).first.bounding_box()["width"]
    slider = screen.page.get_by_role("slider", name="Size of the tiles")
    slider.focus()
    screen.press(*["ArrowRight"] * 5)
    assert screen.find(TILES).first.bounding_box()["width"] == pytest.approx(before + 50, abs=14)
    screen.page.wait_for_function("() => /tile=\\d+/.test(location.hash)")
    assert re.search(r"tile=(\d+)", screen.page.url)

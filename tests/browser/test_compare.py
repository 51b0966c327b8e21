"""Two runs of the same images."""

import re

import numpy as np
import pytest

from .screen import cell_centre

NECK = {"mode": "compare", "layer": "neck", "level": 1}


@pytest.fixture
def screen(look, two):
    return look(two, width=1600, **NECK)


@pytest.fixture
def pair(two):
    """The two maps that are compared: the header of one, and the values of both."""

    def ask(reduce="auto", sample=0):
        header, a = two.ask("map", run=0, sample=sample, group=two.group("neck"), level=1, reduce=reduce)
        _, b = two.ask("map", run=1, sample=sample, group=two.group("neck", run=1), level=1, reduce=reduce)
        return header, a, b

    return ask


def way(screen, name):
    screen.page.get_by_role("radiogroup", name="How the two runs are shown").get_by_label(name).click()
    return screen.rest()


def shown(screen):
    """The badges of the panels on the page."""
    return [text for text in screen.find(".pair-one .panel-badge:visible").all_inner_texts() if text]


def test_side_by_side_with_one_scale(screen):
    assert shown(screen) == ["A", "B"]
    assert screen.find(".pair-one .panel-title").all_inner_texts()[:2] == ["neck · level 1"] * 2
    ticks = screen.find(".pair-one .panel-tick.is-high").all_inner_texts()
    assert ticks[0] == ticks[1]
    assert screen.pixels(".panel-map", 0).tobytes() != screen.pixels(".panel-map", 1).tobytes()
    screen.page.get_by_label("One scale for all maps").click()
    screen.has(apart=True)
    ticks = screen.find(".pair-one .panel-tick.is-high").all_inner_texts()
    assert ticks[0] != ticks[1]


def test_both_values_are_read_out(screen, pair):
    header, a, b = pair()
    for nth in (0, 1):
        words = screen.point(*cell_centre(header["placement"], 9, 20), nth=nth)
        found = re.search(r"A (\S+)\s+·\s+B (\S+)\s+·\s+B − A (\S+)", words)
        values = [float(text.replace("−", "-")) for text in found.groups()]
        assert values == pytest.approx([a[9, 20], b[9, 20], b[9, 20] - a[9, 20]], rel=1e-2, abs=1e-3)
    assert screen.find(".pair-one .panel-across").nth(0).is_visible()
    assert screen.find(".pair-one .panel-across").nth(1).is_visible()


def test_both_sides_zoom_together(screen):
    screen.page.locator(".pair-one .panel-map").nth(1).focus()
    screen.press("+", "+")
    zoomed = screen.page.eval_on_selector_all(".pair-one", "all => all.map(one => one.classList.contains('is-zoomed'))")
    assert zoomed[:2] == [True, True]
    screen.press("0").has(view=None)


def test_swipe_by_mouse_and_keys(screen):
    way(screen, "Swipe").has(compare="swipe")
    divider = screen.page.get_by_role("slider", name="Divider between A and B")
    assert divider.get_attribute("aria-valuenow") == "50"
    stage = screen.find(".panel-stage").first.bounding_box()
    area = divider.bounding_box()
    x, y = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
    screen.page.mouse.move(x, y)
    screen.page.mouse.down()
    screen.page.mouse.move(stage["x"] + stage["width"] * 0.25, y, steps=4)
    screen.page.mouse.up()
    screen.rest()
    assert abs(int(divider.get_attribute("aria-valuenow")) - 25) <= 1
    divider.focus()
    screen.press("ArrowRight", "ArrowRight")
    assert abs(int(divider.get_attribute("aria-valuenow")) - 29) <= 1
    screen.press("Home").has(swipe=0)
    screen.press("End").has(swipe=1)
    assert (
        screen.page.locator(".panel-stage").nth(1).evaluate("stage => stage.style.clipPath")
        == "inset(0px 0px 0px 100%)"
    )


def test_blink_by_key_and_by_button(screen):
    screen.press("x").has(compare="blink")
    behind = screen.page.eval_on_selector_all(
        ".pair-one", "all => all.slice(0, 2).map(one => one.classList.contains('behind'))"
    )
    assert sorted(behind) == [False, True]
    screen.page.get_by_title("Show the other one (x)").click()
    screen.rest()
    after = screen.page.eval_on_selector_all(
        ".pair-one", "all => all.slice(0, 2).map(one => one.classList.contains('behind'))"
    )
    assert after == behind[::-1]


@pytest.mark.parametrize("reduce", ["auto", "mean", "channel:7"])
def test_the_difference_is_b_minus_a(screen, pair, reduce):
    screen.open(**NECK, compare="difference", reduce=reduce)
    assert shown(screen) == ["B − A"]
    header, a, b = pair(reduce)
    values = screen.module("compare.js", "(m) => [...m.compare.panels[2].shown.map.values]")
    np.testing.assert_allclose(np.array(values, np.float32).reshape(a.shape), b - a, rtol=1e-6)
    words = screen.point(*cell_centre(header["placement"], 4, 6), nth=2)
    value = float(re.search(r"B − A (\S+)", words)[1].replace("−", "-"))
    assert value == pytest.approx(b[4, 6] - a[4, 6], rel=1e-3, abs=1e-4)
    low, high = (
        float(screen.find(f".pair-one:nth-child(3) .panel-tick.is-{end}").inner_text().replace("−", "-"))
        for end in ("low", "high")
    )
    assert low == -high


def test_what_only_one_run_has(screen):
    button = screen.page.get_by_title("Which samples the runs have")
    assert button.inner_text() == "3 in both · 1 only in A · 1 only in B"
    button.click()
    which = screen.page.get_by_role("radiogroup", name="Which samples the runs have")
    names = screen.find(".names-one")
    assert names.all_inner_texts() == ["scene_3", "scene_15", "scene_22"]
    which.get_by_label("1 only in A").click()
    screen.rest()
    assert names.all_inner_texts() == ["scene_7"]
    names.first.click()
    screen.has(sample="scene_7")
    assert "Run B has no sample scene_7." in screen.find(".pair-one").nth(1).inner_text()
    which.get_by_label("1 only in A").focus()
    screen.press("ArrowRight")
    assert names.all_inner_texts() == ["scene_9"]
    names.first.focus()
    screen.press("Enter").has(mode="stage", run=1, sample="scene_9")


def test_a_layer_that_only_one_run_has(look, two):
    screen = look(two, mode="compare", layer="bbox_head_init", field="cls_scores")
    assert "Only run A has bbox_head_init · cls_scores · level 0." in screen.find(".pair-one").nth(1).inner_text()
    way(screen, "Difference")
    assert screen.find(".mode > .notice").is_visible()  # it says why there is none
    assert shown(screen) == ["A", "B"]


def test_the_runs_are_exchanged(screen):
    screen.page.get_by_role("button", name="Swap A and B").click()
    screen.has(run=1, against=0)
    assert screen.page.get_by_label("Run A").input_value() == "1"
    screen.page.get_by_label("Run A").select_option("0")
    screen.has(run=0, against=1)
    screen.press("j").has(sample="scene_15")


def test_one_run_says_how_to_compare(look, one):
    screen = look(one)
    screen.press("4").has(mode="compare")
    assert screen.text(".calm code").startswith("featscope view ")
    assert screen.text(".calm code").endswith(" RUN_B")


def test_the_inspector_is_about_the_difference(screen):
    assert screen.page.get_by_label("Colour map").locator("option").first.inner_text() == "Auto (turbo)"
    way(screen, "Difference")
    assert "RdBu_r" in screen.page.get_by_label("Colour map").locator("option").first.inner_text()
    assert screen.page.get_by_label("Range").locator("option").first.inner_text() == "Auto (± 99 %)"
    way(screen, "Side by side")
    assert screen.page.get_by_label("Colour map").locator("option").first.inner_text() == "Auto (turbo)"

"""A page as narrow as a phone."""

import pytest

from .test_access import STATES

PANES = ("samples", "map", "layers", "settings")


@pytest.fixture
def screen(look, two):
    return look(two, width=390, height=844)


def too_wide(screen):
    """What sticks out of the page; the table of the grid scrolls by itself."""
    return screen.page.evaluate(
        """() => [document.documentElement.scrollWidth > innerWidth, ...[...document.querySelectorAll('button, select, input, h1, h2, p, canvas')].filter((element) => {
          if (!element.checkVisibility() || element.closest('.best-list, .grid-box, .unseen, .skip')) return false;
          const { left, right, width } = element.getBoundingClientRect();
          return width > 0 && (right > innerWidth + 1 || left < -1);
        }).map((element) => element.className || element.textContent)].filter(Boolean)"""
    )


def pane(screen, name):
    screen.find(f".panes [data-pane={name}]").click()
    return screen.rest()


def test_each_part_of_the_page_by_its_tab(screen):
    for name in PANES:
        pane(screen, name)
        assert screen.find(f".panes [data-pane={name}]").get_attribute("aria-pressed") == "true"
        assert too_wide(screen) == []
        visible = [
            part
            for part, place in zip(PANES, (".samples", ".centre", ".layers", ".inspector"))
            if screen.find(place).is_visible()
        ]
        assert visible == [name]


@pytest.mark.parametrize("state", STATES)
def test_nothing_sticks_out_in_any_mode(screen, state):
    screen.open(**STATES[state])
    assert too_wide(screen) == []


def test_a_sample_and_a_layer_are_chosen(screen):
    pane(screen, "samples")
    screen.find("#samples [role=option]", has_text="scene_22").click()
    screen.has(sample="scene_22")
    assert screen.find(".panel-map").is_visible()  # the page turns to the map
    pane(screen, "layers")
    screen.find(".tree-line", has_text="level 2").first.click()
    screen.has(level=2)
    assert screen.find(".panel-map").is_visible()
    pane(screen, "settings")
    screen.choose("Colour map", "viridis").has(colormap="viridis")
    pane(screen, "map")
    assert (screen.pixels()[..., 3] == 255).any()


def test_targets_are_large_enough_for_a_finger(screen):
    small = screen.page.evaluate(
        """() => [...document.querySelectorAll('button, select')].filter((element) => element.checkVisibility()).map((element) => {
          const { width, height } = element.getBoundingClientRect();
          return [element.textContent.slice(0, 20), Math.round(width), Math.round(height)];
        }).filter(([, width, height]) => width < 24 || height < 24)"""
    )
    assert small == []


def test_the_keys_fit(screen):
    screen.press("?")
    area = screen.page.get_by_role("dialog").bounding_box()
    assert area["x"] >= 0
    assert area["x"] + area["width"] <= 390
    assert area["height"] <= 844

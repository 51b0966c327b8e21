"""What leaves the page: its address, the command, and the picture."""

import io
import shlex

import numpy as np
import pytest
from PIL import Image

from .screen import featscope

LOOK = {
    "sample": "scene_15",
    "layer": "neck",
    "level": 1,
    "reduce": "l2",
    "range": "percentile:2:98",
    "colormap": "viridis",
}


def clipboard(screen):
    return screen.page.evaluate("navigator.clipboard.readText()")


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture
def screen(look, one):
    return look(one)


def test_the_address_follows_the_page(screen):
    assert screen.page.evaluate("location.hash") in ("", "#")
    screen.press("j", "]").has(sample="scene_15", level=1)
    screen.choose("Reduction", "max").has(reduce="max")
    address = screen.page.url
    screen.open()
    screen.page.goto(address)
    screen.page.reload()
    screen.rest()
    assert screen.page.title().startswith("scene_15 · backbone · level 1")
    assert screen.page.get_by_label("Reduction").input_value() == "max"


def test_back_and_forward(screen):
    screen.press("j").has(sample="scene_15")
    screen.page.wait_for_timeout(450)  # quicker steps become one
    screen.press("2").has(mode="grid")
    screen.page.wait_for_timeout(450)
    screen.press("c").has(colormap="viridis")  # no step of its own
    screen.page.go_back()
    screen.has(mode="stage", sample="scene_15")
    screen.page.go_back()
    screen.has(mode="stage", sample="")
    assert screen.page.title().startswith("scene_3")
    screen.page.go_forward()
    screen.has(sample="scene_15", mode="stage")
    screen.page.go_forward()
    screen.has(sample="scene_15", mode="grid", colormap="viridis")


def test_an_address_that_is_edited_by_hand(screen):
    screen.page.evaluate("location.hash = '#v=1&sample=scene_22&mode=channels&layer=neck'")
    screen.has(sample="scene_22", mode="channels")
    screen.rest()
    assert screen.text(".tile-head h2") == "neck · level 0"


def test_the_link_is_copied_by_mouse_and_key(screen):
    screen.press("j").has(sample="scene_15")
    screen.page.get_by_role("button", name="Copy link").click()
    screen.rest()
    assert clipboard(screen) == screen.page.url
    assert screen.text(".said") == "Link copied"
    screen.press("]", "l")
    assert clipboard(screen).endswith("sample=scene_15&layer=backbone&level=1")


@pytest.mark.parametrize(
    "state",
    [LOOK, {**LOOK, "boxes": "none", "smooth": 0, "opacity": 0.4}, {"layer": "bbox_head_init", "field": "bbox_preds", "reduce": "channel:3", "score": 0.6}],
    ids=["look", "cells", "channel"],
)  # fmt: skip
def test_the_command_draws_the_picture_that_is_saved(look, one, tmp_path, state):
    screen = look(one, **state)
    screen.page.get_by_role("button", name="Copy command").click()
    screen.rest()
    words = shlex.split(clipboard(screen))
    assert words[:2] == ["featscope", "heat"]
    said = " ".join(words)
    for name, option in (("reduce", "-r"), ("range", "--range"), ("colormap", "--colormap")):
        assert (f"{option} {state[name]}" in said) if name in state else option not in words
    assert ("--alpha" in said) == ("opacity" in state)
    assert f"--alpha {state.get('opacity')}" in said or "opacity" not in state
    assert ("--no-smooth" in words) == (state.get("smooth") == 0)
    assert ("--boxes" in words) == ("--truth" in words) == (state.get("boxes") != "none")
    featscope(*words[1:], "-o", tmp_path / "heat")
    drawn = sorted((tmp_path / "heat").rglob("*.png"), key=lambda path: len(path.name))
    assert len(drawn) == 2
    with screen.page.expect_download() as coming:
        screen.page.get_by_role("button", name="Save picture").click()
    saved = coming.value.path().read_bytes()
    np.testing.assert_array_equal(pixels(saved), pixels(drawn[-1].read_bytes()))  # that over the image
    name = f"{state.get('sample', 'scene_3')}_{'_'.join(filter(None, [state['layer'], state.get('field')]))}"
    assert coming.value.suggested_filename == f"{name}_level{state.get('level', 0)}.png"


def test_the_picture_is_saved_by_key(screen, one):
    with screen.page.expect_download() as coming:
        screen.page.keyboard.press("p")
    saved = coming.value.path().read_bytes()
    assert saved == one.ask("picture", boxes=1, truth=1, min_score=0.3)
    assert screen.text(".said") == "Saved as scene_3_backbone_level0.png"

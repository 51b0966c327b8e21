"""All channels of a map."""

import re

import numpy as np
import pytest

NECK = {"mode": "channels", "layer": "neck", "level": 1}


@pytest.fixture
def screen(look, one):
    return look(one, **NECK)


def first(screen):
    """The words about the chosen channel, after going to the first in the order."""
    screen.find(".tiles").focus()
    screen.press("Home")
    return screen.text(".tile-about")


def test_the_head_says_what_is_shown(screen):
    assert screen.text(".tile-head h2") == "neck · level 1"
    assert screen.text(".tile-head .facts").startswith("48 channels · 24 × 32 cells")
    assert (screen.pixels(".tiles canvas")[..., 3] == 255).mean() > 0.3


@pytest.mark.parametrize("order", ["number", "energy", "sparsity", "contrast"])
def test_orders(screen, one, order):
    screen.choose("Order", order)
    ranks = one.ask("ranks", group=one.group("neck"), level=1, order=order)
    words = first(screen)
    assert words.startswith(f"Channel {ranks['channels'][0]} ")
    if order != "number":
        screen.has(order=order)
        value = float(re.search(r"(?:Energy|Sparsity|Contrast) (\S+)", words)[1])
        assert value == pytest.approx(ranks["values"][0], rel=2e-2)
    screen.press("ArrowRight")
    assert screen.text(".tile-about").startswith(f"Channel {ranks['channels'][1]} ")
    screen.press("End")
    assert screen.text(".tile-about").startswith(f"Channel {ranks['channels'][-1]} ")


def test_order_by_similarity_by_key_and_by_button(screen, one):
    screen.find(".tiles").focus()
    screen.press("Home", "ArrowRight", "ArrowRight", "s").has(order="similarity:2")
    ranks = one.ask("ranks", group=one.group("neck"), level=1, order="similarity:2")
    assert ranks["channels"][0] == 2
    assert first(screen).startswith("Channel 2 ")
    screen.press("ArrowRight")
    assert screen.text(".tile-about").startswith(f"Channel {ranks['channels'][1]} ")
    screen.page.get_by_role("button", name="Order by similarity to this channel").click()
    screen.has(order=f"similarity:{ranks['channels'][1]}")


def test_a_click_opens_the_channel_under_it(screen):
    area = screen.find(".tiles").bounding_box()
    screen.page.mouse.move(area["x"] + 20, area["y"] + 44)
    words = screen.text(".tile-about")
    number = int(re.match(r"Channel (\d+)", words)[1])
    assert "value" in screen.text(".status .hover")
    screen.page.mouse.click(area["x"] + 20, area["y"] + 44)
    screen.has(mode="stage", reduce=f"channel:{number}")
    assert f"channel {number}" in screen.text(".panel-how").lower()


def test_enter_opens_a_channel_and_back_returns(screen):
    screen.find(".tiles").focus()
    screen.press("Home", "ArrowRight", "Enter").has(mode="stage", reduce="channel:1")
    screen.page.go_back()
    screen.has(mode="channels")


def test_the_tiles_show_their_channels(screen, one, runs):
    """The value under the pointer is the peak of a block of the array."""
    array = np.load(runs.a / "neck.fpn" / "batch_0_layer_1.npy")[0].astype(float)
    area = screen.find(".tiles").bounding_box()
    seen = set()
    for x in range(20, int(area["width"]) - 20, 90):
        screen.page.mouse.move(area["x"] + x, area["y"] + 44)
        words = screen.text(".status .hover")
        found = re.search(r"value (\S+)\s+·\s+row (\d+), column (\d+)", words)
        if not found:
            continue
        number = int(re.match(r"Channel (\d+)", screen.text(".tile-about"))[1])
        value, row, column = float(found[1].replace("−", "-")), int(found[2]), int(found[3])
        step = (array[number].max() - array[number].min()) / 253
        assert value == pytest.approx(array[number, row, column], abs=step)  # 24 x 32 cells fit, so a block is a cell
        seen.add(number)
    assert len(seen) > 3


def test_best_images(screen, one):
    screen.find(".tiles").focus()
    screen.press("Home", "ArrowRight", "ArrowRight", "ArrowRight", "b")
    assert screen.text(".best h3") == "Images that excite channel 3 most"
    best = one.ask("best", group=one.group("neck"), level=1, channel=3)
    ids = one.ask("samples")["ids"]
    buttons = screen.find(".best-list button")
    assert [words.split("\n")[0] for words in buttons.all_inner_texts()] == [ids[i] for i in best["samples"]]
    assert (screen.pixels(".best-list canvas")[..., 3] == 255).mean() > 0.9
    buttons.nth(1).click()
    screen.has(sample=ids[best["samples"][1]])
    buttons.nth(0).focus()
    screen.press("Escape")
    assert not screen.find(".best").is_visible()
    screen.find(".tiles").hover()
    screen.page.get_by_role("button", name="Best images of this channel").click()
    screen.rest()
    assert screen.find(".best").is_visible()


def test_peak_and_mean(screen):
    screen.open(mode="channels", layer="backbone", level=0, size=32)
    assert "shown by its peak" in screen.text(".tile-head .facts")
    peak = screen.pixels(".tiles canvas")
    screen.page.get_by_role("radiogroup", name="Blocks of cells").get_by_label("Mean").click()
    screen.has(by="mean")
    assert "shown by its mean" in screen.text(".tile-head .facts")
    assert (screen.pixels(".tiles canvas") != peak).any()
    screen.press("ArrowLeft").has(by="peak")


def test_scale_and_size(screen):
    own = screen.pixels(".tiles canvas")
    screen.page.get_by_role("radiogroup", name="Colour scale").get_by_label("One scale").click()
    screen.has(shared=True)
    assert (screen.pixels(".tiles canvas") != own).any()
    screen.find(".tiles").focus()
    screen.press("+", "+").has(size=150)
    screen.press("-").has(size=120)
    slider = screen.page.get_by_role("slider", name="Tile size")
    slider.focus()
    screen.press("Home").has(size=24)


def test_keys_choose_the_mode(look, one):
    screen = look(one, layer="neck")
    screen.press("3").has(mode="channels")
    screen.press("]").has(level=1)
    assert screen.text(".tile-head h2") == "neck · level 1"
    screen.press("j").has(sample="scene_15")

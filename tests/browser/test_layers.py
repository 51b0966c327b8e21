"""The tree of layers and levels."""

import numpy as np
import pytest

from .conftest import photo_of, write_run


@pytest.fixture
def screen(look, one):
    return look(one)


def seen(screen):
    """The names in the tree from top to bottom."""
    return screen.page.eval_on_selector_all(
        "[role=treeitem] > .tree-line .name", "names => names.map(name => name.textContent)"
    )


def item(screen, text):
    return screen.find("[role=treeitem] > .tree-line", has_text=text)


def test_the_tree_names_layers_fields_and_levels(screen):
    assert seen(screen)[:5] == ["backbone", "level 0", "level 1", "level 2", "level 3"]
    assert {"bbox_head_init", "bbox_head_refine.0", "neck"} <= set(seen(screen))
    assert item(screen, "level 0").first.locator(".shape").inner_text() == "24×96×128"
    assert item(screen, "level 0").first.locator(".stride").inner_text() == "/4"


def test_a_click_opens_a_level(screen):
    item(screen, "level 2").first.click()
    screen.has(level=2)
    assert screen.text(".panel-title") == "backbone · level 2"
    assert screen.find("[role=treeitem][aria-selected=true]").inner_text().startswith("level 2")


def test_a_layer_is_opened_and_closed_by_click_and_by_keys(screen):
    before = seen(screen)
    item(screen, "backbone").click()
    closed = seen(screen)
    assert len(closed) == len(before) - 4
    assert screen.find(".holds").inner_text().startswith("backbone")  # it can be seen where the map is
    screen.find("[role=tree]").focus()
    screen.press("Home", "ArrowRight")
    assert seen(screen) == before
    screen.press("ArrowLeft")
    assert seen(screen) == closed


def test_keys_walk_through_the_tree(screen):
    screen.find("[role=tree]").focus()
    screen.press("Home", "ArrowDown", "ArrowDown")
    active = screen.find("[role=tree]").get_attribute("aria-activedescendant")
    assert screen.text(f"#{active}").startswith("level 1")
    screen.press("Enter").has(level=1)
    screen.press("ArrowLeft")
    active = screen.find("[role=tree]").get_attribute("aria-activedescendant")
    assert screen.text(f"#{active}").startswith("backbone")
    screen.press("End", " ")
    assert len(seen(screen)) > 5


def test_keys_step_through_levels_and_layers(screen):
    screen.press("]").has(level=1)
    screen.press("]", "[").has(level=1)
    screen.press(".").has(layer="bbox_head_init", field="bbox_preds", level=1)
    screen.press(".").has(layer="bbox_head_init", field="cls_scores", level=1)
    screen.press(",").has(layer="bbox_head_init", field="bbox_preds")
    assert screen.find("[role=treeitem][aria-selected=true]").inner_text().startswith("level 1")


def test_many_layers_are_searched(look, serve, by_hand):
    screen = look(serve(by_hand))
    assert len([name for name in seen(screen) if name.startswith("block")]) == 14
    screen.find(".layers .search").fill("block1")
    assert [name for name in seen(screen) if name.startswith("block")] == [
        "block1",
        *(f"block{i}" for i in range(10, 14)),
    ]
    item(screen, "block12").click()
    item(screen, "level 1").last.click()
    screen.has(layer="block12", level=1)
    assert "this folder has no manifest" in screen.text(".notice")
    assert screen.find("[role=treeitem][aria-selected=true] .mark").get_attribute("title") == (
        "The place of this map on the image is assumed, not proved."
    )


def test_layers_without_maps_are_named_with_the_reason(look, serve, tmp_path):
    rng = np.random.default_rng(0)
    maps = {"neck": [rng.random((3, 8, 8), np.float32)]}
    photo = (photo_of(tmp_path, "photo"), np.zeros((40, 60, 3), np.uint8))
    writer = write_run(tmp_path / "run", maps, [photo])
    writer.left_out["head.act"] = "it gives no tensor"
    writer.close()
    screen = look(serve(tmp_path / "run"))
    screen.page.get_by_text("1 without maps").click()
    assert screen.find(".left-out li").inner_text().split("\n") == ["head.act", "it gives no tensor"]

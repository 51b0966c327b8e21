"""Boxes, their labels and their sources, and explanations."""

import re
import shutil

import numpy as np
import pytest

from .screen import cell_centre

STORED = "box_0_ship_layercam_neck_level_1"

# Where labels are drawn; a picture begins by clearing the canvas.
LABELS = """
const round = CanvasRenderingContext2D.prototype.roundRect, clear = CanvasRenderingContext2D.prototype.clearRect;
window.labels = [];
CanvasRenderingContext2D.prototype.clearRect = function (...all) {
  if (this.canvas.className === 'panel-over') window.labels = [];
  return clear.apply(this, all);
};
CanvasRenderingContext2D.prototype.roundRect = function (...all) {
  if (this.canvas.className === 'panel-over') window.labels.push(all.slice(0, 4));
  return round.apply(this, all);
};
"""


@pytest.fixture
def screen(look, one):
    return look(one, layer="neck", level=1, photo="none", opacity=0)


@pytest.fixture
def sample(one):
    return one.ask("sample")


def middle(box):
    return float(np.mean(box["polygon"][0::2])), float(np.mean(box["polygon"][1::2]))


def drawn(screen):
    return int((screen.pixels(".panel-over")[..., 3] > 0).sum())


def test_the_threshold(screen, sample):
    assert screen.text(".inspector .hint") == "17 of 17 detections"
    slider = screen.page.get_by_role("slider", name="Score at least")
    slider.focus()
    before = drawn(screen)
    screen.press(*["ArrowRight"] * 50).has(score=0.8)
    many = sum(box["score"] >= 0.8 for box in sample["detections"])
    assert screen.text(".inspector .hint") == f"{many} of 17 detections"
    assert screen.find(".box-row").count() == many
    assert drawn(screen) < before
    area = slider.bounding_box()
    screen.page.mouse.click(area["x"] + area["width"] - 1, area["y"] + area["height"] / 2)
    screen.has(score=1)
    assert screen.text(".inspector .hint") == "0 of 17 detections"


def test_which_boxes(screen, sample):
    counts = []
    for wanted in ("detections", "truth", "none"):
        screen.press("b").has(boxes=wanted)
        counts.append(drawn(screen))
    assert counts[2] == 0 < min(counts[:2])
    screen.page.get_by_role("radiogroup", name="Boxes").get_by_label("Truth").click()
    screen.has(boxes="truth")
    assert screen.text(".inspector .hint") == "18 of 18 objects of the ground truth"
    screen.press("ArrowLeft").has(boxes="detections")


def test_classes_are_hidden_by_mouse_and_keyboard(screen, sample):
    screen.page.get_by_text("Classes", exact=True).click()
    assert screen.find(".check .facts").all_inner_texts() == ["7 / 8", "3 / 3", "7 / 7"]
    screen.find(".check input").nth(0).click()
    screen.has(classes=[0])
    assert screen.text(".inspector .hint") == "10 of 17 detections"
    screen.find(".check input").nth(2).focus()
    screen.press(" ").has(classes=[0, 2])
    assert {name.split("\n")[0] for name in screen.find(".box-row .name").all_inner_texts()} == {"plane"}


@pytest.mark.parametrize("sample_id", ["scene_3", "scene_7"])
@pytest.mark.parametrize("width", [390, 1280])
def test_labels_do_not_overlap(look, one, sample_id, width):
    screen = look(one, width=width)
    screen.page.add_init_script(LABELS)
    screen.open(sample=sample_id, layer="neck", score=0.05)
    labels = np.array(screen.page.evaluate("window.labels"))
    assert len(labels) >= 3
    left, top, right, bottom = labels[:, 0], labels[:, 1], labels[:, 0] + labels[:, 2], labels[:, 1] + labels[:, 3]
    over = (left[:, None] < right) & (left < right[:, None]) & (top[:, None] < bottom) & (top < bottom[:, None])
    assert not (over & ~np.eye(len(labels), dtype=bool)).any()
    area = screen.page.locator(".panel-over").bounding_box()
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= area["width"] + 0.5
    assert bottom.max() <= area["height"] + 0.5


def outlined(screen, placement, row, column):
    """Whether a cell is outlined: white at the middle of each of its sides, within a dark line."""
    pixels = screen.pixels(".panel-over").astype(int)
    area = screen.page.locator(".panel-map").bounding_box()
    x, y = (at - area[side] for at, side in zip(screen.place(*cell_centre(placement, row, column)), "xy"))
    x1, y1 = (at - area[side] for at, side in zip(screen.place(*cell_centre(placement, row + 1, column + 1)), "xy"))
    a, b = (x1 - x) / 2, (y1 - y) / 2
    quarters = [(x + a / 2, y - b), (x + a / 2, y + b), (x - a, y + b / 2), (x + a, y + b / 2)]
    return all((pixels[round(v - 0.5), round(u - 0.5)] > 180).all() for u, v in quarters)


@pytest.mark.parametrize("number", [0, 1, 4])
def test_a_click_selects_a_box_and_outlines_its_source_cell(screen, one, runs, sample, number):
    box = sample["detections"][number]
    cell = box["cells"][0]
    header, _ = one.ask("map", group=one.group("neck"), level=1)
    assert not outlined(screen, header["placement"], cell["row"], cell["column"])
    screen.page.mouse.click(*screen.place(*middle(box)))
    screen.has(box={"kind": "detection", "number": number})
    # The run itself says from which cell the box comes.
    import featscope

    source = featscope.open_run(runs.a).samples["scene_3"].sources[number][0]
    assert (cell["level"], cell["row"], cell["column"]) == (source.level, source.row, source.column)
    assert outlined(screen, header["placement"], source.row, source.column)
    assert not outlined(screen, header["placement"], source.row + 1, source.column + 1)
    row = screen.find(".box-row[aria-pressed=true]")
    assert re.search(rf"level {source.level},? row {source.row},? col\S* {source.column}", row.inner_text())
    # The level beside it has other cells.
    screen.press("]").has(level=2)
    header, _ = one.ask("map", group=one.group("neck"), level=2)
    assert not outlined(screen, header["placement"], source.row // 2, source.column // 2)


def test_boxes_are_chosen_and_left_by_keys(screen):
    screen.find(".box-row").nth(2).focus()
    screen.press("Enter").has(box={"kind": "detection", "number": 2})
    assert screen.page.evaluate("document.activeElement.dataset.key") == "detection 2"  # the list is made anew
    screen.press("Escape").has(box=None)
    screen.find(".box-row").nth(3).click()
    screen.has(box={"kind": "detection", "number": 3})
    screen.find(".box-row").nth(3).click()
    screen.has(box=None)


def test_a_box_is_chosen_on_the_map_by_keys(screen, sample):
    screen.page.locator(".panel-map").focus()
    x, y = middle(sample["detections"][0])
    for _ in range(60):
        screen.page.keyboard.press("ArrowLeft")
        at = re.search(r"x (\S+), y (\S+)", screen.text(".status .hover").replace("·", " "))
        if float(at[1]) <= x:
            break
    for _ in range(30):
        at = re.search(r"x (\S+), y (\S+)", screen.text(".status .hover").replace("·", " "))
        if abs(float(at[2]) - y) < 12:
            break
        screen.page.keyboard.press("ArrowDown" if float(at[2]) < y else "ArrowUp")
    screen.press("Enter").has(box={"kind": "detection", "number": 0})


def test_a_stored_explanation(look, one):
    screen = look(one, layer="neck", level=1, boxes="detections")
    before = screen.pixels()
    screen.find(".box-row").nth(1).click()
    screen.rest()
    assert not screen.page.get_by_text("layercam at neck level 1").is_visible()  # it is of another box
    screen.find(".box-row").nth(0).click()
    screen.rest()
    screen.page.get_by_role("button", name="layercam at neck level 1").click()
    screen.has(explanation=STORED)
    assert screen.text(".panel-title").startswith("layercam at neck level 1")
    explained = screen.pixels()
    assert explained.shape != before.shape or (explained != before).any()
    header, values = one.ask("explanation", key=STORED)
    row, column = (int(n) for n in np.unravel_index(values.argmax(), values.shape))
    words = screen.point(*cell_centre(header["placement"], row, column))
    assert f"row {row}, column {column}" in words
    assert float(re.search(r"value (\S+)", words)[1]) == pytest.approx(values.max(), rel=1e-3)
    screen.page.get_by_role("button", name="Back to the map").click()
    screen.has(explanation=None)
    screen.page.get_by_role("button", name="layercam at neck level 1").focus()
    screen.press("Enter").has(explanation=STORED)
    screen.press("Escape").has(explanation=None)


def test_an_explanation_on_demand(look, serve, runs, tmp_path):
    """The command's own way: the run's model is opened again, in a process of its own."""
    from featscope.cli.view import _explain

    copy = tmp_path / "run"
    shutil.copytree(runs.a, copy)
    screen = look(serve(copy, explain=_explain), layer="neck", level=1, box="d1")
    screen.page.get_by_role("button", name="odam", exact=True).click()
    screen.page.get_by_role("button", name="odam: computing").wait_for()
    screen.page.get_by_role("button", name="odam at neck level 1").wait_for(timeout=90_000)
    screen.rest()
    made = list((copy / "explain" / "scene_3").glob("box_1_*_odam_neck_level_*.npy"))
    assert len(made) == 1
    screen.has(explanation=made[0].stem)
    assert screen.text(".panel-title").startswith("odam at neck level")


def test_what_leads_to_an_explanation_is_said(look, one):
    screen = look(one, layer="neck", level=1, box="d1")
    assert screen.page.get_by_text("Start featscope view with --explain").is_visible()

"""The lists of missed objects and of false alarms."""

import json

import numpy as np
import pytest

from featscope.viewer.answers import Viewer
from featscope.viewer.report import Frozen, write_report
from tests.viewer.lost_objects import write_lost

from .test_access import AXE, RUN_AXE

ROWS = "#misses [role=option]"
SAMPLES = "#samples [role=option]:not([hidden])"
CANDIDATE, SUPPRESSOR = (0x5C, 0xE1, 0xE6), (0xFF, 0x8A, 0x5C)


def listed(screen):
    """What the rows say, from top to bottom."""
    rows = screen.page.eval_on_selector_all(ROWS, "rows => rows.map(row => [Number(row.ariaPosInSet), row.innerText])")
    return [" ".join(text.split()) for _, text in sorted(rows)]


def drawn(screen, colour):
    """How many pixels over the map have this colour."""
    return int((np.abs(screen.pixels(".panel-over")[..., :3].astype(int) - colour).max(-1) < 6).sum())


@pytest.fixture
def folder(tmp_path):
    return write_lost(tmp_path / "run")


@pytest.fixture
def screen(look, serve, folder):
    return look(serve(folder))


@pytest.fixture
def pair(look, serve, folder, tmp_path):
    return look(serve(folder, write_lost(tmp_path / "better", low=0.9)), list="misses")


def test_the_list_is_asked_for_only_when_it_is_wanted(screen):
    asked = [url for url in screen.requests if "/ask/misses" in url]
    assert not asked
    screen.page.get_by_role("radio", name="Misses").check()
    screen.has(list="misses")
    assert listed(screen) == [
        "plane 10 px lost Suppressed · Seen by the head 0.80",
        "ship 10 px lost Low score · Undecided 0.30",
    ]
    assert screen.text(".point") == "Score ≥ 0.5, IoU ≥ 0.5 · 2 of 6 missed"
    assert not screen.find("#samples").is_visible()


def test_a_click_opens_the_sample_and_shows_what_became_of_the_object(screen):
    screen.open(list="misses")
    screen.find(ROWS).first.click()
    screen.has(sample="lost", box={"kind": "truth", "number": 0})
    card = screen.find(".miss-card")
    words = card.inner_text()
    for part in (
        "Missed object\n1 of 2",
        "plane, 10 px",
        "another box suppressed it",
        "A worse box on the same object: score 0.85, IoU 0.38 with the object, 0.38 with the candidate",
        "0.8, needs 0.5",
        "1 × Suppressed",
    ):
        assert part in words, words
    levels = card.locator("table").first.locator("tbody tr").all_inner_texts()
    assert [row.split() for row in levels][1] == ["1", "1.00", "0.800"]
    view = screen.page.evaluate("async () => (await import('./state.js')).parse(location.hash).view")
    assert (view["x"], view["y"]) == (35, 10)
    assert view["scale"] > 8
    assert drawn(screen, CANDIDATE) > 100
    assert drawn(screen, SUPPRESSOR) > 100
    assert screen.find(".legend li").all_inner_texts() == ["Object", "Deciding candidate", "Suppressed by"]


def test_keys_go_from_miss_to_miss(screen):
    screen.open(list="misses")
    screen.press("j").has(box={"kind": "truth", "number": 0})
    screen.press("j").has(box={"kind": "truth", "number": 1})
    assert drawn(screen, SUPPRESSOR) == 0
    assert drawn(screen, CANDIDATE) > 100
    screen.press("j").has(box={"kind": "truth", "number": 1})
    screen.press("k").has(box={"kind": "truth", "number": 0})
    screen.find("#misses").focus()
    screen.press("End").has(box={"kind": "truth", "number": 1})
    assert screen.find(f"{ROWS}[aria-selected=true]").count() == 1
    assert screen.find("#misses").get_attribute("aria-activedescendant") == "miss-1"
    screen.press("Escape").has(box=None)
    assert not screen.find(".miss-card").is_visible()
    assert drawn(screen, CANDIDATE) == 0
    screen.find("#misses").focus()
    screen.press("Enter").has(box={"kind": "truth", "number": 1})  # again what was chosen last
    screen.page.get_by_role("button", name="Previous", exact=True).click()
    screen.has(box={"kind": "truth", "number": 0})
    screen.press("m").has(list="alarms")
    screen.press("m").has(list="samples")
    assert not screen.find(".miss-card").is_visible()


@pytest.mark.parametrize(
    ("label", "value", "wanted", "address"),
    [
        ("Class", "ship", ["ship"], "lost.class=ship"),
        ("Stage", "suppressed", ["plane"], "lost.stage=suppressed"),
        ("Size in pixels, at least", "11", [], "lost.size=11~"),
        ("Size in pixels, at most", "10", ["plane", "ship"], "lost.size=~10"),
    ],
)
def test_filters(screen, label, value, wanted, address):
    screen.open(list="misses")
    screen.find(".listed:not([hidden])").get_by_role("button", name="Filters").click()
    field = screen.find("#miss-filters").get_by_label(label, exact=True)
    if label in ("Class", "Stage"):
        field.select_option(value)
    else:
        field.fill(value)
    screen.rest()
    assert [row.split()[0] for row in listed(screen)] == wanted
    screen.page.wait_for_function("part => location.hash.includes(part)", arg=address)
    screen.page.reload()
    screen.rest()
    assert [row.split()[0] for row in listed(screen)] == wanted
    screen.find(".listed:not([hidden])").get_by_role("button", name="Clear").click()
    screen.rest()
    assert len(listed(screen)) == 2


def test_sorting_and_search(screen):
    screen.open(list="misses")
    screen.find(".listed:not([hidden])").get_by_label("Sort by").select_option("score")
    screen.has(ranked="-score")
    assert [row.split()[0] for row in listed(screen)] == ["plane", "ship"]
    screen.find(".listed:not([hidden])").get_by_role("button", name="ending").click()
    screen.has(ranked="score")
    assert [row.split()[0] for row in listed(screen)] == ["ship", "plane"]
    screen.press("/")
    screen.page.keyboard.type("plane")
    screen.has(search="plane")
    assert len(listed(screen)) == 1
    screen.press("Enter").has(sample="lost", box={"kind": "truth", "number": 0})


def test_false_alarms_have_a_list(screen):
    screen.open(list="alarms")
    assert listed(screen) == ["plane 10 px lost Wrong place 0.85"]
    screen.press("j").has(sample="lost", box={"kind": "detection", "number": 0})
    words = screen.find(".miss-card").inner_text()
    assert "It lies on an object of its class, but overlaps it too little." in words
    assert "plane, IoU 0.38" in words


def test_a_second_run_says_what_it_finds(pair):
    marks = [pair.find(ROWS).nth(row).locator("[role=img]").count() for row in range(2)]
    assert marks == [0, 1]
    pair.find(".listed:not([hidden])").get_by_role("button", name="Filters").click()
    pair.find("#miss-filters").get_by_label("In the other run").select_option("found")
    pair.rest()
    assert [row.split()[0] for row in listed(pair)] == ["ship"]
    pair.press("j").has(box={"kind": "truth", "number": 1})
    assert "Found by better" in pair.find(".miss-card").inner_text()


def test_an_old_link_and_a_new_one_open_what_they_name(screen):
    screen.open("#v=1&sample=lost&box=t1")
    assert not screen.find(".miss-card").is_visible()  # a box that is chosen among samples is only a box
    screen.open("#v=1&sample=lost&box=t1&list=misses")
    assert "Low score" in screen.find(".miss-card").inner_text()
    assert screen.find(f"{ROWS}[aria-selected=true]").count() == 1


@pytest.mark.parametrize(("lacking", "words"), [("truth", "has no ground truth"), ("detections", "has no detections")])
def test_a_run_of_which_nothing_is_known_says_why(look, serve, tmp_path, lacking, words):
    screen = look(serve(write_lost(tmp_path / "run", **{lacking: False})), list="misses")
    assert words in screen.find(".listed:not([hidden]) .empty").first.inner_text()
    assert screen.find(".notice").count() == 0
    assert screen.find(".panel-map").is_visible()


def test_a_run_without_candidates_says_so_beside_its_list(look, serve, tmp_path):
    screen = look(serve(write_lost(tmp_path / "run", candidates=False)), list="misses")
    assert len(listed(screen)) == 2
    assert screen.find(".listed .note").is_visible()
    assert "--candidates" in screen.text(".listed .note")
    screen.press("j").has(box={"kind": "truth", "number": 0})
    assert "The candidates of this image are unknown" in screen.find(".miss-card").inner_text()


def test_the_page_says_that_it_works_and_goes_on(look, serve, folder):
    screen = look(serve(folder))
    held = []
    screen.page.route("**/ask/misses?*", lambda route: held.append(route))
    screen.page.get_by_role("radio", name="Misses").check()
    screen.page.wait_for_function("() => document.querySelector('.waiting .empty')?.checkVisibility()")
    assert "Looking for misses" in screen.find(".waiting .empty").first.inner_text()
    screen.page.get_by_role("radio", name="Samples").check()
    screen.find(SAMPLES, has_text="lost").click()  # other questions are answered meanwhile
    screen.page.wait_for_function("() => document.title.startsWith('lost')")
    held[0].continue_()
    screen.page.get_by_role("radio", name="Misses").check()
    screen.rest()
    assert len(listed(screen)) == 2


def test_thousands_of_misses_make_few_rows(look, serve, folder):
    served = serve(folder)
    found = served.ask("misses")
    count = 20_000
    found["misses"] = {name: [values[0]] * count for name, values in found["misses"].items()}
    found["misses"]["number"] = list(range(count))
    found["misses"]["score"] = [(row % 1000) / 1000 for row in range(count)]
    screen = look(served)
    body = json.dumps(found)
    screen.page.route("**/ask/misses?*", lambda route: route.fulfill(body=body, content_type="application/json"))
    screen.open(list="misses", ranked="-score")
    assert screen.find(".listed:not([hidden]) .count").inner_text().startswith("20,000 of")
    assert screen.find(ROWS).count() < 40
    screen.find("#misses").evaluate("list => { list.scrollTop = 0.5 * list.scrollHeight; }")
    screen.rest()
    assert screen.find(ROWS).count() < 40
    assert abs(int(screen.find(ROWS).first.get_attribute("aria-posinset")) - 10_000) < 40


def test_a_report_holds_the_list(look, tmp_path, folder):
    page = write_report(Frozen(Viewer([folder])), tmp_path / "report.html").page
    screen = look(page.as_uri(), list="misses")
    assert len(listed(screen)) == 2
    screen.press("j")
    assert "A worse box on the same object" in screen.find(".miss-card").inner_text()
    assert drawn(screen, SUPPRESSOR) > 100


def test_a_narrow_page_has_the_card_below_the_map(look, serve, folder):
    screen = look(serve(folder), width=390, height=844, list="misses")
    screen.find(".panes [data-pane=samples]").click()
    screen.rest()
    screen.find(ROWS).first.click()
    screen.has(box={"kind": "truth", "number": 0})
    card, picture = screen.find(".miss-card").bounding_box(), screen.find(".panel-map").bounding_box()
    assert card["y"] >= picture["y"] + picture["height"]
    assert picture["height"] > 150
    assert screen.page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious(look, serve, folder, dark, width):
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci")
    screen = look(serve(folder), dark=dark, width=width)
    screen.page.add_init_script(path=AXE)
    screen.open(list="misses")
    screen.press("j")
    screen.find(".miss-card details").last.evaluate("one => { one.open = true; }")
    assert screen.page.evaluate(RUN_AXE) == []
    if width == 390:
        screen.find(".panes [data-pane=samples]").click()
    screen.find(".listed:not([hidden])").get_by_role("button", name="Filters").click()
    assert screen.rest().page.evaluate(RUN_AXE) == []

"""The page for everybody: two languages, light and dark, screen readers, the keyboard."""

import re
from pathlib import Path

import pytest

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
STATES = {
    "map": {"layer": "neck", "level": 1, "box": "d0"},
    "grid": {"mode": "grid"},
    "samples": {"mode": "grid", "grid": "samples", "layer": "neck"},
    "channels": {"mode": "channels", "layer": "neck"},
    "compare": {"mode": "compare", "layer": "neck"},
    "swipe": {"mode": "compare", "layer": "neck", "compare": "swipe"},
    "difference": {"mode": "compare", "layer": "neck", "compare": "difference"},
    "wrong": {"sample": "nowhere", "search": "nothing"},
}
RUN_AXE = """
async () => (await axe.run(document, { resultTypes: ['violations'] })).violations
  .filter(({ impact }) => impact === 'serious' || impact === 'critical')
  .map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary.split('\\n')[1]}`).slice(0, 4).join(' | ')}`)
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_serious(look, two, state, dark):
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci")
    screen = look(two, dark=dark)
    screen.page.add_init_script(path=AXE)
    screen.open(**STATES[state])
    if state == "map":
        screen.page.get_by_role("button", name="Filters").click()
        screen.page.get_by_text("Classes", exact=True).click()
    if state == "channels":
        screen.find(".tiles").focus()
        screen.press("b")
    assert screen.page.evaluate(RUN_AXE) == []


@pytest.mark.parametrize("pane", ["Samples", "Layers", "Settings"])
def test_axe_finds_nothing_serious_on_a_narrow_page(look, two, pane):
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci")
    screen = look(two, width=390, height=844)
    screen.page.add_init_script(path=AXE)
    screen.open(layer="neck")
    screen.find(".panes").get_by_role("button", name=pane).click()
    assert screen.rest().page.evaluate(RUN_AXE) == []


def test_axe_finds_nothing_serious_in_the_dialog_and_in_chinese(look, one):
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci")
    screen = look(one, language="zh-CN")
    screen.page.add_init_script(path=AXE)
    screen.open()
    screen.press("?")
    assert screen.page.evaluate(RUN_AXE) == []


# Languages


def test_every_word_is_there_in_both_languages(look, one):
    words = look(one).module("words.js", "(m) => m.WORDS")
    assert set(words["en"]) == set(words["zh"])
    for key, text in words["en"].items():
        other = words["zh"][key]
        assert other, key
        assert sorted(re.findall(r"\{\d\}", text)) == sorted(re.findall(r"\{\d\}", other)), key


def test_the_toggle_changes_the_language_and_keeps_the_place(look, one):
    screen = look(one, sample="scene_15", layer="neck", level=2)
    assert screen.page.get_attribute("html", "lang") == "en"
    screen.page.get_by_role("button", name="中文").click()
    screen.page.wait_for_function("() => document.documentElement.lang === 'zh-CN' && document.querySelector('.top')")
    screen.rest()
    assert screen.find("[data-mode=channels]").inner_text() == "通道"
    assert screen.page.title().startswith("scene_15 · neck")
    screen.page.reload()  # it is remembered
    screen.rest()
    assert screen.find("[data-mode=channels]").inner_text() == "通道"
    screen.page.get_by_role("button", name="English").click()
    screen.page.wait_for_function("() => document.documentElement.lang === 'en' && document.querySelector('.top')")
    screen.rest()
    assert screen.find("[data-mode=channels]").inner_text() == "Channels"


# All that a user can see or hear, of the page itself.
TEXTS = """
() => {
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.nodeType === 3) found.add(node.data.trim());
    else for (const name of ['title', 'aria-label', 'placeholder', 'aria-description']) if (node.hasAttribute(name)) found.add(node.getAttribute(name).trim());
  }
  return [...found].filter(Boolean);
}
"""


@pytest.mark.parametrize("state", STATES)
def test_nothing_is_untranslated(look, two, state):
    screen = look(two, language="zh-CN", **STATES[state])
    words = screen.module("words.js", "(m) => m.WORDS")
    english = {text for key, text in words["en"].items() if len(text) > 2 and words["zh"][key] != text}
    english -= set(words["zh"].values())
    texts = screen.page.evaluate(TEXTS)
    assert not english & set(texts)
    assert not [text for text in texts if re.fullmatch(r"[a-z]+\.[a-z_]+", text)]  # the name of a word without words
    assert not [text for text in texts if re.search(r"\{\d\}|undefined|\[object", text)]


@pytest.mark.parametrize("state", STATES)
def test_english_pages_hold_no_chinese(look, two, state):
    texts = look(two, **STATES[state]).page.evaluate(TEXTS)
    assert {text for text in texts if re.search(r"[\u4e00-\u9fff]", text)} <= {"中文", "切换到中文"}
    assert not [text for text in texts if re.search(r"\{\d\}|undefined|NaN|\[object", text)]


# Light and dark


def test_the_theme_follows_the_system(look, one):
    screen = look(one)

    def background():
        return sum(
            int(n)
            for n in re.findall(r"\d+", screen.page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]
        )

    assert background() > 600
    screen.page.emulate_media(color_scheme="dark")
    assert background() < 150
    screen.press("3").rest()
    screen.page.emulate_media(color_scheme="light")
    assert background() > 600


def test_less_motion(look, one):
    screen = look(one)
    screen.page.emulate_media(reduced_motion="reduce")
    screen.press("j", "2", "3", "1").rest()
    assert screen.page.title().startswith("scene_15")


# Keys


def test_everything_is_reached_by_tab_and_the_focus_is_seen(look, one):
    screen = look(one)
    seen = []
    for _ in range(60):
        screen.page.keyboard.press("Tab")
        name = screen.page.evaluate(
            "() => { const e = document.activeElement; const s = getComputedStyle(e); const next = e.nextElementSibling && getComputedStyle(e.nextElementSibling);"
            " return [e.getAttribute('aria-label') || e.innerText || e.labels?.[0]?.innerText || e.className, s.outlineStyle !== 'none' || next?.outlineStyle === 'solid' || e.matches('.skip, .tree, .panel-map:focus-visible')]; }"
        )
        if screen.page.evaluate("() => document.activeElement === document.body"):
            break  # the end of the page
        seen.append(name)
    names = " / ".join(str(name) for name, _ in seen)
    for wanted in (
        "Skip to the map",
        "Map",
        "Grid",
        "Copy link",
        "Search samples",
        "Filters",
        "Samples",
        "Layers",
        "Reduction",
        "Colour map",
        "Opacity",
        "Classes",
    ):
        assert wanted in names
    assert [name for name, visible in seen if not visible] == []


def test_the_map_is_reached_by_the_skip_link(look, one):
    screen = look(one)
    screen.page.keyboard.press("Tab")
    assert screen.page.evaluate("document.activeElement.className") == "skip"
    screen.press("Enter")
    assert screen.page.evaluate("document.activeElement.className") == "panel-map"
    label = screen.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("backbone · level 0")
    assert "values from" in label


def test_keys_of_the_page_do_not_act_in_a_field(look, one):
    screen = look(one)
    screen.find(".samples .search").focus()
    screen.page.keyboard.type("c2b1")
    screen.has(search="c2b1", mode="stage", boxes="both", colormap="auto")
    screen.press("Escape")
    assert screen.page.evaluate("document.activeElement.tagName") == "BODY"
    screen.press("Control+c").has(colormap="auto")

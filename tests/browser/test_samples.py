"""The list of samples."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

ROWS = "#samples [role=option]:not([hidden])"


def listed(screen):
    """The names in the list from top to bottom."""
    rows = screen.page.eval_on_selector_all(
        ROWS, "rows => rows.map(row => [Number(row.ariaPosInSet), row.querySelector('.name').textContent])"
    )
    return [name for _, name in sorted(rows)]


@pytest.fixture
def screen(look, one):
    return look(one)


def test_all_samples_are_listed_with_their_facts(screen, one):
    assert listed(screen) == one.ask("samples")["ids"] == ["scene_3", "scene_15", "scene_22", "scene_7"]
    assert screen.text(".count") == "4 of 4"
    assert screen.text(f"{ROWS} .facts") == "17 det. · 18 GT · 0.86 · min 21 px"
    screen.page.wait_for_function("() => document.querySelectorAll('#samples img:not([hidden])').length === 4")


def test_a_click_opens_a_sample(screen):
    screen.find(ROWS, has_text="scene_22").click()
    screen.has(sample="scene_22")
    assert screen.page.title().startswith("scene_22 · ")
    assert screen.find("[role=option][aria-selected=true]").inner_text().startswith("scene_22")


def test_keys_step_through_the_samples(screen):
    screen.press("j").has(sample="scene_15")
    screen.press("ArrowDown").has(sample="scene_22")
    screen.press("k").has(sample="scene_15")
    screen.press("ArrowUp").has(sample="scene_3")
    screen.find("#samples").focus()
    screen.press("End").has(sample="scene_7")
    screen.press("Home").has(sample="scene_3")
    screen.press("PageDown").has(sample="scene_7")
    active = screen.find("#samples").get_attribute("aria-activedescendant")
    assert "scene_7" in screen.text(f"#{active}")


def test_search_by_keyboard_and_by_mouse(screen):
    screen.press("/")
    screen.page.keyboard.type("SCENE 2")
    screen.rest()
    assert listed(screen) == ["scene_22"]
    assert screen.text(".count") == "1 of 4"
    screen.press("Enter").has(sample="scene_22", search="SCENE 2")
    screen.find(".bar.low .quiet").click()
    screen.rest()
    assert len(listed(screen)) == 4
    screen.find(".samples .search").fill("nothing like it")
    screen.rest()
    assert listed(screen) == []
    assert screen.text(".samples .empty") == "No sample fits the search and the filters."


@pytest.mark.parametrize(
    ("label", "value", "wanted", "address"),
    [
        ("Class", "0", ["scene_3", "scene_22", "scene_7"], "only.class=0"),
        ("Best score at least", "0.89", ["scene_15", "scene_22", "scene_7"], "only.best=0.89"),
        ("Objects, at least", "18", ["scene_22", "scene_7"], "only.objects=18~"),
        ("Objects, at most", "18", ["scene_3", "scene_15"], "only.objects=~18"),
        ("Smallest object in pixels, at least", "20.5", ["scene_3", "scene_22"], "only.smallest=20.5~"),
        ("Smallest object in pixels, at most", "20.5", ["scene_15", "scene_7"], "only.smallest=~20.5"),
    ],
)
def test_filters(screen, label, value, wanted, address):
    screen.page.get_by_role("button", name="Filters").click()
    field = screen.page.get_by_label(label, exact=True)
    if label == "Class":
        field.select_option(value)
    else:
        field.focus()
        screen.page.keyboard.type(value)
    screen.rest()
    assert listed(screen) == wanted
    screen.page.wait_for_function("part => location.hash.includes(part)", arg=address)
    screen.page.reload()
    screen.rest()
    assert listed(screen) == wanted
    assert screen.find(".tool.on").count() == 1  # the filter can be seen to be on while its fields are closed
    screen.page.get_by_role("button", name="Clear").click()
    screen.rest()
    assert len(listed(screen)) == 4


@pytest.mark.parametrize("name", ["name", "detections", "truths", "score", "smallest"])
def test_sorting(screen, one, name):
    columns = one.ask("samples")
    keys = {"name": [int(each.split("_")[1]) for each in columns["ids"]], **columns}[name]
    up = [columns["ids"][i] for i in sorted(range(4), key=lambda i: (keys[i], i))]
    down = [columns["ids"][i] for i in sorted(range(4), key=lambda i: (-keys[i], i))]
    screen.choose("Sort by", name)
    first = up if name in ("name", "smallest") else down  # the way round that is mostly wanted
    assert listed(screen) == first
    screen.page.get_by_role("button", name="ending").click()
    screen.rest()
    assert listed(screen) == (down if first is up else up)
    screen.choose("Sort by", "")
    assert listed(screen) == columns["ids"]


@pytest.fixture
def many(look, one):
    """A page that is told of 100,000 samples."""
    count = 100_000
    columns = {
        "ids": [f"tile_{number}" for number in range(count)],
        "detections": [number % 7 for number in range(count)],
        "truths": [None] * count,
        "score": [(number % 100) / 100 for number in range(count)],
        "smallest": [None] * count,
        "classes": [[number % 3] for number in range(count)],
        "maps": [True] * count,
    }
    body = json.dumps(columns)
    screen = look(one)
    screen.page.route("**/ask/samples?*", lambda route: route.fulfill(body=body, content_type="application/json"))

    def fold(route):
        """Every sample is one of the four that there are."""
        url = route.request.url
        number = parse_qs(urlsplit(url).query).get("sample", ["0"])[0]
        route.continue_(url=url.replace(f"sample={number}", f"sample={int(number) % 4}"))

    screen.page.route("**/ask/*sample=*", fold)
    return screen.open()


def rows_made(screen):
    return screen.find("#samples [role=option]").count()


def test_a_list_of_100000_samples_makes_few_rows(many):
    assert many.text(".count") == "100,000 of 100,000"
    assert 5 < rows_made(many) <= 60
    many.find("#samples").hover()
    for _ in range(6):
        many.page.mouse.wheel(0, 4000)
        many.rest()
    assert listed(many)[0] != "tile_0"
    for part in (0.3, 0.5, 0.99):
        many.find("#samples").evaluate("(list, part) => { list.scrollTop = part * list.scrollHeight; }", part)
        many.rest()
        first = int(listed(many)[4].split("_")[1])
        assert abs(first - part * 100_000) < 40
    assert rows_made(many) <= 60
    many.find("#samples").focus()
    many.press("End").has(sample="tile_99999")
    assert listed(many)[-1] == "tile_99999"
    many.press("Home").has(sample="tile_0")
    assert rows_made(many) <= 60


def test_a_long_list_is_searched_and_sorted_at_once(many):
    many.page.evaluate("performance.mark('typed')")
    many.find(".samples .search").fill("9999")
    many.page.wait_for_function("() => document.querySelector('.count').textContent.startsWith('19 of')")
    assert many.page.evaluate("performance.now() - performance.getEntriesByName('typed')[0].startTime") < 1500
    assert listed(many)[0] == "tile_9999"
    many.find(".samples .search").fill("")
    many.choose("Sort by", "score")
    assert listed(many)[0] == "tile_99"
    assert rows_made(many) <= 60

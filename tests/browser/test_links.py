"""Addresses name states: those of today, those of before, and those that somebody has damaged."""

import json
from pathlib import Path

import pytest

LINKS = [
    line.split("\t")
    for line in Path(__file__).with_name("links.txt").read_text(encoding="utf-8").splitlines()
    if "\t" in line
]

# States by a generator of random numbers with a seed, made with the fields that there are.
ROUND_TRIP = """
(state, [seed, count]) => {
  const random = () => { seed = (seed * 1664525 + 1013904223) >>> 0; return seed / 2 ** 32; };
  const pick = (...values) => values[Math.floor(random() * values.length)];
  const whole = (most) => Math.floor(random() * (most + 1));
  const text = () => Array.from({ length: whole(7) }, () => pick('a', 'Z', '7', '.', '/', ' ', '&', '=', '#', '%', '~', '+', '"', '<img src=x onerror=alert(1)>', '航拍', '🚢', '\\ud83d', '\\udc80', '\\n', '%20', '~0041')).join('');
  const real = () => pick(0, 1, 0.3, random(), random() * 1e-7);
  const pair = () => [pick(null, whole(500)), pick(null, random() * 500)];
  const wrong = [], seen = new Set();
  for (let round = 0; round < count; round++) {
    const low = random() * 10 - 5;
    const made = {
      ...state.DEFAULTS,
      mode: pick('stage', 'grid', 'channels', 'compare'), run: whole(99), against: whole(99), sample: text(), layer: text(), field: pick('', 'cls_scores', '航拍', 'a&b=c#~'), level: whole(20), slice: whole(99),
      reduce: pick('auto', 'max', 'l2', `channel:${whole(4096)}`), colormap: pick('auto', 'turbo', 'colorbrewer:RdBu_r'),
      range: pick('auto', 'map', 'symmetric', `symmetric:${1 + whole(98)}`, `percentile:${whole(40)}:${50 + random() * 50}`, `${low}:${low + 1 + random()}`),
      shared: pick(true, false), apart: pick(true, false), opacity: real(), photo: pick('grey', 'colour', 'none'), fade: pick(true, false), smooth: pick(true, false),
      boxes: pick('none', 'detections', 'truth', 'both'), score: real(), classes: [...new Set(Array.from({ length: whole(30) }, () => whole(80)))].sort((a, b) => a - b),
      box: pick(null, { kind: pick('detection', 'truth'), number: whole(300) }), explanation: pick(null, `box_${whole(9)}_ship`),
      view: pick(null, { x: random() * 5000 - 100, y: random() * 5000, scale: 0.01 + random() * 40 }), by: pick('peak', 'mean'),
      order: pick('number', 'energy', 'sparsity', 'contrast', `similarity:${whole(2048)}`), size: 8 + whole(500), grid: pick('levels', 'samples'), tile: whole(480),
      compare: pick('side', 'swipe', 'blink', 'difference'), swipe: real(), search: text(), sort: pick('', 'name', '-score', 'smallest'),
      filters: { class: pick(null, whole(80)), score: pick(null, real()), objects: pair(), smallest: pair() },
    };
    const address = state.link(made);
    const again = state.read(new URL(address, location.href).hash);
    const others = Object.keys(made).filter((key) => JSON.stringify(made[key]) !== JSON.stringify(again.state[key]));
    if (others.length || again.ignored.length || address.length > 2000) wrong.push([...others, ...again.ignored, address]);
    seen.add(address);
  }
  return { wrong, count: seen.size, missing: Object.keys(state.DEFAULTS).filter((key) => state.parse(state.link({ ...state.DEFAULTS }))[key] === undefined) };
}
"""


def test_a_link_of_a_random_state_is_read_as_that_state(look, one):
    found = look(one).module("state.js", ROUND_TRIP, [11, 200])
    assert found == {"wrong": [], "count": 200, "missing": []}


@pytest.fixture(scope="module")
def reader(chromium, one):
    """A page that reads many links one after the other."""
    from .screen import Screen

    context = chromium.new_context(viewport={"width": 1280, "height": 800}, locale="en-US")
    yield Screen(context.new_page(), one.url).open()
    context.close()


def test_there_are_enough_links():
    assert len({link for link, _ in LINKS}) >= 20


@pytest.mark.parametrize(("link", "fields"), LINKS, ids=[link[:40] for link, _ in LINKS])
def test_links_of_version_1_are_understood(reader, link, fields):
    code = (
        "(m, link) => { const { state, ignored } = m.read(link); return [state, ignored, m.DEFAULTS, m.link(state)]; }"
    )
    state, ignored, defaults, again = reader.module("state.js", code, link)
    assert ignored == []
    assert state == {**defaults, **json.loads(fields)}
    assert reader.module("state.js", "(m, link) => m.parse(link)", again) == state


@pytest.mark.parametrize("link", [LINKS[i][0] for i in (4, 7, 9, 12, 13, 14, 19)])
def test_a_link_opens_what_it_names(look, two, link):
    screen = look(two, hash=link)
    assert screen.find(".notice").count() == 0
    assert screen.page.url.endswith(link)
    canvas = {"channels": ".tiles canvas"}.get(
        screen.page.get_attribute("[data-mode][aria-pressed=true]", "data-mode"), ".panel-map"
    )
    assert (screen.pixels(canvas)[..., 3] > 0).any()


def test_a_damaged_link_says_what_was_left_out(look, one):
    screen = look(
        one, hash="#v=1&sample=scene_15&opacity=7&color=red&level=-1&layer=%E0%A4%A&reduce=rm%20-rf&level=1&score=0.5"
    )
    words = screen.text(".notice")
    assert words.startswith("Not understood in the address, and left out: ")
    for part in ("opacity=7", "color=red", "level=-1", "layer=%E0%A4%A", "reduce=rm%20-rf"):
        assert part in words
    assert "score" not in words
    assert screen.page.title().startswith("scene_15")
    screen.page.get_by_role("button", name="Dismiss").first.click()
    assert screen.find(".notice").count() == 0


@pytest.mark.parametrize(
    ("hash", "words"),
    [
        ("#v=2&sample=scene_15", "left out: v=2"),
        ("#v=1&sample=nowhere", "This run has no sample nowhere; the first one is shown."),
        ("#v=1&run=7", "There is no run 7; the first one is shown."),
        ("#v=1&layer=neck&level=9", "There is no level 9 here; level 4 is shown."),
        ("#v=1&layer=head&field=x", "This sample has no map of head · x; the nearest is shown: "),
        ("#v=1&explanation=none_of_this", "no stored explanation none_of_this"),
        ("#v=1&sample=" + "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E", "This run has no sample <img src=x onerror=alert(1)>"),
    ],
)  # fmt: skip
def test_a_link_to_what_is_not_there(look, one, hash, words):
    screen = look(one, hash=hash)
    assert words in " ".join(screen.find(".notice").all_inner_texts())
    assert (screen.pixels()[..., 3] > 0).any()

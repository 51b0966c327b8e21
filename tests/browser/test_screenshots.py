"""The page as it looked when somebody last looked: small pictures, compared with a tolerance.

They are a quarter of the page's size. After a change that is meant, remake them and look at each:
pytest -o addopts="" tests/browser/test_screenshots.py --update-screenshots
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FOLDER = Path(__file__).with_name("screenshots")
SIZES = {390: 844, 1280: 800, 2560: 1440}
LARGEST = 40_000  # bytes of a picture
MEAN, CHANGED = 4.0, 0.04  # levels; share of the pixels that differ by more than 48: fonts are not the same everywhere

MAP = {"layer": "neck", "level": 1, "box": "d0"}
MODES = {
    "grid": {"mode": "grid"},
    "samples": {"mode": "grid", "grid": "samples", "layer": "neck", "level": 1},
    "channels": {"mode": "channels", "layer": "neck", "level": 1},
    "compare": {"mode": "compare", "layer": "neck", "level": 1},
    "swipe": {"mode": "compare", "layer": "neck", "level": 1, "compare": "swipe"},
    "difference": {"mode": "compare", "layer": "neck", "level": 1, "compare": "difference"},
}


def check(screen, name, request):
    """Compare the page with its picture, or remake that."""
    screen.page.mouse.move(0, 0)
    screen.rest()
    shot = Image.open(io.BytesIO(screen.page.screenshot(animations="disabled", caret="hide"))).convert("RGB")
    small = shot.resize((shot.width // 4, shot.height // 4), Image.Resampling.BOX)
    packed = io.BytesIO()
    small.save(packed, "JPEG", quality=78, optimize=True)
    assert len(packed.getvalue()) < LARGEST
    path = FOLDER / f"{name}.jpg"
    if request.config.getoption("--update-screenshots"):
        path.write_bytes(packed.getvalue())
        return
    now, before = (np.asarray(Image.open(one).convert("RGB")).astype(int) for one in (packed, path))
    assert now.shape == before.shape
    off = np.abs(now - before).max(-1)
    mean, changed = off.mean(), (off > 48).mean()
    if mean > MEAN or changed > CHANGED:
        path.with_suffix(".new.jpg").write_bytes(packed.getvalue())
        pytest.fail(
            f"{path.name} differs by {mean:.1f} levels, {changed:.1%} of it by much; see {path.stem}.new.jpg beside it"
        )


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_the_map(look, one, request, language, dark, width):
    screen = look(one, width=width, height=SIZES[width], language=language, dark=dark, **MAP)
    check(screen, f"map-{language[:2]}-{'dark' if dark else 'light'}-{width}", request)


@pytest.mark.parametrize("mode", MODES)
def test_the_other_modes(look, two, request, mode):
    check(look(two, width=1440, height=900, **MODES[mode]), mode, request)


@pytest.mark.parametrize("pane", ["samples", "layers", "settings"])
def test_the_parts_of_a_narrow_page(look, one, request, pane):
    screen = look(one, width=390, height=844, **MAP)
    screen.find(f".panes [data-pane={pane}]").click()
    check(screen, f"narrow-{pane}", request)

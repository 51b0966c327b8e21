"""Other formats than PNG: the same picture, the same text, and what is up to date stays."""

import numpy as np
import pytest
from PIL import Image

from featscope.render.files import read_text, reencode
from featscope.render.heat import HeatStyle
from featscope.render.heat_plan import HeatOptions, plan_heat
from featscope.render.jobs import Form, foresee, run_jobs
from featscope.render.png import encode_rgb
from featscope.store.reader import open_run

PICTURE = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 255, (4, 5, 3), np.uint8), 16, 0), 16, 1)


@pytest.mark.parametrize("form", ["webp", "jpg"])
def test_picture_and_text_survive(form, tmp_path):
    path = tmp_path / f"x.{form}"
    path.write_bytes(reencode(encode_rgb(PICTURE, {"sample": "船 1", "range": "0 1"}), form))
    assert read_text(path) == {"sample": "船 1", "range": "0 1"}
    with Image.open(path) as image:
        found = np.asarray(image.convert("RGB")).astype(int)
    assert found.shape == PICTURE.shape
    assert np.abs(found - PICTURE).mean() < 12


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff\xe0 cut"])
def test_a_damaged_picture_has_no_text(content, tmp_path):
    for suffix in ("png", "webp", "jpg"):
        path = tmp_path / f"x.{suffix}"
        path.write_bytes(content)
        assert read_text(path) == {}


@pytest.mark.parametrize("form", ["png", "webp", "jpg"])
def test_a_run_is_drawn_once_in_each_format(run, form, tmp_path):
    opened = open_run(run)
    plan = plan_heat(opened, opened.maps, HeatOptions(form=Form(form)))
    assert run_jobs(opened.maps, plan, tmp_path / "heat").pictures == 4
    assert run_jobs(opened.maps, plan, tmp_path / "heat").skipped == 4
    assert len(list((tmp_path / "heat").rglob(f"*.{form}"))) == 4


def test_a_smaller_picture_shows_the_same(run, tmp_path):
    opened = open_run(run)
    style = HeatStyle("mean", "map", "gray", smooth=False)
    for name, size in (("whole", 0), ("half", 15)):
        plan = plan_heat(opened, opened.maps[:1], HeatOptions(style=style, overlay=False, form=Form("png", size)))
        run_jobs(opened.maps[:1], plan, tmp_path / name)
    whole, half = (
        np.asarray(Image.open(next((tmp_path / name).rglob("*.png"))).convert("L")).astype(int)
        for name in ("whole", "half")
    )
    assert (whole.shape, half.shape) == ((20, 30), (10, 15))
    assert np.abs(whole[::2, ::2] - half).mean() < 8


def test_what_a_drawing_will_come_to_is_foreseen_without_a_file(run, tmp_path):
    opened = open_run(run)
    plan = plan_heat(opened, opened.maps, HeatOptions())
    foreseen = foresee(opened.maps, plan, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    outcome = run_jobs(opened.maps, plan, tmp_path / "out")
    assert (foreseen.pictures, foreseen.bytes) == (outcome.pictures, outcome.bytes)

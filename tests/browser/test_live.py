"""A run that is being captured while the page is open."""

import time

import numpy as np
import pytest

from .conftest import photo_of, write_run
from .test_samples import listed

ROW = "#samples [role=option]:not([hidden])"


@pytest.fixture
def growing(tmp_path):
    """A run of two samples that is not finished, and a function that adds a sample."""
    rng = np.random.default_rng(3)
    maps = {"neck": [rng.random((3, 8, 12), np.float32)]}
    first = [(photo_of(tmp_path, f"photo_{i}"), np.zeros((40, 60, 3), np.uint8)) for i in range(2)]
    writer = write_run(tmp_path / "run", maps, first)

    def add(number):
        from featscope.records import CapturedMap

        writer.put_sample(photo_of(tmp_path, f"photo_{number}"), np.zeros((40, 60, 3), np.uint8))
        for layer in ("neck", "head"):
            captured = CapturedMap(
                layer,
                "Layer",
                "",
                0,
                0,
                number,
                [f"photo_{number}"],
                f"{layer}_new",
                ["sample", "channel", "row", "column"],
            )
            writer.put(captured, rng.random((1, 3, 8, 12), np.float32))

    while not list((tmp_path / "run").glob("layer_0/*_1_*.npy")):
        time.sleep(0.01)
    time.sleep(0.2)  # for its line in the manifest
    yield tmp_path / "run", add, writer
    writer.close()


def test_new_samples_and_layers_appear_by_themselves(look, serve, growing):
    folder, add, writer = growing
    screen = look(serve(folder))
    assert screen.find(".live").is_visible()
    assert listed(screen) == ["photo_0", "photo_1"]
    screen.press("j").has(sample="photo_1")
    before = screen.pixels()
    add(2)
    screen.find(ROW).nth(2).wait_for(timeout=8000)
    screen.rest()
    assert listed(screen) == ["photo_0", "photo_1", "photo_2"]
    assert screen.text(".count") == "3 of 3"
    # The page stays where it was.
    assert screen.page.title().startswith("photo_1")
    np.testing.assert_array_equal(screen.pixels(), before)
    assert "head" in " ".join(screen.find("[role=treeitem]").all_inner_texts())
    screen.press("j").has(sample="photo_2")
    assert (screen.pixels()[..., 3] > 0).any()
    writer.close()
    screen.find(".live").wait_for(state="hidden", timeout=8000)
    asked = len([url for url in screen.requests if "ask/about" in url])
    screen.page.wait_for_timeout(2600)
    assert len([url for url in screen.requests if "ask/about" in url]) <= asked + 1  # it looks no more


def test_a_run_without_samples_waits_for_them(look, serve, tmp_path):
    writer = write_run(tmp_path / "run", {}, [])
    writer.begin()
    screen = look(serve(tmp_path / "run"))
    assert "This run has no samples yet." in screen.find(".centre").inner_text()
    rng = np.random.default_rng(3)
    from featscope.records import CapturedMap

    writer.put_sample(photo_of(tmp_path, "photo"), np.zeros((40, 60, 3), np.uint8))
    axes = ["sample", "channel", "row", "column"]
    writer.put(
        CapturedMap("neck", "Layer", "", 0, 0, 0, ["photo"], "neck", axes), rng.random((1, 3, 8, 12), np.float32)
    )
    screen.find(ROW).first.wait_for(timeout=8000)
    screen.rest()
    writer.close()
    assert screen.text(".panel-title") == "neck"
    assert (screen.pixels()[..., 3] > 0).any()
